"""`msifr merge`: the shards of a run, joined."""

import click

from msifr_integrations.cli.console import emit, examples, explained, prose
from msifr_integrations.cli.options import json_option


@click.command(epilog=examples("msifr merge all.jsonl part1.jsonl part2.jsonl"))
@click.argument("out", type=click.Path())
@click.argument("shards", nargs=-1, required=True, type=click.Path())
@click.option("--partial", is_flag=True, help="Merge what is there, though shards or attempts are missing.")
@json_option
def merge(out: str, shards: tuple[str, ...], partial: bool, as_json: bool) -> None:
    """Join SHARDS, outputs of `msifr generate --shard`, into OUT and its ledger, as one run of all would be.

    A merged run is read, compared and fitted on like any other; what is missing in it, `msifr generate` with the same
    options but for the shard goes on to make.
    """
    from msifr_integrations.generation.merge import merge_runs

    merged = merge_runs(shards, out, partial=partial)
    totals = merged.totals
    prose(
        f"{merged.shards - len(merged.missing_shards)} of {merged.shards} shards: {totals.attempts} attempts, "
        f"{totals.accepted} accepted, {totals.discarded} discarded, {totals.tokens} tokens -> {out}",
        *([f"{merged.missing} attempts, or fewer where there is a quota, are missing"] if merged.missing else []),
        explained("shard", "accepted", "discarded", "tokens"),
        json=as_json,
    )
    if as_json:
        emit(merged)
