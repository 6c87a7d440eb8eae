"""Outputs that get an outcome: the same as a run's, each judged once, whoever kills the judge and however often."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from msifr_integrations.cli import main
from msifr_integrations.cli.words import parse_filter
from msifr_integrations.formats.judged_file import JudgedFile, JudgeOptions, judge_files
from msifr_integrations.generation import judging
from msifr_integrations.generation.judging import DIED, NO_ANSWER, Judge, Judged, ToJudge, judged
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.filters import FunctionFilter, Judgement, Prompt, ScoreThreshold
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import Length

NUMERIC = partial(parse_filter, "numeric")
OWN = """\
import multiprocessing, os, time
from msifr_policy.filters import FunctionFilter

def careful(prompt, text):
    with open(os.environ["OWN_LOG"], "a") as log:
        log.write(prompt.prompt_id + "\\n")
    time.sleep(float(os.environ.get("OWN_SECONDS", "0")))
    return "good" in text

def deadly(prompt, text):
    if "deadly" in text:
        os._exit(3)
    if "raises" in text:
        raise ZeroDivisionError
    return "good" in text

def make_deadly():
    if multiprocessing.parent_process() is not None:
        os._exit(3)
    return FunctionFilter(deadly, "deadly")
"""


def record(number: int, **changed: Any) -> dict[str, Any]:
    usual = {"id": f"a{number}", "prompt_id": f"p{number // 2}", "prompt": "2+2?", "gold": "4"}
    record = usual | {"text": f"It is #### {4 + number % 2}", "own": {"x": number}} | changed
    return {name: value for name, value in record.items() if value is not None}


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def lines(path: Path) -> list[Any]:
    data = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with filters of a user's own, which write down what they are asked."""
    (tmp_path / "own_filters.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OWN_LOG", str(tmp_path / "asked"))
    (tmp_path / "asked").touch()
    return tmp_path


def asked(own: Path) -> list[str]:
    return (own / "asked").read_text().split()


RECORDS = [
    record(0),
    record(1),
    record(2, gold=None),
    record(3, gold="a cat"),
    record(4, text="I do not know"),
    record(5, correct=True),
    record(6, status="discarded", text="It is"),
    record(7, status="failed", text=""),
    record(8, correct=float("nan"), text="\x1b[2J\udc80 #### 4"),
]


def test_what_becomes_of_each_record(tmp_path: Path) -> None:
    out = tmp_path / "judged.jsonl.gz"
    came = judge_files([write(tmp_path / "in.jsonl", RECORDS)], NUMERIC, out)
    written = {one["id"]: one for one in lines(out)}
    assert list(written) == ["a0", "a1", "a4", "a5", "a6", "a7", "a8"]
    assert {name: one.get("correct") for name, one in written.items()} == {
        "a0": True, "a1": False, "a4": False, "a5": True, "a6": None, "a7": None, "a8": True,
    }  # fmt: skip
    assert written["a1"] == record(1) | {"correct": False, "judged_by": NUMERIC().name}
    assert (came.records, came.judged, came.accepted, came.had_outcome, came.unfinished) == (9, 4, 2, 1, 2)
    assert (came.written, came.known, came.malformed, came.agreement) == (7, 0, 0, None)
    assert {why: (of.records, of.first) for why, of in came.not_judged.items()} == {
        "no gold answer": (1, "a2"),
        "gold answer is not a number": (1, "a3"),
    }
    assert {why: of.first for why, of in came.not_accepted_because.items()} == {NO_ANSWER: "a4"}
    assert came.found == {"hash": 3, "": 1}
    assert not list(tmp_path.glob("*.judging"))
    kept = judge_files([tmp_path / "in.jsonl"], NUMERIC, out, JudgeOptions(keep=True))
    assert [one["id"] for one in lines(out)] == [one["id"] for one in RECORDS]
    assert "correct" not in lines(out)[2]
    assert kept.written == 9


