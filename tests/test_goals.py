"""Goals of a whole run: exactly so many accepted samples, no token too many, and going on when asked for more."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import commands
import tiny
from fake_server import FakeServer
from letters import Letters, Streams, run, tasks, text_of
from msifr_integrations.cli.live_view import Pace, one_line, share_done, view_rows
from msifr_integrations.cluster.on_ray import generate_on_ray
from msifr_integrations.embedded import problems
from msifr_integrations.engine.base import Event, Notice, stream_key
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.goals import PerMillion, RunGoals, RunSpent, prompts_of_all
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.paired import read_attempts
from msifr_integrations.generation.progress import Progress
from msifr_integrations.servers.options import ServerOptions
from msifr_policy.errors import InputError
from msifr_policy.filters import Prompt
from msifr_policy.records.ledger import Ledger, read_ledger, total

PROGRAM = """
import sys
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.servers.options import ServerOptions
from msifr_policy.filters import Prompt
server, odd = ServerOptions(url=sys.argv[2]), lambda prompt, text: len(text) % 2
prompts = [Prompt(prompt_id=str(i), prompt=f"Say {i}") for i in range(40)]
generate(None, prompts, None, sys.argv[1], GenerateOptions(accepted=20, slots=3, server=server, final_filter=odd))
"""
"""A run over a server until 20 samples are accepted."""


class Counted:
    """An engine that counts the tokens which it hands out."""

    delivered = 0

    def drain(self, take: Callable[[Sequence[Notice]], None]) -> None:
        def counted(notices: Sequence[Notice]) -> None:
            self.delivered += sum(notice.tokens for notice in notices if isinstance(notice, Event))
            take(notices)

        super().drain(counted)  # type: ignore[misc]


class CountedLetters(Counted, Letters):
    """Of this process."""


class CountedStreams(Counted, Streams):
    """Of streams, each broken off once."""


ENGINES = [CountedLetters, CountedStreams]
WORLDS: dict[str, Any] = {
    "shares": st.lists(st.sampled_from([0, 20, 50, 90, 100]), min_size=1, max_size=6),
    "attempts": st.integers(1, 6),
    "quota": st.none() | st.integers(1, 6),
    "slots": st.integers(1, 5),
    "engine": st.sampled_from(ENGINES),
}


def ledger_of(out: Path) -> Ledger:
    return read_ledger(ledger_path(out))


def outcomes(out: Path) -> list[str]:
    return [entry.outcome for entry in ledger_of(out).entries]


def sampled(out: Path) -> int:
    """Every token that the ledger knows of."""
    ledger = ledger_of(out)
    totals = total([*ledger.entries, *ledger.sessions])
    return totals.tokens + totals.tokens_beside


def all_of(out: Path, engine: Any, prompts: list[Prompt], **options: Any) -> dict[str, str]:
    """The texts of the run without a goal."""
    run(out, engine, prompts, None, **options)
    return {name: record.text for name, record in read_attempts(out).items()}


# Exactly so many accepted samples.


@given(**WORLDS, goals=st.lists(st.integers(1, 12), min_size=1, max_size=3), deaths=st.lists(st.integers(0, 25)))
@settings(max_examples=60, deadline=None)
def test_the_output_ends_with_the_last_accepted_sample_that_is_wanted(
    tmp_path_factory: pytest.TempPathFactory, goals: list[int], deaths: list[int], **world: Any
) -> None:
    """Killed at any moment, resumed, and asked for more: each goal is met exactly, with texts of the run without."""
    folder, prompts = tmp_path_factory.mktemp("run"), tasks(world["shares"])
    out = folder / "out.jsonl"
    quota = None if world["quota"] is None else min(world["quota"], world["attempts"])
    options: dict[str, Any] = {"attempts": world["attempts"], "accepted_per_prompt": quota}
    texts = all_of(folder / "all.jsonl", Letters(3), prompts, **options)
    there = outcomes(folder / "all.jsonl").count("accepted")
    delivered = 0
    for goal in sorted(goals):
        for dies in [*deaths, None]:
            engine = world["engine"](world["slots"], dies=dies)
            with suppress(KeyboardInterrupt):
                result = run(out, engine, prompts, None, accepted=goal, **options)
            delivered += engine.delivered
        found = outcomes(out)
        assert found.count("accepted") == result.accepted == min(goal, there)
        assert (result.goals.reached == "accepted") == (there >= goal)
        assert result.goals.accepted_missing == max(goal - there, 0)
        if goal < there:
            assert found[-1] == "accepted"  # nothing is written after it
            assert not engine.rows if isinstance(engine, Letters) else not engine._running
        if goal > there:
            assert len(found) == len(texts)  # all there is was made
        records = read_attempts(out)
        assert len(records) == len(found)
        assert {name: texts[name] for name in records} == {name: record.text for name, record in records.items()}
        assert sampled(out) == delivered == result.tokens + result.tokens_beside
    before = out.read_bytes(), ledger_path(out).read_bytes()
    said: list[str] = []
    run(out, Letters(1, dies=0), prompts, None, slots=world["slots"], accepted=max(goals), tell=said.append, **options)
    assert "no model was loaded" in said[0]
    assert (out.read_bytes(), ledger_path(out).read_bytes()) == before


def test_half_a_line_at_the_end_is_made_anew(tmp_path: Path) -> None:
    """A kill at any byte of the last two lines: the resumed run has N again, and no attempt twice."""
    prompts, out = tasks([50] * 4), tmp_path / "out.jsonl"
    run(out, Letters(3), prompts, None, accepted=4)
    record, account = out.read_bytes(), ledger_path(out).read_bytes()
    # The session's line comes after the last attempt's.
    lines = account.splitlines(keepends=True)
    assert json.loads(lines[-1])["kind"] == "session"
    for cut in range(0, len(lines[-1]) + len(lines[-2]) + 1, 7):
        out.write_bytes(record)
        ledger_path(out).write_bytes(account[: len(account) - cut])
        result = run(out, Letters(3), prompts, None, accepted=4)
        assert result.accepted == outcomes(out).count("accepted") == 4
        assert len(read_attempts(out)) == len(outcomes(out))


def test_with_a_slow_filter_nothing_begins_that_may_not_be_wanted(tmp_path: Path) -> None:
    """While those that wait for the filter may be all that is wanted, no stream is opened for more."""

    def slow(_: Prompt, text: str) -> bool:
        time.sleep(0.02)
        return bool(text)

    slots, goal = 4, 6
    engine = CountedStreams(slots)
    result = run(tmp_path / "out.jsonl", engine, tasks([100] * 20), None, accepted=goal, final_filter=slow)
    assert result.accepted == goal
    assert len(engine.submitted) <= goal + slots - 1
    assert sampled(tmp_path / "out.jsonl") == engine.delivered


@pytest.mark.parametrize("engine", ["slots", "static"])
def test_engines_of_this_process_stop_at_once_and_go_on(tmp_path: Path, engine: Any) -> None:
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    chosen: dict[str, Any] = {"engine": engine, "tasks": tiny.prompts(6), "slots": 5}
    all_accepted = tiny.run(whole, **chosen).accepted
    for goal in (2, 4):
        result = tiny.run(out, accepted=goal, **chosen)
        assert (result.accepted, outcomes(out)[-1]) == (goal, "accepted")
        last = ledger_of(out).sessions[-1]
        # Those in flight had sampled something, and no more than an attempt in each of the other slots may.
        assert 0 < last.unfinished <= 4 * 40
        assert 0 < last.unfinished_prompts <= 4 * 80
    tiny.run(out, **chosen)
    assert outcomes(out).count("accepted") == all_accepted
    assert read_attempts(out) == read_attempts(whole)


def test_what_is_computed_ahead_is_dropped_and_in_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: when the goal is seen a step is under way, a token of each slot, which nobody is given."""
    begin = SlotEngine.__init__
    monkeypatch.setattr(SlotEngine, "__init__", lambda *given, **more: begin(*given, **{**more, "ahead": True}))
    result = tiny.run(tmp_path / "out.jsonl", tasks=tiny.prompts(6), slots=5, accepted=2)
    assert (result.accepted, outcomes(tmp_path / "out.jsonl")[-1]) == (2, "accepted")
    session = ledger_of(tmp_path / "out.jsonl").sessions[-1]
    over = len(outcomes(tmp_path / "out.jsonl"))  # one that a token ended has had one more computed too
    assert 0 < session.late <= 5 + over
    assert result.tokens_beside == session.unfinished + session.late


