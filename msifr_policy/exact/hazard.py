"""The hazard model: a fatal error may creep in at any stage, and validators may or may not flag it.

Model (theory §4), K stages. A fatal error appears in stage k with hazard h_k if none has before, and stays.
The checkpoint that ends stage k flags a faulty attempt with probability d_k and a clean one with probability
a_k, independently given the fault. An attempt with no error is accepted with probability p_0, one with an
error with p_1. Stage k costs c_k tokens, the prompt c_0.

The policy **discard at the first flag** acts at checkpoints 1 … K − 1 and lets a flagged attempt go on all
the same with probability q_k. Forward recursion on the attempts alive and clean α_k, alive and faulty β_k,
from α_0 = 1, β_0 = 0:

    before the checkpoint:   α' = α_{k−1}(1 − h_k),            β' = β_{k−1} + α_{k−1} h_k
    after it:                α_k = α'(1 − a_k(1 − q_k)),       β_k = β'(1 − d_k(1 − q_k))
    E[T] = c_0 + Σ_k c_k (α_{k−1} + β_{k−1}),   E[A; R] = p_0 α_K + p_1 β_K

and the same with every q_k = 1 gives E[N] and E[A]. The recursion is plain arithmetic, so it is exact when
all numbers are `fractions.Fraction`. Labelled attempts are fitted by counting, unlabelled ones by the EM
algorithm of Dempster, Laird and Rubin (1977) with the stage of the fault as the missing datum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from msifr_policy.errors import InputError
from msifr_policy.exact.process import StageProcess, Vector

__all__ = [
    "HazardFit",
    "HazardModel",
    "HazardRates",
    "HazardSample",
    "fit_hazard",
    "fit_hazard_labelled",
    "hazard_flags",
    "hazard_process",
    "hazard_rates",
    "sample_hazard",
]


@dataclass(frozen=True, slots=True)
class HazardModel:
    """Parameters of the hazard model; tuples of K numbers for stages (or the checkpoints that end them) 1 …
    K.

    hazard: h_k. detection: d_k, probability of a flag when faulty. false_alarm: a_k, when clean.
    accept_clean, accept_faulty: p_0, p_1. stage_costs: c_k in tokens. prompt_cost: c_0.
    The flag at checkpoint K comes after the last decision. Numbers may be floats or Fractions.
    Raises `InputError` naming stage and value for what is no probability or no cost.
    """

    hazard: tuple[Any, ...]
    detection: tuple[Any, ...]
    false_alarm: tuple[Any, ...]
    accept_clean: Any
    accept_faulty: Any
    stage_costs: tuple[Any, ...]
    prompt_cost: Any = 0

    def __post_init__(self) -> None:
        for name in ("hazard", "detection", "false_alarm", "stage_costs"):
            values = tuple(getattr(self, name))
            object.__setattr__(self, name, values)
            if len(values) != self.K or not values:
                raise InputError(f"{len(values)} values of {name} for {self.K} stages", where="HazardModel")
            for k, value in enumerate(values, start=1):
                if not (0 <= value <= 1 if name != "stage_costs" else 0 <= value < np.inf):
                    raise InputError(f"{name} {value}", where=f"stage {k}")
        for name in ("accept_clean", "accept_faulty"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)}", where="HazardModel", remedy="a probability")
        if not 0 <= self.prompt_cost < np.inf:
            raise InputError(f"prompt cost {self.prompt_cost}", where="HazardModel", remedy="tokens, >= 0")

    @property
    def K(self) -> int:  # noqa: N802
        """Number of stages."""
        return len(self.hazard)


@dataclass(frozen=True, slots=True)
class HazardRates:
    """Exact rates of "discard at the first flag" under a hazard model; costs in tokens per attempt.

    tokens: E[T]. tokens_full: E[N]. kept: P(accepted, retained). accepted: P(A = 1) when all are finished.
    """

    tokens: Any
    tokens_full: Any
    kept: Any
    accepted: Any

    @property
    def saving_rate(self) -> Any:
        """Saving rate s = 1 − E[T]/E[N]."""
        return 1 - self.tokens / self.tokens_full if self.tokens_full else 0 * self.tokens

    @property
    def false_reject_rate(self) -> Any:
        """False-reject rate f = P(discarded | A = 1)."""
        return 1 - self.kept / self.accepted

    @property
    def cost_per_accepted(self) -> Any:
        """Cost per accepted ρ in tokens, `inf` if nothing is kept."""
        return self.tokens / self.kept if self.kept else np.inf

    @property
    def net_cost_factor(self) -> Any:
        """ρ/ρ_full = (1 − s)/(1 − f) [T2]."""
        return (1 - self.saving_rate) / (1 - self.false_reject_rate) if self.kept else np.inf


def hazard_rates(model: HazardModel, keep_flagged: Sequence[Any] | float = 0) -> HazardRates:
    """Return the exact rates of "discard at the first flag", by the forward recursion of the module
    docstring.

    keep_flagged: q_k, probability of going on in spite of a flag at checkpoints 1 … K − 1 (or one number for
    all). Raises `InputError` if nothing is ever accepted or a q_k is no probability.
    """
    q = _keep(model, keep_flagged)
    stages = list(zip(model.hazard, model.detection, model.false_alarm, model.stage_costs, q, strict=True))
    clean, faulty, clean_full, faulty_full = 1, 0, 1, 0
    tokens = tokens_full = model.prompt_cost
    for h, d, a, cost, keep in stages:
        tokens += cost * (clean + faulty)
        tokens_full += cost
        clean, faulty = clean * (1 - h), faulty + clean * h
        clean_full, faulty_full = clean_full * (1 - h), faulty_full + clean_full * h
        clean, faulty = clean * (1 - a * (1 - keep)), faulty * (1 - d * (1 - keep))
    accepted = model.accept_clean * clean_full + model.accept_faulty * faulty_full
    if not accepted > 0:
        raise InputError("acceptance cannot be reached", where="HazardModel", remedy="raise accept_clean")
    kept = model.accept_clean * clean + model.accept_faulty * faulty
    return HazardRates(tokens, tokens_full, kept, accepted)


def hazard_process(model: HazardModel) -> StageProcess:
    """Return the model as a `StageProcess`.

    Checkpoint 0 has the one state clean; later ones the four states (clean, no flag), (clean, flag), (faulty,
    no flag), (faulty, flag), with the flag of that checkpoint. The fault is part of the state, so an
    unrestricted optimum
    sees it: an oracle. What can be done with the flags alone is the optimum on
    `belief.hide(process, hazard_flags(model))`.
    """
    transitions = []
    for k in range(model.K):
        h, d, a = float(model.hazard[k]), float(model.detection[k]), float(model.false_alarm[k])
        from_clean = [(1 - h) * (1 - a), (1 - h) * a, h * (1 - d), h * d]
        from_faulty = [0.0, 0.0, 1 - d, d]
        rows = [from_clean] if k == 0 else [from_clean, from_clean, from_faulty, from_faulty]
        transitions.append(np.array(rows))
    clean, faulty = float(model.accept_clean), float(model.accept_faulty)
    return StageProcess(
        transitions=tuple(transitions),
        stage_costs=tuple(np.full(P.shape[0], float(c)) for P, c in zip(transitions, model.stage_costs, strict=True)),
        utility=np.array([clean, clean, faulty, faulty]),
        initial=np.ones(1),
        prompt_cost=float(model.prompt_cost),
    )


def hazard_flags(model: HazardModel) -> tuple[npt.NDArray[np.int64], ...]:
    """Return K + 1 vectors of what is seen in each state of `hazard_process`: 1 for a flag, 0 for none."""
    return (np.zeros(1, np.int64), *(np.array([0, 1, 0, 1]) for _ in range(model.K)))


@dataclass(frozen=True, slots=True, eq=False)
class HazardSample:
    """n attempts drawn from a hazard model, finished.

    costs: `[n, K+1]` tokens of the prompt and of stages 1 … K. flags: `[n, K]` at checkpoints 1 … K.
    fault_stage: `[n]`, the stage of the fatal error, K + 1 if there is none. accepted: `[n]`.
    """

    costs: Vector
    flags: npt.NDArray[np.bool_]
    fault_stage: npt.NDArray[np.int64]
    accepted: npt.NDArray[np.bool_]


def sample_hazard(model: HazardModel, n: int, rng: np.random.Generator) -> HazardSample:
    """Draw n finished attempts; `rng` is advanced."""
    K = model.K
    stages = np.arange(1, K + 1)
    breaks = rng.random((n, K)) < np.array(model.hazard, float)
    fault_stage = np.where(breaks.any(axis=1), breaks.argmax(axis=1) + 1, K + 1)
    faulty = fault_stage[:, None] <= stages
    flag_rate = np.where(faulty, np.array(model.detection, float), np.array(model.false_alarm, float))
    accept_rate = np.where(fault_stage <= K, float(model.accept_faulty), float(model.accept_clean))
    costs = np.array([model.prompt_cost, *model.stage_costs], float)
    return HazardSample(
        costs=np.broadcast_to(costs, (n, K + 1)),
        flags=rng.random((n, K)) < flag_rate,
        fault_stage=fault_stage,
        accepted=rng.random(n) < accept_rate,
    )


@dataclass(frozen=True, slots=True)
class HazardFit:
    """A fitted hazard model, and the log likelihood after each EM step (one entry when counted)."""

    model: HazardModel
    log_likelihood: tuple[float, ...]


def fit_hazard_labelled(
    flags: npt.ArrayLike,
    accepted: npt.ArrayLike,
    fault_stage: npt.ArrayLike,
    *,
    stage_costs: Sequence[float],
    prompt_cost: float = 0.0,
    pseudo_count: float = 0.5,
    tied: bool = False,
) -> HazardFit:
    """Fit by counting, from attempts whose first fatal error is labelled with its stage.

    flags: `[n, K]` bool. accepted: `[n]` bool. fault_stage: `[n]` in 1 … K, K + 1 for none.
    pseudo_count: added to hits and to misses of every rate (0.5: Jeffreys' prior), so that no rate rests on
    nothing.
    tied: use one h, d and a for all stages. Raises `InputError` for shapes or stages that do not fit.
    """
    seen, outcome = _observations(flags, accepted, len(stage_costs))
    stage = np.asarray(fault_stage)
    n, K = seen.shape
    if stage.shape != (n,) or ((stage < 1) | (stage > K + 1)).any():
        raise InputError("fault stages must be n integers in 1 … K + 1", where="fit_hazard_labelled")
    posterior = np.zeros((n, K + 1))
    posterior[np.arange(n), stage.astype(int) - 1] = 1.0
    rates = _count(posterior, seen, outcome, pseudo_count, tied)
    log_likelihood = float(_log_joint(rates, seen, outcome)[posterior > 0].sum())
    return HazardFit(_model(rates, stage_costs, prompt_cost), (log_likelihood,))


def fit_hazard(
    flags: npt.ArrayLike,
    accepted: npt.ArrayLike,
    *,
    stage_costs: Sequence[float],
    prompt_cost: float = 0.0,
    pseudo_count: float = 0.5,
    tied: bool = False,
    max_steps: int = 500,
    tolerance: float = 1e-8,
) -> HazardFit:
    """Fit by EM from flags and outcomes alone; the stage of the fault is not observed.

    flags: `[n, K]` bool. accepted: `[n]` bool. Other arguments as in `fit_hazard_labelled`. EM climbs the
    penalised likelihood from a start in which flags speak for faults and faults against acceptance (this
    picks which of the two mirror-image solutions is named faulty); it stops when a step gains less than
    `tolerance` per attempt. Without `tied`, rates of single stages are only weakly identified: prefer `tied`
    for few attempts.
    """
    seen, outcome = _observations(flags, accepted, len(stage_costs))
    K = seen.shape[1]
    rates = _Rates(np.full(K, 0.5 / K), np.full(K, 0.7), np.full(K, 0.1), 0.9, 0.2)
    trace: list[float] = []
    for _ in range(max_steps):
        joint = _log_joint(rates, seen, outcome)
        peak = joint.max(axis=1, keepdims=True)
        evidence = np.exp(joint - peak).sum(axis=1, keepdims=True)
        trace.append(float((peak + np.log(evidence)).sum()))
        if len(trace) > 1 and abs(trace[-1] - trace[-2]) < tolerance * len(seen):
            break
        rates = _count(np.exp(joint - peak) / evidence, seen, outcome, pseudo_count, tied)
    return HazardFit(_model(rates, stage_costs, prompt_cost), tuple(trace))


@dataclass(frozen=True, slots=True, eq=False)
class _Rates:
    hazard: Vector
    detection: Vector
    false_alarm: Vector
    accept_clean: float
    accept_faulty: float


def _count(
    posterior: Vector,
    flags: npt.NDArray[np.bool_],
    accepted: npt.NDArray[np.bool_],
    pseudo: float,
    tied: bool,
) -> _Rates:
    """Rates from (expected) counts; posterior: `[n, K+1]` over the stage of the fault."""
    K = flags.shape[1]
    broken = posterior[:, :K]
    faulty = np.cumsum(broken, axis=1)
    clean = 1 - faulty
    at_risk = np.concatenate([np.ones((len(flags), 1)), clean[:, :-1]], axis=1)

    def rate(hits: Vector, of: Vector) -> Vector:
        hits, of = hits.sum(axis=0), of.sum(axis=0)
        if tied:
            hits, of = np.full(K, hits.sum()), np.full(K, of.sum())
        if (of + 2 * pseudo <= 0).any():
            raise InputError(
                "no attempt to count",
                where=f"stage {int(np.argmin(of)) + 1}",
                remedy="give a pseudo_count > 0",
            )
        return np.asarray((hits + pseudo) / (of + 2 * pseudo))

    ends_faulty = faulty[:, -1]
    return _Rates(
        hazard=rate(broken, at_risk),
        detection=rate(faulty * flags, faulty),
        false_alarm=rate(clean * flags, clean),
        accept_clean=_share((1 - ends_faulty)[accepted].sum(), (1 - ends_faulty).sum(), pseudo),
        accept_faulty=_share(ends_faulty[accepted].sum(), ends_faulty.sum(), pseudo),
    )


def _share(hits: float, of: float, pseudo: float) -> float:
    if of + 2 * pseudo <= 0:
        raise InputError("no attempt to count acceptance", where="fit", remedy="give a pseudo_count > 0")
    return float((hits + pseudo) / (of + 2 * pseudo))


def _log_joint(rates: _Rates, flags: npt.NDArray[np.bool_], accepted: npt.NDArray[np.bool_]) -> Vector:
    """Return `[n, K+1]`, log P(fault in stage z, flags, outcome); column K is "no fault"."""
    with np.errstate(divide="ignore"):
        log_clean = np.where(flags, np.log(rates.false_alarm), np.log1p(-rates.false_alarm))
        log_faulty = np.where(flags, np.log(rates.detection), np.log1p(-rates.detection))
        survived = np.concatenate([[0.0], np.cumsum(np.log1p(-rates.hazard))])
        prior = survived + np.append(np.log(rates.hazard), 0.0)
        accept = np.log([rates.accept_faulty, rates.accept_clean])
        reject = np.log1p([-rates.accept_faulty, -rates.accept_clean])
    zero = np.zeros((len(flags), 1))
    before = np.concatenate([zero, np.cumsum(log_clean, axis=1)], axis=1)
    after = np.concatenate([np.cumsum(log_faulty[:, ::-1], axis=1)[:, ::-1], zero], axis=1)
    outcome = np.where(accepted[:, None], accept, reject)
    K = flags.shape[1]
    return np.asarray(prior + before + after + outcome[:, [0] * K + [1]])


def _model(rates: _Rates, stage_costs: Sequence[float], prompt_cost: float) -> HazardModel:
    return HazardModel(
        hazard=tuple(rates.hazard.tolist()),
        detection=tuple(rates.detection.tolist()),
        false_alarm=tuple(rates.false_alarm.tolist()),
        accept_clean=rates.accept_clean,
        accept_faulty=rates.accept_faulty,
        stage_costs=tuple(stage_costs),
        prompt_cost=prompt_cost,
    )


def _keep(model: HazardModel, keep_flagged: Any) -> list[Any]:
    several = isinstance(keep_flagged, Sequence | np.ndarray)
    q = list(keep_flagged) if several else [keep_flagged] * (model.K - 1)
    if len(q) != model.K - 1:
        raise InputError(f"{len(q)} probabilities for checkpoints 1 … {model.K - 1}", where="keep_flagged")
    for k, value in enumerate(q, start=1):
        if not 0 <= value <= 1:
            raise InputError(f"probability {value}", where=f"keep_flagged, checkpoint {k}")
    return [*q, 1]


def _observations(
    flags: npt.ArrayLike, accepted: npt.ArrayLike, K: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    seen, outcome = np.asarray(flags, dtype=bool), np.asarray(accepted, dtype=bool)
    if seen.ndim != 2 or seen.shape[1] != K or outcome.shape != seen.shape[:1] or not len(seen):
        raise InputError(
            f"flags of shape {seen.shape} and outcomes of shape {outcome.shape} for {K} stages",
            where="fit",
            remedy="flags [n, K], accepted [n], n >= 1",
        )
    return seen, outcome
