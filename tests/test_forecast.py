"""What a preview foretells: which prompts it takes, how often its intervals cover, and the run that it is part of.

To see how often they cover: `python tests/test_forecast.py`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import scipy
from numpy.typing import NDArray

import commands
import tiny
from letters import Letters, run, tasks
from msifr_integrations.cli.foretold import forecast_lines
from msifr_integrations.embedded import problems
from msifr_integrations.generation.forecast import (
    ByPrompt,
    Forecast,
    Foretold,
    Speed,
    SpeedSeen,
    Sums,
    ToCome,
    by_prompt,
    forecast,
    in_flight,
    until,
)
from msifr_integrations.generation.goals import PerMillion, RunGoals
from msifr_integrations.generation.inputs import drawn
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.paired import read_attempts
from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Entry, read_ledger

# Which prompts.


def test_prompts_are_drawn_by_chance_and_more_contain_fewer() -> None:
    ids = [f"p{i}" for i in range(40)]
    for seed in range(5):
        order = drawn(ids, 40, seed, "preview")
        assert sorted(order) == list(range(40))
        assert all(drawn(ids, count, seed, "preview") == order[:count] for count in (0, 1, 7, 39, 99))
        # The order of the file says nothing.
        back = drawn(ids[::-1], 7, seed, "preview")
        assert [ids[::-1][place] for place in back] == [ids[place] for place in order[:7]]
    counts = Counter(place for seed in range(4000) for place in drawn(ids, 10, seed, "preview"))
    # Each of 40 is in 1,000 of 4,000 draws; of a fair draw some is off by 4.5 standard deviations (123) in 3 of 10,000.
    assert max(abs(counts[place] - 1000) for place in range(40)) < 4.5 * math.sqrt(4000 * 0.25 * 0.75)


# The intervals.


def test_without_goals_the_interval_is_that_of_student_for_a_sum_to_come() -> None:
    y = np.array([3.0, 5.0, 4.0, 9.0, 1.0])
    told = until(y, np.ones(5), 20, 0.95)
    half = scipy.stats.t.ppf(0.975, 4) * y.std(ddof=1) * 20 * math.sqrt(1 / 5 + 1 / 20)
    assert told.expected == pytest.approx(20 * 4.4)
    assert (told.low, told.high) == (pytest.approx(max(88 - half, 0)), pytest.approx(88 + half))
    assert until(y, np.ones(5), 0, 0.95) == Foretold(0, 0, 0)
    for price in (1, 3):  # what it is counted in is known
        told = until(price * y, y, 30, 0.95)
        assert told.low == told.expected == told.high == pytest.approx(price * 30)


def test_what_was_seldom_seen_has_no_upper_end() -> None:
    y, z = np.full(10, 8.0), np.zeros(10)
    assert until(y, z, 5, 0.95) == Foretold(math.inf, 0, math.inf)
    added = (0.0, 4.0, 0.0)  # as much as a quarter of a prompt with four accepted says
    told = until(y, z, 5, 0.95, added)
    assert told.expected == told.high == math.inf
    # At most 0.46 a prompt, by t for 9 degrees of freedom, were it by the preview alone: 11 prompts at least.
    assert 8 * 5 / 0.9 < told.low < 8 * 5 / 0.4
    z[0] = 1
    assert until(y, z, 5, 0.95).high == math.inf
    assert until(y, np.tile([1.0, 2.0], 5), 5, 0.95).high < 60


KINDS: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "equal": lambda _, prompts: np.full(prompts, 0.3),
    "mixed": lambda rng, prompts: rng.beta(0.5, 0.7, prompts),
    "all or none": lambda rng, prompts: (rng.random(prompts) < 0.4).astype(float),
    "rare": lambda rng, prompts: rng.beta(0.2, 3, prompts),
}
"""How often attempts at prompts are accepted."""


def attempts(kind: str, rng: np.random.Generator, prompts: int, m: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which attempts are accepted, and their tokens: cut at 512, and twice as many or half at another prompt."""
    scale = np.exp(rng.normal(0, 0.7, prompts))
    tokens = np.minimum(rng.gamma(2, 60 * scale[:, None], (prompts, m)) + 1, 512).astype(int)
    return rng.random((prompts, m)) < KINDS[kind](rng, prompts)[:, None], tokens


