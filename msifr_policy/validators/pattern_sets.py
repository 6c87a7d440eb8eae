"""Named sets of RE2 patterns as one automaton: which of the sets a sentence shows.

Patterns are read without regard to capital letters, in one linear pass for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re2

__all__ = ["PatternSets", "add"]


class PatternSets:
    """The patterns of `sets`, each after `lead`; `anchored` ones match only at the beginning of a sentence."""

    __slots__ = ("_matcher", "_set_of")

    def __init__(self, sets: Mapping[str, Iterable[str]], *, anchored: bool, lead: str = "") -> None:
        import re2

        options = re2.Options()
        options.case_sensitive = False
        options.log_errors = False
        self._matcher: re2.Set = (re2.Set.MatchSet if anchored else re2.Set.SearchSet)(options)
        self._set_of: list[int] = []
        for i, patterns in enumerate(sets.values()):
            for pattern in patterns:
                self._matcher.Add(f"{lead}(?:{pattern})" if lead else pattern)
                self._set_of.append(i)
        self._matcher.Compile()

    def found(self, sentence: str) -> set[int]:
        """Return the indices of the sets of which `sentence` shows a pattern."""
        return {self._set_of[i] for i in self._matcher.Match(sentence.encode("utf-8", "replace")) or ()}


def add(counts: tuple[int, ...], found: set[int]) -> tuple[int, ...]:
    """Return `counts` with one more for each set in `found`."""
    return tuple(count + (i in found) for i, count in enumerate(counts)) if found else counts
