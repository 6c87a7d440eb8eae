"""Checkpoint 0 and the history of a prompt: a replay says what a run in flight does, one attempt after the other."""

from dataclasses import replace

import numpy as np
import pytest

from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.linear import CheckpointGroup, LinearModel
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.history import COLUMNS, PromptQuota, gives_up, has_history, with_history
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy import Action
from msifr_policy.records.traces import Trace
from msifr_policy.validators import History, Length, default_validator, for_prompt
from msifr_policy.validators.base import Verdict
from msifr_sim import replay_policy

SCHEDULE = EveryUnits(10, "characters")


def some_traces(rng: np.random.Generator, *, numbered: bool = True) -> list[Trace]:
    traces = []
    for p in range(int(rng.integers(1, 8))):
        rate = rng.random()
        for a in range(int(rng.integers(1, 9))):
            text = "x" * int(rng.integers(0, 60))
            name = f"q{p}/0/{a}" if numbered else f"q{p}-{rng.integers(1 << 40)}"
            traces.append(Trace(id=name, prompt_id=f"q{p}", text=text, accepted=bool(rng.random() < rate)))
    return traces


def some_policy(rng: np.random.Generator, *, history: bool = True, quota: bool = False) -> FittedPolicy:
    validators = (Length(), History()) if history else (Length(),)
    D = 5 if history else 3

    def model(spread: float) -> LinearModel:
        groups = [
            CheckpointGroup(float(rng.normal()), [0.0] * D, [1.0] * D, (spread * rng.normal(size=D)).tolist())
            for _ in range(2)
        ]
        return LinearModel([0, 0, 1], groups)

    columns = tuple(f"{v.name}.{c}" for v in validators for c in v.columns)
    beliefs = Beliefs("logistic", columns, 30.0, model(1.0), [], model(0.3))
    thresholds = rng.random(5) ** 2 * (rng.random(5) < 0.7)
    rule = None
    if quota:
        n, m = rng.integers(1, 6, size=2).tolist()
        rule = PromptQuota(n, m, (rng.random((m, n)) < 0.2).tolist())
    return FittedPolicy(SCHEDULE, validators, beliefs, thresholds, quota=rule)


def in_flight(policy: FittedPolicy, traces: list[Trace]) -> dict[str, tuple[int, float, str]]:
    """Run the attempts of every prompt one after the other, as an engine would; return where each stopped, and why."""
    counts: dict[str, list[int]] = {}
    stopped = {}
    for trace in sorted(traces, key=lambda t: (t.prompt_id, int(t.id.rpartition("/")[2]))):
        accepted, rejected = counts.setdefault(trace.prompt_id, [0, 0])
        run = policy.start(trace.prompt, {"history": {"accepted": accepted, "rejected": rejected}})
        decision = run.begin()
        assert decision is not None
        assert (decision.k, decision.position, decision.tokens) == (0, 0, 0)
        for i in range(0, len(trace.text), 7):
            if decision is not None and decision.action is Action.DISCARD:
                break
            decision = run.feed(trace.text[i : i + 7])
        assert not run.failures
        if decision is not None and decision.action is Action.DISCARD:
            stopped[trace.id] = (decision.k, float(decision.position), decision.reason)
            counts[trace.prompt_id][1] += decision.k > 0  # one that was not begun tells nothing
        else:
            counts[trace.prompt_id][not trace.accepted] += 1
    return stopped


def test_a_replay_is_what_runs_one_attempt_after_the_other():
    """Random policies on random attempts, with and without a quota: many of them change their own history."""
    changed = skipped = given_up = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        traces, policy = some_traces(rng), some_policy(rng, quota=seed % 2 == 1)
        shuffled = [traces[i] for i in rng.permutation(len(traces))]  # the numbers of the ids say the order
        table = build_evidence(shuffled, SCHEDULE, policy.validators)
        outcomes = replay_policy(policy, table)
        live = in_flight(policy, traces)
        replayed = {
            table.attempt_ids[i]: (int(outcomes.stop_k[i]), float(outcomes.cost_policy[i]), outcomes.reason[i])
            for i in np.flatnonzero(outcomes.discarded)
        }
        assert replayed == live
        followed = policy.follow(table)
        changed += not np.array_equal(followed.worth, policy.worth(table)[1])
        skipped += any(k == 0 for k, _, _ in live.values()) and policy.quota is None
        given_up += any(k == 0 for k, _, _ in live.values()) and policy.quota is not None
    assert changed > 60  # or the test would not have tested much
    assert skipped > 10
    assert given_up > 20


