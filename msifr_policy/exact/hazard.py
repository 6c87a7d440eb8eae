"""The hazard model: a fatal error may creep in at any stage, and validators may or may not flag it.

Model (theory §4), K stages. A fatal error appears in stage k with hazard h_k if none has before, and stays. The
checkpoint that ends stage k flags a faulty attempt with probability d_k and a clean one with probability a_k,
independently given the fault. An attempt with no error is accepted with probability p_0, one with an error with p_1.
Stage k costs c_k tokens, the prompt c_0.

The policy **discard at the first flag** acts at checkpoints 1 … K − 1 and lets a flagged attempt go on all the same
with probability q_k. Forward recursion on attempts alive and clean α_k, alive and faulty β_k, from α_0 = 1, β_0 = 0:

    before the checkpoint:   α' = α_{k−1}(1 − h_k),            β' = β_{k−1} + α_{k−1} h_k
    after it:                α_k = α'(1 − a_k(1 − q_k)),       β_k = β'(1 − d_k(1 − q_k))
    E[T] = c_0 + Σ_k c_k (α_{k−1} + β_{k−1}),   E[A; R] = p_0 α_K + p_1 β_K

and the same with every q_k = 1 gives E[N] and E[A]. The recursion is plain arithmetic, so it is exact when all numbers
are `fractions.Fraction`. Labelled attempts are fitted by counting, unlabelled ones by the EM algorithm of Dempster,
Laird and Rubin (1977) with the stage of the fault as the missing datum.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from msifr_policy.errors import InputError
from msifr_policy.exact.evaluation import Headline
from msifr_policy.exact.process import StageProcess, Vector, check_number

Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HazardModel:
    """Parameters of the hazard model; tuples of K numbers for stages 1 … K, or the checkpoints that end them.

    hazard: h_k. detection: d_k, probability of a flag when faulty. false_alarm: a_k, when clean. accept_clean,
    accept_faulty: p_0, p_1. stage_costs: c_k in tokens. prompt_cost: c_0. The flag at checkpoint K comes after the last
    decision. Numbers may be floats or Fractions. Raises `InputError` naming stage and value for what is no probability
    or no cost.
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
                check_number(value, name, where=f"stage {k}", most=None if name == "stage_costs" else 1)
        for name in ("accept_clean", "accept_faulty"):
            check_number(getattr(self, name), name, where="HazardModel", most=1)
        check_number(self.prompt_cost, "prompt_cost", where="HazardModel")

    @property
    def K(self) -> int:  # noqa: N802
        """Number of stages."""
        return len(self.hazard)


def hazard_rates(model: HazardModel, keep_flagged: Sequence[Any] | float = 0) -> Headline[Any]:
    """Return the exact rates of "discard at the first flag", by the forward recursion of the module docstring.

    keep_flagged: q_k, probability of going on in spite of a flag at checkpoints 1 … K − 1 (or one number for all).
    Raises `InputError` if nothing is ever accepted or a q_k is no probability.
    """
    q = list(keep_flagged) if isinstance(keep_flagged, Sequence | np.ndarray) else [keep_flagged] * (model.K - 1)
    q.append(1)
    if len(q) != model.K:
        raise InputError(f"{len(q) - 1} probabilities for checkpoints 1 … {model.K - 1}", where="keep_flagged")
    clean, faulty, clean_full, faulty_full = 1, 0, 1, 0
    tokens = tokens_full = model.prompt_cost
    for k, keep in enumerate(q, start=1):
        check_number(keep, "probability", where=f"keep_flagged, checkpoint {k}", most=1)
        h, d, a, cost = (v[k - 1] for v in (model.hazard, model.detection, model.false_alarm, model.stage_costs))
        tokens += cost * (clean + faulty)
        tokens_full += cost
        clean, faulty = clean * (1 - h), faulty + clean * h
        clean_full, faulty_full = clean_full * (1 - h), faulty_full + clean_full * h
        clean, faulty = clean * (1 - a * (1 - keep)), faulty * (1 - d * (1 - keep))
    accepted = model.accept_clean * clean_full + model.accept_faulty * faulty_full
    if not accepted > 0:
        raise InputError("acceptance cannot be reached", where="HazardModel", remedy="raise accept_clean")
    kept = model.accept_clean * clean + model.accept_faulty * faulty
    return Headline(tokens, tokens_full, kept, accepted, accepted - kept)


