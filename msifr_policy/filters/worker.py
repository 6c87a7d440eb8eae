"""A process that judges in our stead, and is killed when it takes too long.

Libraries that simplify formulas or match patterns can be made to run for ever by a text, and cannot be interrupted
from within. A `Worker` runs them in a process of its own, started once, that is asked over a socket in lines of JSON.
When an answer is not there in time the process, with all it started, is killed; the next request starts another.
"""

from __future__ import annotations

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
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from msifr_policy.errors import InputError, MsifrError
from msifr_policy.filters.base import Judgement

__all__ = ["NoAnswerError", "Worker", "require"]

_START_SECONDS: Final = 120.0
"""How long a worker may take to import what it needs; a cold disk is slow."""

_LONGEST_ANSWER: Final = 4096
"""Bytes: an answer is a yes, a no, or a few words."""


class NoAnswerError(MsifrError):
    """A worker could not answer; the message says why, in words that do not depend on the request."""


class Worker:
    """Asks `module`, run as a process, for a yes or no; safe to share between threads, which then take turns.

    seconds: what one answer may take, from the request on. A request returns within this and what killing the process
        takes (milliseconds); starting it (about a second) is not counted.
    memory: bytes of address space of the process, enforced where the system can (Linux can, macOS cannot).

    The process gets no environment, standard streams or open files of ours. It ends with the worker: on `close`, at
    the end of a `with` block, when the worker is no longer used, and at exit. A worker copied to another process, by
    pickling or forking, starts its own.

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
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def ask(self, request: dict[str, Any]) -> bool:
        """Return the answer; raises `NoAnswerError` if there is none, and `MsifrError` if the process cannot start."""
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            process = self._process
            if process is None or process.owner != os.getpid():
                process = self._process = _Process(self)
                self.starts += 1
            answer = None
            try:
                answer = process.exchange(line, self.seconds)
            except TimeoutError:
                raise NoAnswerError("timed out") from None
            except (OSError, msgspec.DecodeError):
                raise NoAnswerError("the worker died") from None
            finally:
                # Whatever else went wrong, an interrupt too: a late answer must not meet the next request.
                if answer is None or answer.failed:
                    self._end()
            if answer.failed:
                raise NoAnswerError(answer.failed)
            return answer.yes

    def judge(self, request: dict[str, Any]) -> bool | Judgement:
        """Return the answer, or a judgement that says why there is none."""
        try:
            return self.ask(request)
        except NoAnswerError as why:
            return Judgement(accepted=False, failure=str(why))

    def close(self) -> None:
        """End the process, if there is one; another request would start another."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _copy, (self.module, self.seconds, self.memory)


def _copy(module: str, seconds: float, memory: int) -> Worker:
    return Worker(module, seconds=seconds, memory=memory)


class _Answer(msgspec.Struct, frozen=True):
    """A line from the process; `number` is that of the request."""

    number: int
    yes: bool = False
    failed: str = ""


class _Process:
    """One run of a worker's module. Raises `MsifrError` if it does not start."""

    def __init__(self, worker: Worker) -> None:
        self.owner = os.getpid()
        self._number = -1
        # The process must find the modules that we would; the rest of our environment is none of its business. A
        # fixed hash seed makes verdicts that hang on the order of a set the same in every run.
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        command = [sys.executable, "-P", "-s", "-m", worker.module, str(worker.seconds), str(worker.memory)]
        self._channel, theirs = socket.socketpair()
        with theirs:
            popen = subprocess.Popen(  # noqa: S603
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": path, "PYTHONHASHSEED": "0"},
                start_new_session=True,
            )
        self.end = weakref.finalize(self, _kill, popen, self._channel, self.owner)
        try:
            greeting = self.exchange(b"", _START_SECONDS)
            failed = greeting.failed
        except (OSError, msgspec.DecodeError) as error:
            failed = str(error)
        if failed:
            self.end()
            raise MsifrError(f"the worker {worker.module} does not start: {failed}")

    def exchange(self, line: bytes, seconds: float) -> _Answer:
        """Send a line and return the answer; raises TimeoutError, another OSError, or msgspec's DecodeError."""
        deadline = time.monotonic() + seconds
        self._number += 1
        self._channel.settimeout(seconds)
        self._channel.sendall(line)
        said = b""
        while not said.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._channel.settimeout(left)
            part = self._channel.recv(_LONGEST_ANSWER)
            said += part
            if not part or len(said) > _LONGEST_ANSWER:
                raise ConnectionError("it hung up")
        answer = msgspec.json.decode(said, type=_Answer)
        if answer.number != self._number:
            raise ConnectionError("it answers another request")
        return answer


def _kill(popen: subprocess.Popen[bytes], channel: socket.socket, owner: int) -> None:
    """Kill a process with all its group, and wait for it; a forked copy of us only lets go of its socket."""
    channel.close()
    if os.getpid() != owner:
        return
    # Not yet waited for, so the number is still its own, dead or alive.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, signal.SIGKILL)
    popen.wait()


def require(package: str, extra: str) -> str:
    """Return the version of an optional package; raises `InputError`, naming the extra, where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        raise InputError(
            f"{package} is not installed", where="final filter", remedy=f"pip install 'msifr-policy[{extra}]'"
        ) from None
