"""`msifr audit`: what a ledger tells of whether the certificate of its run still holds, also while the run goes on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from jsonschema import Draft202012Validator

import tiny
from commands import last_json, run
from makers import make_table
from msifr_calibration import fit_policy
from msifr_calibration.monitor.drift import REACHED
from msifr_calibration.monitor.monitor import Monitor
from msifr_integrations.cli.schema import text_of
from msifr_integrations.generation.auditing import audit_ledger
from msifr_integrations.generation.journal import ledger_path
from msifr_policy.audit import Audit, Audited
from msifr_policy.errors import InputError
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.ledger import Ending, Entry, Header, Session, Steer, encode_line, read_ledger
from test_audit import LONG, Certified
from test_autopilot_run import run as steered

SHARE, ATTEMPTS, BLOCK = 0.25, 2, 8
SETTINGS = {"policy": "p", "attempts": ATTEMPTS, "audit": SHARE, "audit_by": "constant", "block": BLOCK}
ALPHA = ("--max-false-reject", 0.05)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy file that is certified."""
    path = tmp_path_factory.mktemp("policy") / "policy.json"
    file = fit_policy(make_table(300), max_false_reject=0.2, method="linear").file
    assert file.certificate.certified
    assert file.reference is not None
    file.save(path)
    return path


def entries_of(rates: Sequence[float], seed: int = 0, **more: Any) -> list[Entry]:
    """Attempts at a prompt for each rate: half are good, and f of these and half of the others are up for discard.

    What is believed of them is right.
    """
    rng = np.random.default_rng(seed)
    made = []
    for place, f in enumerate(rates):
        for number in range(ATTEMPTS):
            good = rng.random() < 0.5
            gone = rng.random() < (f if good else 0.5)
            spared = rng.random() < SHARE
            ended: Ending = "discarded" if gone and not spared else "accepted" if good else "unaccepted"
            belief = f / (f + 0.5) if gone else (1 - f) / (1 - f + 0.5)
            made.append(
                Entry(
                    id=f"p{place}/0/{number}", prompt_id=f"p{place}", outcome=ended, tokens=0, prompt_tokens=0,
                    seconds=0.0, place=place, group=f"g{place % 2}", posteriors=(0.5, belief),
                    audited=Audited(SHARE, 1, belief) if gone and spared else None, **more,
                )
            )  # fmt: skip
    return made


def as_they_end(entries: Sequence[Entry], seed: int = 1) -> list[Entry]:
    """In the order in which attempts end that run side by side."""
    delay = np.random.default_rng(seed).exponential(10, len(entries))
    return [entries[i] for i in np.argsort(np.arange(len(entries)) + delay, kind="stable")]


def write(path: Path, records: Sequence[Any], **settings: Any) -> Path:
    header = Header(settings=SETTINGS | settings)
    path.write_bytes(b"".join(map(encode_line, [header, *records])))
    return path


def without_places(entries: Sequence[Entry]) -> list[Entry]:
    return [msgspec.structs.replace(entry, place=None) for entry in entries]


def told(entries: Sequence[Entry], file: PolicyFile | None = None, level: float = 0.05) -> Monitor:
    """A monitor that is told of whole prompts, in the order of the entries."""
    audit = Audit(share=SHARE, by="constant")
    alpha = 0.05 if file is None else None
    monitor = Monitor(file, max_false_reject=alpha, attempts=ATTEMPTS, audit=audit, level=level)
    for i in range(0, len(entries), ATTEMPTS):
        monitor.add(entries[i : i + ATTEMPTS])
    return monitor


def check(document: Any) -> None:
    errors = Draft202012Validator(json.loads(text_of("audit"))).iter_errors(document)
    assert not [error.message for error in errors]


