"""What a run shows while it goes on: on a terminal, in a pipe, and in money."""

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from itertools import islice

import pytest
from click.testing import CliRunner
from rich.console import Console

from fake_server import FakeServer
from msifr_calibration import fit_policy
from msifr_integrations.cli import main
from msifr_integrations.cli.live_view import Pace, ViewOptions, _View, one_line, view_rows, watching
from msifr_integrations.cli.money import TokenPrices, spent_by
from msifr_integrations.embedded import embedded_samples_path
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.progress import Progress, RunCount
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.policy import Action
from msifr_policy.records.ledger import Entry, read_ledger, total
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import default_validators

PROGRAM = "import sys; sys.argv[0] = 'msifr'; from msifr_integrations.cli.entry import run; run()"
RUNNING = Progress(
    done=40, attempts=100, accepted=10, discarded=20, tokens=5000, seconds=10.0, waiting=1, running=7, slots=8,
    unaccepted=9, skipped=3, failed=1, prompt_tokens=900, prompts_counted=30, tokens_ahead=2500,
    by_reason={"repetition": 9, "arithmetic": 6, "length": 2, "words": 1, "answer": 1, "numbers": 1},
)  # fmt: skip


def prompts(folder, n, text="Say it {}."):
    path = folder / "prompts.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt_id": f"q{i}", "prompt": text.format(i), "gold": "5"}) + "\n" for i in range(n))
    )
    return path


def steady(progress, seconds, steps=10):
    """The pace of a session that made all of this evenly."""
    pace = Pace()
    for step in range(steps + 1):
        share = step / steps
        pace.see(
            seconds * share, progress._replace(done=int(progress.done * share), tokens=int(progress.tokens * share))
        )
    return pace


def test_the_pace_tells_speed_and_end():
    pace = steady(RUNNING, 10.0)
    assert pace.tokens_per_second == pytest.approx(500)
    assert pace.seconds_left == pytest.approx(15)  # 60 of 100 attempts are left, at 4 a second
    assert Pace().tokens_per_second is None
    assert Pace().seconds_left is None


def test_speed_is_of_late_and_the_end_of_this_session_alone():
    pace = Pace()
    for now in range(100):  # resumed at 1,000 of 1,200 attempts; ten times as fast from second 50 on
        tokens = 10**6 + (now * 10 if now < 50 else 500 + (now - 50) * 100)
        pace.see(float(now), RUNNING._replace(done=1000 + now, attempts=1200, tokens=tokens))
    assert pace.tokens_per_second == pytest.approx(100)
    assert pace.seconds_left == pytest.approx(101)


def test_the_view_says_all_there_is_in_words():
    rows = dict(view_rows(RUNNING, steady(RUNNING, 10.0), TokenPrices(1.0, 2.0)))
    assert rows["attempts"] == "40 of 100, about 0:00:15 left"
    assert rows["ended"] == (
        "10 accepted (25%), 9 unaccepted, 20 discarded (50%), 3 of them before the first token, 1 failed"
    )
    assert rows["discarded by"] == "repetition 9, arithmetic 6, length 2, words 1, others 2"
    assert rows["tokens"] == "5,000, 500 a second, 62.5 in each slot, 500 for each accepted sample"
    assert rows["slots"] == "7 of 8 at work, 1 of them wait for a first token"
    assert rows["saved"].startswith("2,500 tokens (33%) (estimated")
    # 36 attempts were begun, 30 told 30 tokens of prompt each: 1,080 and 5,000 tokens.
    assert rows["money"] == "cost 0.0111, 0.00111 for each accepted sample, 0.005 saved (estimated)"
    line = one_line(RUNNING, steady(RUNNING, 10.0), TokenPrices(1.0, 2.0))
    assert line == (
        "40 of 100 attempts, 10 accepted, 20 discarded, 5,000 tokens (500 a second), 2,500 tokens (33%) saved "
        "(estimated), cost 0.0111, 0.00111 for each accepted sample, 0.005 saved (estimated), about 0:00:15 left"
    )
    assert "money" not in dict(view_rows(RUNNING, Pace(), None))
    out = io.StringIO()
    view = _View(None)
    view.take(RUNNING)
    Console(file=out, width=60).print(view)
    drawn = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in drawn if line.strip() and line[0] != " "] == [
        "attempts", "ended", "discarded by", "tokens", "slots", "saved",
    ]  # fmt: skip
    assert max(map(len, drawn)) <= 60
    assert "unknown" in one_line(RUNNING._replace(tokens_ahead=None), Pace(), None)


