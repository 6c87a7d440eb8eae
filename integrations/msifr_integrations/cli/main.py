"""The commands. Each reads files, calls one function of the layers below, and says what came out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from itertools import count
from typing import TYPE_CHECKING, Any

# Torch's threads spin while they wait; this must be set before torch is imported by any command.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import msgspec
import numpy as np

from msifr_integrations.cli.console import Group, emit, prose, tracking
from msifr_integrations.cli.options import (
    auto_schedule,
    json_option,
    load_table,
    parse_filter,
    parse_schedule,
    parse_validators,
    seed_option,
    trace_options,
)
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import FittedPolicy, PolicyFile
from msifr_policy.records.traces import ReadReport, Trace, find_trace_files, read_traces
from msifr_policy.validators import validator_names

if TYPE_CHECKING:
    from msifr_calibration import Fit

__all__ = ["main"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(version("msifr-policy"))
def main() -> None:
    """Stop bad language-model outputs while they are being generated, at a certified risk.

    Start with `msifr fit` on traces of finished outputs, look at what the policy would save with `msifr evaluate`,
    then run it with `msifr generate`.
    """


_SCHEDULE_HELP = (
    "Where checkpoints are: auto (geometric, scaled to the median length), every:N[:UNIT], "
    "geometric:FIRST:RATIO[:UNIT] or newline[:MIN_CHARACTERS]; UNIT is characters or tokens."
)
_schedule_option = click.option("--schedule", default="auto", help=_SCHEDULE_HELP)
_validators_option = click.option(
    "--validators",
    default="default",
    help="What to read partial text by: default, all, names separated by commas ("
    + ", ".join(validator_names())
    + "), or FILE.json with a list of names and parameters.",
)
_traces_argument = click.argument("traces", nargs=-1, required=True, type=click.Path())


def _schedule(word: str, traces: tuple[str, ...], on_error: Any) -> Any:
    return auto_schedule(traces, on_error) if word == "auto" else parse_schedule(word)


@main.command()
@_traces_argument
@click.option("-o", "--out", type=click.Path(dir_okay=False), help="Write the evidence table here (Parquet).")
@_schedule_option
@_validators_option
@trace_options
@json_option
def score(
    traces: tuple[str, ...],
    out: str | None,
    schedule: str,
    validators: str,
    tokenizer: str | None,
    unit: str,
    on_error: Any,
    as_json: bool,
) -> None:
    """Replay the validators over TRACES and build the evidence table."""
    table, report = load_table(
        traces,
        schedule=_schedule(schedule, traces, on_error),
        validators=parse_validators(validators),
        unit=unit,
        tokenizer=tokenizer,
        on_error=on_error,
        as_json=as_json,
    )
    if out:
        table.write(out)
    dead = table.ever_dead()
    by_validator = {spec.name: int(n) for spec, n in zip(table.validators, dead.sum(axis=0), strict=True)}
    n_dead = int(dead.any(axis=1).sum())
    prose(
        f"{table.n_attempts} attempts at {table.n_prompts} prompts, {table.n_accepted} accepted, "
        f"{len(table.k) - table.n_attempts} checkpoints; costs in {table.costing.unit} ({table.costing.source})",
        f"rules at their defaults call {n_dead} attempts dead: "
        + ", ".join(f"{name} {n}" for name, n in by_validator.items()),
        *([f"evidence table: {out}"] if out else []),
        json=as_json,
    )
    if as_json:
        emit(
            {
                "n_attempts": table.n_attempts,
                "n_prompts": table.n_prompts,
                "n_accepted": table.n_accepted,
                "n_skipped": report.skipped,
                "unit": table.costing.unit,
                "costing": table.costing,
                "schedule": table.schedule,
                "columns": table.columns,
                "validator_failures": table.failures,
                "n_dead": n_dead,
                "n_dead_by_validator": by_validator,
            }
        )


@main.command()
@_traces_argument
@click.option("-o", "--out", required=True, type=click.Path(), help="Write the policy file here.")
@click.option("--max-false-reject", default=0.05, help="Largest share α of good samples that may be discarded.")
@click.option("--confidence", default=0.9, help="Confidence 1 − δ of the certificate.")
@click.option(
    "--certify-share",
    type=float,
    default=None,
    help="Share of prompts held out to certify on; default: a third, or more when accepted samples are few.",
)
@click.option(
    "--posterior",
    type=click.Choice(["auto", "logistic", "isotonic", "learned"]),
    default="auto",
    help="Shape of the posterior. learned also reads the words and blends a network with logistic (needs torch);"
    " auto is logistic or isotonic.",
)
@click.option(
    "--together",
    is_flag=True,
    help="Each file is a family of its own (a model, a benchmark): fit them together and certify as one pool those too "
    "small to be certified alone; OUT is a folder for one policy file each.",
)
@_schedule_option
@_validators_option
@seed_option
@trace_options
@json_option
def fit(
    traces: tuple[str, ...],
    out: str,
    max_false_reject: float,
    confidence: float,
    certify_share: float | None,
    posterior: Any,
    together: bool,
    schedule: str,
    validators: str,
    seed: int,
    tokenizer: str | None,
    unit: str,
    on_error: Any,
    as_json: bool,
) -> None:
    """Fit a discard policy on TRACES of finished outputs and certify it on held-out prompts."""
    from msifr_calibration import fit_families, fit_policy

    def load(files: tuple[str, ...]) -> tuple[EvidenceTable, ReadReport]:
        return load_table(
            files,
            schedule=_schedule(schedule, files, on_error),
            validators=parse_validators(validators),
            unit=unit,
            tokenizer=tokenizer,
            on_error=on_error,
            as_json=as_json,
        )

    def texts(files: tuple[str, ...]) -> list[Trace] | None:
        # Only a learned posterior reads the texts again.
        return list(read_traces(files, on_error=on_error)) if posterior == "learned" else None

    options: dict[str, Any] = {
        "max_false_reject": max_false_reject,
        "confidence": confidence,
        "method": posterior,
        "seed": seed,
    }
    steps = count()
    if together:
        paths = find_trace_files(traces)
        files = {path.name.split(".jsonl")[0].split(".parquet")[0]: (str(path),) for path in paths}
        if len(files) < len(paths):
            raise InputError(
                "two files have the same name", where="--together", remedy="rename one: it names the policy"
            )
        tables = {name: load(file)[0] for name, file in files.items()}
        with tracking("fitting") as advance:
            fits = fit_families(
                tables,
                traces={name: texts(file) or [] for name, file in files.items()},
                certify_share=0.5 if certify_share is None else certify_share,
                progress=lambda step: advance(next(steps), step),
                **options,
            )
        _save_families(fits, out, as_json)
        return
    table, report = load(traces)
    with tracking("fitting") as advance:
        result = fit_policy(
            table,
            traces=texts(traces),
            certify_share=certify_share,
            progress=lambda step: advance(next(steps), step),
            **options,
        )
    result.file.save(out)
    certificate = result.file.certificate
    prose(
        f"fitted on {result.learned.fitting.n_attempts} attempts at {result.learned.fitting.n_prompts} prompts, "
        f"certified on {result.certifying.n_attempts} at {result.certifying.n_prompts}",
        certificate.message,
        f"policy file: {out}; see what it saves with: msifr evaluate {out} TRACES",
        json=as_json,
    )
    if as_json:
        emit(
            {
                "policy": out,
                "n_attempts": table.n_attempts,
                "n_prompts": table.n_prompts,
                "n_accepted": table.n_accepted,
                "n_skipped": report.skipped,
                "unit": table.costing.unit,
                "schedule": table.schedule,
                "posterior": {
                    "method": result.file.posterior.method,
                    "log_loss": result.learned.log_loss,
                    "base_loss": result.learned.base_loss,
                },
                "thresholds": result.file.thresholds,
                "price": result.file.price,
                "length_cap": result.file.length_cap,
                "certificate": certificate,
            }
        )


def _save_families(fits: Mapping[str, Fit], out: str, as_json: bool) -> None:
    """Write one policy file each into the folder `out`, and say what was certified."""
    os.makedirs(out, exist_ok=True)
    written = {name: os.path.join(out, f"{name}.json") for name in fits}
    for name, fit in fits.items():
        fit.file.save(written[name])
    prose(
        *(
            f"{name}: {'discards' if fit.file.certificate.certified else 'never discards'}; policy {written[name]}"
            for name, fit in fits.items()
        ),
        next(iter(fits.values())).file.certificate.message,
        json=as_json,
    )
    if as_json:
        emit({"policies": written, "certificates": {name: fit.file.certificate for name, fit in fits.items()}})


@main.command()
@click.argument("policy", type=click.Path(dir_okay=False))
@_traces_argument
@seed_option
@trace_options
@json_option
def evaluate(
    policy: str,
    traces: tuple[str, ...],
    seed: int,
    tokenizer: str | None,
    unit: str,
    on_error: Any,
    as_json: bool,
) -> None:
    """Replay POLICY over TRACES: what it would have saved, and which good samples it would have lost."""
    from msifr_sim import replay_policy, summarise

    file = PolicyFile.load(policy)
    fitted = file.policy()
    table = _table_for(fitted, traces, unit, tokenizer, on_error, as_json)
    summary = summarise(replay_policy(fitted, table), length_cap=file.length_cap.cap, seed=seed)
    _say_summary(summary, file, as_json)


def _per_stage(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    """Parse one number, or one per stage separated by commas."""
    del ctx
    try:
        return tuple(float(word) for word in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a number, or numbers separated by commas", param=parameter
        ) from None


@main.command()
@click.argument("policy", required=False, type=click.Path(dir_okay=False))
@click.argument("traces", nargs=-1, type=click.Path())
@click.option("--attempts", default=20_000, type=click.IntRange(1, 10_000_000), help="Attempts to draw.")
@click.option("--stages", default=8, type=click.IntRange(1, 10_000), help="Hazard model: number of stages K.")
@click.option("--hazard", default="0.1", callback=_per_stage, help="Hazard model: P(fatal error appears) per stage.")
@click.option("--detection", default="0.6", callback=_per_stage, help="Hazard model: P(flag) of a faulty attempt.")
@click.option("--false-alarm", default="0.005", callback=_per_stage, help="Hazard model: P(flag) of a clean attempt.")
@click.option("--accept-clean", default=0.9, help="Hazard model: P(accepted) with no error.")
@click.option("--accept-faulty", default=0.05, help="Hazard model: P(accepted) with an error.")
@click.option("--stage-cost", default="50", callback=_per_stage, help="Hazard model: tokens per stage.")
@click.option("--prompt-cost", default=0.0, help="Hazard model: token-equivalents of the prompt.")
@seed_option
@trace_options
@json_option
def simulate(
    policy: str | None,
    traces: tuple[str, ...],
    attempts: int,
    stages: int,
    hazard: tuple[float, ...],
    detection: tuple[float, ...],
    false_alarm: tuple[float, ...],
    accept_clean: float,
    accept_faulty: float,
    stage_cost: tuple[float, ...],
    prompt_cost: float,
    seed: int,
    tokenizer: str | None,
    unit: str,
    on_error: Any,
    as_json: bool,
) -> None:
    """Simulate what a policy saves, exactly and by Monte Carlo, before running it.

    With POLICY and TRACES: a Markov model over ranges of the worth index is compiled from the traces, and POLICY is
    evaluated on it. Without: "discard at the first flag" under the hazard model of the options.
    """
    from msifr_policy.exact.evaluation import evaluate as evaluate_exactly
    from msifr_policy.exact.hazard import HazardModel, hazard_rates
    from msifr_sim import (
        agreement,
        empirical_chain,
        replay_policy,
        simulate_hazard,
        simulate_process,
        summarise,
    )

    rng = np.random.default_rng(seed)
    file: PolicyFile | None = None
    extra: dict[str, Any] = {}
    cap: float | None = None
    if policy is None:
        per_stage = {
            "hazard": hazard,
            "detection": detection,
            "false_alarm": false_alarm,
            "stage_costs": stage_cost,
        }
        model = HazardModel(
            **{name: values * stages if len(values) == 1 else values for name, values in per_stage.items()},
            accept_clean=accept_clean,
            accept_faulty=accept_faulty,
            prompt_cost=prompt_cost,
        )
        exact: Any = hazard_rates(model)
        outcomes = simulate_hazard(model, attempts, rng)
        extra["model"] = "hazard"
    else:
        if not traces:
            raise InputError("TRACES are missing", where="msifr simulate", remedy="name the traces to model")
        file = PolicyFile.load(policy)
        fitted = file.policy()
        table = _table_for(fitted, traces, unit, tokenizer, on_error, as_json)
        process, stage_policy = empirical_chain(table, fitted.beliefs(table)[1], fitted.threshold(table.k))
        exact = evaluate_exactly(process, stage_policy)
        with tracking(f"drawing {attempts} attempts"):
            outcomes = simulate_process(process, stage_policy, attempts, rng, unit=table.costing.unit)
        cap = file.length_cap.cap
        replayed = summarise(replay_policy(fitted, table), length_cap=cap, seed=seed)
        extra["model"] = "chain over ranges of the worth index"
        extra["replay"] = {
            name: getattr(replayed, name)
            for name in (
                "n_attempts",
                "n_prompts",
                "saving_rate",
                "saving_rate_ci",
                "false_reject_rate",
                "false_reject_rate_ci",
                "net_cost_factor",
                "net_cost_factor_ci",
            )
        }
    agreed = agreement(exact, outcomes)
    extra["exact"] = agreed
    prose(
        f"exact: s = {agreed.saving_rate:.4f}, f = {agreed.false_reject_rate:.4f}, net cost factor = "
        f"{agreed.net_cost_factor:.4f}; Monte Carlo differs by {agreed.standard_errors:.2f} standard errors "
        f"({agreed.saving_rate_se:.4f})",
        json=as_json,
    )
    _say_summary(summarise(outcomes, length_cap=cap, seed=seed), file, as_json, extra)


def _table_for(
    fitted: FittedPolicy,
    traces: tuple[str, ...],
    unit: str,
    tokenizer: str | None,
    on_error: Any,
    as_json: bool,
) -> Any:
    """Build the evidence table of `traces` with the policy's own schedule, validators and cost unit."""
    file = fitted.file
    table, _ = load_table(
        traces,
        schedule=file.schedule,
        validators=fitted.validators,
        unit=file.costing.unit if unit == "auto" else unit,
        tokenizer=tokenizer,
        on_error=on_error,
        as_json=as_json,
    )
    if table.fingerprint in (file.fitted_on.sha256, file.certified_on.sha256):
        prose("note: these are the traces the policy was fitted or certified on", json=as_json)
    return table