def test_the_monitor_is_told_of_prompts_in_the_order_of_the_run(policy: Path, tmp_path: Path) -> None:
    file = PolicyFile.load(policy)
    entries = entries_of([0.02] * 600)
    out = tmp_path / "out.jsonl"
    path = write(ledger_path(out), as_they_end(entries), policy=file.policy().fingerprint, prompt_count=600)
    report = audit_ledger(out, file)
    assert report.monitor == told(entries, file).state
    assert (report.verdict, report.prompts, report.waiting, report.finished) == ("no alarm", 600, 0, True)
    assert report.monitor is not None
    assert [each.column for each in report.monitor.drift or []] == [REACHED]  # no entry tells its evidence
    assert report.in_order
    said = run("audit", out, policy).stdout
    for words in (
        "no alarm",
        "f so far = ",
        "g1: ",
        "beliefs: nothing speaks",
        "drift: 0% come to checkpoint",
        "600 of 600",
    ):
        assert words in said
    named = said.strip().splitlines()[-1].removeprefix("(msifr help ").removesuffix(" explains these numbers)")
    run("help", *named.split())
    document = last_json(run("audit", path, policy, "--json"))
    check(document)
    assert document == json.loads(msgspec.json.encode(report))


def test_a_run_that_was_killed_and_resumed_says_what_its_own_monitor_said(tmp_path: Path) -> None:
    """The alarm of a run, and what it says of it, is that of `msifr audit`; also half way, and with half a line."""

    def stop(progress: Any) -> None:
        if progress.done >= 50:
            raise KeyboardInterrupt

    out, said = tmp_path / "out.jsonl", list[str]()
    with pytest.raises(KeyboardInterrupt):
        tiny.run(out, Certified(tiny.unwanted), progress=stop, **LONG)
    half = audit_ledger(out, max_false_reject=0.05)
    assert 30 < half.prompts <= half.attempts < 90
    assert half.prompts_planned == 90
    assert half.waiting == half.attempts - half.prompts
    tiny.run(out, Certified(tiny.unwanted), tell=said.append, **LONG)
    report = audit_ledger(out, max_false_reject=0.05)
    state = report.monitor
    assert state is not None
    assert f"alarm: after {state.alarm_at} prompts more good samples are lost" in " ".join(said)
    watched, after = report.course
    assert after.block == read_ledger(ledger_path(out)).steers[1].block
    assert state.prompts == watched.prompts == after.place < 90 == report.prompts
    assert (watched.rate, after.rate) == (state.rate, None)
    whole = ledger_path(out).read_bytes()
    ledger_path(out).write_bytes(whole + whole.splitlines()[-1][:-20])
    assert audit_ledger(out, max_false_reject=0.05) == report
    shown = run("audit", out, *ALPHA, code=1).stdout
    assert shown.startswith("alarm: more than 5% of the good samples are lost")
    assert "the run fell back to discarding nothing" in shown
    assert f"from prompt {after.place + 1} on: nothing is discarded" in shown
    check(last_json(run("audit", out, "--json", *ALPHA, code=1)))


def test_what_comes_after_an_alarm_is_not_told(tmp_path: Path) -> None:
    """Where nothing is discarded any more every good sample is kept: told, it would make f smaller from there on."""
    entries = entries_of([0.4] * 400)
    after = [
        msgspec.structs.replace(e, outcome="accepted", audited=None, posteriors=()) for e in entries_of([0.0] * 400)
    ]
    late = [
        msgspec.structs.replace(e, id=f"q{e.id}", prompt_id=f"q{e.prompt_id}", place=400 + (e.place or 0))
        for e in after
    ]
    steers = [Steer(block=0, phase="watched"), Steer(block=50, phase="alarm", note="lost")]
    report = audit_ledger(write(tmp_path / "a.ledger.jsonl", [*steers, *entries, *late]), max_false_reject=0.05)
    assert report.monitor == told(entries).state
    assert [(each.prompts, each.rate is None) for each in report.course] == [(400, False), (400, True)]


