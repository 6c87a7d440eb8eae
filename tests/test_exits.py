"""EXIT, from forced answers recorded in shadow to a policy that exits, and the runs that it leads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch
from zlib import crc32

import msgspec
import numpy as np
import pytest

import commands
import letters
import tiny
from benchmarks._overthinking import Overthinking, least_cost
from fake_server import FakeServer, text_of
from msifr_calibration import FitOptions, fit_policy
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.exit_path import fit_exit_path, fit_forced_beliefs, stopped
from msifr_integrations.embedded import EMBEDDED_MODEL, problems
from msifr_integrations.engine.base import Attempt, Event, Failed, Notice, stream_key
from msifr_integrations.generation import generate as generating
from msifr_integrations.generation.engines import Opened
from msifr_integrations.generation.forcing import Forced, exit_key
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.journal import AttemptRecord, ledger_path
from msifr_integrations.generation.live import Point
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.paired import pair_runs, read_attempts
from msifr_integrations.generation.text import Pieces
from msifr_integrations.servers.dialects import seed
from msifr_integrations.servers.options import ServerOptions
from msifr_policy.checkpoints import at_checkpoint
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.exits import ExitPlan, exit_columns, plan_of
from msifr_policy.evidence.schedule import EveryUnits, NewlineSteps
from msifr_policy.exit_rule import ExitRule
from msifr_policy.filters import Prompt
from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy import Action, Decision
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.exits import ForcedAnswer
from msifr_policy.records.ledger import Entry, read_ledger
from msifr_policy.records.traces import Trace, read_traces, write_traces
from msifr_policy.validators import default_validators
from msifr_sim import replay_policy, summarise


def test_the_optimum_with_both_actions_is_found_where_exit_pays():
    world = Overthinking()
    exact = {
        "both": least_cost(world, {Action.DISCARD, Action.EXIT}),
        "exit": least_cost(world, {Action.EXIT}),
        "discard": least_cost(world, {Action.DISCARD}),
    }
    assert exact["both"] < 0.8 * min(exact["exit"], exact["discard"])
    table, exits = world.sample(3000, seed=1)
    fitted, forced = fit_linear_beliefs(table), fit_forced_beliefs(table, exits)
    fresh, fresh_exits = world.sample(4000, seed=2)
    M, r = fitted.beliefs.predict(fresh.k, fresh.values)
    believed = (M, r, fitted.beliefs.worth(fresh.k, fresh.values)[1])
    for name in ("both", "exit"):
        path = fit_exit_path(table, exits, fitted, forced, discard=name == "both")
        seen = stopped(fresh, fresh_exits, path, believed, forced.beliefs.predict(fresh.k, fresh.values))
        found = seen.cost_per_accepted[-1]
        # Attempts are fresh, so that by chance ρ may be below the optimum, too: by bootstrap its standard error is 2 %.
        # A path that misses one of the actions is off by 28 % or more, one that forgets what exits cost by 9 %.
        assert found == pytest.approx(exact[name], rel=0.06)
        assert seen.exited[-1].sum() > 500
        assert (seen.discarded[-1].sum() > 500) == (name == "both")


# --- runs: engines of letters, whose texts are a function of the attempt's key


EVERY_2 = ExitPlan(schedule=EveryUnits(2, "characters"), prompt="so", tokens=9)
TASKS = [Prompt(prompt_id=f"p{i}", prompt=f"Say {i}", gold=str(share)) for i, share in enumerate((0, 40, 60, 100))]


class ExitsAt:
    """Exits at the first checkpoint, every second letter, whose letters so far say so; else it goes on."""

    fingerprint = "exits by letters"
    exit_plan = EVERY_2

    def start(self, prompt: str) -> ExitsRun:
        del prompt
        return ExitsRun()


class ExitsRun:
    failures: Mapping[str, int] = MappingProxyType({})

    def __init__(self) -> None:
        self.text = ""

    def feed(self, text: str, tokens: int = 0, logprobs: Sequence[float] = ()) -> Decision | None:
        del tokens, logprobs
        before, self.text = len(self.text) // 2, self.text + text
        k = len(self.text) // 2
        if k == before:
            return None
        action = Action.EXIT if leaves(self.text[: 2 * k]) else Action.CONTINUE
        return Decision(action, k, 2 * k, 2 * k, 0.5, 0.0)


def leaves(text: str) -> bool:
    return crc32(text.encode()) % 3 == 0


@contextmanager
def texts_of(engine: Any) -> Iterator[None]:
    """Have `generate` run on this engine, which takes texts."""

    @contextmanager
    def opened(*_: Any) -> Iterator[Opened]:
        yield Opened(engine, lambda prompt: prompt.prompt, {"engine": "test", "chat": False})

    with patch.object(generating, "open_engine", opened):
        yield


def letters_run(out: Path, engine: Any, policy: Any = None, **options: Any) -> Any:
    usual: dict[str, Any] = {"attempts": 5, "final_filter": letters.good, "slots": engine.slots}
    with texts_of(engine):
        return generate("none", TASKS, policy, out, GenerateOptions(**usual | options), tell=lambda _: None)


def attempts_of(out: Path) -> dict[str, tuple[AttemptRecord, Entry]]:
    """Record and account of each attempt, without times."""
    entries = {entry.id: entry for entry in read_ledger(ledger_path(out)).entries}
    plain = {name: msgspec.structs.replace(e, seconds=0.0, cpu_seconds=0.0, lost=0) for name, e in entries.items()}
    return {name: (record, plain[name]) for name, record in read_attempts(out).items()}


def whole_text(name: str) -> str:
    prompt_id, seed, number = name.split("/")
    return letters.text_of(stream_key(int(seed), prompt_id, int(number)))


def forced_at(name: str, k: int) -> str:
    prompt_id, seed, number = name.split("/")
    return letters.text_of(exit_key(stream_key(int(seed), prompt_id, int(number)), k))


PROMPTS = {task.prompt_id: task for task in TASKS}


@pytest.mark.parametrize("kind", [letters.Letters, letters.Streams])
def test_answers_forced_in_shadow_leave_attempts_as_they_are(tmp_path, kind):
    letters_run(tmp_path / "plain.jsonl", kind(3))
    result = letters_run(tmp_path / "exits.jsonl", kind(3), record_exits=EVERY_2)
    plain, recorded = attempts_of(tmp_path / "plain.jsonl"), attempts_of(tmp_path / "exits.jsonl")
    assert plain.keys() == recorded.keys()
    n = 0
    for name, (record, entry) in recorded.items():
        text = whole_text(name)
        assert msgspec.structs.replace(record, exits=None) == plain[name][0]
        assert msgspec.structs.replace(entry, forced=0, forced_prompts=0) == plain[name][1]
        assert record.text == text
        # Where the attempt ends with the token that reaches a checkpoint nothing is left to force.
        assert [a.k for a in record.exits.answers] == list(range(1, (len(text) - 1) // 2 + 1))
        for answer in record.exits.answers:
            assert (answer.position, answer.asked, answer.text) == (2 * answer.k, "\nso", forced_at(name, answer.k))
            joined = text[: answer.position] + answer.asked + answer.text
            assert answer.accepted == letters.good(PROMPTS[record.prompt_id], joined)
            n += answer.accepted
        assert entry.forced == sum(len(answer.text) for answer in record.exits.answers)
    assert n > 3
    assert result.tokens_beside >= sum(entry.forced for _, entry in recorded.values()) > 0
    assert [ExitPlan.of(record.exits, "") for record, _ in recorded.values()] == [EVERY_2] * len(recorded)


@pytest.mark.parametrize("kind", [letters.Letters, letters.Streams])
@pytest.mark.parametrize("slots", [1, 4])
def test_where_a_policy_exits_the_answer_is_the_one_recorded_there(tmp_path, kind, slots):
    letters_run(tmp_path / "shadow.jsonl", letters.Letters(2), record_exits=EVERY_2)
    result = letters_run(tmp_path / "exits.jsonl", kind(slots), ExitsAt())
    shadow = attempts_of(tmp_path / "shadow.jsonl")
    n = 0
    for name, (record, entry) in attempts_of(tmp_path / "exits.jsonl").items():
        whole, recorded = shadow[name][0].text, {a.k: a for a in shadow[name][0].exits.answers}
        k = next((k for k in recorded if leaves(whole[: 2 * k])), None)
        assert entry.exited == k
        if k is None:
            assert (record.text, entry.finish) == (whole, "end")
            continue
        answer = recorded[k]
        n += 1
        assert record.text == whole[: 2 * k] + answer.asked + answer.text
        assert (record.finish, entry.finish, record.k, record.position) == ("exit", "exit", k, 2 * k)
        assert record.correct == answer.accepted == (entry.outcome == "accepted")
        assert entry.tokens == record.tokens == len(record.token_ends) == entry.wasted + 2 * k + answer.tokens
        assert len(entry.stages) == k + 1
        assert entry.stages[-1] == answer.tokens + entry.wasted
        assert record.token_ends[-1] == len(record.text)
    assert result.exited == n > 3
    assert result.discarded == 0
    with pytest.raises(InputError, match="an attempt that exited"):  # what it would have come to is not known
        list(read_traces(tmp_path / "exits.jsonl", on_error="skip"))


@pytest.mark.parametrize("dies", [1, 7, 16, 23, 38])
@pytest.mark.parametrize("shadow", [True, False])
def test_a_killed_run_forces_the_same_answers(tmp_path, dies, shadow):
    policy, options = (None, {"record_exits": EVERY_2}) if shadow else (ExitsAt(), {})
    letters_run(tmp_path / "whole.jsonl", letters.Letters(3), policy, **options)
    with pytest.raises(KeyboardInterrupt):
        letters_run(tmp_path / "killed.jsonl", letters.Letters(3, dies=dies), policy, **options)
    letters_run(tmp_path / "killed.jsonl", letters.Letters(3), policy, **options)
    assert attempts_of(tmp_path / "killed.jsonl") == attempts_of(tmp_path / "whole.jsonl")


@pytest.mark.parametrize("kind", [letters.Letters, letters.Streams])
@pytest.mark.parametrize("shadow", [True, False])
@pytest.mark.parametrize("k", [1, 2])
def test_an_answer_that_cannot_be_forced_fails_its_attempt(tmp_path, kind, shadow, k):
    policy, options = (None, {"record_exits": EVERY_2}) if shadow else (ExitsAt(), {})
    letters_run(tmp_path / "whole.jsonl", letters.Letters(3), policy, **options)
    whole = attempts_of(tmp_path / "whole.jsonl")
    # In shadow one of several answers fails, and those beside it are given up with their attempt.
    failing = next(
        name
        for name, (record, entry) in whole.items()
        if (len(record.exits.answers) > 2 if record.exits is not None else entry.exited == k)
    )
    result = letters_run(tmp_path / "failed.jsonl", kind(3, failing=[f"{failing} exit {k}"]), policy, **options)
    made = attempts_of(tmp_path / "failed.jsonl")
    assert [name for name, (_, entry) in made.items() if entry.outcome == "failed"] == [failing]
    assert (result.failed, made[failing][1].reason) == (1, "HTTP 400")
    assert {name: of for name, of in made.items() if name != failing} == {
        name: of for name, of in whole.items() if name != failing
    }


class Lines(letters.Letters):
    """Forced answers are lines of two letters; those of `failing` fail where the others end."""

    def step(self, name: str) -> Notice:
        if " exit " not in name:
            return super().step(name)
        done = self.rows[name][1]
        if done == 2 and name in self.failing:
            del self.rows[name]
            return Failed(name, "HTTP 400: no")
        self.rows[name] = "ab\nc", done + 1
        return Event(name, -1, -1.0, -1.0, "", "ab\nc"[done])


def test_an_answer_that_ends_as_another_one_fails_is_given_up_with_it(tmp_path):
    name = "p3/0/0"
    assert len(whole_text(name)) > 4
    result = letters_run(tmp_path / "out.jsonl", Lines(9, failing=[f"{name} exit 2"]), record_exits=EVERY_2, attempts=1)
    made = attempts_of(tmp_path / "out.jsonl")
    assert (result.failed, made[name][1].outcome) == (1, "failed")
    told = [a.text for record, _ in made.values() if record.exits for a in record.exits.answers]
    assert told == ["ab"] * len(told) != []


def test_a_server_goes_on_behind_the_text_of_its_completion(tmp_path):
    with FakeServer() as server:
        options = GenerateOptions(
            attempts=1, max_new_tokens=12, final_filter=letters.good, record_exits=EVERY_2,
            server=ServerOptions(url=server.url, api="completions"),
        )  # fmt: skip
        generate(None, TASKS, None, tmp_path / "out.jsonl", options, tell=lambda _: None)
    for record, _ in attempts_of(tmp_path / "out.jsonl").values():
        assert record.exits.answers
        key = stream_key(0, record.prompt_id, 0)
        for answer in record.exits.answers:
            behind = record.prompt + record.text[: answer.position] + answer.asked
            said = text_of(behind, seed(exit_key(key, answer.k)), 9)
            line = said.lstrip()
            assert answer.text == said[: len(said) - len(line)] + line.partition("\n")[0]
            assert answer.prompt_tokens == 3  # as the server counts


def test_where_answers_cannot_be_forced_nothing_is_generated(tmp_path):
    with FakeServer() as server:
        options = GenerateOptions(record_exits=EVERY_2, server=ServerOptions(url=server.url, api="chat"))
        with pytest.raises(InputError, match="cannot be forced in chats"):
            generate(None, TASKS, None, tmp_path / "chat.jsonl", options, tell=lambda _: None)
    with pytest.raises(InputError, match="without a policy"):
        letters_run(tmp_path / "a.jsonl", letters.Letters(1), ExitsAt(), record_exits=EVERY_2)
    with pytest.raises(InputError, match="no audit of discards sees"):
        letters_run(tmp_path / "a.jsonl", letters.Letters(1), ExitsAt(), audit=0.1)
    assert list(tmp_path.iterdir()) == []


def test_a_forced_answer_is_one_line():
    def said(*pieces: str) -> tuple[str, str, list[int]]:
        answer = Forced(Attempt("a", "p", b"", 9), Point(1, 1, 1), "so", Pieces(None))
        for i, piece in enumerate(pieces):
            answer.take(Event("a", -1, 0.0, 0.0, "end" if i + 1 == len(pieces) else "", piece))
        return answer.text, answer.finish, answer.token_ends

    assert said(" 5", ".", "") == (" 5.", "end", [2, 3, 3])
    assert said("\n", " 5", "\nBut", "x") == ("\n 5", "line", [1, 3, 3, 3])
    assert said(" \n ", "") == (" \n ", "end", [3, 3])


# --- plans, and what is recorded


@pytest.mark.parametrize(
    ("prompt", "text", "asked"),
    [
        ("Q", "2+3=5.\n", "so"),
        ("Q", "2+3", "\nso"),
        ("Q", "", "so"),
        ("Q\n<think>\n", "hm", "\n</think>\nso"),
        ("Q", "<think>hm</think>\n", "so"),
        ("Q", "[THINK]hm\n", "[/THINK]\nso"),
        ("Q", "<|channel|>analysis<|message|>hm", "\n<|channel|>final<|message|>\nso"),
    ],
)
def test_what_asks_for_the_answer_closes_thinking(prompt, text, asked):
    assert EVERY_2.asked(prompt, text) == asked


def test_forced_answers_are_written_and_read(tmp_path):
    trace = recorded_trace()
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"):
        write_traces(tmp_path / name, [trace])
        assert list(read_traces(tmp_path / name)) == [trace]
    for change, message in (({"position": 9}, "after 9 of 5 characters"), ({"k": 0}, "before the first token")):
        record = msgspec.to_builtins(trace)
        record["exits"]["answers"][0] |= change
        (tmp_path / "bad.jsonl").write_bytes(msgspec.json.encode(record) + b"\n")
        with pytest.raises(InputError, match=message):
            list(read_traces(tmp_path / "bad.jsonl"))


def recorded_trace(name: str = "a", **changes: Any) -> Trace:
    answer = ForcedAnswer(k=1, position=2, asked="\nso", text=" 5", tokens=3, prompt_tokens=9, accepted=True)
    exits = EVERY_2.recorded([answer, msgspec.structs.replace(answer, k=2, position=4, accepted=False)])
    return Trace(**{"id": name, "prompt_id": "p", "text": "abcde", "accepted": False, "exits": exits} | changes)


def test_forced_answers_lie_beside_their_checkpoints():
    traces = [recorded_trace(), recorded_trace("b", text="ab", exits=EVERY_2.recorded([]))]
    table = build_evidence(traces, EVERY_2.schedule, default_validators())
    columns = exit_columns(table, traces, EVERY_2)
    assert plan_of(traces) == EVERY_2
    # Checkpoints 0, 1, 2 and the end; of the second attempt, which ends at checkpoint 1, nothing was forced.
    assert np.array_equal(columns.cost, [np.nan, 2, 2, np.nan, np.nan, np.nan, np.nan], equal_nan=True)
    assert columns.accepted.tolist() == [False, True] + [False] * 5


def test_other_filters_do_not_keep_forced_answers(tmp_path):
    write_traces(tmp_path / "a.jsonl", [recorded_trace(gold="5")])
    judged = commands.run("judge", tmp_path / "a.jsonl", "--filter", "exact", "--again", "-o", tmp_path / "b.jsonl")
    assert "1 outputs lost the answers that were forced in them" in judged.output
    converted = commands.run("convert", tmp_path / "a.jsonl", "-o", tmp_path / "c.jsonl")
    assert "without a place in traces: exits" in converted.output
    for name in ("b.jsonl", "c.jsonl"):
        (trace,) = read_traces(tmp_path / name)
        assert trace.exits is None


def test_what_was_not_recorded_alike_is_refused():
    whole, other = recorded_trace(), recorded_trace("b", exits=None)
    table = build_evidence([whole, other], EVERY_2.schedule, default_validators())
    with pytest.raises(InputError, match="not forced in all traces by one plan"):
        plan_of([whole, other])
    with pytest.raises(InputError, match="no answer was forced at checkpoint 1"):
        exit_columns(table, [whole, other], EVERY_2)
    with pytest.raises(InputError, match="known of 1 of 2 attempts"):
        exit_columns(table, [whole], EVERY_2)
    with pytest.raises(InputError, match="other checkpoints"):
        exit_columns(table, [whole, other], msgspec.structs.replace(EVERY_2, schedule=EveryUnits(3, "characters")))
    plain = [recorded_trace(f"p{i}", exits=None, prompt_id=f"p{i}", accepted=i % 2 == 0) for i in range(8)]
    with pytest.raises(InputError, match="no answers were forced"):
        fit_policy(
            build_evidence(plain, EVERY_2.schedule, default_validators()), traces=plain, exits=True, method="logistic"
        )
    with pytest.raises(InputError, match="quota"):
        FitOptions(exits=True, accepted_per_prompt=1)


# --- policies: fitted, certified, and run


NEWLINES = ExitPlan(schedule=NewlineSteps(), prompt="####", tokens=8)
PROBLEMS = [problem.as_prompt() for problem in problems(5, 24)]


def embedded_run(out: Path, policy: Any = None, **options: Any) -> Any:
    model, tokenizer = tiny.embedded()
    usual: dict[str, Any] = {"attempts": 2, "slots": 32, "max_new_tokens": 120, "model_name": EMBEDDED_MODEL}
    return generate(
        model, PROBLEMS, policy, out, GenerateOptions(**usual | options), tokenizer=tokenizer, tell=lambda _: None
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exits") / "recorded.jsonl"
    embedded_run(out, record_exits=NEWLINES)
    return out


def test_a_fitted_policy_exits_live_as_in_the_replay(recorded, tmp_path):
    traces = list(read_traces(recorded))
    table = build_evidence(traces, NEWLINES.schedule, default_validators())
    exits = exit_columns(table, traces, NEWLINES)
    fitted, forced = fit_linear_beliefs(table), fit_forced_beliefs(table, exits)
    margins = [None, 0.0, 4.0, 0.0]
    rule = ExitRule(plan=NEWLINES, beliefs=forced.beliefs, price=60.0, margins=margins)
    thresholds = np.full(table.n_checkpoints + 1, 0.5)
    thresholds[0] = 0
    policy = FittedPolicy(
        NEWLINES.schedule, tuple(default_validators()), fitted.beliefs, thresholds, "test", unit="tokens", exit=rule
    )
    outcomes = replay_policy(policy, table, exits)
    embedded_run(tmp_path / "policy.jsonl", policy)
    entries = {entry.id: entry for entry in read_ledger(ledger_path(tmp_path / "policy.jsonl")).entries}
    assert min(outcomes.exited.sum(), outcomes.forced.sum(), outcomes.discarded.sum()) > 2
    assert (~outcomes.exited & ~outcomes.discarded).sum() > 2
    for i, name in enumerate(table.attempt_ids):
        entry = entries[name]
        assert (entry.outcome == "discarded") == outcomes.discarded[i]
        assert (entry.exited is not None) == outcomes.exited[i]
        assert entry.tokens - entry.wasted == outcomes.cost_policy[i]
        if outcomes.exited[i]:
            assert (entry.outcome == "accepted") == outcomes.forced[i]
            assert (entry.exited, len(entry.stages)) == (outcomes.reached[i], outcomes.reached[i] + 1)
    paired = pair_runs(recorded, tmp_path / "policy.jsonl")
    assert (paired.changed, paired.not_prefix) == (0, 0)
    live, replayed = summarise(paired.outcomes), summarise(outcomes)
    assert (live.n_exited, live.n_gained) == (replayed.n_exited, replayed.n_gained)
    assert live.false_reject_rate == pytest.approx(replayed.false_reject_rate)
    lost = [whole.correct and entries[name].outcome != "accepted" for name, whole in read_attempts(recorded).items()]
    assert sum(lost) > sum(outcomes.accepted & outcomes.discarded)
    # Two attempts at each prompt, so that prompts and attempts weigh equally.
    assert live.false_reject_rate == pytest.approx(sum(lost) / table.n_accepted)
    kept = sum(entry.outcome == "accepted" for entry in entries.values())
    assert live.net_cost_factor == pytest.approx(live.cost_policy / kept / (live.cost_full / table.n_accepted))


def overthinking_traces(n: int, seed: int) -> list[Trace]:
    """Attempts of one prompt each that go on for twelve lines, whether or not they have found their answer."""
    rng = np.random.default_rng(seed)
    traces = []
    for i in range(n):
        found, lines, answers = False, [], []
        for k in range(1, 13):
            news = not found and rng.random() < 0.25
            found = found or news
            a, b = (int(x) for x in rng.integers(2, 50, 2))
            lines.append("The answer is 5.\n" if news else f"Let me look at {a}+{b}={a + b} once more.\n")
            position = len("".join(lines))
            accepted = bool(rng.random() < (0.85 if found else 0.1))
            answers.append(ForcedAnswer(k=k, position=position, asked="####", text=" 5", tokens=3, accepted=accepted))
        text = "".join(lines) + "#### 5"
        ends = [*range(1, len(text) + 1), len(text)]
        traces.append(
            Trace(
                id=f"a{i}", prompt_id=f"p{i}", prompt=f"Find number {i * 7919} of {rng.integers(10**9)}.", text=text,
                accepted=bool(rng.random() < (0.9 if found else 0.1)), tokens=len(ends), token_ends=ends,
                exits=NEWLINES.recorded(answers),
            )
        )  # fmt: skip
    return traces


def test_what_is_lost_by_exits_is_what_is_certified():
    traces = overthinking_traces(240, seed=4)
    table = build_evidence(traces, NEWLINES.schedule, default_validators())
    fit = fit_policy(table, traces=traces, exits=True, method="logistic", max_false_reject=0.35)
    certificate, rule, held = fit.file.certificate, fit.file.exit, fit.certifying
    assert certificate.certified
    assert rule is not None
    assert certificate.bias_bound == 1
    assert "or exited with a forced answer that is not accepted" in certificate.message
    # By hand: a good sample is lost where the first checkpoint at which the policy stops is a discard, or an exit whose
    # answer is not accepted.
    exits = exit_columns(held, traces, NEWLINES)
    beliefs = fit.file.policy().beliefs
    out = beliefs.worth(held.k, held.values)[1] < at_checkpoint(np.asarray(fit.file.thresholds), held.k)
    here = rule.exits(held.k, held.values, beliefs.predict(held.k, held.values), out)
    lost = exited = 0
    spent = 0.0
    for i in range(held.n_attempts):
        rows = range(held.start[i], held.start[i + 1] - 1)
        row = next((row for row in rows if out[row] or (here[row] and exits.possible[row])), None)
        if row is None:
            spent += held.cost[i]
            continue
        exit_here = here[row] and exits.possible[row]
        exited += exit_here
        lost += held.accepted[i] and not (exit_here and exits.accepted[row])
        spent += held.spent[row] + (3 if exit_here else 0)
    assert exited > 30
    # One attempt of each prompt, so that the test counted all of them.
    assert certificate.false_rejects == lost > 0
    outcomes = replay_policy(fit.file.policy(), held, exits)
    assert outcomes.cost_policy.sum() == pytest.approx(spent)
    assert (outcomes.exited.sum(), outcomes.lost.sum()) == (exited, lost)


def test_policies_that_exit_are_fitted_saved_and_evaluated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_traces("traces.jsonl", overthinking_traces(180, seed=1))
    write_traces("more.jsonl", overthinking_traces(100, seed=2))
    fit = ["fit", "traces.jsonl", "--posterior", "logistic", "--max-false-reject", "0.35", "--json", "-o"]
    fitted = commands.last_json(commands.run(*fit, "policy.json", "--exits"))
    file = PolicyFile.load("policy.json")
    assert fitted["schedule"] == msgspec.to_builtins(NEWLINES.schedule)
    assert file.exit is not None
    assert file.exit.plan == NEWLINES
    assert not file.never_discards
    told = commands.last_json(commands.run("evaluate", "policy.json", "more.jsonl", "--json"))
    assert told["n_exited"] > 50
    assert told["false_reject_rate"] <= 0.35
    assert told["net_cost_factor"] < 0.6
    assert "exited with a forced answer" in commands.run("evaluate", "policy.json", "more.jsonl").stdout
    # Without exits nothing of the sort is to be had.
    commands.run(*fit, "discards.json")
    other = commands.last_json(commands.run("evaluate", "discards.json", "more.jsonl", "--json"))
    assert other["net_cost_factor"] > 0.8
    assert "n_exited" not in other
    # What the forced answers come to is not known where none were forced, or others.
    write_traces("plain.jsonl", [msgspec.structs.replace(t, exits=None) for t in overthinking_traces(9, seed=3)])
    assert "no answers were forced" in commands.run("evaluate", "policy.json", "plain.jsonl", code=2).output
    with pytest.raises(InputError, match="the policy exits"):
        file.policy().follow(build_evidence(read_traces("plain.jsonl"), file.schedule, file.policy().validators))
