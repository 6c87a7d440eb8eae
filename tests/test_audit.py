"""The audit stream: which would-be discards are finished, what they weigh, and that nothing else changes."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from msifr_integrations.engine.base import stream_key
from msifr_integrations.generation.auditing import audit_ledger
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.live import Live
from msifr_policy.audit import Audit, Audited, audit_draw
from msifr_policy.errors import InputError
from msifr_policy.filters import Prompt
from msifr_policy.fitted_policy import Certified as Promise
from msifr_policy.policy import Action, Decision
from msifr_policy.records.ledger import NO_ATTEMPTS, AtPrompt, Entry, read_ledger, total

PROMPT = Prompt(prompt_id="p", prompt="Say so\n")


def records(path: Path) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in map(json.loads, path.read_text().splitlines())}


@given(st.floats(0.001, 1), st.floats(0, 1), st.one_of(st.none(), st.floats(0.01, 1)), st.booleans())
def test_probabilities_lie_between_floor_and_one(
    share: float, posterior: float, mean_root: float | None, constant: bool
) -> None:
    audit = Audit(share=share, by="constant" if constant else "posterior", mean_root=mean_root)
    probability = audit.probability(posterior)
    assert 0 < audit.floor <= probability <= 1
    assert audit.probability(math.nan) == share
    if constant or mean_root is None:
        assert probability == audit.floor == share
    elif audit.floor < probability < 1:
        assert probability == pytest.approx(share * math.sqrt(posterior) / mean_root)


def test_at_the_right_mean_the_budget_is_kept() -> None:
    posteriors = np.random.default_rng(0).uniform(0.05, 0.3, 1000)
    audit = Audit(share=0.05, mean_root=float(np.sqrt(posteriors).mean()))
    assert np.mean([audit.probability(M) for M in posteriors]) == pytest.approx(0.05)


@pytest.mark.parametrize("bad", [{"share": 0.0}, {"share": 1.5}, {"share": 0.1, "mean_root": 0.0}])
def test_audits_that_cannot_be_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match="must be above 0"):
        Audit(**bad)


def test_draws_are_uniform_and_are_the_attempts_own() -> None:
    """False alarm: a Kolmogorov distance above 1.95/√n has probability 0.001; a bias of 3 % would be seen."""
    draws = np.sort([audit_draw(stream_key(0, f"p{i}", a)) for i in range(5000) for a in range(2)])
    n = len(draws)
    assert np.abs(draws - np.arange(n) / n).max() < 1.95 / math.sqrt(n)
    assert audit_draw(stream_key(3, "p", 1)) == audit_draw(stream_key(3, "p", 1))


class _Stops:
    """Discards at checkpoints 0, 1, … from `first` on, with posterior `M`."""

    def __init__(self, first: int, M: float = 0.25) -> None:
        self.at, self.M, self.k = first, M, -1
        self.failures: Counter[str] = Counter()
        self.posteriors: list[float] = []

    def start(self, _: str) -> _Stops:
        return _Stops(self.at, self.M)

    def begin(self) -> Decision:
        return self.feed()

    def feed(self, *_: Any) -> Decision:
        self.k += 1
        self.posteriors.append(self.M)
        action = Action.DISCARD if self.k >= self.at else Action.CONTINUE
        return Decision(action, self.k, 0, 0, self.M, 0.5, "length" if self.k >= self.at else "")


def key_with(least: float, most: float) -> bytes:
    """The key of an attempt whose draw lies between."""
    keys = (stream_key(0, "p", a) for a in range(10_000))
    return next(key for key in keys if least <= audit_draw(key) < most)


@pytest.mark.parametrize("first", [0, 2])
def test_a_spared_attempt_runs_to_its_end_whatever_the_policy_says_later(first: int) -> None:
    audit = Audit(share=0.2, mean_root=0.5)  # ε = 0.2 at M = 0.25
    spared, not_spared = key_with(0.1, 0.2), key_with(0.2, 0.3)
    live = Live(PROMPT, _Stops(first), None, audit=audit, key=spared)
    for number in range(5):
        assert not live.over
        live.take(_event(number, last=number == 4))
    assert live.finish == "end"
    assert live.audited == Audited(0.2, first, 0.25, "length")
    assert live.watched["posteriors"] == (0.25,) * 5  # the last piece was empty
    other = Live(PROMPT, _Stops(first), None, audit=audit, key=not_spared)
    for number in range(first):
        other.take(_event(number))
    assert (other.over, other.audited, other.decision is None) == (True, None, False)
    without = Live(PROMPT, _Stops(first), None, key=spared)
    for number in range(first):
        without.take(_event(number))
    assert (without.over, without.audited, without.watched) == (True, None, {})


def _event(number: int, *, last: bool = False) -> Any:
    from msifr_integrations.engine.base import Event

    return Event("a", number, -1.0, -1.0, "end" if last else "", "x" if not last else "")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same run without a policy, under one, and under it with audits; tests only read them."""
    folder = tmp_path_factory.mktemp("runs")
    outs = {name: folder / f"{name}.jsonl" for name in ("full", "some", "audited")}
    tiny.run(outs["full"])
    tiny.run(outs["some"], tiny.TextPolicy(tiny.unwanted))
    result = tiny.run(outs["audited"], tiny.TextPolicy(tiny.unwanted), audit=0.4, audit_by="constant")
    assert result.audited > 0
    return outs


