"""What engines have in common whose tokens are made elsewhere: a queue, a limit of streams, and the event loop.

An attempt is one stream. What the caller decides about it, it decides between two events of this stream; the stream is
closed then, and what the other side goes on to make is not waited for.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, TypeVar

from msifr_integrations.engine.base import Attempt, Notice
from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Session

Result = TypeVar("Result")


def beside(call: Callable[..., Result], *arguments: Any) -> Result:
    """Call here, or, where an event loop runs already, as in a notebook, in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call(*arguments)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *arguments).result()


class AsyncEngine(ABC):
    """At most `slots` streams at a time, in the order of submission."""

    asynchronous = True
    waiting = 0

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise InputError(f"slots = {slots} must be at least 1", where="engine")
        self.slots = slots
        # What runs a drain; an engine that lives on one event loop puts its own in this place.
        self._run_loop: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
        self._queue: deque[Attempt] = deque()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._more = asyncio.Event()  # set when something was queued

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt."""
        self._queue.append(attempt)
        self._more.set()

    def cancel(self, attempt_id: str) -> None:
        """Close the attempt's stream, or take it from the queue. An id that is neither is ignored."""
        task = self._running.get(attempt_id)
        if task is None:
            self._queue = deque(attempt for attempt in self._queue if attempt.id != attempt_id)
            return
        self._cancelled.add(attempt_id)
        if task is not asyncio.current_task():  # its own task looks after each event
            task.cancel()

    def drain(self, take: Callable[[Sequence[Notice]], None]) -> None:
        """Run until nothing is queued or streaming."""
        beside(self._run_loop, self._drain(take))

    async def _drain(self, take: Callable[[Sequence[Notice]], None]) -> None:
        self._more = asyncio.Event()  # an event belongs to the loop that waits for it first
        async with self._connected():
            try:
                while self._queue or self._running:
                    while self._queue and len(self._running) < self.slots:
                        attempt = self._queue.popleft()
                        self._running[attempt.id] = asyncio.create_task(self._run(attempt, take))
                    self._more.clear()
                    more = asyncio.create_task(self._more.wait())  # a slot may be free for what is queued meanwhile
                    done, _ = await asyncio.wait({*self._running.values(), more}, return_when=asyncio.FIRST_COMPLETED)
                    more.cancel()
                    done -= {more}
                    self._running = {name: task for name, task in self._running.items() if task not in done}
                    # Each is asked, since what breaks one stream may break others with it.
                    errors = [task.exception() for task in done if not task.cancelled()]
                    for error in filter(None, errors):
                        raise error
            finally:
                for task in self._running.values():
                    task.cancel()
                await asyncio.gather(*self._running.values(), return_exceptions=True)
                self._running = {}
                self._cancelled.clear()

    async def _run(self, attempt: Attempt, take: Callable[[Sequence[Notice]], None]) -> None:
        try:
            async with aclosing(self._stream(attempt)) as stream:
                async for events in stream:
                    take(events)
                    if attempt.id in self._cancelled:
                        break
        finally:
            self._cancelled.discard(attempt.id)

    def _connected(self) -> AbstractAsyncContextManager[Any]:
        """Return what holds during a drain: connections, say."""
        return nullcontext()

    @abstractmethod
    def _stream(self, attempt: Attempt) -> AsyncGenerator[Sequence[Notice], None]:
        """Yield the attempt's events as they come, as an asynchronous generator; closing it closes the stream."""

    def spent(self) -> Session:
        """Return that it spends nothing beside the tokens of attempts."""
        return Session()

    def close(self) -> None:
        """Forget the queue."""
        self._queue.clear()
