"""Schedules: where the checkpoints of an attempt are.

In flight the total length is unknown, so a schedule uses only what has been generated. A checkpoint is
a *position* in the text (characters, exclusive end), a pure function of the text before it and of the
token boundaries; how the text was cut into pieces on its way does not matter. That makes the
checkpoints of a replay those of the live run.

A `Schedule` is a frozen record; `schedule.start()` gives a `Clock`, which is fed pieces and returns
the checkpoints inside each.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Literal, NamedTuple, Protocol

import msgspec

from msifr_policy.errors import InputError

Unit = Literal["tokens", "characters"]
"""What costs and count-based schedules are measured in."""


class Tick(NamedTuple):
    """A checkpoint seen by a `Clock`: `offset` characters into the piece just fed (exclusive end)."""

    offset: int


class Clock(Protocol):
    """State of a schedule along one attempt."""

    def feed(self, text: str, tokens: int) -> list[Tick]:
        """Take the new `text`, completed by `tokens` new tokens; return its checkpoints in order."""


class EveryUnits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="every", tag_field="kind"):
    """A checkpoint after every `n` units, the first after `first` (default `n`) units."""

    n: int
    unit: Unit
    first: int = 0
    max_checkpoints: int = 1024

    def __post_init__(self) -> None:
        _check_count("n", self.n)
        _check_count("max_checkpoints", self.max_checkpoints)
        if self.first < 0:
            raise InputError(f"first = {self.first} must not be negative", where="schedule every")

    def boundaries(self) -> Iterator[int]:
        """Yield the unit counts of the checkpoints, increasing."""
        first = self.first or self.n
        for k in range(self.max_checkpoints):
            yield first + k * self.n

    def start(self) -> Clock:
        """Return the clock of a fresh attempt."""
        return _CountClock(self.boundaries(), self.unit)


class Geometric(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="geometric", tag_field="kind"):
    """Checkpoints after `first`, `first·ratio`, `first·ratio²`, … units (rounded up, strictly increasing)."""

    first: int
    ratio: float
    unit: Unit
    max_checkpoints: int = 64

    def __post_init__(self) -> None:
        _check_count("first", self.first)
        _check_count("max_checkpoints", self.max_checkpoints)
        if not (math.isfinite(self.ratio) and self.ratio > 1):
            raise InputError(f"ratio = {self.ratio} must be finite and > 1", where="schedule geometric")

    def boundaries(self) -> Iterator[int]:
        """Yield the unit counts of the checkpoints, increasing."""
        previous = 0
        value = float(self.first)
        for _ in range(self.max_checkpoints):
            boundary = max(previous + 1, math.ceil(value - 1e-9))
            if boundary > 1 << 48:
                return
            yield boundary
            previous, value = boundary, value * self.ratio

    def start(self) -> Clock:
        """Return the clock of a fresh attempt."""
        return _CountClock(self.boundaries(), self.unit)


class NewlineSteps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="newline", tag_field="kind"):
    """A checkpoint after each newline that ends a step of at least `min_characters`."""

    min_characters: int = 1
    max_checkpoints: int = 64

    def __post_init__(self) -> None:
        _check_count("min_characters", self.min_characters)
        _check_count("max_checkpoints", self.max_checkpoints)

    def start(self) -> Clock:
        """Return the clock of a fresh attempt."""
        return _NewlineClock(self.min_characters, self.max_checkpoints)


Schedule = EveryUnits | Geometric | NewlineSteps


class _CountClock:
    """Checkpoints at given counts of tokens or characters."""

    def __init__(self, boundaries: Iterator[int], unit: Unit) -> None:
        self._boundaries = boundaries
        self._unit = unit
        self._count = 0
        self._next: float = next(boundaries, math.inf)

    def feed(self, text: str, tokens: int) -> list[Tick]:
        before = self._count
        self._count += len(text) if self._unit == "characters" else tokens
        ticks: list[Tick] = []
        while self._next <= self._count:
            if self._unit == "characters":
                ticks.append(Tick(int(self._next) - before))
            elif self._next == self._count:
                ticks.append(Tick(len(text)))
            else:
                # A boundary inside a piece of several tokens has no known character position.
                raise InputError(
                    f"a piece of {tokens} tokens crosses the checkpoint at {self._next} tokens",
                    where="schedule in tokens",
                    remedy="feed token by token, or record token_ends in the trace",
                )
            self._next = next(self._boundaries, math.inf)
        return ticks


class _NewlineClock:
    """Checkpoints after newlines; carries the number of characters since the last one."""

    def __init__(self, min_characters: int, max_checkpoints: int) -> None:
        self._min = min_characters
        self._left = max_checkpoints
        self._since = 0

    def feed(self, text: str, tokens: int) -> list[Tick]:
        del tokens
        ticks: list[Tick] = []
        if "\n" not in text:
            self._since += len(text)
            return ticks
        start = 0  # offset of the current step's first character in this piece
        search = 0
        while self._left > 0 and (newline := text.find("\n", search)) >= 0:
            search = newline + 1
            if self._since + newline - start >= self._min:
                ticks.append(Tick(search))
                self._left -= 1
                self._since, start = 0, search
        self._since += len(text) - start
        return ticks


def auto_schedule(lengths: Sequence[int]) -> Schedule:
    """Return geometric checkpoints from a fortieth of the median of `lengths` (characters) on, 25 % apart.

    Raises `InputError` if there are none.
    """
    if not lengths:
        raise InputError("there are no traces", remedy="name files that hold some")
    return Geometric(max(4, round(median(lengths) / 40)), 1.25, "characters")


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{name} = {value} must be at least 1", where="schedule")
