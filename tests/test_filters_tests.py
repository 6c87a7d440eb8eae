"""Programs run with their tests: what passes, what cannot deceive, and what a program cannot reach."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msifr_policy.errors import InputError
from msifr_policy.filters import Judgement, Prompt, UnitTests
from msifr_policy.filters import unit_tests as module

if os.name != "posix":
    pytest.skip("programs are run on POSIX systems only", allow_module_level=True)


def prompt(tests: str | None) -> Prompt:
    return Prompt(prompt_id="p", prompt="Write f.", tests=tests)


def fenced(program: str) -> str:
    return f"Like this:\n```python\n{program}\n```\nIt works."


@pytest.fixture(scope="module")
def confined() -> UnitTests:
    try:
        return UnitTests(seconds=5.0)
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def unconfined() -> UnitTests:
    return UnitTests(seconds=5.0, unconfined=True)


@pytest.fixture(scope="module", params=["confined", "unconfined"])
def accept(request: pytest.FixtureRequest) -> UnitTests:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def verdict(accept: UnitTests, program: str, tests: str = "assert f(2) == 4") -> bool | Judgement:
    asked = prompt(tests)
    accept.check(asked)
    return accept(asked, fenced(program))


DOUBLE = "def f(x):\n    return 2 * x"
WRONG = "def f(x):\n    return 3 * x"
# Does something with every file descriptor that there may be.
EVERYWHERE = "import os\nfor i in range(64):\n    try: {}\n    except OSError: pass\n"

STYLES = {
    "statements": "assert f(2) == 4\nassert f(-1) == -2",
    "a loop": "for x in range(5):\n    assert f(x) == x + x",
    "functions": "from solution import f as double\ndef test_two():\n    assert double(2) == 4",
    "cases": "import unittest\nclass T(unittest.TestCase):\n    def test_two(self):\n        self.assertEqual(f(2), 4)",
    "a call": "def check(candidate):\n    assert candidate(2) == 4\ncheck(f)",
    "an import": "import solution\nassert solution.f(2) == 4",
    "output": "import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()) as out:\n    print(f(2))\n"
    "assert out.getvalue() == '4\\n'",
}


@pytest.mark.parametrize("style", STYLES)
def test_right_programs_pass_and_wrong_ones_do_not(accept: UnitTests, style: str) -> None:
    assert verdict(accept, DOUBLE, STYLES[style]) is True
    assert verdict(accept, WRONG, STYLES[style]) is False


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("import math, json, re, decimal, hashlib, sqlite3, ctypes, datetime, zoneinfo\n" + DOUBLE, "assert f(2) == 4"),
        ("import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: 'int'", "assert P(3) == P(3)"),
        ("import threading\nt = threading.Thread(target=int)\nt.start()\nt.join()\n" + DOUBLE, "assert f(2) == 4"),
        ("import sys\nsys.setrecursionlimit(10**5)\n" + DOUBLE, "assert f(2) == 4"),
        ("import tempfile\ntempfile.TemporaryFile().write(b'x')\nopen('here', 'w').write('x')", "assert open('here')"),
        (DOUBLE + "\nif __name__ == '__main__':\n    raise SystemExit(input())", "assert f(2) == 4"),
        ("# ünïcödé ∑\ns = 'ü'", "assert s == 'ü' and len(s) == 1"),
        ("import unittest\n" + DOUBLE, "assert f(2) == 4"),
    ],
)
def test_ordinary_programs_run(accept: UnitTests, program: str, tests: str) -> None:
    assert verdict(accept, program, tests) is True


@pytest.mark.parametrize(
    "program",
    [
        "import os; os._exit(0)",
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "quit = None; raise KeyboardInterrupt",
        "def f(x): raise SystemExit(0)",
        "import os\ndef f(x): os._exit(0)",
        "import atexit, os; atexit.register(os._exit, 0); raise SystemExit(0)",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM); os.abort()",
        "import os; os.execv('/bin/true', ['true'])",
        "import os\nif os.fork(): os._exit(0)\nimport time; time.sleep(1)\ndef f(x): return 4",
        "import threading, os; threading.Timer(0, os._exit, (0,)).start(); import time; time.sleep(1)",
        "import ctypes; ctypes.string_at(0)",
        "print('passed OK success accepted True 1')\nassert False",
        EVERYWHERE.format("os.write(i, b'accepted')") + "def f(x): return 3",
        "import os; os.closerange(0, 1024)\ndef f(x): return 4",
        "import builtins; builtins.AssertionError = int\ndef f(x): return 3",
        "import sys; sys.modules['solution'].f = 4",
        "import sys; sys.settrace(lambda *a: None); sys.stdout = sys.stderr = None\ndef f(x): return 3",
        "import os; os._exit = os.write = os.read = lambda *a: b''\ndef f(x): return 3",
        "def test_two(): pass",
        "def f(x): return g(x)",
        "syntax error here",
        "",
        "\x00",
        "(" * 100_000,
        "x = " + "-" * 1_000_000 + "1",
        "def f(x): return f(x)",
        "def f(x): return '4'",
    ],
)
def test_words_of_success_early_ends_and_crashes_deceive_nobody(accept: UnitTests, program: str) -> None:
    assert verdict(accept, program) is False


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["isinstance", "issubclass", "exec", "compile", "dict", "map", "__build_class__"])
def test_replacing_what_is_built_in_deceives_nobody(unconfined: UnitTests, name: str, style: str) -> None:
    program = f"import builtins\nbuiltins.{name} = lambda *a, **k: False\n{WRONG}"
    assert not verdict(unconfined, program, STYLES[style])


def test_tests_that_the_program_defines_do_not_count(accept: UnitTests) -> None:
    program = "import unittest\nclass T(unittest.TestCase):\n    def test_x(self): pass\ndef test_y(): pass"
    assert verdict(accept, program, "def test_two():\n    assert f(2) == 4") is False
    assert verdict(accept, f"{DOUBLE}\ndef test_y(): assert False", "def test_two():\n    assert f(2) == 4") is True
    skipped = "import unittest\nclass T(unittest.TestCase):\n    def test_two(self):\n        self.skipTest('no')"
    assert verdict(accept, DOUBLE, skipped) is False
    assert verdict(accept, f"{program}\n{DOUBLE}", skipped.replace("class T", "class Other")) is False


@pytest.mark.parametrize(
    "program",
    ["while True: pass", "def f(x):\n    while True: pass", "import time; time.sleep(60)", "10**10**10"],
)
def test_a_program_that_does_not_end_is_stopped_in_time(program: str) -> None:
    for unconfined in (False, True):
        try:
            accept = UnitTests(seconds=1.0, unconfined=unconfined)
        except InputError:
            continue
        started = time.monotonic()
        assert verdict(accept, program) == Judgement(accepted=False, failure="timed out")
        assert 1.0 <= time.monotonic() - started < 2.5


@pytest.mark.usefixtures("confined")
def test_a_program_cannot_refuse_to_be_stopped() -> None:
    accept = UnitTests(seconds=1.0)
    program = """
