"""Simulation: replay, chain, hazard model and Monte Carlo agree with each other and with arithmetic."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from makers import make_table
from msifr_calibration import fit_policy
from msifr_policy.errors import InputError
from msifr_policy.exact.evaluation import StagePolicy, evaluate, never_discard
from msifr_policy.exact.hazard import HazardModel, hazard_rates
from msifr_policy.exact.process import StageProcess
from msifr_sim import (
    Outcomes,
    agreement,
    empirical_chain,
    replay_policy,
    simulate_hazard,
    simulate_process,
    summarise,
)


def outcomes(cost_full, cost_policy, accepted, discarded, prompt):
    n = len(accepted)
    gone = np.asarray(discarded, dtype=bool)
    return Outcomes(
        unit="tokens",
        cost_full=np.asarray(cost_full, dtype=float),
        cost_policy=np.asarray(cost_policy, dtype=float),
        accepted=np.asarray(accepted, dtype=bool),
        discarded=gone,
        prompt=np.asarray(prompt),
        stop_k=gone.astype(np.int64),
        reached=np.ones(n, dtype=np.int64),
        reason=tuple("rule" if d else "" for d in gone),
    )


def test_the_headline_numbers_are_those_of_the_definitions():
    s = summarise(outcomes([10, 10, 10, 10], [10, 4, 5, 10], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 2]), length_cap=9.0)
    assert (s.n_attempts, s.n_prompts, s.n_accepted) == (4, 3, 2)
    assert s.saving_rate == pytest.approx(11 / 40)
    assert s.false_reject_rate == 0.5
    assert s.net_cost_factor == pytest.approx((1 - 11 / 40) / 0.5)  # [T2]
    assert s.net_cost_factor == pytest.approx((29 / 1) / (40 / 2))  # the same as costs per accepted
    assert s.length_cap_factor is None  # the cap loses every accepted sample
    assert s.oracle_factor == 0.5
    assert s.discards_by_reason == {"rule": 2}
    assert [(c.k, c.reached, c.discarded, c.false_rejects) for c in s.by_checkpoint] == [(1, 4, 2, 1)]


def test_undefined_rates_are_null_not_numbers():
    s = summarise(outcomes([1, 1], [1, 1], [0, 0], [0, 0], [0, 1]))
    assert (s.false_reject_rate, s.net_cost_factor, s.net_cost_factor_ci) == (None, None, None)
    with pytest.raises(InputError, match="no attempts"):
        summarise(outcomes([], [], [], [], []))


def test_intervals_take_prompts_as_the_unit():
    """Perfectly correlated attempts: ten of each prompt say no more than one."""
    rng = np.random.default_rng(0)
    accepted = rng.random(100) < 0.5
    gone = rng.random(100) < 0.3
    one = summarise(outcomes(np.ones(100), np.where(gone, 0.5, 1), accepted, gone, np.arange(100)))
    tenfold = np.repeat(np.arange(100), 10)
    ten = summarise(outcomes(np.ones(1000), np.where(gone, 0.5, 1)[tenfold], accepted[tenfold], gone[tenfold], tenfold))
    assert ten.saving_rate == pytest.approx(one.saving_rate)
    assert ten.saving_rate_ci == pytest.approx(one.saving_rate_ci, abs=0.01)
    assert ten.false_reject_rate_ci == pytest.approx(one.false_reject_rate_ci, abs=0.03)


def test_bootstrap_intervals_cover_as_often_as_they_say():
    """300 data sets of 80 prompts; percentile intervals at this size cover s = 0.15 in 93 to 95 %.

    Then fewer than 262 or more than 298 of 300 have probability < 2e-4; 80 % coverage is missed with < 0.2 %.
    """
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        gone = rng.random(80) < 0.3
        low, high = summarise(
            outcomes(np.ones(80), np.where(gone, 0.5, 1), rng.random(80) < 0.5, gone, np.arange(80)), draws=400
        ).saving_rate_ci
        covered += low <= 0.15 <= high
    assert 262 <= covered <= 298


@st.composite
def processes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=6))
    transitions = []
    for a, b in pairwise(sizes):
        P = rng.random((a, b)) * (rng.random((a, b)) < 0.8) + 1e-3
        transitions.append(P / P.sum(axis=1, keepdims=True))
    if draw(st.booleans()):
        transitions = [sp.csr_array(P) for P in transitions]
    process = StageProcess(
        tuple(transitions),
        tuple(rng.random(n) * 20 for n in sizes[:-1]),
        utility=rng.random(sizes[-1]),
        initial=np.full(sizes[0], 1 / sizes[0]),
        prompt_cost=3.0,
    )
    return process, StagePolicy(tuple(rng.random(n) for n in sizes[:-1]))


@settings(max_examples=30)
@given(processes())
def test_monte_carlo_agrees_with_the_exact_evaluation(case):
    """Within 5 standard errors: a false alarm has probability < 1e-6 per example; an error of 2 % of s is 5 of them."""
    process, policy = case
    drawn = simulate_process(process, policy, 20_000, np.random.default_rng(5))
    assert agreement(evaluate(process, policy), drawn).standard_errors < 5


def test_the_agreement_test_can_fail():
    P = np.asarray([[0.9, 0.1], [0.0, 1.0]])
    process = StageProcess((P, P), (np.ones(2), np.ones(2)), np.asarray([1.0, 0.0]), np.asarray([1.0, 0.0]))
    policy = StagePolicy((np.ones(2), np.asarray([1.0, 0.0])))
    drawn = simulate_process(process, policy, 40_000, np.random.default_rng(5))
    assert agreement(evaluate(process, policy), drawn).standard_errors < 5
    assert agreement(evaluate(process, never_discard(process)), drawn).standard_errors > 50


def test_monte_carlo_refuses_what_it_cannot_do():
    process = StageProcess((np.ones((1, 1)),), (np.ones(1),), np.ones(1) * 2, np.ones(1))
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="no probability"):
        simulate_process(process, never_discard(process), 5, rng)
    with pytest.raises(InputError, match="at least 1"):
        simulate_process(process, never_discard(process), 0, rng)


@pytest.mark.parametrize("K", [1, 2, 7])
def test_the_hazard_model_agrees_with_its_monte_carlo(K):
    model = HazardModel((0.15,) * K, (0.5,) * K, (0.02,) * K, 0.9, 0.1, (10.0,) * K, 5.0)
    drawn = simulate_hazard(model, 50_000, np.random.default_rng(2))
    exact = hazard_rates(model)
    assert agreement(exact, drawn).standard_errors < 5
    s = summarise(drawn, draws=2)
    se = np.sqrt(0.25 / s.n_accepted)
    assert s.false_reject_rate == pytest.approx(exact.false_reject_rate, abs=5 * se)


def test_the_chain_predicts_what_replay_finds():
    """The chain is an approximation; on data with a simple structure its saving is within 2 points of replay."""
    fit = fit_policy(make_table(500, seed=1), seed=1)
    policy = fit.file.policy()
    table = fit.certifying
    process, stage_policy = empirical_chain(table, policy.beliefs(table)[1], policy.threshold(table.k))
    exact = evaluate(process, stage_policy)
    replayed = summarise(replay_policy(policy, table), draws=2)
    assert replayed.saving_rate > 0.2
    assert exact.saving_rate == pytest.approx(replayed.saving_rate, abs=0.02)
    assert exact.tokens_full == pytest.approx(table.cost.mean())  # nothing is lost in the compilation
    assert exact.utility_full == pytest.approx(table.accepted.mean())


def test_the_chain_of_one_range_and_no_policy_is_exact():
    table = make_table(50, seed=2)
    M = np.full(len(table.k), 0.5)
    process, policy = empirical_chain(table, M, np.zeros(len(M)), n_ranges=1)
    result = evaluate(process, policy)
    assert result.tokens == pytest.approx(table.cost.mean())
    assert result.utility_kept == pytest.approx(table.accepted.mean())
    with pytest.raises(InputError, match="make no model"):
        empirical_chain(table.take(np.flatnonzero(~table.accepted)), M, M)