def test_judged_files_are_traces(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", RECORDS[:5])
    for name in ("judged.jsonl", "judged.jsonl.zst", "judged.parquet"):
        judge_files([tmp_path / "in.jsonl"], NUMERIC, tmp_path / name)
        assert [trace.accepted for trace in read_traces(tmp_path / name)] == [True, False, False], name


@pytest.mark.parametrize("name", ["judged.parquet", "judged.jsonl"])
def test_parquet_keeps_its_columns(tmp_path: Path, name: str) -> None:
    table = pa.table(
        {
            "id": [1, 2, 3],
            "prompt_id": ["p", "p", "q"],
            "text": ["#### 4", "#### 5", "#### 4"],
            "gold": ["4", "4", None],
            "difficulty": pa.array([0.5, None, 0.25], pa.float32()),
            "tags": [["a"], [], None],
            "correct": pa.array([None, None, None], pa.null()),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    came = judge_files([tmp_path / "in.parquet"], NUMERIC, tmp_path / name)
    assert came.judged == 2
    out = tmp_path / name
    rows = pq.read_table(out).to_pylist() if name.endswith("parquet") else lines(out)
    assert [(row["id"], row["correct"], row["difficulty"], row["tags"]) for row in rows] == [
        (1, True, 0.5, ["a"]),
        (2, False, None, []),
    ]
    if name.endswith("parquet"):
        assert pq.read_schema(out).field("difficulty").type == pa.float32()
        assert pq.read_schema(out).names[-3:] == ["correct", "judged_by", "score"]


def test_json_lines_in_parquet_lose_nothing(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "2+2?"}]
    one = record(0, messages=messages, tests="assert 1 + 1 == 2", schema={"type": "object"}, own={"x": [1, None]})
    judge_files([write(tmp_path / "in.jsonl", [one])], NUMERIC, tmp_path / "judged.parquet")
    (row,) = pq.read_table(tmp_path / "judged.parquet").to_pylist()
    assert (row["correct"], row["messages"], row["tests"]) == (True, messages, one["tests"])
    assert (json.loads(row["other"]), json.loads(row["schema"])) == ({"own": one["own"]}, one["schema"])
    (again,) = lines_of(tmp_path, "judged.parquet")
    assert again["correct"] is True


def lines_of(folder: Path, name: str) -> list[Any]:
    """What a judged file says when it is judged into JSON lines: its records as they are."""
    judge_files([folder / name], NUMERIC, folder / "lines.jsonl")
    return lines(folder / "lines.jsonl")


def test_the_prompts_of_a_file_say_what_texts_are_judged_by(tmp_path: Path) -> None:
    texts = [record(0, gold=None), record(1, gold="5"), record(2, gold="4")]
    prompts = {"p0": Prompt(prompt_id="p0", prompt="How many?", gold="5")}
    came = judge_files(
        [write(tmp_path / "in.jsonl", texts)], NUMERIC, tmp_path / "out.jsonl", JudgeOptions(prompts=prompts)
    )
    assert [one["correct"] for one in lines(tmp_path / "out.jsonl")] == [False, True, True]
    assert came.judged == 3
    # What is judged by is in the digests of what is kept: another file of prompts is another judge.
    assert Judge(parse_filter("tests"))(Prompt(prompt_id="p", prompt="?"), "x") == Judged(None, "no tests")


def test_what_was_asked_is_known_to_the_filter(tmp_path: Path) -> None:
    seen: list[tuple[str, str, str | None]] = []

    def look(prompt: Prompt, text: str) -> bool:
        seen.append((prompt.prompt_id, prompt.prompt, prompt.gold))
        return bool(text)

    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "3+3?"}]
    chat = {"id": "c", "text": "6", "messages": messages, "gold": 6.0, "parameters": None}
    write(tmp_path / "in.jsonl", [record(0), chat, {"text": "bare"}, chat | {"messages": json.dumps(messages)}])
    judge_files([tmp_path / "in.jsonl"], lambda: FunctionFilter(look, "look"), tmp_path / "out.jsonl")
    third = f"{tmp_path / 'in.jsonl'}, line 3"
    assert seen == [("p0", "2+2?", "4"), ("c", "3+3?", "6.0"), (third, " ", None), ("c", "3+3?", "6.0")]


def test_what_was_judged_again_is_compared(tmp_path: Path) -> None:
    before = [True, True, False, False, 1, 1]
    records = [record(i, correct=before[i]) for i in range(6)] + [record(6)]
    out = tmp_path / "again.jsonl"
    came = judge_files([write(tmp_path / "in.jsonl", records)], NUMERIC, out, JudgeOptions(again=True))
    both = came.agreement
    assert both is not None
    assert (both.accepted_accepted, both.accepted_unaccepted) == (2, 2)
    assert (both.unaccepted_accepted, both.unaccepted_unaccepted) == (1, 1)
    assert (both.records, both.disagree, came.judged, came.had_outcome) == (6, 3, 7, 0)
    assert [one["correct"] for one in lines(out)] == [True, False, True, False, True, False, True]
    assert [one.get("correct_before") for one in lines(out)] == [True, True, False, False, True, True, None]


