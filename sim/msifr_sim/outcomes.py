"""What attempts cost with and without a policy, and the headline numbers of theory §1 with intervals.

Replay, Monte Carlo and live runs all end in `Outcomes`; `summarise` is the only place where s, f and the net cost
factor are estimated. Prompts are the unit of independence: the interval of s is a percentile bootstrap over prompts,
that of f exact at the effective number of accepted samples, that of the factor made of both (`intervals`).
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
from msifr_policy.policy_file import Weigh
from msifr_policy.rates import capped, rates
from msifr_sim.difficulty import DifficultyGroup, by_difficulty
from msifr_sim.intervals import attempt_weights, factor_interval, rate_interval

CI_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Outcomes:
    """N attempts, each with and without the policy.

    cost_full `[N]` N and cost_policy `[N]` T in `unit`; accepted `[N]` bool, the outcome A had it been finished;
    discarded `[N]` bool; prompt `[N]` int, the prompt's number; stop_k `[N]` the checkpoint of the discard (0 if none,
    or if the attempt was not begun); reached `[N]` checkpoints passed or stopped at; reason: a word per attempt, "" if
    not discarded; prospect `[N]` M_0, the posterior before the first token, None where it is not known. Under a policy
    that exits: exited `[N]` bool, and forced `[N]` bool, whether the forced answer of those was accepted; else None.
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
    prospect: NDArray[np.float64] | None = None
    exited: NDArray[np.bool_] | None = None
    forced: NDArray[np.bool_] | None = None

    @property
    def lost(self) -> NDArray[np.bool_]:
        """`[N]` good samples that are not kept: discarded, or exited with a forced answer that is not accepted."""
        if self.exited is None or self.forced is None:
            return self.accepted & self.discarded
        return self.accepted & (self.discarded | (self.exited & ~self.forced))

    @property
    def gained(self) -> NDArray[np.bool_]:
        """`[N]` attempts that are accepted by a forced answer, and would not have been at their end."""
        if self.exited is None or self.forced is None:
            return np.zeros(len(self.accepted), dtype=bool)
        return self.exited & self.forced & ~self.accepted


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
    """Attempts that reached checkpoint k under the policy, those discarded there, and the good ones among these.

    Checkpoint 0 is before the first token; it is left out where no attempt was discarded there.
    """

    k: int
    reached: int
    discarded: int
    false_rejects: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The headline numbers; names and meanings are a contract with programs that read them.

    cost_full and cost_policy are totals in `unit`; saving_rate s = 1 − cost_policy/cost_full; false_reject_rate f =
    discarded accepted / accepted; net_cost_factor = cost per accepted with the policy over without it [T2];
    length_cap_factor the same under the policy file's plain length cap. Under a policy that exits, n_exited attempts
    ended by a forced answer; good ones among them whose forced answer is not accepted are lost, and count in f;
    n_gained are accepted by theirs alone, and lower the factor. Rates that are undefined (nothing accepted) are null.

    `weigh` says whom the totals and rates weigh equally: "prompts" (an attempt of a prompt with m weighs 1/m of the
    mean number of attempts per prompt) or "attempts"; it is the same where every prompt has equally many.
    attempts_per_prompt are the fewest and the most. Counts (`n_…`, discards_by_reason, by_checkpoint) are of attempts.

    The `_ci` are [low, high] at `ci_level`: of s bootstrap by prompt, of f Clopper-Pearson for n_effective independent
    accepted samples, never [0, 0], of the factor both together (`intervals`).

    by_difficulty are f among good samples at hard, middling and easy prompts, a third of them each (`DifficultyGroup`).

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
    weigh: Weigh
    attempts_per_prompt: tuple[int, int]
    n_effective: float | None
    discards_by_reason: dict[str, int]
    by_checkpoint: list[CheckpointCount]
    by_difficulty: list[DifficultyGroup]
    n_exited: int | msgspec.UnsetType = msgspec.UNSET
    n_gained: int | msgspec.UnsetType = msgspec.UNSET


