"""Options several commands share, and how their words become objects."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import islice
from typing import Any, TypeVar, get_args

import click
import msgspec
import numpy as np

from msifr_integrations.cli.console import prose, tracking
from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import EveryUnits, Geometric, NewlineSteps, Schedule, Unit
from msifr_policy.evidence.table import EvidenceTable, TokenEnds, build_evidence
from msifr_policy.filters import FinalFilter, FunctionFilter, JsonSchema, MathVerify, ScoreThreshold, UnitTests
from msifr_policy.filters import final_filter as usual_filter
from msifr_policy.filters.json_schema import Find
from msifr_policy.filters.unit_tests import FindProgram
from msifr_policy.records.traces import OnError, ReadReport, read_traces
from msifr_policy.validators import (
    Validator,
    built_in_validators,
    default_validator,
    default_validators,
    validator_names,
    validator_with,
)

__all__ = [
    "auto_schedule",
    "json_option",
    "load_table",
    "parse_filter",
    "parse_schedule",
    "parse_validators",
    "seed_option",
    "tokenizer_ends",
    "trace_options",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document last on stdout.")
seed_option = click.option("--seed", default=0, show_default=True, help="Seed of every random choice.")

_SCHEDULES = """Where checkpoints are: `auto` (geometric, scaled to the median length), `every:N[:UNIT]`,
`geometric:FIRST:RATIO[:UNIT]` or `newline[:MIN_CHARACTERS]`; UNIT is characters (default) or tokens."""


def trace_options(command: F) -> F:
    """Add TRACES… and the options that say how to read them."""
    for option in (
        click.option("--tokenizer", metavar="PATH_OR_ID", help="Count costs in tokens of this tokenizer."),
        click.option(
            "--unit",
            type=click.Choice(["auto", "tokens", "characters"]),
            default="auto",
            show_default=True,
            help="What costs are counted in; auto is tokens where the traces record them.",
        ),
        click.option(
            "--on-error",
            type=click.Choice(["raise", "skip"]),
            default="raise",
            show_default=True,
            help="Stop at a malformed trace, or skip and count it.",
        ),
    ):
        command = option(command)
    return command


def parse_schedule(text: str) -> Schedule:
    """Return the schedule a word of the command line names. Raises `InputError` with the forms known."""
    kind, *rest = text.split(":")
    try:
        if kind == "every" and 1 <= len(rest) <= 2:
            return EveryUnits(int(rest[0]), _unit(rest[1:]))
        if kind == "geometric" and 2 <= len(rest) <= 3:
            return Geometric(int(rest[0]), float(rest[1]), _unit(rest[2:]))
        if kind == "newline" and len(rest) <= 1:
            return NewlineSteps(int(rest[0])) if rest else NewlineSteps()
    except InputError:
        raise
    except ValueError:
        pass
    raise InputError(
        f"unknown schedule {text!r}",
        where="--schedule",
        remedy="auto, every:N, geometric:FIRST:RATIO or newline",
    )


def parse_validators(text: str) -> tuple[Validator, ...]:
    """Return the validators a word of the command line names.

    `default` and `all` are the usual rules and all that need no parameter; names stand for validators with default
    parameters, in their usual order; `FILE.json` holds a list of {"name": …, "parameters": {…}}. Raises `InputError`
    for an unknown name, or a file or parameters that do not fit.
    """
    if text == "default":
        return default_validators()
    if text == "all":
        return built_in_validators()
    if text.endswith(".json"):
        named = _read_json(text, list[_Named], "list of validators")
        return tuple(validator_with(each.name, each.parameters) for each in named)
    names = [name.strip() for name in text.split(",")]
    unknown = set(names) - set(validator_names())
    if unknown:
        raise InputError(
            f"unknown validators {', '.join(sorted(unknown))}",
            where="--validators",
            remedy=f"known: {', '.join(validator_names())}",
        )
    return tuple(default_validator(name) for name in validator_names() if name in names)


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


def _read_json(path: str, kind: type[T], what: str) -> T:
    """Return the JSON in a file. Raises `InputError`, saying that no `what` can be read, if it is of another kind."""
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"no {what} can be read: {error}", where=path) from error


def parse_filter(text: str) -> FinalFilter:
    """Return the final filter a word of the command line names.

    Raises `InputError` with the forms known, and where the filter cannot work here.
    """
    kind, *words = text.split(":")
    try:
        if kind in ("numeric", "exact") and not words:
            return usual_filter(kind)
        if kind == "math" and len(words) <= 1:
            return MathVerify(seconds=float(words[0])) if words else MathVerify()
        if kind == "json-schema":
            options = {"find": words.pop()} if words and words[-1] in get_args(Find) else {}
            return JsonSchema(_read_json(":".join(words), dict[str, Any], "schema") if words else None, **options)  # type: ignore[arg-type]
        if kind == "tests":
            return UnitTests(**dict(map(_tests_option, words)))
        if kind == "function" and len(words) == 2:
            return FunctionFilter(_function(*words), text)
        if kind == "score" and len(words) == 3:
            return ScoreThreshold(_function(*words[:2]), float(words[2]), ":".join(words[:2]))
    except InputError:
        raise
    except ValueError:
        pass
    raise InputError(
        f"unknown final filter {text!r}",
        where="--filter",
        remedy="numeric, exact, math[:SECONDS], json-schema[:FILE][:whole|fence|object], "
        "tests[:fence|whole][:SECONDS][:unconfined], score:MODULE:FUNCTION:THRESHOLD or function:MODULE:FUNCTION",
    )


def _tests_option(word: str) -> tuple[str, Any]:
    """Return the option of the filter `tests` that a word stands for; raises ValueError for none."""
    if word in get_args(FindProgram):
        return "find", word
    return ("unconfined", True) if word == "unconfined" else ("seconds", float(word))


def _function(module: str, name: str) -> Callable[..., Any]:
    """Import a function of the user's, from the working folder too. Raises `InputError` if there is none."""
    sys.path.insert(0, os.getcwd())
    try:
        function = getattr(import_module(module), name)
    except Exception as error:
        # Whatever the user's module raises while it is imported is the user's to mend.
        raise InputError(
            f"cannot be imported: {type(error).__name__}: {error}", where=f"--filter, {module}:{name}"
        ) from error
    finally:
        sys.path.pop(0)
    if not callable(function):
        raise InputError("is not a function", where=f"--filter, {module}:{name}")
    return function