def test_scores_and_failures_are_kept(tmp_path: Path) -> None:
    def score(prompt: Prompt, text: str) -> float:
        del prompt
        return {"high": 0.9, "low": 0.1}.get(text, float("nan"))

    texts = [record(i, text=text) for i, text in enumerate(("high", "low", "none"))]
    make = lambda: ScoreThreshold(score, 0.5, "s")  # noqa: E731
    came = judge_files([write(tmp_path / "in.jsonl", texts)], make, tmp_path / "out.jsonl")
    assert [(one["correct"], one.get("score")) for one in lines(tmp_path / "out.jsonl")] == [
        (True, 0.9), (False, 0.1), (False, None),
    ]  # fmt: skip
    assert came.not_accepted_because["the score is NaN"].first == "a2"


def test_a_filter_that_raises_spoils_one_text_and_one_that_cannot_work_all() -> None:
    def raises(prompt: Prompt, text: str) -> bool:
        del prompt
        return bool(1 / len(text))

    judge = Judge(FunctionFilter(raises, "raises"))
    prompt = Prompt(prompt_id="p", prompt="?")
    assert judge(prompt, "x") == Judged(True)
    assert judge(prompt, "") == Judged(None, "the filter raised ZeroDivisionError")

    def unable(prompt: Prompt, text: str) -> bool:
        del prompt, text
        raise MsifrError("no processes here")

    with pytest.raises(MsifrError, match="no processes here"):
        Judge(FunctionFilter(unable, "unable"))(prompt, "x")

    def late(prompt: Prompt, text: str) -> Judgement:
        del prompt, text
        return Judgement(accepted=False, failure="timed out")

    assert Judge(FunctionFilter(late, "late"))(prompt, "x") == Judged(False, "timed out")


