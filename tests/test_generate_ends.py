"""What ends an attempt beside the policy, how prompts are put, and runs over engines that work elsewhere."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from msifr_integrations.engine.base import Again, Attempt, Event, Failed, Notice
from msifr_integrations.generation.inputs import encode_prompt
from msifr_integrations.generation.journal import AttemptRecord, Journal, ledger_path
from msifr_integrations.generation.live import Ends, Live, Task
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.paired import pair_runs, read_attempts
from msifr_integrations.generation.run import Run
from msifr_integrations.generation.text import Stops
from msifr_integrations.servers.async_engine import AsyncEngine
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.evidence.schedule import EveryUnits, NewlineSteps
from msifr_policy.filters import Message, Prompt, final_filter
from msifr_policy.policy import NEVER_DISCARD
from msifr_policy.records.ledger import Session, read_ledger, total

stop_strings = st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3)


def first_complete(text: str, strings: Sequence[str]) -> int | None:
    """Where the stop string begins that is complete first, the longest of those that end together."""
    ends = [(text.find(string) + len(string), text.find(string)) for string in strings if string in text]
    return min(ends)[1] if ends else None


@given(st.text("ab\n", max_size=40), stop_strings, st.data())
@settings(max_examples=500)
def test_text_ends_before_the_stop_string_that_is_complete_first(text: str, strings: list[str], data: Any) -> None:
    """However the text is cut; and what is given out before that is never taken back."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    stops, given_out, stopped = Stops(strings), "", False
    for start, end in pairwise([0, *cuts, len(text)]):
        certain, stopped = stops.push(text[start:end])
        given_out += certain
        if stopped:
            break
        seen = text[:end]
        held = seen[len(given_out) :]
        assert given_out + held == seen
        assert not held or any(string.startswith(held) for string in strings)
    expected = first_complete(text, strings)
    if not stopped:
        given_out += stops.push("", last=True)[0]
    assert stopped == (expected is not None)
    assert given_out == text[:expected]


def test_a_stop_string_ends_attempts_and_costs_nothing_after_it(tmp_path: Path) -> None:
    """The text is that of the run without it, cut; the tokens are those up to where the string is complete."""
    stop = ("Y", "d")
    tiny.run(tmp_path / "full.jsonl")
    result = tiny.run(tmp_path / "cut.jsonl", stop=stop)
    full, cut = read_attempts(tmp_path / "full.jsonl"), read_attempts(tmp_path / "cut.jsonl")
    entries = {entry.id: entry for entry in read_ledger(ledger_path(tmp_path / "cut.jsonl")).entries}
    ended = 0
    for name, record in cut.items():
        whole = full[name]
        at = first_complete(whole.text, stop)
        assert record.text == whole.text[:at]
        assert (record.finish == "stop") == (at is not None) == (entries[name].finish == "stop")
        assert record.token_ends == sorted(record.token_ends)
        assert max(record.token_ends, default=0) <= len(record.text)
        ended += at is not None
    assert 5 < ended < 40
    assert result.tokens < sum(record.tokens for record in full.values())
    assert result.tokens_wasted_after_decision == 0
    assert total(entries.values()).by_finish["stop"].attempts == ended


@pytest.mark.parametrize("schedule", [EveryUnits(2, "tokens"), EveryUnits(3, "characters"), NewlineSteps(1)])
def test_a_replay_of_stopped_attempts_decides_as_the_policy_did(schedule: Any) -> None:
    """What may begin a stop string is held back from the policy: the written text leads to the same decisions."""
    stop, strings = ("ae", "\n\n"), ["x", "a", "\n", "e", "a", "b", "\n", "c", "a", "e", "z"]
    policy = tiny.TextPolicy(lambda _: False, schedule)
    live = Live(Prompt(prompt_id="p", prompt="p"), policy, None, Ends(Stops(stop)))
    for text in strings:
        if live.take(Event("a", -1, -1.0, -1.0, "", text)):
            break
    assert (live.text, live.finish, live.tokens) == ("xa\neab\nc", "stop", 10)
    again = tiny.TextPolicy(lambda _: False, schedule)
    run = again.start("p")
    for before, end in pairwise([0, *live.token_ends[:-1]]):  # the last token completes no text
        run.feed(live.text[before:end], 1)
    assert len(run.log) > 1
    assert str(policy.decisions["p"][0]) == str(run.log)  # NaN differs from itself


