"""Placeholder of the Arithmetic rule: right shape, no evidence yet."""

from __future__ import annotations

import msgspec

from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Verdict

__all__ = ["Arithmetic"]


class Arithmetic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Placeholder."""

    @property
    def name(self) -> str:
        """Name."""
        return "arithmetic"

    @property
    def version(self) -> str:
        """Version of the evidence."""
        return "0"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names."""
        return tuple("equations,false".split(","))

    def start(self, prompt: str) -> ArithmeticState:
        """Return the state of a fresh attempt."""
        del prompt
        return ArithmeticState()


class ArithmeticState:
    """State."""

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Take text."""
        del text, tokens
        return Evidence(Verdict.UNKNOWN, (0.0, 0.0))

    def copy(self) -> ArithmeticState:
        """Return a copy."""
        return ArithmeticState()