@pytest.mark.usefixtures("own")
def test_many_processes_say_what_one_says_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the texts one kills its process, another one raises; every other one is judged all the same."""
    monkeypatch.setattr(judging, "_ALONE_SECONDS", 0)
    monkeypatch.setattr(judging, "_CHUNK_MOST", 8)
    make = partial(parse_filter, "function:own_filters:deadly")
    prompt = Prompt(prompt_id="p", prompt="?")
    texts = [f"{'good' if i % 3 else 'bad'} {i}" for i in range(48)]
    texts[41] = "deadly"
    texts[13] = "raises"
    items = [(i, None if i % 7 == 0 else ToJudge(prompt, text)) for i, text in enumerate(texts)]
    came = list(judged(iter(items), make, workers=2))
    assert [i for i, _ in came] == list(range(48))
    for i, said in came:
        if i % 7 == 0:
            assert said is None
        elif i in (13, 41):
            assert said == Judged(None, DIED if i == 41 else "the filter raised ZeroDivisionError")
        else:
            assert said == Judged(i % 3 > 0)


def test_a_filter_that_other_processes_cannot_make_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_ALONE_SECONDS", 0)
    items = [(i, ToJudge(Prompt(prompt_id="p", prompt="?"), "x")) for i in range(3)]
    with pytest.raises(InputError, match="cannot be sent to another process"):
        list(judged(items, lambda: FunctionFilter(lambda _, text: bool(text), "own"), workers=2))


@pytest.mark.usefixtures("own")
def test_processes_that_do_not_start_are_no_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_ALONE_SECONDS", 0)
    make = importlib.import_module("own_filters").make_deadly
    items = [(i, ToJudge(Prompt(prompt_id="p", prompt="?"), "x")) for i in range(3)]
    with pytest.raises(MsifrError, match=r'do not start: .* if __name__ == "__main__"'):
        list(judged(items, make, workers=2))


def test_standard_streams(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from msifr_integrations.cli.entry import run; run()", "judge", "-", "-o", "-"]
    given = "".join(json.dumps(record(i)) + "\n" for i in range(3))
    done = subprocess.run(command, input=given, cwd=tmp_path, capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["correct"] for line in done.stdout.splitlines()] == [True, False, True]
    assert "3 of 3 outputs judged" in done.stderr
    assert list(tmp_path.iterdir()) == []


def start(folder: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    words = (
        "judge",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "--filter",
        "function:own_filters:careful",
        "--workers",
        "1",
        *more,
    )
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", "from msifr_integrations.cli.entry import run; run()", *words],
        cwd=folder,
        env=os.environ | {"OWN_LOG": str(folder / "asked")} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(own: Path, texts: int) -> None:
    until = time.monotonic() + 60
    while len(asked(own)) < texts:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_judge_that_was_stopped_goes_on(own: Path) -> None:
    """Interrupted, then killed, then left alone: each text is asked about once, but for the one of the moment."""
    n = 40
    write(own / "in.jsonl", [record(i, prompt_id=f"p{i}", text=f"{'good' if i % 2 else 'bad'}") for i in range(n)])
    (own / "out.jsonl").write_text("as it was")
    before: list[str] = []
    for end, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = start(own, OWN_SECONDS="0.05")
        wait_for(own, len(before) + 5)
        process.send_signal(end)
        _, said = process.communicate(timeout=60)
        assert process.returncode == status, said
        assert (own / "out.jsonl").read_text() == "as it was"
        before = asked(own)
        with open(own / "out.jsonl.judging", "ab") as kept:
            kept.write(b'["half a li')
    process = start(own, "--json")
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    came = json.loads(out)
    assert len(before) - 2 <= came["known"] <= len(before)
    assert asked(own) == before + [f"p{i}" for i in range(came["known"], n)]
    assert [one["correct"] for one in lines(own / "out.jsonl")] == [i % 2 == 1 for i in range(n)]
    assert (came["judged"], came["accepted"]) == (n, n // 2)
    assert sorted(path.name for path in own.iterdir() if path.suffix in (".judging", ".part")) == []


def test_what_was_kept_goes_on_with_the_same_only(own: Path) -> None:
    """Another filter, other records, a file that is none of ours, a judge that is running: all refused, and kept."""
    records = [record(i) for i in range(4)]
    write(own / "in.jsonl", [*records, {"id": "bad"}])
    kept, out = own / "out.jsonl.judging", own / "out.jsonl"
    with pytest.raises(InputError, match=r"in\.jsonl, line 5: missing required field `text`"):
        judge_files([own / "in.jsonl"], NUMERIC, out)
    before = kept.read_bytes()
    assert len(before.splitlines()) == 5
    with pytest.raises(InputError, match=r"filter = 'numeric\[auto\]', not 'exact\[whole\]'.*remove that file"):
        judge_files([own / "in.jsonl"], partial(parse_filter, "exact"), out)
    write(own / "other.jsonl", [record(0), record(1, text="#### 7")])
    with pytest.raises(InputError, match="its records were others"):
        judge_files([own / "other.jsonl"], NUMERIC, out)
    with open(kept, "rb") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is writing this file"):
            judge_files([own / "in.jsonl"], NUMERIC, out)
    assert kept.read_bytes() == before
    came = judge_files([own / "in.jsonl"], NUMERIC, out, JudgeOptions(on_error="skip"))
    assert (came.known, came.malformed, came.judged) == (4, 1, 4)
    assert not kept.exists()
    kept.write_bytes(b"my own notes\n")
    with pytest.raises(InputError, match="none of a judge's files"):
        judge_files([own / "in.jsonl"], NUMERIC, out)
    assert kept.read_bytes() == b"my own notes\n"


def test_before_the_first_verdict_another_filter_may_be_tried(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [{"id": "bad"}])
    with pytest.raises(InputError, match="missing required field `text`"):
        judge_files([tmp_path / "in.jsonl"], NUMERIC, tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_nothing_to_judge_by_is_an_error_that_says_so(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [record(i, gold=None) for i in range(3)] + [record(3, status="discarded")])
    for keep in (False, True):
        with pytest.raises(
            InputError, match=r"none of 4 records has an outcome: 3 with no gold answer.*file of prompts"
        ):
            judge_files([tmp_path / "in.jsonl"], NUMERIC, tmp_path / "out.jsonl", JudgeOptions(keep=keep))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="there are no records"):
        judge_files([tmp_path / "empty.jsonl"], NUMERIC, tmp_path / "out.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "empty.jsonl"}


@pytest.mark.parametrize("fields", [(), ("text=text", "gold=gold")])
@pytest.mark.parametrize("bad", ['{"text": "#### 4", ', "[1]", "no JSON"])
def test_lines_that_are_no_records_are_named_or_skipped(tmp_path: Path, bad: str, fields: tuple[str, ...]) -> None:
    path = tmp_path / "in.jsonl"
    good = [json.dumps(record(i)) for i in range(2)]
    path.write_text("\n".join((good[0], bad, good[1])) + "\n")
    with pytest.raises(InputError, match=r"in\.jsonl, line 2"):
        judge_files([path], NUMERIC, tmp_path / "out.jsonl", JudgeOptions(fields=fields))
    came = judge_files([path], NUMERIC, tmp_path / "out.jsonl", JudgeOptions(on_error="skip", fields=fields))
    assert (came.records, came.malformed, came.written) == (3, 1, 2)


@pytest.mark.parametrize("bad", [{"text": 5}, {"correct": "maybe"}, {"schema": 7}, {"messages": "hello"}])
def test_malformed_records_are_named_or_skipped(tmp_path: Path, bad: dict[str, Any]) -> None:
    write(tmp_path / "in.jsonl", [record(0), record(1, **bad)])
    with pytest.raises(InputError, match=r"in\.jsonl, line 2"):
        judge_files([tmp_path / "in.jsonl"], NUMERIC, tmp_path / "out.jsonl")
    came = judge_files([tmp_path / "in.jsonl"], NUMERIC, tmp_path / "out.jsonl", JudgeOptions(on_error="skip"))
    assert (came.malformed, came.judged) == (1, 1)


def test_a_full_disk_loses_nothing(own: Path) -> None:
    """Output and verdicts hit the limit of a file's size; with room again the judge goes on."""
    n = 200
    write(own / "in.jsonl", [record(i, prompt_id=f"p{i}", text="good " + "x" * 50) for i in range(n)])
    make = partial(parse_filter, "function:own_filters:careful")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"out\.jsonl\.gz\.judging: cannot be written.*goes on from there"):
            judge_files([own / "in.jsonl"], make, own / "out.jsonl.gz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (own / "out.jsonl.gz").exists()
    before = len(asked(own))
    assert 10 < before < n
    assert judge_files([own / "in.jsonl"], make, own / "out.jsonl.gz").known == before - 1
    assert len(asked(own)) == n + 1  # the one whose verdict found no room
    assert len(lines(own / "out.jsonl.gz")) == n
    with pytest.raises(InputError, match="cannot be written: No space left"):
        judge_files([own / "in.jsonl"], NUMERIC, "/dev/full")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """2,000 texts of some 4,000 bytes: 8 MB."""
    with open(tmp_path / "in.jsonl", "w") as file:
        for i in range(2_000):
            file.write(json.dumps(record(i, prompt_id=f"p{i}", text="x" * 4_000 + "\n#### 4")) + "\n")
    judge_files([write(tmp_path / "one.jsonl", [record(0)])], NUMERIC, tmp_path / "one-out.jsonl.gz")
    tracemalloc.start()
    try:
        came = judge_files([tmp_path / "in.jsonl"], NUMERIC, tmp_path / "out.jsonl.gz")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert came.accepted == 2_000


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("in.jsonl"), RECORDS)
    write(Path("prompts.jsonl"), [{"prompt_id": "p1", "prompt": "2+2?", "gold": 4}])
    words = ["judge", "in.jsonl", "-o", "out.jsonl", "--prompts", "prompts.jsonl"]
    said = CliRunner().invoke(main, words)
    assert said.exit_code == 0, said.output
    assert "6 of 9 outputs judged by numeric[auto]: 3 accepted (50.0%); 9 written -> out.jsonl" in said.output
    assert "1 had an outcome already" in said.output
    assert "\x1b" not in said.output
    document = CliRunner().invoke(main, [*words, "--again", "--json"])
    came = json.loads(document.stdout)
    assert came["agreement"] == {
        "accepted_accepted": 0, "accepted_unaccepted": 1, "unaccepted_accepted": 0, "unaccepted_unaccepted": 0,
    }  # fmt: skip
    assert set(came) == set(JudgedFile.__struct_fields__)
    for words, what in (
        (["judge", "in.jsonl", "-o", "in.jsonl"], "is one of the inputs"),
        (["judge", "in.jsonl", "-o", "out.csv"], "unknown ending"),
        (["judge", "in.jsonl", "-o", "out.jsonl", "--filter", "nummeric"], "unknown final filter"),
        (["judge", "none.jsonl", "-o", "out.jsonl"], "no such file"),
    ):
        failed = CliRunner().invoke(main, words)
        assert (failed.exit_code, what in failed.stderr) == (2, True), failed.stderr


