"""The prompts of a run: checked in one pass before any work, then read again when their turn comes.

Those of a file are kept in a temporary one (in memory while it is small), so that nothing depends on what becomes of
theirs meanwhile, whatever it is packed in, and in whichever order they are taken. Memory: 8 bytes for each prompt, and
while they are checked some 13 more. Prompts that are given as records are the caller's, and are kept as they are.
"""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile, gettempdir
from typing import NamedTuple, overload
from weakref import finalize

import msgspec

from msifr_integrations.generation.inputs import distinct, fingerprint, prompt_of
from msifr_policy.errors import InputError
from msifr_policy.files import read_lines
from msifr_policy.filters import FinalFilter, Prompt
from msifr_policy.validators import Validator, check_parameters

_IN_MEMORY = 2**22
"""Bytes of prompts up to which no file is made."""


class Prompts(Sequence[Prompt]):
    """Prompts that are read when they are asked for: `read` returns one by its number, `numbers` are theirs in order.

    A slice reads none.
    """

    def __init__(self, read: Callable[[int], Prompt], numbers: Sequence[int]) -> None:
        self._read = read
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Prompt: ...

    @overload
    def __getitem__(self, place: slice) -> "Prompts": ...

    def __getitem__(self, place: int | slice) -> "Prompt | Prompts":
        if isinstance(place, slice):
            return Prompts(self._read, self._numbers[place])
        return self._read(self._numbers[place])


class Checked(NamedTuple):
    """Prompts that a run can be made of, and what tells them from others, in this order."""

    prompts: Prompts
    fingerprint: str


def check_prompts(
    prompts: str | os.PathLike[str] | Iterable[Prompt], accept: FinalFilter, validators: Sequence[Validator] = ()
) -> Checked:
    """Return the prompts of a file, or those given; all of them are looked at.

    Raises `InputError` for none, for one id twice, for one that the filter cannot judge, and for parameters that do not
    fit one of the validators; of a file also as `read_prompts`.
    """
    return (
        _of_file(prompts, accept, validators)
        if isinstance(prompts, str | os.PathLike)
        else _given(list(prompts), accept, validators)
    )


def _given(prompts: Sequence[Prompt], accept: FinalFilter, validators: Sequence[Validator]) -> Checked:
    told = fingerprint(_checked((("", prompt) for prompt in prompts), accept, validators))
    return Checked(Prompts(prompts.__getitem__, range(len(prompts))), told)


def _of_file(path: str | os.PathLike[str], accept: FinalFilter, validators: Sequence[Validator]) -> Checked:
    lines = _KeptLines()

    def kept() -> Iterator[tuple[str, Prompt]]:
        for where, line in read_lines(path):
            prompt = prompt_of(line, where)
            lines.add(line)
            yield where, prompt

    told = fingerprint(_checked(kept(), accept, validators))
    lines.written()
    return Checked(Prompts(lambda number: prompt_of(lines[number], os.fspath(path)), range(len(lines))), told)


def _checked(
    prompts: Iterable[tuple[str, Prompt]], accept: FinalFilter, validators: Sequence[Validator]
) -> Iterator[bytes]:
    """Yield what tells each prompt from others, once it is checked; before it in `prompts` is where it stands."""
    prompt = None
    for prompt in distinct(prompts):
        accept.check(prompt)
        check_parameters(validators, prompt)
        yield msgspec.json.encode(prompt)
    if prompt is None:
        raise InputError("there are no prompts", remedy="give at least one")


class _KeptLines:
    """Lines in a temporary file, each read by its number; the file goes with this."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with this
        finalize(self, self._file.close)
        self._starts = array("q")
        self._end = 0

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, line: bytes) -> None:
        """Keep a line, with or without its end. Raises `InputError` where there is no room."""
        with self._room():
            written = self._file.write(line.removesuffix(b"\n") + b"\n")
        self._starts.append(self._end)
        self._end += written

    def written(self) -> None:
        """Have all of them where they are kept. Raises `InputError` where there is no room."""
        with self._room():
            self._file.flush()

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"prompts cannot be kept: {error.strerror or error}"
            raise InputError(
                what, where=gettempdir(), remedy="make room there, or name another folder in TMPDIR"
            ) from error

    def __getitem__(self, number: int) -> bytes:
        self._file.seek(self._starts[number])
        return self._file.readline()
