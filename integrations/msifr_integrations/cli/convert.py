"""`msifr convert`: other people's outputs, made into traces."""

from functools import partial
from typing import get_args

import click

from msifr_integrations.cli.console import emit, examples, explained, prose, tracking
from msifr_integrations.cli.options import (
    MAP_HELP,
    PLACE_HELP,
    OutputPath,
    all_cores,
    check_output,
    gathered,
    json_option,
)
from msifr_integrations.cli.words import FILTERS, parse_filter
from msifr_integrations.formats.importing.convert import Converted, ConvertOptions
from msifr_integrations.formats.importing.convert import convert as convert_files
from msifr_integrations.formats.importing.recognise import FORMATS
from msifr_integrations.formats.importing.sources import find_inputs
from msifr_integrations.report.said import many
from msifr_policy.records.traces import OnError

_KNOWN = f"""\
Recognised are, in the order in which they are tried:
{"".join(f"{known.name[:76]}{chr(10)}" for known in FORMATS)}\
in JSON lines, JSON, CSV, TSV, Parquet or Arrow, plain or packed by gzip or
Zstandard; in folders, also data sets that Hugging Face datasets saved; and
logs of inspect_ai (.eval). Anything else with --map."""

_SHOWN = 12  # names of fields that have no place


@click.command(
    epilog=examples(
        "msifr convert samples_gsm8k.jsonl -o traces.jsonl.gz",
        "msifr convert completions.parquet --filter numeric -o traces.jsonl.gz",
        "msifr convert batch_output.jsonl --prompts batch_requests.jsonl --prompts gold.jsonl --filter numeric "
        "-o traces.jsonl.gz",
        "msifr convert answers.csv --map text=reply --map prompt=query --map 'correct=grade>=0.5' -o traces.jsonl.gz",
        before=_KNOWN,
    )
)
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o",
    "--out",
    required=True,
    type=OutputPath(),
    help="Write the traces here: .jsonl, .jsonl.gz, .jsonl.zst or .parquet.",
)
@click.option(
    "--filter",
    "word",
    metavar="WORD",
    help=f"What makes an output acceptable, in place of what the format says itself: {FILTERS}; see msifr generate "
    "--help.",
)
@click.option("--answer", default="", metavar="PLACE", help=PLACE_HELP)
@gathered(
    ConvertOptions,
    "options",
    prompts={
        "flag": ("--prompts", "--requests"),
        "multiple": True,
        "metavar": "FILE",
        "help": "What is known of the prompts, such as gold answers, by their ids (prompt_id, custom_id, …) or by what "
        "they ask: requests of a batch, prompts of a run, a benchmark. May be given again.",
    },
    metric={
        "metavar": "NAME",
        "help": "Which of the format's verdicts is the outcome: a metric (METRIC,FILTER of lm-evaluation-harness), a "
        "scorer, a column. [default: the usual one, or the only one]",
        "show_default": False,
    },
    reward_threshold={
        "type": float,
        "metavar": "X",
        "help": "Outputs are accepted from this reward on; needed where rewards are other than 0 and 1.",
    },
    fields={"flag": "--map", "multiple": True, "metavar": "FIELD=PATH", "help": MAP_HELP},
    without_outcome={
        "is_flag": True,
        "help": "Also write outputs without an outcome, to be judged by msifr judge.",
    },
    on_error={"type": click.Choice(get_args(OnError)), "help": "Stop at a malformed record, or skip and count it."},
    workers={
        "type": click.IntRange(1),
        "default": all_cores,
        "show_default": "all cores",
        "help": "Processes that judge.",
    },
)
@json_option
def convert(
    inputs: tuple[str, ...], out: str, word: str | None, answer: str, options: ConvertOptions, as_json: bool
) -> None:
    """Make traces of outputs in the formats of other tools: files, folders, or - for the standard input.

    The format is told by what the records hold. What is accepted is what the format says itself (a metric, a reward, a
    grade), or what --filter says. Ids are made where there are none: the same for the same prompt. What has no place in
    traces is counted.
    """
    aside = check_output(out, [str(path) for path in find_inputs(inputs)], as_json=as_json) or as_json
    with tracking("converting") as advance:

        def show(came: Converted) -> None:
            if came.written % 256 == 0:
                advance(came.written, f"{came.accepted} accepted")

        make = None if word is None else partial(parse_filter, word, answer)
        came = convert_files(inputs, out, options, make, show)
    prose(*_lines(came, out), explained("accepted", "final filter", "trace"), json=aside)
    if as_json:
        emit(came)


def _lines(came: Converted, out: str) -> list[str]:
    lines = [
        f"{each.path}: {each.format}; {many(each.attempts, 'attempt')} in {many(each.records, 'record')}"
        for each in came.files
    ]
    lines += [f"note: {note}" for note in dict.fromkeys(each.note for each in came.files) if note]
    if came.not_recognised:
        lines.append(f"not recognised, left out: {', '.join(came.not_recognised[:_SHOWN])}")
    told = came.written - came.unjudged
    share = f" ({came.accepted / told:.1%})" if told else ""
    whose = "as the format says" if came.outcomes == "own" else f"by {came.outcomes}"
    what = f"{came.accepted:,} accepted{share} {whose}" if told else "none with an outcome"
    lines.append(f"{many(came.written, 'trace')} at {many(came.prompts, 'prompt')}, {what} -> {out}")
    if came.unjudged:
        lines.append(
            f"{came.unjudged} are written without an outcome: msifr judge {out} --filter WORD -o judged.jsonl.gz"
        )
    if came.both_told:
        lines.append(f"filter and format say different things of {came.disagree} of {came.both_told} outputs")
    if came.not_accepted_because:
        reasons = ", ".join(f"{why} {count}" for why, count in _most_first(came.not_accepted_because))
        lines.append(f"not accepted, since the filter could not tell: {reasons}")
    lines += [f"left out {many(count, 'attempt')}: {why}" for why, count in _most_first(came.lost)]
    if came.malformed:
        lines.append(f"skipped {many(came.malformed, 'malformed record')}; the first: {came.errors[0]}")
    if came.ids_made:
        lines.append(f"prompts of {many(came.ids_made, 'attempt')} came without an id: it is made of what they ask")
    if came.without_prompt:
        lines.append(f"of {many(came.without_prompt, 'attempt')} it is not known what was asked; --prompts tells it")
    if came.asked_before:
        what = "what stood before it (a system message, earlier turns, demonstrations) is not written"
        which = many(came.asked_before, "attempt")
        lines.append(f"the prompt of {which} is what was asked last; {what}, and only tells prompts apart")
    if came.without_place:
        names = list(came.without_place)
        more = f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
        lines.append(f"without a place in traces: {', '.join(sorted(names)[:_SHOWN])}{more}")
    return lines


def _most_first(reasons: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda one: -one[1])