def hazard_process(model: HazardModel) -> StageProcess:
    """Return the model as a `StageProcess`.

    Checkpoint 0 has the one state clean; later ones the four states (clean, no flag), (clean, flag), (faulty, no flag),
    (faulty, flag), with the flag of that checkpoint. The fault is part of the state, so an unrestricted optimum sees
    it: an oracle. What can be done with the flags alone is the optimum on `hidden.hide(process, hazard_flags(model))`.
    """
    transitions = []
    for k in range(model.K):
        h, d, a = float(model.hazard[k]), float(model.detection[k]), float(model.false_alarm[k])
        from_clean = [(1 - h) * (1 - a), (1 - h) * a, h * (1 - d), h * d]
        from_faulty = [0.0, 0.0, 1 - d, d]
        transitions.append(np.array([from_clean, from_clean, from_faulty, from_faulty] if k else [from_clean]))
    return StageProcess(
        transitions=tuple(transitions),
        stage_costs=tuple(np.full(P.shape[0], float(c)) for P, c in zip(transitions, model.stage_costs, strict=True)),
        utility=np.repeat([float(model.accept_clean), float(model.accept_faulty)], 2),
        initial=np.ones(1),
        prompt_cost=float(model.prompt_cost),
    )


def hazard_flags(model: HazardModel) -> tuple[npt.NDArray[np.int64], ...]:
    """Return K + 1 vectors of what is seen in each state of `hazard_process`: 1 for a flag, 0 for none."""
    return (np.zeros(1, np.int64), *(np.array([0, 1, 0, 1]) for _ in range(model.K)))


@dataclass(frozen=True, slots=True, eq=False)
class HazardSample:
    """n attempts drawn from a hazard model, finished.

    costs: `[n, K+1]` tokens of the prompt and of stages 1 … K. flags: `[n, K]` at checkpoints 1 … K. fault_stage:
    `[n]`, the stage of the fatal error, K + 1 if there is none. accepted: `[n]`.
    """

    costs: Vector
    flags: Flags
    fault_stage: npt.NDArray[np.int64]
    accepted: Flags


def sample_hazard(model: HazardModel, n: int, rng: np.random.Generator) -> HazardSample:
    """Draw n finished attempts; `rng` is advanced."""
    K = model.K
    breaks = rng.random((n, K)) < np.array(model.hazard, float)
    fault_stage = np.where(breaks.any(axis=1), breaks.argmax(axis=1) + 1, K + 1)
    faulty = fault_stage[:, None] <= np.arange(1, K + 1)
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


