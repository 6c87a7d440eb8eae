"""Fitting and certifying: each statistical promise by simulation with both its error rates stated."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from makers import held_out, make_table
from msifr_calibration import Family, FitOptions, best_length_cap, fit_policy, split_by_prompt
from msifr_calibration.beliefs.fitted import log_loss
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.betting import (
    Expected,
    betting_log_wealth,
    betting_p_value,
    binomial_p_value,
    binomial_upper,
    prompt_scores,
)
from msifr_calibration.certificate import certificate_of, certify_in_order
from msifr_calibration.certify import certify
from msifr_calibration.choose import choose_way
from msifr_calibration.held_out import HeldOut, one_each
from msifr_calibration.learn import fit_candidates
from msifr_calibration.nested import NEVER, nested
from msifr_calibration.path import fit_path, good_samples_lost, thresholds_at_price
from msifr_calibration.sample_size import critical_number
from msifr_calibration.several_paths import n_certified
from msifr_calibration.split import folds
from msifr_calibration.to_certify import prompts_to_certify
from msifr_policy.errors import InputError
from msifr_sim import replay_policy, summarise

ALPHA, DELTA = 0.1, 0.1
REPEATS = 1000
# At most DELTA of the runs may break the promise; a correct test breaks this bound with probability < 1e-6.
ALLOWED = int(binom.isf(1e-6, REPEATS, DELTA))
HOPED_FOR = Expected(-0.04, 0.005)
"""What is bet on at first: far from the truth of f = α, as after fitting on other prompts it may be."""


def simulated_prompts(rng, f, n_prompts=150, attempts=4, spread=0.0):
    """accepted, discarded `[P, m]`: each prompt's false-reject rate is drawn with mean f; 1 is perfectly correlated."""
    rate = np.where(rng.random((n_prompts, 1)) < f, 1.0, 0.0) if spread else np.full((n_prompts, 1), f)
    accepted = rng.random((n_prompts, attempts)) < 0.5
    if spread:
        accepted[:] = accepted[:, :1]
    return accepted, rng.random((n_prompts, attempts)) < rate


@pytest.mark.parametrize("spread", [0.0, 1.0], ids=["independent attempts", "perfectly correlated attempts"])
def test_betting_certifies_a_false_claim_no_more_often_than_delta(spread):
    rng = np.random.default_rng(1)
    prompt = np.repeat(np.arange(150), 4)
    broken = 0
    for _ in range(REPEATS):
        accepted, discarded = simulated_prompts(rng, ALPHA, spread=spread)
        Z = prompt_scores(prompt, accepted.ravel(), discarded.ravel(), ALPHA)
        broken += betting_p_value(Z, ALPHA, HOPED_FOR) <= DELTA
    assert broken <= ALLOWED


def test_the_validity_test_can_fail():
    """Treating the attempts of a prompt as independent, the mistake the prompt unit prevents, is caught by it."""
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(REPEATS):
        accepted, discarded = simulated_prompts(rng, ALPHA, spread=1.0)
        losses, n = int((accepted & discarded).sum()), int(accepted.sum())
        broken += binomial_p_value(losses, n, ALPHA) <= DELTA
    assert broken > ALLOWED


def test_betting_has_power():
    rng = np.random.default_rng(2)
    prompt = np.repeat(np.arange(150), 4)
    found = 0
    for _ in range(200):
        accepted, discarded = simulated_prompts(rng, 0.02)
        Z = prompt_scores(prompt, accepted.ravel(), discarded.ravel(), ALPHA)
        found += betting_p_value(Z, ALPHA, HOPED_FOR) <= DELTA
    assert found >= 190  # the true power is about 1; fewer than 190 of 200 has probability < 1e-6 at power 0.99


@given(st.floats(-0.09, 0.5), st.floats(0.001, 0.5))
def test_the_wealth_of_bets_has_mean_at_most_one_at_the_boundary(mean, square):
    """Exactly: over all outcomes of four prompts with P(Z = 1 − α) = α, P(Z = −α) = 1 − α, whatever is expected."""
    total = 0.0
    for outcome in np.ndindex(2, 2, 2, 2):
        Z = np.where(np.asarray(outcome) == 1, 1 - ALPHA, -ALPHA)
        probability = np.prod(np.where(np.asarray(outcome) == 1, ALPHA, 1 - ALPHA))
        total += probability * math.exp(betting_log_wealth(Z, ALPHA, Expected(mean, square))[-1])
    assert total == pytest.approx(1.0, abs=1e-12)