def _say_summary(summary: Any, file: PolicyFile | None, as_json: bool, extra: dict[str, Any] | None = None) -> None:
    """Print a summary for people, and as JSON with the certificate."""

    def percent(value: float | None, ci: tuple[float, float] | None) -> str:
        if value is None:
            return "undefined"
        return f"{value:.1%}" + (f" [{ci[0]:.1%}, {ci[1]:.1%}]" if ci else "")

    factor, ci = summary.net_cost_factor, summary.net_cost_factor_ci
    prose(
        f"{summary.n_attempts} attempts at {summary.n_prompts} prompts, {summary.n_accepted} accepted",
        f"saving rate        s = {percent(summary.saving_rate, summary.saving_rate_ci)} of {summary.unit}",
        f"false-reject rate  f = {percent(summary.false_reject_rate, summary.false_reject_rate_ci)} of good samples",
        "net cost factor      = "
        + ("undefined" if factor is None else f"{factor:.3f}")
        + (f" [{ci[0]:.3f}, {ci[1]:.3f}]" if ci else "")
        + " (cost per accepted sample, with over without the policy)",
        f"plain length cap     = {_number(summary.length_cap_factor)}, oracle = {_number(summary.oracle_factor)}"
        f"  (intervals: {summary.ci_level:.0%}, bootstrap by prompt)",
        "discards by reason: "
        + (", ".join(f"{k} {v}" for k, v in summary.discards_by_reason.items()) or "none: the policy never fired"),
        *([file.certificate.message] if file else []),
        json=as_json,
    )
    if as_json:
        record = msgspec.to_builtins(summary) | (extra or {})
        emit(record | {"certificate": file.certificate if file else None})


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


