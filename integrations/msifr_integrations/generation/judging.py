"""Finished texts put to a final filter outside of a run: one at a time, or many in processes side by side.

What a run would say of a text is said here too: what a filter cannot judge is not accepted, and why is kept. Only
where there is nothing to judge by (no gold answer, say), or the filter raises, there is no outcome.
"""

import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from multiprocessing import get_context, parent_process
from typing import Final, NamedTuple, TypeVar

import msgspec

from msifr_policy.errors import InputError, MsifrError
from msifr_policy.filters import FinalFilter, Judgement, Prompt

T = TypeVar("T")

NO_ANSWER: Final = "no answer found"
"""Why a text is not accepted that shows no answer where the filter looks for one."""

DIED: Final = "the filter's process died"

MakeFilter = Callable[[], FinalFilter]
"""Makes a final filter, in every process anew: a function that can be pickled, such as a `partial` of one."""

_REMEMBERED: Final = 4096  # prompts that were checked
_ALONE_SECONDS: Final = 2.0  # of judging in this process, before others are worth their start
_CHUNK_SECONDS: Final = 0.25  # of judging that is sent to a process at once: what a killed run may lose of each
_CHUNK_MOST: Final = 256
_AHEAD: Final = 8  # chunks for each process
_AHEAD_CHARACTERS: Final = 1 << 25  # of texts that are judged side by side, but for one