def test_prices():
    money = TokenPrices(3.0, 15.0).of(spent_by(RUNNING._replace(tokens_beside=1000)))
    assert money.prompt_tokens == 1080
    assert money.total == pytest.approx((3 * 1080 + 15 * 6000) / 1e6)
    assert money.per_accepted == pytest.approx(money.total / 10)
    assert money.saved_estimate == pytest.approx(15 * 2500 / 1e6)
    untold = RUNNING._replace(prompt_tokens=0, prompts_counted=0)
    assert TokenPrices(3.0, 15.0).of(spent_by(untold)).prompt_tokens is None
    assert "prompts not counted" in TokenPrices(3.0, 15.0).line(spent_by(untold))
    assert TokenPrices(3.0, 15.0).of(spent_by(RUNNING._replace(accepted=0))).per_accepted is None
    little = TokenPrices(0.0, 0.0123).line(spent_by(RUNNING._replace(accepted=7)))
    assert little == "cost 0.0000615, 0.00000879 for each accepted sample, 0.0000308 saved (estimated)"
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--price-out"):
            TokenPrices(1.0, bad)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr("msifr_integrations.cli.live_view.time.monotonic", lambda: self.now)


def test_lines_come_now_and_then_and_never_under_json(monkeypatch):
    clock, out = Clock(monkeypatch), io.StringIO()
    console = Console(file=out, width=400)
    with watching(console, ViewOptions(every=30), None, quiet=False) as take:
        for second in range(95):
            clock.now = 100.0 + second
            take(RUNNING._replace(done=second))
    assert len(out.getvalue().splitlines()) == 4  # after 2, 32, 62 and 92 seconds
    out.truncate(0)
    for options in (ViewOptions(), ViewOptions(live=False)):
        with watching(console, options, None, quiet=options.live is None) as take:
            clock.now += 100
            take(RUNNING)
    assert not out.getvalue().strip("\0")
    with watching(console, ViewOptions(live=True), None, quiet=True) as take:
        clock.now += 100
        take(RUNNING)
    assert "40 of 100 attempts" in out.getvalue()
    with pytest.raises(InputError, match="--live-every"):
        ViewOptions(every=0.1)


def test_a_tally_counts_on_from_earlier_sessions():
    def entry(i, outcome, **more):
        return Entry(
            id=str(i), prompt_id="p", outcome=outcome, tokens=3, stages=(3,), prompt_tokens=5, seconds=1.0, **more
        )

    earlier = [entry(0, "discarded", reason="length", ahead=7), entry(1, "unaccepted", reason="length")]
    later = [entry(2, "discarded", reason="repetition", ahead=9), entry(3, "discarded", reason="length", ahead=1)]
    told = []
    tally = RunCount(total(earlier), 10, told.append)
    for each in later:
        tally.add(each)
    tally.show(running=2, slots=4, at_once=True)
    whole = total([*earlier, *later])
    progress = told[-1]
    assert progress.by_reason == {"length": 2, "repetition": 1}  # of the discarded alone
    assert (progress.tokens_ahead, whole.tokens_ahead) == (17, 17)
    assert (progress.prompt_tokens, progress.prompts_counted) == (whole.prompt_tokens, whole.prompts_counted) == (20, 4)
    assert (progress.unaccepted, progress.discarded, progress.running, progress.slots) == (1, 3, 2, 4)
    tally.add(entry(4, "discarded", reason="length"))  # of a policy that does not say
    tally.show(at_once=True)
    assert told[-1].tokens_ahead is None