def test_the_history_counts_how_earlier_attempts_ended():
    outcomes = [("a", "p", True), ("b", "q", False), ("c", "p", False), ("d", "p", True), ("e", "q", False)]
    traces = [Trace(id=i, prompt_id=p, text="x" * 12, accepted=ok) for i, p, ok in outcomes]
    table = build_evidence(traces, SCHEDULE, [Length(), History()])
    assert table.columns[-2:] == COLUMNS
    assert table.k.tolist() == [0, 1, 2] * 5
    told = {i: table.values[table.start[n], -2:].tolist() for n, i in enumerate(table.attempt_ids)}
    assert told == {"a": [0, 0], "b": [0, 0], "c": [1, 0], "d": [1, 1], "e": [0, 1]}
    for n in range(5):  # the same at every checkpoint of an attempt
        assert (table.values[table.start[n] : table.start[n + 1], -2:] == table.values[table.start[n], -2:]).all()


def test_attempts_follow_each_other_by_the_numbers_of_their_ids_where_all_have_one():
    traces = [Trace(id=f"p/{i}", prompt_id="p", text="", accepted=i == 0) for i in (10, 9, 0)]
    table = build_evidence(traces, SCHEDULE, [History()])
    assert table.attempt_ids == ("p/0", "p/10", "p/9")
    assert table.values[table.start[:-1]].tolist() == [[0, 0], [1, 1], [1, 0]]
    other = build_evidence([*traces, Trace(id="p/last", prompt_id="p", text="", accepted=True)], SCHEDULE, [History()])
    assert other.attempt_ids == ("p/0", "p/10", "p/9", "p/last")  # else in this order: that of their characters
    assert other.values[other.start[:-1]].tolist() == [[0, 0], [1, 0], [1, 1], [1, 2]]


def test_a_table_gets_the_history_afterwards_as_if_it_had_been_built_with_it():
    rng = np.random.default_rng(1)
    traces = some_traces(rng)
    before, after = (build_evidence(traces, SCHEDULE, v) for v in ([Length()], [Length(), History()]))
    added = with_history(before)
    assert (added.columns, added.validators) == (after.columns, after.validators)
    np.testing.assert_array_equal(added.values, after.values)
    np.testing.assert_array_equal(added.verdicts, after.verdicts)
    assert with_history(added) is added
    # A policy that reads it takes a table without it.
    policy = some_policy(rng)
    np.testing.assert_array_equal(policy.stops(before), policy.stops(after))


def test_a_part_of_the_prompts_is_followed_as_it_is_among_all():
    rng = np.random.default_rng(5)
    for _ in range(30):
        policy, table = some_policy(rng), build_evidence(some_traces(rng), SCHEDULE, (Length(), History()))
        whole = policy.follow(table)
        some = rng.random(table.n_prompts) < 0.5
        part = policy.follow(table.where(some))
        kept = some[table.prompt]
        np.testing.assert_array_equal(part.stop >= 0, (whole.stop >= 0)[kept])
        np.testing.assert_array_equal(part.told, whole.told[kept])


def test_a_policy_without_the_history_is_followed_as_it_stands():
    rng = np.random.default_rng(2)
    policy, traces = some_policy(rng, history=False), some_traces(rng)
    table = build_evidence(traces, SCHEDULE, policy.validators)
    np.testing.assert_array_equal(policy.stops(table), table.stops(policy.worth(table)[1], policy.thresholds))
    assert not policy.reads_history
    assert some_policy(rng).reads_history


def test_history_is_told_by_parameters_and_otherwise_unknown():
    rule = default_validator("history")
    verdict, scores = rule.start("prompt").feed("text")
    assert verdict is Verdict.UNKNOWN
    assert np.isnan(scores).all()
    told = for_prompt(rule, {"history": {"accepted": 3, "rejected": 0}})
    assert told.start("").feed("").scores == (3, 0)
    for bad in (-1, 2**40, 1.5, "3"):
        with pytest.raises(InputError):
            for_prompt(rule, {"history": {"accepted": bad, "rejected": 0}})


def test_there_is_a_history_where_prompts_have_two_attempts_on_average():
    rng = np.random.default_rng(3)
    several = build_evidence(some_traces(rng), SCHEDULE, [Length()])
    assert has_history(several) == (several.n_attempts >= 2 * several.n_prompts)
    once = [Trace(id=f"{i}", prompt_id=f"p{i}", text="x", accepted=True) for i in range(4)]
    assert not has_history(build_evidence(once, SCHEDULE, [Length()]))
    assert not has_history(replace(several).take(np.zeros(0, dtype=np.int64)))


def test_prompts_are_given_up_as_the_table_says_and_never_where_nothing_is_known():
    give_up = np.asarray([[False, False], [True, False], [True, True]])
    told = np.asarray([[0, 0], [0, 1], [1, 0], [0, 2], [1, 1], [2, 0], [0, 3], [np.nan, np.nan]], dtype=float)
    assert gives_up(give_up, told).tolist() == [False, True, False, True, True, False, False, False]
    with pytest.raises(InputError, match="not a table of 2 x 1"):
        PromptQuota(1, 2, [[False]])
    policy = some_policy(np.random.default_rng(0))
    with pytest.raises(InputError, match="needs the history"):
        replace(some_policy(np.random.default_rng(0), history=False), quota=PromptQuota(1, 1, [[False]]))
    assert policy.quota is None
