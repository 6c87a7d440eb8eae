"""What attempts cost with and without a policy, and the headline numbers of theory §1 with intervals.

Replay, Monte Carlo and live runs all end in `Outcomes`; `summarise` is the only place where s, f and the net cost
factor are estimated. Intervals are percentile bootstraps over prompts, the unit of independence.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Unit
from msifr_policy.rates import capped, rates

CI_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Outcomes:
    """N attempts, each with and without the policy.

    cost_full `[N]` N and cost_policy `[N]` T in `unit`; accepted `[N]` bool, the outcome A had it been finished;
    discarded `[N]` bool; prompt `[N]` int, the prompt's number; stop_k `[N]` the checkpoint of the discard (0 if none);
    reached `[N]` checkpoints passed or stopped at; reason: a word per attempt, "" if not discarded.
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


def draw_outcomes(
    draw: Callable[[int], tuple[NDArray, ...]], n_attempts: int, *, unit: Unit, reason: str, at_once: int = 2**16
) -> Outcomes:
    """Return the outcomes of `n_attempts` independent attempts, each its own prompt, discarded for one `reason`.

    draw: returns cost_full, cost_policy, accepted, discarded, stop_k, reached of the next n attempts, `[n]` each. It is
    called for `at_once` or fewer, so that memory is that of the result. Raises `InputError` for less than one attempt.
    """
    if n_attempts < 1:
        raise InputError(f"{n_attempts} attempts", remedy="at least 1")
    names = ("cost_full", "cost_policy", "accepted", "discarded", "stop_k", "reached")
    dtypes = (float, float, bool, bool, int, int)
    columns: dict[str, NDArray] = {name: np.empty(n_attempts, dtype) for name, dtype in zip(names, dtypes, strict=True)}
    for start in range(0, n_attempts, at_once):
        drawn = draw(min(at_once, n_attempts - start))
        for column, part in zip(columns.values(), drawn, strict=True):
            column[start : start + at_once] = part
    words = tuple(map(("", reason).__getitem__, columns["discarded"].tolist()))  # pointers to two strings
    return Outcomes(unit=unit, prompt=np.arange(n_attempts), reason=words, **columns)


class CheckpointCount(msgspec.Struct, frozen=True):
    """Attempts that reached checkpoint k under the policy, those discarded there, and the good ones among these."""

    k: int
    reached: int
    discarded: int
    false_rejects: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The headline numbers; names and meanings are a contract with programs that read them.

    cost_full and cost_policy are totals in `unit`; saving_rate s = 1 − cost_policy/cost_full; false_reject_rate f =
    discarded accepted / accepted; net_cost_factor = cost per accepted with the policy over without it [T2];
    length_cap_factor the same under the policy file's plain length cap. Rates that are undefined (nothing accepted) are
    null. The `_ci` are [low, high] at `ci_level`, bootstrap by prompt.

    accepted_cost_share = cost of the accepted attempts / cost_full: the net cost factor of discarding every
    unaccepted attempt before it costs anything. Policies with f = 0 pay accepted attempts in full, so their ΣT ≥ Σ N·A
    and this share is a lower bound on their factor. With f > 0 it is none: of two accepted attempts of 1 and 9 tokens
    and an unaccepted one of 10 (share 1/2), finishing the cheap one alone has s = 19/20, f = 1/2, the factor 1/10.
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
    accepted_cost_share: float | None
    ci_level: float
    discards_by_reason: dict[str, int]
    by_checkpoint: list[CheckpointCount]