class UpToY:
    """A filter that judges what comes before a Y, and knows when it is there."""

    name = "up to Y"

    def check(self, prompt: Prompt) -> None:
        del prompt

    def reader(self, prompt: Prompt) -> Any:
        del prompt
        return self.Reader()

    class Reader:
        exact = True

        def __init__(self) -> None:
            self.read, self.end = 0, None

        def feed(self, text: str) -> int | None:
            if self.end is None and "Y" in text:
                self.end = self.read + text.index("Y") + 1
            self.read += len(text)
            return self.end

    def __call__(self, prompt: Prompt, text: str) -> bool:
        del prompt
        return len(text.partition("Y")[0]) % 2 == 0


def test_an_attempt_ends_when_it_is_decided_with_the_same_verdict(tmp_path: Path) -> None:
    options = {"final_filter": UpToY()}
    tiny.run(tmp_path / "full.jsonl", **options)
    said: list[str] = []
    tiny.run(tmp_path / "early.jsonl", finish_when_decided=True, tell=said.append, **options)
    full, early = read_attempts(tmp_path / "full.jsonl"), read_attempts(tmp_path / "early.jsonl")
    assert {name: record.correct for name, record in full.items()} == {n: r.correct for n, r in early.items()}
    decided = [record for record in early.values() if record.finish == "decided"]
    assert len(decided) > 5
    for record in decided:
        assert full[record.id].text.startswith(record.text)
        assert record.text.index("Y") == len(record.text) - 1
        assert record.token_ends.count(len(record.text)) == 1  # the token that decided was the last


def test_a_reader_that_fails_ends_nothing(tmp_path: Path) -> None:
    class Broken(UpToY):
        def reader(self, prompt: Prompt) -> Any:
            del prompt

            class Reader:
                exact = True

                def feed(self, text: str) -> int | None:
                    raise ValueError(text)

            return Reader()

    tiny.run(tmp_path / "full.jsonl", final_filter=UpToY())
    tiny.run(tmp_path / "out.jsonl", final_filter=Broken(), finish_when_decided=True)
    full, out = read_attempts(tmp_path / "full.jsonl"), read_attempts(tmp_path / "out.jsonl")
    assert {name: record.text for name, record in full.items()} == {name: record.text for name, record in out.items()}
    failures = total(read_ledger(ledger_path(tmp_path / "out.jsonl")).entries).failures
    assert failures == {"reader of the final filter: ValueError": 40}


def with_chat_template() -> Any:
    tokenizer = copy.deepcopy(tiny.tokenizer())
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[go]"
    return tokenizer


def test_prompts_are_put_as_text_template_or_chat() -> None:
    tokenizer, bare = with_chat_template(), tiny.tokenizer()
    plain = Prompt(prompt_id="a", prompt="Two?")
    turns = Prompt(prompt_id="b", messages=(Message("system", "Be brief."), Message("user", "One?")))
    assert turns.prompt == "One?"
    decoded = {
        name: tokenizer.decode(list(encode_prompt(tokenizer, prompt, chat, template)))
        for name, prompt, chat, template in [
            ("text", plain, False, ""),
            ("template", plain, False, "Q: {prompt}\nA:"),
            ("chat", plain, True, ""),
            ("messages", turns, True, ""),
        ]
    }
    assert decoded == {
        "text": "Two?",
        "template": "Q: Two?\nA:",
        "chat": "[user]Two?[go]",
        "messages": "[system]Be brief.[user]One?[go]",
    }
    with pytest.raises(InputError, match="prompt 'b': the prompt has messages, this run takes text"):
        encode_prompt(tokenizer, turns, False)
    with pytest.raises(InputError, match="no chat template"):
        encode_prompt(bare, plain, True)


def test_the_chat_is_the_default_where_there_is_one(tmp_path: Path) -> None:
    from msifr_integrations.generation.generate import generate

    prompts = [
        Prompt(prompt_id="p", messages=(Message("user", "Hi"), Message("assistant", "Ho"), Message("user", "?")))
    ]
    options = GenerateOptions(attempts=1, slots=2, max_new_tokens=4, final_filter=tiny.even_length)
    said: list[str] = []
    out = tmp_path / "out.jsonl"
    generate(tiny.llama(), prompts, None, out, options, tokenizer=with_chat_template(), tell=said.append)
    assert any("chat template" in remark for remark in said)
    assert read_ledger(ledger_path(out)).settings["chat"] is True
    record = read_attempts(out)["p/0/0"]
    assert (record.prompt, record.messages) == ("?", prompts[0].messages)
    bare = tmp_path / "bare.jsonl"
    generate(tiny.llama(), tiny.prompts(1), None, bare, options, tokenizer=tiny.tokenizer(), tell=said.append)
    assert read_ledger(ledger_path(bare)).settings["chat"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop": ("",)}, "a stop string is empty"),
        ({"template": "no place"}, "does not hold {prompt}"),
        ({"template": "{prompt}", "chat": True}, "goes without a chat"),
        ({"shard": (3, 2)}, "no shard 3 of 2"),
        ({"shard": (0, 2)}, "no shard 0 of 2"),
    ],
)
def test_options_that_say_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GenerateOptions(**options)


