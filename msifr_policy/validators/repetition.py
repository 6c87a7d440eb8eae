"""Placeholder of the Repetition rule: right shape, no evidence yet."""

from __future__ import annotations

import msgspec

from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Verdict

__all__ = ["Repetition"]


class Repetition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Placeholder."""

    @property
    def name(self) -> str:
        """Name."""
        return "repetition"

    @property
    def version(self) -> str:
        """Version of the evidence."""
        return "0"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names."""
        return tuple("loop,repeats".split(","))

    def start(self, prompt: str) -> RepetitionState:
        """Return the state of a fresh attempt."""
        del prompt
        return RepetitionState()


class RepetitionState:
    """State."""

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Take text."""
        del text, tokens
        return Evidence(Verdict.UNKNOWN, (0.0, 0.0))

    def copy(self) -> RepetitionState:
        """Return a copy."""
        return RepetitionState()
