"""The far side of `UnitTests`: runs one program with its tests, confined. Run as a script; standard library only.

Three processes take part. The caller starts this script, the *keeper*, which leaves the caller's namespaces, forks the
*program* as the first process of a new PID namespace, and kills it when its time is up: with it the kernel kills all
that it ever started. File descriptors: 0 has the sources (numbers of bytes, a line feed, and so many bytes each of the
tests, the names that they need, and blocks, whose first byte says whether they are said to be Python), 1 is the socket
of the verdict, 2 is where what goes wrong before the program begins is told, in words.
"""

import builtins
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from types import FunctionType, ModuleType
from typing import Any, Final

TIMED_OUT: Final = 124
"""Exit status of the keeper when it killed the program."""

_NOBODY = 65534
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 2, 4, 4096, 16384, 1 << 18, 2
_SYS_MOUNT_SETATTR = 442  # the same on every architecture
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID = 1, 2
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_CAPABILITY_VERSION_3 = 0x20080522

# All that the program sees of the file system, read-only, besides Python itself with its library.
_SHOWN = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache",
    "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
)  # fmt: skip


Choose = Callable[[list[tuple[bool, str]], list[str]], list[int]]
"""Says which blocks make up the program that defines some names."""


def main() -> None:
    """Run what the arguments and fd 0 say.

    The arguments are seconds, memory and disk in bytes, processes, whether to confine, and the file of `programs`.
    """
    seconds = float(sys.argv[1])
    memory, disk, processes, confine = (int(word) for word in sys.argv[2:6])
    SourceFileLoader("programs", sys.argv[6]).exec_module(programs := ModuleType("programs"))
    sys.executable = os.path.realpath(sys.executable)  # where it is in the confined file system
    as_root = os.geteuid() == 0
    if confine:
        _unshare(as_root)
    # A user id of its own, so that limits on the number of processes do not add up over programs that run together.
    user = (1 << 30) + os.getpid()
    folder = os.getcwd()
    child = os.fork()
    if child == 0:
        if confine:
            _hide(disk)
        else:
            os.setsid()
            os.environ["HOME"] = os.environ["TMPDIR"] = folder
        limit(
            RLIMIT_CPU=int(seconds) + 1,
            RLIMIT_AS=memory,
            RLIMIT_FSIZE=disk,
            RLIMIT_NPROC=processes + (0 if as_root else 1),  # not as root, the keeper counts as well
            RLIMIT_NOFILE=64,
            RLIMIT_CORE=0,
        )
        if confine:
            _drop(user if as_root else None)
        _run(programs.chosen)
    late = []

    def kill(*_: object) -> None:
        late.append(True)
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if not confine:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # what is left of its group; its number is not free before the wait
    os.waitpid(child, 0)
    os._exit(TIMED_OUT if late else 0)


def _call(function: str, *arguments: object) -> None:
    """Call the C library, with a null pointer for an empty text; raises OSError that names the function."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [word.encode() or None if isinstance(word, str) else word for word in arguments]
    if getattr(libc, function)(*words) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{function}: {os.strerror(error)}")


def _unshare(as_root: bool) -> None:
    """Leave the caller's namespaces of mounts, processes, network (but for its own loopback), and the rest."""
    user, group = os.geteuid(), os.getegid()
    namespaces = _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS
    _call("unshare", namespaces if as_root else namespaces | _NEWUSER)
    ids = {"setgroups": "deny", "uid_map": f"{_NOBODY} {user} 1", "gid_map": f"{_NOBODY} {group} 1"}
    for name, line in () if as_root else ids.items():
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)
    # The network of a new namespace is the loopback interface, which is down.
    import fcntl
    import socket
    import struct

    with socket.socket() as any_socket, suppress(OSError):
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _hide(disk: int) -> None:
    """Make the root an empty file system in memory that shows, read-only, what Python needs.

    The folders /tmp and /dev/shm, where semaphores and shared memory are, share one file system of the size `disk`.
    """

    def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
        _call("mount", source, target, kind, ctypes.c_ulong(flags), options)

    def protect(path: str, flags: int) -> None:
        attributes = (ctypes.c_uint64 * 4)(_ATTR_RDONLY | _ATTR_NOSUID, 0, 0, 0)
        _call("syscall", _SYS_MOUNT_SETATTR, _AT_FDCWD, path, flags, attributes, ctypes.sizeof(attributes))

    with open("/proc/self/maps") as maps:  # Python itself may be a library
        libraries = {line[line.index("/") :].strip() for line in maps if "/lib" in line}
    mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    mount("none", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")  # noqa: S108
    os.mkdir("/tmp/old")  # noqa: S108
    _call("pivot_root", "/tmp", "/tmp/old")  # noqa: S108
    os.chdir("/")
    for path in (*_SHOWN, *map(os.path.realpath, sys.path), sys.executable, *sorted(libraries)):
        source = f"/old{path}"
        if os.path.lexists(path) or not os.path.exists(source):
            continue
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        if os.path.islink(source):
            os.symlink(os.readlink(source), path)
            continue
        if os.path.isdir(source):
            os.mkdir(path, 0o755)
        else:
            os.close(os.open(path, os.O_CREAT, 0o644))
        mount(source, path, "", _MS_BIND | _MS_REC)
        protect(path, _AT_RECURSIVE)
    _call("umount2", "/old", _MNT_DETACH)
    os.rmdir("/old")
    spaces = {"/space/tmp": "/tmp", "/space/shm": "/dev/shm"}  # noqa: S108
    for folder in ("/space", *spaces.values()):
        os.mkdir(folder)
    protect("/", 0)
    mount("none", "/space", "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=755,size={disk},nr_inodes=4096")
    for space, folder in spaces.items():
        os.mkdir(space)
        os.chmod(space, 0o1777)  # noqa: S103  as such folders are
        mount(space, folder, "", _MS_BIND)
    _call("umount2", "/space", _MNT_DETACH)
    os.chdir("/tmp")  # noqa: S108
    os.environ["HOME"] = "/tmp"  # noqa: S108


def limit(**most: int) -> None:
    """Lower limits of this process, named as in `resource`, and keep it from raising them again."""
    import resource

    for name, value in most.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError):
            if sys.platform == "linux":
                raise  # elsewhere a limit may be known and yet not be settable


