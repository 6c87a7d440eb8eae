"""Checkpoint 0, history and quotas: whose turn it is, and that side by side nothing else is made than one by one."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from zlib import crc32

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from letters import Letters, Streams, good, run, tasks, text_of
from msifr_integrations.cli import main
from msifr_integrations.cluster import on_ray
from msifr_integrations.cluster.worker import EngineWorker, Finished, WorkOrder
from msifr_integrations.engine.base import Again, Attempt, Event, Notice, stream_key
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.generation.engines import Opened
from msifr_integrations.generation.generate import Job
from msifr_integrations.generation.journal import AttemptRecord, Journal, ledger_path
from msifr_integrations.generation.live import Live, Task
from msifr_integrations.generation.merge import merge_runs
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.paired import pair_runs, read_attempts
from msifr_integrations.generation.progress import Progress
from msifr_integrations.generation.turns import Goal, Portion, Turns, reads_history
from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.linear import CheckpointGroup, LinearModel
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.history import PromptQuota, in_quota
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.filters import Prompt, final_filter
from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy import NEVER_DISCARD, Action, Decision
from msifr_policy.records.ledger import NO_ATTEMPTS, AtPrompt, Entry, read_ledger, total
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import History, Length

# What the tests run: an engine that makes a text of the attempt's key, a filter, and a policy that reads history.


def hopeless(accepted: int, rejected: int) -> bool:
    return accepted == 0 and rejected >= 3


def bad_start(text: str, accepted: int, rejected: int) -> bool:
    """What is discarded at the third letter depends on all of the history, so that a wrong one shows."""
    return crc32(f"{text}{accepted},{rejected}".encode()) % 3 == 0


class ByHistory:
    """Discards at checkpoint 0 and at the third letter, by what came of earlier attempts."""

    validators = (SimpleNamespace(name="history"),)
    fingerprint = "by history"

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []

    def start(self, prompt: str, parameters: Mapping[str, Any]) -> HistoryRun:
        return HistoryRun(self, prompt, **parameters["history"])


class HistoryRun:
    failures: Mapping[str, int] = {}

    def __init__(self, policy: ByHistory, prompt: str, accepted: int, rejected: int) -> None:
        self.policy, self.prompt, self.history, self.text = policy, prompt, (accepted, rejected), ""

    def begin(self) -> Decision | None:
        self.policy.begun.append((self.prompt, *self.history))
        return self.decide(0, stop=hopeless(*self.history))

    def feed(self, text: str, tokens: int = 0, logprobs: Sequence[float] = ()) -> Decision | None:
        del tokens, logprobs
        before, self.text = len(self.text), self.text + text
        return self.decide(1, stop=bad_start(self.text, *self.history)) if before < 3 <= len(self.text) else None

    def decide(self, k: int, *, stop: bool) -> Decision:
        action = Action.DISCARD if stop else Action.CONTINUE
        return Decision(action, k, len(self.text), len(self.text), 0.1, 0.5, "history" if stop else "", 0.2)


def one_by_one(
    prompts: Sequence[Prompt], attempts: int, quota: int | None, *, history: bool, failing: Sequence[str] = ()
) -> dict[str, tuple[str, str]]:
    """What a run must make, by hand: the outcome and text of every attempt."""
    made: dict[str, tuple[str, str]] = {}
    for prompt in prompts:
        accepted = rejected = 0
        for number in range(attempts):
            if quota is not None and accepted >= quota:
                break
            name, text = f"{prompt.prompt_id}/0/{number}", text_of(stream_key(0, prompt.prompt_id, number))
            if history and hopeless(accepted, rejected):
                made[name] = ("skipped", "")
            elif name in failing:
                made[name] = ("failed", "")
            elif history and len(text) >= 3 and bad_start(text[:3], accepted, rejected):
                made[name] = ("discarded", text[:3])
                rejected += 1
            elif good(prompt, text):
                made[name] = ("accepted", text)
                accepted += 1
            else:
                made[name] = ("unaccepted", text)
                rejected += 1
    return made


def made(out: Path) -> dict[str, tuple[str, str]]:
    """Outcome and text of every attempt, checked in record and ledger."""
    records, entries = read_attempts(out), {entry.id: entry for entry in read_ledger(ledger_path(out)).entries}
    assert records.keys() == entries.keys()
    for name, record in records.items():
        entry = entries[name]
        assert entry.skipped == (record.k == 0)
        if entry.skipped:
            assert (record.status, record.tokens, record.text, record.position) == ("discarded", 0, "", 0)
            assert (entry.tokens, entry.prompt_tokens, record.prompt_tokens, entry.stages) == (0, 0, 0, ())
            assert (record.reason, entry.reason, record.token_ends) == ("history", "history", [])
    return {
        name: ("skipped" if entry.skipped else entry.outcome, records[name].text) for name, entry in entries.items()
    }


def timeless(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both files, without order and times."""
    entries = read_ledger(ledger_path(out)).entries
    assert len({entry.id for entry in entries}) == len(entries)
    plain = {entry.id: msgspec.structs.replace(entry, seconds=0, cpu_seconds=0, lost=0) for entry in entries}
    return read_attempts(out), plain