def test_a_warning_is_no_alarm(tmp_path: Path) -> None:
    """After 1,500 good prompts f rises to 30 %: the detector warns before the alarm comes."""
    entries = entries_of([0.0] * 1500 + [0.3] * 500)
    state = told(entries).state
    assert state.warned_at is not None
    assert state.alarm_at is not None
    assert 1500 < state.warned_at < state.alarm_at
    at = ATTEMPTS * state.warned_at
    path = write(tmp_path / "a.ledger.jsonl", entries[:at])
    assert audit_ledger(path, max_false_reject=0.05).verdict == "warning"
    assert run("audit", path, *ALPHA).stdout.startswith("warning: after")
    assert audit_ledger(write(path, entries[: at - ATTEMPTS]), max_false_reject=0.05).verdict == "no alarm"


def test_beliefs_that_are_wrong_are_named(tmp_path: Path) -> None:
    entries = [msgspec.structs.replace(each, posteriors=(0.5, 0.9)) for each in entries_of([0.0] * 400)]
    path = write(tmp_path / "a.ledger.jsonl", entries)
    assert "beliefs are wrong for posteriors 0.6-1: accepted less" in run("audit", path, *ALPHA).stdout


def test_runs_without_audits_say_what_cannot_be_known(tmp_path: Path) -> None:
    entries = [msgspec.structs.replace(each, audited=None) for each in without_places(entries_of([0.1] * 20))]
    path = write(tmp_path / "a.ledger.jsonl", entries, audit=0, prompt_count=20)
    report = audit_ledger(path)
    assert (report.verdict, report.monitor, report.course, report.finished) == ("not known", None, [], True)
    said = run("audit", path).stdout
    assert "not known: nothing that was discarded is finished" in said
    assert "msifr generate --audit 0.05" in said
    check(last_json(run("audit", path, "--json")))
    none = write(path, [each for each in entries if each.outcome != "discarded"], audit=0, policy="none")
    assert "the run has no policy" in run("audit", none).stdout


def test_ledgers_without_places_are_taken_as_they_appear_and_that_is_said(tmp_path: Path) -> None:
    entries = without_places(as_they_end(entries_of([0.3] * 60)))
    path = write(tmp_path / "a.ledger.jsonl", entries)
    report = audit_ledger(path, max_false_reject=0.05)
    assert not report.in_order
    first = list(dict.fromkeys(each.prompt_id for each in entries))
    by_prompt = sorted(entries, key=lambda each: (first.index(each.prompt_id), each.id))
    assert report.monitor == told(by_prompt).state
    assert "does not say the order of the run" in run("audit", path, *ALPHA, code=None).stdout


def test_a_quota_ends_prompts(tmp_path: Path) -> None:
    """A prompt is finished once it has its accepted sample, an audited one too."""
    made = entries_of([0.1] * 40)
    entries, filled = list[Entry](), set[str]()
    for each in made:
        if each.prompt_id not in filled:
            entries.append(each)
        if each.outcome == "accepted":
            filled.add(each.prompt_id)
    assert len(entries) < len(made)
    report = audit_ledger(write(tmp_path / "a.ledger.jsonl", entries, accepted_per_prompt=1), max_false_reject=0.05)
    assert (report.prompts, report.attempts) == (40, len(entries))


def test_what_cannot_be_audited_is_refused(policy: Path, tmp_path: Path) -> None:
    entries = entries_of([0.1] * 4)
    path = write(tmp_path / "a.ledger.jsonl", entries)
    refused = {
        "made with another policy": run("audit", path, policy, code=2),
        "without a policy": run("audit", write(tmp_path / "n.ledger.jsonl", [], policy="none"), policy, code=2),
        "leave the policy out": run(
            "audit", write(tmp_path / "p.ledger.jsonl", [], policy="autopilot"), policy, code=2
        ),
        "does not say how many good samples may be lost": run("audit", path, code=2),
        "name the output of a run": run("audit", tmp_path / "missing.jsonl", "--follow", code=2),
        "several prompts are number 0": run(
            "audit", write(tmp_path / "m.ledger.jsonl", [*entries, *_of_another_shard(entries)]), *ALPHA, code=2
        ),
    }
    for words, result in refused.items():
        assert words in result.stderr
    assert "name the policy file that the run was given" in refused["made with another policy"].stderr
    with pytest.raises(InputError, match="has no place"):
        audit_ledger(write(path, [*entries[:2], *without_places(entries[2:])]), max_false_reject=0.05)


