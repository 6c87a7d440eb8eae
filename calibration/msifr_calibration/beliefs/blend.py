"""Learned beliefs: words and evidence of all families together, blended with a linear model of each [T4].

Three steps, of one family of traces or of many:

1. the weights of the validator `words` (`beliefs.words`), whose two scores join the evidence columns;
2. one small network on all checkpoints of all attempts (`beliefs.network`), for posterior and cost to go;
3. per family a logistic regression per group of checkpoints (`beliefs.linear`) on the same columns, blended with the
   network by two weights fitted to the cross-fitted estimates.

All estimates are cross-fitted by prompt over all families: none comes from a model that was fitted to the prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from msifr_calibration.beliefs.fitted import FittedBeliefs
from msifr_calibration.beliefs.linear import fit_posterior
from msifr_calibration.beliefs.network import NetworkOptions, fit_networks, network_tensors
from msifr_calibration.beliefs.stack import Stack, folds_by_id, stack_up
from msifr_calibration.beliefs.words import WordRows, fit_word_odds, word_tensors
from msifr_calibration.family import Family
from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.blend import Blend, blended, bounded, cost_of
from msifr_policy.beliefs.network import Network
from msifr_policy.errors import InputError
from msifr_policy.validators import Words
from msifr_policy.weights import remember, to_bytes

Array = NDArray[np.float64]

_MOST_BLEND = 10.0


def fit_learned_beliefs(
    families: Sequence[Family],
    words: Sequence[WordRows],
    *,
    options: NetworkOptions | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> list[FittedBeliefs]:
    """Learn the beliefs of all families together, with the `words` of each; all tables have the same columns.

    `progress` is called with a line per model. Needs torch. Raises `InputError` if the columns differ or nothing can
    be learned (one outcome only, or fewer than two prompts).
    """
    if len({family.table.columns for family in families}) != 1:
        raise InputError("the tables have different columns", where="learned beliefs")
    if len(np.unique(np.concatenate([family.table.accepted for family in families]))) < 2:
        raise InputError("every attempt has the same outcome", where="learned beliefs", remedy="add traces")
    tables = [family.table for family in families]
    stack = stack_up(tables, folds_by_id(tables, seed))
    odds = fit_word_odds(stack, words, progress=progress)
    columns = tuple(f"{Words.name}.{column}" for column in Words.columns)
    tables = [f.table.with_scores(columns, each.cross_fitted) for f, each in zip(families, odds, strict=True)]
    stack = replace(stack, tables=tables)
    networks = fit_networks(stack, options or NetworkOptions(), seed, progress)
    progress("a linear model per family")
    linear = [fit_posterior(table, method="logistic", seed=seed) for table in tables]
    eta_network, eta_linear = networks.outputs[:, 0], logit(np.concatenate([M for _, _, M in linear]))
    a, b = _shares(stack, eta_network, eta_linear)
    M, r = blended(eta_network, eta_linear, a, b), cost_of(networks.outputs[:, 1])
    result = []
    for f, table in enumerate(tables):
        sha256 = remember(to_bytes({**word_tensors(odds[f]), **network_tensors(networks, f)}))
        beliefs = Beliefs(
            "learned",
            table.columns,
            table.cost_per_accepted,
            linear[f][1][0],
            blend=Blend(Network(sha256), a, b),
        )
        result.append(FittedBeliefs(beliefs, table, M[stack.rows(f)], r[stack.rows(f)], Words(sha256)))
    return result


def _shares(stack: Stack, eta_network: Array, eta_linear: Array) -> tuple[float, float]:
    """Return a, b ≥ 0 with the least cross-fitted loss, each attempt weighing the same and a family of n 1/√n."""
    rows = np.flatnonzero(stack.checks)
    attempt = stack.attempt[rows]
    sizes = np.bincount(attempt, minlength=len(stack.accepted))
    weight = 1 / (np.sqrt(np.bincount(stack.family))[stack.family] * np.maximum(sizes, 1))[attempt]
    sign = np.where(stack.accepted, 1.0, -1.0)[attempt]
    eta = np.column_stack([bounded(eta_network[rows]), bounded(eta_linear[rows])])

    def loss(shares: Array) -> tuple[float, Array]:
        margin = sign * (eta @ shares)
        return float(weight @ np.logaddexp(0.0, -margin)), eta.T @ (-weight * sign * expit(-margin))

    bounds = [(0.0, _MOST_BLEND)] * 2
    a, b = minimize(loss, np.full(2, 0.5), jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(a), float(b)
