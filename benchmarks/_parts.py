"""Where the time of a run goes: seconds by part, what reading the clock itself takes left out."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

Clock = Callable[[], float]


class Parts:
    """Seconds by part: what runs inside a part and is a part itself counts there alone. `calls`: of each part."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.inside: Counter[str] = Counter()  # parts that began inside each
        self._clock = clock
        self._name, self._since = "other", clock()

    def switch(self, name: str) -> str:
        """Begin part `name`; return the one that ends."""
        now = self._clock()
        self.seconds[self._name] += now - self._since
        before, self._name, self._since = self._name, name, now
        return before

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return `function` as part `name`."""

        def part(*args: Any, **options: Any) -> Any:
            before = self.switch(name)
            self.calls[name] += 1
            self.inside[before] += 1
            try:
                return function(*args, **options)
            finally:
                self.switch(before)

        return part

    def clear(self) -> None:
        """Forget what was timed, and begin with what is no part."""
        self.switch("other")
        for counts in (self.seconds, self.calls, self.inside):
            counts.clear()

    def net(self) -> dict[str, float]:
        """Return the seconds of each part without those that it took to time it, as measured now."""
        self.switch("other")
        within, around = _price_of_timing(self._clock)
        spent = {name: self.calls[name] * within + self.inside[name] * around for name in self.seconds}
        return {name: max(seconds - spent[name], 0.0) for name, seconds in self.seconds.items()}


def _price_of_timing(clock: Clock, calls: int = 20_000) -> tuple[float, float]:
    """Return the seconds that timing a call adds to its part, and to the part around it."""
    parts = Parts(clock)
    nothing = parts.timed(lambda *_: None, "part")
    parts.clear()
    for _ in range(calls):
        nothing(None, None)
    parts.switch("end")
    return parts.seconds["part"] / calls, parts.seconds["other"] / calls


@contextmanager
def timing(parts: Parts, what: Sequence[tuple[Any, str, str]]) -> Iterator[None]:
    """Time functions in the block: of each its owner, its name there, and its part."""
    with ExitStack() as patches:
        for owner, name, part in what:
            patches.enter_context(patch.object(owner, name, parts.timed(getattr(owner, name), part)))
        yield
