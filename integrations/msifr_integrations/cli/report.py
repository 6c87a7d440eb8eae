"""`msifr report`: one page of HTML about a run, its ledger, a policy, or traces."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from msifr_integrations.cli.console import emit, examples, explained, prose, tracking
from msifr_integrations.cli.evaluate import seed_option
from msifr_integrations.cli.options import ReadingOptions, check_output, json_option, reading_options
from msifr_integrations.cli.tables import load_for_policy, load_policy
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.paired import pair_runs
from msifr_integrations.report.given import What, read_run, same_but_for_the_policy, what_is
from msifr_integrations.report.make import Material, make_report
from msifr_integrations.report.page import write_page
from msifr_integrations.report.said import many
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.traces import find_trace_files
from msifr_sim import Summary, replay_policy, summarise


@click.command(
    epilog=examples(
        "msifr report policy.json",
        "msifr report policy.json traces.jsonl.gz -o report.html",
        "msifr report out.jsonl --policy policy.json",
        "msifr report out.jsonl --policy policy.json --paired full.jsonl",
    )
)
@click.argument("inputs", nargs=-1, required=True, type=click.Path())
@click.option("--policy", type=click.Path(dir_okay=False), help="The policy of the run, or for the traces.")
@click.option(
    "--paired",
    type=click.Path(dir_okay=False),
    help="Output of the same run without a policy: it shows what was saved and lost.",
)
@click.option("-o", "--out", default="report.html", type=click.Path(dir_okay=False), help="The page.")
@click.option(
    "--attempts",
    default=200,
    type=click.IntRange(0, 10_000),
    help="Attempts whose texts are shown; all lost ones first.",
)
@seed_option
@reading_options
@json_option
def report(
    inputs: tuple[str, ...],
    policy: str | None,
    paired: str | None,
    out: str,
    attempts: int,
    seed: int,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Write a page about INPUTS: what was saved at what risk, and the texts it is about.

    INPUTS are a policy file, the output of a run (its ledger lies beside it), a ledger, or traces; what each is, is
    seen from what it holds. The page is one file of HTML that needs no network. What cannot be shown without another
    file is said, with the file that would show it.
    """
    given = _sorted_out(inputs, policy, paired)
    aside = check_output(out, [*given.traces, *given.others], as_json=as_json) or as_json
    material = _material(given, reading, attempts, seed, as_json=aside)
    with tracking("reading the texts that are shown"):
        numbers, shown = make_report(material)
    size = write_page(out, f"Report on {_named(inputs)}", numbers, shown)
    prose(
        numbers.statement,
        *(f"mind: {remark}" for remark in numbers.remarks),
        *(f"left out: {each.section}; it needs {each.needs}" for each in numbers.left_out),
        f"page: {out} ({size / 1e6:.1f} MB, {many(len(shown), 'attempt')} shown)",
        explained("s", "f", "factor", "certificate"),
        json=aside,
    )
    if as_json:
        emit(numbers)


class _Given(NamedTuple):
    """The inputs by what they are; paths."""

    policy: str | None
    run: str | None
    ledger: str | None
    full: str | None
    traces: list[str]
    others: list[str]


