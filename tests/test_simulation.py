"""Simulation: replay, chain, hazard model and Monte Carlo agree with each other and with arithmetic."""

import time
import tracemalloc
from itertools import pairwise

import msgspec
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
from msifr_policy.rates import capped, rates
from msifr_sim import (
    Outcomes,
    agreement,
    empirical_chain,
    replay_policy,
    simulate_hazard,
    simulate_policy,
    simulate_process,
    summarise,
)
from msifr_sim.difficulty import by_difficulty


def outcomes(cost_full, cost_policy, accepted, discarded, prompt):
    n = len(accepted)
    stopped = np.asarray(discarded, dtype=bool)
    return Outcomes(
        unit="tokens",
        cost_full=np.asarray(cost_full, dtype=float),
        cost_policy=np.asarray(cost_policy, dtype=float),
        accepted=np.asarray(accepted, dtype=bool),
        discarded=stopped,
        prompt=np.asarray(prompt),
        stop_k=stopped.astype(np.int64),
        reached=np.ones(n, dtype=np.int64),
        reason=tuple("rule" if d else "" for d in stopped),
    )


def test_the_headline_numbers_are_those_of_the_definitions():
    drawn = outcomes([10, 10, 10, 10], [10, 4, 5, 10], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 2])
    s = summarise(drawn, length_cap=9.0, weigh="attempts")
    assert (s.n_attempts, s.n_prompts, s.n_accepted) == (4, 3, 2)
    assert s.saving_rate == pytest.approx(11 / 40)
    assert s.false_reject_rate == 0.5
    assert s.net_cost_factor == pytest.approx((1 - 11 / 40) / 0.5)  # [T2]
    assert s.net_cost_factor == pytest.approx((29 / 1) / (40 / 2))  # the same as costs per accepted
    assert s.length_cap_factor is None  # the cap loses every accepted sample
    assert s.accepted_cost_share == 0.5
    assert s.discards_by_reason == {"rule": 2}
    assert [(c.k, c.reached, c.discarded, c.false_rejects) for c in s.by_checkpoint] == [(1, 4, 2, 1)]


def test_rates_of_totals_have_names_and_any_shape():
    totals = np.array([[[40.0, 29, 2, 1], [40, 29, 2, 2]], [[0, 0, 2, 0], [40, 40, 0, 0]]])
    found = rates(totals)
    s, f, factor = found
    assert s is found.saving_rate
    np.testing.assert_allclose(f, [[0.5, 1], [0, np.nan]])
    np.testing.assert_allclose(factor, [[0.725 / 0.5, np.inf], [np.nan, np.inf]])
    assert rates([40, 29, 2, 1]).net_cost_factor == pytest.approx(1.45)


def test_a_plain_length_cap_stops_what_is_longer():
    cost, cut = capped(np.array([3.0, 5, 8]), 5.0)
    assert (cost.tolist(), cut.tolist()) == ([3, 5, 5], [False, False, True])
    cost, cut = capped(np.array([3.0, 5, 8]), None)
    assert (cost.tolist(), cut.any()) == ([3, 5, 8], False)


def test_undefined_rates_are_null_not_numbers():
    s = summarise(outcomes([1, 1], [1, 1], [0, 0], [0, 0], [0, 1]))
    assert (s.false_reject_rate, s.net_cost_factor, s.net_cost_factor_ci) == (None, None, None)
    with pytest.raises(InputError, match="no attempts"):
        summarise(outcomes([], [], [], [], []))


def test_intervals_take_prompts_as_the_unit():
    """Perfectly correlated attempts: ten of each prompt say no more than one."""
    rng = np.random.default_rng(0)
    accepted = rng.random(100) < 0.5
    stopped = rng.random(100) < 0.3
    cost = np.where(stopped, 0.5, 1)
    one = summarise(outcomes(np.ones(100), cost, accepted, stopped, np.arange(100)))
    tenfold = np.repeat(np.arange(100), 10)
    ten = summarise(outcomes(np.ones(1000), cost[tenfold], accepted[tenfold], stopped[tenfold], tenfold))
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
        stopped = rng.random(80) < 0.3
        low, high = summarise(
            outcomes(np.ones(80), np.where(stopped, 0.5, 1), rng.random(80) < 0.5, stopped, np.arange(80)), draws=400
        ).saving_rate_ci
        covered += low <= 0.15 <= high
    assert 262 <= covered <= 298


