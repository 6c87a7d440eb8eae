"""The commands. Each reads files, calls one function of the layers below, and says what came out."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

# Torch's threads spin while they wait; this must be set before torch is imported by any command.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import msgspec

from msifr_integrations.cli.console import Group, emit, prose, tracking
from msifr_integrations.cli.options import (
    auto_schedule,
    json_option,
    load_table,
    parse_schedule,
    seed_option,
    trace_options,
)
from msifr_policy.policy_file import FittedPolicy, PolicyFile

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
_traces_argument = click.argument("traces", nargs=-1, required=True, type=click.Path())


def _schedule(word: str, traces: tuple[str, ...], on_error: Any) -> Any:
    return auto_schedule(traces, on_error) if word == "auto" else parse_schedule(word)


@main.command()
@_traces_argument
@click.option("-o", "--out", type=click.Path(dir_okay=False), help="Write the evidence table here (Parquet).")
@_schedule_option
@trace_options
@json_option
def score(
    traces: tuple[str, ...], out: str | None, schedule: str, tokenizer: str | None, unit: str, on_error: Any, as_json: bool
) -> None:
    """Replay the validators over TRACES and build the evidence table."""
    table, report = load_table(
        traces, schedule=_schedule(schedule, traces, on_error), unit=unit, tokenizer=tokenizer,
        on_error=on_error, as_json=as_json,
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
@click.option("-o", "--out", required=True, type=click.Path(dir_okay=False), help="Write the policy file here.")
@click.option("--max-false-reject", default=0.05, help="Largest share α of good samples that may be discarded.")
@click.option("--confidence", default=0.9, help="Confidence 1 − δ of the certificate.")
@click.option(
    "--certify-share", type=float, default=None,
    help="Share of prompts held out to certify on; default: half, or more when accepted samples are few.",
)
@click.option("--posterior", type=click.Choice(["auto", "logistic", "isotonic"]), default="auto", help="Shape of the posterior.")
@_schedule_option
@seed_option
@trace_options
@json_option
def fit(
    traces: tuple[str, ...], out: str, max_false_reject: float, confidence: float, certify_share: float | None,
    posterior: Any, schedule: str, seed: int, tokenizer: str | None, unit: str, on_error: Any, as_json: bool,
) -> None:
    """Fit a discard policy on TRACES of finished outputs and certify it on held-out prompts."""
    from msifr_calibration import fit_policy

    table, report = load_table(
        traces, schedule=_schedule(schedule, traces, on_error), unit=unit, tokenizer=tokenizer,
        on_error=on_error, as_json=as_json,
    )
    with tracking("fitting", 3) as advance:
        steps = iter((0, 1, 2))
        result = fit_policy(
            table, max_false_reject=max_false_reject, confidence=confidence, certify_share=certify_share,
            method=posterior, seed=seed, progress=lambda step: advance(next(steps), step),
        )
    result.file.save(out)
    certificate = result.file.certificate
    prose(
        f"fitted on {result.fitting.n_attempts} attempts at {result.fitting.n_prompts} prompts, "
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
                    "log_loss": result.posterior.log_loss,
                    "base_loss": result.posterior.base_loss,
                },
                "thresholds": result.file.thresholds,
                "price": result.file.price,
                "length_cap": result.file.length_cap,
                "certificate": certificate,
            }
        )


@main.command()
@click.argument("policy", type=click.Path(dir_okay=False))
@_traces_argument
@seed_option
@trace_options
@json_option
def evaluate(
    policy: str, traces: tuple[str, ...], seed: int, tokenizer: str | None, unit: str, on_error: Any, as_json: bool
) -> None:
    """Replay POLICY over TRACES: what it would have saved, and which good samples it would have lost."""
    from msifr_sim import replay_policy, summarise

    file = PolicyFile.load(policy)
    fitted = file.policy()
    table = _table_for(fitted, traces, unit, tokenizer, on_error, as_json)
    summary = summarise(replay_policy(fitted, table), length_cap=file.length_cap.cap, seed=seed)
    _say_summary(summary, file, as_json)


def _table_for(
    fitted: FittedPolicy, traces: tuple[str, ...], unit: str, tokenizer: str | None, on_error: Any, as_json: bool
) -> Any:
    """Build the evidence table of `traces` with the policy's own schedule, validators and cost unit."""
    file = fitted.file
    table, _ = load_table(
        traces, schedule=file.schedule, validators=fitted.validators,
        unit=file.costing.unit if unit == "auto" else unit, tokenizer=tokenizer, on_error=on_error, as_json=as_json,
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
        f"false-reject rate  f = {percent(summary.false_reject_rate, summary.false_reject_rate_ci)} of the good samples",
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


if __name__ == "__main__":
    main()