def _drop(user: int | None) -> None:
    """Give up every privilege for good: root becomes `user`, which owns nothing, anyone else loses capabilities."""
    if user is not None:
        os.setgroups([])
        for own in (user, _NOBODY):  # a container may know few user ids
            try:
                os.setresgid(own, own, own)
                os.setresuid(own, own, own)
                break
            except OSError:
                if own == _NOBODY:
                    raise
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())
    _call("prctl", _PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *(ctypes.c_ulong(0),) * 3)
    _call("prctl", _PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), *(ctypes.c_ulong(0),) * 3)


def _run(choose: Choose) -> None:
    """Run program and tests in this process; then, and only then, fetch the caller's secret and send it back."""
    with os.fdopen(0, "rb", closefd=False) as sources:
        sizes = [int(word) for word in sources.readline().split()]
        tests, names, *blocks = (sources.read(size).decode(errors="surrogatepass") for size in sizes)
    # As it would be for a program of that name; processes that are spawned must not look for this file.
    sys.argv = ["solution.py"]
    del globals()["__file__"]
    # The verdict's socket is hidden among the numbers.
    verdict = 8 + os.urandom(1)[0] % 56
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(1, verdict)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    # What the program could replace is kept: our own functions by name, and all that is built in by a copy.
    exit_now, read, write = os._exit, os.read, os.write
    judge = FunctionType(_judge.__code__, {**globals(), "__builtins__": dict(vars(builtins))})
    numbers = choose([(block[0] == "1", block[1:]) for block in blocks], names.split())
    if judge([blocks[number][1:] for number in numbers], tests, os.path.abspath("solution.py")):
        write(verdict, read(verdict, 64))
    exit_now(0)


def _judge(program: list[str], tests: str, path: str) -> bool:
    """Run the program, the tests, and the test functions and cases that the tests define, as pytest and unittest would.

    path: where a program may think that it is stored. It calls nothing of this file, since it runs with its own copy of
        what is built in.
    """
    try:
        module = ModuleType("solution")
        module.__file__ = path
        sys.modules["solution"] = module
        namespace = module.__dict__
        namespace["__builtins__"] = builtins  # and not the copy
        for part in program:  # each with its own imports from __future__
            exec(compile(part, "<program>", "exec", dont_inherit=True), namespace)  # noqa: S102  the place made for it
        before = dict(namespace)
        if "unittest" in tests:
            import unittest

            run_all = unittest.main

            def run_cases(module: Any = "solution", *, exit: bool = True, **options: Any) -> object:  # noqa: A002
                # Those of the tests, where the main module is none of theirs; and without ending the process.
                options.setdefault("argv", ["tests"])
                run = run_all("solution" if module == "__main__" else module, exit=False, **options)
                if exit and not run.result.wasSuccessful():
                    raise AssertionError("a test case failed")
                return run

            unittest.main = run_cases  # type: ignore[assignment]
        exec(compile(tests, "<tests>", "exec", dont_inherit=True), namespace)  # noqa: S102
        defined = {name: value for name, value in namespace.items() if before.get(name) is not value}
        for name, value in defined.items():
            if name.startswith("test") and isinstance(value, FunctionType):
                value()
        if "unittest" not in sys.modules:
            return True
        import unittest

        cases = [
            value for value in defined.values() if isinstance(value, type) and issubclass(value, unittest.TestCase)
        ]
        suite = unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromTestCase, cases))
        result = unittest.TestResult()
        suite.run(result)
        return result.wasSuccessful() and (not cases or result.testsRun > len(result.skipped))
    except BaseException:  # a SystemExit too: a program that ends before its tests did not pass them
        return False


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        os.write(2, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
