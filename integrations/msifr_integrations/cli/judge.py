"""`msifr judge`: outputs without an outcome get one."""

from functools import partial
from typing import get_args

import click
import msgspec

from msifr_integrations.cli.console import emit, examples, explained, prose, tracking
from msifr_integrations.cli.options import (
    MAP_HELP,
    PLACE_HELP,
    STDIN,
    OutputPath,
    all_cores,
    check_output,
    gathered,
    json_option,
    traces_argument,
)
from msifr_integrations.cli.words import FILTERS, parse_filter
from msifr_integrations.formats.importing.prompts import read_asked
from msifr_integrations.formats.judged_file import JudgedFile, JudgeOptions, Reason, judge_files
from msifr_integrations.generation.found import missing, places
from msifr_policy.records.traces import OnError

OUTPUT_HELP = """\
An output is a line of JSON (.jsonl, also .gz or .zst), or a row of Parquet,
such as
{"id": "a1", "prompt_id": "p1", "text": "2 + 3 = 5.", "gold": "5"}
required: text
for the filter: prompt or messages (they say where answers stand), and gold
(the reference answer), tests (Python code that a program must pass) or
schema (the JSON schema of a document); or these in a file of --prompts
All that a record holds is kept; added are correct (true or false), score
where the filter scores, and with --again correct_before."""


@click.command(
    epilog=examples(
        "msifr judge outputs.jsonl --filter numeric -o judged.jsonl.gz",
        "msifr judge outputs.jsonl --filter exact --answer box --prompts prompts.jsonl -o judged.jsonl.gz",
        "msifr judge traces.jsonl.gz --again --filter numeric -o judged-again.jsonl.gz",
        before=OUTPUT_HELP,
    )
)
@traces_argument
@click.option(
    "-o",
    "--out",
    required=True,
    type=OutputPath(),
    help="Write the judged outputs here: .jsonl, .jsonl.gz, .jsonl.zst or .parquet.",
)
@click.option(
    "--filter",
    "word",
    default="numeric",
    metavar="WORD",
    help=f"What makes an output acceptable: {FILTERS}; see msifr generate --help.",
)
@click.option("--answer", default="", metavar="PLACE", help=PLACE_HELP)
@click.option(
    "--prompts",
    multiple=True,
    metavar="FILE",
    help="What outputs are judged by, such as gold answers, by the ids of prompts (prompt_id, …) or by what they ask: "
    "prompts of a run, a benchmark. May be given again.",
)
@gathered(
    JudgeOptions,
    "options",
    again={"is_flag": True, "help": "Also judge outputs that have an outcome, and say how often it changes."},
    keep={
        "flag": "--keep-unjudged",
        "is_flag": True,
        "help": "Write outputs that cannot be judged, too, without an outcome.",
    },
    workers={
        "type": click.IntRange(1),
        "default": all_cores,
        "show_default": "all cores",
        "help": "Processes that judge.",
    },
    on_error={
        "type": click.Choice(get_args(OnError)),
        "help": "Stop at a malformed record, or one without a text, or skip and count it.",
    },
    fields={"flag": "--map", "multiple": True, "metavar": "FIELD=PATH", "help": MAP_HELP},
)
@json_option
def judge(
    traces: tuple[str, ...],
    out: str,
    word: str,
    answer: str,
    prompts: tuple[str, ...],
    options: JudgeOptions,
    as_json: bool,
) -> None:
    """Give every output in TRACES an outcome by a final filter, as a run would: `correct`, true or false.

    Outputs that have one keep it. Those that cannot be judged (no gold answer) are left out and counted; where the
    filter cannot tell (no answer found, out of time) the output is not accepted. A judge that was killed goes on where
    it stopped when started again with the same options.
    """
    traces = tuple(STDIN if path == "-" else path for path in traces)
    aside = check_output(out, traces, as_json=as_json) or as_json
    if prompts:
        options = msgspec.structs.replace(options, prompts=read_asked(prompts))
    with tracking("judging") as advance:

        def show(counts: JudgedFile) -> None:
            if counts.records % 64 == 0:
                advance(counts.records, f"{counts.accepted} accepted of {counts.judged}")

        came = judge_files(traces, partial(parse_filter, word, answer), out, options, show)
    prose(*_lines(came, out), explained("final filter", "accepted", "gold"), json=aside)
    if as_json:
        emit(came)


def _lines(came: JudgedFile, out: str) -> list[str]:
    share = f" ({came.accepted / came.judged:.1%})" if came.judged else ""
    lines = [
        f"{came.judged} of {came.records} outputs judged by {came.filter}: {came.accepted} accepted{share}; "
        f"{came.written} written -> {out}"
    ]
    if came.known:
        lines.append(f"{came.known} of them were judged before this judge was interrupted, and not again")
    if (both := came.agreement) is not None:
        disagree = f" ({both.disagree / both.records:.1%})" if both.records else ""
        lines.append(
            f"{both.records} had an outcome and were judged again: {both.disagree} disagree{disagree}, "
            f"{both.accepted_unaccepted} accepted before and not now, {both.unaccepted_accepted} now and not before"
        )
    elif came.had_outcome:
        lines.append(f"{came.had_outcome} had an outcome already, which stays; --again judges them, too")
    if came.unfinished:
        lines.append(f"{came.unfinished} attempts were discarded or failed: they have no finished text, and no outcome")
    if came.not_judged:
        kept = "kept as they were" if came.written == came.records - came.malformed else "left out"
        lines.append(f"could not be judged, {kept}: {_reasons(came.not_judged)}")
    if came.not_accepted_because:
        lines.append(f"not accepted, since the filter could not tell: {_reasons(came.not_accepted_because)}")
    if came.malformed:
        lines.append(f"skipped {came.malformed} records that are malformed, or have no text")
    if came.without_exits:
        lines.append(
            f"{came.without_exits} outputs lost the answers that were forced in them (exits): another filter judged "
            "these; record them under the one that is wanted"
        )
    if came.found:
        lines.append(f"answers were found {places(came.found)}")
    if (remark := missing(came.found, 0, came.filter)) is not None:
        lines.append(f"of {sum(came.found.values())} outputs {remark}")
    return lines


def _reasons(reasons: dict[str, Reason]) -> str:
    ordered = sorted(reasons.items(), key=lambda one: -one[1].records)
    return ", ".join(f"{why} {of.records} (the first: {of.first})" for why, of in ordered)