@main.command()
@click.option("--model", required=True, metavar="PATH_OR_ID", help="A transformers model, or the word: embedded.")
@click.option(
    "--prompts",
    required=True,
    type=click.Path(dir_okay=False),
    help="JSON lines: prompt_id, prompt, gold, tests, schema, group.",
)
@click.option("--policy", required=True, help="A policy file, or: none.")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(dir_okay=False),
    help="Attempts, JSON lines; resumed if it exists.",
)
@click.option("--attempts", default=4, type=click.IntRange(1), help="Attempts per prompt.")
@click.option("--slots", default=16, type=click.IntRange(1), help="Attempts generated side by side.")
@click.option("--max-new-tokens", default=512, type=click.IntRange(1), help="Longest attempt, in tokens.")
@click.option("--temperature", default=1.0, type=click.FloatRange(0), help="Sampling temperature; 0 is greedy.")
@click.option("--top-k", default=0, type=click.IntRange(0), help="Sample from the k likeliest tokens; 0 is all.")
@click.option(
    "--top-p",
    default=1.0,
    type=click.FloatRange(0, 1, min_open=True),
    help="Sample from this much probability.",
)
@click.option(
    "--filter",
    "final_filter",
    default="numeric",
    show_default=True,
    help="""What makes an attempt acceptable: `numeric` or `exact` (the prompt's gold), `math[:SECONDS]` (by
    math-verify), `json-schema[:FILE][:whole|fence|object]` (FILE or the prompt's schema),
    `tests[:fence|whole][:SECONDS][:unconfined]` (run the program with the prompt's tests),
    `score:MODULE:FUNCTION:THRESHOLD` or `function:MODULE:FUNCTION` (yours, called with prompt and text).""",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "slots", "static"]),
    default="auto",
    help="How tokens are generated.",
)
@click.option("--device", default="auto", help="As torch names it; auto is a GPU where there is one.")
@click.option("--dtype", default="auto", help="As torch names it; auto is float32 on CPU, bfloat16 on a GPU.")
@click.option("--chat", is_flag=True, help="Wrap prompts in the tokenizer's chat template.")
@click.option(
    "--compare", type=click.Path(dir_okay=False), help="Output of the paired run; adds conversion_efficiency."
)
@seed_option
@json_option
def generate(
    model: str,
    prompts: str,
    policy: str,
    out: str,
    attempts: int,
    slots: int,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    final_filter: str,
    engine: Any,
    device: str,
    dtype: str,
    chat: bool,
    compare: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Generate attempts at prompts, discarding by POLICY in flight; accepted samples and every token are written.

    A run that was killed goes on where it stopped when started again with the same options.
    """
    from msifr_integrations.embedded import embedded_model_path
    from msifr_integrations.generation.generate import generate as run

    fitted = None if policy == "none" else PolicyFile.load(policy).policy()
    with tracking("generating") as advance:
        result = run(
            str(embedded_model_path()) if model == "embedded" else model,
            prompts,
            fitted,
            out,
            attempts=attempts,
            seed=seed,
            slots=slots,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            final_filter=parse_filter(final_filter),
            engine=engine,
            device=device,
            dtype=dtype,
            chat=chat,
            compare=compare,
            model_name=model,
            progress=lambda p: advance(p.done, f"{p.accepted} accepted, {p.discarded} discarded", p.attempts),
            tell=lambda remark: prose(remark, json=True),
        )
    per_accepted = "-" if result.tokens_per_accepted is None else f"{result.tokens_per_accepted:.1f}"
    prose(
        f"{result.attempts} attempts, {result.accepted} accepted, {result.discarded} discarded",
        f"{result.tokens} tokens in {result.seconds:.1f} s, {per_accepted} tokens per accepted sample",
        json=as_json,
    )
    if result.conversion_efficiency not in (msgspec.UNSET, None):
        prose(
            f"conversion efficiency {result.conversion_efficiency:.2f} (time saved over tokens saved)",
            json=as_json,
        )
    if as_json:
        emit(result)


if __name__ == "__main__":
    main()