import signal, os, ctypes
for number in range(1, 32):
    try: signal.signal(number, signal.SIG_IGN)
    except OSError: pass
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
try: os.setsid()
except OSError: pass
while True: pass
"""
    started = time.monotonic()
    assert not verdict(accept, program)
    assert time.monotonic() - started < 2.5


def marked(mark: str) -> list[int]:
    """Processes, zombies aside, whose name holds a mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text().rpartition(")")
                if mark in name and rest.split()[0] != "Z":
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


NAMED = "import ctypes, os, time\ndef name(): ctypes.CDLL(None).prctl(15, b'{mark}', 0, 0, 0)\n"
DAEMON = (
    NAMED
    + """
ready, go = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        name()
        os.write(go, b'x')
        time.sleep(60)
    os._exit(0)
os.read(ready, 1)
def f(x): {then}
"""
)


@pytest.mark.parametrize("then", ["return 4", "return 3", "os._exit(0)", "\n  while True: pass"])
@pytest.mark.usefixtures("confined")
def test_daemons_do_not_outlive_the_verdict(then: str) -> None:
    accept, mark = UnitTests(seconds=1.0), f"dmn{os.getpid()}"
    accepted = verdict(accept, DAEMON.replace("{mark}", mark).replace("{then}", then))
    assert bool(accepted) is (then == "return 4")
    until = time.monotonic() + 2
    while marked(mark) and time.monotonic() < until:
        time.sleep(0.01)  # the kernel has killed it, but it may still be counted
    assert marked(mark) == []