def test_a_run_without_a_policy_loses_nothing_whatever_it_was_to_audit(tmp_path: Path) -> None:
    said = run("audit", write(tmp_path / "n.ledger.jsonl", entries_of([0.0] * 4), policy="none", audit=0.1)).stdout
    assert "not known: the run has no policy: nothing is discarded, and nothing lost" in said


def _of_another_shard(entries: Sequence[Entry]) -> list[Entry]:
    return [msgspec.structs.replace(e, id=f"q{e.id}", prompt_id=f"q{e.prompt_id}") for e in entries]


def test_an_autopilot_is_told_of_by_its_levels(tmp_path: Path) -> None:
    """Its alarm is of all levels of a path together; f is told of each level by itself."""
    promise = {"max_false_reject": 0.05, "confidence": 0.8}
    shadow = [msgspec.structs.replace(e, outcome="accepted", audited=None) for e in entries_of([0.0] * 160)]
    at_work = entries_of([0.0] * 480 + [0.5] * 160)[2 * 160 :]
    steers = [
        Steer(block=0, phase="shadow", note="nothing is known yet"),
        Steer(block=10, phase="certifying", path="path-1"),
        Steer(block=20, phase="discarding", level=0, path="path-1", note="level 0 is put to work"),
        Steer(block=60, phase="discarding", level=3, path="path-1", note="level 3 is put to work"),
        Steer(block=80, phase="shadow", note="alarm after 470 prompts"),
    ]
    path = write(tmp_path / "a.ledger.jsonl", [*steers, *shadow, *at_work], policy="autopilot", autopilot=promise)
    report = audit_ledger(path)
    assert [(each.phase, each.level, each.prompts) for each in report.course] == [
        ("shadow", None, 80), ("certifying", None, 80), ("discarding", 0, 320), ("discarding", 3, 160),
    ]  # fmt: skip
    first, second = (each.rate for each in report.course[2:])
    assert first is not None
    assert second is not None
    assert first.upper < 0.2
    assert second.estimate is not None
    assert second.estimate > 0.3
    state = report.monitor
    assert state is not None
    assert (state.prompts, state.confidence) == (480, 0.8)
    assert state.alarm
    assert state.alarm_at is not None
    assert state.alarm_at > 320
    assert report.verdict == "alarm"
    assert "from prompt 481 on: discarding, level 3 of path-1" in run("audit", path, code=1).stdout


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("msifr_integrations.cli.audit"), "SECONDS_BETWEEN", 0.01)


@pytest.mark.usefixtures("quick")
def test_a_run_is_followed_to_its_end(tmp_path: Path) -> None:
    """Lines come whole or not, and the file may be empty at first; what it ends with is what is said of all of it."""
    entries = as_they_end(entries_of([0.0] * 60 + [0.9] * 240))
    steers = [Steer(block=0, phase="watched"), Steer(block=30, phase="alarm", note="too much is lost")]
    whole = write(tmp_path / "whole.ledger.jsonl", [*steers, *entries], prompt_count=300)
    growing = tmp_path / "a.ledger.jsonl"
    growing.touch()
    data = whole.read_bytes()

    def grow() -> None:
        with growing.open("ab", buffering=0) as file:
            for i in range(0, len(data), 997):
                file.write(data[i : i + 997])
                time.sleep(0.002)

    writer = threading.Thread(target=grow)
    writer.start()
    followed = run("audit", growing, "--follow", *ALPHA, code=1).stdout
    writer.join()
    at_once = run("audit", whole, *ALPHA, code=1).stdout
    assert followed.endswith(at_once)
    news = followed.removesuffix(at_once).splitlines()
    assert sum(line.startswith("alarm: ") for line in news) == 1
    assert sum("from prompt 241 on: nothing is discarded, after an alarm" in line for line in news) == 1
    assert 3 <= sum(" prompts: f so far = " in line for line in news) <= 12


