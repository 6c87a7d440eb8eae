"""The hazard model sampled and fitted, and roulettes against an independent optimiser."""

import numpy as np
import pytest
from scipy.optimize import minimize

from msifr_policy.errors import InputError
from msifr_policy.exact.evaluation import StagePolicy, never_discard
from msifr_policy.exact.hazard import (
    HazardModel,
    fit_hazard,
    hazard_flags,
    hazard_process,
    hazard_rates,
    sample_hazard,
)
from msifr_policy.exact.hidden import hide
from msifr_policy.exact.optimum import solve
from msifr_policy.exact.process import StageProcess
from msifr_policy.exact.quota import fill_quota
from msifr_policy.exact.roulette import (
    audit,
    capped_moments,
    kish,
    optimal_roulette,
    roulette_moments,
    roulette_weight,
    survival_probability,
    target_weight,
)

MODEL = HazardModel((0.1, 0.2, 0.1, 0.1), (0.7, 0.8, 0.7, 0.6), (0.05, 0.1, 0.05, 0.1), 0.8, 0.1, (100, 90, 80, 70), 50)
TIED = HazardModel((0.15,) * 5, (0.7,) * 5, (0.1,) * 5, 0.9, 0.2, (10,) * 5)


def test_the_sample_follows_the_recursion() -> None:
    """Six standard errors: a correct sampler fails with probability below 1e-8 (and the seed is fixed)."""
    n = 100_000
    sample = sample_hazard(MODEL, n, np.random.default_rng(1))
    stop = np.where(sample.flags[:, :3].any(axis=1), sample.flags[:, :3].argmax(axis=1) + 1, 4)
    paid = np.cumsum(sample.costs, axis=1)[np.arange(n), stop]
    rates = hazard_rates(MODEL)
    assert abs(paid.mean() - rates.tokens) < 6 * paid.std() / np.sqrt(n)
    kept = sample.accepted & (stop == 4)
    assert abs(kept.mean() - rates.utility_kept) < 6 * 0.5 / np.sqrt(n)
    assert abs(sample.accepted.mean() - rates.utility_full) < 6 * 0.5 / np.sqrt(n)
    assert sample.costs.shape == (n, 5)
    again = sample_hazard(MODEL, n, np.random.default_rng(1))
    np.testing.assert_array_equal(again.flags, sample.flags)


def test_counting_recovers_the_model() -> None:
    sample = sample_hazard(MODEL, 200_000, np.random.default_rng(2))
    fit = fit_hazard(sample.flags, sample.accepted, sample.fault_stage, stage_costs=MODEL.stage_costs, prompt_cost=50)
    for name in ("hazard", "detection", "false_alarm"):
        np.testing.assert_allclose(getattr(fit.model, name), getattr(MODEL, name), atol=0.015)
    np.testing.assert_allclose([fit.model.accept_clean, fit.model.accept_faulty], [0.8, 0.1], atol=0.01)


def test_em_climbs_and_recovers_tied_rates() -> None:
    sample = sample_hazard(TIED, 20_000, np.random.default_rng(3))
    fit = fit_hazard(sample.flags, sample.accepted, stage_costs=TIED.stage_costs, tied=True)
    for name in ("hazard", "detection", "false_alarm"):
        np.testing.assert_allclose(getattr(fit.model, name), getattr(TIED, name), atol=0.03)
    np.testing.assert_allclose([fit.model.accept_clean, fit.model.accept_faulty], [0.9, 0.2], atol=0.05)
    assert (np.diff(fit.log_likelihood) > -1e-3).all()  # the penalised likelihood climbs; the plain one almost
    labelled = fit_hazard(sample.flags, sample.accepted, sample.fault_stage, stage_costs=TIED.stage_costs, tied=True)
    assert hazard_rates(fit.model).saving_rate == pytest.approx(hazard_rates(labelled.model).saving_rate, abs=0.01)


def test_em_with_one_stage_and_few_attempts_stays_finite() -> None:
    fit = fit_hazard([[True], [False], [False]], [False, True, True], stage_costs=[1.0])
    assert 0 < fit.model.accept_clean < 1
    assert np.isfinite(fit.log_likelihood).all()


def test_em_that_rests_on_the_data_alone_stays_a_model() -> None:
    """Without pseudo counts all weight goes to one explanation, and what is left for others rounds to below zero."""
    flags, accepted = [[0, 1, 0], [1, 1, 0], [1, 1, 1]], [False, False, True]
    fit = fit_hazard(flags, accepted, stage_costs=[1.0] * 3, pseudo_count=0, tolerance=0)
    assert min(fit.model.false_alarm) == 0