def _unit(words: Sequence[str]) -> Unit:
    if not words:
        return "characters"
    if words[0] in ("tokens", "characters"):
        return words[0]  # type: ignore[return-value]
    raise InputError(f"unknown unit {words[0]!r}", where="--schedule", remedy="tokens or characters")


def auto_schedule(paths: Sequence[str], on_error: OnError) -> Schedule:
    """Return geometric checkpoints from a fortieth of the median length on, 25 % apart.

    The median is that of the first 2,000 traces, in characters.
    """
    lengths = [len(t.text) for t in islice(read_traces(paths, on_error=on_error), 2000)]
    if not lengths:
        raise InputError("there are no traces", remedy="check the files named and --on-error skip counts")
    return Geometric(max(4, round(float(np.median(lengths)) / 40)), 1.25, "characters")


def tokenizer_ends(name: str | None) -> TokenEnds | None:
    """Return the token ends of a tokenizer named by a tokenizer.json, a model folder or a model id."""
    if name is None:
        return None
    from msifr_integrations.formats.token_ends import load_token_ends

    return load_token_ends(name)


def load_table(
    paths: Sequence[str],
    *,
    schedule: Schedule,
    validators: Sequence[Validator] | None = None,
    unit: str,
    tokenizer: str | None,
    on_error: OnError,
    as_json: bool,
) -> tuple[EvidenceTable, ReadReport]:
    """Read traces and replay validators over them, with progress; say what was skipped or failed."""
    report = ReadReport()
    with tracking("scoring traces") as advance:
        table = build_evidence(
            read_traces(paths, on_error=on_error, report=report),
            schedule,
            default_validators() if validators is None else validators,
            unit=None if unit == "auto" else unit,  # type: ignore[arg-type]
            tokenizer=tokenizer_ends(tokenizer),
            progress=lambda done: advance(done) if done % 64 == 0 else None,
        )
    if report.skipped:
        prose(f"skipped {report.skipped} malformed records; the first: {report.errors[0]}", json=as_json)
    for failure, count in table.failures.items():
        prose(f"validator failed on {count} attempts ({failure}); its evidence is unknown there", json=as_json)
    return table, report