@pytest.mark.usefixtures("quick")
def test_a_run_that_ends_at_a_goal_ends_its_follower(tmp_path: Path) -> None:
    ended = Session(unfinished=7)
    path = write(tmp_path / "a.ledger.jsonl", [*entries_of([0.02] * 50), ended], prompt_count=60)
    followed = run("audit", path, "--follow", "--json", *ALPHA)
    assert last_json(followed)["ended"]
    assert last_json(followed)["prompts"] == 50
    write(path, [ended, *entries_of([0.02] * 50)], prompt_count=60)  # it goes on
    assert not last_json(run("audit", path, "--json", *ALPHA))["ended"]


def test_an_interrupt_ends_a_follower_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    path = write(tmp_path / "a.ledger.jsonl", entries_of([0.02] * 50), prompt_count=60)
    said = run("audit", path, "--follow", "--json", *ALPHA)
    check(last_json(said))
    assert last_json(said)["prompts"] == 50
    run("audit", write(path, []), "--follow", *ALPHA)
    path.write_bytes(b"")
    run("audit", path, "--follow", *ALPHA, code=130)


@pytest.mark.usefixtures("quick")
def test_a_ledger_that_is_begun_anew_ends_its_follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.ledger.jsonl", entries_of([0.02] * 50), prompt_count=60)

    def anew(_: float) -> None:
        write(path, [])

    monkeypatch.setattr(time, "sleep", anew)
    assert "was begun anew" in run("audit", path, "--follow", *ALPHA, code=2).stderr


def test_a_report_of_an_audited_run_says_f_so_far(policy: Path, tmp_path: Path) -> None:
    """With its policy; without it nobody can say what was certified, and the report says what it needs."""
    file = PolicyFile.load(policy)
    steers = [Steer(block=0, phase="watched"), Steer(block=20, phase="alarm", note="too much is lost")]
    path = write(
        tmp_path / "a.ledger.jsonl", [*steers, *entries_of([0.3] * 200)], policy=file.policy().fingerprint
    )  # fmt: skip
    audits = audit_ledger(path, file)
    assert audits.monitor is not None
    page = tmp_path / "r.html"
    numbers = last_json(run("report", path, "--policy", policy, "-o", page, "--json"))
    Draft202012Validator(json.loads(text_of("report"))).validate(numbers)
    assert numbers["run"]["audits"] == json.loads(msgspec.json.encode(audits))
    f = f"f = {audits.monitor.rate.estimate:.1%} ["
    assert f"of the good samples it lost {f}" in numbers["statement"]
    shown = page.read_text()
    for words in ("What audits tell", "too much is lost", "would-be discards"):
        assert words in shown
    alone = last_json(run("report", path, "-o", page, "--json"))
    assert alone["run"]["audits"] is None
    assert "What audits tell" in [each["section"] for each in alone["left_out"]]


def test_of_a_run_with_an_autopilot_it_says_what_its_pilot_says(tmp_path: Path) -> None:
    """Phases and levels, f of a level, and the alarm: the pilot hears of it where a block ends."""
    out = tmp_path / "out.jsonl"
    result = steered(out, swap=300, audit=0.25)
    pilot, ledger = result.autopilot.state, read_ledger(ledger_path(out))  # type: ignore[union-attr]
    report = audit_ledger(out)
    assert [(e.block, e.phase, e.level) for e in report.course] == [(s.block, s.phase, s.level) for s in ledger.steers]
    assert sum(each.prompts for each in report.course) == report.prompts == report.prompts_planned
    at_work = [each for each in report.course if each.level is not None]
    assert report.monitor is not None
    assert report.monitor.alarm_at is not None
    size, alarm_at = ledger.settings["block"], at_work[0].place + report.monitor.alarm_at
    assert pilot.alarms[0] == -(-alarm_at // size) * size
    assert report.monitor.prompts == sum(each.prompts for each in at_work)
    shown = run("audit", out, code=1).stdout
    assert "the run fell back to discarding nothing" in shown
    assert f"level {at_work[0].level} of path-1" in shown
    assert "certified of each level, before it was put to work: at most 10% of the good samples" in shown
