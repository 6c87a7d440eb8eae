"""How many samples a certificate takes: critical numbers by brute force, power by simulation, and the command."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from msifr_calibration.betting import binomial_p_value
from msifr_calibration.sample_size import ENOUGH_PROMPTS, PlanOptions, critical_number, plan_samples
from msifr_integrations.cli import main
from msifr_policy.errors import InputError


def allowed_losses(n, alpha, confidence):
    """Return the most losses of `n` with which the test certifies, −1 for none: by trying them all."""
    return int(np.sum(binom.cdf(np.arange(n + 1), n, alpha) <= 1 - confidence)) - 1


def test_critical_numbers_are_those_of_the_tables():
    """45, 77, 105, 132: the sample sizes of "discovery sampling" at 5 % and 90 %; 59, 93: at 5 % and 95 %."""
    assert [critical_number(c, 0.05, 0.9) for c in range(4)] == [45, 77, 105, 132]
    assert [critical_number(c, 0.05, 0.95) for c in range(2)] == [59, 93]


@settings(max_examples=60)
@given(st.floats(0.02, 0.95), st.floats(0.05, 0.99), st.integers(0, 6))
def test_a_critical_number_is_the_first_that_the_test_passes(alpha, confidence, losses):
    n = critical_number(losses, alpha, confidence)
    assert binomial_p_value(losses, n, alpha) <= 1 - confidence
    assert all(binomial_p_value(losses, before, alpha) > 1 - confidence for before in range(losses + 1, n))


@pytest.mark.parametrize("losses", [0, 2])
def test_rounding_does_not_move_a_critical_number(losses):
    """Confidences that a number of samples has exactly, but for rounding: what counts is the test's own comparison."""
    for alpha in (0.01, 0.1, 0.25, 0.5, 0.9):
        for n in range(losses + 1, 30):
            exactly = 1 - binomial_p_value(losses, n, alpha)
            for confidence in (np.nextafter(exactly, 0), exactly, np.nextafter(exactly, 1)):
                if 0 < confidence < 1:
                    found = critical_number(losses, alpha, confidence)
                    assert binomial_p_value(losses, found, alpha) <= 1 - confidence
                    assert found == losses + 1 or binomial_p_value(losses, found - 1, alpha) > 1 - confidence


@pytest.mark.parametrize(
    ("alpha", "confidence", "hoped_for", "power"),
    [
        (0.05, 0.9, 0.02, 0.9),
        (0.05, 0.9, 0.02, 0.8),
        (0.1, 0.95, 0.05, 0.9),
        (0.05, 0.9, 0.0, 0.9),
        (0.3, 0.8, 0.1, 0.5),
    ],
)
def test_enough_is_enough_for_every_larger_number_and_no_smaller_one(alpha, confidence, hoped_for, power):
    """By brute force, up to four times as many."""
    plan = plan_samples(
        PlanOptions(max_false_reject=alpha, confidence=confidence, hoped_for=hoped_for, power=power, acceptance=1)
    )
    n = np.arange(1, 4 * plan.n_accepted)
    most = np.asarray([allowed_losses(int(each), alpha, confidence) for each in n])
    reached = np.where(most >= 0, binom.cdf(most, n, hoped_for), 0)
    assert n[np.flatnonzero(reached < power)[-1]] + 1 == plan.n_accepted
    assert n[np.argmax(reached >= power)] == plan.n_accepted_lucky
    at = plan.n_accepted - 1
    assert (plan.losses_allowed, plan.power) == (most[at], pytest.approx(reached[at]))
    assert plan.prompts_to_certify == plan.n_accepted  # every attempt is accepted


@pytest.mark.parametrize("acceptance", [1.0, 0.6, 0.1])
def test_plans_have_the_power_they_state(acceptance):
    """20,000 certifications of a policy that loses 2 %; tolerances are five standard errors: false alarms below 1e-6.

    A power that is wrong by twice as much, 1.7 %, is missed as rarely.
    """
    trials, rng = 20_000, np.random.default_rng(0)
    plan = plan_samples(PlanOptions(hoped_for=0.02, acceptance=acceptance))
    certifies = np.asarray([allowed_losses(n, 0.05, 0.9) for n in range(600)])

    def certified(n):
        return float(np.mean(rng.binomial(n, 0.02) <= certifies[n]))

    assert certified(np.full(trials, plan.n_accepted)) == pytest.approx(plan.power, abs=0.0085)
    accepted = rng.binomial(plan.prompts_to_certify, acceptance, trials)
    enough = float(np.mean(accepted >= plan.n_accepted))
    assert enough >= ENOUGH_PROMPTS - 0.0077
    if acceptance < 1:
        fewer = rng.binomial(plan.prompts_to_certify - 20, acceptance, trials)
        assert np.mean(fewer >= plan.n_accepted) < enough
    assert certified(accepted) >= 0.9 * ENOUGH_PROMPTS