def test_audited_attempts_are_those_of_the_run_without_a_policy(runs: dict[str, Path]) -> None:
    full, some, audited = (records(runs[name]) for name in ("full", "some", "audited"))
    spared = {name for name in full if "audited" in audited[name]}
    assert spared == {
        name
        for name in full
        if some[name]["status"] == "discarded"
        and audit_draw(stream_key(0, full[name]["prompt_id"], int(name.rpartition("/")[2]))) < 0.4
    }
    for name in full:
        if name in spared:
            told = audited[name].pop("audited")
            assert audited[name].pop("weight") == pytest.approx(1 / 0.4)
            assert audited[name] == full[name]
            assert (told["probability"], told["k"], told["reason"]) == (0.4, some[name]["k"], "length")
        else:
            assert audited[name] == some[name]


def test_the_ledger_has_weights_and_what_was_believed(runs: dict[str, Path]) -> None:
    entries = read_ledger(ledger_path(runs["audited"])).entries
    for entry in entries:
        expected = 0.0 if entry.outcome == "discarded" else 2.5 if entry.audited else 1.0
        assert entry.weight == pytest.approx(expected)
        assert entry.would_discard == (entry.outcome == "discarded" or entry.audited is not None)
    sums = total(entries)
    weights = np.array([e.weight for e in entries if e.outcome == "accepted"])
    assert sums.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert sums.audited == sum(e.audited is not None for e in entries)
    plain = read_ledger(ledger_path(runs["some"])).entries
    assert all(e.audited is None and e.posteriors == () for e in plain)


def test_interrupted_and_slots_change_nothing(runs: dict[str, Path], tmp_path: Path) -> None:
    whole = records(runs["audited"])
    out = tmp_path / "out.jsonl"

    def stop(progress: Any) -> None:
        if progress.done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.run(out, tiny.TextPolicy(tiny.unwanted), audit=0.4, audit_by="constant", slots=8, progress=stop)
    tiny.run(out, tiny.TextPolicy(tiny.unwanted), audit=0.4, audit_by="constant", slots=8)
    assert records(out) == whole
    with pytest.raises(InputError, match="audit"):
        tiny.run(out, tiny.TextPolicy(tiny.unwanted), audit=0.3, audit_by="constant", slots=8)


def test_weighted_acceptances_are_unbiased(tmp_path: Path) -> None:
    """Σ W·A estimates the accepted of the full run: |z| < 4, false alarm 6e-5; W = 1 for audited would be 4.4σ off."""
    asked = {"tasks": tiny.prompts(120), "attempts": 8, "max_new_tokens": 12, "slots": 32}
    tiny.run(tmp_path / "full.jsonl", **asked)
    tiny.run(tmp_path / "audited.jsonl", tiny.TextPolicy(tiny.unwanted), audit=0.3, audit_by="constant", **asked)
    entries = read_ledger(ledger_path(tmp_path / "audited.jsonl")).entries
    accepted = total(read_ledger(ledger_path(tmp_path / "full.jsonl")).entries).accepted
    estimate = sum(e.weight for e in entries if e.outcome == "accepted")
    lost = sum(r["correct"] for r in records(tmp_path / "full.jsonl").values()) - sum(
        e.outcome == "accepted" and e.audited is None for e in entries
    )
    sd = math.sqrt(lost * (1 - 0.3) / 0.3)
    assert lost > 80
    assert abs(estimate - accepted) < 4 * sd


def test_history_is_told_what_the_policy_would_have_done() -> None:
    """An audited attempt counts as the discard it would have been, but fills a quota if it is accepted."""

    def entry(outcome: Any, k: int | None = None) -> Entry:
        audited = None if k is None else Audited(0.1, k, 0.2)
        stages = () if outcome == "discarded" else (3,)
        return Entry(
            id="p/0/0", prompt_id="p", outcome=outcome, tokens=sum(stages), prompt_tokens=1, seconds=0.0,
            stages=stages, audited=audited,
        )  # fmt: skip

    assert NO_ATTEMPTS.after(entry("accepted")) == AtPrompt(accepted=1)
    assert NO_ATTEMPTS.after(entry("accepted", 2)) == AtPrompt(rejected=1, audited_accepted=1)
    assert NO_ATTEMPTS.after(entry("accepted", 0)) == AtPrompt(skipped=1, audited_accepted=1)
    assert NO_ATTEMPTS.after(entry("unaccepted", 2)) == AtPrompt(rejected=1)
    assert NO_ATTEMPTS.after(entry("unaccepted", 0)) == AtPrompt(skipped=1)
    both = NO_ATTEMPTS.after(entry("accepted")).after(entry("accepted", 2))
    assert (both.kept, both.attempts) == (2, 2)


