"""The far side of `worker`: a process that answers one request at a time, and bounds itself.

Requests and answers are JSON, one a line, over the socket that is the process's standard input.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["Answerer", "serve"]

Answerer = Callable[[dict[str, Any]], bool]
"""Answers a request with yes or no; what it raises is reported by its type."""


def serve(load: Callable[[], Answerer]) -> None:
    """Load what is needed, say so, and answer requests until the caller hangs up.

    The arguments of the process are the seconds an answer may take and the bytes of address space it may use. The
    caller enforces the seconds; the process ends by itself a second later, should there be no caller any more.
    """
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    channel = socket.socket(fileno=os.dup(0)).makefile("rwb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)

    def say(number: int, **answer: object) -> None:
        channel.write(json.dumps({"number": number, **answer}).encode() + b"\n")
        channel.flush()

    try:
        answer = load()
        _limit(memory)
    except Exception as error:
        say(0, failed=f"{type(error).__name__}: {error}"[:500])
        return
    say(0, yes=True)
    for number, line in enumerate(channel, 1):
        signal.setitimer(signal.ITIMER_REAL, seconds + 1)  # whose default action ends the process
        try:
            say(number, yes=answer(json.loads(line)))
        except Exception as error:
            say(number, failed=type(error).__name__)
            return  # the next request deserves a process that is whole
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit(memory: int) -> None:
    """Bound address space, files written and core dumps, where the system can."""
    try:
        import resource
    except ImportError:
        return
    for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(limit, (most, most))
        except (OSError, ValueError):
            continue  # some systems know a limit but do not let it be set
