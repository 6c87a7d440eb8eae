"""A filter that is any function of the prompt and the text."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from msifr_policy.filters.base import Judgement, Prompt

__all__ = ["FunctionFilter"]


class FunctionFilter(msgspec.Struct, frozen=True):
    """Accepts what a function of (prompt, text) returns true for; it can judge any prompt."""

    function: Callable[[Prompt, str], bool | Judgement]
    name: str

    def check(self, prompt: Prompt) -> None:
        """Do nothing."""
        del prompt

    def __call__(self, prompt: Prompt, text: str) -> bool | Judgement:
        """Ask the function; what it raises is raised."""
        verdict = self.function(prompt, text)
        return verdict if isinstance(verdict, Judgement) else bool(verdict)