def fit_hazard(
    flags: npt.ArrayLike,
    accepted: npt.ArrayLike,
    fault_stage: npt.ArrayLike | None = None,
    *,
    stage_costs: Sequence[float],
    prompt_cost: float = 0.0,
    pseudo_count: float = 0.5,
    tied: bool = False,
    max_steps: int = 500,
    tolerance: float = 1e-8,
) -> HazardFit:
    """Fit by counting where the first fatal error is labelled with its stage, by EM from flags and outcomes alone.

    flags: `[n, K]` bool. accepted: `[n]` bool. fault_stage: `[n]` in 1 … K, K + 1 for none. pseudo_count: added to hits
    and to misses of every rate (0.5: Jeffreys' prior), so that no rate rests on nothing. tied: use one h, d and a for
    all stages. Raises `InputError` for shapes or stages that do not fit.

    EM climbs the penalised likelihood from a start in which flags speak for faults and faults against acceptance (this
    picks which of the two mirror-image solutions is named faulty); it stops when a step gains less than `tolerance` per
    attempt. Without `tied`, rates of single stages are only weakly identified: prefer `tied` for few attempts.
    """
    seen, outcome = np.asarray(flags, dtype=bool), np.asarray(accepted, dtype=bool)
    n, K = outcome.size, len(stage_costs)
    if seen.shape != (n, K) or outcome.ndim != 1 or not n:
        shapes = f"flags of shape {seen.shape} and outcomes of shape {outcome.shape} for {K} stages"
        raise InputError(shapes, where="fit_hazard", remedy="flags [n, K], accepted [n], n >= 1")
    model = HazardModel((0.5 / K,) * K, (0.7,) * K, (0.1,) * K, 0.9, 0.2, tuple(stage_costs), prompt_cost)
    if fault_stage is not None:
        labelled = np.equal.outer(np.asarray(fault_stage), np.arange(1, K + 2))
        if labelled.shape != (n, K + 1) or not labelled.any(axis=1).all():
            raise InputError("fault stages must be n integers in 1 … K + 1", where="fit_hazard")
        model = _count(model, labelled.astype(float), seen, outcome, pseudo_count, tied)
        return HazardFit(model, (float(_log_joint(model, seen, outcome)[labelled].sum()),))
    trace: list[float] = []
    for _ in range(max_steps):
        joint = _log_joint(model, seen, outcome)
        peak = joint.max(axis=1, keepdims=True)
        evidence = np.exp(joint - peak).sum(axis=1, keepdims=True)
        trace.append(float((peak + np.log(evidence)).sum()))
        if len(trace) > 1 and abs(trace[-1] - trace[-2]) < tolerance * n:
            break
        model = _count(model, np.exp(joint - peak) / evidence, seen, outcome, pseudo_count, tied)
    return HazardFit(model, tuple(trace))


def _count(
    model: HazardModel, posterior: Vector, flags: Flags, accepted: Flags, pseudo: float, tied: bool
) -> HazardModel:
    """The model with rates from (expected) counts; posterior: `[n, K+1]` over the stage of the fault."""
    broken = posterior[:, : model.K]
    faulty = np.cumsum(broken, axis=1)
    clean = 1 - faulty
    at_risk = np.pad(clean[:, :-1], ((0, 0), (1, 0)), constant_values=1.0)

    def rate(hits: Vector, of: Vector, *, by_stage: bool = True) -> tuple[float, ...]:
        hits, of = hits.sum(axis=0), of.sum(axis=0)
        if tied and by_stage:
            hits, of = np.full(hits.size, hits.sum()), np.full(of.size, of.sum())
        if (of + 2 * pseudo <= 0).any():
            where = f"stage {int(np.argmin(of)) + 1}" if by_stage else "acceptance"
            raise InputError("no attempt to count", where=where, remedy="give a pseudo_count > 0")
        shares: list[float] = np.clip((hits + pseudo) / (of + 2 * pseudo), 0.0, 1.0).tolist()  # counts are rounded
        return tuple(shares)

    at_end = np.stack([clean[:, -1], faulty[:, -1]], axis=1)
    accept_clean, accept_faulty = rate(at_end * accepted[:, None], at_end, by_stage=False)
    return replace(
        model,
        hazard=rate(broken, at_risk),
        detection=rate(faulty * flags, faulty),
        false_alarm=rate(clean * flags, clean),
        accept_clean=accept_clean,
        accept_faulty=accept_faulty,
    )


def _log_joint(model: HazardModel, flags: Flags, accepted: Flags) -> Vector:
    """Return `[n, K+1]`, log P(fault in stage z, flags, outcome); column K is "no fault"."""
    hazard, detection, false_alarm = map(np.array, (model.hazard, model.detection, model.false_alarm))
    accept = np.array([model.accept_faulty] * model.K + [model.accept_clean])
    with np.errstate(divide="ignore"):
        log_clean = np.where(flags, np.log(false_alarm), np.log1p(-false_alarm))
        log_faulty = np.where(flags, np.log(detection), np.log1p(-detection))
        survived = np.concatenate([[0.0], np.cumsum(np.log1p(-hazard))])
        prior = survived + np.append(np.log(hazard), 0.0)
        outcome = np.where(accepted[:, None], np.log(accept), np.log1p(-accept))
    before = np.pad(np.cumsum(log_clean, axis=1), ((0, 0), (1, 0)))
    after = np.pad(np.cumsum(log_faulty[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
    return np.asarray(prior + before + after + outcome)