def summarise(
    outcomes: Outcomes,
    *,
    weigh: Weigh = "prompts",
    length_cap: float | None = None,
    seed: int = 0,
    draws: int = 2000,
    max_units: int = 10_000,
) -> Summary:
    """Estimate the headline numbers of `outcomes`, prompts or attempts weighing equally (`Summary`).

    `length_cap` is in the cost unit, None for no cap. The interval of s comes from `draws` resamples of prompts. More
    than `max_units` prompts are first shuffled into that many groups of one size (give or take one), and groups are
    resampled. Sums over disjoint sets of independent prompts are independent, and their totals the same, so this is the
    bootstrap of fewer, larger units; the spread of 10,000 units is known to about 1 %, less than what 2000 draws leave
    open. Time and memory are then linear in the attempts.

    Raises `InputError` when there are no attempts, or for another word than "prompts" or "attempts".
    """
    n = len(outcomes.accepted)
    if n == 0:
        raise InputError("there are no attempts to summarise")
    rng = np.random.default_rng(seed)
    _, prompt, attempts = np.unique(outcomes.prompt, return_inverse=True, return_counts=True)
    weight = attempt_weights(outcomes.prompt, weigh)
    cut_cost, cut = capped(outcomes.cost_full, length_cap)
    A = outcomes.accepted
    # Per prompt and in all: cost in full, with the policy, accepted, lost, cost under the cap, lost by the cap, and
    # lost less gained, by which the factor goes.
    lost, gained = outcomes.lost, outcomes.gained
    columns = (outcomes.cost_full, outcomes.cost_policy, A, lost, cut_cost, A & cut, lost * 1.0 - gained)
    per_prompt = np.column_stack([np.bincount(prompt, weight * column) for column in columns]).astype(np.float64)
    totals = per_prompt.sum(axis=0)
    s, f, factor = map(_finite, rates(totals[:4]))
    drawn = rates(_bootstrap(_units(per_prompt[:, [0, 1, 2, 6]], rng, max_units), rng, draws))
    savings = drawn.saving_rate
    saving_ci = _interval(savings)
    loss = rate_interval(per_prompt[:, 3], per_prompt[:, 2], int(A.sum()), CI_LEVEL)
    factor_ci = None
    if s is not None and f is not None and factor is not None and saving_ci and loss:
        factor_ci = factor_interval((s, *saving_ci), (f, loss.low, loss.high))
    exits: dict[str, int] = {}
    if outcomes.exited is not None:  # what is gained has no interval of its own: that of the factor is by prompts alone
        factor, factor_ci = _finite(rates(totals[[0, 1, 2, 6]]).net_cost_factor), _interval(drawn.net_cost_factor)
        exits = {"n_exited": int(outcomes.exited.sum()), "n_gained": int(gained.sum())}
    accepted_cost = float(weight @ (outcomes.cost_full * A))
    return Summary(
        n_attempts=n,
        n_prompts=len(attempts),
        n_accepted=int(A.sum()),
        unit=outcomes.unit,
        cost_full=float(totals[0]),
        cost_policy=float(totals[1]),
        saving_rate=s,
        saving_rate_ci=saving_ci,
        saving_rate_se=_finite(np.std(savings)),
        false_reject_rate=f,
        false_reject_rate_ci=(loss.low, loss.high) if loss else None,
        net_cost_factor=factor,
        net_cost_factor_ci=factor_ci,
        length_cap_factor=_finite(rates(totals[[0, 4, 2, 5]]).net_cost_factor),
        accepted_cost_share=accepted_cost / float(totals[0]) if totals[0] > 0 else None,
        ci_level=CI_LEVEL,
        weigh=weigh,
        attempts_per_prompt=(int(attempts.min()), int(attempts.max())),
        n_effective=loss.n_effective if loss else None,
        discards_by_reason=dict(Counter(compress(outcomes.reason, outcomes.discarded.tolist())).most_common()),
        by_checkpoint=_by_checkpoint(outcomes),
        by_difficulty=by_difficulty(A, lost, prompt, weight, outcomes.prospect, CI_LEVEL),
        **exits,
    )


def _by_checkpoint(outcomes: Outcomes) -> list[CheckpointCount]:
    last = int(outcomes.reached.max())
    # reached[i] checkpoints: 0 … reached[i] each count once, so the count at k is a reversed cumulative sum.
    reached = np.bincount(outcomes.reached, minlength=last + 1)[::-1].cumsum()[::-1]
    discarded = np.bincount(outcomes.stop_k[outcomes.discarded], minlength=last + 1)
    lost = np.bincount(outcomes.stop_k[outcomes.discarded & outcomes.accepted], minlength=last + 1)
    first = 0 if discarded[0] else 1
    return [CheckpointCount(k, int(reached[k]), int(discarded[k]), int(lost[k])) for k in range(first, last + 1)]


def _units(per_prompt: NDArray[np.float64], rng: np.random.Generator, most: int) -> NDArray[np.float64]:
    """Return `[units, …]` what is resampled: prompts, or where there are more than `most` groups of them."""
    n = len(per_prompt)
    if n <= most:
        return per_prompt
    unit = rng.permutation(np.arange(n) % most)
    return np.column_stack([np.bincount(unit, column) for column in per_prompt.T]).astype(np.float64)


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