def test_bad_models_and_data_are_refused_with_the_place() -> None:
    with pytest.raises(InputError, match=r"stage 2: hazard 1.5"):
        HazardModel((0.1, 1.5), (0.5, 0.5), (0.1, 0.1), 1, 0, (1, 1))
    with pytest.raises(InputError, match="stage 1: stage_costs -1"):
        HazardModel((0.1,), (0.5,), (0.1,), 1, 0, (-1,))
    with pytest.raises(InputError, match="accept_clean nan"):
        HazardModel((0.1,), (0.5,), (0.1,), float("nan"), 0, (1,))
    with pytest.raises(InputError, match=r"1 values of detection for 3 stages"):
        HazardModel((0.1, 0.1, 0.1), (0.5,), (0.1,), 1, 0, (1,))
    with pytest.raises(InputError, match="acceptance cannot be reached"):
        hazard_rates(HazardModel((0.5,), (0.5,), (0.1,), 0, 0, (1,)))
    with pytest.raises(InputError, match="keep_flagged, checkpoint 2: probability 2"):
        hazard_rates(MODEL, [0, 2, 0])
    with pytest.raises(InputError, match=r"flags of shape \(2, 3\)"):
        fit_hazard(np.zeros((2, 3)), [True, False], stage_costs=[1, 1])
    with pytest.raises(InputError, match="fault stages"):
        fit_hazard(np.zeros((1, 2)), [True], [7], stage_costs=[1, 1])


def process_of_beliefs() -> StageProcess:
    return hide(hazard_process(MODEL), hazard_flags(MODEL))


def test_roulette_optimum_against_another_optimiser() -> None:
    """log C + log S is convex in log q; scipy's L-BFGS-B from three starts finds the same least value."""
    process = process_of_beliefs()
    sizes = process.sizes[:-1]
    best = optimal_roulette(process)

    def objective(y: np.ndarray) -> float:
        q = np.split(np.exp(y), np.cumsum(sizes)[:-1])
        return float(np.log(roulette_moments(process, StagePolicy(tuple(q))).cost_per_effective))

    for start in (0.0, -0.3, -1.0):
        other = minimize(objective, np.full(sum(sizes), start), method="L-BFGS-B", bounds=[(-5, 0)] * sum(sizes))
        assert np.log(best.moments.cost_per_effective) <= other.fun + 1e-12
        assert np.log(best.moments.cost_per_effective) == pytest.approx(other.fun, abs=1e-6)


def test_roulette_never_loses_to_finishing_everything_and_respects_its_floor() -> None:
    process = process_of_beliefs()
    full = roulette_moments(process, never_discard(process))
    best, careful = optimal_roulette(process), optimal_roulette(process, floor=0.9)
    assert best.moments.cost_per_effective <= careful.moments.cost_per_effective <= full.cost_per_effective
    assert min(q.min() for q in careful.policy.continuing) >= 0.9
    assert full.effective == pytest.approx(full.weight)
    assert best.residual <= 1e-9


def test_audit_gives_every_discard_a_chance() -> None:
    process = process_of_beliefs()
    hard = solve(process).policy
    with pytest.raises(InputError, match=r"checkpoint 2, state 3: survival probability 0 though accepted"):
        roulette_moments(process, hard)
    moments = roulette_moments(process, audit(hard, 0.25))
    assert moments.weight == pytest.approx(roulette_moments(process, never_discard(process)).weight)
    with pytest.raises(InputError, match="audit probability 0"):
        audit(hard, 0.0)


def test_caps_trade_bias_for_variance() -> None:
    process = process_of_beliefs()
    policy = audit(solve(process).policy, 0.1)
    loose, tight = capped_moments(process, policy, 1e6), capped_moments(process, policy, 2)
    assert loose.bias == pytest.approx(0, abs=1e-12)
    assert loose.variance == pytest.approx(roulette_moments(process, policy).variance)
    assert tight.bias < 0
    assert tight.variance < loose.variance
    assert tight.mean_squared_error == pytest.approx(tight.bias**2 + tight.variance)
    with pytest.raises(InputError, match=r"cap 0.5"):
        capped_moments(process, policy, 0.5)


def test_roulette_by_hand() -> None:
    assert roulette_weight([0.5, 1, 0.25]) == 8
    assert kish([1, 1, 1, 1]) == 4
    assert kish([2, 0]) == 1
    assert kish([]) == 0
    goal = target_weight([4.0, 0.0, 1.0], [1.0, 1.0, 0.0], tokens=1.0, total_second_moment=1.0)
    np.testing.assert_allclose(goal, [2, 0, np.inf])
    np.testing.assert_allclose(survival_probability(1.0, goal), [0.5, 1, 0])
    with pytest.raises(InputError, match="checkpoint 1: survival probability 0"):
        roulette_weight([1, 0])


def test_quota_at_a_price() -> None:
    """At a price below the cost of a first sample one attempt is made, as stated, and no more after a
    failure."""
    poor = fill_quota(2, 4, prior=(1, 3), cost_accepted=10, cost_rejected=10, price=1.0)
    assert poor.give_up[1:, 0].all()
    rich = fill_quota(2, 4, prior=(1, 3), cost_accepted=10, cost_rejected=10, price=1e9)
    assert not rich.give_up.any()
    assert 0 < rich.filled < 1
    assert rich.accepted > poor.accepted
    for bad in ({"prior": (0, 1)}, {"price": -1.0}, {"cost_rejected": float("nan")}):
        with pytest.raises(InputError):
            fill_quota(1, 1, **{"prior": (1, 1), "cost_accepted": 1.0, "cost_rejected": 1.0, **bad})