def test_records_of_another_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        Path("in.jsonl"),
        [
            {"question": "2+2?", "meta": {"answer": 4}, "choices": [{"text": "#### 4"}, {"text": "#### 5"}], "more": 1},
            {"question": "2+3?", "meta": {"answer": 5}, "choices": "none"},
        ],
    )
    words = ["judge", "in.jsonl", "-o", "out.jsonl", "--map", "prompt=question", "--map", "gold=meta.answer"]
    words += ["--map", "text=choices[*].text"]
    said = CliRunner().invoke(main, [*words, "--on-error", "skip"])
    assert said.exit_code == 0, said.output
    assert [(one["text"], one["correct"]) for one in lines(Path("out.jsonl"))] == [("#### 4", True), ("#### 5", False)]
    first, second = read_traces("out.jsonl")
    assert (first.prompt_id, first.prompt, first.gold) == (second.prompt_id, "2+2?", "4")
    assert first.id != second.id
    failed = CliRunner().invoke(main, [*words[:4], "--map", "colour=sky"])
    assert (failed.exit_code, "unknown field 'colour'" in failed.stderr) == (2, True)


def test_the_filter_of_judged_and_converted_traces_is_known_to_what_is_made_of_them(tmp_path: Path) -> None:
    out, chats = tmp_path / "judged.jsonl", tmp_path / "chats.jsonl"
    rows = [
        {"id": f"a{i}", "prompt_id": f"p{i}", "prompt": f"What is {i}?", "text": "1", "gold": "1"} for i in range(3)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge_files([tmp_path / "in.jsonl"], NUMERIC, out)
    said = [{"role": "user", "content": "What is 1?"}, {"role": "assistant", "content": "1"}]
    chats.write_text(json.dumps({"messages": said, "gold": "1"}) + "\n")
    done = CliRunner().invoke(main, ["convert", str(chats), "--filter", "exact", "-o", str(tmp_path / "c.jsonl.gz")])
    assert done.exit_code == 0, done.output
    unknown = tmp_path / "unknown.jsonl"
    unknown.write_text('{"id": "b", "prompt_id": "p", "text": "1", "correct": true}\n')

    def filter_of(*paths: Path) -> str:
        return build_evidence(read_traces(paths), NewlineSteps(), (Length(),)).provenance.filter

    assert filter_of(out) == NUMERIC().name
    assert filter_of(tmp_path / "c.jsonl.gz") == parse_filter("exact").name
    assert filter_of(out, unknown) == filter_of(out, tmp_path / "c.jsonl.gz") == ""  # not of all
    pq.write_table(pa.Table.from_pylist([{**row, "correct": True} for row in rows]), tmp_path / "in.parquet")
    judge_files([tmp_path / "in.parquet"], NUMERIC, tmp_path / "again.parquet", JudgeOptions(again=True))
    assert filter_of(tmp_path / "again.parquet") == NUMERIC().name


def test_gold_answers_of_a_benchmark_are_found_by_the_question(tmp_path: Path) -> None:
    outputs = [{"id": f"a{i}", "prompt_id": "p", "prompt": "What is 2+3?\n", "text": f"#### {i}"} for i in (5, 6)]
    write(tmp_path / "in.jsonl", outputs)
    write(tmp_path / "gold.jsonl", [{"question": "What is 2+3?", "answer": "2+3=5\n#### 5"}])
    words = [
        "judge",
        str(tmp_path / "in.jsonl"),
        "--prompts",
        str(tmp_path / "gold.jsonl"),
        "-o",
        str(tmp_path / "o.jsonl"),
    ]
    said = CliRunner().invoke(main, words)
    assert said.exit_code == 0, said.output
    assert [(one["prompt_id"], one["correct"]) for one in lines(tmp_path / "o.jsonl")] == [("p", True), ("p", False)]
