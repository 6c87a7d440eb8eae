"""Evidence tables, posteriors and policy files: the same numbers live, replayed, stored and loaded."""

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from makers import make_table, make_traces
from msifr_calibration import Family, fit_policy
from msifr_calibration.certify import HeldBack, certify
from msifr_calibration.learn import fit_candidates
from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.linear import CheckpointGroup, LinearModel
from msifr_policy.checkpoints import first_rows
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import EveryUnits, NewlineSteps
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy import NEVER_DISCARD, Action
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.traces import Trace
from msifr_policy.validators import Length, default_validators
from msifr_sim import replay_policy


@pytest.fixture(scope="module")
def fitted():
    return fit_policy(make_table(400, attempts=2, seed=1), max_false_reject=0.1, seed=2)


def test_a_table_has_a_row_per_checkpoint_and_one_for_the_end():
    traces = [
        Trace(id="a", prompt_id="p", text="x" * 45, accepted=True),
        Trace(id="b", prompt_id="q", text="x" * 5, accepted=False),
        Trace(id="c", prompt_id="p", text="x" * 20, accepted=False),
    ]
    table = build_evidence(traces, EveryUnits(20, "characters"), [Length()])
    assert table.k.tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2]
    assert table.spent.tolist() == [0, 20, 40, 45, 0, 5, 0, 20, 20]
    assert table.is_checkpoint.tolist() == [True, True, True, False, True, False, True, True, False]
    assert table.prompt.tolist() == [0, 1, 0]
    assert table.cost.tolist() == [45, 5, 20]
    assert table.costing.unit == "characters"


def test_costs_are_tokens_where_all_traces_record_them():
    tokens = Trace(id="a", prompt_id="p", text="abcdef", accepted=True, tokens=4, token_ends=[1, 4, 6, 6])
    table = build_evidence([tokens], EveryUnits(2, "characters"), [Length()])
    # text[:2] needs the second token, text[:4] no more, text[:6] the third; the end token is the fourth.
    assert table.spent.tolist() == [0, 2, 2, 3, 4]
    assert (table.costing.unit, table.costing.source) == ("tokens", "recorded")
    total_only = Trace(id="b", prompt_id="p", text="abcd", accepted=True, tokens=8)
    table = build_evidence([total_only], EveryUnits(1, "characters"), [Length()])
    assert table.spent.tolist() == [0, 2, 4, 6, 8, 8]
    assert table.costing.source == "prorated"
    none = Trace(id="c", prompt_id="p", text="abcd", accepted=True)
    assert build_evidence([tokens, none], EveryUnits(2, "characters"), [Length()]).costing.unit == "characters"
    by_user = build_evidence([none], EveryUnits(2, "characters"), [Length()], tokenizer=lambda _: [3, 4])
    assert (by_user.spent.tolist(), by_user.costing.source) == ([0, 1, 2, 2], "tokenizer")
    with pytest.raises(InputError, match="1 of 1 traces record no token count"):
        build_evidence([none], EveryUnits(2, "characters"), [Length()], unit="tokens")
    with pytest.raises(InputError, match="needs the token boundaries"):
        build_evidence([none], EveryUnits(2, "tokens"), [Length()])


def test_a_table_needs_traces_with_ids_of_their_own():
    with pytest.raises(InputError, match="no traces"):
        build_evidence([], EveryUnits(2, "characters"), [Length()])
    twice = [Trace(id="a", prompt_id="p", text="", accepted=True)] * 2
    with pytest.raises(InputError, match="twice"):
        build_evidence(twice, EveryUnits(2, "characters"), [Length()])


def same(a, b):
    return np.array_equal(a, b, equal_nan=a.dtype == np.float64) if isinstance(a, np.ndarray) else a == b