def test_streams_of_a_server_are_closed(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with FakeServer(length=30, pause=0.002) as server:
        options = GenerateOptions(
            attempts=2, slots=4, accepted=5, max_new_tokens=40, final_filter=tiny.even_length,
            server=ServerOptions(url=server.url),
        )  # fmt: skip
        result = generate(None, tiny.prompts(20), None, out, options, tell=lambda _: None)
        assert result.accepted == outcomes(out).count("accepted") == 5
        assert outcomes(out)[-1] == "accepted"
        asked = [request for request in server.requests if not request.over or request.closed]
        assert sum(request.closed for request in server.requests) <= 4
        assert all(request.over for request in asked)
        # What it made beyond what arrived is in the account, but for what it makes after its counter was read.
        assert 0 <= server.made - sampled(out) <= 2 * 4
        again = generate(None, tiny.prompts(20), None, out, msgspec.structs.replace(options, accepted=8),
                         tell=lambda _: None)  # fmt: skip
        assert again.accepted == 8


def test_an_interrupted_run_meets_its_goal_later(tmp_path: Path) -> None:
    prompts, out = tasks([50] * 4), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(out, Letters(3, dies=9), prompts, None, accepted=8)
    assert 0 < outcomes(out).count("accepted") < 8
    assert run(out, Letters(3), prompts, None, accepted=8).accepted == 8


def test_a_goal_that_the_last_attempt_reaches_is_reached_and_the_run_finished(tmp_path: Path) -> None:
    prompts, said = tasks([100, 100]), list[str]()
    result = run(tmp_path / "out.jsonl", Letters(2), prompts, None, attempts=2, accepted=4, tell=said.append)
    assert (result.accepted, result.goals.reached, result.tokens_beside) == (4, "accepted", 0)
    assert said == ["a goal of the run is reached: 4 of 4 accepted"]
    said.clear()
    run(tmp_path / "out.jsonl", Letters(2), prompts, None, attempts=2, accepted=4, tell=said.append)
    assert "is already finished" in said[0]
    assert len(said) == 1


def test_where_prompts_run_out_it_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    said = list[str]()
    result = run(tmp_path / "out.jsonl", Letters(2), tasks([100, 0]), None, attempts=2, accepted=5, tell=said.append)
    assert (result.accepted, result.goals.reached, result.goals.accepted_missing) == (2, None, 3)
    assert [remark for remark in said if "3 of 5 accepted samples are missing: run more prompts" in remark]


# No token too many, and no money.


@given(**WORLDS, limits=st.lists(st.integers(1, 60), min_size=1, max_size=3), dies=st.none() | st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_no_more_tokens_are_sampled_than_are_allowed(
    tmp_path_factory: pytest.TempPathFactory, limits: list[int], dies: int | None, **world: Any
) -> None:
    """Over all sessions, but for the step in which that is seen: one token of each slot at most, of streams one."""
    folder, prompts, slots = tmp_path_factory.mktemp("run"), tasks(world["shares"]), world["slots"]
    out, options = folder / "out.jsonl", {"attempts": world["attempts"]}
    all_of(folder / "all.jsonl", Letters(3), prompts, **options)
    delivered, step = 0, slots if world["engine"] is CountedLetters else 1
    for limit in sorted(limits):
        for death in (dies, None):
            engine = world["engine"](slots, dies=death)
            with suppress(KeyboardInterrupt):
                result = run(out, engine, prompts, None, max_tokens=limit, **options)
            # A session that begins when the limit is reached makes nothing.
            assert engine.delivered == 0 or delivered < limit
            delivered += engine.delivered
            assert delivered <= max(limit + step - 1, 0)
        assert sampled(out) == delivered == result.tokens + result.tokens_beside
        if result.goals.reached is None:
            assert len(outcomes(out)) == len(outcomes(folder / "all.jsonl"))
        else:
            assert delivered >= limit


def test_tokens_of_a_session_that_finished_nothing_count(tmp_path: Path) -> None:
    """Else a run with a small limit would spend it again whenever it is started."""
    prompts, out, said = tasks([50] * 9), tmp_path / "out.jsonl", list[str]()
    slots = next(n for n in range(1, 9) if min(len(text_of(stream_key(0, f"p{i}", 0))) for i in range(n)) > 1)
    first = run(out, CountedLetters(slots), prompts, None, attempts=1, max_tokens=1)
    assert (first.attempts, first.tokens_beside) == (0, slots)
    engine = CountedLetters(slots)
    second = run(out, engine, prompts, None, attempts=1, max_tokens=1, tell=said.append)
    assert (engine.delivered, second.attempts, second.tokens_beside) == (0, 0, slots)
    assert "has reached its goal (" in said[0]
    third = run(out, CountedLetters(slots), prompts, None, attempts=1)
    assert third.attempts == 9
    assert third.tokens_beside == slots


def test_a_run_costs_no_more_than_it_may(tmp_path: Path) -> None:
    """Prompts of attempts that have begun are paid for; the step beyond is a token and a prompt of each slot."""
    prices, most = (1000.0, 30_000.0), 3.0
    step = 4 * (prices[0] * 4 + prices[1]) / 1e6
    for engine in (CountedLetters(4), CountedStreams(4)):
        out = tmp_path / f"{engine.name}.jsonl"
        result = run(out, engine, tasks([50] * 30), None, prices=prices, max_cost=most)
        assert result.goals.reached == "max_cost"
        prompts = result.prompt_tokens + result.prompt_tokens_beside
        assert prompts > 4 * result.attempts  # those in flight had prompts, too
        spent = RunSpent(0, result.tokens + result.tokens_beside, prompts)
        assert most <= RunGoals(prices=PerMillion(*prices)).cost(spent) <= most + step
        more = run(out, Letters(4), tasks([50] * 30), None, prices=prices, max_cost=most + 1)
        assert more.attempts > result.attempts


@given(
    told=st.integers(0, 10**6), counted=st.integers(0, 1000), begun=st.integers(0, 1000), accepted=st.integers(0, 100)
)
def test_what_is_reached(told: int, counted: int, begun: int, accepted: int) -> None:
    prompts = prompts_of_all(told, counted, begun)
    assert prompts == (0 if not counted else told if begun <= counted else pytest.approx(told / counted * begun))
    spent = RunSpent(accepted, told, prompts)
    goals = RunGoals(accepted=50, max_tokens=500_000, max_cost=1.0, prices=PerMillion(1.0, 2.0))
    reached = [accepted >= 50, told >= 500_000, (prompts + 2 * told) / 1e6 >= 1]
    names = ["accepted", "max_tokens", "max_cost"]
    assert goals.reached(spent) == next((name for name, is_so in zip(names, reached, strict=True) if is_so), None)
    assert RunGoals().reached(spent) is None
    assert not RunGoals()
    assert list(goals.standing(spent)) == names


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"accepted": 0}, "accepted = 0 must be at least 1"),
        ({"max_tokens": 0}, "max_tokens = 0 must be at least 1"),
        ({"max_cost": 0.0, "prices": (1.0, 1.0)}, "must be finite and above 0"),
        ({"max_cost": float("nan"), "prices": (1.0, 1.0)}, "must be finite and above 0"),
        ({"max_cost": 1.0}, "a cost needs prices"),
        ({"prices": (-1.0, 1.0)}, "prices = -1, 1 are none"),
        ({"prices": (1.0, float("inf"))}, "are none"),
        ({"accepted": 1, "compare": "a.jsonl"}, "is not compared"),
        ({"max_tokens": 1, "compare": "a.jsonl"}, "is not compared"),
        ({"preview": 3, "compare": "a.jsonl"}, "is not compared"),
        ({"preview": 1}, "2 or more"),
    ],
)
def test_goals_that_are_none_are_refused(given_: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GenerateOptions(**given_)


def test_workers_of_a_cluster_are_given_no_goals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="goals of a whole run are for one process"):
        generate_on_ray("none", tasks([1]), None, tmp_path / "out.jsonl", GenerateOptions(accepted=1))