def test_the_estimated_saving_is_what_is_saved():
    """What discarded attempts of the embedded model were expected still to take is what they took, to a fifth."""
    traces = list(islice(read_traces(embedded_samples_path()), 1200))
    table = build_evidence(traces[:800], NewlineSteps(), default_validators())
    policy = fit_policy(table, max_false_reject=0.1, method="linear", history=False).file.policy()
    ahead = saved = discards = 0
    for trace in traces[800:]:
        run, before = policy.start(trace.prompt), 0
        run.begin()
        for number, end in enumerate(trace.token_ends, 1):
            decision = run.feed(trace.text[before:end], 1)
            before = end
            if decision is not None and decision.action is Action.DISCARD:
                ahead, saved, discards = ahead + decision.ahead, saved + trace.tokens - number, discards + 1
                break
    assert discards > 50
    assert ahead == pytest.approx(saved, rel=0.2)


@pytest.fixture(scope="module")
def slow():
    """A server that takes its time."""
    with FakeServer(length=16, pause=0.02) as server:
        yield server


def arguments(folder, server, *more):
    common = ("--prompts", str(prompts(folder, 24)), "--policy", "none", "--attempts", "2", "--slots", "4")
    return ["generate", "--server", server.url, *common, "-o", str(folder / "out.jsonl"), *more]


def test_on_a_terminal_the_view_is_drawn_and_taken_away(slow, tmp_path):
    main_end, their_end = pty.openpty()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", PROGRAM, *arguments(tmp_path, slow, "--price-in", "1", "--price-out", "2")],
        stdout=subprocess.PIPE,
        stderr=their_end,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "110", "LINES": "40"},
    )
    os.close(their_end)
    shown, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        ready, _, _ = select.select([main_end], [], [], 0.2)
        try:
            shown += os.read(main_end, 1 << 16) if ready else b""
        except OSError:  # closed at the other end
            break
        if process.poll() is not None and not ready:
            break
    out, _ = process.communicate(timeout=30)
    os.close(main_end)
    assert process.returncode == 0, shown.decode()
    text = shown.decode()
    for words in ("of 48", "accepted", "a second", "of 4 at work", "cost 0.00", "left"):
        assert words in text, words
    assert "\x1b[?25h" in text.rpartition("\x1b[?25l")[2]  # the cursor is back
    said = out.decode()
    assert "48 attempts" in said
    assert re.search(r"cost 0\.00\d+", said)
    assert "\x1b" not in said


def test_in_a_pipe_lines_are_few_and_the_document_has_the_money(slow, tmp_path):
    lines = arguments(tmp_path, slow, "--price-in", "1", "--price-out", "2", "--live-every", "1")
    result = CliRunner().invoke(main, [*lines, "--json", "--live"])
    assert result.exit_code == 0, result.output
    shown = [line for line in result.stderr.splitlines() if " of 48 attempts, " in line]
    assert 1 <= len(shown) <= 8
    document = json.loads(result.stdout)
    money, ledger = document["money"], read_ledger(ledger_path(tmp_path / "out.jsonl"))
    sums = total([*ledger.entries, *ledger.sessions])
    assert (money["prompt_tokens"], sums.prompts_counted) == (48 * 3, 48)  # the server says 3 of each
    assert money["total"] == pytest.approx((48 * 3 * 1 + 2 * (sums.tokens + sums.tokens_beside)) / 1e6)
    assert money["per_accepted"] is None
    again = CliRunner().invoke(main, [*lines, "--json"])  # finished: told once more, and quietly
    assert json.loads(again.stdout)["money"] == money
    assert " of 48 attempts, " not in again.stderr
    plain = CliRunner().invoke(main, [*arguments(tmp_path, slow), "--json"])
    assert "money" not in json.loads(plain.stdout)


def test_where_a_steered_run_is_stands_in_the_view_and_in_lines():
    steered = RUNNING._replace(steered="discarding at level 3, 4 of 14 levels certified; f so far 0.4% to 6.1%")
    assert dict(view_rows(steered, Pace(), None))["certificate"] == steered.steered
    assert one_line(steered, Pace(), None).endswith(f"; {steered.steered}")
    assert "certificate" not in dict(view_rows(RUNNING, Pace(), None))