def coverage(kind: str, n: int, runs: int, seed: int) -> NDArray[np.float64]:
    """How often the intervals of accepted samples and of tokens cover, by a preview of n of 400 prompts.

    Of whole runs, of those until so many are accepted, and of those until so many tokens are sampled; attempts follow
    each other.
    """
    rng, m, prompts = np.random.default_rng(seed), 4, 400
    goals = [RunGoals(), RunGoals(accepted=40 if kind == "rare" else 250), RunGoals(max_tokens=60_000)]
    covered = np.zeros((len(goals), 2))
    for _ in range(runs):
        accepted, tokens = attempts(kind, rng, prompts, m)
        sums = accepted.sum(1).astype(float), tokens.sum(1).astype(float)
        sample = ByPrompt(np.full(n, float(m)), sums[0][:n], sums[1][:n], np.full(n, 40.0))
        so_far = Sums(n, n * m, sums[0][:n].sum(), sums[1][:n].sum())
        kept, made = accepted.ravel().cumsum(), tokens.ravel().cumsum()
        for row, goal in enumerate(goals):
            told = forecast(sample, so_far, ToCome(prompts - n, (prompts - n) * m), goal, Speed(None), level=0.95)
            ends = [prompts * m - 1]
            ends += [int(np.searchsorted(kept, goal.accepted))] if goal.accepted else []
            ends += [int(np.searchsorted(made, goal.max_tokens))] if goal.max_tokens else []
            end = max(min(ends), n * m - 1)
            # A goal is reached within an attempt: up to one of the longest more.
            covered[row, 0] += told.accepted.low - 0.5 <= kept[end] <= told.accepted.high + 0.5
            covered[row, 1] += told.tokens.low - 512 <= made[end] <= told.tokens.high + 512
    return covered / runs


@pytest.mark.parametrize("kind", list(KINDS))
def test_intervals_cover_what_comes(kind: str) -> None:
    """A coverage of 0.93 is told for less than 0.86 once in 10⁶ times 400 runs, one of 0.8 passes once in 500."""
    found = coverage(kind, 10, 400, seed=5)
    assert found.min() >= 0.86, found


def test_what_is_in_flight_is_half_of_what_is_long() -> None:
    """By renewal theory, and as counted at random moments of slots that are filled again and again."""
    rng = np.random.default_rng(0)
    tokens = rng.geometric(0.02, 20_000)
    told, prompts = in_flight(tokens.tolist(), 7.0, slots=3)
    ends = tokens.cumsum()
    moments = rng.integers(ends[100], ends[-100], 20_000)
    after = moments - ends[np.searchsorted(ends, moments, side="right") - 1]
    # Its standard error is 0.7 % of it.
    assert told == pytest.approx(3 * after.mean(), rel=0.035)
    assert prompts == 21
    assert in_flight([], 0.0, 4) == (0, 0)


def test_goals_cut_the_forecast_and_what_is_in_flight_is_paid_for() -> None:
    sample = ByPrompt(*(np.tile(each, 5) for each in ([4.0, 4.0], [1.0, 3.0], [90.0, 110.0], [20.0, 20.0])))
    so_far, to_come = Sums(10, 40, 20, 1000, 200, 50), ToCome(90, 360, (60.0, 30.0))
    speed = Speed(20.0, 8, 8)

    def told(**goals: Any) -> Forecast:
        prices = PerMillion(1000.0, 10_000.0)
        return forecast(sample, so_far, to_come, RunGoals(prices=prices, **goals), speed, level=0.95)

    whole = told()
    assert whole.ends_by == "prompts"
    names = ("prompts", "attempts", "accepted", "tokens", "prompt_tokens")
    assert [getattr(whole, name).expected for name in names] == [100, 400, 200, 10_000, 2000]
    assert (whole.prompts.low, whole.prompts.high) == (100, 100)
    assert whole.cost.expected == pytest.approx((1000 * 2000 + 10_000 * 10_000) / 1e6)
    assert whole.seconds.expected == pytest.approx(50 + 9000 / 20)
    until_60 = told(accepted=60)
    assert until_60.ends_by == "accepted"
    assert (until_60.accepted.low, until_60.accepted.expected, until_60.accepted.high) == (60, 60, 60)
    assert until_60.tokens.expected == pytest.approx(1000 + 40 * 50 + 60)
    assert until_60.tokens.low < 3060 < until_60.tokens.high < whole.tokens.low
    until_5000 = told(accepted=150, max_tokens=5000)
    assert until_5000.ends_by == "max_tokens"
    assert (until_5000.tokens.low, until_5000.tokens.high) == (pytest.approx(5000), pytest.approx(5000))
    assert until_5000.accepted.expected == pytest.approx(20 + (4000 - 60) / 50)
    dear = told(max_cost=50.0)
    assert dear.ends_by == "max_cost"
    assert (dear.cost.expected, dear.cost.high) == (pytest.approx(50), pytest.approx(50))
    assert told(accepted=20).tokens == Foretold(1000, 1000, 1000)  # reached already
    none = forecast(sample._replace(prompt_tokens=np.zeros(10)), so_far, to_come, RunGoals(), Speed(None), level=0.95)
    assert (none.prompt_tokens, none.seconds, none.cost) == (None, None, msgspec.UNSET)
    with pytest.raises(InputError, match="1 complete prompts"):
        forecast(ByPrompt(*(each[:1] for each in sample)), so_far, to_come, RunGoals(), speed, level=0.95)


