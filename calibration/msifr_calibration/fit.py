"""From evidence tables to certified policy files: split, learn, then test [T10].

**Learn**: on the fitting prompts, beliefs (posterior and cost to go) and the path of policies. **Certify**: on the
other prompts, how far along the path f ≤ α holds; the cheapest certified policy is taken.

Several **families** of traces (other models, other benchmarks) can be fitted together. A learned posterior then shares
among them what it learns of words and evidence (`learned`). Families certified as one **pool** walk their own paths in
step: at each step every family uses the policy of one price, relative to its own cost per accepted sample, and the
pool's false-reject rate is tested. The certificate then holds for the pool as sampled, and says so; no family takes a
policy by which it seems to lose more than the pool may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.beliefs.cost_to_go import fit_cost_to_go
from msifr_calibration.beliefs.linear import Method, fit_posterior
from msifr_calibration.beliefs.network import LearnOptions, learn_beliefs, with_words
from msifr_calibration.beliefs.words import read_words
from msifr_calibration.betting import accepted_needed
from msifr_calibration.certificate import Tested, certificate_of, fixed_sequence_test
from msifr_calibration.path import Path, fit_path, threshold_stops
from msifr_calibration.split import prompt_uniform, split_by_prompt
from msifr_policy.beliefs.blend import AnyCostToGo, AnyPosterior, predict_both
from msifr_policy.beliefs.linear import worth_index
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import Fingerprint, FrontierPoint, LengthCap, PolicyFile
from msifr_policy.rates import capped, rates
from msifr_policy.records.traces import Trace
from msifr_policy.validators.words import Words

__all__ = [
    "Fit",
    "Learned",
    "best_length_cap",
    "certify",
    "certify_pools",
    "default_certify_share",
    "fit_families",
    "fit_policy",
    "learn",
    "learn_families",
]

_CERTIFY = "certify"
_CLEARLY = 0.75
_ALONE = 300  # accepted samples: losing 3 % of them certifies α = 5 % with confidence 90 %


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned of one family on its fitting prompts.

    fitting: the attempts, without the words that were learned from them. cross_fitted, index: `[R]` M_k and worth index
    by models that did not see the row's prompt. words: the learned validator, if there is one. log_loss, base_loss:
    mean cross-fitted loss of the posterior and of the acceptance rate, in nats per checkpoint.
    """

    fitting: EvidenceTable
    posterior: AnyPosterior
    cost_to_go: AnyCostToGo
    cross_fitted: NDArray[np.float64]
    index: NDArray[np.float64]
    path: Path
    words: Words | None
    log_loss: float
    base_loss: float

    def extend(self, table: EvidenceTable, traces: Sequence[Trace]) -> EvidenceTable:
        """Return a table of other attempts with the columns of the beliefs; `traces` hold their texts."""
        return table if self.words is None else with_words(table, traces, self.words)


@dataclass(frozen=True, slots=True)
class Fit:
    """The policy file with what it came from: what was learned, and the attempts it was certified on."""

    file: PolicyFile
    learned: Learned
    certifying: EvidenceTable


