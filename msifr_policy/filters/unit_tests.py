"""A filter that runs a program with the prompt's tests, confined."""

import ast
import math
import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack, suppress
from typing import Final, Literal, get_args

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.filters import sandbox
from msifr_policy.filters.base import Judgement, Prompt
from msifr_policy.filters.blocks import BlockEnd, last_block
from msifr_policy.filters.worker import kill, receive

FindProgram = Literal["fence", "whole"]
"""Where the program is: the last closed block fenced as python (or py, python3), or the whole text."""

_LANGUAGES: Final = frozenset({"python", "py", "python3"})
_FUNCTION: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_GRACE_SECONDS: Final = 5.0  # for starting and ending the processes, on a busy machine


class UnitTests(msgspec.Struct, frozen=True, kw_only=True):
    """Accepts a text whose Python program passes the prompt's `tests`, run in a process of its own, confined.

    find: "fence" or "whole": where in the text the program is.
    seconds: wall time of program and tests together, and (rounded up) CPU time of each process. A verdict is there
        within `seconds` + 5.
    memory: bytes of address space of each process. disk: bytes of all files together. processes: how many processes
        and threads may exist at one time.
    unconfined: run even where a program cannot be confined; see below.

    The tests are Python code that runs after the program, in its module, which is also importable as `solution`. They
    pass if nothing is raised; functions `test…` without parameters and `unittest` cases that they define are run too.
    The program is not the main module: what stands under `if __name__ == "__main__"` does not run. There is the
    standard library, without installed packages; standard input is empty, and output goes nowhere. A program that
    fails, or ends the process, is not accepted; one that is not done in time counts as a failure besides, since a busy
    machine may be to blame.

    Confined (Linux, as root or where unprivileged user namespaces are allowed) a program has no network, sees no
    process but its own and no file but the standard library and system libraries (read-only) and an empty folder in
    memory, has no environment, open files or privileges of ours, and is killed with all that it started, daemons too.
    This does not guard against a fault of the kernel, nor against a program that is written to deceive its tests: in
    their interpreter it can return objects that claim to equal anything, replace what the tests import, or search the
    process for the socket on which success is reported. Printing words of success, exiting early with any status,
    closing files and forking do not deceive.

    `unconfined` gives up namespaces: a program then reads and writes what we can, uses the network, may kill our
    processes, and a daemon of its own session outlives it; limits of address space, file size, CPU and wall time
    still hold, `disk` per file and `processes` for all of the user's (for root neither). Use it within a container.

    Raises `InputError` if an option is out of range, or programs cannot be confined here; the reason is named.
    """

    find: FindProgram = "fence"
    seconds: float = 10.0
    memory: int = 1 << 29
    disk: int = 1 << 26
    processes: int = 16
    unconfined: bool = False

    def __post_init__(self) -> None:
        if self.find not in get_args(FindProgram):
            known = ", ".join(get_args(FindProgram))
            raise InputError(f"unknown place {self.find!r}", where="tests filter", remedy=f"known: {known}")
        if not (0 < self.seconds < math.inf and min(self.memory, self.disk, self.processes) > 0):
            raise InputError("limits must be positive and finite", where="tests filter")
        if os.name != "posix":
            raise InputError("programs can only be run on a POSIX system", where="tests filter")
        # Said before any token is spent: where even this program fails, none can be judged.
        if not self._passes("answer = 6 * 7", "assert answer == 42"):
            raise InputError("a trivial program fails its test", where="tests filter", remedy="are the limits too low?")

    @property
    def name(self) -> str:
        """`tests`, with the options, and the version of Python that decides."""
        options = f"{self.find}, {self.seconds:g} s, {self.memory}/{self.disk} bytes, {self.processes} processes"
        return f"tests[{options}{', unconfined' * self.unconfined}, Python {platform.python_version()}]"

    def reader(self, _: Prompt) -> BlockEnd | None:
        """Return a reader that ends an attempt with its first closed program; see `msifr_policy.filters.decided`.

        That is not exact: without it a later program would be the one that is run. With "whole" there is none.
        """
        return BlockEnd(_LANGUAGES) if self.find == "fence" else None

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the prompt has no tests, or tests that cannot run or would pass whatever happens."""
        where = f"prompt {prompt.prompt_id!r}, field tests"
        if prompt.tests is None:
            raise InputError("no tests", where=where, remedy="add Python code that raises if the program is wrong")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(prompt.tests)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                raise InputError(f"the tests are not Python: {error}", where=where) from error
        _check_tests(tree, where)

    def __call__(self, prompt: Prompt, text: str) -> bool | Judgement:
        """Run the program with the tests; raises `InputError` if none can be run at all."""
        program = last_block(text, _LANGUAGES) if self.find == "fence" else text
        return program is not None and prompt.tests is not None and self._passes(program, prompt.tests)

    def _passes(self, program: str, tests: str) -> bool | Judgement:
        secret = secrets.token_bytes(32)
        with ExitStack() as stack:
            sources = stack.enter_context(tempfile.TemporaryFile())
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            encoded = program.encode(errors="surrogatepass")
            sources.write(b"%d\n" % len(encoded) + encoded + tests.encode(errors="surrogatepass"))
            sources.seek(0)
            verdict, verdict_there = map(stack.enter_context, socket.socketpair())
            trouble, trouble_there = map(stack.enter_context, socket.socketpair())
            limits = (self.seconds, self.memory, self.disk, self.processes, int(not self.unconfined))
            keeper = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", sandbox.__file__, *map(str, limits)],
                stdin=sources.fileno(),
                stdout=verdict_there.fileno(),
                stderr=trouble_there.fileno(),
                env={},
                cwd=folder,
                start_new_session=True,
            )
            told: bytes | None = None
            try:
                verdict_there.close()
                trouble_there.close()
                with suppress(OSError):  # a keeper that has already ended says why
                    verdict.sendall(secret)
                with suppress(TimeoutError):
                    told = b"".join(receive(trouble, time.monotonic() + self.seconds + _GRACE_SECONDS))
            finally:
                kill(keeper)
            if told:
                raise InputError(
                    f"a program cannot be confined on this system: {told[-500:].decode(errors='replace')}",
                    where="tests filter",
                    remedy="allow unprivileged user namespaces, or run in a container and give unconfined",
                )
            if told is None or keeper.returncode == sandbox.TIMED_OUT:
                return Judgement(accepted=False, failure="timed out")
            verdict.setblocking(False)
            try:
                return secrets.compare_digest(verdict.recv(64), secret)
            except OSError:
                return False


def _check_tests(tree: ast.Module, where: str) -> None:
    """Raise `InputError` for tests that run nothing, or need what there is not."""
    tests = _test_functions(tree.body)
    for test in tests:
        required = len(test.args.posonlyargs) + len(test.args.args) - len(test.args.defaults)
        if isinstance(test, ast.AsyncFunctionDef) or required > 0 or None in test.args.kw_defaults:
            what = f"test function {test.name!r} is asynchronous or has parameters"
            raise InputError(what, where=where, remedy="call it yourself")
    cases = [node for node in tree.body if isinstance(node, ast.ClassDef) and _test_functions(node.body)]
    for case in cases:
        if not any(ast.unparse(base).endswith("TestCase") for base in case.bases):
            raise InputError(f"class {case.name!r} has tests, but is no unittest.TestCase", where=where)
    if not tests and not cases and all(map(_runs_nothing, tree.body)):
        raise InputError("the tests define things, but run none", where=where, remedy="call what is defined")
    nodes = list(ast.walk(tree))
    imported = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    imported += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    for module in imported:
        if module.partition(".")[0] not in {*sys.stdlib_module_names, "solution"}:
            raise InputError(f"the tests import {module!r}", where=where, remedy="only the standard library is there")


def _test_functions(body: list[ast.stmt]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in body if isinstance(node, _FUNCTION) and node.name.startswith("test")]


def _runs_nothing(node: ast.stmt) -> bool:
    quiet = (*_FUNCTION, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Pass)
    return isinstance(node, quiet) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
