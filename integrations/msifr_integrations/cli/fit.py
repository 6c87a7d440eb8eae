"""`msifr fit`: from traces to a certified policy file, or one per family."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msifr_calibration.options import FitOptions
from msifr_integrations.cli.console import emit, examples, explained, prose, tracking
from msifr_integrations.cli.options import (
    ReadingOptions,
    check_output,
    gathered,
    json_option,
    reading_options,
    traces_argument,
)
from msifr_integrations.cli.summary import certificate_lines, summary_lines
from msifr_integrations.cli.tables import Loaded, load_table
from msifr_integrations.cli.words import EvidenceOptions, evidence_options
from msifr_policy.errors import InputError
from msifr_policy.evidence.exits import exit_columns
from msifr_policy.evidence.history import in_quota
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import SCHEMA_HELP, find_trace_files
from msifr_policy.validators import Hidden, make_validator

if TYPE_CHECKING:
    from msifr_calibration.beliefs.state_features import StateFeatures
    from msifr_integrations.cli.documents import FitDocument
    from msifr_sim import Summary


@dataclass(frozen=True)
class Apart:
    """What is kept out of the fit, fitted apart, or read beside the traces. Raises `InputError` for what cannot be."""

    holdout: float = 0.0
    together: bool = False
    states: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.holdout < 1:
            raise InputError(f"holdout = {self.holdout:g} must be at least 0 and below 1", where="--holdout")
        if self.together and self.states is not None:
            what = "are of one model, and families have each their own"
            raise InputError(what, where="--states", remedy="fit each family by itself")


@click.command(
    epilog=examples(
        "msifr fit traces.jsonl.gz -o policy.json",
        "msifr fit traces.jsonl.gz --max-false-reject 0.1 --holdout 0.2 -o policy.json",
        before=SCHEMA_HELP,
    )
)
@traces_argument
@click.option("-o", "--out", required=True, type=click.Path(), help="Write the policy file here.")
@gathered(
    FitOptions,
    "options",
    max_false_reject="Largest share α of good samples that may be discarded.",
    confidence="Confidence 1 − δ of the certificate.",
    certify_share={
        "type": float,
        "help": "Share of the prompts held out to certify on; default: as many as count, near 0.8 with pretrained "
        "beliefs, near 0.5 with others or --together.",
    },
    method={
        "flag": "--posterior",
        "type": click.Choice(["auto", "linear", "logistic", "isotonic", "pretrained", "learned"]),
        "help": "How beliefs are fitted. linear: logistic or isotonic, the better; pretrained: those that come with "
        "the package, fitted to yours by a few numbers; learned: anew on your words and evidence (needs torch); auto: "
        "pretrained, linear, or both blended, by held-out loss.",
    },
    weigh={
        "type": click.Choice(["prompts", "attempts"]),
        "help": "What weighs equally in the false-reject rate: prompts, however many attempts they have, or attempts.",
    },
    scope={
        "type": click.Choice(["new-prompts", "these-prompts"]),
        "default": "new-prompts",
        "callback": lambda _context, _option, word: word.replace("-", " "),
        "help": "What the certificate is about. new-prompts: prompts like those of TRACES; some are held out, whole. "
        "these-prompts: further attempts at just these, where there are several of each and few prompts; attempts of "
        "every prompt are held out, and nothing is said of new prompts.",
    },
    certify_groups={
        "is_flag": True,
        "help": "Certify the false-reject rate of every group at once, not only of all together.",
    },
    randomise={
        "is_flag": True,
        "help": "Randomise exact tests by a number drawn from the data: certifies a little more often where accepted "
        "samples are few.",
    },
    history={
        "flag": "--history/--no-history",
        "help": "Whether earlier attempts at a prompt are evidence, where traces have several: generate then makes the "
        "attempts at one prompt one after the other.",
    },
    skip_prompts={
        "flag": "--skip-prompts/--no-skip-prompts",
        "help": "Whether an attempt may be discarded before its first token, by its prompt and earlier attempts.",
    },
    accepted_per_prompt={
        "type": click.IntRange(min=1),
        "help": "Fit to runs that stop at a prompt with so many accepted samples, and learn when to give a prompt up.",
    },
    attempts_per_prompt={
        "type": click.IntRange(min=1),
        "help": "The most attempts at a prompt in such a run; default: as many as the traces have.",
    },
    exits={
        "is_flag": True,
        "help": "Also try policies that force the answer early where that pays, by the answers that generate "
        "--record-exits forced; checkpoints are those of the recording. A good sample whose forced answer is not "
        "accepted is lost.",
    },
    exit_prefill_price={
        "type": click.FloatRange(0),
        "metavar": "PRICE",
        "help": "What a token that is read to force an answer costs, in sampled tokens.",
    },
    seed="Seed of every random choice.",
)
@gathered(
    Apart,
    "apart",
    holdout="Share of the prompts to keep out of fitting and certifying, for an honest estimate of what is saved.",
    together={
        "is_flag": True,
        "help": "Each file is a family of its own (a model, a benchmark): fit them together and certify as one pool "
        "those too small to be certified alone; OUT is a folder for one policy file each.",
    },
    states={
        "type": click.Path(),
        "help": "States of the model at the checkpoints of TRACES, by msifr score --states: a probe of them is "
        "learned, and is evidence. The policy then runs on that model in this process alone. Checkpoints are those of "
        "the file.",
    },
)
@evidence_options
@reading_options
@json_option
def fit(
    traces: tuple[str, ...],
    out: str,
    options: FitOptions,
    apart: Apart,
    evidence: EvidenceOptions,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Fit a discard policy on TRACES of finished outputs and certify it on held-out prompts."""
    from msifr_calibration import Family, fit_families, fit_policy
    from msifr_calibration.beliefs.state_features import StateFeatures
    from msifr_calibration.split import uniform

    together, holdout = apart.together, apart.holdout
    files = _families(traces) if together else {"": list(traces)}
    aside = check_output(out, traces, folder=together, as_json=as_json) or as_json
    states = None if apart.states is None else StateFeatures.read(apart.states)
    schedule = evidence.checkpoints if states is None else evidence.checkpoints or states.origin.schedule
    texts = options.method in ("auto", "pretrained", "learned")
    loaded = {
        name: load_table(paths, reading, schedule, evidence.rules, keep_texts=texts, exits=options.exits, as_json=aside)
        for name, paths in files.items()
    }
    families, kept_out = [], []
    for name, (table, traces_of, _) in loaded.items():
        hold = uniform(table.prompt_ids, options.seed, "holdout") < holdout
        kept_out.append(table.where(hold))
        families.append(Family(name, table.where(~hold), traces_of))
    steps = count()
    with tracking("fitting") as advance:
        if together:
            fits = fit_families(families, options, progress=lambda step: advance(next(steps), step))
        else:
            only = families[0]
            say = lambda step: advance(next(steps), step)  # noqa: E731
            fits = [fit_policy(only.table, options, traces=only.traces, states=states, progress=say)]
            kept_out = [_probed(kept, states, fits[0]) for kept in kept_out]
    paths = [str(Path(out) / f"{name}.json") for name in loaded] if together else [out]
    records = {}
    for each, path, table, (name, came) in zip(fits, paths, kept_out, loaded.items(), strict=True):
        each.file.save(path)
        records[name] = _say(each, path, table, came, aside)
    prose(explained("s", "f", "factor", "certificate", "beliefs", "log-loss"), json=aside)
    if as_json and together:
        from msifr_integrations.cli.documents import FitTogetherDocument

        emit(
            FitTogetherDocument(
                policies={name: record.policy for name, record in records.items()},
                certificates={name: record.certificate for name, record in records.items()},
                savings={name: record.savings for name, record in records.items()},
            )
        )
    elif as_json:
        emit(records[""])


