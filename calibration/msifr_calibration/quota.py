"""Quotas: policies for runs that want so many accepted samples per prompt from at most so many attempts.

Such a run makes the attempts at a prompt one after the other until it has its samples. What it would make without a
policy is what a policy is fitted to and certified on. When prompts are given up is a path of its own: the rule of
`exact.quota` at each price, for the Beta law of acceptance over prompts that fits the outcomes best (beta-binomial:
Skellam 1948) and the mean costs of accepted and of other attempts.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln

from msifr_calibration.nested import replayed
from msifr_calibration.path import NO_POLICIES, PolicyPath, path_prices, until_cheapest
from msifr_policy.beliefs import Beliefs
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.exact.quota import fill_quota

_LEAST, _MOST = np.log(0.01), np.log(1000.0)  # of a and b: beyond, attempts at a prompt are as good as alike

Array = NDArray[np.float64]


def acceptance_prior(table: EvidenceTable) -> tuple[float, float]:
    """Return (a, b) of the Beta law of acceptance over prompts, at the greatest likelihood of the outcomes.

    When attempts end with the first so many accepted, the order of outcomes has the same likelihood as their counts.
    """
    accepted = np.bincount(table.prompt, table.accepted, table.n_prompts)
    rejected = np.bincount(table.prompt, ~table.accepted, table.n_prompts)

    def loss(logs: Array) -> float:
        a, b = np.exp(logs)
        return -float((betaln(a + accepted, b + rejected) - betaln(a, b)).sum())

    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(_LEAST, _MOST)] * 2)
    a, b = np.exp(found.x)
    return float(a), float(b)


def fit_quota_path(
    table: EvidenceTable, beliefs: Beliefs, known: tuple[Array, Array], accepted: int, attempts: int
) -> PolicyPath:
    """Return the path of rules when prompts are given up, for a quota; `table` and `known` as for `nested.replayed`."""
    if table.n_accepted in (0, table.n_attempts) or attempts < 2:
        return NO_POLICIES
    prior, prices = acceptance_prior(table), path_prices(table)
    good, bad = (float(table.cost[table.accepted == A].mean()) for A in (True, False))
    costs = {"cost_accepted": good, "cost_rejected": bad}
    rules = [fill_quota(accepted, attempts, prior=prior, **costs, price=price) for price in prices.tolist()]
    give_up = np.asarray([rule.give_up for rule in rules])
    thresholds = np.zeros((len(prices), table.n_checkpoints + 1))
    outcomes = replayed(table, beliefs, known, thresholds, give_up).outcomes
    return until_cheapest(table, thresholds, prices, outcomes, give_up)