class Judged(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a text: `accepted` or not, None if it has no outcome.

    `why` says what kept the filter from judging, in a few words that do not depend on the text: the outcome is then
    False (`NO_ANSWER`, "timed out"), or None ("no gold answer"). `score` and `found` are those of `Judgement`.
    """

    accepted: bool | None
    why: str = ""
    score: float | None = None
    found: str | None = None


class Judge:
    """Puts texts to the final filter `accept`; remembers which prompts can be judged."""

    def __init__(self, accept: FinalFilter) -> None:
        self.accept = accept
        self._flaws: dict[bytes, str] = {}

    def __call__(self, prompt: Prompt, text: str) -> Judged:
        """Return what comes of a finished `text`; raises `MsifrError` where the filter cannot work at all."""
        if flaw := self._flaw(prompt):
            return Judged(None, flaw)
        try:
            said = self.accept(prompt, text)
        except MsifrError:
            raise
        except Exception as error:
            return Judged(None, f"the filter raised {type(error).__name__}")
        if not isinstance(said, Judgement):
            return Judged(bool(said))
        why = said.failure or (NO_ANSWER if said.found == "" else "")
        return Judged(said.accepted, why, said.score, said.found)

    def _flaw(self, prompt: Prompt) -> str:
        """Return why no text at this prompt can be judged, "" if it can."""
        key = _key(prompt)
        if key not in self._flaws:
            if len(self._flaws) >= _REMEMBERED:
                self._flaws.clear()
            self._flaws[key] = ""
            try:
                self.accept.check(prompt)
            except InputError as error:
                # Reasons are counted: those of one kind must read the same.
                self._flaws[key] = error.what.replace(f" {prompt.gold!r}", "")[:80]
        return self._flaws[key]


def _key(prompt: Prompt) -> bytes:
    try:
        return msgspec.json.encode(prompt)
    except UnicodeEncodeError:  # half of a surrogate pair
        return repr(prompt).encode(errors="backslashreplace")


class ToJudge(NamedTuple):
    """A finished text and what it was asked for."""

    prompt: Prompt
    text: str


def judged(
    items: Iterable[tuple[T, ToJudge | None]], make: MakeFilter, *, workers: int = 1
) -> Iterator[tuple[T, Judged | None]]:
    """Yield each item with what came of its text, in order; None for one that is not to be judged.

    With several `workers`, processes judge side by side once this one has judged for two seconds. A text that kills its
    process has no outcome (`DIED`). Memory: some 100 texts for each worker, or 32 million characters.

    Raises `MsifrError` where the filter cannot work at all, and `InputError` if `make` finds no filter.
    """
    todo = iter(items)
    judge = Judge(make())
    close: Callable[[], None] = getattr(judge.accept, "close", lambda: None)
    count, spent = 0, 0.0
    try:
        for item, task in todo:
            if task is None:
                yield item, None
                continue
            if workers > 1 and spent > _ALONE_SECONDS:
                todo = chain([(item, task)], todo)
                break
            began = time.perf_counter()
            said = judge(*task)
            spent += time.perf_counter() - began
            count += 1
            yield item, said
        else:
            return
    finally:
        close()
    size = max(1, min(_CHUNK_MOST, round(_CHUNK_SECONDS * count / spent)))
    processes = _Processes(make, workers)
    try:
        yield from _side_by_side(todo, processes, size)
    finally:
        processes.close()


class _Chunk(NamedTuple):
    items: list[tuple[object, ToJudge | None]]
    future: "Future[list[Judged]]"
    characters: int


def _side_by_side(
    todo: Iterator[tuple[T, ToJudge | None]], processes: "_Processes", size: int
) -> Iterator[tuple[T, Judged | None]]:
    ahead: deque[_Chunk] = deque()
    items: list[tuple[T, ToJudge | None]] = []
    characters = 0

    def send() -> None:
        ahead.append(_Chunk(list(items), processes.submit(_tasks(items)), characters))

    def first() -> Iterator[tuple[T, Judged | None]]:
        chunk = ahead.popleft()
        said = iter(processes.result(_tasks(chunk.items), chunk.future))
        for item, task in chunk.items:
            yield item, None if task is None else next(said)  # type: ignore[misc]

    for item, task in todo:
        items.append((item, task))
        characters += len(task.text) if task is not None else 0
        if len(items) >= size or characters > _AHEAD_CHARACTERS // (_AHEAD * processes.count):
            send()
            items, characters = [], 0
        while len(ahead) >= _AHEAD * processes.count or (
            len(ahead) > 1 and sum(chunk.characters for chunk in ahead) > _AHEAD_CHARACTERS
        ):
            yield from first()
        while ahead and ahead[0].future.done():
            yield from first()
    send()
    while ahead:
        yield from first()


def _tasks(items: Iterable[tuple[object, ToJudge | None]]) -> list[ToJudge]:
    return [task for _, task in items if task is not None]


class _Processes:
    """`count` processes that judge; when a text kills one, the others' texts are judged all the same."""

    def __init__(self, make: MakeFilter, count: int) -> None:
        try:
            pickle.dumps(make)
        except Exception as error:
            what = f"what makes the final filter cannot be sent to another process: {error}"
            raise InputError(what, remedy="judge with one worker, or give a function of a module") from error
        self.count = count
        self._make = make
        self._start()

    def _start(self) -> None:
        # Spawned, not forked: we have threads, and filters processes of their own.
        self._pool = ProcessPoolExecutor(self.count, get_context("spawn"), _prepare, (self._make,))
        try:
            self._pool.submit(_judge_all, ()).result()
        except BrokenProcessPool as error:
            self.close()
            raise MsifrError(
                "processes that judge do not start: judge with one worker, or, in a script of your own, call this "
                'under if __name__ == "__main__"'
            ) from error

    def submit(self, tasks: list[ToJudge]) -> "Future[list[Judged]]":
        try:
            return self._pool.submit(_judge_all, tasks)
        except BrokenProcessPool as error:
            broken: Future[list[Judged]] = Future()
            broken.set_exception(error)
            return broken

    def result(self, tasks: Sequence[ToJudge], future: "Future[list[Judged]]") -> list[Judged]:
        """Return what came of the texts; if a process died meanwhile, ask for each of them anew."""
        try:
            return future.result()
        except BrokenProcessPool:
            return [self._alone(task) for task in tasks]

    def _alone(self, task: ToJudge) -> Judged:
        for _ in range(2):  # the first process may be one that another text has killed
            try:
                return self._pool.submit(_judge_all, [task]).result()[0]
            except BrokenProcessPool:
                self.close()
                self._start()
        return Judged(None, DIED)

    def close(self) -> None:
        """End the processes, whatever they are at."""
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        self._pool.shutdown()


_here: list[Judge | MsifrError] = []
"""In a process that judges, who does, or why nobody can."""


def _prepare(make: MakeFilter) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the process that gives out the texts
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _here.append(Judge(make()))
    except Exception as error:
        _here.append(MsifrError(f"the final filter cannot be made in another process: {error}"))


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _judge_all(tasks: Sequence[ToJudge]) -> list[Judged]:
    (judge,) = _here
    if isinstance(judge, MsifrError):
        raise judge
    return [judge(*task) for task in tasks]