def test_unconfined_what_stays_in_the_group_does_not_outlive_the_verdict(unconfined: UnitTests) -> None:
    mark = f"grp{os.getpid()}"
    program = DAEMON.replace("    os.setsid()\n", "").replace("{mark}", mark).replace("{then}", "return 4")
    started = time.monotonic()
    assert verdict(unconfined, program) is True
    assert time.monotonic() - started < 3  # a child that holds the output open keeps nobody waiting
    until = time.monotonic() + 2
    while marked(mark) and time.monotonic() < until:
        time.sleep(0.01)
    assert marked(mark) == []


@pytest.mark.usefixtures("confined")
def test_a_fork_bomb_stays_within_its_number_of_processes() -> None:
    mark = f"bmb{os.getpid()}"
    bomb = NAMED.replace("{mark}", mark) + "name()\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    accept = UnitTests(seconds=1.0, processes=8)
    verdicts: list[Any] = []
    thread = threading.Thread(target=lambda: verdicts.append(verdict(accept, bomb)))
    thread.start()
    most = 0
    while thread.is_alive():
        most = max(most, len(marked(mark)))
        time.sleep(0.02)
    assert verdicts == [Judgement(accepted=False, failure="timed out")]
    assert 2 <= most <= 8


@pytest.mark.usefixtures("confined")
def test_the_number_of_processes_is_what_was_asked_for() -> None:
    count = """
import os, time
def f():
    for n in range(1, 100):
        try:
            if os.fork() == 0: time.sleep(60)
        except OSError:
            return n
"""
    for processes in (1, 5):
        assert verdict(UnitTests(processes=processes), count, f"assert f() == {processes}") is True


def test_memory_is_bounded(accept: UnitTests) -> None:
    assert verdict(accept, "x = bytearray(1 << 30)", "assert len(x)") is False
    assert verdict(accept, "x = [bytes(1 << 20) for _ in range(600)]", "assert len(x)") is False
    assert verdict(accept, "x = bytearray(1 << 28)", "assert len(x)") is True


def test_files_are_bounded_one_by_one(accept: UnitTests) -> None:
    write = "with open('x', 'wb') as file:\n    for _ in range(9): file.write(bytes(1 << 20))"
    small = UnitTests(disk=1 << 23, unconfined=accept.unconfined)
    assert verdict(small, write, "assert open('x')") is False
    assert verdict(accept, write, "assert open('x')") is True


def test_files_are_bounded_together_and_vanish(confined: UnitTests) -> None:
    before = set(Path("/tmp").iterdir())  # noqa: S108
    large = "for i in range(9): open(str(i), 'wb').write(bytes(1 << 23))"
    assert verdict(confined, large, "assert open('8')") is False
    assert verdict(confined, "for i in range(9): open(str(i), 'wb').write(bytes(1 << 20))", "assert open('8')") is True
    assert verdict(confined, "for i in range(5000): open(str(i), 'w')", "assert open('8')") is False
    left = {path.name for path in set(Path("/tmp").iterdir()) - before}  # noqa: S108
    assert not left & {str(i) for i in range(9)}


def test_output_without_end_costs_nothing(accept: UnitTests) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert verdict(
        accept, "import sys\nfor i in range(3000): print('x' * 100_000); sys.stderr.write('y' * 9)\n" + DOUBLE
    )
    # Onto every descriptor there is, the verdict's too.
    flood = EVERYWHERE.format("os.write(i, b'x' * 99999)") * 20
    quick = UnitTests(seconds=1.0, unconfined=accept.unconfined)
    assert not verdict(quick, flood)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes


def test_our_environment_files_and_input_stay_ours(accept: UnitTests, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    assert verdict(accept, "import os", "assert set(os.environ) <= {'HOME', 'TMPDIR', 'LC_CTYPE'}, os.environ") is True
    assert verdict(accept, "import sys", "assert sys.stdin.read() == '' and len(sys.argv) < 8") is True
    with open(__file__) as file:
        os.set_inheritable(file.fileno(), True)
        count = "found = []\n" + EVERYWHERE.format("found.append(os.fstat(i))")
        # The standard three, the null device, and the verdict's.
        assert verdict(accept, count, "assert len(found) == 5, found") is True


def test_what_a_confined_program_can_see(confined: UnitTests) -> None:
    program = """
import os, socket
def reach(kind, address):
    try: socket.socket(kind, socket.SOCK_STREAM).connect(address)
    except OSError: return False
    return True
def visible(path):
    try: os.stat(path)
    except OSError: return False
    return True
def writable(path):
    try: open(path, 'w')
    except OSError: return False
    return True
"""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0msifr-{os.getpid()}")
        abstract.listen()
        tests = f"""
assert os.getpid() == 1, 'no process but its own'
assert os.getuid() != 0
assert os.listdir('/tmp') == [] and os.getcwd() == '/tmp'
assert set(os.listdir('/dev')) == {{'null', 'zero', 'random', 'urandom', 'shm'}}
assert os.listdir('/dev/shm') == []
assert not any(map(visible, ('/etc/passwd', '/proc/1', '/sys', '/run', '/usr/bin')))
assert not any(map(visible, ({__file__!r}, {os.getcwd()!r}, '/old')))
assert all(os.statvfs(path).f_flag & os.ST_RDONLY for path in ('/', '/usr/lib', os.path.dirname(os.__file__)))
assert not any(map(writable, (os.__file__, '/lib/x', '/usr/lib/x', '/etc/x')))
assert not reach(socket.AF_INET, ('127.0.0.1', {server.getsockname()[1]}))
assert not reach(socket.AF_INET, ('1.1.1.1', 53))
assert not reach(socket.AF_UNIX, '\\0msifr-{os.getpid()}')
"""
        assert verdict(confined, program, tests) is True
        # The same questions outside: what is refused above is there.
        socket.create_connection(server.getsockname()[:2]).close()


def test_a_confined_program_cannot_undo_its_confinement(confined: UnitTests) -> None:
    """It has no capabilities; in a user namespace of its own it finds the old root gone and mounts still read-only."""
    program = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt():
    got = [libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.umount2(b'/lib', 2), os.geteuid() == 0]
    if libc.unshare(0x10000000 | 0x00020000) == 0:
        libc.mount(None, os.path.dirname(os.__file__).encode(), None, ctypes.c_ulong(4096 | 32), None)
        try: os.chroot('/tmp'); [os.chdir('..') for _ in range(20)]; os.chroot('.')
        except OSError: pass
    got.append(0 if os.path.exists('/etc/passwd') else -1)
    try:
        open(os.__file__, 'a')
        got.append(0)
    except OSError:
        got.append(-1)
    return got
"""
    assert verdict(confined, program, "got = attempt()\nassert got == [-1, -1, False, -1, -1], got") is True


def test_where_a_program_cannot_be_confined_that_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A system call that fails is named, and no program is run."""
    source = Path(module.sandbox.__file__).read_text()
    broken = tmp_path / "sandbox.py"
    broken.write_text(source.replace('"pivot_root", "/tmp"', '"pivot_root", "/nowhere"'))
    assert broken.read_text() != source
    monkeypatch.setattr(module.sandbox, "__file__", str(broken))
    with pytest.raises(InputError, match=r"cannot be confined on this system: .*unconfined"):
        UnitTests()
    assert UnitTests(unconfined=True).unconfined


def test_no_program_can_pose_as_a_system_that_cannot_confine(accept: UnitTests) -> None:
    """Words on every descriptor and exit statuses do not end the run."""
    program = EVERYWHERE.format("os.write(i, b'OSError: no')") + "os._exit(1)"
    assert verdict(accept, program) is False


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        (None, "no tests"),
        ("", "cannot fail: line 1: nothing is asserted"),
        ("def check(candidate):\n    assert candidate(2) == 4", "line 1: function 'check' is never called; call it"),
        ("assert f(2) ==", "not Python"),
        ("\x00", "not Python"),
        ("return f(2) == 4", "not Python"),
        (
            "def test_two(double):\n    assert double(2) == 4",
            "'test_two' is asynchronous, a generator, or has parameters",
        ),
        ("async def test_two():\n    assert f(2) == 4", "'test_two' is asynchronous, a generator, or has parameters"),
        (
            "def test_two():\n    yield\n    assert f(2) == 4",
            "'test_two' is asynchronous, a generator, or has parameters",
        ),
        ("class TestF:\n    def test_two(self):\n        assert f(2) == 4", "'TestF' has tests, but is no"),
        ("import pytest\nassert f(2) == 4", "import 'pytest'"),
        ("def test_two():\n    from numpy.linalg import norm", "import 'numpy.linalg'"),
    ],
)
def test_tests_that_would_judge_nothing_are_refused_before_any_token(
    unconfined: UnitTests, tests: str, says: str
) -> None:
    with pytest.raises(InputError, match=f"prompt 'p', field tests: .*{says}"):
        unconfined.check(prompt(tests))
    assert not unconfined(prompt(None), fenced(DOUBLE))


