"""Where the answers of a run stand: what is said of it, when, and what the ledger keeps."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import tiny
from msifr_integrations.generation.found import Watcher, asked, missing, places
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.merge import merge_runs
from msifr_policy.filters import Judgement, Prompt, final_filter
from msifr_policy.records.ledger import Entry, read_ledger, total

NUMERIC = final_filter("numeric")
NONE, BOX, UNASKED = (Judgement(accepted=False, found=found) for found in ("", "box", None))


@pytest.mark.parametrize(("without", "alarms"), [(0, 0), (10, 0), (11, 1), (50, 1)])
@pytest.mark.parametrize("first", [True, False], ids=["at the beginning", "at the end"])
def test_many_attempts_without_an_answer_are_remarked_once_and_early(without: int, alarms: int, first: bool) -> None:
    """More than a fifth of the first 50 finished attempts, wherever among them."""
    said: list[str] = []
    watcher = Watcher(NUMERIC, said.append, total(()))
    judgements = sorted([NONE] * without + [BOX] * (50 - without), key=lambda one: one.found != "", reverse=not first)
    for judgement in judgements[:49]:
        watcher.add(judgement, cut=False)
        watcher.add(UNASKED, cut=True)  # of a filter that looks for no answer
        watcher.add(None, cut=True)  # of an attempt that was discarded
    assert said == []
    watcher.add(judgements[49], cut=False)
    assert len(said) == alarms
    for _ in range(200):
        watcher.add(NONE, cut=False)
    assert len(said) == alarms
    if alarms:
        share = f"of the first 50 finished attempts {without} ({without / 50:.0%}) show no answer"
        assert said[0].startswith(share)
        assert "numeric[auto]" in said[0]
        assert "--answer" in said[0]


@pytest.mark.parametrize(("before", "now", "alarms"), [(30, 20, 1), (49, 1, 1), (50, 100, 0), (300, 100, 0)])
def test_the_first_attempts_are_those_of_the_run_not_of_a_session(before: int, now: int, alarms: int) -> None:
    said: list[str] = []
    usual: Any = {"prompt_id": "p", "outcome": "unaccepted", "tokens": 0, "prompt_tokens": 0, "seconds": 0.0}
    earlier = [Entry(id=str(number), found="", finish="length", **usual) for number in range(before)]
    watcher = Watcher(NUMERIC, said.append, total(earlier))
    for _ in range(now):
        watcher.add(NONE, cut=False)
    assert len(said) == alarms
    assert all(f"{before} of them were cut off" in remark for remark in said)


def test_nobody_need_listen() -> None:
    watcher = Watcher(NUMERIC, None, total(()))
    for _ in range(60):
        watcher.add(NONE, cut=True)


@pytest.mark.parametrize(
    ("cut", "says", "says_not"),
    [
        (0, "if they have one, say where it is (--answer)", "cut off"),
        (3, "3 of them were cut off: give attempts more tokens (--max-new-tokens); if the others have one", "if they"),
        (9, "9 of them were cut off: give attempts more tokens (--max-new-tokens)", "--answer"),
    ],
)
def test_what_helps_depends_on_why_there_is_no_answer(cut: int, says: str, says_not: str) -> None:
    said = missing({"": 9, "box": 3}, cut, "choice[auto]")
    assert said is not None
    assert said.startswith("9 (75%) show no answer that the final filter choice[auto] finds")
    assert says in said
    assert says_not not in said


def test_places_are_told_in_words_the_most_frequent_first() -> None:
    assert places({"box": 3, "hash": 7, "": 5}) == "after #### 7, in \\boxed{} 3"
    assert places({"": 5}) == "nowhere"


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        (["What is 2 + 2?"] * 2, "the prompts ask for no place"),
        (["2 + 2? Put the answer in \\boxed{}."] * 3, "of 3 prompts some ask for a place of the answer: 3 for box"),
        (["2 + 2? End with #### and the answer.", "2 + 2?"], "of 2 prompts some ask .*: 1 for hash"),
        (['Reply in JSON: {"answer": 4}.'], "1 for json:answer"),
        (["Write <answer>4</answer>."], "1 for tag:answer"),
    ],
)
def test_what_a_filter_that_looks_by_itself_makes_of_the_prompts_is_said(prompts: list[str], says: str) -> None:
    given = [Prompt(prompt_id=str(number), prompt=prompt, gold="4") for number, prompt in enumerate(prompts)]
    said = asked(NUMERIC, given)
    assert said is not None
    assert said.startswith("answers are looked for where texts announce them (--answer auto); ")
    assert re.search(says, said)
    for told in (final_filter("numeric", "box"), final_filter("exact"), final_filter("json-schema")):
        assert asked(told, given) is None
    assert asked(NUMERIC, []) is None


def by_length(prompt: Prompt, text: str) -> Judgement:
    """Find an answer in a third of the texts."""
    del prompt
    return Judgement(accepted=len(text) % 2 == 0, found="box" if len(text) % 3 == 0 else "")


def found_of(out: Path) -> dict[str, Any]:
    return {entry.id: entry.found for entry in read_ledger(ledger_path(out)).entries}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run of 100 attempts, and what it said."""
    out, said = tmp_path_factory.mktemp("found") / "whole.jsonl", list[str]()
    tiny.run(out, tasks=tiny.prompts(25), final_filter=by_length, tell=said.append)
    return out, said