def test_the_speed_is_that_of_full_slots() -> None:
    seen = SpeedSeen()
    for second in range(11):  # 80 tokens a second with 8 at work, then a tail of one with 10
        seen.see(float(second), 80 * second, 8, 8)
    for second in range(11, 31):
        seen.see(float(second), 800 + 10 * (second - 10), 1, 8)
    assert seen.speed(1000, 30.0) == Speed(80.0, 8, 8)
    assert SpeedSeen().speed(1000, 30.0) == Speed(pytest.approx(1000 / 30), 0, 0)
    assert SpeedSeen().speed(0, 0.0) == Speed(None, 0, 0)


def test_sums_of_prompts_are_those_of_their_attempts() -> None:
    def entry(name: str, prompt: str, outcome: Any, tokens: int, lost: int = 0) -> Entry:
        return Entry(id=name, prompt_id=prompt, outcome=outcome, tokens=tokens, stages=(tokens,) if tokens else (),
                     prompt_tokens=5, seconds=1.0, lost=lost)  # fmt: skip

    entries = [entry("a", "p", "accepted", 7), entry("b", "q", "unaccepted", 3, 2), entry("c", "p", "discarded", 1),
               entry("d", "r", "accepted", 9)]  # fmt: skip
    sums = by_prompt(entries, ["q", "p"])
    assert [each.tolist() for each in sums] == [[1, 2], [0, 1], [5, 8], [5, 10]]


# Previews of runs.


@pytest.mark.parametrize("quota", [None, 2])
def test_a_preview_is_a_part_of_the_run(tmp_path: Path, quota: int | None) -> None:
    out, whole, said = tmp_path / "out.jsonl", tmp_path / "whole.jsonl", list[str]()
    prompts = tasks([0, 100] * 20)
    options: dict[str, Any] = {"attempts": 4, "accepted_per_prompt": quota}
    run(whole, Letters(3), prompts, None, **options)
    first = run(out, Letters(3), prompts, None, preview=8, **options)
    chosen = {prompts[place].prompt_id for place in drawn([prompt.prompt_id for prompt in prompts], 8, 0, "preview")}
    assert {record.prompt_id for record in read_attempts(out).values()} == chosen
    assert first.forecast.prompts_drawn == len(chosen) == 8
    assert first.forecast.prompts == Foretold(40, 40, 40)
    again = run(out, Letters(3, dies=0), prompts, None, preview=8, tell=said.append, **options)
    assert "has its preview: nothing was generated" in said[0]
    assert (again.attempts, again.forecast.tokens) == (first.attempts, first.forecast.tokens)
    more = run(out, Letters(3), prompts, None, preview=12, **options)
    assert chosen < {record.prompt_id for record in read_attempts(out).values()}
    assert more.forecast.prompts_drawn == 12
    end = run(out, Letters(3), prompts, None, **options)
    assert read_attempts(out) == read_attempts(whole)
    assert end.forecast is msgspec.UNSET
    for told in (first.forecast, more.forecast):
        assert told.tokens.low <= end.tokens <= told.tokens.high
        assert told.accepted.low <= end.accepted <= told.accepted.high
    said.clear()
    last = run(out, Letters(3, dies=0), prompts, None, preview=8, tell=said.append, **options).forecast
    assert "has its preview: nothing was generated" in said[0]
    assert last.tokens == Foretold(end.tokens, end.tokens, end.tokens)
    assert (last.accepted.low, last.accepted.high) == (end.accepted, end.accepted)


