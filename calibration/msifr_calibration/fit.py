"""From an evidence table to a certified policy file: split, posterior, path, certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.betting import accepted_needed
from msifr_calibration.certificate import certificate_of, fixed_sequence_test
from msifr_calibration.cost_to_go import fit_cost_to_go
from msifr_calibration.path import Path, fit_path, threshold_stops
from msifr_calibration.posterior import FittedPosterior, Method, fit_posterior
from msifr_calibration.split import split_by_prompt
from msifr_policy.evidence import EvidenceTable
from msifr_policy.policy_file import (
    Fingerprint,
    FrontierPoint,
    LengthCap,
    PolicyFile,
)
from msifr_policy.posterior import worth_index
from msifr_sim.outcomes import capped

__all__ = ["Fit", "best_length_cap", "default_certify_share", "fit_policy"]


_CLEARLY = 0.9


@dataclass(frozen=True, slots=True)
class Fit:
    """The policy file with what it came from: the path and the posterior on the fitting part, and both parts."""

    file: PolicyFile
    path: Path | None
    posterior: FittedPosterior
    fitting: EvidenceTable
    certifying: EvidenceTable


def fit_policy(
    table: EvidenceTable,
    *,
    max_false_reject: float = 0.05,
    confidence: float = 0.9,
    certify_share: float | None = None,
    method: Method = "auto",
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Fit:
    """Fit a discard policy on part of the prompts of `table` and certify it on the others.

    `max_false_reject` is α, `confidence` 1 − δ of the certificate; `certify_share` the share of prompts held out for
    it (None: see `default_certify_share`). When nothing can be certified the file holds the policy that never
    discards and its certificate says why.

    Raises `InputError` for budgets or shares outside (0, 1).
    """
    if certify_share is None:
        certify_share = default_certify_share(table, accepted_needed(max_false_reject, confidence))
    if table.n_prompts > 1:
        certifying, fitting = split_by_prompt(table, certify_share, seed)
    else:
        certifying, fitting = table.take(np.zeros(0, dtype=np.int64)), table
    progress("posterior")
    fitted = fit_posterior(fitting, method=method, seed=seed)
    rho_full = float(fitting.cost.sum() / max(fitting.n_accepted, 1))
    cost_to_go, remaining = fit_cost_to_go(fitting, rho_full, seed=seed)
    index = worth_index(fitted.cross_fitted, remaining, rho_full)
    progress("path")
    path = fit_path(fitting, fitted.cross_fitted, index)
    progress("certificate")
    held_out = worth_index(
        fitted.posterior.predict(certifying.k, certifying.values),
        cost_to_go.predict(certifying.k, certifying.values),
        rho_full,
    )
    stops = [threshold_stops(certifying, held_out, thresholds) for thresholds in path.thresholds]
    tested = fixed_sequence_test(
        (stop >= 0 for stop in stops), certifying, max_false_reject=max_false_reject, confidence=confidence
    )
    # Every certified policy may be chosen by any rule; what both parts say of its cost decides.
    on_fitting = [threshold_stops(fitting, index, t) for t in path.thresholds[: tested.n_certified]]
    chosen = _cheapest((fitting, certifying), (on_fitting, stops), seed)
    discarded = np.zeros(certifying.n_attempts, dtype=bool) if chosen is None else stops[chosen] >= 0
    file = PolicyFile(
        schema_version=1,
        costing=table.costing,
        schedule=table.schedule,
        validators=list(table.validators),
        posterior=fitted.posterior,
        cost_to_go=cost_to_go,
        thresholds=[] if chosen is None else path.thresholds[chosen].tolist(),
        price=None if chosen is None else float(path.prices[chosen]),
        certificate=certificate_of(tested, certifying, chosen, discarded),
        length_cap=best_length_cap(table, max_false_reject),
        frontier=[
            _frontier_point(certifying, stop, float(price)) for stop, price in zip(stops, path.prices, strict=True)
        ],
        fitted_on=_fingerprint(fitting),
        certified_on=_fingerprint(certifying),
        seed=seed,
        created_by=f"msifr-policy {version('msifr-policy')}",
    )
    return Fit(file, path, fitted, fitting, certifying)


def default_certify_share(table: EvidenceTable, needed: int) -> float:
    """Return a third, or up to three quarters where a third of the accepted samples could not carry a certificate.

    `needed` accepted samples certify only if none of them is lost; aiming at a third more allows for the luck of the
    split. Looks at counts alone, so the certificate stays valid.
    """
    return min(max(0.35, 1.35 * needed / max(table.n_accepted, 1)), 0.75)


def best_length_cap(table: EvidenceTable, max_false_reject: float) -> LengthCap:
    """Return the plain length cap with the least cost per accepted and an observed f ≤ α on `table`.

    Every cost of an accepted attempt is tried as cap: in between, a cap only costs more. The rate is
    observed, not certified, which favours this base line.
    """
    cost, A = table.cost, table.accepted
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
    parts: tuple[EvidenceTable, EvidenceTable], stops: tuple[Sequence[NDArray[np.int64]], ...], seed: int
) -> int | None:
    """Return the policy with the least net cost factor on both parts together, None if none is clearly below 1.

    `stops` hold, per part, `[N]` the rows where each policy discards. Clearly: below 1 in nine of ten bootstrap
    samples of prompts. A policy that saves nothing worth having only loses good samples.
    """
    best, chosen, best_totals = 1.0, None, None
    for j in range(len(stops[0])):
        totals = np.concatenate([_prompt_totals(t, s[j]) for t, s in zip(parts, stops, strict=True)])
        factor = _factor(totals.sum(axis=0))
        if factor < best:
            best, chosen, best_totals = float(factor), j, totals
    if best_totals is None:
        return None
    draws = np.random.default_rng(seed).multinomial(
        len(best_totals), np.full(len(best_totals), 1 / len(best_totals)), 400
    )
    return chosen if np.mean(_factor(draws @ best_totals) < 1) >= _CLEARLY else None


def _prompt_totals(table: EvidenceTable, stop: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return `[P, 4]` per prompt: full cost, cost with the policy, accepted, accepted and kept."""
    A = table.accepted.astype(np.float64)
    spent = table.spent[np.where(stop >= 0, stop, table.end)]
    columns = (table.cost, spent, A, A * (stop < 0))
    return np.column_stack([np.bincount(table.prompt, c, table.n_prompts) for c in columns]).astype(np.float64)


def _factor(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the net cost factor of `[..., 4]` totals as in `_prompt_totals`."""
    full, spent, accepted, kept = np.moveaxis(totals, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor: NDArray[np.float64] = np.where(kept > 0, (spent / kept) / (full / accepted), np.inf)
    return factor


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