# What is shown.


def test_progress_tells_goals_and_ends_where_the_account_does(tmp_path: Path) -> None:
    told: list[Progress] = []
    result = run(
        tmp_path / "out.jsonl", Letters(3), tasks([50] * 9), None, accepted=6, max_tokens=10**6, progress=told.append
    )
    last = told[-1]
    assert last.goals == RunGoals(accepted=6, max_tokens=10**6)
    assert last.spent.accepted == last.accepted == 6
    assert last.spent.tokens == result.tokens + result.tokens_beside
    assert last.goals.said(last.spent) == f"6 of 6 accepted, {last.spent.tokens:,} of 1,000,000 tokens"


def moving(goals: RunGoals, seconds: int) -> tuple[Pace, Progress]:
    """A run of one attempt, a tenth of an accepted sample and 50 tokens a second."""
    pace = Pace()
    for now in range(seconds + 1):
        progress = Progress(
            done=now, attempts=1000, accepted=now // 10, discarded=0, tokens=50 * now, seconds=float(now), goals=goals,
            spent=RunSpent(now // 10, 50 * now, 0.0),
        )  # fmt: skip
        pace.see(float(now), progress)
    return pace, progress


def test_the_end_is_foretold_by_the_goal_that_is_nearest() -> None:
    accepted, tokens = RunGoals(accepted=20), RunGoals(accepted=20, max_tokens=7500)
    assert moving(RunGoals(), 100)[0].seconds_left == pytest.approx(900)
    assert moving(accepted, 100)[0].seconds_left == pytest.approx(100)
    assert moving(accepted, 40)[0].seconds_left == pytest.approx(960)  # too few were accepted to tell by
    pace, progress = moving(tokens, 100)
    assert pace.seconds_left == pytest.approx(50)
    assert share_done(progress) == pytest.approx(5000 / 7500)
    assert share_done(moving(RunGoals(), 100)[1]) == pytest.approx(0.1)
    rows = dict(view_rows(progress, pace, None))
    assert rows["attempts"] == "100 of at most 1,000, about 0:00:50 left"
    assert rows["goal"] == "10 of 20 accepted, 5,000 of 7,500 tokens"
    assert one_line(progress, pace, None) == (
        "100 of at most 1,000 attempts, 10 of 20 accepted, 5,000 of 7,500 tokens, 0 discarded, 5,000 tokens "
        "(50 a second), about 0:00:50 left"
    )


# On the command line.


def asked(folder: Path, *more: Any) -> list[str]:
    path = folder / "prompts.jsonl"
    fields = ("prompt_id", "prompt", "gold", "group")
    with path.open("w") as lines:
        for problem in problems(5, 12):
            lines.write(json.dumps({name: getattr(problem, name) for name in fields}) + "\n")
    common = ["--model", "embedded", "--policy", "none", "--device", "cpu", "--attempts", "4", "--max-new-tokens", "60"]
    return ["generate", *common, "--prompts", str(path), "-o", str(folder / "out.jsonl"), *map(str, more)]


def test_the_command_line_takes_goals_and_tells_them(tmp_path: Path) -> None:
    done = commands.run(*asked(tmp_path, "--accepted", 3, "--json"))
    document = commands.last_json(done)
    goals = {"accepted": 3, "max_tokens": None, "max_cost": None, "reached": "accepted", "accepted_missing": 0}
    assert (document["accepted"], document["goals"]) == (3, goals)
    assert "a goal of the run is reached: 3 of 3 accepted" in done.stderr
    priced = ("--price-in", 1, "--price-out", 10)
    dear = commands.last_json(commands.run(*asked(tmp_path, "--max-cost", 0.012, *priced, "--json")))
    assert dear["goals"]["reached"] == "max_cost"
    assert 0.012 <= dear["money"]["total"] <= 0.012 + 16 * (60 * 1 + 10) / 1e6
    assert dear["money"]["prompt_tokens"] == dear["prompt_tokens"] + dear["prompt_tokens_beside"]
    assert "needs prices" in commands.run(*asked(tmp_path, "--max-cost", 1), code=2).stderr
    for flag in ("--accepted", "--max-tokens", "--max-cost", "--preview"):
        commands.run(*asked(tmp_path, flag, 0), code=2)


def test_a_killed_process_meets_its_goal_when_it_is_started_again(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with FakeServer(length=9, pause=0.01) as server:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(out), server.url])  # noqa: S603
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end and not (out.exists() and out.stat().st_size):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        before = outcomes(out)
        assert before.count("accepted") < 20
        subprocess.run([sys.executable, "-c", PROGRAM, str(out), server.url], check=True)  # noqa: S603
    assert outcomes(out).count("accepted") == 20
    assert outcomes(out)[: len(before)] == before
