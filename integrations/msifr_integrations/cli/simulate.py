"""`msifr simulate`: what a policy saves under a model, before anything is run."""

from typing import TYPE_CHECKING, Any

import click
import msgspec
import numpy as np

from msifr_integrations.cli.console import emit, examples, prose, tracking
from msifr_integrations.cli.evaluate import seed_option
from msifr_integrations.cli.options import ReadingOptions, gathered, json_option, reading_options
from msifr_integrations.cli.summary import rates_line, say_summary
from msifr_integrations.cli.tables import load_for_policy, load_policy
from msifr_policy.errors import InputError
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.traces import SCHEMA_HELP

if TYPE_CHECKING:
    from msifr_sim import Summary


class _Hazard(msgspec.Struct, frozen=True, kw_only=True):
    """The hazard model in words: numbers, or one per stage separated by commas."""

    stages: int | None = None
    hazard: str = "0.1"
    detection: str = "0.6"
    false_alarm: str = "0.005"
    accept_clean: float = 0.9
    accept_faulty: float = 0.05
    stage_cost: str = "50"
    prompt_cost: float = 0.0

    def model(self) -> Any:
        """Return the `HazardModel`. Raises `InputError`, naming the option, for numbers that do not fit."""
        from msifr_policy.exact.hazard import HazardModel

        per_stage = {name: self._numbers(name) for name in ("hazard", "detection", "false_alarm", "stage_cost")}
        several = {name: len(values) for name, values in per_stage.items() if len(values) > 1}
        n_stages = self.stages or max(several.values(), default=8)
        for name, n in several.items():
            if n != n_stages:
                raise InputError(f"{n} values for {n_stages} stages", where=_flag(name), remedy="one, or one per stage")
        numbers: dict[str, Any] = {
            name: values * n_stages if len(values) == 1 else values for name, values in per_stage.items()
        }
        costs = numbers.pop("stage_cost")
        single: dict[str, Any] = {
            name: float(getattr(self, name)) for name in ("accept_clean", "accept_faulty", "prompt_cost")
        }
        for name, values in ({"stage_cost": costs} | numbers | {name: (x,) for name, x in single.items()}).items():
            most = _LARGEST_COST if name.endswith("cost") else 1
            if not all(0 <= value <= most for value in values):
                raise InputError(f"{values} must lie between 0 and {most:g}", where=_flag(name))
        if not sum(costs) + self.prompt_cost > 0:
            raise InputError("attempts cost nothing", where="--stage-cost", remedy="give tokens per stage above 0")
        return HazardModel(**numbers, stage_costs=costs, **single)

    def _numbers(self, name: str) -> tuple[float, ...]:
        text = getattr(self, name)
        try:
            return tuple(float(word) for word in text.split(","))
        except ValueError:
            raise InputError(
                f"{text!r} is not a number, or numbers separated by commas",
                where=_flag(name),
                remedy="such as 0.1, or 0.1,0.2 for two stages",
            ) from None


_LARGEST_COST = 1e9


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@click.command(
    epilog=examples(
        "msifr simulate --stages 8 --hazard 0.1 --detection 0.6 --false-alarm 0.005",
        "msifr simulate policy.json more-traces.jsonl",
        before=SCHEMA_HELP,
    )
)
@click.argument("policy", required=False, type=click.Path(dir_okay=False))
@click.argument("traces", nargs=-1, type=click.Path())
@click.option("--attempts", default=20_000, type=click.IntRange(1, 10_000_000), help="Attempts to draw.")
@gathered(
    _Hazard,
    "hazards",
    stages={
        "type": click.IntRange(1, 10_000),
        "help": "Hazard model: number of stages K; default: as many as numbers are given, or 8.",
    },
    hazard="Hazard model: P(fatal error appears) per stage.",
    detection="Hazard model: P(flag) of a faulty attempt.",
    false_alarm="Hazard model: P(flag) of a clean attempt.",
    accept_clean="Hazard model: P(accepted) with no error.",
    accept_faulty="Hazard model: P(accepted) with an error.",
    stage_cost="Hazard model: tokens per stage.",
    prompt_cost="Hazard model: token-equivalents of the prompt.",
)
@seed_option
@reading_options
@json_option
def simulate(
    policy: str | None,
    traces: tuple[str, ...],
    attempts: int,
    hazards: _Hazard,
    seed: int,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Simulate what a policy saves, exactly and by Monte Carlo, before running it.

    With POLICY and TRACES: a Markov model over ranges of the worth is compiled from the traces, and POLICY is
    evaluated on it. Without: "discard at the first flag" under the hazard model of the options.
    """
    from msifr_policy.exact.hazard import hazard_rates
    from msifr_sim import agreement, replay_policy, simulate_hazard, simulate_policy, summarise

    rng = np.random.default_rng(seed)
    file: PolicyFile | None = None
    replayed: Summary | None = None
    cap: float | None = None
    if policy is None:
        model = hazards.model()
        with tracking(f"drawing {attempts} attempts"):
            outcomes = simulate_hazard(model, attempts, rng)
        agreed = agreement(hazard_rates(model), outcomes)
    else:
        file = load_policy(policy)
        if not traces:
            raise InputError("TRACES are missing", where="msifr simulate", remedy="name the traces to model")
        if hazards != _Hazard():
            prose("note: the options of the hazard model are for simulating without POLICY", json=as_json)
        table = load_for_policy(file, traces, reading, as_json=as_json)
        with tracking(f"drawing {attempts} attempts"):
            agreed, outcomes = simulate_policy(file.policy(), table, attempts, rng)
        weigh, cap = file.certificate.weigh, file.length_cap.cap
        replayed = summarise(replay_policy(file.policy(), table), weigh=weigh, length_cap=cap, seed=seed)
    prose(
        f"exact, by formula from the model: s = {agreed.saving_rate:.4f}, f = {agreed.false_reject_rate:.4f}, net cost "
        f"factor = {agreed.net_cost_factor:.4f}; the s of {attempts} attempts drawn from it differs by "
        f"{agreed.standard_errors:.2f} standard errors of {agreed.saving_rate_se:.4f} (up to 4 is chance)",
        *([] if replayed is None else [f"the traces themselves, replayed: {rates_line(replayed)}"]),
        f"the {attempts} attempts that were drawn:",
        json=as_json,
    )
    # Every drawn attempt is its own prompt: groups of them tell the spread as well, to 1.4 %, in a quarter of the time.
    summary = summarise(outcomes, length_cap=cap, seed=seed, max_units=2_500)
    say_summary(summary, file, as_json=as_json)
    if as_json:
        from msifr_integrations.cli.documents import ReplayRates, SimulateDocument, document

        emit(
            document(
                SimulateDocument,
                summary,
                model="hazard" if file is None else "chain over ranges of the worth",
                exact=agreed,
                replay=msgspec.UNSET if replayed is None else document(ReplayRates, replayed),
                certificate=None if file is None else file.certificate,
            )
        )