def test_a_run_says_it_early_and_at_the_end(whole: tuple[Path, list[str]]) -> None:
    out, said = whole
    count = Counter(found_of(out).values())
    assert count.total() == 100
    assert 20 < count[""] < 100
    early = [remark for remark in said if remark.startswith("of the first 50 finished attempts")]
    last = [remark for remark in said if remark.startswith("of 100 finished attempts")]
    assert len(early) == len(last) == 1
    assert said.index(early[0]) < said.index(f"answers were found in \\boxed{{}} {count['box']}") < said.index(last[0])
    assert f"{count['']} ({count['']}%) show no answer" in last[0]
    cut = sum(entry.found == "" and entry.finish == "length" for entry in read_ledger(ledger_path(out)).entries)
    assert 0 < cut <= count[""]
    assert f"; {cut} of them were cut off" in last[0]


def test_what_was_found_survives_a_resume(whole: tuple[Path, list[str]], tmp_path: Path) -> None:
    """What is said at the end counts the attempts of all sessions, and what was said early is not said again."""
    out, said = tmp_path / "out.jsonl", list[str]()
    for place, kept, source in ((out, 60, whole[0]), (ledger_path(out), 61, ledger_path(whole[0]))):
        place.write_bytes(b"".join(source.read_bytes().splitlines(keepends=True)[:kept]))
    tiny.run(out, tasks=tiny.prompts(25), final_filter=by_length, tell=said.append)
    assert found_of(out) == found_of(whole[0])
    end = [remark for remark in whole[1] if not remark.startswith("of the first")]
    assert [remark for remark in said if "answers" in remark or "show no answer" in remark] == end


def test_what_was_found_survives_a_merge(whole: tuple[Path, list[str]], tmp_path: Path) -> None:
    shards = [tmp_path / f"part-{number}.jsonl" for number in (1, 2)]
    for number, shard in enumerate(shards, 1):
        tiny.run(shard, tasks=tiny.prompts(25), final_filter=by_length, shard=(number, 2))
    merged = merge_runs(shards, tmp_path / "merged.jsonl")
    assert found_of(tmp_path / "merged.jsonl") == found_of(whole[0])
    assert merged.totals.by_found == total(read_ledger(ledger_path(whole[0])).entries).by_found


def test_a_run_that_finds_its_answers_is_not_disturbed(tmp_path: Path) -> None:
    said: list[str] = []
    for accept in (lambda *_: Judgement(accepted=True, found="hash"), lambda *_: True):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        tiny.run(tmp_path / "run" / "out.jsonl", final_filter=accept, tell=said.append)
    assert said == ["answers were found after #### 40"]
