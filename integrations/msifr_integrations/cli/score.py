"""`msifr score`: the evidence table of traces."""

import click

from msifr_integrations.cli.console import emit, examples, explained, prose
from msifr_integrations.cli.options import ReadingOptions, check_output, json_option, reading_options, traces_argument
from msifr_integrations.cli.tables import load_table
from msifr_integrations.cli.words import EvidenceOptions, evidence_options
from msifr_policy.extras import needs
from msifr_policy.records.traces import SCHEMA_HELP


@click.command(
    epilog=examples(
        "msifr score traces.jsonl.gz",
        "msifr score traces.jsonl.gz --validators arithmetic,repetition -o evidence.parquet",
        before=SCHEMA_HELP,
    )
)
@traces_argument
@click.option("-o", "--out", type=click.Path(), help="Write the evidence table here (Parquet).")
@evidence_options
@reading_options
@json_option
def score(
    traces: tuple[str, ...], out: str | None, evidence: EvidenceOptions, reading: ReadingOptions, as_json: bool
) -> None:
    """Replay the validators over TRACES and build the evidence table."""
    if out:
        needs("pyarrow", extra="parquet", what="the evidence table as Parquet", where=out)
    aside = (out is not None and check_output(out, traces, as_json=as_json)) or as_json
    table, _, skipped = load_table(traces, reading, evidence.checkpoints, evidence.rules, as_json=aside)
    if out:
        table.write(out)
    dead = table.ever_dead()
    by_validator = {spec.name: int(n) for spec, n in zip(table.validators, dead.sum(axis=0), strict=True)}
    n_dead = int(dead.any(axis=1).sum())
    prose(
        f"{table.n_attempts} attempts at {table.n_prompts} prompts, {table.n_accepted} accepted, "
        f"{len(table.k) - table.n_attempts} checkpoints in all; costs in {table.costing.unit} ({table.costing.source})",
        f"rules at their defaults call {n_dead} attempts dead (not to be accepted whatever follows): "
        + ", ".join(f"{name} {n}" for name, n in by_validator.items()),
        *([f"evidence table: {out}"] if out else []),
        explained("validator", "dead", "checkpoint"),
        json=aside,
    )
    if as_json:
        from msifr_integrations.cli.documents import ScoreDocument

        emit(
            ScoreDocument(
                n_attempts=table.n_attempts,
                n_prompts=table.n_prompts,
                n_accepted=table.n_accepted,
                n_skipped=skipped,
                unit=table.costing.unit,
                costing=table.costing,
                schedule=table.schedule,
                columns=tuple(table.columns),
                validator_failures=dict(table.failures),
                n_dead=n_dead,
                n_dead_by_validator=by_validator,
            )
        )
