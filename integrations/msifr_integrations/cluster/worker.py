"""One engine of a run that has several: portions of it come in by many threads, and go out by the same, finished."""

import os
import secrets
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, NamedTuple

# Torch's threads spin while they wait. A worker is unpickled by this module, so that this comes before torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import msgspec

from msifr_integrations.generation.engines import Opened, as_opened, open_engine
from msifr_integrations.generation.generate import attempt_id, forcing_of, task_of
from msifr_integrations.generation.journal import AttemptRecord
from msifr_integrations.generation.live import Task
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.pilots import audit_of
from msifr_integrations.generation.run import Run
from msifr_integrations.generation.states import read_states
from msifr_integrations.generation.turns import Portion, Turns, reads_history
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.filters import FinalFilter, Prompt
from msifr_policy.policy import Policy
from msifr_policy.records.ledger import AtPrompt, Entry, Session, total

_GATHER = 0.1
"""Seconds for which an idle worker waits for as many portions as it has slots, before it begins with fewer."""


@dataclass(frozen=True)
class WorkOrder:
    """What every worker of a run is given.

    model: a folder or name, None for servers. urls: of servers, of which worker i takes the i-th, over and over.
    must: what the run, or the one to compare with, says of its engine: a worker with another engine makes nothing.
    """

    model: str | None
    urls: tuple[str, ...]
    prompts: Sequence[Prompt]
    policy: Policy
    accept: FinalFilter
    options: GenerateOptions
    must: dict[str, Any]


class Hello(msgspec.Struct, frozen=True):
    """What a worker says of itself, the same with every attempt.

    worker: a name that no other has, nor it itself when it was started again. remarks: what a user should know.
    """

    worker: str
    settings: dict[str, Any]
    logprobs: bool
    remarks: list[str]


class Finished(NamedTuple):
    """An attempt that has left: a `Hello`, the attempt's record and entry, and a `Session`, all in JSON.

    session: what the worker had spent beside attempts when it was last idle. error: why there is no attempt, "" if
    there is; bad_input: whether that is an error of the user's.
    """

    hello: bytes = b""
    record: bytes = b""
    entry: bytes = b""
    session: bytes = b""
    error: str = ""
    bad_input: bool = False


class EngineWorker:
    """An engine, run by a thread of its own for as long as the process lives.

    `finish` may be called by many threads at a time. What they ask for together fills the engine's slots, and each is
    back when its own portions are done. `number` tells which of the servers it takes.
    """

    def __init__(self, order: WorkOrder, number: int = 0) -> None:
        self._order = order
        url = order.urls[number % len(order.urls)] if order.urls else ""
        server = msgspec.structs.replace(order.options.server, url=url)
        self._options = msgspec.structs.replace(order.options, server=server)
        self._change = Condition()
        self._arrived: deque[Portion] = deque()
        self._asked: dict[Portion, Future[list[Finished]]] = {}
        self._held: dict[str, tuple[bytes, bytes]] = {}  # record and entry of attempts that have left, by id
        self._done: list[Portion] = []  # of which all that are made have left
        self._hello = self._session = b""
        self._error: Finished | None = None
        Thread(target=self._live, daemon=True).start()
        with self._change:
            self._change.wait_for(lambda: self._hello or self._error)

    def finish(self, portions: Sequence[Portion]) -> list[Finished]:
        """Return the attempts of these portions (whose numbers are tuples), when all of them have left.

        Under a quota there may be fewer. What cannot be gone on with comes as an error in the place of a portion.
        """
        with self._change:
            if self._error is not None:
                return [self._error] * len(portions)
            fresh = dict.fromkeys(portion for portion in portions if portion not in self._asked)
            self._asked |= {portion: Future() for portion in fresh}
            self._arrived += fresh
            futures = [self._asked[portion] for portion in portions]
            self._change.notify_all()
        return [finished for future in futures for finished in future.result()]

    def write(self, record: AttemptRecord, entry: Entry) -> None:
        """Hold an attempt that has left."""
        self._held[entry.id] = msgspec.json.encode(record), msgspec.json.encode(entry)

    def _end(self, portion: Portion) -> None:
        """Give back a portion that is done; the last that was asked for waits for what the session has spent."""
        with self._change:
            self._done.append(portion)
            if len(self._asked) > len(self._done):
                self._give_back()

    def end_session(self, session: Session) -> None:
        """Give back what waits: the engine is idle, and tells what it has spent until now."""
        with self._change:
            self._session = msgspec.json.encode(session)
            self._give_back()

    def _give_back(self) -> None:
        for portion in self._done:
            ids = [attempt_id(self._order.prompts[portion.place], self._options, number) for number in portion.numbers]
            left = [self._held.pop(name) for name in ids if name in self._held]
            self._asked.pop(portion).set_result([Finished(self._hello, *pair, self._session) for pair in left])
        self._done.clear()

    def _live(self) -> None:
        """Open the engine, and run it whenever there is something to do."""
        order, remarks = self._order, list[str]()
        try:
            with open_engine(order.model, None, order.prompts[0], self._options, remarks.append) as opened:
                run = self._run(opened)
                self._say_hello(opened, remarks)
                while True:
                    self._wait(opened.engine.slots)
                    run.drain()
        except Exception as error:  # whatever it is, those who wait for attempts must be told
            self._stop(error)

    def _run(self, opened: Opened) -> Run:
        order, options = self._order, self._options
        for name, value in _as_read(opened.settings).items():
            if order.must.get(name, value) != value:
                what = f"an engine has {name} = {value!r}, the run {order.must[name]!r}"
                raise InputError(what, where="worker", remedy="every engine of a run must be the same")
        options = as_opened(options, opened)
        read_states(opened.engine, order.policy, opened.settings.get("weights", ""))
        encoded = [opened.encode(prompt) for prompt in order.prompts]  # each is, so that a bad one is known at once

        def task(place: int, number: int, history: AtPrompt | None) -> Task:
            return task_of(order.prompts[place], encoded[place], options, number, history)

        return Run(
            opened.engine,
            Turns(
                self._next,
                task,
                one_by_one=reads_history(order.policy),
                quota=options.accepted_per_prompt,
                done=self._end,
            ),
            order.policy,
            order.accept,
            opened.tokenizer,
            self,
            options,
            total(()),
            len(order.prompts) * options.attempts,
            audit=audit_of(order.policy, options),
            forcing=forcing_of(order.policy, options, encoded[0], opened.tokenizer),
        )

    def _say_hello(self, opened: Opened, remarks: list[str]) -> None:
        settings = _as_read(opened.settings)
        hello = Hello(f"{os.getpid()}-{secrets.token_hex(8)}", settings, opened.engine.logprobs, remarks)
        with self._change:
            self._hello = msgspec.json.encode(hello)
            self._change.notify_all()

    def _wait(self, slots: int) -> None:
        with self._change:
            self._change.wait_for(lambda: self._arrived)
            self._change.wait_for(lambda: len(self._arrived) >= slots, timeout=_GATHER)

    def _next(self) -> Portion | None:
        with self._change:
            return self._arrived.popleft() if self._arrived else None

    def _stop(self, error: Exception) -> None:
        what = str(error) if isinstance(error, MsifrError) else f"{type(error).__name__}: {error}"
        with self._change:
            bad_input = isinstance(error, InputError)
            self._error = finished = Finished(self._hello, session=self._session, error=what, bad_input=bad_input)
            for future in self._asked.values():
                future.set_result([finished])
            self._asked.clear()
            self._change.notify_all()


def _as_read(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as a ledger has them: tuples are lists there."""
    read: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings))
    return read
