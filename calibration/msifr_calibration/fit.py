"""From an evidence table to a certified policy file: split, posterior, path, certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.betting import accepted_needed
from msifr_calibration.certificate import certify
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
from msifr_sim.outcomes import capped

__all__ = ["Fit", "best_length_cap", "default_certify_share", "fit_policy"]


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

    Raises `InputError` for budgets outside (0, 1) or data that cannot be split or fitted.
    """
    if certify_share is None:
        certify_share = default_certify_share(table, accepted_needed(max_false_reject, confidence))
    certifying, fitting = split_by_prompt(table, certify_share, seed)
    progress("posterior")
    fitted = fit_posterior(fitting, method=method, seed=seed)
    progress("path")
    path = fit_path(fitting, fitted.cross_fitted)
    progress("certificate")
    M = fitted.posterior.predict(certifying.k, certifying.values)
    stops = [threshold_stops(certifying, M, thresholds) for thresholds in path.thresholds]
    result = certify(
        (stop >= 0 for stop in stops), certifying, max_false_reject=max_false_reject, confidence=confidence
    )
    chosen = result.index
    file = PolicyFile(
        schema_version=1,
        costing=table.costing,
        schedule=table.schedule,
        validators=list(table.validators),
        posterior=fitted.posterior,
        thresholds=[] if chosen is None else path.thresholds[chosen].tolist(),
        price=None if chosen is None else float(path.prices[chosen]),
        certificate=result.certificate,
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
    """Return half, or up to three quarters where half the accepted samples could not carry a certificate.

    `needed` accepted samples certify only if none of them is lost; aiming at a third more allows for the luck of the
    split. Looks at counts alone, so the certificate stays valid.
    """
    return min(max(0.5, 1.35 * needed / max(table.n_accepted, 1)), 0.75)


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


def _frontier_point(table: EvidenceTable, stop: NDArray[np.int64], price: float) -> FrontierPoint:
    gone = stop >= 0
    spent = table.spent[np.where(gone, stop, table.end)].sum()
    n_accepted = max(table.n_accepted, 1)
    return FrontierPoint(
        price=price,
        saving_rate=float(1 - spent / table.cost.sum()),
        false_reject_rate=float((table.accepted & gone).sum() / n_accepted),
    )


def _fingerprint(table: EvidenceTable) -> Fingerprint:
    return Fingerprint(table.fingerprint, table.n_attempts, table.n_prompts, table.n_accepted)
