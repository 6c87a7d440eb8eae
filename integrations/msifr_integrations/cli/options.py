"""Options of commands, and how they become the records that the library takes."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from msifr_policy.errors import InputError
from msifr_policy.files import check_writable
from msifr_policy.filters.extract import PLACES
from msifr_policy.records.mapping import FieldMap
from msifr_policy.records.traces import OnError, field_map, find_trace_files

F = TypeVar("F", bound=Callable[..., Any])

STDIN, STDOUT = "/dev/stdin", "/dev/stdout"

PLACE_HELP = (
    f"Where the first four find the answer: {PLACES}. By default auto: where the prompt asks for it, else where the "
    "text announces it; for exact the whole text."
)


class OutputPath(click.Path):
    """Where to write; - is the standard output, as other tools have it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        return super().convert(STDOUT if value == "-" else value, param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document last on stdout.")
traces_argument = click.argument("traces", nargs=-1, required=True, type=click.Path())


def all_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_output(out: str, inputs: Sequence[str], *, folder: bool = False, as_json: bool = False) -> bool:
    """Return whether prose must leave the standard output to the file `out`; checked before any work.

    Raises `InputError` for an output that cannot be written, is one of the inputs, or is where the JSON goes.
    """
    check_writable(out, folder=folder)
    for path in map(str, find_trace_files(inputs)):
        if os.path.exists(out) and os.path.samefile(out, path):
            raise InputError("is one of the inputs, and would be lost", where=out, remedy="name another output")
    to_stdout = os.path.realpath(out) == os.path.realpath(STDOUT)
    if to_stdout and as_json:
        raise InputError("is where --json prints its document", where=out, remedy="write to a file")
    return to_stdout


def gathered(record: Callable[..., Any], into: str, **helps: str | dict[str, Any]) -> Callable[[F], F]:
    """Give a command one option per field of `record`, and the record itself as its argument `into`.

    `helps`: by field the help text, or arguments of `click.option` (with `flag`, one or
    several, for another name than the field's).
    Defaults are the record's, and so are the checks: they are made before the command begins.
    """
    defaults = record()

    def decorate(command: F) -> F:
        @wraps(command)
        def wrapped(**values: Any) -> Any:
            fields = {name: values.pop(name) for name in helps}
            return command(**values, **{into: record(**fields)})

        for name, given in reversed(helps.items()):
            how = {"help": given} if isinstance(given, str) else dict(given)
            flags = how.pop("flag", f"--{name.replace('_', '-')}")
            flags = (flags,) if isinstance(flags, str) else flags
            default = {} if how.get("required") else {"default": getattr(defaults, name)}
            wrapped = click.option(*flags, name, **{**default, **how})(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How traces are read: costs in tokens of a `tokenizer`, the `unit`, what to do about malformed records, and where
    fields are in records of another shape, in words that are checked when they are given.
    """

    tokenizer: str | None = None
    unit: str = "auto"
    on_error: OnError = "raise"
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _ = self.mapping

    @property
    def mapping(self) -> FieldMap:
        """Where fields are in records of another shape."""
        return field_map(self.fields)


MAP_HELP = (
    "Where a field of the traces is in records of another shape, such as text=response.text, "
    "'text=choices[*].message.content' ([*]: an attempt of each) or 'correct=score>=0.5' (>=, > or ==; quoted for "
    "the shell). Missing ids are made. Once for each field; FIELD= leaves out what the record has under that name."
)

reading_options = gathered(
    ReadingOptions,
    "reading",
    tokenizer={"metavar": "PATH_OR_ID", "help": "Count costs in tokens of this tokenizer."},
    unit={
        "type": click.Choice(["auto", "tokens", "characters"]),
        "help": "What costs are counted in; auto is tokens where the traces record them.",
    },
    on_error={
        "type": click.Choice(["raise", "skip"]),
        "help": "Stop at a malformed trace, or skip and count it.",
    },
    fields={
        "flag": "--map",
        "multiple": True,
        "metavar": "FIELD=PATH",
        "help": MAP_HELP,
    },
)
