"""What attempts cost with and without a policy, and the headline numbers of theory §1 with intervals.

Replay, Monte Carlo and live runs all end in `Outcomes`; `summarise` is the only place where s, f and the net cost
factor are estimated. Intervals are percentile bootstraps over prompts, the unit of independence.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Unit
from msifr_policy.rates import capped, rates

__all__ = ["CI_LEVEL", "CheckpointCount", "Outcomes", "Summary", "summarise"]

CI_LEVEL = 0.95
_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Outcomes:
    """N attempts, each with and without the policy.

    cost_full `[N]` N and cost_policy `[N]` T in `unit`; accepted `[N]` bool, the outcome A had it been
    finished; discarded `[N]` bool; prompt `[N]` int, the prompt's number; stop_k `[N]` the checkpoint of the
    discard (0 if none); reached `[N]` checkpoints passed or stopped at; reason: a word per attempt, "" if kept.
    """

    unit: Unit
    cost_full: NDArray[np.float64]
    cost_policy: NDArray[np.float64]
    accepted: NDArray[np.bool_]
    discarded: NDArray[np.bool_]
    prompt: NDArray[np.int64]
    stop_k: NDArray[np.int64]
    reached: NDArray[np.int64]
    reason: tuple[str, ...]


class CheckpointCount(msgspec.Struct, frozen=True):
    """Attempts that reached checkpoint k under the policy, those discarded there, and the good ones among these."""

    k: int
    reached: int
    discarded: int
    false_rejects: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The headline numbers; names and meanings are a contract with programs that read them.

    cost_full and cost_policy are totals in `unit`; saving_rate s = 1 − cost_policy/cost_full;
    false_reject_rate f = discarded accepted / accepted; net_cost_factor = cost per accepted with the policy over
    without it [T2]; length_cap_factor the same under the policy file's plain length cap; oracle_factor
    if only accepted attempts cost anything. Rates that are undefined (nothing accepted) are null. The `_ci`
    are [low, high] at `ci_level`, bootstrap by prompt.
    """

    n_attempts: int
    n_prompts: int
    n_accepted: int
    unit: Unit
    cost_full: float
    cost_policy: float
    saving_rate: float | None
    saving_rate_ci: tuple[float, float] | None
    saving_rate_se: float | None
    false_reject_rate: float | None
    false_reject_rate_ci: tuple[float, float] | None
    net_cost_factor: float | None
    net_cost_factor_ci: tuple[float, float] | None
    length_cap_factor: float | None
    oracle_factor: float | None
    ci_level: float
    discards_by_reason: dict[str, int]
    by_checkpoint: list[CheckpointCount]


def summarise(outcomes: Outcomes, *, length_cap: float | None = None, seed: int = 0, draws: int = _DRAWS) -> Summary:
    """Estimate the headline numbers of `outcomes`; `length_cap` in the cost unit, None for no cap.

    Raises `InputError` when there are no attempts.
    """
    n = len(outcomes.accepted)
    if n == 0:
        raise InputError("there are no attempts to summarise")
    accepted = outcomes.accepted.astype(np.float64)
    lost = accepted * outcomes.discarded
    _, prompt = np.unique(outcomes.prompt, return_inverse=True)
    n_prompts = int(prompt.max()) + 1
    per_prompt: NDArray[np.float64] = np.column_stack(
        [
            np.bincount(prompt, weights, n_prompts).astype(np.float64)
            for weights in (outcomes.cost_full, outcomes.cost_policy, accepted, lost)
        ]
    )
    totals = per_prompt.sum(axis=0)
    s, f, factor = (_finite(x) for x in rates(totals))
    boot = rates(_bootstrap(per_prompt, np.random.default_rng(seed), draws))
    capped_cost, cut = capped(outcomes.cost_full, length_cap)
    cap_totals = np.asarray([totals[0], capped_cost.sum(), totals[2], (accepted * cut).sum()])
    reasons = Counter(r for r, d in zip(outcomes.reason, outcomes.discarded, strict=True) if d)
    return Summary(
        n_attempts=n,
        n_prompts=n_prompts,
        n_accepted=int(outcomes.accepted.sum()),
        unit=outcomes.unit,
        cost_full=float(totals[0]),
        cost_policy=float(totals[1]),
        saving_rate=s,
        saving_rate_ci=_interval(boot[0]),
        saving_rate_se=_finite(float(np.std(boot[0]))),
        false_reject_rate=f,
        false_reject_rate_ci=_interval(boot[1]),
        net_cost_factor=factor,
        net_cost_factor_ci=_interval(boot[2]),
        length_cap_factor=_finite(rates(cap_totals)[2]),
        oracle_factor=_finite((outcomes.cost_full * accepted).sum() / totals[0]) if totals[0] > 0 else None,
        ci_level=CI_LEVEL,
        discards_by_reason=dict(reasons.most_common()),
        by_checkpoint=_by_checkpoint(outcomes),
    )


def _by_checkpoint(outcomes: Outcomes) -> list[CheckpointCount]:
    last = int(outcomes.reached.max())
    # reached[i] checkpoints: 1 … reached[i] each count once, so the count at k is a reversed cumulative sum.
    reached = np.bincount(outcomes.reached, minlength=last + 1)[::-1].cumsum()[::-1]
    discarded = np.bincount(outcomes.stop_k[outcomes.discarded], minlength=last + 1)
    lost = np.bincount(outcomes.stop_k[outcomes.discarded & outcomes.accepted], minlength=last + 1)
    return [CheckpointCount(k, int(reached[k]), int(discarded[k]), int(lost[k])) for k in range(1, last + 1)]


def _bootstrap(per_prompt: NDArray[np.float64], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """Return `[draws, 4]` totals of resampled prompts, a bounded chunk of draws at a time."""
    n = len(per_prompt)
    chunk = max(1, 2**22 // n)
    share = np.full(n, 1 / n)
    return np.concatenate(
        [rng.multinomial(n, share, min(chunk, draws - i)) @ per_prompt for i in range(0, draws, chunk)]
    )


def _interval(x: NDArray[np.float64]) -> tuple[float, float] | None:
    x = x[np.isfinite(x)]
    if not len(x):
        return None
    low, high = np.quantile(x, [(1 - CI_LEVEL) / 2, (1 + CI_LEVEL) / 2])
    return float(low), float(high)


def _finite(x: float | NDArray[np.float64]) -> float | None:
    value = float(x)
    return value if np.isfinite(value) else None
