r"""Regular languages: a pattern the whole text has to match, and whether it still can.

The pattern is in the syntax of Rust's `regex`, without look-around and back-references; `.` does not match a
newline unless `(?s)` says so. llguidance builds its automaton of derivatives as far as the text needs it, so no
pattern takes more than linear time. Example: `(?s:.*)#### -?[0-9]+\n?`.
"""

from __future__ import annotations

import msgspec

from msifr_policy.validators.readers.completion import Completion, LanguageState, check_grammar

__all__ = ["Regular"]


class Regular(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Follows the text through the automaton of `pattern`.

    The verdict is DEAD once no completion of the text matches, ALIVE while one does, and UNKNOWN beyond
    `completion.LIMIT` bytes. Raises `InputError` for a pattern that is none or is too large.
    """

    pattern: str

    def __post_init__(self) -> None:
        check_grammar(self._grammar(), "validator regular, parameter pattern")

    @property
    def name(self) -> str:
        """`regular`."""
        return "regular"

    @property
    def version(self) -> str:
        """Version of the evidence."""
        return "1"

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the scores.

        `complete`: 1 if the text so far matches, else 0; `read`: characters before the text was dead. Both
        NaN once the verdict is UNKNOWN.
        """
        return ("complete", "read")

    def start(self, prompt: str) -> LanguageState:
        """Return the state of a fresh attempt."""
        del prompt
        return LanguageState(Completion(self._grammar()))

    def _grammar(self) -> str:
        from llguidance import LLMatcher

        return LLMatcher.grammar_from_regex(self.pattern)