def test_parquet_gives_the_table_back(tmp_path):
    table = make_table(30, attempts=2)
    table.write(tmp_path / "t.parquet")
    back = EvidenceTable.read(tmp_path / "t.parquet")
    for name in (
        "columns",
        "values",
        "verdicts",
        "k",
        "spent",
        "position",
        "start",
        "attempt_ids",
        "groups",
        "provenance",
    ):
        assert same(getattr(table, name), getattr(back, name)), name
    for name in ("accepted", "schedule", "validators", "costing", "fingerprint"):
        assert same(getattr(table, name), getattr(back, name)), name
    prompts = np.asarray(table.prompt_ids)[table.prompt]
    assert np.array_equal(prompts, np.asarray(back.prompt_ids)[back.prompt])
    assert np.array_equal(table.prompt_hash[table.prompt], back.prompt_hash[back.prompt])
    (tmp_path / "no.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="not an evidence table"):
        EvidenceTable.read(tmp_path / "no.parquet")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_take_is_building_the_table_of_those_attempts(indices):
    traces = make_traces(10)
    table = make_table(10).take(np.asarray(indices))
    chosen = [replace_id(traces[i], n) for n, i in enumerate(indices)]
    again = build_evidence(chosen, EveryUnits(20, "characters"), default_validators())
    for name in ("values", "k", "spent", "start", "accepted"):
        assert same(getattr(table, name), getattr(again, name)), name
    assert np.array_equal(np.asarray(table.prompt_ids)[table.prompt], np.asarray(again.prompt_ids)[again.prompt])


def replace_id(trace, n):
    return msgspec.structs.replace(trace, id=f"{n:02d}")


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=6))
def test_first_rows_is_the_first_true_of_each_attempt(attempts):
    fires = np.asarray([x for a in attempts for x in a])
    start = np.cumsum([0] + [len(a) for a in attempts])
    expected = [s + a.index(True) if True in a else -1 for s, a in zip(start[:-1].tolist(), attempts, strict=True)]
    assert first_rows(fires, start).tolist() == expected


def test_one_row_is_predicted_to_the_last_bit_as_among_many(fitted):
    table = fitted.certifying
    M, r = fitted.file.beliefs.predict(table.k, table.values)
    alone = [fitted.file.beliefs.predict(table.k[[i]], table.values[[i]]) for i in range(0, len(M), 37)]
    assert M[::37].tolist() == [float(m[0]) for m, _ in alone]
    assert r[::37].tolist() == [float(cost[0]) for _, cost in alone]


def test_unknown_evidence_says_nothing():
    group = CheckpointGroup(0.3, [1.0, 2.0], [1.0, 2.0], [0.5, -0.5])
    model = LinearModel([0], [group])
    beliefs = Beliefs("logistic", ("a", "b"), 10.0, model, cost_model=model)
    centre = np.expm1([[1.0, 2.0]])
    unknown = np.asarray([[math.nan, math.nan]])
    one = np.ones(1, dtype=np.int64)
    assert np.asarray(beliefs.predict(one, unknown)) == pytest.approx(np.asarray(beliefs.predict(one, centre)))
    assert beliefs.predict(one * 99, unknown) == beliefs.predict(one, unknown)


def test_the_live_run_decides_as_the_replay_of_what_it_wrote(fitted):
    policy = fitted.file.policy()
    traces = make_traces(60, seed=9)
    table = build_evidence(traces, fitted.file.schedule, policy.validators)
    outcomes = replay_policy(policy, table)
    first = {"history": {"accepted": 0, "rejected": 0}}  # there is one attempt at each prompt
    assert policy.reads_history
    assert 0 < outcomes.discarded.sum() < len(traces)
    for trace in traces:
        i = table.attempt_ids.index(trace.id)
        run = policy.start(trace.prompt, first)
        stopped = None
        for n, character in enumerate(trace.text):
            decision = run.feed(character, 1)
            if decision is not None and decision.action is Action.DISCARD:
                stopped = (decision.k, n + 1, decision.reason)
                break
        replayed = (int(outcomes.stop_k[i]), int(outcomes.cost_policy[i]), outcomes.reason[i])
        assert stopped == (replayed if outcomes.discarded[i] else None)
        # In pieces of any size the decisions are the same, only seen later.
        if stopped is not None:
            decision = policy.start(trace.prompt, first).feed(trace.text)
            assert (decision.action, decision.k, decision.reason) == (Action.DISCARD, stopped[0], stopped[2])