def test_shards_are_the_run_in_parts(tmp_path: Path) -> None:
    tiny.run(tmp_path / "whole.jsonl")
    whole = read_attempts(tmp_path / "whole.jsonl")
    parts: dict[str, AttemptRecord] = {}
    for i in range(1, 4):
        tiny.run(tmp_path / f"{i}.jsonl", shard=(i, 3))
        part = read_attempts(tmp_path / f"{i}.jsonl")
        assert not parts.keys() & part.keys()
        parts |= part
    assert parts == whole


class Scripted(AsyncEngine):
    """Streams a text per attempt, a character a token, and does what the script says of the attempt besides."""

    name = "scripted"
    logprobs = False

    def __init__(self, script: dict[str, list[str]] | None = None, slots: int = 4, seconds: float = 0.0) -> None:
        super().__init__(slots)
        self.script = script or {}
        self.seconds = seconds
        self.closed: list[str] = []
        self.most = self.tokens = 0

    def submit(self, attempt: Attempt) -> None:
        super().submit(attempt)
        self.most = max(self.most, len(self._queue) + len(self._running))

    def spent(self) -> Session:
        return Session(probe=2, arrived=self.tokens, made=self.tokens + 5)

    async def _stream(self, attempt: Attempt) -> AsyncGenerator[Sequence[Notice], None]:
        nan = float("nan")
        try:
            for what in self.script.get(attempt.id, ["#### 12", "end"]):
                if what == "again":
                    yield [Again(attempt.id, "connection lost")]
                elif what == "fail":
                    yield [Failed(attempt.id, "HTTP 400: too long: " + "x" * 500)]
                    return
                elif what == "interrupt":
                    raise KeyboardInterrupt
                elif what in ("end", "abort"):
                    yield [Event(attempt.id, -1, nan, nan, what, "", tokens=0)]
                else:
                    for letter in what:
                        await asyncio.sleep(self.seconds)
                        self.tokens += 1
                        yield [Event(attempt.id, -1, nan, nan, "", letter)]
        finally:
            self.closed.append(attempt.id)


def tasks(count: int) -> Iterator[Task]:
    for i in range(count):
        yield Task(Prompt(prompt_id=f"p{i}", prompt="Say", gold="12"), Attempt(f"p{i}/0/0", "Say", b"0" * 16, 99))


def run(engine: Any, out: Path, count: int, policy: Any = NEVER_DISCARD, accept: Any = "numeric") -> Journal:
    with Journal(out) as files:
        files.check({})
        files.begin({"seed": 0})
        todo = tiny.turns([task for task in tasks(count) if task.attempt.id not in files.done])
        Run(engine, todo, policy, final_filter(accept), None, files, GenerateOptions(), files.before, count).drain()
    return files


def test_a_run_over_streams_accounts_for_broken_and_impossible_attempts(tmp_path: Path) -> None:
    script = {
        "p1/0/0": ["###", "again", "#### 12", "end"],
        "p2/0/0": ["he", "fail"],
        "p3/0/0": ["12\n#### 12", "abort"],
    }
    out = tmp_path / "out.jsonl"
    totals = run(Scripted(script), out, 5).totals()
    entries = {entry.id: entry for entry in read_ledger(ledger_path(out)).entries}
    assert (totals.accepted, totals.failed) == (4, 1)
    assert (entries["p1/0/0"].lost, entries["p1/0/0"].tokens) == (3, 7)
    assert (entries["p2/0/0"].outcome, entries["p2/0/0"].reason, entries["p2/0/0"].lost) == ("failed", "HTTP 400", 2)
    assert entries["p3/0/0"].finish == "abort"
    assert (totals.tokens, totals.tokens_beside) == (3 * 7 + 10, 3 + 2 + 2 + 3)  # lost, probe, and 5 made less 2 probed
    records = read_attempts(out)
    assert records["p2/0/0"].status == "failed"
    assert records["p2/0/0"].error.startswith("HTTP 400: too long")
    assert records["p1/0/0"].text == "#### 12"