ENGINES = [Letters, Streams]

WORLDS: dict[str, Any] = {
    "shares": st.lists(st.sampled_from([0, 0, 20, 50, 90, 100]), min_size=1, max_size=7),
    "attempts": st.integers(1, 7),
    "quota": st.none() | st.integers(1, 7),
    "slots": st.integers(1, 5),
    "history": st.booleans(),
    "engine": st.sampled_from(ENGINES),
}


def usable(attempts: int, quota: int | None) -> int | None:
    return None if quota is None else min(quota, attempts)


@given(**WORLDS, failing=st.sets(st.integers(0, 6), max_size=3))
@settings(max_examples=150, deadline=None)
def test_side_by_side_exactly_the_attempts_of_a_run_one_by_one_are_made(
    tmp_path_factory: pytest.TempPathFactory, failing: set[int], **world: Any
) -> None:
    out = tmp_path_factory.mktemp("run") / "out.jsonl"
    prompts, attempts, history = tasks(world["shares"]), world["attempts"], world["history"]
    quota, policy = usable(attempts, world["quota"]), ByHistory() if history else None
    failed = [f"p{n}/0/{n % attempts}" for n in failing]
    engine = world["engine"](world["slots"], failing=failed)
    told: list[Progress] = []
    result = run(out, engine, prompts, policy, attempts=attempts, accepted_per_prompt=quota, progress=told.append)
    expected = one_by_one(prompts, attempts, quota, history=history, failing=failed)
    assert made(out) == expected
    outcomes = Counter(outcome for outcome, _ in expected.values())
    assert Counter(engine.submitted) == Counter(name for name, (how, _) in expected.items() if how != "skipped")
    assert (result.accepted, result.failed, result.skipped) == (
        outcomes["accepted"], outcomes["failed"], outcomes["skipped"],
    )  # fmt: skip
    assert result.discarded == outcomes["discarded"] + outcomes["skipped"]
    assert result.attempts == len(expected) == told[-1].done == told[-1].attempts
    assert [one.attempts for one in told] == sorted((one.attempts for one in told), reverse=True)
    if isinstance(policy, ByHistory):  # nothing else was ever asked, and each with what had come before
        assert len(policy.begun) >= len(expected)
    if quota is None:
        assert result.prompts_filled is msgspec.UNSET
    else:
        accepted = Counter(name.split("/")[0] for name, (how, _) in expected.items() if how == "accepted")
        skipped = {name.split("/")[0] for name, (how, _) in expected.items() if how == "skipped"}
        filled = sum(n == quota for n in accepted.values())
        assert (result.prompts_filled, result.prompts_given_up) == (filled, len(skipped))
        assert result.prompts_exhausted == len(prompts) - filled - len(skipped)


@given(**WORLDS, deaths=st.lists(st.integers(0, 25), min_size=1, max_size=4), cut=st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_a_run_killed_at_any_moment_goes_on_to_the_same_files(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], cut: int, **world: Any
) -> None:
    folder = tmp_path_factory.mktemp("run")
    prompts, attempts, history = tasks(world["shares"]), world["attempts"], world["history"]
    options = {"attempts": attempts, "accepted_per_prompt": usable(attempts, world["quota"])}

    def go_on(out: Path, dies: int | None) -> None:
        engine = world["engine"](world["slots"], dies=dies)
        run(out, engine, prompts, ByHistory() if history else None, **options)

    whole, out = folder / "whole.jsonl", folder / "out.jsonl"
    go_on(whole, None)
    for dies in deaths:
        with suppress(KeyboardInterrupt):
            go_on(out, dies)
    if out.exists():  # a kill may leave half a line of either file, or a record without its account
        lines, accounts = out.read_bytes(), ledger_path(out).read_bytes()
        record, account = lines.splitlines(True)[-1:], accounts.splitlines(True)[-1:]
        if record and account and json.loads(account[0])["kind"] == "attempt":
            cut = min(cut, len(record[0]) + len(account[0]))
            out.write_bytes(lines[: len(lines) - max(0, cut - len(account[0]))])
            ledger_path(out).write_bytes(accounts[: len(accounts) - min(cut, len(account[0]))])
    go_on(out, None)
    assert timeless(out) == timeless(whole)
    before = out.read_bytes(), ledger_path(out).read_bytes()
    said: list[str] = []
    run(out, Letters(1, dies=0), prompts, ByHistory() if history else None, slots=world["slots"], tell=said.append,
        **options)  # fmt: skip
    assert "already finished" in said[0]
    assert (out.read_bytes(), ledger_path(out).read_bytes()) == before


