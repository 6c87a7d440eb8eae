"""The process that judges in our stead: started once, bounded in time and memory, and gone when it should be."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from msifr_policy.errors import InputError, MsifrError
from msifr_policy.filters import Judgement
from msifr_policy.filters.worker import Worker, require

MODULE = """
import os, subprocess, sys, time

def load():
    seen = []
    def answer(request):
        seen.append(request)
        do = request["do"]
        if do == "sleep":
            time.sleep(request["seconds"])
        if do == "loop":
            while True: pass
        if do == "spawn":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            print(child.pid, file=os.fdopen(os.open(request["at"], os.O_WRONLY), "w"), flush=True)
            while True: pass
        if do == "pid":
            return os.getpid() == request["pid"]
        if do == "die":
            os._exit(0)
        if do == "grow":
            bytearray(1 << 30)
        if do == "write":
            os.write(os.open(request["at"], os.O_WRONLY | os.O_CREAT), b"x")
        if do == "flood":
            os.write(3, b"x" * 5000)
        if do == "forge":
            os.write(3, b'{"number": 99, "yes": true}\\n')
            time.sleep(0.5)
        if do == "print":
            print('{"number": 1, "yes": true}')
        if do == "environment":
            return bool(set(os.environ) - {"PYTHONPATH", "PYTHONHASHSEED", "LC_CTYPE"})
        if do == "descriptors":
            return len(os.listdir("/proc/self/fd")) > 6
        return request.get("answer", len(seen) == request.get("nth"))
    return answer
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "made_worker.py").write_text(MODULE)
    (tmp_path / "slow_worker.py").write_text(MODULE.replace("seen = []", "seen = []; time.sleep(0.4)"))
    (tmp_path / "broken_worker.py").write_text(MODULE.replace("seen = []", "import no_such_module"))
    monkeypatch.syspath_prepend(tmp_path)
    return "made_worker"


@pytest.fixture
def worker(module: str) -> Any:
    with_limits = Worker(module, seconds=1.0, memory=1 << 29)
    yield with_limits
    with_limits.close()


def has_ended(pid: int, within: float = 5.0) -> bool:
    """Whether a process ends within so many seconds (a zombie has ended)."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def running(worker: Worker) -> int:
    assert worker.pid is not None
    return worker.pid


def test_one_process_answers_many_requests(worker: Worker) -> None:
    assert all(worker.ask({"do": "count", "nth": n}) for n in range(1, 501))
    assert not worker.ask({"do": "count", "nth": 0})
    assert worker.starts == 1


def test_long_requests_and_odd_characters_arrive(worker: Worker) -> None:
    """More than a socket holds, line feeds, and what is no Unicode text."""
    assert worker.ask({"do": "count", "text": "line\nfeed\u2028" * 1_000_000, "nth": 1})
    assert worker.ask({"do": "count", "text": "\ud800\x00", "nth": 2})


def test_a_request_that_takes_too_long_is_killed_in_time_and_the_next_is_answered(worker: Worker) -> None:
    worker.ask({"do": "count"})
    first, started = running(worker), time.monotonic()
    assert worker.ask({"do": "loop"}) == Judgement(accepted=False, failure="timed out")
    assert 1.0 <= time.monotonic() - started < 2.0
    assert has_ended(first)
    assert worker.ask({"do": "count", "nth": 1})  # a new process: it has seen nothing yet
    assert worker.starts == 2


def test_what_a_killed_process_started_is_killed_with_it(worker: Worker, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")  # the process may not write files, but may write to a pipe
    told: list[str] = []
    reader = threading.Thread(target=lambda: told.append((tmp_path / "fifo").read_text()))
    reader.start()
    assert not worker.ask({"do": "spawn", "at": str(tmp_path / "fifo")})
    reader.join(10)
    assert has_ended(int(told[0]))


@pytest.mark.parametrize(
    ("request_", "failure"),
    [
        ({"do": "die"}, "the worker died"),
        ({"do": "grow"}, "MemoryError"),
        ({"do": "write", "at": "made-by-worker"}, "OSError"),
        ({"do": "flood"}, "the worker died"),
        ({"do": "forge"}, "the worker died"),  # the answer to another request
        ({}, "KeyError"),
    ],
)
def test_what_fails_is_not_accepted_and_says_why(
    worker: Worker, tmp_path: Path, request_: dict[str, Any], failure: str
) -> None:
    request_ |= {"answer": True}
    if "at" in request_:
        request_["at"] = str(tmp_path / request_["at"])
    verdict = worker.ask(request_)
    assert verdict == Judgement(accepted=False, failure=failure)
    assert worker.ask({"do": "count", "nth": 1})


def test_printing_is_no_answer(worker: Worker) -> None:
    assert worker.ask({"do": "print", "answer": False}) is False


def test_our_environment_and_open_files_stay_ours(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VARIABLE_OF_OURS", "x")
    with open(tmp_path / "file", "w") as file:
        os.set_inheritable(file.fileno(), True)
        assert worker.ask({"do": "environment"}) is False
        assert worker.ask({"do": "descriptors"}) is False


def test_threads_take_turns(worker: Worker) -> None:
    wrong: list[int] = []

    def ask(thread: int) -> None:
        for i in range(100):
            yes = (thread * i) % 3 == 0
            if worker.ask({"do": "answer", "answer": yes}) is not yes:
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert worker.starts == 1


def test_a_pickled_copy_and_a_forked_process_have_their_own(worker: Worker) -> None:
    worker.ask({"do": "count"})
    ours = running(worker)
    copy = pickle.loads(pickle.dumps(worker))  # noqa: S301
    assert copy.ask({"do": "pid", "pid": ours}) is False
    copy.close()
    child = os.fork()
    if child == 0:
        # Neither asking nor ending here may reach the process of the other.
        wrong = worker.ask({"do": "pid", "pid": ours})
        worker.close()
        os._exit(int(wrong is not False))
    assert os.waitpid(child, 0)[1] == 0
    assert worker.ask({"do": "pid", "pid": ours}) is True


def test_the_process_ends_with_the_worker(module: str) -> None:
    worker = Worker(module, seconds=1.0, memory=1 << 29)
    worker.ask({"do": "count"})
    worker.close()
    assert worker.pid is None
    worker.ask({"do": "count"})
    pid = running(worker)
    del worker  # not closed
    assert has_ended(pid)


@pytest.mark.parametrize("ending", ["pass", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_process_outlives_ours(module: str, ending: str) -> None:
    """Neither at a usual exit nor when we are killed, in the midst of a request that never ends."""
    code = f"""
