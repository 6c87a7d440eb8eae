"""From trace files to evidence tables, with progress; what was skipped, failed or differs is said."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from msifr_integrations.cli.console import prose, tracking
from msifr_integrations.cli.options import ReadingOptions
from msifr_integrations.formats.token_ends import load_token_ends
from msifr_integrations.generation.provenance import recorded_provenance
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.exits import ExitColumns, ExitPlan, exit_columns, plan_of
from msifr_policy.evidence.history import in_quota
from msifr_policy.evidence.schedule import Schedule, auto_schedule
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import Fingerprint, PolicyFile
from msifr_policy.records.traces import ReadReport, Trace, find_trace_files, read_traces
from msifr_policy.validators import Hidden, Validator

_POLICY = re.compile(rb'\{\s*\n\s*"schema_version"')  # a trace would have it in one line


class Loaded(NamedTuple):
    """A table, the texts behind it if they were asked for, and how many records were skipped."""

    table: EvidenceTable
    traces: Sequence[Trace]
    skipped: int


def load_table(
    paths: Sequence[str],
    reading: ReadingOptions,
    schedule: Schedule | None,
    validators: Sequence[Validator],
    *,
    keep_texts: bool = False,
    exits: bool = False,
    as_json: bool = False,
) -> Loaded:
    """Replay validators over traces; without a schedule it is the automatic one. `as_json`: speak on stderr.

    The automatic schedule looks at all lengths: files are read twice then, or kept where they can be read but once.
    With `exits` it is the one by which answers were forced; raises `InputError` if none were.
    """
    files = find_trace_files(paths)
    for path in files:
        _check_no_policy(path)
    traces, report = _read(files, reading)
    kept: list[Trace] = []
    if keep_texts or exits or (schedule is None and not all(path.is_file() for path in files)):
        traces = kept = list(traces)
    if exits and schedule is None:
        schedule = _plan_of(kept).schedule
    if schedule is None:
        schedule = auto_schedule([len(trace.text) for trace in kept or _read(files, reading)[0]])
    unit: Any = None if reading.unit == "auto" else reading.unit
    with tracking("scoring traces") as advance:
        table = build_evidence(
            traces,
            schedule,
            validators,
            unit=unit,
            tokenizer=None if reading.tokenizer is None else load_token_ends(reading.tokenizer),
            provenance=recorded_provenance(files, reading.tokenizer or ""),
            progress=lambda done: advance(done) if done % 64 == 0 else None,
        )
    if report.failed:
        prose(f"left out {report.failed} attempts that the run could not make", json=as_json)
    if report.skipped:
        prose(f"skipped {report.skipped} malformed records; the first: {report.errors[0]}", json=as_json)
    if table.merged:
        what = f"{table.merged} prompts are near-duplicates of others and count as one with them"
        prose(f"{what} ({table.n_prompts} prompts left)", json=as_json)
    for failure, count in table.failures.items():
        prose(f"validator failed on {count} attempts ({failure}); its evidence is unknown there", json=as_json)
    return Loaded(table, kept, report.skipped)


def _with_probe(table: EvidenceTable, validators: Sequence[Validator], states: str | None) -> EvidenceTable:
    """Return a table whose column of the probe is known, if there is one: by the traces, or by a file of states."""
    hidden = next((each for each in validators if isinstance(each, Hidden) and each.weights is not None), None)
    if hidden is None:
        return table
    place = table.columns.index(f"{hidden.name}.{hidden.columns[0]}")
    if states is None:
        if np.isnan(table.values[table.k > 0, place]).all():
            raise InputError(
                "the policy reads hidden states, and these traces have none",
                where="validator hidden",
                remedy="read them: msifr score --states MODEL, then msifr evaluate --states",
            )
        return table
    from msifr_calibration.beliefs.probe import odds_of
    from msifr_calibration.beliefs.state_features import StateFeatures

    values = table.values.copy()
    values[:, place] = odds_of(table, StateFeatures.read(states), hidden)
    return replace(table, values=values)


def _plan_of(traces: Iterable[Trace]) -> ExitPlan:
    plan = plan_of(traces)
    if plan is None:
        what = "no answers were forced in these traces"
        remedy = "record them: msifr generate --policy none --record-exits SCHEDULE"
        raise InputError(what, where="exits", remedy=remedy)
    return plan


def exits_for_policy(
    file: PolicyFile, paths: Sequence[str], reading: ReadingOptions, table: EvidenceTable
) -> ExitColumns | None:
    """Return the answers that were forced in the attempts of `table`, made of these files; None for one without exits.

    Raises `InputError` where they were not, or in another way than the policy forces them, and for files that cannot be
    read again.
    """
    if file.exit is None:
        return None
    files = find_trace_files(paths)
    if not all(path.is_file() for path in files):
        what = "is read twice for a policy that exits, and cannot be"
        raise InputError(what, where=", ".join(map(str, files)), remedy="put the traces into a file")
    if _plan_of(_read(files, reading)[0]) != file.exit.plan:
        raise InputError(
            "answers were forced in another way than the policy forces them",
            where=", ".join(map(str, files)),
            remedy="record them as those were that it was fitted to (msifr generate --record-exits)",
        )
    return exit_columns(table, _read(files, reading)[0], file.exit.plan, prefill_price=file.exit.prefill_price)


def _read(files: Sequence[Path], reading: ReadingOptions) -> tuple[Iterable[Trace], ReadReport]:
    """Return the traces of the files, to be read, and the report that is filled while they are."""
    report = ReadReport()
    traces = read_traces(files, on_error=reading.on_error, report=report, mapping=reading.mapping)
    return _some(traces, report, files), report


def _some(traces: Iterable[Trace], report: ReadReport, files: Sequence[Path]) -> Iterator[Trace]:
    """Yield the traces. Raises `InputError` if there are none: with the files, and what became of their records."""
    yield from traces
    if report.read:
        return
    if report.skipped:
        what = f"all {report.skipped} records are malformed; the first: {report.errors[0]}"
        raise InputError(what, where="--on-error skip")
    where = ", ".join(map(str, files[:3])) + ", …" * (len(files) > 3)
    if report.failed:
        what = f"holds no traces, only {report.failed} attempts that could not be made"
        raise InputError(what, where=where, remedy="make them again with msifr generate")
    raise InputError("holds no traces", where=where, remedy="name files that hold some; msifr convert makes them")


def _check_no_policy(path: Path) -> None:
    """Raise `InputError` for a policy file where traces are meant; as it is printed, it looks like none of theirs."""
    if path.is_file():
        with suppress(OSError), open(path, "rb") as file:
            if _POLICY.match(file.read(64)):
                raise InputError("is a policy file, not traces", where=str(path), remedy="POLICY comes before TRACES")


def load_policy(path: str) -> PolicyFile:
    """Read a policy file, and say whose code it reads texts by, if it is the user's own.

    Raises `InputError`, also saying so if the file holds traces.
    """
    try:
        file = PolicyFile.load(path)
        for named in (spec.defined_in for spec in file.validators if isinstance(spec.defined_in, str)):
            prose(f"{path} reads texts by {named}, {sys.modules[named.partition(':')[0]].__file__}", json=True)
        return file
    except InputError as error:
        if not os.path.isfile(path) or not _holds_traces(path):
            raise
        remedy = "POLICY comes first, and msifr fit makes one of traces"
        raise InputError("holds traces, not a policy", where=path, remedy=remedy) from error


def _holds_traces(path: str) -> bool:
    """Whether the first record of a file is a trace."""
    with suppress(InputError):
        return any(True for _ in islice(read_traces(path), 1))
    return False


def load_for_policy(
    file: PolicyFile, paths: Sequence[str], reading: ReadingOptions, *, states: str | None = None, as_json: bool
) -> EvidenceTable:
    """Build the table of traces by the policy's own schedule, validators and cost unit; say how they differ.

    states: file of the hidden states at its checkpoints. Raises `InputError` if the policy has a probe of them, and
    neither that nor the traces have any.
    """
    if reading.unit == "auto":
        reading = replace(reading, unit=file.costing.unit)
    table = load_table(paths, reading, file.schedule, file.policy().validators, as_json=as_json).table
    table = _with_probe(table, file.policy().validators, states)
    if file.quota is not None:
        wanted, most = file.quota.accepted, file.quota.attempts
        n, table = table.n_attempts, in_quota(table, wanted, most)
        if table.n_attempts < n:
            of = f"{wanted} accepted samples per prompt from at most {most} attempts"
            prose(f"note: the policy is for {of}: {n - table.n_attempts} of {n} attempts are left out", json=as_json)
    fitted, certified = (part.shares(table) for part in (file.fitted_on, file.certified_on))
    seen = int((fitted | certified).sum())
    if seen:
        prose(
            f"note: the policy has seen {seen} of these {table.n_prompts} prompts: it was fitted on {fitted.sum()} and "
            f"certified on {certified.sum()} of them, so these numbers flatter it",
            json=as_json,
        )
    here = msgspec.structs.replace(table.provenance, prompts=Fingerprint.of(table).prompts)
    for difference in file.certified_for.differences(here):
        prose(f"note: what was certified is of other attempts: {difference}", json=as_json)
    return table
