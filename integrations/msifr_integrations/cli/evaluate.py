"""`msifr evaluate`: what a policy would have saved and lost on traces."""

import click

from msifr_integrations.cli.console import emit, examples
from msifr_integrations.cli.options import ReadingOptions, json_option, reading_options, traces_argument
from msifr_integrations.cli.summary import say_summary
from msifr_integrations.cli.tables import exits_for_policy, load_for_policy, load_policy
from msifr_policy.records.traces import SCHEMA_HELP

seed_option = click.option("--seed", default=0, type=click.IntRange(0), help="Seed of every random choice.")


@click.command(epilog=examples("msifr evaluate policy.json more-traces.jsonl", before=SCHEMA_HELP))
@click.argument("policy", type=click.Path(dir_okay=False))
@traces_argument
@seed_option
@click.option(
    "--states",
    type=click.Path(),
    help="Hidden states of the model at the policy's checkpoints, by msifr score --states: for a policy with a probe.",
)
@reading_options
@json_option
def evaluate(
    policy: str, traces: tuple[str, ...], seed: int, states: str | None, reading: ReadingOptions, as_json: bool
) -> None:
    """Replay POLICY over TRACES: what it would have saved, and which good samples it would have lost."""
    from msifr_sim import replay_policy, summarise

    file = load_policy(policy)
    table = load_for_policy(file, traces, reading, states=states, as_json=as_json)
    outcomes = replay_policy(file.policy(), table, exits_for_policy(file, traces, reading, table))
    summary = summarise(outcomes, weigh=file.certificate.weigh, length_cap=file.length_cap.cap, seed=seed)
    say_summary(summary, file, as_json=as_json)
    if as_json:
        from msifr_integrations.cli.documents import EvaluateDocument, document

        emit(document(EvaluateDocument, summary, certificate=file.certificate))