import threading, time
from msifr_policy.filters.worker import Worker
worker = Worker({module!r}, seconds=1.0, memory=1 << 29)
worker.ask({{"do": "count"}})
threading.Thread(target=worker.ask, args=({{"do": "loop"}},), daemon=True).start()
time.sleep(0.2)
print(worker.pid, flush=True)
{ending}
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert has_ended(int(result.stdout), within=10)


def test_an_interrupt_leaves_no_late_answer_behind(worker: Worker) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    worker.ask({"do": "count"})
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            worker.ask({"do": "sleep", "seconds": 0.5, "answer": True})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert worker.ask({"do": "answer", "answer": False}) is False
    assert worker.starts == 2


@pytest.mark.usefixtures("module")
def test_an_interrupt_while_the_process_starts_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker("slow_worker", seconds=1.0, memory=1 << 29)
    started: list[int] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)
            signal.setitimer(signal.ITIMER_REAL, 0.05)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            worker.ask({"do": "answer", "answer": True})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        monkeypatch.setattr(subprocess, "Popen", Interrupted.__base__)
    assert worker.pid is None
    assert has_ended(started[0])
    assert worker.ask({"do": "answer", "answer": True}) is True
    worker.close()


@pytest.mark.usefixtures("module")
def test_a_worker_that_cannot_start_says_why() -> None:
    with pytest.raises(MsifrError, match=r"broken_worker does not start: ModuleNotFoundError.*no_such_module"):
        Worker("broken_worker", seconds=1.0, memory=1 << 29).ask({})
    with pytest.raises(MsifrError, match="missing_worker does not start"):
        Worker("missing_worker", seconds=1.0, memory=1 << 29).ask({})


@pytest.mark.parametrize(("seconds", "memory"), [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1, 0)])
def test_limits_are_positive_and_finite(seconds: float, memory: int) -> None:
    with pytest.raises(InputError, match="positive and finite"):
        Worker("x", seconds=seconds, memory=memory)


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(InputError, match=r"no-such-package is not installed .*msifr-policy\[math\]"):
        require("no-such-package", "math")
