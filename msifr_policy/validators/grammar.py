"""Context-free languages: a grammar the whole text has to follow, and whether it still can.

The grammar is in llguidance's dialect of Lark: `start` is the whole text, rules are in small letters, terminals
in capitals, and white space is only where `%ignore` or the rules put it. An example, sums in parentheses:

    start: NUMBER | "(" start "+" start ")"
    NUMBER: /[0-9]+/
"""

from __future__ import annotations

import msgspec

from msifr_policy.validators.readers.completion import Completion, LanguageState, check_grammar

__all__ = ["Grammar"]


class Grammar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parses the text by the grammar `lark`.

    The verdict is DEAD once no completion of the text follows the grammar, ALIVE while one does, and UNKNOWN beyond
    `completion.LIMIT` bytes and where the grammar is too ambiguous. Raises `InputError` for a grammar that is none.
    """

    lark: str

    def __post_init__(self) -> None:
        check_grammar(self._grammar(), "validator grammar, parameter lark")

    @property
    def name(self) -> str:
        """`grammar`."""
        return "grammar"

    @property
    def version(self) -> str:
        """Version of the evidence."""
        return "1"

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the scores.

        `complete`: 1 if the text so far follows the grammar, else 0; `read`: characters before the text was dead. Both
        NaN once the verdict is UNKNOWN.
        """
        return ("complete", "read")

    def start(self, prompt: str) -> LanguageState:
        """Return the state of a fresh attempt."""
        del prompt
        return LanguageState(Completion(self._grammar()))

    def _grammar(self) -> str:
        from llguidance import LLMatcher

        return LLMatcher.grammar_from_lark(self.lark)
