"""Processes that judge in our stead, and are killed when they take too long.

Libraries that simplify formulas or match patterns can be made to run for ever by a text, and cannot be interrupted
from within. A `Worker` runs them in a process of its own, started once, that is asked over a socket in lines of JSON.
When an answer is not there in time the process, with all it started, is killed; the next request starts another.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Self

import msgspec

from msifr_policy.errors import InputError, MsifrError
from msifr_policy.extras import install
from msifr_policy.filters.base import Judgement

Answerer = Callable[[dict[str, Any]], bool]
"""Answers a request with yes or no; what it raises is reported by its type."""

_START_SECONDS: Final = 120.0  # to import what is needed: a cold disk is slow

_LONGEST_ANSWER: Final = 4096  # bytes: an answer is a yes, a no, or a few words


class _Answer(msgspec.Struct, frozen=True):
    """A line from the process; `number` is that of the request."""

    number: int
    yes: bool = False
    failed: str = ""


class Worker:
    """Asks what `module.load()`, called in a process of its own, returns; threads may share it, and take turns.

    seconds: what one answer may take, from the request on. A request returns within this and what killing the process
        takes (milliseconds); starting it (about a second) is not counted.
    memory: bytes of address space of the process, enforced where the system can (Linux can, macOS cannot).

    The process gets no environment, standard streams or open files of ours. It ends with the worker: on `close`, when
    the worker is no longer used, and at exit. A worker copied to another process, by pickling or forking, starts its
    own.

    Raises `InputError` for limits that are not positive.
    """

    def __init__(self, module: str, *, seconds: float, memory: int) -> None:
        if not 0 < seconds < math.inf or memory <= 0:
            raise InputError(
                f"limits of {seconds} seconds and {memory} bytes must be positive and finite", where=f"worker {module}"
            )
        self.module = module
        self.seconds = float(seconds)
        self.memory = memory
        self.starts = 0
        """How many processes were started."""
        self.pid: int | None = None
        """The number of the process; None if none runs."""
        self._owner = 0
        self._lock = threading.RLock()

    def ask(self, request: dict[str, Any]) -> bool | Judgement:
        """Return the answer, or a judgement that says why there is none; `MsifrError` if the process cannot start."""
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            if self.pid is None or self._owner != os.getpid():
                self._start()
            answer = None
            try:
                answer = self._exchange(line, self.seconds)
                failure = answer.failed
            except TimeoutError:
                failure = "timed out"
            except (OSError, msgspec.DecodeError):
                failure = "the worker died"
            finally:
                # Whatever else went wrong, an interrupt too: a late answer must not meet the next request.
                if answer is None or answer.failed:
                    self.close()
            return answer.yes if answer and not failure else Judgement(accepted=False, failure=failure)

    def close(self) -> None:
        """End the process, if there is one; another request would start another."""
        with self._lock:
            if self.pid is not None:
                self._end()
                self.pid = None

    def _start(self) -> None:
        self.close()  # in a forked copy of us: the process is not ours
        # The process must find the modules that we would; the rest of our environment is none of its business. A
        # fixed hash seed makes verdicts that hang on the order of a set the same in every run.
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        what = (self.module, str(self.seconds), str(self.memory))
        self._channel, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-s", "-m", "msifr_policy.filters.serving", *what],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": path, "PYTHONHASHSEED": "0"},
                start_new_session=True,
            )
        self.pid, self._owner, self._number = process.pid, os.getpid(), -1
        self._end = weakref.finalize(self, _let_go, process, self._channel, self._owner)
        failed = "interrupted"
        try:
            failed = self._exchange(b"", _START_SECONDS).failed
        except (OSError, msgspec.DecodeError) as error:
            failed = str(error)
        finally:
            if failed:
                self.close()
        if failed:
            raise MsifrError(f"the worker {self.module} does not start: {failed}")
        self.starts += 1

    def _exchange(self, line: bytes, seconds: float) -> _Answer:
        """Send a line and return the answer; raises TimeoutError, another OSError, or msgspec's DecodeError."""
        deadline = time.monotonic() + seconds
        self._number += 1
        self._channel.settimeout(seconds)
        self._channel.sendall(line)
        said = b""
        for part in receive(self._channel, deadline):
            said += part
            if said.endswith(b"\n") or len(said) > _LONGEST_ANSWER:
                break
        if not said.endswith(b"\n"):
            raise ConnectionError("it hung up")
        answer = msgspec.json.decode(said, type=_Answer)
        if answer.number != self._number:
            raise ConnectionError("it answers another request")
        return answer

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Worker, self.module, seconds=self.seconds, memory=self.memory), ()


class AsksWorker:
    """What filters that judge by a `worker` share: its process, which the first use starts, ends with the filter.

    Use the filter as a context, or `close` it, to end the process at once.
    """

    worker: Worker

    def close(self) -> None:
        """End the worker's process."""
        self.worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _let_go(process: subprocess.Popen[bytes], channel: socket.socket, owner: int) -> None:
    channel.close()
    if os.getpid() == owner:  # a forked copy of us leaves the process to us
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its group, with all the group, and wait for it."""
    # Not yet waited for, so the number is still its own, dead or alive.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def receive(channel: socket.socket, deadline: float) -> Iterator[bytes]:
    """Yield what comes until the other side hangs up; raises TimeoutError at the deadline (of the monotonic clock)."""
    while (left := deadline - time.monotonic()) > 0:
        channel.settimeout(left)
        part = channel.recv(4096)
        if not part:
            return
        yield part
    raise TimeoutError


def require(package: str, extra: str) -> str:
    """Return the version of an optional package; raises `InputError`, naming the extra, where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        raise InputError(f"{package} is not installed", where="final filter", remedy=install(extra)) from None