def test_bets_look_at_no_later_prompt():
    """Predictable: the wealth after the first prompts does not depend on what comes then."""
    rng = np.random.default_rng(3)
    Z = rng.choice([-ALPHA, 0.0, 1 - ALPHA], 40, p=[0.5, 0.45, 0.05])
    other = np.concatenate([Z[:25], rng.choice([-ALPHA, 1 - ALPHA], 15)])
    one, two = (betting_log_wealth(each, ALPHA, HOPED_FOR) for each in (Z, other))
    assert one[:25] == pytest.approx(two[:25], abs=1e-12)
    assert np.all(np.isfinite(betting_log_wealth(np.full(500, 1 - ALPHA), ALPHA, HOPED_FOR)))


def test_binomial_numbers_agree_with_the_textbook():
    assert critical_number(0, 0.05, 0.9) == 45  # 0.95^45 = 0.0994, 0.95^44 = 0.1047
    assert critical_number(0, 0.05, 0.95) == 59  # the "rule of 59" of tolerance limits (Wilks 1941)
    assert binomial_p_value(0, 45, 0.05) == pytest.approx(0.95**45)
    # Clopper-Pearson for 0 of n: 1 − δ^(1/n); for 3 of 20 at 95 % one-sided, 0.3437 (Hahn & Meeker, table).
    assert binomial_upper(0, 45, 0.9) == pytest.approx(1 - 0.1 ** (1 / 45))
    assert binomial_upper(3, 20, 0.95) == pytest.approx(0.3437, abs=1e-4)
    assert binomial_upper(4, 4, 0.9) == 1.0
    assert binomial_p_value(0, 0, 0.05) == 1.0
    assert binomial_p_value(1, 46, 0.05, 0.25) == pytest.approx(0.95**46 + 0.25 * 46 * 0.05 * 0.95**45)


def test_the_randomised_test_errs_exactly_as_often_as_allowed():
    """At f = α the p-value is uniform: P(p ≤ δ) = δ, by summing over all outcomes; the exact test gives less."""
    for n in (46, 60, 100):
        weights = binom.pmf(np.arange(n + 1), n, 0.05)
        U = (np.arange(2000) + 0.5) / 2000
        below = [np.mean([binomial_p_value(lost, n, 0.05, u) <= DELTA for u in U]) for lost in range(8)]
        assert weights[:8] @ below == pytest.approx(DELTA, abs=5e-4)
        assert sum(w for lost, w in enumerate(weights) if binomial_p_value(lost, n, 0.05) <= DELTA) < DELTA


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, math.nan])
def test_impossible_budgets_are_refused(alpha):
    with pytest.raises(InputError, match="budget"):
        binomial_p_value(1, 2, alpha)
    with pytest.raises(InputError, match="scores must lie"):
        betting_log_wealth(np.asarray([0.99]), 0.5, HOPED_FOR)


def test_fixed_sequence_testing_keeps_its_promise_on_a_path_that_is_not_monotone():
    """Ten policies, all with f = α exactly or above, in no order: any certificate is a broken promise."""
    rng = np.random.default_rng(3)
    table = make_table(500, accept=0.5, loop=0.0)
    of_table = HeldOut.of([table], "k")
    broken = 0
    for _ in range(REPEATS):
        f = ALPHA + 0.1 * rng.random(10) * (rng.random(10) < 0.5)
        discarded = (rng.random(table.n_attempts) < rate for rate in f)
        tested = certify_in_order([discarded], of_table, max_false_reject=ALPHA, confidence=1 - DELTA)
        broken += tested.paths[0].n_certified > 0
    assert broken <= ALLOWED


def test_several_paths_keep_their_promise_together_and_pass_on_what_is_left():
    """Three paths whose policies all have f = α: any certificate of any is a broken promise. Bonferroni errs as often
    where nothing passes on; here the first path is certified to its end, and the others get its share."""
    rng = np.random.default_rng(4)
    of_table = HeldOut.of([make_table(500, accept=0.5, loop=0.0)], "k")
    n = len(of_table.accepted)
    broken = passed = 0
    for _ in range(REPEATS):
        paths = [[np.zeros(n, bool)], *([rng.random(n) < ALPHA for _ in range(3)] for _ in range(2))]
        tested = certify_in_order(
            paths, of_table, max_false_reject=ALPHA, confidence=1 - DELTA, weights=(0.5, 0.25, 0.25)
        )
        passed += tested.paths[0].n_certified
        broken += any(path.n_certified for path in tested.paths[1:])
    assert passed == REPEATS  # nothing is lost there
    assert broken <= ALLOWED
    # The shares did pass on: with a quarter of δ each, the true level of two would be half of what is seen.
    assert broken >= REPEATS * DELTA / 3


