"""Runs: coupled, accounted for, resumable, comparable, and honest about what they did not do."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import tiny
from msifr_integrations.embedded import problems
from msifr_integrations.engine.base import Attempt, Event
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.generation.generate import (
    GenerateOptions,
    Progress,
    describe_policy,
    generate,
)
from msifr_integrations.generation.inputs import load_model, read_prompts
from msifr_integrations.generation.journal import AttemptRecord, Journal, ledger_path
from msifr_integrations.generation.live import Task
from msifr_integrations.generation.paired import pair_runs
from msifr_integrations.generation.result import conversion_efficiency
from msifr_integrations.generation.run import Run
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.evidence.build import pieces
from msifr_policy.evidence.schedule import EveryUnits, NewlineSteps, Schedule
from msifr_policy.filters import Prompt, final_filter
from msifr_policy.policy import NEVER_DISCARD, Action
from msifr_policy.records.ledger import Entry, Session, encode_line, read_ledger, total
from msifr_policy.records.provenance import Provenance
from msifr_policy.records.traces import Trace, read_traces
from msifr_policy.validators import Length, Repetition, Verdict

ROOT = Path(__file__).parents[1]


def records(out: Path) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    return {line["id"]: line for line in lines}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run without a policy; tests only read it."""
    out = tmp_path_factory.mktemp("full") / "full.jsonl"
    tiny.run(out)
    return out


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the same run under a policy."""
    out = tmp_path_factory.mktemp("some") / "some.jsonl"
    tiny.run(out, tiny.TextPolicy(tiny.unwanted))
    return out


def test_survivors_are_the_same_and_discarded_attempts_are_exact_prefixes(full: Path, some: Path) -> None:
    whole, kept = records(full), records(some)
    assert whole.keys() == kept.keys()
    assert len(whole) == 40
    discarded = [record for record in kept.values() if record["status"] == "discarded"]
    assert 5 < len(discarded) < 35
    for name, record in kept.items():
        if record["status"] == "finished":
            assert record == whole[name]
        else:
            assert whole[name]["text"].startswith(record["text"])
            assert whole[name]["token_ends"][: record["tokens"]] == record["token_ends"]
            assert record["tokens"] < whole[name]["tokens"] or whole[name]["tokens"] % 6 == 0
            assert "correct" not in record
            assert record["position"] <= len(record["text"])
            assert record["posterior"] < record["threshold"]
            assert (record["reason"], record["tokens"]) == ("length", 6 * record["k"])


def test_nothing_is_sampled_after_a_decision_and_every_token_is_in_the_ledger(full: Path, some: Path) -> None:
    for out in (full, some):
        entries = read_ledger(ledger_path(out)).entries
        sums, written = total(entries), records(out)
        assert sums.tokens_wasted_after_decision == 0
        assert sums.tokens == sum(record["tokens"] for record in written.values())
        assert sums.prompt_tokens == sum(record["prompt_tokens"] for record in written.values())
        assert [entry.id for entry in entries] == list(written)
        assert sums.accepted == sum(record.get("correct", False) for record in written.values())
        assert sums.discarded == sum(record["status"] == "discarded" for record in written.values())
        assert sums.by_stage.keys() == (set(range(1, 8)) if out == some else {1})
        seconds = [entry.seconds for entry in entries]
        assert seconds == sorted(seconds)
    reasons = total(read_ledger(ledger_path(some)).entries).by_reason
    assert reasons.keys() <= {
        "length",
        "filter",
    }  # the cap on tokens and the policy's reason share a name here


def test_finished_attempts_are_traces(full: Path, some: Path) -> None:
    traces = list(read_traces(full))
    assert len(traces) == 40
    assert {trace.group for trace in traces} == {"g0", "g1"}
    assert any(trace.accepted for trace in traces)
    for trace in traces:
        assert trace.token_ends is not None
        assert trace.token_ends[-1] == len(trace.text)
    # What a policy let through does not stand for all attempts: refused, not skipped.
    with pytest.raises(InputError, match="a discarded attempt"):
        list(read_traces(some, on_error="skip"))


@pytest.mark.parametrize("schedule", [EveryUnits(6, "tokens"), EveryUnits(9, "characters"), NewlineSteps()])
def test_replaying_what_was_written_gives_the_same_decisions(tmp_path: Path, schedule: Schedule) -> None:
    """Every attempt, token by token, under the same policy: the same decisions at the same checkpoints."""
    validators = (Length(), Repetition())
    live = tiny.TextPolicy(tiny.unwanted, schedule, validators)
    out = tmp_path / "out.jsonl"
    tiny.run(out, live, seed=5, max_new_tokens=100)
    again = tiny.TextPolicy(tiny.unwanted, schedule, validators)
    for record in records(out).values():
        trace = msgspec.convert({"correct": False} | record, Trace)
        run = again.start(trace.prompt)
        if record["status"] == "finished":
            fed = [piece[:2] for piece in pieces(trace, "tokens", trace.token_ends)]
        else:  # its last token was not the end of it
            fed = [(trace.text[a:b], 1) for a, b in itertools.pairwise([0, *record["token_ends"]])]
        decisions = [run.feed(*piece) for piece in fed]
        stops = [d for d in decisions if d is not None and d.action is Action.DISCARD]
        if record["status"] == "discarded":
            [stop] = stops
            assert stop is decisions[-1]
            assert (stop.k, stop.position, stop.posterior) == (
                record["k"],
                record["position"],
                record["posterior"],
            )
            assert stop.tokens == record["tokens"]
        else:
            assert stops == []
    key = lambda log: tuple(log)  # noqa: E731
    for prompt, logs in live.decisions.items():
        assert sorted(logs, key=key) == sorted(again.decisions[prompt], key=key)
    assert any(logs for attempts in live.decisions.values() for logs in attempts)


def test_what_the_engine_cancels_is_what_the_ledger_calls_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = []

    def cancel(self: SlotEngine, attempt_id: str, before: Any = SlotEngine.cancel) -> None:
        cancelled.append(attempt_id)
        before(self, attempt_id)

    monkeypatch.setattr(SlotEngine, "cancel", cancel)
    result = tiny.run(tmp_path / "out.jsonl", tiny.TextPolicy(tiny.unwanted))
    entries = read_ledger(ledger_path(tmp_path / "out.jsonl")).entries
    assert sorted(cancelled) == sorted(entry.id for entry in entries if entry.outcome == "discarded")
    assert 0 < len(cancelled) == result.discarded < result.attempts


def test_a_comparison_gives_the_conversion_efficiency(tmp_path: Path, full: Path) -> None:
    policy = tiny.TextPolicy(tiny.unwanted)
    result = tiny.run(tmp_path / "some.jsonl", policy, compare=full)
    whole = total(read_ledger(ledger_path(full)).entries)
    expected = (1 - result.seconds / whole.seconds) / (1 - result.tokens / whole.tokens)
    assert result.conversion_efficiency == pytest.approx(expected)
    assert list(msgspec.to_builtins(result)) == [
        "attempts", "accepted", "discarded", "skipped", "exited", "failed", "tokens", "tokens_wasted_after_decision",
        "tokens_beside", "tokens_per_accepted", "tokens_saved_estimate", "prompt_tokens",
        "prompt_tokens_beside", "prompts_counted", "seconds", "cpu_seconds", "audited", "n_effective",
        "conversion_efficiency", "conversion_efficiency_cpu", "survivors", "survivors_changed", "compared",
    ]  # fmt: skip
    in_cpu = (1 - result.cpu_seconds / whole.cpu_seconds) / (1 - result.tokens / whole.tokens)
    assert result.conversion_efficiency_cpu == pytest.approx(in_cpu)
    assert (result.survivors, result.survivors_changed) == (result.attempts - result.discarded, 0)
    assert result.compared.saving_rate == pytest.approx(1 - result.tokens / whole.tokens)
    assert 0 < result.compared.false_reject_rate < 1
    # The other way round: this run is the full one.
    back = tiny.run(tmp_path / "full.jsonl", compare=tmp_path / "some.jsonl")
    expected = (1 - result.seconds / back.seconds) / (1 - result.tokens / back.tokens)
    assert back.conversion_efficiency == pytest.approx(expected)
    assert back.compared == result.compared
    never = tiny.run(tmp_path / "never.jsonl", tiny.TextPolicy(lambda _: False), compare=full)
    assert never.conversion_efficiency is None
    assert "conversion_efficiency" not in msgspec.to_builtins(tiny.run(tmp_path / "plain.jsonl", tasks=tiny.prompts(1)))
    assert conversion_efficiency(total([]), total([])) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"seed": 1},
            r"full.jsonl: has seed = 0, this run 1 \(compare runs that differ in their policy alone",
        ),
        ({"attempts": 3}, r"has attempts = 4, this run 3"),
        ({"tasks": tiny.prompts(9)}, r"has other prompts \(\d+ of them, 9 here\)"),
        ({"slots": 4}, r"has slots = 8, this run 4"),
        (
            {"policy": None},
            r"has no policy either \(one of the two must be the run without a policy",
        ),
    ],
)
def test_runs_that_differ_in_more_than_the_policy_are_not_compared(
    tmp_path: Path, full: Path, changed: dict[str, Any], message: str
) -> None:
    options = {"policy": tiny.TextPolicy(tiny.unwanted)} | changed
    with pytest.raises(InputError, match=message):
        tiny.run(tmp_path / "out.jsonl", compare=full, **options)
    assert not (tmp_path / "out.jsonl").exists()  # refused before a token was spent


def test_an_unfinished_run_is_not_compared_with(tmp_path: Path, full: Path) -> None:
    other = tmp_path / "full.jsonl"
    ledger = ledger_path(full).read_bytes()
    ledger_path(other).write_bytes(ledger[:-5])
    with pytest.raises(InputError, match="is not finished: 39 of 40 attempts"):
        tiny.run(tmp_path / "out.jsonl", tiny.TextPolicy(tiny.unwanted), compare=other)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, some: Path) -> None:
    out = tmp_path / "out.jsonl"
    code = f"import tiny; tiny.run({str(out)!r}, tiny.TextPolicy(tiny.unwanted))"
    paths = os.pathsep.join(map(str, [ROOT, ROOT / "integrations", ROOT / "tests"]))
    environment = os.environ | {"PYTHONPATH": paths, "TINY_FILTER_SECONDS": "0.1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)  # noqa: S603
    try:
        deadline = time.monotonic() + 60
        while not out.exists() or out.read_bytes().count(b"\n") < 12:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = out.read_bytes()
    assert 12 <= before.count(b"\n") < 40
    if before.endswith(b"\n"):  # let the kill fall in the middle of a line
        with open(out, "ab") as file:
            file.write(b'{"id":"p9/0/3","prompt')
    result = tiny.run(out, tiny.TextPolicy(tiny.unwanted))
    after = out.read_bytes()
    assert after.startswith(before[: before.rfind(b"\n") + 1])
    assert sorted(after.splitlines()) == sorted(some.read_bytes().splitlines())
    ledger = read_ledger(ledger_path(out))
    assert result.attempts == len(ledger.entries) == 40
    uninterrupted = {entry.id: entry for entry in read_ledger(ledger_path(some)).entries}
    for entry in ledger.entries:
        timeless = [replace(each, seconds=0.0, cpu_seconds=0.0) for each in (entry, uninterrupted[entry.id])]
        assert timeless[0] == timeless[1]
    assert result.seconds == ledger.seconds
    # Once more: everything is done, and nothing changes.
    assert tiny.run(out, tiny.TextPolicy(tiny.unwanted)) == result
    assert out.read_bytes() == after


@contextmanager
def journal(out: Path, settings: dict[str, Any]) -> Iterator[Journal]:
    """A run that is begun, or goes on."""
    with Journal(out) as opened:
        opened.begin(settings)
        yield opened


ATTEMPTS = [
    (
        AttemptRecord(
            id=f"a{i}", prompt_id="p", prompt="?", text="é\n" * i, status="finished", seed=0, model="m",
            tokens=i, prompt_tokens=1, token_ends=[2 * n for n in range(1, i + 1)], correct=i % 2 == 0,
        ),
        Entry(
            id=f"a{i}", prompt_id="p", outcome="accepted", tokens=i, prompt_tokens=1, stages=(i,),
            seconds=float(i),
        ),
    )
    for i in range(5)
]  # fmt: skip


@given(whole=st.integers(0, 4), cut=st.integers(0, 10_000))
@settings(max_examples=200)
def test_a_kill_at_any_byte_loses_no_finished_attempt_and_doubles_none(
    tmp_path_factory: pytest.TempPathFactory, whole: int, cut: int
) -> None:
    out = tmp_path_factory.mktemp("journal") / "out.jsonl"
    with journal(out, {"seed": 0}) as files:
        for pair in ATTEMPTS[:whole]:
            files.write(*pair)
    # What the next attempt would append, in the order of writing; the kill falls after `cut` bytes.
    done_out, done_ledger = out.read_bytes(), ledger_path(out).read_bytes()
    with journal(out, {"seed": 0}) as files:
        files.write(*ATTEMPTS[whole])
    line, account = out.read_bytes()[len(done_out) :], ledger_path(out).read_bytes()[len(done_ledger) :]
    cut = min(cut, len(line) + len(account))
    out.write_bytes(done_out + line[:cut])
    ledger_path(out).write_bytes(done_ledger + account[: max(0, cut - len(line))])
    with journal(out, {"seed": 0}) as files:
        complete = whole + (cut == len(line) + len(account))
        assert files.done == {f"a{i}" for i in range(complete)}
        assert out.read_bytes() == (done_out if complete == whole else done_out + line)
        for pair in ATTEMPTS[complete:]:
            files.write(*pair)
    assert [record["id"] for record in records(out).values()] == [f"a{i}" for i in range(5)]
    assert [entry.id for entry in read_ledger(ledger_path(out)).entries] == [f"a{i}" for i in range(5)]


def test_a_run_killed_before_its_header_was_whole_begins_anew(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    ledger_path(out).write_bytes(b'{"kind":"run","sett')
    for seed in (2, 3):  # with other settings too, as long as no attempt was done
        with journal(out, {"seed": seed}) as files:
            assert files.done == set()
        out.write_bytes(encode_line(ATTEMPTS[1][0]))
    with journal(out, {"seed": 3}) as files:
        files.write(*ATTEMPTS[1])
    assert read_ledger(ledger_path(out)).settings == {"seed": 3}
    assert list(records(out)) == ["a1"]


def test_files_that_are_no_pair_are_refused_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with journal(out, {"seed": 0}) as files:
        for pair in ATTEMPTS:
            files.write(*pair)
    good, ledger = out.read_bytes(), ledger_path(out).read_bytes()
    first, second, *rest = good.splitlines(keepends=True)
    for content, message in [
        (b"".join([second, first, *rest]), r"line 1: attempt 'a1' where the ledger has 'a0'"),
        (first, r"has 1 attempts, its ledger 5"),
        (good + good.replace(b'"a', b'"b'), r"has 10 attempts, its ledger 5"),
        (first + b"nonsense\n", r"line 2: not an attempt"),
    ]:
        out.write_bytes(content)
        with pytest.raises(InputError, match=message):
            Journal(out)
        assert (out.read_bytes(), ledger_path(out).read_bytes()) == (content, ledger)
    out.unlink()
    with pytest.raises(InputError, match="has 0 attempts, its ledger 5"):
        Journal(out)
    ledger_path(out).write_bytes(ledger.splitlines(keepends=True)[0])
    out.write_bytes(good)
    with pytest.raises(InputError, match="has 5 attempts, its ledger 0"):
        Journal(out)
    stranger = tmp_path / "stranger.jsonl"
    stranger.write_bytes(good)
    with pytest.raises(InputError, match="exists, but its ledger"):
        Journal(stranger)
    assert stranger.read_bytes() == good
    assert not ledger_path(stranger).exists()
    with pytest.raises(InputError, match="is below a file"):
        Journal(stranger / "inside.jsonl")


def test_two_runs_cannot_write_one_file(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with journal(out, {"seed": 0}), pytest.raises(InputError, match="another run is writing"):
        Journal(out)
    Journal(out).close()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, r"was begun with seed = 0, not 1"),
        ({"temperature": 0.5}, r"temperature = 1.0, not 0.5"),
        ({"max_new_tokens": 41}, r"max_new_tokens = 40, not 41"),
        ({"final_filter": "numeric"}, r"filter = 'function even_length', not 'numeric\[auto\]'"),
        ({"policy": None}, r"was begun with a policy"),
        ({"tasks": [*tiny.prompts(9), Prompt(prompt_id="p9", prompt="Other", gold="9")]}, "begun with other prompts"),
    ],
)
def test_a_resume_with_other_settings_is_refused_and_named(
    tmp_path: Path, some: Path, changed: dict[str, Any], message: str
) -> None:
    out = tmp_path / "some.jsonl"
    out.write_bytes(some.read_bytes())
    ledger_path(out).write_bytes(ledger_path(some).read_bytes())
    options = {"policy": tiny.TextPolicy(tiny.unwanted)} | changed
    with pytest.raises(InputError, match=message):
        tiny.run(out, **options)
    assert out.read_bytes() == some.read_bytes()


class Failing(Length):
    """A validator that would like to discard everything, and breaks at its second checkpoint."""

    def start(self, prompt: str) -> Any:
        inner = super().start(prompt)

        class State:
            calls = 0

            def feed(self, text: str, *more: Any) -> Any:
                del more
                self.calls += 1
                if self.calls == 2:
                    raise ZeroDivisionError
                return inner.feed(text)._replace(verdict=Verdict.DEAD)

        return State()


def test_a_validator_that_raises_never_discards(tmp_path: Path, full: Path) -> None:
    """The policy would discard from the second checkpoint on, where its validator fails: nothing is lost."""
    policy = tiny.TextPolicy(lambda _: True, validators=(Failing(),))

    class Later(tiny.TextRun):
        def decide(self, point: Any) -> Any:
            decision = super().decide(point)
            return decision if point.k > 1 else decision._replace(action=Action.CONTINUE)

    policy.start = lambda prompt: Later(policy, prompt)  # type: ignore[method-assign]
    said: list[str] = []
    result = tiny.run(tmp_path / "out.jsonl", policy, tell=said.append)
    assert result.discarded == 0
    assert records(tmp_path / "out.jsonl") == records(full)
    reached = sum(record["tokens"] >= 12 for record in records(full).values())
    failures = total(read_ledger(ledger_path(tmp_path / "out.jsonl")).entries).failures
    assert failures["length: ZeroDivisionError"] >= reached - 2
    assert any("length: ZeroDivisionError" in remark for remark in said)
    assert any("never discarded any of 40 attempts" in remark for remark in said)


def test_a_run_says_aloud_what_did_not_happen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {
        "tasks": tiny.prompts(2),
        "attempts": 1,
        "final_filter": "numeric",
        "tell": None,
    }
    result = tiny.run(tmp_path / "a.jsonl", tiny.TextPolicy(lambda _: False), **options)
    assert result.tokens_per_accepted is None
    said = capsys.readouterr()
    assert said.out == ""
    assert "the policy never discarded any of 2 attempts" in said.err
    assert "none of 2 attempts was accepted" in said.err
    tiny.run(tmp_path / "b.jsonl", **options)
    assert "policy" not in capsys.readouterr().err  # there was none


class Late:
    """An engine that hears of a cancellation one step late."""

    name = "late"
    slots, logprobs, asynchronous, waiting = 1, True, False, 0

    def spent(self) -> Session:
        return Session()

    def submit(self, attempt: Any) -> None:
        del attempt

    def cancel(self, attempt_id: str) -> None:
        del attempt_id

    def drain(self, take: Any) -> None:
        for token in tiny.tokenizer().encode("abcdefg"):
            take([Event("p0/0/0", token, -1.0, -1.0, "")])

    def close(self) -> None:
        """Nothing to give back."""


def test_a_token_after_a_decision_is_counted(tmp_path: Path) -> None:
    """An engine that samples a token too many is found out, and one that does not stop is an error."""
    tasks = [Task(tiny.prompts(1)[0], Attempt("p0/0/0", (1, 2, 3), b"0" * 16, 10))]

    def late(policy: Any, files: Journal) -> Run:
        turns, numeric, before = tiny.turns(tasks), final_filter("numeric"), total(())
        return Run(Late(), turns, policy, numeric, tiny.tokenizer(), files, GenerateOptions(), before, expected=1)

    with journal(tmp_path / "out.jsonl", {}) as files:
        late(tiny.TextPolicy(lambda _: True, EveryUnits(6, "tokens")), files).drain()
        assert files.totals().tokens_wasted_after_decision == 1
    with (
        journal(tmp_path / "more.jsonl", {}) as files,
        pytest.raises(MsifrError, match="after it was cancelled"),
    ):
        late(tiny.TextPolicy(lambda _: True, EveryUnits(3, "tokens")), files).drain()


def test_progress_is_told_and_ends_with_everything_done(tmp_path: Path) -> None:
    told: list[Progress] = []
    result = tiny.run(tmp_path / "out.jsonl", tiny.TextPolicy(tiny.unwanted), progress=told.append)
    assert told[-1].done == told[-1].attempts == 40
    assert (told[-1].tokens, told[-1].discarded, told[-1].accepted) == (
        result.tokens,
        result.discarded,
        result.accepted,
    )
    assert [one.done for one in told] == sorted(one.done for one in told)


def test_log_probabilities_are_written_when_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    tiny.run(out, tasks=tiny.prompts(2), logprobs=True)
    for trace in read_traces(out):
        assert trace.logprobs is not None
        assert len(trace.logprobs) == trace.tokens
        assert all(value <= 0 for value in trace.logprobs)


# Input.


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


GOOD = '{"prompt_id": "a", "prompt": "2+2?", "gold": "4", "more": 1}'


def test_prompts_are_read_plain_and_packed(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "prompts.jsonl", GOOD, "", GOOD.replace('"a"', '"b"'))
    assert [prompt.prompt_id for prompt in read_prompts(path)] == ["a", "b"]
    packed = tmp_path / "prompts.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_prompts(packed)) == list(read_prompts(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt_id": "b"', r"line 2: the record does not end in its line"),
        ('{"prompt_id": "b"}', r"line 2: .*must not be empty \(a prompt is a line such as \{"),
        ('{"prompt_id": true, "prompt": "x"}', r"line 2: Expected `str`, got `bool` - at `\$.prompt_id`"),
        ('{"prompt_id": "b", "prompt": "x", "gold": [4]}', r"line 2: .*`\$.gold`"),
        ('{"prompt_id": "", "prompt": "x"}', r"line 2: `prompt_id` and `prompt`"),
        ("[]", r"line 2: a JSON array, not an object"),
        ('{"prompt_id": "b", "prompt": "x", "gold": 1e400}', r"line 2: .*`\$.gold`"),
        ('{"prompt_id": "b", "prompt": "x", "schema": "v1"}', r"line 2: .*`\$.schema`"),
        ('{"custom_id": "b", "body": {}}', r"line 2: .*`prompt_id`: this is a request for OpenAI's Batch API"),
        ('{"prompt_id": "b", "prompt": "caf\udce9"}', r"line 2: the text is not UTF-8: byte 0xe9"),
        (GOOD, r"line 2: prompt_id 'a' occurs twice"),
        (
            GOOD.replace('"4"', '"many"').replace('"a"', '"b"'),
            r"prompt 'b', field gold: gold answer 'many' is not",
        ),
    ],
)
def test_bad_prompts_are_refused_with_their_place(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(f"{GOOD}\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message):
        generate("no model is needed to see this", path, None, tmp_path / "out.jsonl")


def test_other_bad_input_is_refused(tmp_path: Path) -> None:
    out, good = tmp_path / "out.jsonl", write_lines(tmp_path / "prompts.jsonl", GOOD)
    with pytest.raises(InputError, match=r"absent: cannot be read"):
        list(read_prompts(tmp_path / "absent"))
    half = tmp_path / "half.gz"
    half.write_bytes(gzip.compress(GOOD.encode() * 100)[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        list(read_prompts(half))
    for options, message in [
        ({"tasks": []}, "there are no prompts"),
        ({"attempts": 0}, "attempts = 0 must be at least 1"),
        ({"slots": 0}, "slots = 0"),
        ({"temperature": -1}, "temperature = -1"),
        ({"final_filter": "x"}, "unknown final filter 'x'"),
        ({"engine": "x"}, "unknown engine 'x'"),
        ({"max_new_tokens": 0}, "max_new_tokens = 0"),
        ({"tasks": [Prompt(prompt_id="long", prompt="x" * 300)]}, r"'long'.* 300 tokens, the context"),
        ({"chat": True}, "no chat template"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            tiny.run(out, **options)
    with pytest.raises(InputError, match=r"must end in \.jsonl"):
        tiny.run(tmp_path / "out.json")
    with pytest.raises(InputError, match="needs its tokenizer"):
        generate(tiny.llama(), good, None, out)
    with pytest.raises(InputError, match=r"model '.*nothing'.*: cannot be loaded"):
        generate(str(tmp_path / "nothing"), good, None, out)
    with pytest.raises(InputError, match="unknown dtype 'int8'"):
        load_model("x", dtype="int8")


def test_a_broken_final_filter_stops_the_run_and_it_can_go_on(tmp_path: Path, full: Path) -> None:
    out = tmp_path / "out.jsonl"

    def even_length(prompt: Prompt, text: str) -> bool:
        if prompt.prompt_id == "p7":
            raise KeyError("tests")
        return tiny.even_length(prompt, text)

    even_length.__qualname__ = "even_length"
    with pytest.raises(MsifrError, match=r"final filter function even_length failed .*'p7'.*goes on from here"):
        tiny.run(out, final_filter=even_length)
    assert 0 < len(records(out)) < 40
    tiny.run(out)
    assert records(out) == records(full)


def test_the_chat_template_wraps_the_prompt(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}!"
    try:
        tiny.run(tmp_path / "chat.jsonl", chat=True, tasks=tiny.prompts(1))
    finally:
        tokenizer.chat_template = None
    [prompt] = tiny.prompts(1)
    shouted = [msgspec.structs.replace(prompt, prompt=prompt.prompt + "!")]
    tiny.run(tmp_path / "plain.jsonl", tasks=shouted)
    chat, plain = records(tmp_path / "chat.jsonl"), records(tmp_path / "plain.jsonl")
    assert [r["text"] for r in chat.values()] == [r["text"] for r in plain.values()]
    assert {r["prompt"] for r in chat.values()} == {prompt.prompt}


def test_numbers_are_ids_and_answers_of_prompts_too(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"prompt_id": 7, "prompt": "x", "gold": 4, "group": 2}\n{"prompt_id": "b", "prompt": "y", "gold": 0.5}\n'
    )
    one, two = read_prompts(path)
    assert (one.prompt_id, one.gold, one.group) == ("7", "4", "2")
    assert two.gold == "0.5"


def test_prompts_without_values_and_with_what_python_writes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    nothing = '"group": NaN, "gold": null, "tests": null, "messages": null, "parameters": null, "schema": null'
    asked = '"messages": [{"role": "user", "content": "x\\ud83d"}]'
    schema = json.dumps({"type": "object"})
    path.write_text(
        f'{{"prompt_id": "a", "prompt": "x", {nothing}, "\\ud83d": 1}}\n'
        f'{{"prompt_id": "b", {asked}, "schema": {json.dumps(schema)}}}\n'
    )
    one, two = read_prompts(path)
    assert one == Prompt(prompt_id="a", prompt="x")
    assert (two.prompt, two.schema) == ("x\ufffd", {"type": "object"})


def test_policies_are_told_apart() -> None:
    class Own(msgspec.Struct, frozen=True):
        threshold: Any

        def start(self, prompt: str) -> Any:
            raise NotImplementedError

    assert describe_policy(None) == describe_policy(NEVER_DISCARD) == "none"
    assert describe_policy(tiny.TextPolicy(tiny.unwanted)) == "text policy"
    assert describe_policy(Own(1)) != describe_policy(Own(2))
    assert describe_policy(Own(object())).endswith("Own")


def test_a_policy_certified_on_other_attempts_is_remarked_before_a_token_is_made(tmp_path: Path) -> None:
    policy = tiny.TextPolicy(tiny.unwanted)
    policy.provenance = Provenance(models=("another",), filter="numeric", sampling="temperature 1, top_k 0, top_p 1")
    said: list[str] = []
    tiny.run(tmp_path / "out.jsonl", policy, tell=said.append, temperature=0.5)
    assert len(said) >= 3
    assert all("was certified on other attempts" in remark for remark in said[:3])
    assert [remark.split(": ")[1] for remark in said[:3]] == ["models", "filter", "sampling"]
    assert "temperature 0.5" in said[2]
    policy.provenance = Provenance(models=(tiny.llama().config.name_or_path or "LlamaForCausalLM",))
    said.clear()
    tiny.run(tmp_path / "same.jsonl", policy, tell=said.append)
    assert not any("certified" in remark for remark in said)


def test_importing_generate_loads_no_torch() -> None:
    code = (
        "import sys, msifr_integrations, msifr_integrations.generation.generate, msifr_integrations.engine;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [ROOT, ROOT / "integrations"]))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)  # noqa: S603
    assert done.returncode == 0


def test_the_embedded_model_end_to_end(tmp_path: Path) -> None:
    """From its folder, with and without a policy: the same survivors, fewer tokens, right answers."""
    model, tokenizer = tiny.embedded()
    tasks = [
        Prompt(prompt_id=task.prompt_id, prompt=task.prompt, gold=task.gold, group=task.group)
        for task in problems(3, 12)
    ]
    lines = [json.dumps(msgspec.to_builtins(task)) for task in tasks]
    path = write_lines(tmp_path / "prompts.jsonl", *lines)
    options = GenerateOptions(attempts=2, slots=8, max_new_tokens=120, device="cpu")
    full = generate(tiny.embedded_model_path(), path, None, tmp_path / "full.jsonl", options, tell=print)
    assert full.attempts == 24
    assert full.accepted > 8
    policy = tiny.TextPolicy(tiny.unwanted, NewlineSteps())
    options = msgspec.structs.replace(
        options, model_name=os.fspath(tiny.embedded_model_path()), compare=tmp_path / "full.jsonl"
    )
    some = generate(model, tasks, policy, tmp_path / "some.jsonl", options, tokenizer=tokenizer, tell=print)
    assert 0 < some.discarded < 24
    assert some.tokens < full.tokens
    assert isinstance(some.conversion_efficiency, float)
    whole, kept = records(tmp_path / "full.jsonl"), records(tmp_path / "some.jsonl")
    for name, record in kept.items():
        if record["status"] == "finished":
            assert record == whole[name]
        else:
            assert whole[name]["text"].startswith(record["text"])


def test_attempts_at_one_prompt_differ_and_seeds_differ(tmp_path: Path, full: Path) -> None:
    texts = [record["text"] for record in records(full).values()]
    assert len(set(texts)) == len(texts)
    tiny.run(tmp_path / "other.jsonl", seed=1)
    assert not set(texts) & {record["text"] for record in records(tmp_path / "other.jsonl").values()}


def test_the_static_engine_writes_the_same_file(tmp_path: Path, some: Path) -> None:
    said: list[str] = []
    tiny.run(tmp_path / "out.jsonl", tiny.TextPolicy(tiny.unwanted), engine="static", tell=said.append)
    assert records(tmp_path / "out.jsonl") == records(some)
    assert read_ledger(ledger_path(tmp_path / "out.jsonl")).settings["engine"] == "static"
    assert said == []


def test_the_number_of_checkpoints_passed_is_that_of_a_replay(full: Path, some: Path) -> None:
    """Of survivors too, whose last token may or may not reach a checkpoint."""
    whole, survived = records(full), [record["id"] for record in records(some).values() if "correct" in record]
    expected = []
    for record in sorted(whole.values(), key=lambda record: record["id"]):  # as pairs stand
        policy = tiny.TextPolicy(tiny.unwanted)
        trace = msgspec.convert(record, Trace)
        run = policy.start(trace.prompt)
        for piece in pieces(trace, "tokens", trace.token_ends):
            if (decision := run.feed(*piece[:2])) is not None and decision.action is Action.DISCARD:
                break
        expected.append(len(policy.decisions[trace.prompt][0]))
    paired = pair_runs(full, some)
    assert paired.outcomes.reached.tolist() == expected
    assert {whole[name]["tokens"] % 6 == 0 for name in survived} == {True, False}
    assert (paired.survivors, paired.changed, paired.not_prefix) == (len(survived), 0, 0)


# What goes wrong outside, in one line.


def one_line(error: BaseException) -> str:
    message = str(error)
    assert "\n" not in message
    return message


def test_output_that_cannot_be_written_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "device.jsonl").symlink_to("/dev/full")
    (tmp_path / "ledger.ledger.jsonl").mkdir()
    (tmp_path / "file").touch()
    for out in ("folder.jsonl", "device.jsonl", "ledger.jsonl", "file/out.jsonl"):
        with pytest.raises(InputError, match=r"folder|regular file") as caught:
            generate("no model is needed to see this", tiny.prompts(1), None, tmp_path / out)
        assert str(tmp_path) in one_line(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"folder.jsonl", "device.jsonl", "ledger.ledger.jsonl", "file"}


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=rf"needs {library} \(pip install 'msifr-policy\[transformers\]'\)"):
        generate(tiny.embedded_model_path(), tiny.prompts(1), None, tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "model"
    shutil.copytree(tiny.embedded_model_path(), broken)
    (broken / "model.safetensors").write_bytes(b"no tensors")
    for name, device, message in [
        (broken, "auto", r"model '.*model': cannot be loaded: "),
        (tmp_path, "auto", r"cannot be loaded: "),
        (tiny.embedded_model_path(), "abacus", r"device 'abacus': cannot be used: .*\(use cpu\)"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            load_model(name, device=device)
        one_line(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match=r"device 'cuda': cannot be used: ") as caught:
        load_model(tiny.embedded_model_path(), device="cuda")
    one_line(caught.value)


def test_a_full_disk_loses_nothing(tmp_path: Path, some: Path) -> None:
    out = tmp_path / "out.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(
            InputError, match=r"\d+ attempts are done and kept \(make room .*goes on from there\)"
        ) as caught:
            tiny.run(out, tiny.TextPolicy(tiny.unwanted))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    one_line(caught.value)
    assert 0 < len(read_ledger(ledger_path(out)).entries) < 40
    tiny.run(out, tiny.TextPolicy(tiny.unwanted))
    assert records(out) == records(some)


def test_an_interrupted_run_says_what_is_kept_and_goes_on(tmp_path: Path, full: Path) -> None:
    out, said = tmp_path / "out.jsonl", []

    def even_length(prompt: Prompt, text: str) -> bool:
        if prompt.prompt_id == "p7":
            raise KeyboardInterrupt
        return tiny.even_length(prompt, text)

    even_length.__qualname__ = "even_length"
    with pytest.raises(KeyboardInterrupt):
        tiny.run(out, final_filter=even_length, tell=said.append)
    done = len(read_ledger(ledger_path(out)).entries)
    assert 0 < done < 40
    assert said == [
        f"interrupted: {done} of 40 attempts are done and kept in {out}; start again with the same command to go on"
    ]
    tiny.run(out)
    assert records(out) == records(full)


def test_a_finished_run_is_returned_without_loading_the_model(full: Path, some: Path) -> None:
    options = GenerateOptions(
        attempts=4, slots=8, max_new_tokens=40, final_filter=tiny.even_length, model_name="LlamaForCausalLM",
        compare=full,
    )  # fmt: skip
    absent, policy = "there is no such model", tiny.TextPolicy(tiny.unwanted)
    before, said = some.read_bytes(), []
    result = generate(absent, tiny.prompts(), policy, some, options, tell=said.append)
    assert said[0] == f"{some} is already finished: nothing was generated, and no model was loaded"
    assert result.tokens == sum(record["tokens"] for record in records(some).values())
    assert isinstance(result.conversion_efficiency, float)
    assert some.read_bytes() == before
    # Other settings are another run: refused as early.
    other = msgspec.structs.replace(options, seed=1)
    with pytest.raises(InputError, match="was begun with seed = 0, not 1"):
        generate(absent, tiny.prompts(), policy, some, other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": -1}, "seed = -1 must be at least 0"),
        ({"top_p": 0.0}, "top_p = 0"),
        ({"top_k": -3}, "top_k = -3"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
    ],
)
def test_options_that_no_run_can_have_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        GenerateOptions(**given)
    one_line(caught.value)