def test_a_policy_file_comes_back_and_decides_the_same(fitted, tmp_path):
    path = tmp_path / "policy.json"
    fitted.file.save(path)
    loaded = PolicyFile.load(path)
    assert loaded == fitted.file
    assert np.array_equal(loaded.policy().stops(fitted.certifying), fitted.file.policy().stops(fitted.certifying))
    assert not loaded.never_discards


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": 1}, "schema version 1"),
        ({"schema_version": "2"}, "not a policy file"),
        ({"surprise": 1}, "surprise"),
        ({"thresholds": [2.0]}, r"thresholds"),
        ({"thresholds": [None]}, r"thresholds"),
        ({"price": -1.0}, r"price"),
        ({"certificate": ...}, "certificate"),
        ({"schedule": {"kind": "every", "n": 0, "unit": "tokens"}}, "must be at least 1"),
        ({"schedule": {"kind": "sometimes"}}, "sometimes"),
        ({"beliefs": {"method": "logistic", "columns": []}}, "beliefs"),
        ({"beliefs": {"method": "guessed", "columns": []}}, "beliefs"),
        ({"beliefs": "learned without a network"}, "a network gives the cost to go of learned beliefs"),
    ],
)
def test_a_policy_file_that_does_not_validate_is_refused_with_the_reason(fitted, tmp_path, change, says):
    data = json.loads(msgspec.json.encode(fitted.file))
    if change.get("beliefs") == "learned without a network":
        change = {"beliefs": data["beliefs"] | {"method": "learned"}}
    data |= change
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not ...}))
    with pytest.raises(InputError, match=says):
        PolicyFile.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100000, b'{"schema_version": 1e999}'])
def test_hostile_policy_files_are_refused(tmp_path, content):
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"policy\.json"):
        PolicyFile.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        PolicyFile.load(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "nobody"}, "unknown validator 'nobody'"),
        ({"version": "of yesterday"}, "fit the policy again"),
        ({"parameters": {"strikes": "many"}}, "parameters of validator"),
    ],
)
def test_validators_that_cannot_be_made_are_refused(fitted, change, says):
    first = msgspec.structs.replace(fitted.file.validators[0], **change)
    file = msgspec.structs.replace(fitted.file, validators=[first, *fitted.file.validators[1:]])
    with pytest.raises(InputError, match=says):
        file.policy()


def test_evidence_of_another_kind_is_refused(fitted):
    policy = fitted.file.policy()
    with pytest.raises(InputError, match="other columns, schedule or validators"):
        policy.stops(make_table(5, schedule=NewlineSteps()))
    short = msgspec.structs.replace(fitted.file, validators=fitted.file.validators[:-1])
    with pytest.raises(InputError, match="columns of the beliefs"):
        short.policy()


def test_policies_can_be_kept_in_sets(fitted):
    policy = fitted.file.policy()
    assert {policy: 1}[policy] == 1
    assert policy in [policy]


def test_the_policy_that_never_discards_never_does(fitted):
    file = msgspec.structs.replace(fitted.file, thresholds=[])
    assert (file.policy().stops(fitted.certifying) == -1).all()
    assert file.never_discards
    run = NEVER_DISCARD.start("prompt")
    assert run.feed("anything", 3) is None
    assert run.failures == {}


def test_reasons_name_a_dead_verdict_first(fitted):
    policy = fitted.file.policy()
    table = fitted.certifying
    verdicts = np.zeros_like(table.verdicts[:3])
    verdicts[1, 2] = 1
    words = policy.reasons(table.k[:3], table.values[:3], verdicts)
    assert words[1] == policy.validators[2].name
    assert set(words) <= {v.name for v in policy.validators}


def test_a_table_without_evidence_keeps_costs_and_outcomes():
    table = make_table(30, attempts=2, seed=3)
    some = np.asarray([5, 0, 17])
    whole, bare = table.take(some), table.take(some, evidence=False)
    assert (bare.columns, bare.validators, bare.values.shape) == ((), (), (len(whole.k), 0))
    assert (bare.fingerprint, bare.attempt_ids) == (whole.fingerprint, whole.attempt_ids)
    for name in ("k", "spent", "position", "start", "prompt", "accepted"):
        np.testing.assert_array_equal(getattr(bare, name), getattr(whole, name))


def test_attempts_held_back_are_certified_as_their_table_is():
    """Evidence that is read where it is gives the same as a copy of it."""
    table = make_table(300, attempts=1, seed=4)
    held = np.flatnonzero(np.arange(300) % 2 == 0)
    candidates = fit_candidates([Family("", table.take(np.flatnonzero(np.arange(300) % 2 == 1)))])
    (by_table,) = certify(candidates, [table.take(held)], key="k")
    (by_part,) = certify(candidates, [HeldBack(table, held)], key="k")
    assert by_part.file == by_table.file
    assert by_part.certifying.attempt_ids == by_table.certifying.attempt_ids
