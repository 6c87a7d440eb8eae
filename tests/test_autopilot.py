"""The autopilot: what it certifies holds, at any time and over a whole life; its decisions hang on the past alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, permutations, product
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from scipy.stats import binom

from benchmarks import _lives
from makers import make_traces
from msifr_calibration.autopilot.course import BlockOutcomes, Course, PilotOptions, Steering
from msifr_calibration.autopilot.fit_levels import fit_levels
from msifr_calibration.autopilot.level_tests import BETS, LevelTests, delta_of, growth, level_scores
from msifr_calibration.autopilot.pilot import Pilot
from msifr_calibration.autopilot.plan import plan_level
from msifr_calibration.options import FitOptions
from msifr_policy.audit import Audited, audit_draw
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.path_policy import LevelEstimate, PathFile
from msifr_policy.policy import Action
from msifr_policy.policy_file import Fingerprint, PolicyFile
from msifr_policy.records.ledger import Entry
from msifr_policy.records.traces import Trace
from msifr_policy.validators import default_validators

ALPHA = 0.125
"""A number whose arithmetic is exact, as is that of weights 4 and means over 2."""


def level_tests(n_levels: int, delta: float) -> LevelTests:
    return LevelTests(np.zeros((n_levels, len(BETS))), delta)


def test_audits_change_no_expectation_of_any_score() -> None:
    epsilon, J = 0.25, 3
    for level, firsts in product([None, *range(J)], product(range(J + 1), repeat=2)):
        for good in product([False, True], repeat=2):
            first, accepted = np.array([firsts]), np.array([good])
            whole = level_scores(first, accepted, np.ones((1, 2)), J, ALPHA)
            expected = np.zeros((1, J))
            for audited in product([False, True], repeat=2):
                chance, weight = 1.0, np.ones((1, 2))
                for i, (at, seen) in enumerate(zip(firsts, audited, strict=True)):
                    if level is not None and at <= level:
                        chance *= epsilon if seen else 1 - epsilon
                        weight[0, i] = 1 / epsilon if seen else 0.0
                    elif seen:
                        chance = 0.0  # not up for discard: there is one way only
                expected += chance * level_scores(first, accepted & (weight > 0), weight, J, ALPHA)
            assert (expected == whole).all()
            assert (np.diff(whole, axis=1) >= 0).all()
            assert whole.max() <= 1 - ALPHA


def wealths(Z: np.ndarray, most: float) -> np.ndarray:
    """Return `[n]` the wealth after each of n prompts, by the bets as they are described."""
    fortunes, total, seen = np.ones(len(BETS)) / len(BETS), 0.0, []
    for z in Z.tolist():
        if total <= 1e-12:
            fortunes = fortunes * (1 - BETS / most * z)
        total += z
        seen.append(fortunes.sum())
    return np.asarray(seen)


def test_the_wealth_is_that_of_three_fortunes() -> None:
    Z = np.random.default_rng(1).choice([-ALPHA, 0.0, 1 - ALPHA], p=[0.5, 0.45, 0.05], size=(40, 1))
    tests = level_tests(1, 0.1)
    for part in np.split(Z, [3, 4, 20]):
        tests.add(part, 1 - ALPHA)
    assert tests.log_wealth[0] == pytest.approx(np.log(wealths(Z[:, 0], 1 - ALPHA)[-1]))
    assert tests.best[0] == pytest.approx(np.log(max(1.0, wealths(Z[:, 0], 1 - ALPHA).max())))
    assert tests.n_prompts == 40


@pytest.mark.parametrize("f", [ALPHA, 0.3])
def test_a_false_level_gains_nothing_on_average(f: float) -> None:
    values, chances = (-ALPHA, 0.0, 1 - ALPHA), (0.5 * (1 - f), 0.5, 0.5 * f)
    for n in (1, 3, 6):
        mean = 0.0
        for drawn in product(range(3), repeat=n):
            tests = level_tests(1, 0.1)
            tests.add(np.array([[values[i]] for i in drawn]), 1 - ALPHA)
            mean += np.prod([chances[i] for i in drawn]) * np.exp(tests.log_wealth[0])
        assert mean <= 1 + 1e-12
        assert mean == pytest.approx(1.0) or f > ALPHA


@pytest.mark.parametrize("prompts", [(-3, -1, -1, 0, 2, 3), (-2, -2, -2, 6), (-1, -1, -1, -1, 4, 0), (1, -1, 1, -1, 0)])
def test_given_prompts_in_a_drawn_order_gain_nothing_whenever_one_stops(prompts: tuple[int, ...]) -> None:
    """Sampling without replacement, scores that sum to 0: E[wealth at a stopping time] ≤ 1, over all orders."""
    orders = np.array(list(permutations(prompts)), dtype=np.float64) / 8
    tests = level_tests(len(orders), 0.1)
    paths = []
    for step in orders.T:
        tests.add(step[None], 1.0)
        paths.append(np.exp(tests.log_wealth))
    wealth = np.asarray(paths)
    for level in np.unique(wealth):
        reached = wealth >= level
        stop = np.where(reached.any(axis=0), reached.argmax(axis=0), len(wealth) - 1)
        assert wealth[stop, np.arange(len(orders))].mean() <= 1 + 1e-12
        assert reached.any(axis=0).mean() <= 1 / level + 1e-12


def test_false_levels_are_certified_no_more_often_than_promised() -> None:
    """4,000 tests of f = α, all attempts of a prompt alike: a rate of δ' fails with 10⁻⁶, one of 1.5·δ' passes so."""
    delta, alpha, n = 0.1, 0.05, 4000
    rng = np.random.default_rng(3)
    tests = level_tests(n, delta)
    for _ in range(30):
        good, lost = rng.random((50, n)) < 0.8, rng.random((50, n)) < alpha
        tests.add(good * (lost - alpha), 1 - alpha)
    wrong = int((tests.best >= tests.log_level).sum())
    most = int(binom.isf(1e-6, n, delta))
    assert binom.cdf(most, n, 1.5 * delta) < 1e-6
    assert wrong <= most


def test_levels_are_certified_in_their_order() -> None:
    tests = level_tests(3, 0.1)
    tests.best[:] = 0.0, 5.0, 5.0
    assert tests.n_certified == 0
    assert (tests.prompts_to_certify == np.inf).all()
    tests.best[0] = tests.log_level
    assert tests.n_certified == 3


def test_shares_of_a_life_sum_to_delta() -> None:
    shares = [delta_of(i, 0.1) for i in range(60)]
    assert sum(shares) == pytest.approx(0.1)
    assert sum(shares) <= 0.1 + 1e-15
    assert shares[0] == pytest.approx(0.08)
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("setting", ["independent", "clustered", "adversarial order"])
def test_lives_are_seldom_violated(setting: str) -> None:
    """The whole of it (2,000 lives in six settings) is `benchmarks.live`; 100 lives at 0.1 fail here with 10⁻⁴."""
    assert _lives.lives(setting, 100, seed=7).violated <= _lives.allowed(100)


def test_the_order_of_prompts_has_to_be_drawn() -> None:
    """Where those without losses come first, nearly all lives are violated."""
    assert _lives.lives(_lives.AS_IN_FILE, 20).violated >= 16


def test_a_drift_is_told_and_a_life_told_again_is_the_same() -> None:
    """After a change to f = 16 % the alarm comes within some 380 prompts in nearly all lives."""
    tally = _lives.lives("resumed", 40, seed=1)
    assert tally.other_courses == 0
    assert len(tally.at_work) == 40
    assert tally.alarms >= 34
    assert tally.violated <= _lives.allowed(40)


OPTIONS = PilotOptions(attempts=4, prompts=480, block=8, shadow=0.05, least_fitted=20, audit=0.25)


class Seen(NamedTuple):
    """A course with what it was told."""

    course: Course
    past: list[BlockOutcomes]
    fits: list[tuple[int, int, int]]


def live(rates: Sequence[float], blocks: int, *, seed: int = 0, worse_from: int = 10**9, worse: float = 8.0) -> Seen:
    """Live so many blocks with levels of these false-reject rates."""
    rng = np.random.default_rng(seed)
    levels = [
        LevelEstimate(
            price=1.0, false_reject_rate=f, saving_rate=0.1 + f, net_cost_factor=(0.9 - f) / (1 - f),
            growth=tuple(growth(np.array([0.5 * (f - 0.05)]), 0.95).tolist()), mean_root=0.3,
        )
        for f in rates
    ]  # fmt: skip
    past, fits = list[BlockOutcomes](), list[tuple[int, int, int]]()

    def fit(begin: int, end: int, number: int) -> Sequence[LevelEstimate]:
        fits.append((begin, end, number))
        return levels

    course = Course(OPTIONS, fit)
    for block in range(blocks):
        steering = course.steering(block)
        good, U = rng.random((8, 4)) < 0.5, rng.random((8, 4, 1))
        lost = np.asarray(rates) * (worse if block >= worse_from else 1.0)
        first = np.where(good, (lost <= U).sum(axis=2), (np.linspace(0.4, 0.6, len(rates)) <= U).sum(axis=2))
        past.append(_lives.under(steering, _lives.Prompts(good, first), rng.random((8, 4))))
        course.close(past[-1])
    return Seen(course, past, fits)


def test_only_certified_levels_are_ever_at_work() -> None:
    course, past, _ = live([0.005, 0.01, 0.2], 60)
    phases = [each.phase for each in course.steerings]
    assert phases[:5] == ["shadow"] * 4 + ["certifying"]
    assert phases[-1] == "discarding"
    assert course.n_certified == 2
    assert phases == sorted(phases, key=["shadow", "certifying", "discarding"].index)
    for block in range(60):
        again = Course(OPTIONS, lambda *_: course.levels)
        for outcomes in past[:block]:
            again.close(outcomes)
        steering = again.steering(block + 1)
        assert steering == course.steerings[block + 1]
        assert steering.level is None or steering.level < again.n_certified
        if block % 20 == 0:
            with pytest.raises(InputError, match="not settled"):
                again.steering(block + 2)


def test_what_a_block_runs_under_hangs_on_blocks_two_before_it() -> None:
    course, past, _ = live([0.005, 0.01], 60)
    for block in range(0, 56, 5):
        other = Course(OPTIONS, lambda *_: course.levels)
        for outcomes in past[: block + 1]:
            other.close(outcomes)
        assert other.steering(block + 2) == course.steering(block + 2)
        bad = past[block + 1]._replace(accepted=np.zeros((8, 4), dtype=bool))
        other.close(bad)
        assert other.steerings[: block + 3] == course.steerings[: block + 3]


def test_an_alarm_falls_back_and_a_new_path_is_tested_on_what_comes_after() -> None:
    course, past, fits = live([0.004, 0.02], 60, worse_from=30, worse=60.0)
    assert len(course.alarms) == 1
    (_, shadow, first), (begin, end, second) = fits[:2]
    assert (first, second) == (0, 1)
    assert shadow < course.alarms[0] < begin < end
    assert not any(outcomes.gone.any() for outcomes in past[begin // 8 :])
    after = course.alarms[0] // 8 + 1
    notes = [each.note for each in course.steerings]
    assert any("alarm" in note for note in notes)
    assert all(each.level is None and each.phase == "shadow" for each in course.steerings[after : after + 3])
    assert course.path == len(fits) - 1
    assert course.tests is not None
    assert course.tests.log_level == pytest.approx(-np.log(delta_of(len(fits) - 1, OPTIONS.delta)))
    assert course.tested_from > course.alarms[0] + 8


def test_a_fit_in_vain_is_tried_again_with_twice_as_much() -> None:
    asked: list[tuple[int, int, int]] = []

    def fit(begin: int, end: int, number: int) -> list[LevelEstimate]:
        asked.append((begin, end, number))
        return []

    course = Course(OPTIONS, fit)
    rng = np.random.default_rng(0)
    for _ in range(30):
        ones = np.ones((8, 4))
        course.close(BlockOutcomes(rng.random((8, 4)) < 0.5, ones, ones.astype(np.int64), ones < 0))
    assert asked == [(0, 24, 0), (0, 48, 1), (0, 96, 2), (0, 192, 3)]
    assert {each.phase for each in course.steerings} == {"shadow"}


def test_a_path_without_prospects_gives_way_to_one_that_is_fitted_to_more() -> None:
    course, _, fits = live([0.3, 0.4], 40)
    assert [(begin, number) for begin, _, number in fits] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    ends = [end for _, end, _ in fits]
    assert ends == sorted(ends)
    assert all(later >= 2 * end for end, later in pairwise(ends))
    assert course.n_certified == 0
    assert course.tests is not None
    assert course.tests.log_level == pytest.approx(-np.log(delta_of(3, OPTIONS.delta)))
    assert course.tested_from > ends[-1]


def test_waiting_pays_while_many_prompts_are_left() -> None:
    tests = LevelTests(np.tile([[0.004, 0.008, 0.01]], (2, 1)), 0.1)
    tests.best[0] = 5.0  # the first is certified, and the second takes some 300 prompts more
    assert 250 < tests.prompts_to_certify[1] < 350
    saved = np.array([0.1, 0.2])
    assert plan_level(tests, saved, 1000).level is None
    assert plan_level(tests, saved, 1000).gain == pytest.approx(0.2 * (1000 - tests.prompts_to_certify[1]))
    assert plan_level(tests, saved, 300).level == 0
    assert plan_level(tests, np.array([-0.1, -0.2]), 300).level is None
    assert plan_level(tests, saved, 10**6, deployed=0).level == 0


def test_scores_above_what_was_known_beforehand_are_refused() -> None:
    with pytest.raises(InputError, match=r"a score of 3.5 is above 0.875"):
        level_tests(1, 0.1).add(np.array([[3.5]]), 1 - ALPHA)
    with pytest.raises(InputError, match="strictly between 0 and 1"):
        level_tests(1, 1.0)
    for wrong in ({"audit": 0.0}, {"confidence": 1.0}, {"block": 0}, {"shadow": 1.5}):
        with pytest.raises(InputError):
            PilotOptions(**wrong)


TRACES = make_traces(360, attempts=2, seed=4, slip=0.01, loop=0.8)
BY_PROMPT = {t.prompt_id: [s for s in TRACES if s.prompt_id == t.prompt_id] for t in TRACES[::2]}
SETTINGS = PilotOptions(
    max_false_reject=0.1, attempts=2, prompts=360, block=8, shadow=0.1, least_fitted=20, audit=0.25
)  # fmt: skip


class Flight(NamedTuple):
    """A pilot with the entries it was told, and the paths that it asked for."""

    pilot: Pilot
    told: list[tuple[str, list[Entry]]]
    paths: dict[int, PathFile]


def fit(prompt_ids: Sequence[str]) -> PathFile:
    traces = [t for p in prompt_ids for t in BY_PROMPT[p]]
    table = build_evidence(traces, EveryUnits(80, "characters"), default_validators())
    return fit_levels(table, FitOptions(max_false_reject=0.1, method="logistic"))


def fly() -> Flight:
    """Generate with a pilot: attempts are the recorded texts."""
    paths: dict[int, PathFile] = {}

    def kept(prompt_ids: Sequence[str], number: int) -> PathFile:
        assert number not in paths
        paths[number] = fit(prompt_ids)
        return paths[number]

    pilot, told = Pilot(SETTINGS, kept), []
    for place, (prompt_id, traces) in enumerate(BY_PROMPT.items()):
        entries = [attempt(pilot, place // SETTINGS.block, trace) for trace in traces]
        pilot.add(prompt_id, entries)
        told.append((prompt_id, entries))
    pilot.end()
    return Flight(pilot, told, paths)


def attempt(pilot: Pilot, block: int, trace: Trace) -> Entry:
    policy, audit = pilot.policy(block)
    level, run = pilot.steer(block).level, policy.start(trace.prompt)
    decisions = [run.begin()]
    decisions += [run.feed(trace.text[i : i + 80]) for i in range(0, len(trace.text), 80)]
    stop = next((d for d in decisions if d is not None and d.action is Action.DISCARD), None)
    entry = Entry(
        id=trace.id, prompt_id=trace.prompt_id, outcome="accepted" if trace.accepted else "unaccepted",
        tokens=len(trace.text), prompt_tokens=1, seconds=0.0, stages=(len(trace.text),),
        level=level, first=getattr(run, "first", None),
    )  # fmt: skip
    if stop is None or audit is None:
        return entry
    probability = audit.probability(stop.posterior)
    if audit_draw(trace.id.encode()) < probability:
        return msgspec.structs.replace(entry, audited=Audited(probability, stop.k, stop.posterior))
    return msgspec.structs.replace(
        entry, outcome="discarded", tokens=stop.position, stages=(stop.position,), first=None, ahead=100
    )


@pytest.fixture(scope="module")
def flight() -> Flight:
    return fly()


def test_a_run_from_nothing_ends_with_a_certified_policy(flight: Flight, tmp_path) -> None:
    state = flight.pilot.state
    assert state.phase == "discarding"
    assert state.path == 0
    assert list(flight.paths) == [0]
    assert state.level is not None
    assert state.level < state.certified <= state.levels
    assert state.prompts == 360
    assert state.blocks == 45
    assert state.alarms == ()
    assert state.max_false_reject == 0.1
    assert state.log_wealth_needed == pytest.approx(-np.log(0.08))
    discarded = [e for _, entries in flight.told for e in entries if e.outcome == "discarded"]
    assert state.tokens_saved == 100 * len(discarded) > 0
    assert state.saving is not None
    assert 0 < state.saving < 0.5
    assert state.monitor is not None
    assert not state.monitor.alarm
    under = [entries for _, entries in flight.told if entries[0].level == state.level]
    assert state.monitor.prompts == len(under)
    assert state.monitor.would_discard == sum(entry.would_discard for entries in under for entry in entries) > 0
    assert state.monitor.rate.lower <= state.monitor.rate.upper <= 1
    msgspec.json.decode(msgspec.json.encode(state), type=type(state))

    scored = flight.pilot.scored
    traces = [t for p in scored for t in BY_PROMPT[p]]
    table = build_evidence(traces, EveryUnits(80, "characters"), default_validators())
    file = flight.pilot.certified_policy(Fingerprint.of(table))
    assert file is not None
    certificate = file.certificate
    assert certificate.certified
    assert certificate.method == "betting by prompt, at any time"
    assert certificate.n_prompts == len(scored)
    assert certificate.p_value <= 0.08
    assert not file.never_discards
    file.save(tmp_path / "policy.json")
    assert PolicyFile.load(tmp_path / "policy.json") == file
    first = {e.id: e.first for _, entries in flight.told for e in entries}
    policy = file.policy()
    stops = dict(zip(table.attempt_ids, policy.stops(table).tolist(), strict=True))
    level = file.thresholds == flight.paths[0].thresholds[state.level] and state.level
    for trace in traces[:200]:
        if first[trace.id] is not None:
            assert (stops[trace.id] >= 0) == (first[trace.id] <= level)


def test_a_pilot_told_again_is_where_it_was(flight: Flight) -> None:
    again = Pilot(SETTINGS, lambda _, number: flight.paths[number])
    for prompt_id, entries in flight.told:
        again.add(prompt_id, entries)
    again.end()
    assert again.state == flight.pilot.state
    assert [again.steer(b) for b in range(46)] == [flight.pilot.steer(b) for b in range(46)]


def test_what_was_steered_otherwise_is_refused(flight: Flight) -> None:
    pilot = Pilot(SETTINGS, lambda _, number: flight.paths[number])
    prompt_id, entries = flight.told[0]
    with pytest.raises(InputError, match="ran at level 3, not None"):
        pilot.add(prompt_id, [msgspec.structs.replace(entries[0], level=3)])
    with pytest.raises(InputError, match="3 entries for 2 attempts"):
        pilot.add(prompt_id, [*entries, entries[0]])
    for each in flight.told[:100]:
        pilot.add(*each)
    good = next(e for _, entries in flight.told[100:] for e in entries if e.outcome == "accepted")
    with pytest.raises(InputError, match="does not say which level"):
        pilot.add(good.prompt_id, [msgspec.structs.replace(good, first=None)])


def test_a_pilot_steers_by_the_records_of_a_ledger(flight: Flight) -> None:
    pilot = flight.pilot
    assert pilot.begin() == pilot.steer(0)
    assert (pilot.steer(0).phase, pilot.steer(0).path, pilot.steer(0).level) == ("shadow", "", None)
    last = pilot.steer(46)
    assert (last.phase, last.path) == ("discarding", "path-0.json")
    assert isinstance(Steering(phase="shadow"), msgspec.Struct)