def test_discarding_closes_the_stream_and_the_rest_goes_on(tmp_path: Path) -> None:
    engine = Scripted()
    policy = tiny.TextPolicy(lambda _: True, EveryUnits(3, "tokens"))
    totals = run(engine, tmp_path / "out.jsonl", 30, policy).totals()
    assert (totals.discarded, totals.tokens, totals.tokens_wasted_after_decision) == (30, 90, 0)
    assert engine.tokens == 90
    assert len(engine.closed) == 30


def test_an_engine_elsewhere_is_given_no_more_than_it_may_soon_take(tmp_path: Path) -> None:
    engine = Scripted(slots=3)
    assert run(engine, tmp_path / "out.jsonl", 400).totals().attempts == 400
    assert engine.most <= 2 * 3 + 64 + 3  # those whose streams are being closed


def test_a_slow_filter_does_not_hold_up_the_streams(tmp_path: Path) -> None:
    """It judges in a thread of its own while tokens are read, but never falls behind without bound."""
    judging: set[int] = set()
    waiting: list[int] = []
    engine = Scripted(slots=2, seconds=0.0005)

    def slow(prompt: Prompt, text: str) -> bool:
        del prompt, text
        judging.add(threading.get_ident())
        time.sleep(0.01)
        waiting.append(len(engine.closed) - len(waiting))
        return True

    totals = run(engine, tmp_path / "out.jsonl", 150, accept=slow).totals()
    assert totals.accepted == 150
    assert threading.get_ident() not in judging
    assert 1 < max(waiting) <= 16 + 2 + 1


def test_a_filter_that_raises_stops_a_run_over_streams_and_it_can_go_on(tmp_path: Path) -> None:
    def broken(prompt: Prompt, text: str) -> bool:
        raise ValueError(text + prompt.prompt)

    with pytest.raises(MsifrError, match=r"the final filter .* failed on an attempt at prompt 'p0'"):
        run(Scripted(), tmp_path / "out.jsonl", 10, accept=broken)
    assert run(Scripted(), tmp_path / "out.jsonl", 10).totals().attempts == 10


def test_tokens_in_flight_at_an_interrupt_are_in_the_ledger(tmp_path: Path) -> None:
    script = {f"p{i}/0/0": ["#### 12", "end"] for i in range(10)} | {"p9/0/0": ["####", "interrupt"]}
    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(Scripted(script), out, 10)
    ledger = read_ledger(ledger_path(out))
    assert ledger.sessions[-1].unfinished > 0
    totals = run(Scripted(), out, 10).totals()
    assert totals.attempts == 10
    assert totals.tokens == 70
    assert len(read_ledger(ledger_path(out)).sessions) == 2
    assert [record.text for record in read_attempts(out).values()] == ["#### 12"] * 10


def test_streams_run_under_a_loop_that_runs_already(tmp_path: Path) -> None:
    """As in a notebook."""

    async def within() -> int:
        return run(Scripted(), tmp_path / "out.jsonl", 5).totals().accepted

    assert asyncio.run(within()) == 5


def test_runs_are_paired_without_what_failed_in_either(tmp_path: Path) -> None:
    run(Scripted({"p1/0/0": ["fail"]}), tmp_path / "full.jsonl", 6)
    policy = tiny.TextPolicy(lambda text: "####" in text, EveryUnits(6, "tokens"))
    run(Scripted({"p2/0/0": ["fail"], "p3/0/0": ["###x 12", "end"]}), tmp_path / "some.jsonl", 6, policy)
    paired = pair_runs(tmp_path / "full.jsonl", tmp_path / "some.jsonl")
    assert len(paired.outcomes.accepted) == 4
    assert (paired.survivors, paired.changed) == (1, 1)


def test_old_ledgers_are_read(tmp_path: Path) -> None:
    """Fields that are new have defaults."""
    path = tmp_path / "old.ledger.jsonl"
    lines = [
        {"kind": "run", "settings": {}, "version": 1},
        {"kind": "attempt", "id": "a", "prompt_id": "p", "outcome": "accepted", "tokens": 3, "prompt_tokens": 1,
         "seconds": 1.5, "stages": [3]},
    ]  # fmt: skip
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    totals = total(read_ledger(path).entries)
    assert (totals.tokens, totals.cpu_seconds, totals.tokens_beside) == (3, 0.0, 0)
