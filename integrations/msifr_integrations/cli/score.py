"""`msifr score`: the evidence table of traces, and the states of the model that made them."""

from dataclasses import dataclass

import click

from msifr_integrations.cli.console import emit, examples, explained, prose, tracking
from msifr_integrations.cli.options import (
    ReadingOptions,
    check_output,
    gathered,
    json_option,
    reading_options,
    traces_argument,
)
from msifr_integrations.cli.tables import Loaded, load_table
from msifr_integrations.cli.words import EvidenceOptions, evidence_options
from msifr_integrations.generation.options import DTYPES
from msifr_policy.errors import InputError
from msifr_policy.extras import needs
from msifr_policy.records.traces import SCHEMA_HELP


@dataclass(frozen=True)
class StatesOptions:
    """Whose states are read, and where to; how the model runs and takes prompts. Raises `InputError` for one alone."""

    model: str | None = None
    states_out: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    chat: bool | None = None
    template: str = ""

    def __post_init__(self) -> None:
        if (self.model is None) != (self.states_out is None):
            raise InputError("go together", where="--states and --states-out", remedy="give both, or neither")


@click.command(
    epilog=examples(
        "msifr score traces.jsonl.gz",
        "msifr score traces.jsonl.gz --validators arithmetic,repetition -o evidence.parquet",
        "msifr score traces.jsonl.gz --schedule newline --states embedded --states-out states.safetensors",
        before=SCHEMA_HELP,
    )
)
@traces_argument
@click.option("-o", "--out", type=click.Path(), help="Write the evidence table here (Parquet).")
@gathered(
    StatesOptions,
    "states",
    model={
        "flag": "--states",
        "metavar": "MODEL",
        "help": "Also read the hidden states of MODEL, a folder or a name, at the checkpoints: of the transformers "
        "model that made the attempts (embedded: the one of the package), in one pass over each. msifr fit --states "
        "learns a probe of them.",
    },
    states_out={"type": click.Path(), "help": "Write the states here (safetensors)."},
    device="Where MODEL runs, as torch names it; auto is a GPU where there is one.",
    dtype={
        "type": click.Choice(DTYPES),
        "help": "Numbers of MODEL, as in the run to come; auto is float32 on CPU, bfloat16 on a GPU.",
    },
    chat={
        "flag": "--chat/--no-chat",
        "help": "Whether prompts went through MODEL's chat template; by default if it has one.",
    },
    template={"metavar": "TEXT", "help": "The text that prompts were put into, where it says {prompt}."},
)
@evidence_options
@reading_options
@json_option
def score(
    traces: tuple[str, ...],
    out: str | None,
    states: StatesOptions,
    evidence: EvidenceOptions,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Replay the validators over TRACES and build the evidence table."""
    if out:
        needs("pyarrow", extra="parquet", what="the evidence table as Parquet", where=out)
    aside = as_json
    for path in (out, states.states_out):
        aside |= path is not None and check_output(path, traces, as_json=as_json)
    kept = states.model is not None
    loaded = load_table(traces, reading, evidence.checkpoints, evidence.rules, keep_texts=kept, as_json=aside)
    table, _, skipped = loaded
    if out:
        table.write(out)
    told = _write_states(loaded, states) if kept else []
    dead = table.ever_dead()
    by_validator = {spec.name: int(n) for spec, n in zip(table.validators, dead.sum(axis=0), strict=True)}
    n_dead = int(dead.any(axis=1).sum())
    prose(
        f"{table.n_attempts} attempts at {table.n_prompts} prompts, {table.n_accepted} accepted, "
        f"{len(table.k) - table.n_attempts} checkpoints in all; costs in {table.costing.unit} ({table.costing.source})",
        f"rules at their defaults call {n_dead} attempts dead (not to be accepted whatever follows): "
        + ", ".join(f"{name} {n}" for name, n in by_validator.items()),
        *([f"evidence table: {out}"] if out else []),
        *told,
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


def _write_states(loaded: Loaded, options: StatesOptions) -> list[str]:
    """Write the states of a table's attempts, and return what is to be said of them."""
    from msifr_integrations.embedded import embedded_model_path
    from msifr_integrations.generation.inputs import load_model
    from msifr_integrations.generation.states import StatePass

    name = embedded_model_path() if options.model == "embedded" else options.model or ""
    model, tokenizer = load_model(name, device=options.device, dtype=options.dtype)
    read = StatePass(model, tokenizer, chat=options.chat, template=options.template)
    with tracking("reading states") as advance:
        features = read.features(loaded.traces, loaded.table.schedule, progress=advance)
    if read.lost == len(loaded.traces):
        what = "of none of the attempts the tokens can be told from its text"
        raise InputError(what, where="--states", remedy="traces need token_ends, and MODEL has to be what made them")
    features.write(options.states_out or "")
    layers = ", ".join(map(str, features.by_layer))
    lines = [f"states of layers {layers} at {len(features.position)} checkpoints and ends: {options.states_out}"]
    if read.lost:
        lines.append(f"the tokens of {read.lost} attempts cannot be told from their texts: no states of these")
    return lines
