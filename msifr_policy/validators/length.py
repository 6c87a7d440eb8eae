"""Length so far: the plainest evidence there is, and the base line every other rule has to beat."""

from __future__ import annotations

import math

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Verdict

__all__ = ["Length"]


class Length(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts characters, lines and the mean length of a line.

    `cap` (characters) is the length from which the verdict is DEAD; without a cap the verdict is
    always UNKNOWN.
    """

    cap: int | None = None

    def __post_init__(self) -> None:
        if self.cap is not None and self.cap < 1:
            raise InputError(f"cap = {self.cap} must be at least 1 character", where="validator length")

    @property
    def name(self) -> str:
        """`length`."""
        return "length"

    @property
    def version(self) -> str:
        """Version of the evidence."""
        return "1"

    @property
    def columns(self) -> tuple[str, ...]:
        """`characters` so far, `lines` (newlines so far), `per_line` (mean characters per line)."""
        return ("characters", "lines", "per_line")

    def start(self, prompt: str) -> LengthState:
        """Return the state of a fresh attempt."""
        del prompt
        return LengthState(math.inf if self.cap is None else self.cap)


class LengthState:
    """Running counts."""

    __slots__ = ("_cap", "_characters", "_lines")

    def __init__(self, cap: float) -> None:
        self._cap = cap
        self._characters = 0
        self._lines = 0

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Count the new text."""
        del tokens
        self._characters += len(text)
        self._lines += text.count("\n")
        verdict = Verdict.DEAD if self._characters >= self._cap else Verdict.UNKNOWN
        scores = (float(self._characters), float(self._lines), self._characters / (self._lines + 1))
        return Evidence(verdict, scores)

    def copy(self) -> LengthState:
        """Return an independent copy."""
        twin = LengthState(self._cap)
        twin._characters, twin._lines = self._characters, self._lines
        return twin
