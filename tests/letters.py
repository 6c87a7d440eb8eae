"""Engines whose texts are letters drawn by the attempt's key, a filter for them, and runs of `generate` on them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zlib import crc32

from msifr_integrations.engine.base import Again, Attempt, Event, Failed, Notice
from msifr_integrations.generation import generate as generating
from msifr_integrations.generation.engines import Opened
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.result import Result
from msifr_integrations.servers.async_engine import AsyncEngine
from msifr_policy.filters import Prompt
from msifr_policy.records.ledger import Session


def text_of(key: bytes) -> str:
    draw = random.Random(key)  # noqa: S311
    return "".join(draw.choice("abcdefgh") for _ in range(draw.randint(1, 9)))


def good(prompt: Prompt, text: str) -> bool:
    """A share of texts that is the prompt's gold, in percent."""
    return crc32(text.encode()) % 100 < int(prompt.gold or "0")


class Letters:
    """An engine of this process: a letter a step for each attempt in a slot. `dies` after so many steps."""

    name, logprobs, asynchronous, waiting = "letters", False, False, 0

    def __init__(self, slots: int, *, dies: int | None = None, failing: Sequence[str] = ()) -> None:
        self.slots, self.dies, self.failing = slots, dies, failing
        self.queue: list[Attempt] = []
        self.rows: dict[str, tuple[str, int]] = {}
        self.submitted: list[str] = []
        self.busy: list[int] = []  # rows, by step
        self.most = 0

    def submit(self, attempt: Attempt) -> None:
        self.submitted.append(attempt.id)
        self.queue.append(attempt)
        self.most = max(self.most, len(self.queue) + len(self.rows))

    def cancel(self, attempt_id: str) -> None:
        self.rows.pop(attempt_id, None)
        self.queue = [attempt for attempt in self.queue if attempt.id != attempt_id]

    def drain(self, take: Callable[[Sequence[Notice]], None]) -> None:
        while self.queue or self.rows:
            while self.queue and len(self.rows) < self.slots:
                attempt = self.queue.pop(0)
                self.rows[attempt.id] = (text_of(attempt.key), 0)
            if self.dies is not None and len(self.busy) >= self.dies:
                raise KeyboardInterrupt
            self.busy.append(len(self.rows))
            take([self.step(name) for name in list(self.rows)])

    def step(self, name: str) -> Notice:
        text, done = self.rows[name]
        if name in self.failing:
            del self.rows[name]
            return Failed(name, "HTTP 400: no")
        self.rows[name] = text, done + 1
        last = done + 1 == len(text)
        if last:
            del self.rows[name]
        return Event(name, -1, -1.0, -1.0, "end" if last else "", text[done])

    def spent(self) -> Session:
        return Session()

    def close(self) -> None:
        """Nothing to give back."""


class Streams(AsyncEngine):
    """The same texts by streams, each of which is broken off once, after its second letter."""

    name, logprobs = "streams", False

    def __init__(self, slots: int, *, dies: int | None = None, failing: Sequence[str] = ()) -> None:
        super().__init__(slots)
        self.dies, self.failing = dies, failing
        self.submitted: list[str] = []
        self.most = self.steps = 0

    def submit(self, attempt: Attempt) -> None:
        self.submitted.append(attempt.id)
        super().submit(attempt)
        self.most = max(self.most, len(self._queue) + len(self._running))

    async def _stream(self, attempt: Attempt) -> AsyncGenerator[Sequence[Notice], None]:
        text = text_of(attempt.key)
        for again in (True, False):
            for i, letter in enumerate(text):
                await asyncio.sleep(0)
                self.steps += 1
                if self.dies is not None and self.steps > self.dies:
                    raise KeyboardInterrupt
                if attempt.id in self.failing:
                    yield [Failed(attempt.id, "HTTP 400: no")]
                    return
                if again and i == 2:
                    yield [Again(attempt.id, "connection lost")]
                    break
                yield [Event(attempt.id, -1, -1.0, -1.0, "end" if i + 1 == len(text) else "", letter)]
            else:
                return


def tasks(shares: Sequence[int]) -> list[Prompt]:
    return [Prompt(prompt_id=f"p{i}", prompt=f"Say {i}", gold=str(share)) for i, share in enumerate(shares)]


@contextmanager
def engine_is(engine: Any) -> Iterator[None]:
    @contextmanager
    def opened(*_: Any) -> Iterator[Opened]:
        yield Opened(engine, lambda prompt: (1, 2, 3, len(prompt.prompt)), {"engine": "test", "chat": False})

    with patch.object(generating, "open_engine", opened):
        yield


def run(out: Path, engine: Any, prompts: Sequence[Prompt], policy: Any, **options: Any) -> Result:
    tell = {name: options.pop(name) for name in ("progress",) if name in options}
    remarks = options.pop("tell", lambda _: None)
    usual: dict[str, Any] = {"attempts": 6, "final_filter": good, "slots": engine.slots}
    with engine_is(engine):
        return generate("none", prompts, policy, out, GenerateOptions(**usual | options), tell=remarks, **tell)
