"""Placeholder of the AnswerMarker rule: right shape, no evidence yet."""

from __future__ import annotations

import msgspec

from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Verdict

__all__ = ["AnswerMarker"]


class AnswerMarker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Placeholder."""

    @property
    def name(self) -> str:
        """Name."""
        return "answer"

    @property
    def version(self) -> str:
        """Version of the evidence."""
        return "0"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names."""
        return tuple("markers,distinct".split(","))

    def start(self, prompt: str) -> AnswerMarkerState:
        """Return the state of a fresh attempt."""
        del prompt
        return AnswerMarkerState()


class AnswerMarkerState:
    """State."""

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Take text."""
        del text, tokens
        return Evidence(Verdict.UNKNOWN, (0.0, 0.0))

    def copy(self) -> AnswerMarkerState:
        """Return a copy."""
        return AnswerMarkerState()
