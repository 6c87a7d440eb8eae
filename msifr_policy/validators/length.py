"""Length so far: the plainest evidence there is, and the base line every other rule has to beat."""

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence


class Length(Rule, frozen=True):
    """Counts characters, lines and the mean length of a line.

    `cap` (characters) is the length from which the verdict is DEAD; without a cap the verdict is
    always UNKNOWN.
    """

    name = "length"
    columns = ("characters", "lines", "per_line")
    """`characters` so far, `lines` (newlines so far), `per_line` (mean characters per line)."""
    cap: int | None = None

    def __post_init__(self) -> None:
        self._check("cap", self.cap is None or self.cap >= 1, "be at least 1 character")

    def _state(self, _: str) -> TextState:
        return _LengthState(self.cap)


class _LengthState(TextState):
    def __init__(self, cap: int | None) -> None:
        self._cap = cap
        self._characters = self._lines = 0

    def _read(self, text: str) -> Evidence:
        self._characters += len(text)
        self._lines += text.count("\n")
        dead = self._cap is not None and self._characters >= self._cap
        return evidence(self._characters, self._lines, self._characters / (self._lines + 1), dead=dead)
