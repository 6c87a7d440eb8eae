"""The far side of `worker`: a process that answers one request at a time, and bounds itself.

Run with the name of a module, whose `load()` gives what answers, the seconds an answer may take, and the bytes of
address space that may be used. Requests and answers are JSON, one a line, over the socket that is standard input.
"""

import json
import os
import signal
import socket
import sys
from importlib import import_module

from msifr_policy.filters.sandbox import limit


def main(module: str, seconds: float, memory: int) -> None:
    """Load what is needed, say so, and answer requests until the caller hangs up.

    The caller enforces the seconds; this process ends by itself a second later, should there be no caller any more.
    """
    channel = socket.socket(fileno=os.dup(0)).makefile("rwb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)

    def say(number: int, **answer: object) -> None:
        channel.write(json.dumps({"number": number, **answer}).encode() + b"\n")
        channel.flush()

    try:
        answer = import_module(module).load()
        limit(RLIMIT_AS=memory, RLIMIT_FSIZE=0, RLIMIT_CORE=0)
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


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