def test_a_preview_stops_at_a_goal_and_foretells_where_the_run_does(tmp_path: Path) -> None:
    out, said = tmp_path / "out.jsonl", list[str]()
    prompts = tasks([50] * 60)
    first = run(out, Letters(3), prompts, None, preview=10, accepted=90)
    assert first.forecast.ends_by == "accepted"
    assert first.goals.reached is None
    end = run(out, Letters(3), prompts, None, accepted=90)
    assert end.accepted == 90
    told = first.forecast.tokens
    assert told.low <= end.tokens + end.tokens_beside <= told.high
    cut = run(tmp_path / "cut.jsonl", Letters(3), prompts, None, preview=10, accepted=1, tell=said.append)
    assert cut.forecast is msgspec.UNSET
    assert [remark for remark in said if "do not tell what the whole run will come to" in remark]
    with pytest.raises(InputError, match="nothing to foretell of 1 prompts"):
        run(tmp_path / "one.jsonl", Letters(3), tasks([50]), None, preview=2)


def test_the_time_of_a_real_engine_is_foretold(tmp_path: Path) -> None:
    """Within a factor of four: a run of a second tells little of seconds."""
    out = tmp_path / "out.jsonl"
    first = tiny.run(out, preview=4, slots=4)
    end = tiny.run(out, slots=4)
    assert end.seconds / 4 < first.forecast.seconds.expected < end.seconds * 4
    assert first.forecast.slots == 4


def test_the_command_line_foretells(tmp_path: Path) -> None:
    path, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    fields = ("prompt_id", "prompt", "gold", "group")
    asked = [{name: getattr(problem, name) for name in fields} for problem in problems(5, 12)]
    path.write_text("".join(json.dumps(each) + "\n" for each in asked))
    words = ["generate", "--model", "embedded", "--policy", "none", "--device", "cpu", "--max-new-tokens", 40]
    words += ["--prompts", path, "-o", out, "--preview", 4, "--price-in", 1, "--price-out", 2]
    done = commands.run(*words)
    for line in (
        "forecast of the whole run, by 4 prompts drawn from it by chance",
        "it ends when all attempts are made, after 12 prompts and 48 attempts",
        "accepted samples     = ", "tokens               = ", "tokens of prompts    = ", "time                 = ",
        "cost                 = ", "start the same command without --preview",
    ):  # fmt: skip
        assert line in done.stdout, line
    document = commands.last_json(commands.run(*words, "--json"))
    assert document["forecast"]["attempts"] == {"expected": 48, "low": 48, "high": 48}
    assert {"expected", "low", "high"} == document["forecast"]["cost"].keys()
    assert len(read_ledger(ledger_path(out)).entries) == 16


def test_lines_say_at_what_speed() -> None:
    sample = ByPrompt(*(np.tile(each, 5) for each in ([4.0, 4.0], [1.0, 3.0], [90.0, 110.0], [20.0, 20.0])))

    def line(speed: Speed) -> str:
        lines = forecast_lines(
            forecast(sample, Sums(10, 40, 20, 1000, 200, 50), ToCome(90, 360), RunGoals(), speed, level=0.95)
        )
        return next((line for line in lines if line.startswith("time")), "")

    assert line(Speed(20.0, 8, 8)).endswith("loading the model, at 20 tokens a second as with 8 of 8 slots at work")
    assert line(Speed(20.0, 5, 8)).endswith("with 5 of 8 slots at work; more at work may be faster")
    assert line(Speed(20.0)).endswith("at 20 tokens a second as until now, slots that stood empty included")
    assert not line(Speed(None))


if __name__ == "__main__":  # how often intervals of 95 % cover, as the module's docstring has it
    for preview in (5, 10, 30):
        for name in KINDS:
            print(preview, name, coverage(name, preview, 600, seed=1).min())