def test_where_the_program_is(unconfined: UnitTests) -> None:
    asked = prompt("assert f(2) == 4")
    assert unconfined(asked, fenced(WRONG) + "\n" + fenced(DOUBLE)) is True
    assert unconfined(asked, fenced(DOUBLE) + "\n" + fenced(WRONG)) is False
    assert unconfined(asked, DOUBLE) is False
    for language in ("py", "Python3", "{.python}", "python:double.py", ""):
        assert unconfined(asked, fenced(DOUBLE).replace("```python", f"```{language}")) is True
    assert unconfined(asked, fenced(DOUBLE).replace("```python", "```ruby")) is False
    whole = UnitTests(find="whole", unconfined=True)
    assert whole(asked, DOUBLE) is True
    assert whole(asked, "\ud800 = 1\n" + DOUBLE) is False


@pytest.mark.parametrize("end", ["", "\n", "<|im_end|>", "\n</s>\n"])
def test_one_of_two_fences_is_enough(unconfined: UnitTests, end: str) -> None:
    """The other one is in the prompt, or was a stop sequence."""
    asked = prompt("assert f(2) == 4")
    for program, right in ((DOUBLE, True), (WRONG, False), (DOUBLE[:-5], False)):
        assert unconfined(asked, f"So:\n```python\n{program}{end}") is right
        assert unconfined(asked, f"{program}\n```{end}") is right
        assert unconfined(asked, f"{program}\n```\nTwice x.\nUse:\n```python\nf(input())\n```{end}") is right
    # But what is closed comes before what is not.
    assert unconfined(asked, fenced(DOUBLE) + f"\n```python\n{WRONG}{end}") is True
    assert unconfined(asked, f"So:\n{DOUBLE}\n```{end}") is False
    assert unconfined(asked, f"```ruby\n{DOUBLE}{end}") is False
    assert unconfined(asked, f"<think>\n```python\n{DOUBLE}{end}") is False


@pytest.mark.parametrize(
    "shown",
    [
        "print(f(2))",
        "f(int(input()))",
        "import sys\nsys.exit(0)",
        "def test_f():\n    assert f(1) == 2\ntest_f()\nassert f(1) == 3",
        "if __name__ == '__main__':\n    print(f(2))\n    raise SystemExit",
        "from solution import f\nraise KeyboardInterrupt",
        "f = f(3)\nwhile True: pass",
        "def f(x): ...",
        ">>> f(2)\n4",
    ],
)
def test_what_shows_the_program_does_not_run(unconfined: UnitTests, shown: str) -> None:
    asked = prompt("assert f(2) == 4")
    for fence in ("```python", "~~~py", "```", "```output"):
        text = f"{fenced(DOUBLE)}\n{fence}\n{shown}\n{fence[:3]}\n"
        assert unconfined(asked, text) is True, text
        assert unconfined(asked, text.replace(DOUBLE, WRONG)) is False


def test_what_is_thought_is_not_the_program(unconfined: UnitTests) -> None:
    asked = prompt("assert f(2) == 4")
    for draft in (fenced(WRONG), "```python\ndef f(x):", "Perhaps `f`?"):
        assert unconfined(asked, f"<think>{draft}\n</think>\n{fenced(DOUBLE)}") is True
        assert unconfined(asked, f"{draft}</think>{fenced(DOUBLE)}<|im_end|>") is True
    assert unconfined(asked, f"<think>\n{fenced(DOUBLE)}\n</think>\nSo it is.") is False
    assert unconfined(asked, f"<think>\n{fenced(DOUBLE)}\n") is False


def test_blocks_are_compiled_each_for_itself(unconfined: UnitTests) -> None:
    """What a block imports from the future must stand first, and holds for that block."""
    helper = "SIZE = 2"
    program = "from __future__ import annotations\ndef f(x: Unknown): return SIZE * x"
    assert unconfined(prompt("assert f(2) == 4"), fenced(helper) + fenced(program)) is True