def _sorted_out(inputs: Sequence[str], policy: str | None, paired: str | None) -> _Given:
    """Return the inputs by what they are. Raises `InputError` for two where one is meant."""
    what: dict[What, list[str]] = {}
    for path in inputs:
        what.setdefault(what_is(path), []).append(path)
    policies = [*what.get("policy", []), *([policy] if policy else [])]
    runs, full_runs, ledgers = (what.get(kind, []) for kind in ("run", "full run", "ledger"))
    for several, one, remedy in (
        (policies, "policy", "name one"),
        (runs, "run with a policy", "one report is of one run; msifr merge joins the shards of a run"),
        (ledgers, "ledger", "one report is of one run"),
    ):
        if len(set(several)) > 1:
            raise InputError(
                f"where one {one} is meant, {len(set(several))} are named", where=", ".join(several), remedy=remedy
            )
    run = runs[0] if runs else None
    if ledgers and not run and not full_runs:
        # A ledger stands for its run, if the output lies beside it.
        beside = ledgers[0].replace(".ledger.jsonl", ".jsonl")
        if beside != ledgers[0] and os.path.isfile(beside):
            return _sorted_out([beside, *(path for path in inputs if path not in ledgers)], policy, paired)
    if paired is not None and what_is(paired) != "full run":
        remedy = "name the output of the same run without a policy (msifr generate --policy none)"
        raise InputError("is no finished run without a policy", where=f"--paired {paired}", remedy=remedy)
    if paired is None and run is not None:
        paired = next((path for path in full_runs if same_but_for_the_policy(run, path)), None)
    traces = [*what.get("traces", []), *(path for path in full_runs if path != paired)]
    if paired is not None and run is None:
        if len(full_runs) == 1 and not traces[1:]:
            run, traces = full_runs[0], []  # a run whose policy never discarded
        else:
            raise InputError("is to be compared with the output of a run with a policy", where="--paired",
                             remedy="name that output as well")  # fmt: skip
    ledger = ledgers[0] if ledgers else None
    single = run or (traces[0] if len(traces) == 1 and traces[0] in full_runs else None)
    if ledger is None and single is not None and ledger_path(single).is_file():
        ledger = str(ledger_path(single))
    if run is None and not policies and single is not None:
        run, traces = single, []
    others = [path for path in (*policies, run, ledger, paired) if path]
    return _Given(policies[0] if policies else None, run, ledger, paired, traces, others)


def _material(given: _Given, reading: ReadingOptions, most: int, seed: int, *, as_json: bool) -> Material:
    """Read everything but the texts that are shown."""
    file = load_policy(given.policy) if given.policy else None
    ledger = paired = table = simulated = None
    if given.ledger is not None:
        with tracking("reading the ledger"):
            ledger = read_run(given.ledger, file)
    if given.run is not None and given.full is not None:
        with tracking("comparing the runs"):
            paired = pair_runs(given.full, given.run)
    traces: Sequence[str | Path] = given.traces
    if file is not None and traces:
        table = load_for_policy(file, given.traces, reading, as_json=as_json)
        if given.run is not None:
            simulated = _expected(file, table, seed)
            table = None
    if given.full is not None:
        traces = [given.full]
        if file is not None:
            table = load_for_policy(file, [given.full], reading, as_json=as_json)
    if given.run is not None and given.full is None:
        traces = ()
    for path in find_trace_files(traces) if traces and most else ():
        if not path.is_file():
            remedy = "write it to a file, or show no texts: --attempts 0"
            raise InputError("is a stream, and its texts are read twice", where=str(path), remedy=remedy)
    return Material(
        made_of=list(_made_of(given)),
        policy=file,
        policy_name=_base(given.policy) if given.policy else "",
        run=given.run,
        ledger=ledger,
        traces=traces,
        on_error=reading.on_error,
        mapping=reading.mapping,
        table=table,
        paired=paired,
        simulated=simulated,
        most=most,
        seed=seed,
    )


def _expected(file: PolicyFile, table: EvidenceTable, seed: int) -> tuple[Summary, str]:
    """Return what a replay says of traces: of those it was certified on alone, if they are among them."""
    certified = file.certified_on.shares(table) & ~file.fitted_on.shares(table)
    on = f"{table.n_attempts:,} recorded attempts"
    if certified.any():
        table = table.where(certified)
        on = f"{table.n_attempts:,} recorded attempts at the prompts it was certified on"
    outcomes = replay_policy(file.policy(), table)
    weigh, cap = file.certificate.weigh, file.length_cap.cap
    return summarise(outcomes, weigh=weigh, length_cap=cap, seed=seed), on


def _made_of(given: _Given) -> Iterator[str]:
    for path, what in (
        (given.policy, "the policy"),
        (given.run, "the output of the run"),
        (given.full, "the output of the same run without a policy"),
        (given.ledger, "the ledger of the run"),
    ):
        if path is not None:
            yield f"{_base(path)}, {what}"
    if given.traces:
        yield f"{_named(given.traces)}, finished attempts"


def _named(paths: Sequence[str]) -> str:
    names = ", ".join(map(_base, paths[:4]))
    return names if len(paths) <= 4 else f"{names} and {len(paths) - 4} more"


def _base(path: str) -> str:
    return Path(path).name or path