def test_a_discarded_attempt_is_not_audited() -> None:
    with pytest.raises(ValueError, match="not discarded"):
        Entry(
            id="a", prompt_id="p", outcome="discarded", tokens=0, prompt_tokens=0, seconds=0.0,
            audited=Audited(0.1, 1, 0.2),
        )  # fmt: skip


class Certified(tiny.TextPolicy):
    """Loses far more than its certificate says."""

    certified = Promise(max_false_reject=0.05, confidence=0.9)


LONG = {"tasks": tiny.prompts(90), "attempts": 1, "max_new_tokens": 24, "slots": 2, "audit": 0.3}


@pytest.fixture(scope="module")
def alarmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run whose policy loses too much, and what it said."""
    out, said = tmp_path_factory.mktemp("alarmed") / "out.jsonl", list[str]()
    tiny.run(out, Certified(tiny.unwanted), tell=said.append, **LONG)
    return out, said


def test_a_run_obeys_its_alarm(alarmed: tuple[Path, list[str]]) -> None:
    out, said = alarmed
    ledger = read_ledger(ledger_path(out))
    watched, alarm = ledger.steers
    assert (watched.block, watched.phase, alarm.phase) == (0, "watched", "alarm")
    size = ledger.settings["block"]
    place = {f"p{i}": i for i in range(90)}
    for entry in ledger.entries:
        if place[entry.prompt_id] // size >= alarm.block:
            assert entry.outcome in ("accepted", "unaccepted")
            assert (entry.audited, entry.posteriors) == (None, ())
    assert any(e.outcome == "discarded" for e in ledger.entries if place[e.prompt_id] // size < alarm.block)
    assert sum("nothing is discarded from now on" in line for line in said) == 1
    assert alarm.block * size < 80


def test_a_killed_run_that_was_in_alarm_stays_in_it(alarmed: tuple[Path, list[str]], tmp_path: Path) -> None:
    whole = records(alarmed[0])
    for stop_at in (20, 60, 85):

        def stop(progress: Any, stop_at: int = stop_at) -> None:
            if progress.done >= stop_at:
                raise KeyboardInterrupt

        out = tmp_path / f"{stop_at}.jsonl"
        with pytest.raises(KeyboardInterrupt):
            tiny.run(out, Certified(tiny.unwanted), progress=stop, **LONG)
        tiny.run(out, Certified(tiny.unwanted), **LONG)
        assert records(out) == whole
        assert read_ledger(ledger_path(out)).steers == read_ledger(ledger_path(alarmed[0])).steers


def test_a_preview_of_a_run_has_its_places_and_obeys_its_alarm(alarmed: tuple[Path, list[str]], tmp_path: Path) -> None:
    whole, out = read_ledger(ledger_path(alarmed[0])), tmp_path / "out.jsonl"
    begins = whole.steers[1].block * whole.settings["block"]

    def stop(progress: Any) -> None:
        if progress.done >= begins + 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.run(out, Certified(tiny.unwanted), progress=stop, **LONG)
    before = read_ledger(ledger_path(out))
    assert before.steers == whole.steers
    tiny.run(out, Certified(tiny.unwanted), preview=85, **LONG)
    previewed = read_ledger(ledger_path(out)).entries[len(before.entries) :]
    assert any((entry.place or 0) >= begins for entry in previewed)
    assert audit_ledger(out, max_false_reject=0.05).in_order
    tiny.run(out, Certified(tiny.unwanted), **LONG)
    assert records(out) == records(alarmed[0])
    placed = {entry.id: entry.place for entry in whole.entries}
    assert {entry.id: entry.place for entry in read_ledger(ledger_path(out)).entries} == placed
    assert audit_ledger(out, max_false_reject=0.05).course == audit_ledger(alarmed[0], max_false_reject=0.05).course


def test_a_preview_is_audited_in_its_turn(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    tiny.run(out, Certified(tiny.unwanted), preview=3, **LONG)
    report = audit_ledger(out, max_false_reject=0.05)
    assert (report.prompts, report.waiting, report.verdict) == (0, 3, "not known")
    assert report.unknown == "the first prompt of the run is not finished yet"


def test_what_is_not_certified_is_audited_and_gives_no_alarm(tmp_path: Path) -> None:
    said: list[str] = []
    tiny.run(tmp_path / "out.jsonl", tiny.TextPolicy(tiny.unwanted), tell=said.append, audit=0.3)
    assert any("no alarm can be given" in line for line in said)
    assert read_ledger(ledger_path(tmp_path / "out.jsonl")).steers == []
