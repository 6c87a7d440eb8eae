"""The accepted samples of a run, alone: what is in them, in which form, and that a file is whole or not there."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from msifr_integrations.formats.accepted import AcceptedForm, check_accepted_out, write_accepted
from msifr_integrations.generation.journal import AttemptRecord
from msifr_policy.errors import InputError
from msifr_policy.filters import Message

ASKED = (Message("system", "Be brief."), Message("user", "1+1?"), Message("assistant", "2"), Message("user", "2+2?"))


def record(number: int, **changed: Any) -> AttemptRecord:
    usual = {"id": f"p{number}/0", "prompt_id": f"p{number}", "prompt": "2+2?", "text": f" 4\n„{number}“"}
    more = {"status": "finished", "correct": True, "seed": 0, "model": "m", "tokens": 2, "prompt_tokens": 3}
    return AttemptRecord(**{"token_ends": [1, 3], **usual, **more, **changed})


RECORDS = [
    record(0),
    record(1, correct=False),
    record(2, group="sums", messages=ASKED, logprobs=[-0.5, None], score=0.5, finish="decided"),
    record(3, status="discarded", correct=None, k=1, position=2, posterior=0.1, threshold=0.2, reason="policy"),
    record(4, status="failed", correct=None, error="HTTP 400"),
    record(5, text="", gold="4"),
]
ANSWERS = [{"role": "assistant", "content": text} for text in (" 4\n„0“", " 4\n„2“", "")]
CHAT = [
    {"messages": [{"role": "user", "content": "2+2?"}, ANSWERS[0]], "prompt_id": "p0", "id": "p0/0"},
    {"messages": [*map(msgspec.to_builtins, ASKED), ANSWERS[1]], "prompt_id": "p2", "id": "p2/0", "group": "sums"},
    {"messages": [{"role": "user", "content": "2+2?"}, ANSWERS[2]], "prompt_id": "p5", "id": "p5/0"},
]
TEXT = [
    {"prompt": "2+2?", "completion": " 4\n„0“", "prompt_id": "p0", "id": "p0/0"},
    {"prompt": "2+2?", "completion": " 4\n„2“", "prompt_id": "p2", "id": "p2/0", "group": "sums"},
    {"prompt": "2+2?", "completion": "", "prompt_id": "p5", "id": "p5/0"},
]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in RECORDS))
    return path


def lines(path: Path) -> list[Any]:
    data = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()]


@pytest.mark.parametrize(("form", "wanted"), [("chat", CHAT), ("text", TEXT)])
@pytest.mark.parametrize("name", ["good.jsonl", "good.jsonl.gz", "new/good.parquet"])
def test_accepted_samples_are_written_and_nothing_else(out: Path, form: AcceptedForm, wanted: Any, name: str) -> None:
    to = out.parent / name
    assert write_accepted(out, to, form=form) == 3
    if to.suffix == ".parquet":
        assert pq.read_table(to).to_pylist() == [{**one, "group": one.get("group")} for one in wanted]
    else:
        assert lines(to) == wanted
    first = to.read_bytes()
    if to.suffix == ".gz":
        assert first[4:8] == bytes(4)  # no time: the same samples give the same bytes
    assert write_accepted(out, to, form=form) == 3
    assert to.read_bytes() == first


@pytest.mark.parametrize("name", ["good.jsonl", "good.jsonl.gz", "good.parquet"])
def test_no_accepted_sample_makes_an_empty_file(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(msgspec.json.encode(record(1, correct=False)) + b"\n")
    assert write_accepted(out, tmp_path / name) == 0
    if name.endswith(".parquet"):
        assert pq.read_table(tmp_path / name).column_names == ["messages", "prompt_id", "id", "group"]
    else:
        assert lines(tmp_path / name) == []


def test_what_cannot_be_written_is_said_before_the_run(out: Path) -> None:
    for name in ("good.json", "good", "good.csv", "good.jsonl.zst"):
        with pytest.raises(InputError, match=r"unknown ending .*\.parquet"):
            check_accepted_out(out, out.parent / name)
    (out.parent / "link.jsonl").symlink_to(out)
    for path in (
        out,
        out.parent / "link.jsonl",
        out.parent / "sub" / ".." / "out.jsonl",
        out.parent / "out.ledger.jsonl",
    ):
        with pytest.raises(InputError, match="is written by the run itself"):
            check_accepted_out(out, path)
    with pytest.raises(InputError, match="is written by the run itself"):
        check_accepted_out(out.parent / "link.jsonl", out)
    with pytest.raises(InputError, match="is below a file"):
        check_accepted_out(out, out / "good.jsonl")
    check_accepted_out(out.parent / "not-yet.jsonl", out.parent / "good.jsonl")
    assert not (out.parent / "good.jsonl").exists()
    before = out.read_bytes()
    with pytest.raises(InputError, match="is written by the run itself"):
        write_accepted(out, out)
    with pytest.raises(InputError, match="unknown form 'csv'"):
        write_accepted(out, out.parent / "good.jsonl", form="csv")  # type: ignore[arg-type]
    assert out.read_bytes() == before


@pytest.mark.parametrize("name", ["good.jsonl", "good.jsonl.gz", "good.parquet"])
@pytest.mark.parametrize(
    "line", [b'{"id": "a", "prompt_id": "p", "prompt": "x", "text": "y"}', b"[]", b"{", b"\xff", b'{"id": "a/0", "prom']
)
def test_what_is_no_run_is_refused_and_the_old_file_stays(out: Path, name: str, line: bytes) -> None:
    to = out.parent / name
    to.write_bytes(b"as it was")
    out.write_bytes(out.read_bytes() + line + b"\n")
    with pytest.raises(InputError, match=r"out\.jsonl, line 7: not an attempt of a run"):
        write_accepted(out, to)
    assert to.read_bytes() == b"as it was"
    assert {path.name for path in out.parent.iterdir()} == {"out.jsonl", name}
    with pytest.raises(InputError, match="cannot be read"):
        write_accepted(out.parent / "none.jsonl", to)


@pytest.mark.parametrize("name", ["good.jsonl.gz", "good.parquet"])
def test_memory_does_not_grow_with_the_run(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """30,000 samples of some 600 bytes: 18 MB, in row groups of about half a megabyte."""
    monkeypatch.setattr("msifr_policy.records.parquet._GROUP_BYTES", 1 << 19)
    out = tmp_path / "out.jsonl"
    line = msgspec.json.encode(record(0, text="x" * 500)) + b"\n"
    with open(out, "wb") as file:
        for _ in range(30):
            file.write(line * 1000)
    write_accepted(out, tmp_path / "first.parquet" if name.endswith("parquet") else tmp_path / "first.jsonl.gz")
    tracemalloc.start()
    try:
        assert write_accepted(out, tmp_path / name) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    if name.endswith(".parquet"):
        groups = pq.read_metadata(tmp_path / name)
        assert groups.num_rows == 30_000
        assert groups.num_row_groups > 30