@pytest.mark.parametrize("engine", ENGINES)
def test_without_history_and_quota_attempts_come_prompt_by_prompt(tmp_path: Path, engine: Any) -> None:
    used = engine(3)
    run(tmp_path / "out.jsonl", used, tasks([50] * 4), None, attempts=3)
    assert used.submitted == [f"p{i}/0/{n}" for i in range(4) for n in range(3)]


def test_started_prompts_go_on_before_new_ones_begin_and_slots_stay_full(tmp_path: Path) -> None:
    engine = Letters(4)
    with patch(f"{__name__}.hopeless", lambda *_: False):
        run(tmp_path / "out.jsonl", engine, tasks([100, 90, 50, 20] * 10), ByHistory(), attempts=5)
    firsts = [name for name in engine.submitted if name.endswith("/0")]
    assert firsts == sorted(firsts, key=lambda name: int(name[1:].split("/")[0]))
    begun = Counter[str]()
    for name in engine.submitted:
        begun[name.split("/")[0]] += 1
        # One that was stopped leaves a step later: its slot is another prompt's by then.
        assert sum(n < 5 for n in begun.values()) <= 2 * 4
    assert engine.most <= 4 + 1
    assert sum(engine.busy[:-20]) == 4 * len(engine.busy[:-20])


def test_a_quota_lets_as_many_run_side_by_side_as_it_may_take(tmp_path: Path) -> None:
    engine = Letters(8)
    run(tmp_path / "out.jsonl", engine, tasks([50]), None, accepted_per_prompt=3)
    assert engine.busy[0] == 3


def test_portions_are_taken_as_they_are_needed() -> None:
    """The tasks of a run are never all there: neither of 3,000 prompts, nor of a prompt's million attempts."""
    begun: list[int] = []

    def portions() -> Iterator[Portion]:
        for place in range(3000):
            begun.append(place)
            yield Portion(place, range(1_000_000))

    def task(place: int, number: int, history: AtPrompt | None) -> Task:
        assert (history is None) != limited
        return Task(Prompt(prompt_id=f"p{place}", prompt="x"), Attempt(f"{place}/{number}", (1,), b"", 1), history)

    for limited in (False, True):
        begun.clear()
        turns = Turns(partial(next, portions(), None), task, one_by_one=limited)
        taken = [turns.take() for _ in range(50)]
        assert len({each.attempt.id for each in taken if each is not None}) == 50
        assert begun == list(range(50 if limited else 1))


@given(
    data=st.data(),
    quota=st.integers(1, 4),
    attempts=st.integers(1, 8),
    fates=st.lists(st.lists(st.booleans(), min_size=8, max_size=8), min_size=1, max_size=4),
)
def test_a_quota_never_has_more_under_way_than_it_may_still_take(
    data: st.DataObject, quota: int, attempts: int, fates: list[list[bool]]
) -> None:
    """In whatever order attempts end: what is accepted or in flight at a prompt is never more than the quota."""

    def task(place: int, number: int, _: AtPrompt | None) -> Task:
        return Task(Prompt(prompt_id=str(place), prompt="x"), Attempt(f"{place}/{number}", (1,), b"", 1))

    portions = iter([Portion(place, range(attempts)) for place in range(len(fates))])
    finished: list[Portion] = []
    turns = Turns(partial(next, portions, None), task, quota=quota, done=finished.append)
    in_flight: list[str] = []
    accepted, made, spared = Counter[int](), set[str](), 0
    while True:
        while (one := turns.take()) is not None:
            in_flight.append(one.attempt.id)
            made.add(one.attempt.id)
        under_way = Counter(int(name.split("/")[0]) for name in in_flight)
        assert all(accepted[place] + under_way[place] <= quota for place in range(len(fates)))
        if not in_flight:
            break
        name = in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1)))
        place, number = map(int, name.split("/"))
        accepted[place] += fates[place][number]
        outcome = "accepted" if fates[place][number] else "unaccepted"
        spared += turns.end(entry(name, str(place), outcome))
    expected = set()
    for place, fate in enumerate(fates):
        stop = next((n + 1 for n in range(attempts) if sum(fate[: n + 1]) == quota), attempts)
        expected |= {f"{place}/{number}" for number in range(stop)}
    assert made == expected
    assert spared == attempts * len(fates) - len(expected)
    assert sorted(portion.place for portion in finished) == list(range(len(fates)))