def fit_policy(
    table: EvidenceTable,
    *,
    max_false_reject: float = 0.05,
    confidence: float = 0.9,
    certify_share: float | None = None,
    method: Method = "auto",
    traces: Sequence[Trace] | None = None,
    options: LearnOptions | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Fit:
    """Fit a discard policy on part of the prompts of `table` and certify it on the others.

    `max_false_reject` is α, `confidence` 1 − δ of the certificate; `certify_share` the share of prompts held out for
    it (None: see `default_certify_share`). The method "learned" needs the `traces` behind the table, and torch;
    `options` are for it. When nothing can be certified the file holds the policy that never discards and its
    certificate says why.

    Raises `InputError` for budgets or shares outside (0, 1).
    """
    if certify_share is None:
        certify_share = default_certify_share(table, accepted_needed(max_false_reject, confidence))
    if table.n_prompts > 1:
        certifying, fitting = split_by_prompt(table, certify_share, seed, _CERTIFY)
    else:
        certifying, fitting = table.take(np.zeros(0, dtype=np.int64)), table
    texts = None if traces is None else {"": traces}
    learned, held_out = _learn({"": fitting}, {"": certifying}, texts, method, options, seed, progress)
    progress("certificate")
    return certify(learned, held_out, max_false_reject=max_false_reject, confidence=confidence, seed=seed)[""]


def fit_families(
    tables: Mapping[str, EvidenceTable],
    *,
    traces: Mapping[str, Sequence[Trace]] | None = None,
    pools: Mapping[str, str] | None = None,
    max_false_reject: float = 0.05,
    confidence: float = 0.9,
    certify_share: float = 0.5,
    method: Method = "auto",
    options: LearnOptions | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Fit]:
    """Fit families of traces together and certify them pool by pool.

    A prompt that several families share is on the same side in all of them. `pools` maps a family to its pool (None:
    all are one); see `certify_pools`. The method "learned" needs the `traces` of each family, and torch. Raises
    `InputError` for budgets or shares outside (0, 1).
    """
    if not 0 < certify_share < 1:
        raise InputError(f"certify share {certify_share} must lie strictly between 0 and 1")
    fitting, certifying = {}, {}
    for name, table in tables.items():
        held_out = (prompt_uniform(table.prompt_ids, seed, _CERTIFY) < certify_share)[table.prompt]
        certifying[name] = table.take(np.flatnonzero(held_out))
        fitting[name] = table.take(np.flatnonzero(~held_out))
    learned, certifying = _learn(fitting, certifying, traces, method, options, seed, progress)
    progress("certificates")
    return certify_pools(
        learned,
        certifying,
        pools or dict.fromkeys(tables, ""),
        max_false_reject=max_false_reject,
        confidence=confidence,
        seed=seed,
    )


def _learn(
    fitting: Mapping[str, EvidenceTable],
    certifying: dict[str, EvidenceTable],
    traces: Mapping[str, Sequence[Trace]] | None,
    method: Method,
    options: LearnOptions | None,
    seed: int,
    progress: Callable[[str], None],
) -> tuple[dict[str, Learned], dict[str, EvidenceTable]]:
    """Learn every family by `method`; return that, and the held-out attempts with the columns of the beliefs."""
    if method != "learned":
        return {name: learn(t, method=method, seed=seed, progress=progress) for name, t in fitting.items()}, certifying
    if traces is None:
        raise InputError("a learned posterior needs the texts", where="method learned", remedy="pass the traces")
    learned = learn_families(fitting, traces, options=options, seed=seed, progress=progress)
    return learned, {name: learned[name].extend(table, traces[name]) for name, table in certifying.items()}


def learn(
    fitting: EvidenceTable,
    *,
    method: Method = "auto",
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Learned:
    """Fit linear beliefs and the path of one family on all attempts of `fitting`."""
    progress("posterior")
    fitted = fit_posterior(fitting, method=method, seed=seed)
    rho_full = float(fitting.cost.sum() / max(fitting.n_accepted, 1))
    cost_to_go, remaining = fit_cost_to_go(fitting, rho_full, seed=seed)
    progress("path")
    index = worth_index(fitted.cross_fitted, remaining, rho_full)
    path = fit_path(fitting, fitted.cross_fitted, index)
    return Learned(
        fitting, fitted.posterior, cost_to_go, fitted.cross_fitted, index, path, None, fitted.log_loss, fitted.base_loss
    )


def learn_families(
    fitting: Mapping[str, EvidenceTable],
    traces: Mapping[str, Sequence[Trace]],
    *,
    options: LearnOptions | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Learned]:
    """Learn the beliefs of all families together and each family's path, on all attempts of `fitting`."""
    words = {name: read_words(table, traces[name]) for name, table in fitting.items()}
    beliefs = learn_beliefs(fitting, words, options=options, seed=seed, progress=progress)
    learned = {}
    for name, table in fitting.items():
        mine = beliefs[name]
        progress(f"path {name}".strip())
        index = worth_index(mine.cross_fitted, mine.remaining, mine.cost_to_go.cost_per_accepted)
        path = fit_path(table, mine.cross_fitted, index)
        learned[name] = Learned(
            table,
            mine.posterior,
            mine.cost_to_go,
            mine.cross_fitted,
            index,
            path,
            mine.words,
            mine.log_loss,
            mine.base_loss,
        )
    return learned


def certify_pools(
    learned: Mapping[str, Learned],
    certifying: Mapping[str, EvidenceTable],
    pools: Mapping[str, str],
    *,
    max_false_reject: float = 0.05,
    confidence: float = 0.9,
    seed: int = 0,
) -> dict[str, Fit]:
    """Certify families pool by pool, and those with many accepted samples to certify on alone.

    From `_ALONE` on a family's own test admits nearly what a pool's does, and promises more: f ≤ α for it, not for a
    mixture. Who is alone is decided by counts, before any loss is seen. Arguments otherwise as for `certify`.
    """
    members: dict[tuple[str, str], list[str]] = {}
    for name, table in certifying.items():
        key = ("alone", name) if table.n_accepted >= _ALONE else ("pool", pools[name])
        members.setdefault(key, []).append(name)
    fits: dict[str, Fit] = {}
    for mine in members.values():
        fits |= certify(
            {name: learned[name] for name in mine},
            {name: certifying[name] for name in mine},
            max_false_reject=max_false_reject,
            confidence=confidence,
            seed=seed,
        )
    return {name: fits[name] for name in learned}


def certify(
    learned: Mapping[str, Learned],
    certifying: Mapping[str, EvidenceTable],
    *,
    max_false_reject: float = 0.05,
    confidence: float = 0.9,
    seed: int = 0,
) -> dict[str, Fit]:
    """Certify families as one pool on held-out attempts, and take each one's cheapest certified policy.

    The tables in `certifying` have the columns of the beliefs (`Learned.extend`) and none of the fitting prompts.
    """
    names = list(learned)
    held_out = {name: _replay_path(learned[name], certifying[name]) for name in names}
    lengths = {name: len(learned[name].path.prices) for name in names}
    n_steps = max(lengths.values())
    # A family whose path has ended waits there for the others; −1 is never discarding.
    steps = {name: np.minimum(np.arange(n_steps), lengths[name] - 1) for name in names}
    prompt_ids = [certifying[name].prompt_ids[p] for name in names for p in certifying[name].prompt]
    _, prompt = np.unique(np.asarray(prompt_ids, dtype=object), return_inverse=True)
    tested = fixed_sequence_test(
        (np.concatenate([held_out[name].stops[steps[name][i]] >= 0 for name in names]) for i in range(n_steps)),
        prompt.astype(np.int64),
        np.concatenate([certifying[name].accepted for name in names]),
        max_false_reject=max_false_reject,
        confidence=confidence,
        seed=seed,
    )
    pool = names if len(names) > 1 else []
    return {
        name: Fit(
            _policy_file(learned[name], certifying[name], held_out[name], steps[name], tested, pool, seed),
            learned[name],
            certifying[name],
        )
        for name in names
    }


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """The held-out attempts as the policies see them.

    M: `[R]` the posterior. stops: where each policy of the path discards, `[N]`, and last what never discarding does.
    """

    M: NDArray[np.float64]
    stops: list[NDArray[np.int64]]


def _replay_path(learned: Learned, certifying: EvidenceTable) -> _HeldOut:
    M, r = predict_both(learned.posterior, learned.cost_to_go, certifying.k, certifying.values)
    index = worth_index(M, r, learned.cost_to_go.cost_per_accepted)
    stops = [threshold_stops(certifying, index, thresholds) for thresholds in learned.path.thresholds]
    return _HeldOut(M, [*stops, np.full(certifying.n_attempts, -1)])


def _policy_file(
    learned: Learned,
    certifying: EvidenceTable,
    held_out: _HeldOut,
    steps: NDArray[np.int64],
    tested: Tested,
    pool: Sequence[str],
    seed: int,
) -> PolicyFile:
    # Every certified policy may be chosen by any rule; what both parts say of its cost decides.
    stops = held_out.stops
    candidates = [i for i in range(tested.n_certified) if steps[i] >= 0]
    on_fitting = [
        threshold_stops(learned.fitting, learned.index, learned.path.thresholds[steps[i]]) for i in candidates
    ]
    chosen = _cheapest(
        (learned.fitting, certifying),
        (learned.cross_fitted, held_out.M),
        (on_fitting, [stops[steps[i]] for i in candidates]),
        tested.max_false_reject,
        seed,
    )
    step = None if chosen is None else candidates[chosen]
    at = -1 if step is None else int(steps[step])
    path, table = learned.path, learned.fitting
    return PolicyFile(
        schema_version=1,
        costing=table.costing,
        schedule=table.schedule,
        validators=list(certifying.validators),
        posterior=learned.posterior,
        cost_to_go=learned.cost_to_go,
        thresholds=[] if at < 0 else path.thresholds[at].tolist(),
        price=None if at < 0 else float(path.prices[at]),
        certificate=certificate_of(tested, certifying, step, stops[at] >= 0, pool=pool),
        length_cap=best_length_cap((table, certifying), tested.max_false_reject),
        frontier=[
            _frontier_point(certifying, stop, float(price)) for stop, price in zip(stops[:-1], path.prices, strict=True)
        ],
        fitted_on=_fingerprint(table),
        certified_on=_fingerprint(certifying),
        seed=seed,
        created_by=f"msifr-policy {version('msifr-policy')}",
    )


def default_certify_share(table: EvidenceTable, needed: int) -> float:
    """Return a third, or up to three quarters where a third of the accepted samples could not carry a certificate.

    `needed` accepted samples certify only if none of them is lost; aiming at a third more allows for the luck of the
    split. Looks at counts alone, so the certificate stays valid.
    """
    return min(max(0.35, 1.35 * needed / max(table.n_accepted, 1)), 0.75)


def best_length_cap(tables: Sequence[EvidenceTable], max_false_reject: float) -> LengthCap:
    """Return the plain length cap with the least cost per accepted and an observed f ≤ α on all `tables` together.

    Every cost of an accepted attempt is tried as cap: in between, a cap only costs more. The rate is
    observed, not certified, which favours this base line.
    """
    cost = np.concatenate([table.cost for table in tables])
    A = np.concatenate([table.accepted for table in tables])
    best = LengthCap(None, 1.0, 0.0)
    rho_full = cost.sum() / A.sum() if A.any() else np.inf
    n_accepted = int(A.sum())
    ascending = np.sort(cost[A])
    # A cap below the j-th smallest accepted cost loses the rest: only the last share α is admissible.
    first = max(0, n_accepted - 1 - int(max_false_reject * n_accepted + 1e-9))
    for cap in np.unique(ascending[first:]):
        spent, cut = capped(cost, float(cap))
        lost = int((A & cut).sum())
        if lost > max_false_reject * n_accepted + 1e-9 or lost == n_accepted:
            continue
        factor = float(spent.sum() / (n_accepted - lost) / rho_full)
        if factor < best.net_cost_factor:
            best = LengthCap(float(cap), factor, lost / n_accepted)
    return best


def _cheapest(
    parts: tuple[EvidenceTable, EvidenceTable],
    M: tuple[NDArray[np.float64], NDArray[np.float64]],
    stops: tuple[Sequence[NDArray[np.int64]], ...],
    max_false_reject: float,
    seed: int,
) -> int | None:
    """Return the policy with the least net cost factor on both parts together, None if none is clearly below 1.

    `M` `[R]` is the posterior and `stops` hold, per part, `[N]` the rows where each policy discards. Clearly: below 1
    in three of four bootstrap samples of prompts. A policy that saves nothing worth having only loses good samples.
    Policies that seem to lose more than `max_false_reject` of this family's good samples are left out: what a pool may
    lose together is not to be one family's loss.
    """
    best, chosen, best_totals = 1.0, None, None
    for j in range(len(stops[0])):
        totals = np.concatenate([_prompt_totals(t, m, s[j]) for t, m, s in zip(parts, M, stops, strict=True)])
        _, f, factor = rates(totals.sum(axis=0))
        if factor < best and f <= max_false_reject:
            best, chosen, best_totals = float(factor), j, totals
    if best_totals is None:
        return None
    n = len(best_totals)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), 400)
    return chosen if np.mean(rates(draws @ best_totals)[2] < 1) >= _CLEARLY else None


def _prompt_totals(table: EvidenceTable, M: NDArray[np.float64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return `[P, 4]` per prompt: full cost, cost with the policy, accepted, lost (half as observed, half M_τ [T4])."""
    A, gone = table.accepted.astype(np.float64), stop >= 0
    spent = table.spent[np.where(gone, stop, table.end)]
    lost = np.where(gone, (A + M[np.maximum(stop, 0)]) / 2, 0.0)
    columns = (table.cost, spent, A, lost)
    return np.column_stack([np.bincount(table.prompt, c, table.n_prompts) for c in columns]).astype(np.float64)


def _frontier_point(table: EvidenceTable, stop: NDArray[np.int64], price: float) -> FrontierPoint:
    gone = stop >= 0
    spent = table.spent[np.where(gone, stop, table.end)].sum()
    n_accepted = max(table.n_accepted, 1)
    return FrontierPoint(
        price=price,
        saving_rate=float(1 - spent / max(table.cost.sum(), 1.0)),
        false_reject_rate=float((table.accepted & gone).sum() / n_accepted),
    )


def _fingerprint(table: EvidenceTable) -> Fingerprint:
    return Fingerprint(table.fingerprint, table.n_attempts, table.n_prompts, table.n_accepted)