@pytest.mark.parametrize(
    ("weights", "last", "expected"),
    [
        ((1.0, 0.0), 0.03, [3, 3]),
        ((0.0, 1.0), 0.2, [0, 2]),
        ((0.5, 0.5), 0.2, [0, 2]),
        ((0.5, 0.5), 0.03, [3, 3]),
    ],
)
def test_the_level_of_a_path_that_ended_passes_to_the_other(weights, last, expected):
    """By hand: δ = 0.1; the first path has p = 0.08 thrice, the second 0.01, 0.02, and then one that fails or not."""
    p = [[0.08, 0.08, 0.08], [0.01, 0.02, last]]
    assert n_certified(lambda path, step: p[path][step] if step < 3 else None, weights, 0.1) == expected


def test_wrong_shares_are_refused():
    for weights in ((0.5, 0.6), (-0.1, 1.1), ()):
        with pytest.raises(InputError, match="no shares"):
            n_certified(lambda *_: None, weights, 0.1)


@pytest.mark.parametrize("weigh", ["prompts", "attempts"])
@pytest.mark.parametrize("test", ["exact binomial", "betting by prompt"])
def test_unequal_attempts_are_weighed_as_it_says(weigh, test):
    """Prompts with 1 and with 9 attempts lose at different rates, so that f = α for what weighs equally, not otherwise.

    At that f no more than δ of the calibrations are wrong; read the other way f is far above α or far below.
    """
    rng = np.random.default_rng(7)
    sizes = np.asarray([1] * 150 + [9] * 150)
    prompt = np.repeat(np.arange(300), sizes)
    # Of prompts f = (f₁ + f₉)/2, of attempts (f₁ + 9·f₉)/10.
    rates = {"prompts": (0.02, 0.18), "attempts": (0.55, 0.05)}[weigh]
    of_attempt = np.where(sizes == 1, *rates)[prompt]
    assert (np.mean(rates) if weigh == "prompts" else (rates[0] + 9 * rates[1]) / 10) == pytest.approx(ALPHA)
    broken = 0
    for repeat in range(REPEATS // 2):
        of = held_out(prompt, rng.random(len(prompt)) < 0.6, f"{repeat}", weigh)
        discarded = rng.random(len(prompt)) < of_attempt
        broken += of.p_value(discarded, test, ALPHA, [HOPED_FOR]) <= DELTA
    assert broken <= int(binom.isf(1e-6, REPEATS // 2, DELTA))


def test_every_group_is_certified_or_none():
    """Pooled, the rate is far below α; one group's is α: a certificate of every group is wrong at most δ of times."""
    rng = np.random.default_rng(8)
    prompt = np.arange(600)
    group = np.where(prompt % 2, "hard", "easy")
    broken = pooled = 0
    for repeat in range(REPEATS // 2):
        accepted = rng.random(600) < 0.5
        discarded = rng.random(600) < np.where(group == "hard", ALPHA, 0.0)
        of = held_out(prompt, accepted, f"{repeat}", group=group)
        broken += of.p_value(discarded, "exact binomial", ALPHA) <= DELTA
        pooled += held_out(prompt, accepted, f"{repeat}").p_value(discarded, "exact binomial", ALPHA) <= DELTA
    assert broken <= int(binom.isf(1e-6, REPEATS // 2, DELTA))
    assert pooled > REPEATS / 4  # so the pooled certificate says nothing of the group


def test_one_attempt_of_a_prompt_is_drawn_whatever_the_order_and_the_company():
    """Group bounds once counted the first accepted attempt: where files list the best first, they missed."""
    table = make_table(50, attempts=4)
    drawn = {table.attempt_ids[i] for i in one_each(table.prompt, table.attempt_ids, "k")}
    assert len({i.split("/")[0] for i in drawn}) == len(drawn) == 50
    turned = table.take(np.arange(200)[::-1])
    assert {turned.attempt_ids[i] for i in one_each(turned.prompt, turned.attempt_ids, "k")} == drawn
    half = table.where(np.asarray([int(i[1:]) < 25 for i in table.prompt_ids]))
    assert {half.attempt_ids[i] for i in one_each(half.prompt, half.attempt_ids, "k")} == {
        i for i in drawn if int(i[1:].split("/")[0]) < 25
    }
    places = [int(i.split("/")[1]) for i in drawn]
    assert np.bincount(places, minlength=4).min() >= 3  # each of four places: fewer has probability < 1e-3


def test_a_split_hangs_on_the_data_and_on_no_seed():
    table = make_table(200, seed=3)
    fits = [fit_policy(table, seed=seed) for seed in (0, 5)]
    assert fits[0].file.certified_on == fits[1].file.certified_on
    assert fits[0].file.certificate.n_accepted == fits[1].file.certificate.n_accepted


@pytest.mark.parametrize(("accepted", "half", "most"), [(40, 0, 0), (60, 45, 45), (100, 45, 77), (300, 158, 234)])
def test_a_number_of_accepted_samples_that_counts_is_held_out(accepted, half, most):
    """45, 77, 105, 132, 158 … of independent accepted samples certify with 0, 1, 2, 3, 4 … losses."""
    table = replace(make_table(400, seed=1), accepted=np.arange(400) < accepted)
    for share, expected in ((0.5, half), (0.8, most)):
        held = prompts_to_certify(table, "k", FitOptions(), share)
        assert table.accepted[held[table.prompt]].sum() == expected or (expected == 0 and held.sum() == 200)


@pytest.mark.parametrize("rows", [1, 30, 10**6])
def test_all_policies_of_a_path_are_replayed_at_once(rows, monkeypatch):
    """First policy that discards, costs and losses of every policy, against the replay of each one."""
    monkeypatch.setattr("msifr_calibration.nested._ROWS", rows)
    table = make_table(150, attempts=2, seed=2)
    rng = np.random.default_rng(0)
    worth, M = rng.random(len(table.k)).round(2), rng.random(len(table.k))  # some equal to a threshold
    thresholds = np.sort(rng.random((7, table.n_checkpoints // 2)) * 0.3, axis=0).round(2)
    found = nested(table, M, worth, thresholds)
    for j, each in enumerate(thresholds):
        stop = table.stops(worth, each)
        assert np.array_equal(found.first <= j, stop >= 0)
        assert found.spent[j] == pytest.approx(table.cost_until(stop).sum())
        assert found.lost[j] == (table.accepted & (stop >= 0)).sum()
        assert found.expected[j] == pytest.approx(M[stop[stop >= 0]].sum())
    assert nested(table, M, worth, thresholds[:0]).first.min() == NEVER
    assert nested(table.take(np.arange(0)), M[:0], worth[:0], thresholds).spent.tolist() == [0.0] * 7
    assert not nested(table, M, worth, np.zeros((3, 1))).lost.any()


def test_policies_before_the_first_failure_are_certified():
    table = make_table(300, accept=0.6)
    good = np.flatnonzero(table.accepted)
    none, bad_only, all_good = (np.zeros(300, dtype=bool) for _ in range(3))
    bad_only[:] = ~table.accepted
    all_good[good] = True
    of_table = HeldOut.of([table], "k")
    tested = certify_in_order([[none, bad_only, all_good, none]], of_table, max_false_reject=0.05, confidence=0.9)
    assert (tested.paths[0].n_certified, tested.paths[0].losses) == (2, (0, 0, len(good)))
    certificate = certificate_of(tested, table, (0, 1), bad_only)
    assert (certificate.method, certificate.bias_bound, certificate.false_rejects) == ("exact binomial", 0.05, 0)
    assert set(certificate.groups) == {"even", "odd"}
    assert sum(g.n_accepted for g in certificate.groups.values()) == len(good)
    with pytest.raises(InputError, match="not among the 2 certified"):
        certificate_of(tested, table, (0, 2), all_good)
    failed = certify_in_order([[all_good]], of_table, max_false_reject=0.05, confidence=0.9)
    assert "nothing could be certified" in certificate_of(failed, table, None, none).message


def test_too_few_accepted_samples_say_how_many_are_needed():
    fit = fit_policy(make_table(60, accept=0.5), max_false_reject=0.01, confidence=0.99)
    certificate = fit.file.certificate
    assert not certificate.certified
    assert fit.file.never_discards
    assert "at least 459 are needed" in certificate.message
    assert certificate.accepted_needed == 459


def test_certified_policies_break_their_promise_no_more_often_than_delta():
    """The whole of fit_policy: the false-reject rate on a very large fresh sample against α, 40 fits.

    A promise broken with probability 0.1 gives more than 14 of 40 with probability < 1e-5.
    """
    fresh = make_table(3000, seed=10**6, slip=0.5)
    broken = certified = 0
    for seed in range(40):
        fit = fit_policy(make_table(160, seed=seed, slip=0.5), max_false_reject=0.08, seed=seed)
        summary = summarise(replay_policy(fit.file.policy(), fresh), draws=2)
        certified += fit.file.certificate.certified
        broken += summary.false_reject_rate > 0.08
    assert broken <= 14
    assert certified >= 14  # and it does certify: a method that never does would pass the line above


@pytest.mark.parametrize(("alike", "test"), [(True, "exact binomial"), (False, "betting by prompt")])
def test_how_alike_attempts_are_decides_the_test(alike, test):
    """Twelve attempts at each of 200 prompts: where one tells all, one is counted; where each tells more, all are."""
    rng = np.random.default_rng(0)
    prompt = np.repeat(np.arange(200), 12)
    fate, lost = ((rng.random(200) < rate)[prompt] if alike else rng.random(2400) < rate for rate in (0.8, 0.025))
    of = held_out(prompt, fate)
    first = np.where(lost, 0, NEVER)
    way = choose_way(of, [first], [np.asarray([0.3])], of, max_false_reject=0.05, confidence=0.9, key="k")
    assert way.test == test


def test_a_fitted_policy_saves_and_its_promise_holds_where_evidence_is_good():
    fit = fit_policy(make_table(400, attempts=2, seed=4), seed=4)
    assert fit.file.certificate.certified
    summary = summarise(replay_policy(fit.file.policy(), make_table(400, attempts=2, seed=5)))
    assert summary.net_cost_factor_ci[1] < 0.75
    assert summary.false_reject_rate < 0.05


def test_evidence_that_knows_nothing_never_costs_much():
    """With outcomes shuffled among prompts there is nothing to learn; the policy must not pretend otherwise."""
    factors = []
    for seed in range(10):
        tables = []
        for part in (seed, seed + 100):
            table = make_table(300, seed=part)
            shuffled = np.random.default_rng(part).permutation(table.accepted)
            tables.append(replace(table, accepted=shuffled))
        fit = fit_policy(tables[0], seed=seed)
        factors.append(summarise(replay_policy(fit.file.policy(), tables[1]), draws=2).net_cost_factor)
    assert np.mean(factors) < 1.02
    assert max(factors) < 1.08


def test_the_path_goes_from_conservative_to_aggressive_and_ends_at_the_least_cost():
    """Prices fall, policies spend less and discard more; the last has the least cost per accepted."""
    table = make_table(300, seed=6)
    M = fit_linear_beliefs(table).M
    path = fit_path(table, M, M)
    lost, spent = [], []
    for thresholds in path.thresholds:
        stop = table.stops(M, thresholds)
        discarded = stop >= 0
        lost.append((table.accepted[discarded].sum() + M[stop[discarded]].sum()) / 2)
        assert good_samples_lost(table, M, stop).sum() == pytest.approx(lost[-1])
        spent.append(table.spent[np.where(discarded, stop, table.end)].sum())
    assert path.losses == pytest.approx(np.asarray(lost) / table.n_accepted)
    assert np.all(np.diff(path.prices) < 0)
    assert np.all(np.diff(path.thresholds, axis=0) >= 0)
    assert np.all(np.diff(spent) <= 0)
    # What each policy discards, the next one does too: good samples lost never become fewer.
    discarded = [table.stops(M, thresholds) >= 0 for thresholds in path.thresholds]
    assert all((later | ~earlier).all() for earlier, later in pairwise(discarded))
    rho = np.asarray(spent) / (table.n_accepted - np.asarray(lost))
    assert rho[-1] == pytest.approx(rho.min()) == pytest.approx(path.rho_best)
    assert path.rho_best < 0.9 * path.rho_full
    cap = best_length_cap([table], 1.0)
    assert path.rho_best <= cap.net_cost_factor * path.rho_full * 1.05  # caps at checkpoints are on the menu


def test_where_no_policy_is_cheaper_the_path_is_empty():
    """Every attempt is sure to be accepted but for one that looks like the others."""
    table = make_table(60, accept=1.0, seed=1)
    table = replace(table, accepted=np.arange(table.n_attempts) > 0)
    M = np.full(len(table.k), 0.98)
    path = fit_path(table, M, np.full(len(table.k), 0.9))
    assert len(path.thresholds) == len(path.prices) == len(path.losses) == 0
    assert path.rho_best == path.rho_full


def test_paths_of_two_families_have_the_same_relative_prices():
    """So that a pool in step is at one price: scaling every cost changes no policy."""
    table = make_table(300, seed=6)
    M = fit_linear_beliefs(table).M
    one, ten = (fit_path(replace(table, spent=scale * table.spent), M, M) for scale in (1.0, 10.0))
    assert one.thresholds == pytest.approx(ten.thresholds)
    assert 10 * one.prices == pytest.approx(ten.prices)


def test_thresholds_find_the_exact_optimum_of_a_known_process():
    """Two-valued M, constant costs: discarding the bad half is worth it exactly when Λ·M < the cost to go."""
    rng = np.random.default_rng(7)
    table = make_table(2000, accept=0.5, loop=0.0, slip=0.0)
    good_prospect = rng.random(table.n_attempts) < 0.5
    M_attempt = np.where(good_prospect, 0.8, 0.1)
    accepted = rng.random(table.n_attempts) < M_attempt
    table = replace(table, accepted=accepted)
    M = M_attempt[table.attempt]
    remaining = (table.cost[table.attempt] - table.spent)[table.k == 1].mean()
    for price, discards in [(remaining / 0.1 * 1.5, False), (remaining / 0.1 * 0.6, True)]:
        threshold = thresholds_at_price(table, M, M, price)[0]
        assert (threshold > 0.1) == discards
        assert threshold <= 0.8


def test_posterior_is_cross_fitted_by_prompt():
    """Outcomes that are a function of the prompt cannot be learned from other prompts."""
    table = make_table(200, attempts=4, loop=0.0, slip=0.2)
    fitted = fit_linear_beliefs(table)
    rows = table.is_checkpoint
    assert fitted.log_loss == pytest.approx(log_loss(fitted.M[rows], table.accepted[table.attempt][rows]))
    assert fitted.log_loss <= fitted.base_loss * 1.01
    fold = folds(table.prompt_ids, 5, 0)
    assert np.bincount(fold).max() - np.bincount(fold).min() <= 1


@pytest.mark.parametrize("method", ["logistic", "isotonic"])
def test_posterior_is_calibrated(method):
    table = make_table(1500, seed=8)
    M = fit_linear_beliefs(table, method=method).M
    late = (table.k == 6) & table.is_checkpoint
    A = table.accepted[table.attempt][late]
    for low, high in [(0, 0.3), (0.3, 0.55), (0.55, 1)]:
        here = (M[late] >= low) & (M[late] < high)
        if here.sum() > 50:
            assert A[here].mean() == pytest.approx(M[late][here].mean(), abs=4.5 * 0.5 / np.sqrt(here.sum()))


@pytest.mark.parametrize("n_prompts", [1, 2, 3, 10, 40])
@pytest.mark.parametrize("accept", [0.0, 0.1, 1.0])
def test_data_too_small_or_of_one_outcome_gives_the_policy_that_never_discards(n_prompts, accept):
    fit = fit_policy(make_table(n_prompts, accept=accept))
    assert fit.file.never_discards
    assert "never discards" in fit.file.certificate.message
    summary = summarise(replay_policy(fit.file.policy(), make_table(20)), draws=2)
    assert summary.net_cost_factor == 1


def test_splits_keep_prompts_together_and_do_not_depend_on_the_rest():
    table = make_table(80, attempts=3)
    first, second = split_by_prompt(table, 0.5, 1)
    assert not set(first.prompt_ids) & set(second.prompt_ids)
    assert first.n_attempts + second.n_attempts == 240
    half = table.take(np.arange(120))
    again, _ = split_by_prompt(half, 0.5, 1)
    assert set(again.prompt_ids) == set(first.prompt_ids) & set(half.prompt_ids)
    with pytest.raises(InputError, match="share"):
        split_by_prompt(table, 1.0, 1)
    with pytest.raises(InputError, match="cannot be split"):
        split_by_prompt(table.take(np.arange(3)), 0.5, 1)
    for share in (0.01, 0.99):
        first, second = split_by_prompt(table.take(np.arange(9)), share, 1)
        assert first.n_prompts + second.n_prompts == 3
        assert min(first.n_prompts, second.n_prompts) > 0


def test_the_length_cap_is_the_best_of_all_caps():
    table = make_table(120, seed=3)
    cap = best_length_cap([table], 0.1)
    cost, A = table.cost, table.accepted
    factors = {
        c: np.minimum(cost, c).sum() / (A & (cost <= c)).sum() / (cost.sum() / A.sum())
        for c in range(1, int(cost.max()) + 1)
        if (A & (cost > c)).sum() <= 0.1 * A.sum()
    }
    assert cap.net_cost_factor == pytest.approx(min(1.0, *factors.values()))
    assert cap.false_reject_rate <= 0.1


@pytest.mark.parametrize("word", ["learned", "logistics", ""])
def test_a_method_that_is_none_is_refused(word):
    """An unknown word once gave an isotonic fit without a word."""
    with pytest.raises(InputError, match="unknown method"):
        fit_linear_beliefs(make_table(30), method=word)
    if word != "learned":
        with pytest.raises(InputError, match="unknown method"):
            fit_policy(make_table(30), method=word)


def test_a_frontier_on_no_attempts_saves_nothing():
    """A family whose prompts all fall on the fitting side of its pool: its frontier once showed s = 1."""
    table = make_table(300, seed=6)
    candidates = fit_candidates([Family("", table)])
    (fit,) = certify(candidates, [table.take(np.arange(0))])
    assert len(fit.file.frontier) > 10
    assert {(point.saving_rate, point.false_reject_rate) for point in fit.file.frontier} == {(0.0, 0.0)}
    assert "nothing can be certified" in fit.file.certificate.message


def test_costs_to_go_have_one_largest_value():
    """Estimates crosswise and at run time are cut at the same cost, or thresholds fitted to one misread the other."""
    table = make_table(60, seed=2)
    fitted = fit_linear_beliefs(replace(table, spent=1e11 * table.spent))
    _, r = fitted.beliefs.predict(table.k, table.values)
    assert r.max() == fitted.r.max() == pytest.approx(1e9)


def test_linear_beliefs_are_fitted_on_no_more_than_they_need(monkeypatch):
    table = make_table(300, attempts=2, seed=1)
    monkeypatch.setattr("msifr_calibration.to_certify._MOST_TO_FIT", 100)
    held = prompts_to_certify(table, "k", FitOptions(), 0.5)
    assert 90 <= table.where(~held).n_attempts <= 102
    assert prompts_to_certify(table, "k", FitOptions(method="learned"), 0.5).sum() < held.sum()
    assert prompts_to_certify(table, "k", FitOptions(certify_share=0.4), 0.5).sum() == 120


def test_enough_of_every_group_is_held_out_where_groups_are_certified():
    """A tenth of the prompts are of the rare group: 45 of their accepted samples are needed, and are held out."""
    table = make_table(2000, seed=1, accept=0.6)
    table = replace(table, groups=tuple("rare" if i.endswith("0/0") else "usual" for i in table.attempt_ids))
    fits = [fit_policy(table, certify_groups=each) for each in (False, True)]
    assert [fit.file.certificate.by_group for fit in fits] == [False, True]
    assert fits[1].file.certificate.certified
    assert fits[1].file.certificate.groups["rare"].n_accepted >= 45
    assert "of every group" in fits[1].file.certificate.message


def test_attempts_that_weigh_equally_are_counted_as_they_are_tested():
    """Prompts with one or five attempts: of those drawn where attempts weigh equally, a critical number is accepted."""
    table = make_table(300, attempts=5, seed=1)
    table = table.take(np.flatnonzero((table.prompt % 2 == 0) | (np.arange(1500) % 5 == 0)))
    fit = fit_policy(table, weigh="attempts")
    assert fit.file.certificate.weigh == "attempts"
    assert "attempts weigh equally" in fit.file.certificate.message
    if fit.file.certificate.method == "exact binomial":
        assert fit.file.certificate.n_accepted in (45, 77)