def test_the_accepted_cost_share_bounds_policies_that_lose_nothing_and_no_others():
    """Every discard-only policy on six attempts of known outcome, by enumeration: pay in full or nothing."""
    cost, accepted = np.array([1.0, 9, 4, 10, 2, 3]), np.array([1, 1, 0, 0, 1, 0], dtype=bool)
    share = summarise(outcomes(cost, cost, accepted, np.zeros(6), np.arange(6)), draws=2).accepted_cost_share
    assert share == pytest.approx(12 / 29)
    lossless, others = [], []
    for code in range(1, 2**6):
        kept = np.array([code >> i & 1 for i in range(6)], dtype=bool)
        found = summarise(outcomes(cost, cost * kept, accepted, ~kept, np.arange(6)), draws=2)
        if found.false_reject_rate < 1:
            (others if found.false_reject_rate else lossless).append(found.net_cost_factor)
    assert min(lossless) == pytest.approx(share)
    assert min(others) == pytest.approx((1 / 29) / (1 / 3))
    assert min(others) < share


@pytest.mark.parametrize("attempts_per_prompt", [1, 5])
def test_many_prompts_have_the_intervals_of_few_resampled_one_by_one(attempts_per_prompt):
    """The same 20,000 prompts resampled one by one and in 5,000 groups; widths agree within their own errors.

    A width is uncertain by 1/sqrt(2·5,000) = 1 % from the groups and by about 3 % from 2 x 2,000 draws: 15 % is more
    than four of them together. Resampling attempts in place of prompts would be off by sqrt(5).
    """
    rng = np.random.default_rng(3)
    prompt = np.repeat(np.arange(20_000), attempts_per_prompt)
    easy = (rng.random(20_000) < 0.5)[prompt]  # attempts of one prompt have one fate, but for the noise of their cost
    rare = (rng.random(20_000) < 0.002)[prompt]
    cost = 10 + 5 * rng.random(len(prompt))
    drawn = outcomes(cost, np.where(easy, cost, 0.5 * cost), easy | rare, ~easy, prompt)
    alone, grouped = summarise(drawn, max_units=20_000), summarise(drawn, max_units=5_000)
    for name in ("saving_rate", "false_reject_rate", "net_cost_factor"):
        estimate = getattr(alone, name)
        assert getattr(grouped, name) == pytest.approx(estimate, rel=1e-12)
        (low, high), (group_low, group_high) = (getattr(s, f"{name}_ci") for s in (alone, grouped))
        assert (group_high - estimate) / (high - estimate) == pytest.approx(1, abs=0.15)
        assert (estimate - group_low) / (estimate - low) == pytest.approx(1, abs=0.15)


def test_prompts_in_an_order_are_shuffled_into_groups():
    """Prompts sorted by what happens to them: in groups of neighbours the interval would be twice as wide."""
    stopped = np.arange(8_000) < 4_000
    drawn = outcomes(np.ones(8_000), np.where(stopped, 0.5, 1), np.ones(8_000), stopped, np.arange(8_000))
    low, high = summarise(drawn, max_units=2_000).saving_rate_ci
    assert high - low == pytest.approx(2 * 1.96 * 0.25 / np.sqrt(8_000), rel=0.1)