def entry(name: str, prompt: str, outcome: Any, stages: tuple[int, ...] = (2,)) -> Entry:
    tokens = sum(stages)
    return Entry(id=name, prompt_id=prompt, outcome=outcome, tokens=tokens, prompt_tokens=0, seconds=0.0, stages=stages)


def test_what_is_known_of_a_prompt_leaves_out_what_was_never_made() -> None:
    at = NO_ATTEMPTS
    for outcome, stages in [
        ("accepted", (2,)), ("unaccepted", (2,)), ("discarded", (0,)), ("discarded", (1, 1)), ("discarded", ()),
        ("failed", ()),
    ]:  # fmt: skip
        at = at.after(entry("a", "p", outcome, stages))
    assert at == AtPrompt(accepted=1, rejected=3, skipped=1, failed=1)
    assert at.attempts == 6
    assert total([entry("a", "p", "discarded", ()), entry("b", "p", "discarded", (3,))]).skipped == 1
    goal = Goal(7, 2)
    assert (goal.met(at), goal.most(at)) == (False, 7)
    assert (goal.met(AtPrompt(2)), goal.most(AtPrompt(2, 1)), Goal(3).met(AtPrompt(2, 1))) == (True, 3, True)


def test_a_policy_reads_history_if_one_of_its_validators_does() -> None:
    assert reads_history(ByHistory())
    assert not reads_history(tiny.TextPolicy(tiny.unwanted))
    assert not reads_history(NEVER_DISCARD)
    assert not reads_history(None)


# Checkpoint 0 of one attempt.


class AtStart:
    """Says what it is told at checkpoint 0, and nothing afterwards."""

    fingerprint = "at start"

    def __init__(self, says: Any) -> None:
        self.says = says
        self.failures = {"rule: KeyError": 1}

    def start(self, prompt: str) -> AtStart:
        del prompt
        return self

    def begin(self) -> Any:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def feed(self, text: str, *more: Any) -> None:
        del text, more


PROMPT = Prompt(prompt_id="p", prompt="p")
DISCARD = Decision(Action.DISCARD, 0, 0, 0, 0.1, 0.5, "words", 0.2)


@pytest.mark.parametrize("k", [0, 5])
def test_an_attempt_discarded_at_checkpoint_0_is_over_and_has_no_stage(k: int) -> None:
    live = Live(PROMPT, AtStart(DISCARD._replace(k=k, tokens=k, position=k)), None)
    assert live.over
    assert live.skipped
    assert live.decision == DISCARD
    assert (live.stages, live.tokens, dict(live.failures)) == ((), 0, {"rule: KeyError": 1})


@pytest.mark.parametrize(
    ("says", "failure"),
    [
        (ValueError("no"), "policy: ValueError"),
        (DISCARD._replace(posterior=float("nan")), "policy: posterior is not a number"),
    ],
)
def test_a_policy_that_fails_at_checkpoint_0_lets_the_attempt_run(says: Any, failure: str) -> None:
    live = Live(PROMPT, AtStart(says), tiny.tokenizer())
    assert not live.over
    assert live.failures[failure] == 1
    assert not live.take(Event("a", tiny.tokenizer().encode("x")[0], -1.0, -1.0, ""))
    assert (live.text, live.stages) == ("x", (1,))


def test_going_on_at_checkpoint_0_is_no_stage() -> None:
    live = Live(PROMPT, AtStart(DISCARD._replace(action=Action.CONTINUE)), tiny.tokenizer())
    live.take(Event("a", tiny.END, -1.0, -1.0, "end"))
    assert (live.over, live.skipped, live.stages) == (True, False, (1,))


def test_an_early_exit_at_checkpoint_0_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"attempt at prompt 'p'.*early exit at checkpoint 0"):
        Live(PROMPT, AtStart(DISCARD._replace(action=Action.EXIT)), None)
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match="early exit at checkpoint 0"):
        run(out, Letters(2), tasks([50]), AtStart(DISCARD._replace(action=Action.EXIT)))
    assert not out.read_bytes()


