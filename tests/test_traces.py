"""Reading and writing traces: every format gives back what was written, and bad records say where they are."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.records.traces import ReadReport, Trace, find_trace_files, read_traces, write_traces

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@st.composite
def traces(draw):
    text = draw(TEXT)
    ends = draw(st.none() | st.lists(st.integers(0, len(text)), max_size=6).map(sorted))
    return Trace(
        id=draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)),
        prompt_id=draw(st.text("abc:", min_size=1, max_size=8)),
        text=text,
        accepted=draw(st.booleans()),
        prompt=draw(TEXT),
        group=draw(st.none() | TEXT),
        gold=draw(st.none() | TEXT),
        tokens=None if ends is None else len(ends),
        token_ends=ends,
        logprobs=None if ends is None else [-0.5] * len(ends),
    )


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet"])
@given(records=st.lists(traces(), max_size=5, unique_by=lambda t: t.id))
def test_what_is_written_is_read_back(tmp_path_factory, ending, records):
    path = tmp_path_factory.mktemp("traces") / f"t{ending}"
    assert write_traces(path, iter(records)) == len(records)
    assert list(read_traces(path)) == records


def test_parquet_spans_batches(tmp_path):
    records = [Trace(id=str(i), prompt_id="p", text="x" * i, accepted=i % 2 == 0) for i in range(1100)]
    write_traces(tmp_path / "t.parquet", records)
    assert list(read_traces(tmp_path / "t.parquet")) == records


GOOD = {"id": "a", "prompt_id": "p", "text": "hello", "correct": True, "extra": [1]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": 3}, r"line 2.*\$\.text"),
        ({"correct": None}, r"line 2.*discarded attempt has none"),
        ({"correct": ...}, r"line 2.*finished attempts"),
        ({"prompt_id": ""}, r"line 2.*must not be empty"),
        ({"token_ends": [1, 9]}, r"line 2.*token_ends.*0\.\.5"),
        ({"token_ends": [3, 2]}, r"line 2.*token_ends"),
        ({"stages": [6]}, r"line 2.*stages"),
        ({"token_ends": [1], "tokens": 2}, r"line 2.*1 entries for 2"),
        ({"tokens": -1}, r"line 2.*negative"),
        ({"id": "first"}, r"line 2.*occurs twice"),
    ],
)
def test_a_malformed_record_names_file_line_field_and_remedy(tmp_path, change, says):
    record = {k: v for k, v in (GOOD | change).items() if v is not ...}
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(GOOD | {"id": "first"}) + "\n" + json.dumps(record) + "\n")
    with pytest.raises(InputError, match=says) as caught:
        list(read_traces(path))
    assert str(path) in str(caught.value)
    assert caught.value.remedy
    report = ReadReport()
    assert [t.id for t in read_traces(path, on_error="skip", report=report)] == ["first"]
    assert (report.read, report.skipped, len(report.errors)) == (1, 1, 1)


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff\xfe", b'{"id": "\xff"}', b"[" * 10000, b"nul\x00"])
def test_hostile_bytes_are_an_input_error(tmp_path, line):
    path = tmp_path / "t.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(InputError, match="line 1"):
        list(read_traces(path))


def test_a_truncated_gzip_file_says_so(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode() * 50)[:-12])
    with pytest.raises(InputError, match="cut short"):
        list(read_traces(path))


def test_a_broken_parquet_file_says_so(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"t\.parquet"):
        list(read_traces(tmp_path / "t.parquet"))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "t.jsonl"
    write_traces(path, [Trace(id="a", prompt_id="p", text="", accepted=True)])
    before = path.read_bytes()

    def broken():
        yield Trace(id="b", prompt_id="p", text="", accepted=True)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_traces(path, broken())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_folders_stand_for_their_trace_files(tmp_path):
    for name in ("b.jsonl", "a.jsonl.gz", "c.txt"):
        write_traces(tmp_path / name, []) if name != "c.txt" else (tmp_path / name).write_text("")
    assert [p.name for p in find_trace_files([tmp_path])] == ["a.jsonl.gz", "b.jsonl"]
    (tmp_path / "empty").mkdir()
    for missing in ("nothing", "empty"):
        with pytest.raises(InputError, match=missing):
            find_trace_files([tmp_path / missing])


def test_the_group_is_in_the_prompt_id_unless_given():
    def group(prompt_id, group=None):
        return Trace(id="a", prompt_id=prompt_id, text="", accepted=True, group=group).group_name

    assert group("mmlu:law:1f") == "law"
    assert group("math:1f") == ""
    assert group("mmlu:law:1f", "other") == "other"