TWICE = "def g(x): return 2 * x\n"
SEVERAL = {
    "queue": "from multiprocessing import Process, Queue\ndef put(q, x): q.put(2 * x)\ndef f(x):\n    q = Queue()\n"
    "    p = Process(target=put, args=(q, x))\n    p.start()\n    return q.get()",
    "loopback": "import socket, threading\ndef f(x):\n    s = socket.create_server(('127.0.0.1', 0))\n"
    "    threading.Thread(target=lambda: s.accept()[0].send(b'%d' % (2 * x))).start()\n"
    "    return int(socket.create_connection(s.getsockname()).recv(9))",
    "its file": "import os.path\nassert os.path.basename(__file__) == 'solution.py'\ndef f(x): return 2 * x",
    "pool": TWICE + "from multiprocessing import Pool\ndef f(x):\n    with Pool(4) as p: return p.map(g, [x])[0]",
    "manager": "from multiprocessing import Manager\ndef f(x):\n    with Manager() as m: return m.list([2 * x])[0]",
    "semaphores": "from multiprocessing import Barrier, Lock, Semaphore, Value\ndef f(x):\n"
    "    with Lock(), Semaphore(2): return Value('i', 2 * x).value",
    "shared memory": "from multiprocessing.shared_memory import SharedMemory\ndef f(x):\n"
    "    s = SharedMemory(create=True, size=9)\n    s.buf[0] = 2 * x\n    t = SharedMemory(s.name)\n"
    "    y = t.buf[0]\n    t.close()\n    s.close()\n    s.unlink()\n    return y",
    "executors": TWICE + "from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor\ndef f(x):\n"
    "    with ProcessPoolExecutor(2) as p, ThreadPoolExecutor(2) as t:\n"
    "        return (p.submit(g, x).result() + t.submit(g, x).result()) // 2",
    "subprocess": "import subprocess, sys\ndef f(x):\n    program = [sys.executable, '-c', 'print(2 * int(input()))']\n"
    "    return int(subprocess.run(program, input=str(x), text=True, capture_output=True, check=True).stdout)",
    "spawn": "import math, multiprocessing\ndef f(x):\n"
    "    with multiprocessing.get_context('spawn').Pool(1) as p: return p.map(math.floor, [2.5 * x - 1])[0]",
}


@pytest.mark.parametrize("how", SEVERAL)
def test_programs_of_several_processes_run(how: str) -> None:
    for unconfined in (False, True):
        try:
            accept = UnitTests(seconds=20.0, unconfined=unconfined)
        except InputError:
            continue
        assert verdict(accept, SEVERAL[how]) is True


def test_shared_memory_is_bounded_together_with_files(confined: UnitTests) -> None:
    del confined
    fill = """
def f():
    count = 0
    for folder in ('/tmp', '/dev/shm'):
        try:
            for i in range(20):
                open(f'{folder}/{i}', 'wb').write(bytes(1 << 20))
                count += 1
        except OSError:
            continue
    return count
"""
    assert verdict(UnitTests(disk=1 << 23), fill, "assert f() == 8") is True


def test_the_tests_may_call_unittest_themselves(accept: UnitTests) -> None:
    cases = "import unittest\nclass T(unittest.TestCase):\n    def test_two(self):\n        self.assertEqual(f(2), 4)\n"
    calls = ["unittest.main()", "if __name__ == '__main__':\n    unittest.main()"]
    calls += ["unittest.main(argv=[''], exit=False)"]
    for call in (*calls, "assert unittest.main(exit=False).result.wasSuccessful()"):
        assert verdict(accept, DOUBLE, cases + call) is True
        assert verdict(accept, WRONG, cases + call) is False
    assert verdict(accept, "def f(x): raise SystemExit(0)", cases + "unittest.main()") is False


def test_options_are_checked_and_named() -> None:
    variants: Iterator[dict[str, Any]] = iter(
        [{}, {"find": "whole"}, {"seconds": 2.0}, {"memory": 1 << 28}, {"disk": 1 << 20}, {"processes": 3}]
    )
    names = [UnitTests(unconfined=True, **options).name for options in variants]
    assert len(set(names)) == len(names)
    assert "unconfined" in names[0]
    for wrong in ({"seconds": 0}, {"seconds": float("nan")}, {"memory": 0}, {"disk": -1}, {"processes": 0}):
        with pytest.raises(InputError, match="positive"):
            UnitTests(**wrong)
    with pytest.raises(InputError, match="unknown place"):
        UnitTests(find="anywhere")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="limits too low"):
        UnitTests(memory=1 << 20, unconfined=True)
