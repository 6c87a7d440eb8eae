"""The program `msifr`: an interrupt ends it with status 130, whatever it is at."""

import _thread
import os
import signal
import sys
import threading
from types import FrameType

_AGAIN = 0.05
"""Seconds until an interrupt that came during an import is looked at once more."""

_interrupted = threading.Event()


def run() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, _interrupt)
    if not os.isatty(2):  # bars of other libraries are for terminals, too
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        from msifr_integrations.cli.main import main

        main()
    except (KeyboardInterrupt, SystemExit) as end:
        # Where an interrupt reaches click outside of a command, click ends with 1.
        if _interrupted.is_set() or isinstance(end, KeyboardInterrupt):
            sys.exit(130)
        raise


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt` once no import is under way: modules turn it into errors of their own, or lose it."""
    while frame is not None and frame.f_code is not run.__code__:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            threading.Timer(_AGAIN, _thread.interrupt_main, [number]).start()
            return
        frame = frame.f_back
    _interrupted.set()
    raise KeyboardInterrupt
