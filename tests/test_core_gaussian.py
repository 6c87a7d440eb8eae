"""Gaussian evidence: the grid against the classical approximations, against drawn scores, and against the optimum."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from msifr_policy.errors import InputError
from msifr_policy.exact.evaluation import StagePolicy, evaluate
from msifr_policy.exact.gaussian import (
    OVERSHOOT,
    GaussianModel,
    SprtRates,
    gaussian_grid,
    gaussian_process,
    sprt,
    sprt_boundaries,
    sprt_rates,
)
from msifr_policy.exact.optimum import CHOICES, solve, solve_prices
from msifr_policy.policy import Action

MODEL = GaussianModel(0.3, (0.25,) * 12, (10.0,) * 12, 5.0, exit_cost=2.0)


def long_test(drift: float, *, steps: int = 4) -> tuple[GaussianModel, float, float]:
    """A model with so many stages that hardly any test is open at the end, and boundaries near −2 and 3.

    Both lie midway between points of a grid of `steps` points per drift, and the grid ends far beyond them.
    """
    h, K = drift / steps, int(60 / drift**2)
    lower, upper = -(round(2 / h) + 0.5) * h, (round(3 / h) + 0.5) * h
    far = 3.5 + 2 * drift**2 + 2 * np.sqrt(80 * drift**2)
    return GaussianModel(0.3, (drift,) * K, (1.0,) * K, exit_cost=0.0, spacing=h, bound=far), lower, upper


def exact_rates(model: GaussianModel, policy: StagePolicy) -> SprtRates:
    """The rates of a test on the grid, from one evaluation: what is expected given A is weighted by the posterior."""
    process = gaussian_process(model)
    M, result = process.utility, evaluate(process, policy)
    going_on = [D * q for D, q in zip(result.arriving, policy.continuing, strict=False)]
    return SprtRates(
        false_reject_rate=result.false_reject_rate,
        false_keep_rate=(1 - result.discarded - result.utility_kept) / (1 - model.prior),
        stages_accepted=sum(mass @ M for mass in going_on) / model.prior,
        stages_rejected=sum(mass @ (1 - M) for mass in going_on) / (1 - model.prior),
    )


def errors(drift: float, overshoot: float) -> np.ndarray:
    """Relative errors of the approximations, `[4]`."""
    model, lower, upper = long_test(drift)
    exact = exact_rates(model, sprt(model, lower, upper))
    near = sprt_rates(drift, lower, upper, overshoot=overshoot)
    return np.array([getattr(near, name) / getattr(exact, name) - 1 for name in SprtRates.__slots__])


def test_error_rates_and_stopping_times_approach_walds_as_steps_shrink() -> None:
    """Wald (1945) leaves the overshoot out: his errors halve with the step, and those of the corrected boundaries
    (Siegmund 1985) fall with its square.
    """
    coarse, fine = errors(0.4, 0.0), errors(0.2, 0.0)
    assert (coarse[:2] > 0).all()  # boundaries are overshot: the test errs less and takes longer than he says
    assert (coarse[2:] < 0).all()
    np.testing.assert_array_less(np.abs(fine), 0.26)
    np.testing.assert_array_less(np.abs(fine / coarse), 0.56)
    coarse, fine = errors(0.4, OVERSHOOT), errors(0.2, OVERSHOOT)
    np.testing.assert_array_less(np.abs(coarse), [0.001, 0.001, 0.036, 0.036])
    np.testing.assert_array_less(np.abs(fine), [0.001, 0.001, 0.0102, 0.0102])
    np.testing.assert_array_less(np.abs(fine[2:] / coarse[2:]), 0.3)


def test_the_comparison_with_the_approximations_can_fail() -> None:
    """Half the overshoot, or a drift that is off by 2 %, is outside the stated errors."""
    assert np.abs(errors(0.2, OVERSHOOT / 2)).min() > 0.05
    model, lower, upper = long_test(0.2)
    exact, near = exact_rates(model, sprt(model, lower, upper)), sprt_rates(0.204, lower, upper)
    assert abs(near.stages_accepted / exact.stages_accepted - 1) > 0.0102


def test_a_finer_grid_changes_little() -> None:
    """With the same boundaries, midway on both grids, a third of the spacing moves no rate by 0.1 %."""
    coarse, lower, upper = long_test(0.4)
    fine = replace(coarse, spacing=coarse.spacing / 3)
    before, after = (exact_rates(model, sprt(model, lower, upper)) for model in (coarse, fine))
    for name in SprtRates.__slots__:
        assert getattr(before, name) == pytest.approx(getattr(after, name), rel=1e-3)


def test_the_grid_agrees_with_drawn_scores() -> None:
    """The same test on scores from a generator; 6 standard errors: a false alarm has probability below 1e-8."""
    model, lower, upper = long_test(0.4)
    exact = exact_rates(model, sprt(model, lower, upper))
    rng = np.random.default_rng(1)
    n = 40_000
    for sign, wrong, stages in (
        (1, exact.false_reject_rate, exact.stages_accepted),
        (-1, exact.false_keep_rate, exact.stages_rejected),
    ):
        ratio = np.cumsum(2 * 0.4 * (sign * 0.4 + rng.standard_normal((n, 150))), axis=1)
        out = (ratio <= lower) | (ratio >= upper)
        assert out.any(axis=1).all()
        stop = out.argmax(axis=1)
        at = ratio[np.arange(n), stop]
        missed = (at <= lower) if sign > 0 else (at >= upper)
        assert abs(missed.mean() - wrong) < 6 * np.sqrt(wrong / n)
        assert abs((stop + 1).mean() - stages) < 6 * stop.std() / np.sqrt(n)


def test_walds_boundaries_keep_their_promise() -> None:
    """With the boundaries for f = 5 % and g = 10 %: f' ≤ f/(1 − g), g' ≤ g/(1 − f), f' + g' ≤ f + g (Wald 1945)."""
    lower, upper = sprt_boundaries(0.05, 0.1)
    model, _, _ = long_test(0.4)
    exact = exact_rates(model, sprt(model, lower, upper))
    assert exact.false_reject_rate <= 0.05 / 0.9
    assert exact.false_keep_rate <= 0.1 / 0.95
    assert exact.false_reject_rate + exact.false_keep_rate <= 0.15
    near = sprt_rates(1e-6, lower, upper, overshoot=0.0)
    assert (near.false_reject_rate, near.false_keep_rate) == pytest.approx((0.05, 0.1))


def test_the_optimum_is_a_sequential_probability_ratio_test() -> None:
    """At every checkpoint the optimum discards below, goes on between and exits above (Wald and Wolfowitz 1948)."""
    model = replace(MODEL, exit_cost=55.0)  # never what is left of full stages, where EXIT and CONTINUE would tie
    process = gaussian_process(model)
    rising = [CHOICES.index(action) for action in (Action.DISCARD, Action.CONTINUE, Action.EXIT)]
    used = set()
    for choice in solve_prices(process, [2 * solve(process).price]).choices:
        ranks = np.argsort(rising)[choice[:, 0]]
        assert (np.diff(ranks) >= 0).all()
        used |= set(ranks.tolist())
    assert used == {0, 1, 2}


def test_transitions_are_banded_and_shared() -> None:
    process = gaussian_process(MODEL)
    assert all(sp.issparse(P) and P is process.transitions[0] for P in process.transitions)
    assert process.transitions[0].nnz < 0.4 * process.utility.size**2
    grid = gaussian_grid(MODEL)
    assert (grid[0], grid[96], grid[-1]) == (-12, 0, 12)


def test_bad_models_and_boundaries_are_refused_with_the_place() -> None:
    for change, message in (
        ({"drift": ()}, "12 stage costs for 0 stages"),
        ({"prior": 1.0}, r"prior 1\.0"),
        ({"drift": (0.25,) * 11 + (float("nan"),)}, "stage 12: drift nan"),
        ({"drift": (0.25, 0.01) + (0.25,) * 10}, r"stage 2: spacing 0\.125 \(at most 2·drift = 0\.02"),
        ({"stage_costs": (1.0,) * 11 + (-1.0,)}, r"stage 12: cost -1\.0"),
        ({"exit_cost": float("inf")}, "exit_cost inf"),
        ({"bound": 0.1}, r"spacing 0\.125, bound 0\.1"),
    ):
        with pytest.raises(InputError, match=message):
            replace(MODEL, **change)
    with pytest.raises(InputError, match=r"boundaries 1 and 2"):
        sprt(MODEL, 1, 2)
    with pytest.raises(InputError, match="upper boundary 2 without EXIT"):
        sprt(replace(MODEL, exit_cost=None), -1, 2)
    assert not any(x.any() for x in sprt(replace(MODEL, exit_cost=None), -1).exiting)
    with pytest.raises(InputError, match="finite, drift > 0"):
        sprt_rates(0.0, -1, 1)
    with pytest.raises(InputError, match="error rates"):
        sprt_boundaries(0.5, 0.6)
