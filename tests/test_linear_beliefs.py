"""Linear beliefs and paths are at the exact minimum of what they say they minimise."""

import numpy as np
import pytest
from scipy.optimize import isotonic_regression
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge

from makers import make_table
from msifr_calibration.beliefs.checkpoint_groups import standardise
from msifr_calibration.beliefs.linear import _eta, _isotonic, _logistics, _newton, _ridge, fit_linear_beliefs
from msifr_calibration.path import _Block, _zero_crossings
from msifr_policy.beliefs.blend import calibrated, cost_of, worth_of
from msifr_policy.beliefs.one_row import OneRow


def evidence(seed, n=400):
    """x `[n, 4]`, its last column constant and its second not always known, and outcomes that depend on the first."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.standard_normal((n, 3)) * [1, 5, 0.1], np.ones(n)])
    x[rng.random(n) < 0.3, 1] = np.nan
    return x, rng.random(n) < 1 / (1 + np.exp(-3 * x[:, 0]))


@pytest.mark.parametrize("seed", range(5))
def test_logistic_regressions_are_those_of_another_library(seed):
    x, y = evidence(seed)
    z, *_ = standardise(x)
    for penalty, fitted in zip((0.003, 30.0), _logistics(x, y, (0.003, 30.0)), strict=True):
        other = LogisticRegression(C=penalty, tol=1e-10, max_iter=10_000).fit(z, y)
        assert fitted.coefficients == pytest.approx(other.coef_[0], abs=1e-5)
        assert fitted.intercept == pytest.approx(other.intercept_[0], abs=1e-5)
        assert _eta(fitted, x) == pytest.approx(other.decision_function(z), abs=1e-4)


def test_the_minimum_is_found_from_far_away():
    """There a full step of Newton's leads ever farther: the outcomes look certain, and all of them wrong."""
    x, y = evidence(0)
    z, *_ = standardise(x)
    near, far = (_newton(z, y, 2.0, theta) for theta in (np.zeros(5), np.asarray([3.0, -6.0, 4.0, 0.0, 0.0])))
    assert far == pytest.approx(near, abs=1e-5)


def test_cost_regressions_are_those_of_another_library():
    x, _ = evidence(0)
    y = np.nan_to_num(x) @ [1.0, 0.2, 3.0, 0.0] + 4.0
    z, *_ = standardise(x)
    other = Ridge(30.0).fit(z, y)
    fitted = _ridge(x, y)
    assert fitted.coefficients == pytest.approx(other.coef_, abs=1e-9)
    assert fitted.intercept == pytest.approx(other.intercept_)


@pytest.mark.parametrize("n", [1, 2, 3, 50, 400])
def test_isotonic_maps_are_those_of_another_library(n):
    rng = np.random.default_rng(n)
    M = rng.random(n).round(2)
    y = rng.random(n) < M
    ours, other = _isotonic(M, y), IsotonicRegression(out_of_bounds="clip").fit(M, y)
    grid = np.linspace(-0.1, 1.1, 500)
    assert np.interp(grid, ours.x, ours.y) == pytest.approx(other.predict(grid), abs=1e-12)


def test_a_threshold_is_where_the_isotonic_regression_becomes_positive():
    """The last least sum so far, against the regression itself; noise makes all cases, ends among them."""
    rng = np.random.default_rng(0)
    ends = set()
    for _ in range(300):
        n = int(rng.integers(1, 30))
        worth = rng.random(n).round(1)
        going_on = rng.standard_normal(n) + 2 * worth - 1
        order = np.argsort(worth, kind="stable")
        levels, level, counts = np.unique(worth, return_inverse=True, return_counts=True)
        edges = np.concatenate([[0.0], (levels[:-1] + levels[1:]) / 2, [1.0]])
        block = _Block(np.arange(n), np.arange(n), np.arange(n), worth, order, np.cumsum(counts) - 1, edges)
        regression = isotonic_regression(np.bincount(level, going_on) / counts, weights=counts).x
        kept = int((regression > 0).sum())
        assert _zero_crossings(block, going_on[None])[0, 0] == edges[len(levels) - kept]
        ends |= {kept == 0, kept == len(levels)}
    assert ends == {True, False}


@pytest.mark.parametrize("method", ["logistic", "isotonic"])
@pytest.mark.parametrize("block", [1, 7, 2**13])
def test_beliefs_are_to_the_last_bit_what_their_formula_says_however_many_rows_are_read_at_a_time(
    method, block, monkeypatch
):
    table = make_table(200, attempts=3, seed=1)
    beliefs = fit_linear_beliefs(table, method=method).beliefs
    values = table.values.copy()
    rng = np.random.default_rng(0)
    for odd in (np.nan, -0.0, -3.0, 1e308):
        values[rng.random(values.shape) < 0.02] = odd
    k = np.where(rng.random(len(table.k)) < 0.1, table.k + 50, table.k)  # some beyond those that were fitted

    def eta_of(model):
        group = model.group(k)
        eta = np.asarray([g.intercept for g in model.groups])[group]
        for d in range(model.n_columns):
            centre, scale, slope = (
                np.asarray([getattr(g, part)[d] for g in model.groups]) for part in ("centre", "scale", "coefficients")
            )
            g = np.sign(values[:, d]) * np.log1p(np.abs(values[:, d]))
            term = (g - centre[group]) * (slope / scale)[group]
            eta = eta + np.where(np.isfinite(term), term, 0.0)
        return eta

    monkeypatch.setattr("msifr_policy.beliefs.blend._BLOCK", block)
    M, r = beliefs.predict(k, values)
    group = beliefs.posterior_model.group(k)
    assert M.tolist() == calibrated(group, eta_of(beliefs.posterior_model), beliefs.calibration).tolist()
    assert r.tolist() == cost_of(eta_of(beliefs.cost_model)).tolist()
    worth = beliefs.worth(k, values)[1]
    assert worth.tolist() == worth_of(M, r, beliefs.cost_per_accepted).tolist()
    one_row = OneRow(beliefs)
    live = [one_row.at(at_k, tuple(row)) for at_k, row in zip(k.tolist(), values.tolist(), strict=True)]
    assert live == list(zip(M.tolist(), r.tolist(), worth.tolist(), strict=True))
    assert [x.shape for x in beliefs.predict(k[:0], values[:0])] == [(0,), (0,)]
