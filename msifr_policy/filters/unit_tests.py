"""A filter that runs a program with the prompt's tests, confined."""

import ast
import builtins
import math
import os
import platform
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack, suppress
from functools import lru_cache
from typing import Final, Literal, get_args

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.filters import programs, sandbox, vacuous
from msifr_policy.filters.base import Judgement, Prompt
from msifr_policy.filters.worker import kill, receive
from msifr_policy.reading.blocks import BlockReader, after_thinking, blocks

FindProgram = Literal["fence", "whole"]
"""Where the program is: in fenced blocks, or the whole text."""

_FUNCTION: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_SPECIAL: Final = re.compile(r"(?:\s*+<(?:[|｜][^|｜<>]{1,64}+[|｜]|/s|eos|pad|end_of_turn)>)++\s*+\Z")
"""Special tokens with which a text may end."""
_GRACE_SECONDS: Final = 5.0  # for starting and ending the processes, on a busy machine


class UnitTests(msgspec.Struct, frozen=True, kw_only=True):
    """Accepts a text whose Python program passes the prompt's `tests`, run in a process of its own, confined.

    find: where the program is. "fence": in the closed fenced blocks (see `blocks`) of the answer part that are marked
        as Python or not marked. Those that define what the tests need are the program, in their order (see `programs`);
        what shows its use, tests of the text's own, output and earlier versions do not run. Where only an opening or
        only a closing fence is there, as where a prompt or a stop sequence has the other, the rest of the text is a
        block if none else is marked. A text that breaks off while thinking has no program, nor has one without fences.
        "whole": the whole text is the program.
    seconds: wall time of program and tests together, and (rounded up) CPU time of each process. A verdict is there
        within `seconds` + 5.
    memory: bytes of address space of each process. disk: bytes of all files together. processes: how many processes
        and threads may exist at one time.
    unconfined: run even where a program cannot be confined; see below.

    The tests are Python code that runs after the program, in its module, which is also importable as `solution`. They
    pass if nothing is raised; functions `test…` without parameters and `unittest` cases that they define are run too.
    Tests that cannot fail are refused (see `vacuous`). Neither is the main module: what stands under
    `if __name__ == "__main__"` does not run. There is the standard library, without installed packages; standard input
    is empty, and output goes nowhere. Threads, `multiprocessing` and Python as a subprocess work; processes that are
    spawned, not forked, cannot import `solution`. A program that fails, or ends the process, is not accepted; one that
    is not done in time counts as a failure besides, since a busy machine may be to blame.

    Confined (Linux, as root or where unprivileged user namespaces are allowed) a program has no network but a loopback
    of its own, sees no process but its own and no file but Python, its library and system libraries (read-only) and two
    empty folders in memory, has no environment, open files or privileges of ours, and is killed with all that it
    started, daemons too. This does not guard against a fault of the kernel, nor against a program that is written to
    deceive its tests: in their interpreter it can return objects that claim to equal anything, replace what the tests
    import, or search the process for the socket on which success is reported. Printing words of success, exiting early
    with any status, closing files and forking do not deceive.

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
        if not self._passes([(True, "answer = bytes(1 << 21)")], "assert len(answer) == 1 << 21"):
            raise InputError("a trivial program fails its test", where="tests filter", remedy="are the limits too low?")

    @property
    def name(self) -> str:
        """`tests`, with the options, and the versions of this filter and of Python, which decide."""
        options = (
            f"version 3, {self.find}, {self.seconds:g} s, {self.memory}/{self.disk} bytes, {self.processes} processes"
        )
        return f"tests[{options}{', unconfined' * self.unconfined}, Python {platform.python_version()}]"

    def reader(self, prompt: Prompt) -> "ProgramEnd | None":
        """Return a reader that ends an attempt with its first program; see `msifr_policy.filters.decided`.

        That is not exact: without it a later version would be the one that is run. With "whole" there is none.
        """
        return ProgramEnd(_needed(prompt.tests or "")) if self.find == "fence" else None

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the prompt has no tests, or tests that cannot run or would pass whatever happens."""
        where = f"prompt {prompt.prompt_id!r}, field tests"
        if prompt.tests is None:
            raise InputError("no tests", where=where, remedy="add Python code that raises if the program is wrong")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(prompt.tests)
                compile(tree, "<tests>", "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                raise InputError(f"the tests are not Python: {error}", where=where) from error
        _check_tests(tree, where)

    def __call__(self, prompt: Prompt, text: str) -> bool | Judgement:
        """Run the program with the tests; raises `InputError` if none can be run at all."""
        if prompt.tests is None:
            return False
        if self.find == "whole":
            return self._passes([(True, text)], prompt.tests)
        code = _code(after_thinking(text) or "")
        return bool(code) and self._passes(code, prompt.tests)

    def _passes(self, code: list[tuple[bool, str]], tests: str) -> bool | Judgement:
        """Run the tests with the program of some blocks, of which each is said to be Python or not."""
        secret = secrets.token_bytes(32)
        sent = (tests, " ".join(sorted(_needed(tests))), *(f"{said:d}{content}" for said, content in code))
        pieces = [piece.encode(errors="surrogatepass") for piece in sent]
        with ExitStack() as stack:
            sources = stack.enter_context(tempfile.TemporaryFile())
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            sources.write(" ".join(str(len(piece)) for piece in pieces).encode() + b"\n" + b"".join(pieces))
            sources.seek(0)
            verdict, verdict_there = map(stack.enter_context, socket.socketpair())
            trouble, trouble_there = map(stack.enter_context, socket.socketpair())
            limits = (self.seconds, self.memory, self.disk, self.processes, int(not self.unconfined))
            keeper = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", sandbox.__file__, *map(str, limits), programs.__file__],
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


class ProgramEnd:
    """Ends with the fence that closes the first block with which all names that are needed are defined.

    names: those that the tests need; where they are all built in, any block that is said to be Python will do. What
        stands in the thinking is passed over; where a prompt opens thinking, unseen in the text, that is not known.
    """

    exact: Final = False

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names - frozenset(dir(builtins))
        self._reader = BlockReader()
        self._missing = set(self._names)
        self._here = set[str]()  # what the open block defines
        self._end: int | None = None

    def feed(self, text: str) -> int | None:
        """See `DecidedReader`."""
        for part in self._reader.feed(text) if self._end is None else ():
            if part.kind == "answers":
                self._missing = set(self._names)
            elif part.kind == "opens":
                self._here = set()
            elif part.kind == "holds" and (match := programs.DEFINED.match(part.line)):
                self._here.add(match[2] or match[3])
            elif part.kind == "closes" and part.fence is not None and not self._reader.thinking:
                said = programs.is_python(part.fence.language)
                if said or part.fence.language == "":
                    self._missing -= self._here
                    if not self._missing and (said or self._names):
                        self._end = part.end
                        break
        return self._end


def _code(answer: str) -> list[tuple[bool, str]]:
    """Return the blocks of an answer part that may be its program, and whether they are said to be Python."""
    found = blocks(answer)
    code = [
        (programs.is_python(block.language), block.content)
        for block in found
        if block.closed and (block.language == "" or programs.is_python(block.language))
    ]
    if found and found[0].language == "":
        # The prompt may have opened a fence, which the first one closes.
        code.insert(0, (False, answer[: found[0].start]))
    if found and not any(said for said, _ in code):
        last = found[-1]
        if not last.closed and last.end == len(answer) and programs.is_python(last.language):
            code.append((True, _SPECIAL.sub("", last.content)))
    return code


@lru_cache(256)  # attempts at one prompt come together
def _needed(tests: str) -> frozenset[str]:
    with warnings.catch_warnings(), suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        warnings.simplefilter("ignore")
        return programs.needed(tests)
    return frozenset()


def _check_tests(tree: ast.Module, where: str) -> None:
    """Raise `InputError` for tests that cannot fail, or need what there is not."""
    tests = _test_functions(tree.body)
    for test in tests:
        required = len(test.args.posonlyargs) + len(test.args.args) - len(test.args.defaults)
        lazy = vacuous.is_lazy(test)
        if lazy or required > 0 or None in test.args.kw_defaults:
            what = f"test function {test.name!r} is asynchronous, a generator, or has parameters"
            raise InputError(what, where=where, remedy="call it yourself")
    cases = [node for node in tree.body if isinstance(node, ast.ClassDef) and _test_functions(node.body)]
    for case in cases:
        if not any(ast.unparse(base).endswith("TestCase") for base in case.bases):
            raise InputError(f"class {case.name!r} has tests, but is no unittest.TestCase", where=where)
    nodes = list(ast.walk(tree))
    imported = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    imported += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    for module in imported:
        if module.partition(".")[0] not in {*sys.stdlib_module_names, "solution"}:
            raise InputError(f"the tests import {module!r}", where=where, remedy="only the standard library is there")
    kept = [case for case in cases if not vacuous.is_skipped(case)]
    methods = [node for case in kept for node in case.body if isinstance(node, _FUNCTION)]
    methods = [method for method in methods if not vacuous.is_skipped(method)]
    found = vacuous.flaw(tree, methods=[*tests, *methods])
    if found is not None:
        what = f"the tests cannot fail: line {found.line}: {found.what}"
        raise InputError(what, where=where, remedy=found.remedy)


def _test_functions(body: list[ast.stmt]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in body if isinstance(node, _FUNCTION) and node.name.startswith("test")]