def test_attempts_of_one_prompt_say_less_the_more_they_share_their_fate():
    plans = [
        plan_samples(PlanOptions(hoped_for=0.02, attempts_per_prompt=m, correlation=correlation))
        for m, correlation in ((1, 0.0), (8, 0.0), (8, 0.3), (8, 1.0))
    ]
    assert [plan.design_effect for plan in plans] == pytest.approx([1, 1, 1 + 7 * 0.5 * 0.3, 1 + 7 * 0.5])
    best = [plan.prompts_at_best for plan in plans]
    assert best[0] > best[3] > best[2] > best[1]
    assert len({plan.prompts_to_certify for plan in plans}) == 1  # one of each is counted, however many there are
    assert plans[1].attempts == 8 * plans[0].attempts


def test_the_design_effect_is_that_of_losses_drawn_with_it():
    """Losses by a beta-binomial law: the variance of their share over the binomial one, to 5 % (1e-6: 4.9 x 1 %)."""
    rng = np.random.default_rng(1)
    m, acceptance, correlation, f, n_prompts = 6, 0.5, 0.3, 0.2, 400
    found = plan_samples(PlanOptions(attempts_per_prompt=m, correlation=correlation)).design_effect
    scale = (1 - correlation) / correlation
    accepted = rng.binomial(m, acceptance, (20_000, n_prompts))
    lost = rng.binomial(accepted, rng.beta(f * scale, (1 - f) * scale, accepted.shape))
    share = lost.sum(axis=1) / accepted.sum(axis=1)
    assert share.var() * acceptance * m * n_prompts / (f * (1 - f)) == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_false_reject": 0}, "max_false_reject = 0 must lie strictly between 0 and 1"),
        ({"confidence": 1}, "confidence = 1 must"),
        ({"power": float("nan")}, "power = nan must"),
        ({"certify_share": 1}, "certify_share = 1 must"),
        ({"acceptance": 0}, "acceptance = 0 must lie above 0"),
        ({"correlation": 1.5}, "correlation = 1.5 must"),
        ({"attempts_per_prompt": 0}, "attempts_per_prompt = 0 must be at least 1"),
        ({"hoped_for": 0.05}, "no test certifies a rate that the policy exceeds"),
        ({"hoped_for": -0.01}, "hoped_for = -0.01 must"),
        ({"hoped_for": 0.0499999}, "lies too near to 0.05"),
    ],
)
def test_nonsense_is_refused(options, says):
    with pytest.raises(InputError, match=says):
        plan_samples(PlanOptions(**options))
    arguments = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    result = CliRunner().invoke(main, ["plan", *arguments])
    assert result.exit_code == 2
    assert says in result.stderr


def test_critical_numbers_of_nonsense_are_refused():
    with pytest.raises(InputError, match="-1 losses"):
        critical_number(-1, 0.05, 0.9)
    with pytest.raises(InputError, match="confidence = 90"):
        critical_number(0, 0.05, 90)


def test_the_command_says_what_json_holds():
    arguments = ["plan", "--hoped-for", "0.02", "--attempts-per-prompt", "4", "--correlation", "0.3"]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    record = json.loads(result.stdout)
    assert record["critical_numbers"][:4] == [45, 77, 105, 132]
    said = " ".join(result.stderr.split())
    assert said == " ".join(CliRunner().invoke(main, arguments).stdout.split())
    for number in ("n_accepted", "n_accepted_lucky", "prompts_to_certify", "prompts_at_best", "prompts", "attempts"):
        assert f" {record[number]} " in said
    assert f"up to {record['losses_allowed']} of them may be lost" in said
    assert "at most 5% of the good samples" in said
    assert "77 (1 lost), 105 (2 lost)" in said