def test_a_policy_that_discards_all_at_checkpoint_0_costs_nothing(tmp_path: Path) -> None:
    """A million times if need be: nothing is given to the engine, and its prompts are not even looked at."""
    engine, said = Letters(2), list[str]()
    out = tmp_path / "out.jsonl"
    result = run(out, engine, tasks([50] * 30), AtStart(DISCARD), tell=said.append)
    assert (result.attempts, result.discarded, result.skipped, result.tokens) == (180, 180, 180, 0)
    assert engine.submitted == []
    ledger = read_ledger(ledger_path(out))
    totals = total(ledger.entries)
    assert (totals.prompt_tokens, totals.by_stage, totals.by_reason["words"].attempts) == (0, {}, 180)
    assert all(record.k == 0 and record.worth == 0.2 for record in read_attempts(out).values())
    assert not any("never discarded" in remark for remark in said)


def test_prompts_discarded_at_checkpoint_0_are_not_prefilled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a real engine, among others that are made; these are the same as without the policy."""

    class Every(tiny.TextPolicy):
        def start(self, prompt: str) -> Any:
            return AtStart(DISCARD) if "3" in prompt or "5" in prompt else super().start(prompt)

    submitted: list[str] = []

    def submit(self: SlotEngine, attempt: Attempt, before: Any = SlotEngine.submit) -> None:
        submitted.append(attempt.id)
        before(self, attempt)

    monkeypatch.setattr(SlotEngine, "submit", submit)
    result = tiny.run(tmp_path / "out.jsonl", Every(lambda _: False))
    assert (result.skipped, result.discarded) == (8, 8)
    assert len(submitted) == len(set(submitted)) == 32
    assert not any(name.startswith(("p3/", "p5/")) for name in submitted)
    tiny.run(tmp_path / "full.jsonl")
    full, some = read_attempts(tmp_path / "full.jsonl"), read_attempts(tmp_path / "out.jsonl")
    assert {name: record for name, record in some.items() if record.k is None} == {name: full[name] for name in
                                                                                  submitted[:32]}  # fmt: skip
    paired = pair_runs(tmp_path / "full.jsonl", tmp_path / "out.jsonl")
    assert (paired.survivors, paired.changed, paired.not_prefix) == (32, 0, 0)
    skipped = paired.outcomes.discarded
    assert skipped.sum() == 8
    assert set(paired.outcomes.stop_k[skipped]) == set(paired.outcomes.cost_policy[skipped]) == {0}


def test_an_attempt_that_begins_anew_is_asked_anew(tmp_path: Path) -> None:
    """A policy that changes its mind between the tries of a stream is obeyed too."""

    class Fickle(AtStart):
        asked = 0

        def begin(self) -> Any:
            self.asked += 1
            return None if self.asked <= 2 else DISCARD

    class Long(Streams):
        async def _stream(self, attempt: Attempt) -> AsyncGenerator[Sequence[Notice], None]:
            for notice in (Event(attempt.id, -1, -1.0, -1.0, "", "a"), Again(attempt.id, "lost")):
                yield [notice]
            while True:
                await asyncio.sleep(0)
                yield [Event(attempt.id, -1, -1.0, -1.0, "", "a")]

    out = tmp_path / "out.jsonl"
    result = run(out, Long(2), tasks([50, 50]), Fickle(None), attempts=1)
    assert (result.discarded, result.skipped, result.tokens_beside) == (2, 2, 2)
    assert read_ledger(ledger_path(out)).entries[0].lost == 1


def test_a_slow_filter_in_its_thread_is_waited_for(tmp_path: Path) -> None:
    """The engine runs dry while the filter judges: the next attempt begins when that is known, and not before."""

    def slowly(prompt: Prompt, text: str) -> bool:
        time.sleep(0.01)
        return good(prompt, text)

    prompts, policy = tasks([50, 90]), ByHistory()
    run(tmp_path / "out.jsonl", Streams(8), prompts, policy, final_filter=slowly, attempts=5)
    assert made(tmp_path / "out.jsonl") == one_by_one(prompts, 5, None, history=True)


def fitted(rng: np.random.Generator) -> FittedPolicy:
    """Any policy that reads lengths and history."""
    validators = (Length(), History())
    columns = tuple(f"{v.name}.{column}" for v in validators for column in v.columns)
    D = len(columns)

    def model(spread: float) -> LinearModel:
        weights = [(spread * rng.normal(size=D)).tolist() for _ in range(2)]
        return LinearModel(
            [0, 0, 1], [CheckpointGroup(float(rng.normal()), [0.0] * D, [1.0] * D, each) for each in weights]
        )

    beliefs = Beliefs("logistic", columns, 30.0, model(1.0), [], model(0.3))
    return FittedPolicy(EveryUnits(2, "tokens"), validators, beliefs, rng.random(5) ** 2 * (rng.random(5) < 0.7))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_runs_in_flight_is_what_a_replay_says(tmp_path: Path, engine: Any) -> None:
    """A certificate is of a replay: with the history that the policy makes itself, it stops where the run does.

    Under a quota too, of the attempts that a run without a policy makes; one with a policy may need more.
    """
    prompts = tasks([0, 20, 50, 50, 90])
    run(tmp_path / "full.jsonl", engine(4), prompts, None)
    traces = list(read_traces(tmp_path / "full.jsonl"))
    skipped = discarded = own = more = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        policy, quota = fitted(rng), None
        table = build_evidence(traces, policy.schedule, policy.validators)
        if seed % 2:
            quota = int(rng.integers(1, 4))
            policy = replace(policy, quota=PromptQuota(quota, 6, (rng.random((6, quota)) < 0.1).tolist()))
            table = in_quota(table, quota, 6)
        stop, out = policy.stops(table), tmp_path / f"{seed}.jsonl"
        own += not np.array_equal(stop, table.stops(policy.worth(table)[1], policy.thresholds))
        run(out, engine(3), prompts, policy, accepted_per_prompt=quota)
        made_here = {name: record.k for name, record in read_attempts(out).items()}
        for i, name in enumerate(table.attempt_ids):
            assert made_here.pop(name) == (int(table.k[stop[i]]) if stop[i] >= 0 else None)
        assert quota or not made_here
        skipped, discarded = skipped + int((table.k[stop[stop >= 0]] == 0).sum()), discarded + int((stop >= 0).sum())
        more += bool(made_here)
    assert 50 < skipped < discarded < 0.9 * 40 * len(traces)
    assert own >= 5  # histories that are not those of the full run
    assert more >= 3


# A whole run.


def test_a_quota_is_one_of_the_settings(tmp_path: Path) -> None:
    out, prompts = tmp_path / "out.jsonl", tasks([50] * 5)
    run(out, Letters(3), prompts, None, accepted_per_prompt=2)
    assert read_ledger(ledger_path(out)).settings["accepted_per_prompt"] == 2
    for other in (None, 3):
        with pytest.raises(InputError, match=rf"was begun with accepted_per_prompt = 2, not {other}"):
            run(out, Letters(3), prompts, None, accepted_per_prompt=other)
    for quota in (0, 7):
        with pytest.raises(InputError, match=rf"accepted_per_prompt = {quota} of at most 6 attempts"):
            run(out, Letters(3), prompts, None, accepted_per_prompt=quota)


def test_a_ledger_from_before_there_were_quotas_is_gone_on_with(tmp_path: Path) -> None:
    out, prompts = tmp_path / "out.jsonl", tasks([50] * 3)
    run(out, Letters(3), prompts, None)
    header, *others = ledger_path(out).read_bytes().splitlines(True)
    older = json.loads(header)
    del older["settings"]["accepted_per_prompt"]
    ledger_path(out).write_bytes(json.dumps(older).encode() + b"\n" + b"".join(others))
    said: list[str] = []
    run(out, Letters(3), prompts, None, tell=said.append)
    assert "already finished" in said[0]


def test_runs_with_a_quota_are_not_compared_attempt_by_attempt(tmp_path: Path) -> None:
    full, some = tmp_path / "full.jsonl", tmp_path / "some.jsonl"
    run(full, Letters(3), tasks([50] * 3), None, accepted_per_prompt=2)
    with pytest.raises(InputError, match="which attempts they make depends on the policy"):
        run(some, Letters(3), tasks([50] * 3), ByHistory(), accepted_per_prompt=2, compare=full)
    run(some, Letters(3), tasks([50] * 3), ByHistory(), accepted_per_prompt=2)
    with pytest.raises(InputError, match=r"attempts are in one run only \(compare finished .*without a quota"):
        pair_runs(full, some)
    run(tmp_path / "all.jsonl", Letters(3), tasks([50] * 3), None)
    with pytest.raises(InputError, match="has accepted_per_prompt = 2, this run None"):
        run(tmp_path / "other.jsonl", Letters(3), tasks([50] * 3), ByHistory(), compare=some)


def test_a_run_with_history_is_compared_with_the_full_one(tmp_path: Path) -> None:
    full, some, prompts = tmp_path / "full.jsonl", tmp_path / "some.jsonl", tasks([0, 0, 50, 90])
    run(full, Letters(3), prompts, None)
    result = run(some, Letters(3), prompts, ByHistory(), compare=full)
    assert result.skipped > 0
    assert (result.survivors, result.survivors_changed) == (24 - result.discarded, 0)


def test_an_interrupted_run_says_how_far_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(out, Letters(2, dies=10), tasks([90] * 5), None, accepted_per_prompt=1, tell=said.append)
    count = len(read_attempts(out))
    entries = read_ledger(ledger_path(out)).entries
    filled = {entry.prompt_id for entry in entries if entry.outcome == "accepted"}
    most = 6 * (5 - len(filled)) + sum(entry.prompt_id in filled for entry in entries)
    assert f"{count} of at most {most} attempts are done" in said[-1]


@pytest.mark.parametrize("policy", [None, ByHistory()])
def test_shards_with_a_quota_are_merged_into_the_run_of_all(tmp_path: Path, policy: Any) -> None:
    prompts = tasks([0, 50, 90, 20, 100, 50, 0])
    run(tmp_path / "whole.jsonl", Letters(4), prompts, policy, accepted_per_prompt=2)
    parts = [tmp_path / f"part-{i}.jsonl" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        run(part, Letters(4), prompts, policy, accepted_per_prompt=2, shard=(i, 3))
    out = tmp_path / "merged.jsonl"
    merged = merge_runs(parts, out)
    assert (merged.missing, merged.missing_shards) == (0, ())
    assert timeless(out) == timeless(tmp_path / "whole.jsonl")
    said: list[str] = []
    result = run(out, Letters(4, dies=0), prompts, policy, accepted_per_prompt=2, tell=said.append)
    assert "already finished" in said[0]
    whole = run(tmp_path / "whole.jsonl", Letters(4, dies=0), prompts, policy, accepted_per_prompt=2)
    for name in ("attempts", "accepted", "skipped", "prompts_filled", "prompts_given_up", "prompts_exhausted"):
        assert getattr(result, name) == getattr(whole, name)
    # A shard that was killed, and one that is not there.
    for path in (parts[1], ledger_path(parts[1])):
        path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:-1]))
    with pytest.raises(InputError, match=r"part-2\.jsonl: has \d+ of at most \d+ attempts .*start the same command"):
        merge_runs(parts, tmp_path / "again.jsonl")
    partial_run = merge_runs(parts[:2], tmp_path / "again.jsonl", partial=True)
    there = read_ledger(ledger_path(tmp_path / "again.jsonl")).entries
    at: dict[str, AtPrompt] = {}
    for each in there:
        at[each.prompt_id] = at.get(each.prompt_id, NO_ATTEMPTS).after(each)
    goal = Goal(6, 2)
    most = sum(goal.most(at.get(prompt.prompt_id, NO_ATTEMPTS)) for prompt in prompts)
    assert (partial_run.missing, partial_run.missing_shards) == (most - len(there), (3,))
    run(tmp_path / "again.jsonl", Letters(4), prompts, policy, accepted_per_prompt=2)
    assert timeless(tmp_path / "again.jsonl") == timeless(tmp_path / "whole.jsonl")


def test_a_policy_certified_for_another_quota_is_remarked_on(tmp_path: Path) -> None:
    """For none too: of the attempts of a prompt a quota makes the first ones only."""
    plain = fitted(np.random.default_rng(1))
    with_quota = replace(plain, quota=PromptQuota(2, 6, [[False] * 2] * 6))
    two = "2 accepted of at most 6 attempts per prompt"
    for i, (policy, quota, difference) in enumerate(
        [
            (plain, None, None),
            (plain, 2, f"quota: {two} here, none there"),
            (with_quota, 2, None),
            (with_quota, None, None),  # then it is the policy's
            (with_quota, 3, f"quota: 3 accepted of at most 6 attempts per prompt here, {two} there"),
            (ByHistory(), 2, None),
        ]
    ):
        said: list[str] = []
        run(tmp_path / f"{i}.jsonl", Letters(3), tasks([50]), policy, accepted_per_prompt=quota, tell=said.append)
        told = [remark for remark in said if "was certified on other attempts: quota" in remark]
        assert (f"as the policy was fitted for: {two}" in said) == (policy is with_quota and quota is None)
        assert told == ([] if difference is None else [f"the policy was certified on other attempts: {difference}"])


@pytest.mark.parametrize("engine", ["slots", "static"])
@pytest.mark.parametrize("policy", [None, ByHistory()])
def test_real_engines_make_the_same_by_many_slots_as_by_one(tmp_path: Path, engine: Any, policy: Any) -> None:
    chosen = {"engine": engine, "accepted_per_prompt": 3, "attempts": 8, "tasks": tiny.prompts(6)}
    one, many = tmp_path / "one.jsonl", tmp_path / "many.jsonl"
    tiny.run(one, policy, slots=1, **chosen)
    tiny.run(many, policy, slots=5, **chosen)
    assert timeless(one) == timeless(many)
    made_at = Counter(record.prompt_id for record in read_attempts(one).values())
    assert min(made_at.values()) < 8
    told = {name: entry.outcome for name, entry in timeless(one)[1].items()}
    assert max(Counter(name.split("/")[0] for name, how in told.items() if how == "accepted").values()) == 3


# Portions on a cluster, without one.


def job_of(journal: Journal, prompts: list[Prompt], policy: Any, **options: Any) -> Job:
    chosen = GenerateOptions(final_filter=good, model_name="none", **options)
    return Job("none", None, prompts, policy, final_filter(good), chosen, {}, journal, None, lambda _: None)


def worker_of(prompts: list[Prompt], policy: Any, options: GenerateOptions, engine: Any) -> EngineWorker:
    order = WorkOrder("none", (), prompts, policy, final_filter(good), options, {})

    @contextmanager
    def opened(*_: Any) -> Iterator[Opened]:
        yield Opened(engine, lambda prompt: (1, 2, len(prompt.prompt)), {"engine": "test"})

    with patch("msifr_integrations.cluster.worker.open_engine", opened):
        return EngineWorker(order)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("quota", [None, 2])
def test_a_cluster_s_portion_is_a_whole_prompt_where_attempts_wait_for_each_other(
    tmp_path: Path, engine: Any, history: bool, quota: int | None
) -> None:
    prompts = tasks([0, 50, 90, 20, 0, 100])
    policy = ByHistory() if history else NEVER_DISCARD
    options = {"attempts": 6, "accepted_per_prompt": quota, "slots": 3}
    expected = one_by_one(prompts, 6, quota, history=history)
    out = tmp_path / "out.jsonl"
    with suppress(KeyboardInterrupt):  # some of it was made before
        run(out, Letters(3, dies=12), prompts, policy, **options)
    before = made(out)
    assert 0 < len(before) < len(expected)
    with Journal(out) as journal:
        job = job_of(journal, prompts, policy, **options)
        assert journal.count < job.expected
        portions = list(on_ray._portions(job))
        assert max(len(portion.numbers) for portion in portions) > 1 or not (history or quota)
        assert all(len(portion.numbers) == 1 for portion in portions) != (history or quota is not None)
        told: list[Progress] = []
        job = job_of(journal, prompts, policy, **options)
        collector = on_ray._Collector(job, shared=False)
        journal.begin = lambda _: Journal.begin(journal, journal.settings)  # type: ignore[method-assign, arg-type]
        worker = worker_of(prompts, policy, job.options, engine(3))
        blocks = [worker.finish(portions[start : start + 2]) for start in range(0, len(portions), 2)]
        for finished in [each for block in blocks for each in block]:
            collector.take(finished)
        for finished in blocks[0]:  # made again, with a machine that was lost
            collector.take(finished)
        collector.end()
        assert journal.count == job.expected
    assert made(out) == expected
    assert not told


def test_a_portion_asked_for_twice_is_made_once() -> None:
    engine = Letters(2)
    options = GenerateOptions(attempts=3, model_name="none", slots=2, accepted_per_prompt=3)
    worker = worker_of(tasks([50]), NEVER_DISCARD, options, engine)
    portion = Portion(0, (0, 1, 2))
    finished = worker.finish([portion, portion])
    assert all(isinstance(each, Finished) and not each.error for each in finished)
    assert len(engine.submitted) == 3
    records = [msgspec.json.decode(each.record, type=AttemptRecord) for each in finished]
    assert [record.id for record in records] == ["p0/0/0", "p0/0/1", "p0/0/2"] * 2


# On the command line.


def test_the_command_line_makes_what_a_quota_asks_for(tmp_path: Path) -> None:
    path, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    path.write_text(json.dumps({"prompt_id": "a", "prompt": "2+2?", "gold": "4"}) + "\n")
    words = ["generate", "--model", "embedded", "--prompts", str(path), "--policy", "none", "-o", str(out)]
    words += ["--attempts", "6", "--max-new-tokens", "4", "--device", "cpu", "--accepted-per-prompt"]
    done = CliRunner().invoke(main, [*words, "1", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["prompts_filled"] + result["prompts_exhausted"] == 1
    assert result["prompts_given_up"] == 0
    assert "quota of accepted samples" in done.stderr
    assert read_ledger(ledger_path(out)).settings["accepted_per_prompt"] == 1
    for quota in ("0", "7"):
        refused = CliRunner().invoke(main, [*words, quota])
        assert refused.exit_code == 2, refused.output
    with pytest.raises(MsifrError):
        GenerateOptions(attempts=6, accepted_per_prompt=7)
