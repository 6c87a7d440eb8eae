"""The monitor of a run: identities exactly, error rates by simulation with both of the test's own rates stated."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from msifr_calibration.monitor import calibration_test
from msifr_calibration.monitor.alarms import Alarms, bets_on_excess, likelihood_bet
from msifr_calibration.monitor.calibration_test import CalibrationTest
from msifr_calibration.monitor.confidence import ConfidenceSequence
from msifr_calibration.monitor.monitor import Monitor
from msifr_calibration.monitor.scores import Score, score_of
from msifr_policy.audit import Audit, Audited
from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Entry

ALPHA, SHARE, DELTA = 0.05, 0.05, 0.1
CONSTANT = Audit(share=SHARE)
BY_POSTERIOR = Audit(share=SHARE, mean_root=0.2)
RUNS = 400
# At most DELTA of the runs may break a promise. One that is kept breaks this bound with probability < 1e-6; one that is
# broken in 25 % of runs is let pass with probability 0.0003. Of 100 runs: in 40 %, with 0.005.
ALLOWED = int(binom.isf(1e-6, RUNS, DELTA))


def entry(
    outcome: str = "accepted",
    probability: float | None = None,
    *,
    prompt: str = "p",
    number: int = 0,
    posteriors: tuple[float, ...] = (),
    group: str | None = None,
) -> Entry:
    """An entry, of an attempt that was audited with `probability` if one is given."""
    audited = None if probability is None else Audited(probability, 1, 0.2, "length")
    return Entry(
        id=f"{prompt}/{number}", prompt_id=prompt, outcome=outcome, tokens=0, prompt_tokens=0, seconds=0.0,
        audited=audited, posteriors=posteriors, group=group,
    )  # fmt: skip


def scores(rng, f, runs, n, *, attempts=1, audit=CONSTANT, alike=False, good=0.5, posterior=0.2):
    """lost, kept `[runs, n]` of prompts whose policy has the false-reject rate f and discards 60 % of the bad.

    Posteriors of would-be discards are uniform up to twice `posterior`. alike: all attempts of a prompt go alike.
    """
    shape = runs, n, 1 if alike else attempts
    accepted = rng.random(shape) < good
    up = rng.random(shape) < np.where(accepted, f, 0.6)
    M = rng.random(shape) * 2 * posterior
    epsilon = np.full(shape, audit.share)
    if audit.mean_root is not None:
        epsilon = np.clip(audit.share * np.sqrt(M) / audit.mean_root, audit.floor, 1)
    if alike:
        accepted, up, epsilon = (np.repeat(each, attempts, axis=2) for each in (accepted, up, epsilon))
    audited = up & (rng.random(epsilon.shape) < epsilon)
    lost = np.where(accepted & audited, 1 / epsilon, 0.0).mean(axis=2)
    return lost, (accepted & ~up).mean(axis=2)


# Scores


def test_a_score_counts_audited_attempts_by_weight_and_attempts_that_were_never_made_as_not_accepted():
    entries = [
        entry(),
        entry("accepted", 0.1, number=1),
        entry("unaccepted", 0.1, number=2),
        entry("discarded", number=3),
        entry("failed", number=4),
    ]
    score = score_of(entries, 8)
    assert score == Score(lost=10 / 8, kept=1 / 8)
    assert score.at(0.2) == pytest.approx(10 / 8 * 0.8 - 1 / 8 * 0.2)
    assert score_of([], 8) == (0.0, 0.0)


def test_under_a_quota_all_good_samples_that_are_made_weigh_alike() -> None:
    """Exactly, over all that can come of two kinds of prompts with one accepted sample wanted of three attempts.

    Its f is that of the attempts that are made, not the mean of the two prompts' rates by acceptance.
    """
    epsilon, m = Fraction(1, 4), 3
    lost = kept = made_lost = made_good = Fraction(0)
    for a, f in ((Fraction(9, 10), Fraction(1, 50)), (Fraction(1, 10), Fraction(3, 20))):
        each = [  # chance, outcome, audited
            (a * (1 - f), "accepted", False),
            (a * f * epsilon, "accepted", True),
            (a * f * (1 - epsilon), "discarded", False),
            (1 - a, "unaccepted", False),
        ]
        for made in range(1, m + 1):
            for events in product(each, repeat=made):
                full = [outcome == "accepted" for _, outcome, _ in events]
                if any(full[:-1]) or not (full[-1] or made == m):
                    continue
                chance = prod(c for c, *_ in events)
                entries = [
                    entry(outcome, float(epsilon) if audited else None, number=i)
                    for i, (_, outcome, audited) in enumerate(events)
                ]
                score = score_of(entries, m)
                lost += chance * Fraction(score.lost)
                kept += chance * Fraction(score.kept)
                made_good += chance * made * a
                made_lost += chance * made * a * f
    share = Fraction(1, m)
    assert float(lost) == pytest.approx(float(made_lost * share), rel=1e-12)
    assert float(lost + kept) == pytest.approx(float(made_good * share), rel=1e-12)
    by_acceptance = Fraction(9, 10) / 50 + Fraction(1, 10) * 3 / 20  # the rates of acceptance sum to 1
    assert lost / (lost + kept) > by_acceptance


def test_entries_of_other_prompts_or_too_many_are_refused():
    with pytest.raises(InputError, match="entries of 'q' too"):
        score_of([entry(), entry(prompt="q")], 2)
    with pytest.raises(InputError, match="2 entries for 1 attempts"):
        score_of([entry(), entry(number=1)], 1)


def test_the_mean_of_a_score_is_that_of_the_attempts_had_they_been_finished():
    """Exactly, over all fates of two attempts with different ε that go together or not: E[Z] = E[mean A·(D − α)]."""
    alpha, laws = Fraction(1, 20), [Fraction(1, 7), Fraction(3, 4)]
    together = {(0, 0): Fraction(2, 5), (0, 1): Fraction(1, 10), (1, 0): Fraction(1, 5), (1, 1): Fraction(3, 10)}
    fates = list(product((0, 1), repeat=2))  # (accepted, up for discard)
    chance = dict(zip(fates, map(Fraction, ("1/3", "1/4", "1/4", "1/6")), strict=True))
    seen = expected = Fraction(0)
    for one, other in product(fates, repeat=2):
        # The second attempt goes like the first with probability 1/2.
        p = chance[one] * (chance[other] / 2 + Fraction(one == other, 2))
        expected += p * sum(A * (D - alpha) for A, D in (one, other)) / 2
        for drawn in product((0, 1), repeat=2):
            # Both audited together more often than apart, too: what counts is each one's own ε.
            q = p
            weights = []
            for (_, D), audited, epsilon in zip((one, other), drawn, laws, strict=True):
                q *= epsilon if audited else 1 - epsilon
                weights.append(1 if not D else (1 / epsilon if audited else 0))
            seen += q * sum(w * A * (D - alpha) for w, (A, D) in zip(weights, (one, other), strict=True)) / 2
    assert sum(together.values()) == 1
    assert seen == expected


# Alarms


def test_a_bet_is_the_likelihood_ratio_of_what_is_audited_among_good_samples():
    """Exactly, for one attempt per prompt and a constant ε, at alternatives f₁ of 6 to 30 % against α = 5 %."""
    for alpha, epsilon, f1 in product(
        map(Fraction, ("1/20", "1/10", "1/3")), map(Fraction, ("1/20", "1/4", "1")), map(Fraction, ("2/5", "1/2"))
    ):
        p0, p1 = (f * epsilon / (f * epsilon + 1 - f) for f in (alpha, f1))
        nu = likelihood_bet((f1 / (1 - f1)) / (alpha / (1 - alpha)), alpha, epsilon)
        assert isinstance(nu, Fraction)
        assert 1 + nu * (1 - alpha) / epsilon == p1 / p0
        assert 1 - nu * alpha == (1 - p1) / (1 - p0)
        assert 0 < nu < 1 / alpha
        mean = (
            alpha * epsilon * (1 + nu * (1 - alpha) / epsilon) + alpha * (1 - epsilon) + (1 - alpha) * (1 - nu * alpha)
        )
        assert mean == 1  # over all good samples, those that are not seen too


@given(
    st.floats(0.001, 0.5),
    st.floats(0.001, 1.0),
    st.integers(1, 64),
)
def test_no_bet_can_lose_everything(alpha, share, attempts):
    bets = bets_on_excess(alpha, share, attempts)
    assert bets.nu.min() > 0
    assert bets.nu.max() < 1 / alpha
    assert bets.weight.sum() == pytest.approx(1)


@pytest.mark.parametrize(("alpha", "share"), [(0.0, 0.5), (1.0, 0.5), (0.1, 0.0), (0.1, 1.1)])
def test_bets_that_cannot_be_made_are_refused(alpha, share):
    with pytest.raises(InputError, match="no bets"):
        bets_on_excess(alpha, share)


SETTINGS = {
    "one attempt": {},
    "by posterior": {"audit": BY_POSTERIOR},
    "four attempts": {"attempts": 4},
    "four alike, by posterior": {"attempts": 4, "alike": True, "audit": BY_POSTERIOR},
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_while_the_certificate_holds_the_alarm_rings_in_no_more_runs_than_delta(setting):
    """At f = α exactly, over 3,000 prompts; the detector at a threshold of 100 prompts rings no sooner on average."""
    rng = np.random.default_rng(1)
    lost, kept = scores(rng, ALPHA, RUNS, 3000, **setting)
    Z = lost * (1 - ALPHA) - kept * ALPHA
    alarms = Alarms(bets_on_excess(ALPHA, SHARE, setting.get("attempts", 1)), (RUNS,))
    most = np.zeros((2, RUNS))
    warned = np.full(RUNS, 3000)
    for prompt in range(3000):
        alarms.add(Z[:, prompt])
        most = np.maximum(most, [alarms.start, alarms.restarts])
        first = (alarms.detector >= 100) & (warned == 3000)
        warned[first] = prompt + 1
    assert (most >= 1 / DELTA).sum(axis=1).max() <= ALLOWED
    assert warned.mean() >= 100  # it is some 10 times as much: this cannot fail by chance
    assert (warned < 3000).mean() > 0.5  # it does ring


def test_the_test_of_the_alarm_can_fail():
    """Attempts that go alike, each taken for a prompt of its own, break the bound."""
    rng = np.random.default_rng(2)
    lost, kept = scores(rng, ALPHA, RUNS, 3000, attempts=4, alike=True)
    bets = bets_on_excess(ALPHA, SHARE)
    # Each attempt as a prompt of its own: lost and kept of an attempt are those of its prompt, four times over.
    Z = np.repeat((lost * (1 - ALPHA) - kept * ALPHA)[:, :800], 4, axis=1)
    alarms, most = Alarms(bets, (RUNS,)), np.zeros(RUNS)
    for column in Z.T:
        alarms.add(column)
        most = np.maximum(most, alarms.restarts)
    assert (most >= 1 / DELTA).sum() > ALLOWED


def test_the_mixture_has_mean_one_at_the_boundary():
    """Over all outcomes of four prompts at f = α, by their probabilities: start and restarts have mean ≤ 1, start = 1.

    The detector minus the number of scores has mean ≤ 0.
    """
    good, alpha, epsilon = 0.6, 0.2, 0.3
    outcomes = [
        (good * (1 - alpha), -alpha),
        (good * alpha * epsilon, (1 - alpha) / epsilon),
        (1 - good + good * alpha * (1 - epsilon), 0.0),
    ]
    start = restarts = detector = told = 0.0
    for path in product(outcomes, repeat=4):
        p = np.prod([each for each, _ in path])
        alarms = Alarms(bets_on_excess(alpha, epsilon))
        for _, Z in path:
            alarms.add(Z)
        start += p * alarms.start
        restarts += p * alarms.restarts
        detector += p * alarms.detector
        told += p * sum(Z != 0 for _, Z in path)
    assert start == pytest.approx(1, abs=1e-12)
    assert 0.75 <= restarts <= 1 + 1e-12
    assert detector == pytest.approx(told, abs=1e-12)


def test_the_alarm_holds_three_quarters_of_the_start_and_recovers_after_good_times():
    """Many prompts without a loss ruin what began at the start, not what begins again."""
    alarms = Alarms(bets_on_excess(ALPHA, SHARE))
    for _ in range(4000):
        alarms.add(-ALPHA)
        assert alarms.restarts >= 0.75 * alarms.start
    for _ in range(10):
        alarms.add((1 - ALPHA) / SHARE)
    assert alarms.restarts > 1000 * alarms.start
    assert alarms.detector > alarms.restarts


def test_many_runs_at_once_are_as_each_by_itself():
    rng = np.random.default_rng(3)
    Z = rng.choice([-ALPHA, 0.0, (1 - ALPHA) / SHARE], size=(5, 300), p=[0.5, 0.48, 0.02])
    together = Alarms(bets_on_excess(ALPHA, SHARE), (5,))
    for column in Z.T:
        together.add(column)
    for run, row in enumerate(Z):
        alone = Alarms(bets_on_excess(ALPHA, SHARE))
        for each in row:
            alone.add(float(each))
        for name in ("start", "restarts", "detector"):
            assert getattr(alone, name) == pytest.approx(getattr(together, name)[run], rel=1e-12)


# Confidence


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("f", [0.02, 0.2])
def test_the_interval_holds_at_every_moment_in_all_but_delta_of_runs(setting, f):
    """In 100 runs, looked at every 200 prompts."""
    rng = np.random.default_rng(4)
    runs, n = RUNS // 4, 1000
    lost, kept = scores(rng, f, runs, n, **setting)
    missed = 0
    for run in range(runs):
        sequence = ConfidenceSequence(1 - DELTA, setting.get("audit", CONSTANT), setting.get("attempts", 1))
        outside = False
        for prompt in range(n):
            sequence.add(Score(lost[run, prompt], kept[run, prompt]))
            if prompt % 200 == 199:
                lower, upper = sequence.interval
                outside |= not lower <= f <= upper
        missed += outside
    assert missed <= int(binom.isf(1e-6, runs, DELTA))


def test_the_interval_finds_the_rate():
    """It does close in: after 20,000 prompts an f of 5 % is between 1.5 and 11 %."""
    rng = np.random.default_rng(5)
    lost, kept = scores(rng, 0.05, 1, 20_000)
    sequence = ConfidenceSequence(0.9, CONSTANT)
    assert sequence.interval == (0.0, 1.0)
    assert sequence.estimate is None
    for score in map(Score, lost[0], kept[0]):
        sequence.add(score)
    lower, upper = sequence.interval
    assert 0.015 < lower < 0.05 < upper < 0.11
    assert sequence.estimate == pytest.approx(lost.sum() / (lost.sum() + kept.sum()))


def test_a_weight_that_the_audit_does_not_give_is_refused():
    sequence = ConfidenceSequence(0.9, CONSTANT)
    sequence.add(Score(1 / SHARE, 0.0))
    with pytest.raises(InputError, match="by weight"):
        sequence.add(Score(1.01 / SHARE, 0.0))
    with pytest.raises(InputError, match="confidence"):
        ConfidenceSequence(1.0, CONSTANT)


# Beliefs


def believed(rng, n, checkpoints=4, spread=1.0):
    """Log-odds `[n, checkpoints + 1]` of calibrated beliefs that learn as they go, and outcomes `[n]`."""
    odds = np.empty((n, checkpoints + 1))
    odds[:, 0] = rng.normal(0, spread, n)
    accepted = rng.random(n) < 1 / (1 + np.exp(-odds[:, 0]))
    for k in range(checkpoints):
        odds[:, k + 1] = odds[:, k] + np.where(accepted, 0.18, -0.18) + rng.normal(0, 0.6, n)
    return odds, accepted


def calibration_of(odds, accepted, *, attempts=1, discard=0.0, groups=("",)):
    """The calibration test of prompts with so many attempts; discarded once they are below `discard`."""
    test = CalibrationTest(DELTA)
    M = 1 / (1 + np.exp(-odds))
    for first in range(0, len(M), attempts):
        entries = []
        for i in range(first, first + attempts):
            below = np.flatnonzero(M[i] < discard)
            told = M[i, : below[0] + 1] if len(below) else M[i]
            outcome = "discarded" if len(below) else "accepted" if accepted[i] else "unaccepted"
            group = groups[first // attempts % len(groups)]
            entries.append(entry(outcome, number=i, posteriors=tuple(told.tolist()), group=group))
        test.add(entries)
    return test


@pytest.mark.parametrize("alike", [False, True], ids=["one attempt", "four alike"])
def test_calibrated_beliefs_are_called_wrong_in_no_more_runs_than_delta(alike):
    """With discarding: what is never seen is not bet on. Four attempts that all go alike are one."""
    rng = np.random.default_rng(6)
    runs = RUNS // 4
    rung = 0
    for _ in range(runs):
        odds, accepted = believed(rng, 400)
        if alike:
            odds, accepted = np.repeat(odds, 4, axis=0), np.repeat(accepted, 4)
        rung += calibration_of(odds, accepted, attempts=4 if alike else 1, discard=0.3).largest >= 1 / DELTA
    assert rung <= int(binom.isf(1e-6, runs, DELTA))


def test_the_test_of_beliefs_can_fail():
    """Attempts of one prompt that are multiplied, as if they were independent, break the bound."""
    rng = np.random.default_rng(6)
    rung = 0
    for _ in range(50):
        odds, accepted = believed(rng, 200)
        rung += calibration_of(np.repeat(odds, 4, axis=0), np.repeat(accepted, 4)).largest >= 1 / DELTA
    assert rung > int(binom.isf(1e-6, 50, DELTA))


def test_bets_on_beliefs_have_mean_one_if_they_are_right():
    """Exactly, over both outcomes and every step between: a factor of 1 on average in all places, for all bets."""
    for first, second in product((0.02, 0.3, 0.55, 0.97), (0.01, 0.4, 0.9)):
        # From `first` to `second` or to a third value, such that the mean stays.
        third = 0.999 if second < first else 0.0005
        p = (first - third) / (second - third)
        total = 0.0
        for M, chance in ((second, p), (third, 1 - p)):
            for end in (0.0, 1.0):
                factors, _, _ = calibration_test._factors([[((first, M), end, 0)]])
                total = total + chance * (M if end else 1 - M) * factors[0]
        assert total == pytest.approx(1, abs=1e-9)


def test_a_bet_that_is_held_is_the_likelihood_ratio_of_the_outcome():
    odds = np.linspace(-4, 4, 9)
    M = 1 / (1 + np.exp(-odds))
    nu = calibration_test._bets(M)
    shifts = [*-calibration_test._SHIFTS, *calibration_test._SHIFTS]
    alternatives = [*(odds + shift for shift in shifts), *(odds * slope for slope in calibration_test._SLOPES)]
    for each, other in zip(nu.T, alternatives, strict=True):
        q = 1 / (1 + np.exp(-other))
        assert 1 + each * (1 - M) == pytest.approx(q / M)
        assert 1 - each * M == pytest.approx((1 - q) / (1 - M))


@pytest.mark.parametrize(
    ("at", "shift", "expected"),
    [
        (None, 0.8, "everywhere: accepted less often than believed"),
        (None, -0.8, "everywhere: accepted more often than believed"),
        ((2, 3), 1.2, "at checkpoints 2-3: accepted less often than believed"),
    ],
    ids=["everywhere", "the other way", "some checkpoints"],
)
def test_wrong_beliefs_are_found_where_they_are(at, shift, expected):
    rng = np.random.default_rng(7)
    odds, accepted = believed(rng, 2000)
    odds[:, slice(None) if at is None else list(at)] += shift
    test = calibration_of(odds, accepted)
    assert test.largest > 1e6
    assert test.finding is not None
    assert test.finding.words == expected


def test_wrong_beliefs_of_a_group_are_found_there():
    rng = np.random.default_rng(8)
    odds, accepted = believed(rng, 4000)
    odds[1::2] += 1.0
    finding = calibration_of(odds, accepted, groups=("2-step", "5-step")).finding
    assert finding is not None
    assert finding.words == "in group 5-step: accepted less often than believed"


def test_wrong_beliefs_in_a_range_of_posteriors_are_found_there():
    rng = np.random.default_rng(8)
    odds = rng.normal(0, 1.5, (4000, 1))
    believed_of = 1 / (1 + np.exp(-odds[:, 0]))
    middle = (believed_of > 0.4) & (believed_of < 0.6)
    finding = calibration_of(odds, rng.random(4000) < believed_of - 0.25 * middle).finding
    assert finding is not None
    assert finding.words == "for posteriors 0.4-0.6: accepted less often than believed"


def test_beliefs_that_are_too_bold_or_too_timid_are_told_apart():
    rng = np.random.default_rng(9)
    odds, accepted = believed(rng, 3000, spread=1.5)
    for factor, words in ((2.0, "too bold"), (0.5, "too timid")):
        finding = calibration_of(odds * factor, accepted).finding
        assert finding is not None
        assert finding.more is None
        assert words in finding.words


# The whole


def run_of(rng, n, f, *, audit=BY_POSTERIOR, attempts=2):
    """Entries, prompt by prompt, of a run under a policy with false-reject rate f."""
    prompts = []
    for p in range(n):
        entries = []
        for number in range(attempts):
            good = rng.random() < 0.5
            up = rng.random() < (f if good else 0.6)
            M = 0.4 * rng.random() if up else 0.5
            epsilon = audit.probability(M) if up and rng.random() < audit.probability(M) else None
            outcome = "discarded" if up and epsilon is None else "accepted" if good else "unaccepted"
            each = entry(outcome, epsilon, prompt=f"p{p}", number=number, posteriors=(0.5, M), group=f"g{p % 2}")
            entries.append(each)
        prompts.append(entries)
    return prompts


def test_the_monitor_rings_when_the_certificate_no_longer_holds_and_keeps_quiet_while_it_does():
    rng = np.random.default_rng(10)
    good, bad = run_of(rng, 2000, 0.02), run_of(rng, 2000, 0.25)
    monitor = Monitor(max_false_reject=ALPHA, attempts=2, audit=BY_POSTERIOR)
    for entries in good:
        monitor.add(entries)
    before = monitor.state
    assert not before.alarm
    assert not before.warning
    assert before.rate.lower <= 0.02 <= before.rate.upper
    for entries in bad:
        monitor.add(entries)
    state = monitor.state
    assert monitor.alarm
    assert state.alarm
    assert 2000 < state.warned_at <= state.alarm_at < 3500
    assert state.e_value >= 20
    assert set(state.by_group) == {"g0", "g1"}
    assert state.drift is None
    assert state.prompts == 4000
    assert state.would_discard > state.audited > state.audited_accepted > 0
    every = [each for entries in [*good, *bad] for each in entries]
    assert state.accepted == sum(each.outcome == "accepted" for each in every)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(0, 299), max_size=5))
def test_a_monitor_that_is_fed_again_is_the_same_whenever_it_was_looked_at(looks):
    prompts = run_of(np.random.default_rng(11), 300, 0.1)
    once, again = (Monitor(max_false_reject=ALPHA, attempts=2, audit=BY_POSTERIOR) for _ in range(2))
    for number, entries in enumerate(prompts):
        once.add(entries)
        again.add(entries)
        if number in looks:
            assert again.state.prompts == number + 1
    assert once.state == again.state


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="no false-reject budget"):
        Monitor(audit=CONSTANT)
    with pytest.raises(InputError, match="no settings"):
        Monitor(max_false_reject=0.1, audit=CONSTANT, level=0.0)