def summarise(
    outcomes: Outcomes, *, length_cap: float | None = None, seed: int = 0, draws: int = 2000, max_units: int = 10_000
) -> Summary:
    """Estimate the headline numbers of `outcomes`; `length_cap` in the cost unit, None for no cap.

    Intervals come from `draws` resamples of prompts. More than `max_units` prompts are first shuffled into that many
    groups of one size (give or take one), and groups are resampled. Sums over disjoint sets of independent prompts are
    independent, and their totals the same, so this is the bootstrap of fewer, larger units, rare losses included; the
    spread of 10,000 units is known to about 1 %, less than what 2000 draws leave open. Time and memory are then linear
    in the attempts.

    Raises `InputError` when there are no attempts.
    """
    n = len(outcomes.accepted)
    if n == 0:
        raise InputError("there are no attempts to summarise")
    rng = np.random.default_rng(seed)
    numbers, unit = np.unique(outcomes.prompt, return_inverse=True)
    n_prompts = len(numbers)
    if n_prompts > max_units:
        unit = rng.permutation(np.arange(n_prompts) % max_units)[unit]
    lost = outcomes.accepted & outcomes.discarded
    columns = (outcomes.cost_full, outcomes.cost_policy, outcomes.accepted, lost)
    per_unit = np.column_stack([np.bincount(unit, column) for column in columns]).astype(np.float64)
    totals = per_unit.sum(axis=0)
    s, f, factor = map(_finite, rates(totals))
    boot = rates(_bootstrap(per_unit, rng, draws))
    capped_cost, cut = capped(outcomes.cost_full, length_cap)
    with_cap = rates([totals[0], capped_cost.sum(), totals[2], (outcomes.accepted & cut).sum()])
    return Summary(
        n_attempts=n,
        n_prompts=n_prompts,
        n_accepted=int(outcomes.accepted.sum()),
        unit=outcomes.unit,
        cost_full=float(totals[0]),
        cost_policy=float(totals[1]),
        saving_rate=s,
        saving_rate_ci=_interval(boot.saving_rate),
        saving_rate_se=_finite(np.std(boot.saving_rate)),
        false_reject_rate=f,
        false_reject_rate_ci=_interval(boot.false_reject_rate),
        net_cost_factor=factor,
        net_cost_factor_ci=_interval(boot.net_cost_factor),
        length_cap_factor=_finite(with_cap.net_cost_factor),
        accepted_cost_share=float(outcomes.cost_full[outcomes.accepted].sum() / totals[0]) if totals[0] > 0 else None,
        ci_level=CI_LEVEL,
        discards_by_reason=dict(Counter(compress(outcomes.reason, outcomes.discarded.tolist())).most_common()),
        by_checkpoint=_by_checkpoint(outcomes),
    )


def _by_checkpoint(outcomes: Outcomes) -> list[CheckpointCount]:
    last = int(outcomes.reached.max())
    # reached[i] checkpoints: 1 … reached[i] each count once, so the count at k is a reversed cumulative sum.
    reached = np.bincount(outcomes.reached, minlength=last + 1)[::-1].cumsum()[::-1]
    discarded = np.bincount(outcomes.stop_k[outcomes.discarded], minlength=last + 1)
    lost = np.bincount(outcomes.stop_k[outcomes.discarded & outcomes.accepted], minlength=last + 1)
    return [CheckpointCount(k, int(reached[k]), int(discarded[k]), int(lost[k])) for k in range(1, last + 1)]


def _bootstrap(per_unit: NDArray[np.float64], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """Return `[draws, 4]` totals of resampled units, a bounded chunk of draws at a time."""
    n = len(per_unit)
    chunk = max(1, 2**22 // n)
    share = np.full(n, 1 / n)
    return np.concatenate([rng.multinomial(n, share, min(chunk, draws - i)) @ per_unit for i in range(0, draws, chunk)])


def _interval(x: NDArray[np.float64]) -> tuple[float, float] | None:
    x = x[np.isfinite(x)]
    if not len(x):
        return None
    low, high = np.quantile(x, [(1 - CI_LEVEL) / 2, (1 + CI_LEVEL) / 2])
    return float(low), float(high)


def _finite(x: np.floating | NDArray[np.float64]) -> float | None:
    value = float(x)
    return value if np.isfinite(value) else None