def test_a_million_attempts_take_about_as_long_as_drawing_them():
    """Before, resampling took 250 times as long as drawing; memory is that of the result, not of what was drawn."""
    model = HazardModel((0.1,) * 8, (0.5,) * 8, (0.02,) * 8, 0.9, 0.1, (10.0,) * 8, 5.0)
    start = time.perf_counter()
    drawn = simulate_hazard(model, 1_000_000, np.random.default_rng(0))
    middle = time.perf_counter()
    s = summarise(drawn)
    assert time.perf_counter() - middle < 30 * (middle - start)
    assert s.n_prompts == 1_000_000
    tracemalloc.start()
    summarise(simulate_hazard(model, 300_000, np.random.default_rng(0)), draws=50)
    peak = tracemalloc.get_traced_memory()[1]
    assert peak < 150 * 300_000 + 2**27  # bytes per attempt, and a chunk of draws
    tracemalloc.reset_peak()
    long = HazardModel((0.001,) * 1000, (0.5,) * 1000, (0.0,) * 1000, 0.9, 0.1, (1.0,) * 1000)
    simulate_hazard(long, 20_000, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**28  # all of 20,000 x 1,000 uniform numbers at once are 160 MB, and several arrays of them


def test_draws_do_not_depend_on_how_many_follow():
    model = HazardModel((0.1,) * 3, (0.5,) * 3, (0.02,) * 3, 0.9, 0.1, (10.0,) * 3, 5.0)
    few, many = (simulate_hazard(model, n, np.random.default_rng(4)) for n in (2**16, 2**16 + 5))
    np.testing.assert_array_equal(few.cost_policy, many.cost_policy[: 2**16])
    assert few.reason == many.reason[: 2**16]
    assert len(many.accepted) == 2**16 + 5
    again = simulate_hazard(model, 2**16 + 5, np.random.default_rng(4))
    np.testing.assert_array_equal(again.stop_k, many.stop_k)


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
    process = StageProcess((np.ones((1, 1)),), (np.ones(1),), np.ones(1), np.ones(1))
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
    process, stage_policy = empirical_chain(table, policy.worth(table)[1], policy.thresholds)
    exact = evaluate(process, stage_policy)
    replayed = summarise(replay_policy(policy, table), draws=2)
    assert replayed.saving_rate > 0.2
    assert exact.saving_rate == pytest.approx(replayed.saving_rate, abs=0.02)
    assert exact.tokens_full == pytest.approx(table.cost.mean())  # nothing is lost in the compilation
    assert exact.utility_full == pytest.approx(table.accepted.mean())
    agreed, drawn = simulate_policy(policy, table, 20_000, np.random.default_rng(6))
    assert agreed.saving_rate == pytest.approx(exact.saving_rate)
    assert agreed.standard_errors < 5
    assert drawn.unit == table.costing.unit


def test_the_chain_of_one_range_and_no_policy_is_exact():
    table = make_table(50, seed=2)
    M = np.full(len(table.k), 0.5)
    process, policy = empirical_chain(table, M, np.zeros(0), n_ranges=1)
    result = evaluate(process, policy)
    assert result.tokens == pytest.approx(table.cost.mean())
    assert result.utility_kept == pytest.approx(table.accepted.mean())
    with pytest.raises(InputError, match="make no model"):
        empirical_chain(table.take(np.flatnonzero(~table.accepted)), M, M)


def test_losses_are_told_of_hard_prompts_and_of_easy_ones():
    """Half of the prompts are hard: 2 of 8 attempts are accepted there, 6 of 8 elsewhere; only hard ones lose any."""
    prompt = np.repeat(np.arange(200), 8)
    accepted = np.arange(8) < np.where(np.arange(200) < 100, 2, 6)[:, None]
    lost = accepted & (np.arange(200) < 40)[:, None]
    groups = by_difficulty(accepted.ravel(), lost.ravel(), prompt, np.ones(1600), None, 0.95)
    assert [(g.name, g.low, g.high, g.n_accepted, g.false_rejects) for g in groups] == [
        ("hard", 0.25, 0.25, 200, 80),
        ("middle", 0.75, 0.75, 600, 0),
    ]  # equal prompts stay together
    assert [group.range_in_words for group in groups] == ["25%", "75%"]
    assert msgspec.structs.replace(groups[0], high=0.5).range_in_words == "25% to 50%"
    accepted = np.arange(8) < np.repeat([2, 4, 6], [90, 60, 30])[:, None]  # 180 samples, 240, 180
    lost = accepted & (np.arange(180) < 40)[:, None]
    prompt = np.repeat(np.arange(180), 8)
    groups = by_difficulty(accepted.ravel(), lost.ravel(), prompt, np.ones(1440), None, 0.95)
    assert [(g.name, g.low, g.n_accepted, g.false_rejects) for g in groups] == [
        ("hard", 0.25, 180, 80),
        ("middle", 0.5, 240, 0),
        ("easy", 0.75, 180, 0),
    ]
    # Where prompts have one attempt, the policy's own belief before the first token says what is hard.
    one = np.arange(600)
    prospect = np.repeat([0.2, 0.5, 0.8], 200)
    groups = by_difficulty(one % 2 == 0, one < 100, one, np.ones(600), prospect, 0.95)
    assert [(g.name, g.low, g.high, g.false_reject_rate) for g in groups] == [
        ("hard", 0.2, 0.2, 0.5),
        ("middle", 0.5, 0.5, 0.0),
        ("easy", 0.8, 0.8, 0.0),
    ]
    assert by_difficulty(one % 2 == 0, one < 100, one, np.ones(600), None, 0.95) == []
