"""The main job on the embedded model, end to end: `python -m msifr_integrations.demo --out FOLDER`.

Generate attempts, fit a discard policy on them and certify it on held-out prompts, simulate what it will save, generate
again on fresh prompts with the policy and without (same seeds), and compare. Writes `summary.json` (the numbers)
and `report.html` (the page of `msifr report`). Everything is made here, on CPU or on a GPU if there is one; nothing is
downloaded.
"""

import os
import platform
import sys
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

# Torch's threads spin while they wait; this must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import click
import msgspec
import numpy as np

from msifr_calibration import Fit, fit_policy
from msifr_calibration.nested import replayed
from msifr_integrations.cli.console import prose, tracking
from msifr_integrations.cli.options import gathered
from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path, problems
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.inputs import load_model
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.paired import pair_runs
from msifr_integrations.generation.result import Result
from msifr_integrations.report.make import make_report
from msifr_integrations.report.of_pair import material_of_pair
from msifr_integrations.report.page import write_page
from msifr_policy.errors import MsifrError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.files import check_writable, replacing
from msifr_policy.filters import Prompt
from msifr_policy.policy import Policy
from msifr_policy.rates import rates
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import default_validator
from msifr_sim import DifficultyGroup, replay_policy, simulate_policy, summarise

MAX_NEW_TOKENS = 200
# Not `numbers`: it says how hard the problem is, and discarding by that would thin out the hard problems.
VALIDATORS = ("arithmetic", "repetition", "length", "answer")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How big the demo is. Prompts of the two parts never coincide: they are drawn with other seeds, and checked."""

    prompts: int = 800
    fresh_prompts: int = 200
    attempts: int = 4
    slots: int = 32
    seed: int = 0
    max_false_reject: float = 0.05
    confidence: float = 0.9


def _prompts(n: int, seed: int, exclude: AbstractSet[str] = frozenset()) -> list[Prompt]:
    """Return n distinct fresh problems as prompts, none of `exclude`."""
    drawn = {one.prompt_id: one.as_prompt() for one in problems(seed, 2 * n + 100) if one.prompt_id not in exclude}
    return list(drawn.values())[:n]


def run_demo(out: Path, settings: Settings) -> dict[str, Any]:
    """Run the demo into folder `out` (emptied of an earlier demo's files) and return its summary."""
    started = time.perf_counter()
    options = GenerateOptions(
        attempts=settings.attempts,
        seed=settings.seed,
        slots=settings.slots,
        max_new_tokens=MAX_NEW_TOKENS,
        model_name=EMBEDDED_MODEL,
    )
    check_writable(out, folder=True).mkdir(exist_ok=True)
    for stale in out.glob("*.jsonl"):
        stale.unlink()
    model, tokenizer = load_model(embedded_model_path())

    def run(what: str, prompts: Sequence[Prompt], policy: Policy | None, name: str, *, compare: str = "") -> Result:
        chosen = msgspec.structs.replace(options, compare=out / compare if compare else None)
        remarks: list[str] = []
        with tracking(what, len(prompts) * settings.attempts) as advance:
            result = generate(
                model, prompts, policy, out / name, chosen,
                tokenizer=tokenizer, progress=lambda p: advance(p.done), tell=remarks.append,
            )  # fmt: skip
        prose(*remarks)
        return result

    to_fit = _prompts(settings.prompts, seed=101)
    prose(f"1. generating {settings.attempts} attempts at each of {len(to_fit)} problems with the embedded model")
    recorded = run("generating", to_fit, None, "attempts.jsonl")
    prose(
        f"   {recorded.attempts} attempts, {recorded.accepted / recorded.attempts:.0%} correct, "
        f"{recorded.tokens} tokens in {recorded.seconds:.0f} s"
    )

    prose("2. fitting a discard policy, and certifying it on prompts it was not fitted on")
    with tracking("scoring and fitting"):
        validators = [default_validator(name) for name in VALIDATORS]
        table = build_evidence(read_traces(out / "attempts.jsonl"), NewlineSteps(), validators)
        budget, confidence = settings.max_false_reject, settings.confidence
        fit = fit_policy(table, max_false_reject=budget, confidence=confidence, seed=settings.seed)
    fit.file.save(out / "policy.json")
    prose(f"   {fit.file.certificate.message}")

    prose("3. simulating what it will save")
    policy, cap = fit.file.policy(), fit.file.length_cap.cap
    predicted = summarise(replay_policy(policy, fit.certifying), length_cap=cap, seed=settings.seed)
    exact, _ = simulate_policy(policy, fit.certifying, 50_000, np.random.default_rng(settings.seed))
    prose(
        f"   replay of held-out attempts: {predicted.saving_rate:.1%} of tokens; model, exactly: "
        f"{exact.saving_rate:.1%}; by Monte Carlo: {exact.simulated_saving_rate:.1%}"
    )

    fresh = _prompts(settings.fresh_prompts, seed=202, exclude={prompt.prompt_id for prompt in to_fit})
    prose(f"4. generating at {len(fresh)} fresh problems, without the policy and with it, same seeds")
    full = run("without policy", fresh, None, "full.jsonl")
    discarding = run("with policy", fresh, policy, "with_policy.jsonl", compare="full.jsonl")
    paired = pair_runs(out / "full.jsonl", out / "with_policy.jsonl")
    realised = summarise(paired.outcomes, length_cap=cap, seed=settings.seed)
    full_table = build_evidence(read_traces(out / "full.jsonl"), NewlineSteps(), validators)

    se = float(np.hypot(predicted.saving_rate_se or 0.0, realised.saving_rate_se or 0.0))
    difference = abs((realised.saving_rate or 0.0) - (predicted.saving_rate or 0.0))
    summary = {
        "settings": settings,
        "seconds": time.perf_counter() - started,
        "environment": _environment(),
        "recorded": recorded,
        "certificate": fit.file.certificate,
        "length_cap": fit.file.length_cap,
        "simulated": {"replay": predicted, "exact_and_monte_carlo": exact},
        "without_policy": full,
        "with_policy": discarding,
        "realised": realised,
        "in_hindsight": _in_hindsight(fit, full_table),
        "tokens_per_accepted_change": _change(full.tokens_per_accepted, discarding.tokens_per_accepted),
        "seconds_per_accepted_change": _change(
            full.seconds / max(full.accepted, 1), discarding.seconds / max(discarding.accepted, 1)
        ),
        "cpu_seconds_per_accepted_change": _change(
            full.cpu_seconds / max(full.accepted, 1), discarding.cpu_seconds / max(discarding.accepted, 1)
        ),
        "accuracy_of_finished": {
            "without_policy": full.accepted / full.attempts,
            "with_policy": discarding.accepted / max(discarding.attempts - discarding.discarded, 1),
        },
        "survivors": paired.survivors,
        "survivors_changed": paired.changed,
        "discarded_not_a_prefix": paired.not_prefix,
        "simulated_minus_realised_in_standard_errors": difference / se if se > 0 else 0.0,
        "false_reject_rate_within_certificate": (realised.false_reject_rate or 0.0) <= budget,
    }
    with replacing(out / "summary.json") as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    lines = _plain_words(summary)
    with tracking("writing the report"):
        numbers, shown = make_report(
            material_of_pair(
                fit,
                paired,
                full=out / "full.jsonl",
                with_policy=out / "with_policy.jsonl",
                full_table=full_table,
                predicted=predicted,
                seed=settings.seed,
            )
        )
        write_page(
            out / "report.html",
            "In-flight rejection on the embedded model",
            numbers,
            shown,
            notes=[*lines, _machine(summary)],
        )
    prose("", *lines, f"numbers: {out / 'summary.json'}; page: {out / 'report.html'}")
    return summary


def _change(full: float | None, with_policy: float | None) -> float:
    """Return the relative change of a quantity that is infinite where nothing was accepted."""
    return (with_policy or np.inf) / (full or np.inf) - 1


def _environment() -> dict[str, Any]:
    import torch

    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine() + " CPU",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def _plain_words(summary: dict[str, Any]) -> list[str]:
    certificate, realised = summary["certificate"], summary["realised"]
    full, with_policy = summary["without_policy"], summary["with_policy"]
    if not certificate.certified:
        return [certificate.message, "So the policy discarded nothing, and nothing was saved."]
    accuracy = summary["accuracy_of_finished"]
    return [
        f"Tokens per accepted sample: {full.tokens_per_accepted:.1f} without the policy, "
        f"{with_policy.tokens_per_accepted:.1f} with it ({summary['tokens_per_accepted_change']:+.1%}).",
        f"Processor time per accepted sample: {summary['cpu_seconds_per_accepted_change']:+.1%} "
        f"(conversion efficiency {with_policy.conversion_efficiency_cpu:.2f} of the slot engine, "
        f"{summary['settings'].slots} slots); {summary['seconds_per_accepted_change']:+.1%} by the wall on this "
        "machine, which others may have shared.",
        f"Of the finished samples {accuracy['with_policy']:.0%} were correct, {accuracy['without_policy']:.0%} without "
        "policy.",
        f"Good samples lost: {realised.false_reject_rate:.1%}; certified beforehand: at most "
        f"{certificate.max_false_reject:.0%}, with confidence {certificate.confidence:.0%}.",
        *_of_difficulty(realised.by_difficulty),
        f"Simulated before the run: {summary['simulated']['replay'].saving_rate:.1%} of tokens saved; realised: "
        f"{realised.saving_rate:.1%} ({summary['simulated_minus_realised_in_standard_errors']:.1f} standard errors).",
        f"{summary['survivors']} samples were kept; {summary['survivors_changed']} of them differ from the run without "
        "policy.",
    ]


def _in_hindsight(fit: Fit, table: EvidenceTable) -> float:
    """Return the least net cost factor, on the fresh problems, of the path's policies that lose no more than α there.

    It is what this evidence gives if f is known; a certificate has to stay on the safe side of it.
    """
    table = fit.candidates.fitted.extend(table, ())
    known = fit.file.beliefs.worth(table.k, table.values)
    done = replayed(table, fit.file.beliefs, known, fit.candidates.path.thresholds)
    full, accepted = np.full(len(done.spent), table.cost.sum()), np.full(len(done.spent), table.n_accepted)
    of_path = rates(np.stack([full, done.spent, accepted, done.lost], axis=1))
    allowed = of_path.false_reject_rate <= fit.file.certificate.max_false_reject
    return float(np.min(of_path.net_cost_factor[allowed], initial=1.0))


def _of_difficulty(groups: Sequence[DifficultyGroup]) -> list[str]:
    if len(groups) < 2:
        return []
    told = ", ".join(f"{one.name} ones {one.false_reject_rate:.1%}" for one in groups)
    return [f"Of those at hard and at easy problems (about a third each, by the share of correct attempts): {told}."]


def _machine(summary: dict[str, Any]) -> str:
    environment = summary["environment"]
    return (
        f"{environment['device']}, {environment['cores']} cores, torch {environment['torch']}, Python "
        f"{environment['python']}; {summary['seconds']:.0f} s in all."
    )


@click.command(context_settings={"show_default": True})
@click.option("--out", default="demo", type=click.Path(file_okay=False, path_type=Path))
@gathered(
    Settings,
    "settings",
    prompts="Problems to fit and certify on.",
    fresh_prompts="Problems to compare on.",
    attempts="Attempts per problem.",
    slots="Attempts generated side by side.",
    seed="Seed of every random choice.",
    max_false_reject="Largest share of good samples that may be lost.",
)
def main(out: Path, settings: Settings) -> None:
    """Run the main job on the embedded model and write summary.json and report.html."""
    try:
        summary = run_demo(out, settings)
    except MsifrError as error:
        raise click.ClickException(str(error)) from error
    if summary["survivors_changed"] or summary["discarded_not_a_prefix"]:
        prose("error: the run with the policy is not the run without it; the coupling contract is broken")
        sys.exit(1)


if __name__ == "__main__":
    main()