def _probed(table: EvidenceTable, states: "StateFeatures | None", fit: Any) -> EvidenceTable:
    """Return a table with the column of the probe that was fitted, if one was."""
    from msifr_calibration.beliefs.probe import probed

    hidden = [make_validator(spec) for spec in fit.file.validators if spec.name == Hidden.name]
    return probed(table, states, hidden[0]) if states is not None and isinstance(hidden[0], Hidden) else table


def _families(traces: Sequence[str]) -> dict[str, list[str]]:
    """Return one family per trace file, by the file's name without its ending."""
    paths = find_trace_files(traces)
    files = {path.name.split(".jsonl")[0].split(".parquet")[0]: [str(path)] for path in paths}
    if len(files) < len(paths):
        raise InputError("two files have the same name", where="--together", remedy="rename one: it names the policy")
    return files


def _say(fit: Any, path: str, kept_out: EvidenceTable, loaded: Loaded, as_json: bool) -> "FitDocument":
    """Say what was fitted, certified and saved, and return it as a record."""
    from msifr_integrations.cli.documents import FitDocument, PosteriorReport, Savings, document
    from msifr_sim import replay_policy, summarise

    file, fitting, certifying = fit.file, fit.candidates.family.table, fit.certifying
    name = fit.candidates.family.name
    savings: Summary | None = None
    table, of = certifying, "certification"
    if file.quota is not None:
        kept_out = in_quota(kept_out, file.quota.accepted, file.quota.attempts)
    if kept_out.n_attempts:
        table, of = fit.candidates.fitted.extend(kept_out, loaded.traces), "holdout"
    lines = [
        f"{name + ': ' if name else ''}fitted on {fitting.n_attempts} attempts at {fitting.n_prompts} prompts, "
        f"certified on {certifying.n_attempts} at {certifying.n_prompts}",
        f"beliefs: {file.beliefs.method}; held-out log loss, smaller is better: "
        + ", ".join(f"{name} {loss:.3f}" for name, loss in fit.candidates.tried.items())
        + f"; knowing nothing {fit.candidates.fitted.base_loss:.3f} (in nats per checkpoint)",
    ]
    if file.never_discards or not table.n_attempts:
        lines.append(file.certificate.message)
        if kept_out.n_prompts and not file.certificate.certified:
            lines.append(
                f"(--holdout kept {kept_out.n_prompts} prompts out of this: numbers of prompts are without them)"
            )
    else:
        exits = None
        if file.exit is not None:
            price = file.exit.prefill_price
            exits = exit_columns(table, loaded.traces, file.exit.plan, prefill_price=price)
        outcomes = replay_policy(file.policy(), table, exits)
        savings = summarise(outcomes, weigh=file.certificate.weigh, length_cap=file.length_cap.cap, seed=file.seed)
        told = {
            "holdout": "on prompts neither fitted nor certified on (--holdout):",
            "certification": "on the prompts it was certified on, which also chose it (--holdout 0.2 is more honest):",
        }
        lines += [told[of], *(f"  {line}" for line in summary_lines(savings)), *certificate_lines(file, savings)]
    lines.append(f"policy file: {path}; see what it saves elsewhere with: msifr evaluate {path} TRACES")
    prose(*lines, json=as_json)
    total = loaded.table
    return FitDocument(
        policy=path,
        n_attempts=total.n_attempts,
        n_prompts=total.n_prompts,
        n_accepted=total.n_accepted,
        n_skipped=loaded.skipped,
        unit=total.costing.unit,
        schedule=total.schedule,
        posterior=PosteriorReport(
            method=file.beliefs.method,
            log_loss=fit.candidates.fitted.log_loss,
            base_loss=fit.candidates.fitted.base_loss,
            tried=dict(fit.candidates.tried),
        ),
        thresholds=file.thresholds,
        price=file.price,
        length_cap=file.length_cap,
        certificate=file.certificate,
        savings=None if savings is None else document(Savings, savings, on=of),
    )
