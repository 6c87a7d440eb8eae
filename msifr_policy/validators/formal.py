r"""Formal languages: a pattern or a grammar that the whole text has to follow, and whether it still can.

A pattern is in the syntax of Rust's `regex`, without look-around and back-references; `.` does not match a
newline unless `(?s)` says so. llguidance builds its automaton of derivatives as far as the text needs it, so no
pattern takes more than linear time. Example: `(?s:.*)#### -?[0-9]+\n?`.

A grammar is in llguidance's dialect of Lark: `start` is the whole text, rules are in small letters, terminals
in capitals, and white space is only where `%ignore` (anywhere between terminals, before the first and after the
last one) or the rules put it. It is read as Lark's Earley parser does: terminals may begin and end wherever that gives
a parse, so priorities do not matter. A text is dead only if llguidance finds no completion with its lexer nor
without (`readers.scannerless`); a grammar that cannot be rewritten so makes no text dead. An example, sums in
parentheses:

    start: NUMBER | "(" start "+" start ")"
    NUMBER: /[0-9]+/
"""

import math
from typing import ClassVar, Literal, cast

import msgspec

from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, Verdict
from msifr_policy.validators.readers.completion import Completion, check_grammar, is_grammar
from msifr_policy.validators.readers.scannerless import scannerless, without_priorities


class _FormalLanguage(Rule, frozen=True):
    """Follows the text through a language, which the one parameter defines; where it is None, the prompt's does.

    The verdict is DEAD once no completion of the text belongs to it, ALIVE while one does, and UNKNOWN beyond
    `completion.LIMIT` bytes, where a grammar is too ambiguous or the lexer alone finds no completion, and where neither
    says the language. Raises `InputError` if the parameter defines none.
    """

    version = "3"
    columns = ("complete", "read", "dead")
    """`complete`: 1 if the text so far belongs to the language, else 0; `read`: characters before the text was dead;
    `dead`: 1 if it is, else 0; all NaN once the verdict is UNKNOWN.
    """
    _format: ClassVar[Literal["regex", "lark"]]

    def __post_init__(self) -> None:
        (parameter,) = self.__struct_fields__
        if (grammar := self._grammar()) is not None:
            check_grammar(grammar, f"validator {self.name}, parameter {parameter}")

    def _definition(self) -> str | None:
        (definition,) = msgspec.structs.astuple(self)
        return cast("str | None", definition)

    def _grammar(self) -> str | None:
        """Return the language as llguidance reads it."""
        definition = self._definition()
        if definition is None:
            return None
        from llguidance import grammar_from

        return grammar_from(self._format, definition)

    def _second(self) -> str | None:
        """Return another grammar of the language for `Completion`."""
        return None

    def _state(self, _: str) -> TextState:
        grammar = self._grammar()
        return Silence(self.columns) if grammar is None else _FormalLanguageState(Completion(grammar, self._second()))


class Regular(_FormalLanguage, frozen=True):
    """The texts that match `pattern`."""

    name = "regular"
    _format = "regex"
    pattern: str | None = None


class Grammar(_FormalLanguage, frozen=True):
    """The texts that follow the grammar `lark`."""

    name = "grammar"
    _format = "lark"
    lark: str | None = None

    def _definition(self) -> str | None:
        return None if self.lark is None else without_priorities(self.lark)

    def _second(self) -> str | None:
        from llguidance import grammar_from

        rewritten = scannerless(self.lark or "")
        if rewritten is None or not is_grammar(second := grammar_from("lark", rewritten)):
            return ""
        return second


_VERDICTS = {"open": Verdict.ALIVE, "dead": Verdict.DEAD, "lost": Verdict.UNKNOWN}


class _FormalLanguageState(TextState):
    def __init__(self, completion: Completion) -> None:
        self._completion = completion

    def _read(self, text: str) -> Evidence:
        completion = self._completion
        completion.feed(text)
        complete = dead = math.nan
        if completion.state != "lost":
            dead = float(completion.state == "dead")
            complete = float(not dead and completion.complete)
        return Evidence(_VERDICTS[completion.state], (complete, completion.characters, dead))
