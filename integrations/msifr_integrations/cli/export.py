"""`msifr export`: what a run made, for those who train on it."""

from typing import get_args

import click

from msifr_integrations.cli.console import emit, examples, explained, prose, tracking
from msifr_integrations.cli.options import check_output, gathered, json_option
from msifr_integrations.formats.export import Exported, ExportForm, ExportOptions, export_run
from msifr_integrations.formats.preference import PairCounts, Pairs, RejectedKind

FORMS_HELP = """\
Forms, in files that end in .jsonl, .jsonl.gz or .parquet:
chat        messages, the answer last (supervised fine-tuning)
text        prompt and completion
preference  prompt, chosen and rejected, lists of messages (DPO): an accepted
            attempt against one at the same prompt that was not accepted, or
            of which the policy discarded the rest (rejected_is_prefix)
parquet     chat, and for each sample its weight and where it is from
datasets    a folder for datasets.load_dataset: the same, and a data card
            that says what was dropped and what is certified of that
Pairs: one-per-prompt draws a chosen attempt by a hash of its id, and takes the
finished rejected one closest to it in length, a prefix where there is none;
all takes every accepted attempt with every rejected one. Chosen texts are
never cut: trainers end them, and a cut one would teach to break off."""


@click.command(
    epilog=examples(
        "msifr export out.jsonl -o sft.jsonl",
        "msifr export out.jsonl -o pairs.jsonl.gz --form preference --rejected finished",
        "msifr export out.jsonl -o my-data --form datasets --pairs one-per-prompt --policy policy.json",
        before=FORMS_HELP,
    )
)
@click.argument("out", type=click.Path(dir_okay=False))
@click.option("-o", "--to", "to", required=True, type=click.Path(), help="Write this file, or folder, anew.")
@gathered(
    ExportOptions,
    "options",
    form={"type": click.Choice(get_args(ExportForm)), "help": "What is written; see below."},
    policy={
        "type": click.Path(dir_okay=False),
        "help": "The policy file that the run was under, for the certificate in the data card.",
    },
    pairs={
        "type": click.Choice(get_args(Pairs)),
        "show_default": "one-per-prompt; none in datasets",
        "help": "Which pairs are made.",
    },
    rejected={
        "type": click.Choice(get_args(RejectedKind)),
        "help": "What may be the rejected side: finished attempts, prefixes of discarded ones, or any.",
    },
)
@json_option
def export(out: str, to: str, options: ExportOptions, as_json: bool) -> None:
    """Export what a run made, its output OUT, for training: accepted samples, preference pairs, or a data set.

    OUT may also be traces with outcomes, as `msifr judge` writes them; what a run's ledger tells is then not known.
    """
    aside = check_output(to, [out], folder=options.form == "datasets", as_json=as_json) or as_json
    exported = export_shown(out, to, options)
    prose(*exported_lines(exported, to), explained("weight", "accepted", "discarded"), json=aside)
    if as_json:
        emit(exported)


def export_shown(out: str, to: str, options: ExportOptions) -> Exported:
    """Export a run, and show how far it is."""
    with tracking("exporting") as advance:
        return export_run(out, to, options, lambda read: advance(read) if read % 64 == 0 else None)


def exported_lines(exported: Exported, to: str) -> list[str]:
    """Return what is said of an export."""
    lines = []
    if exported.samples is not None:
        lines.append(f"{exported.samples} accepted samples at {exported.prompts} prompts -> {to}")
    if exported.pairs is not None:
        lines.append(f"{_pairs(exported.pairs)} -> {to}")
    return lines + list(exported.remarks)


def _pairs(pairs: PairCounts) -> str:
    contained = f", {pairs.contained} left out whose rejected text begins the chosen one" if pairs.contained else ""
    return (
        f"{pairs.pairs} pairs at {pairs.prompts} of {pairs.prompts_seen} prompts, {pairs.prefixes} with a rejected "
        f"text that is broken off ({pairs.none_accepted} prompts have nothing accepted, {pairs.only_accepted} "
        f"nothing to reject{contained})"
    )
