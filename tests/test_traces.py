"""Reading and writing traces: every format gives back what was written, and bad records say where they are."""

import gzip
import json
import math
import os
import re
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.files import LONGEST_LINE
from msifr_policy.records.traces import (
    EXAMPLE,
    SCHEMA_HELP,
    ReadReport,
    Trace,
    find_trace_files,
    read_traces,
    write_traces,
)

ENDINGS = [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"]
# With halves of surrogate pairs, but not two that would be read as one character.
TEXT = st.text(max_size=40).filter(lambda text: not re.search("[\ud800-\udbff][\udc00-\udfff]", text))


LARGE = st.integers(0, 2**63 - 1)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
OBJECT = st.dictionaries(TEXT, VALUE, max_size=3)


@st.composite
def traces(draw):
    text = draw(TEXT)
    ends = draw(st.none() | st.lists(st.integers(0, len(text)), max_size=6).map(sorted))
    return Trace(
        id=draw(TEXT.filter(bool)),
        prompt_id=draw(st.text("abc:", min_size=1, max_size=8)),
        text=text,
        accepted=draw(st.booleans()),
        prompt=draw(TEXT),
        group=draw(st.none() | TEXT),
        gold=draw(st.none() | TEXT),
        dataset=draw(st.none() | TEXT),
        model=draw(st.none() | TEXT),
        schema=draw(st.none() | OBJECT),
        parameters=draw(st.dictionaries(TEXT, OBJECT, max_size=2)),
        prompt_tokens=draw(st.none() | LARGE),
        tokens=None if ends is None else len(ends),
        token_ends=ends,
        logprobs=None if ends is None else draw(st.lists(st.floats(), min_size=len(ends), max_size=len(ends))),
        stages=draw(st.none() | st.lists(st.integers(0, len(text)), max_size=6).map(sorted)),
        step_labels=draw(st.none() | st.lists(st.sampled_from([1, -1, 0]), max_size=3)),
    )


def readable(value):
    """A value as it can be read again: half of a surrogate pair is no text, and NaN must equal itself here."""
    if isinstance(value, str):
        return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {readable(name): readable(each) for name, each in value.items()}
    return list(map(readable, value)) if isinstance(value, list) else value


def fields(trace):
    return {name: readable(getattr(trace, name)) for name in Trace.__struct_fields__}


@pytest.mark.parametrize("ending", ENDINGS)
@given(records=st.lists(traces(), max_size=5, unique_by=lambda t: readable(t.id)))
def test_what_is_written_is_read_back(tmp_path_factory, ending, records):
    path = tmp_path_factory.mktemp("traces") / f"t{ending}"
    assert write_traces(path, iter(records)) == len(records)
    assert list(map(fields, read_traces(path))) == list(map(fields, records))


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_could_not_be_read_back_is_not_written(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    good = Trace(id="a", prompt_id="p", text="", accepted=True)
    broken = Trace(id="b", prompt_id="p", text="ab", accepted=True, stages=[1])
    broken.stages.append(9)  # after the check of a new trace
    large = Trace(id="b", prompt_id="p", text="ab", accepted=True, step_labels=[1])
    large.step_labels.append(2**63)
    for wrong, says in [
        (Trace(id="a", prompt_id="p", text="", accepted=False), "record 2: id 'a' occurs twice"),
        (Trace(id="b", prompt_id="p", text="x" * LONGEST_LINE, accepted=False), "record 2: longer than"),
        (Trace(id="b", prompt_id="p", text="", accepted=None), "record 2: no `correct`"),
        (broken, "record 2: `stages`"),
        (large, "record 2: `step_labels`"),
    ]:
        with pytest.raises(InputError, match=says):
            write_traces(path, [good, wrong])
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_same_traces_give_the_same_bytes(tmp_path, ending):
    records = [Trace(id=str(i), prompt_id="p", text="x" * i, accepted=True) for i in range(50)]
    for name in ("one", "other"):
        write_traces(tmp_path / f"{name}{ending}", records)
    assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"other{ending}").read_bytes()


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
        ({"tokens": -1}, r"line 2.*`tokens` is -1, must not be negative"),
        ({"prompt_tokens": -1}, r"line 2.*`prompt_tokens` is -1, must not be negative"),
        ({"tokens": 10**30}, r"line 2.*`tokens` is 10+, must not be so large"),
        ({"step_labels": [10**30]}, r"line 2.*`step_labels`"),
        ({"tokens": 2.5}, r"line 2.*\$\.tokens"),
        ({"tokens": True}, r"line 2.*\$\.tokens"),
        ({"stages": [0.5]}, r"line 2.*\$\.stages"),
        ({"gold": True}, r"line 2.*\$\.gold"),
        ({"id": ["a"]}, r"line 2.*\$\.id"),
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


def lines(tmp_path, *records):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def as_parquet(tmp_path, *records):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist(list(records)), path)
    return path


@pytest.mark.parametrize("write", [lines, as_parquet])
def test_other_usual_spellings_are_read(tmp_path, write):
    """Integers as ids, 1 and 0 as outcomes, null for a log-probability that is not known, and what Python writes."""
    first = GOOD | {"id": 7, "prompt_id": 10**15, "group": 3, "gold": 72, "correct": 1, "logprobs": [None, -math.inf]}
    second = GOOD | {"id": 8, "prompt_id": 0, "group": None, "gold": 1, "correct": 0, "logprobs": [math.nan, -1.0]}
    one, other = read_traces(write(tmp_path, first, second))
    assert (one.id, one.prompt_id, one.group, one.gold) == ("7", str(10**15), "3", "72")
    assert one.accepted is True
    assert other.accepted is False
    assert list(map(str, one.logprobs)) == ["nan", "-inf"]
    assert list(map(str, other.logprobs)) == ["nan", "-1.0"]


def test_half_of_a_surrogate_pair_is_read_as_one_replacement_character(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(
        r'{"id": "a", "prompt_id": "p", "text": "a\ud83d\ud83c\udf78b\udf78", "correct": true, "stages": [5]}'
    )
    assert [trace.text for trace in read_traces(path)] == ["a\ufffd\U0001f378b\ufffd"]


@pytest.mark.parametrize("where", ["text", "other", "schema"])
def test_half_of_a_surrogate_pair_hurts_nowhere(tmp_path, where):
    """Names of members too, of those that are not read and of those within."""
    path = tmp_path / "t.jsonl"
    more = {
        "text": '"text": "\\ud83d"',
        "other": '"text": "", "\\ud83d": 1',
        "schema": '"text": "", "schema": {"\\udf78": 1}',
    }
    path.write_text('{"id": "a", "prompt_id": "p", "correct": 1, ' + more[where] + "}")
    (trace,) = read_traces(path)
    assert (trace.text, trace.schema) == ("\ufffd" * (where == "text"), {"\ufffd": 1} if where == "schema" else None)


@pytest.mark.parametrize("write", [lines, as_parquet])
def test_what_tables_make_of_missing_values_is_read(tmp_path, write):
    """A column of counts or ids where one is missing is one of floats, and NaN stands for the missing one."""
    nothing = {"group": None, "gold": math.nan, "prompt_tokens": math.nan, "model": None, "tokens": math.nan}
    full = {"group": "3.0", "gold": 0.5, "prompt_tokens": 9.0, "model": "7", "tokens": 2.0}
    first, second = GOOD | {"id": 1.0, "correct": 1.0} | full, GOOD | {"id": 2.0, "correct": 0.0} | nothing
    one, other = read_traces(write(tmp_path, first, second))
    assert (one.id, one.group, one.gold, one.prompt_tokens, one.tokens) == ("1.0", "3.0", "0.5", 9, 2)
    assert type(one.prompt_tokens) is int
    assert (other.group, other.gold, other.prompt_tokens, other.model, other.tokens) == (None,) * 5
    assert (one.accepted, other.accepted) == (True, False)


def test_parquet_of_other_types_is_read(tmp_path):
    names = ("id", "prompt_id", "text")
    for kind in (pa.binary(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        rows = [{name: GOOD[name].encode() if kind == pa.binary() else GOOD[name] for name in names} | {"correct": 1}]
        schema = pa.schema([*((name, kind) for name in names), ("correct", pa.int8())])
        pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "t.parquet")
        assert [trace.text for trace in read_traces(tmp_path / "t.parquet")] == ["hello"]
    rows[0]["text"] = b"\xff"
    schema = pa.schema([("id", pa.string()), ("prompt_id", pa.string()), ("text", pa.binary()), ("correct", pa.int8())])
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"row 1: .*\$\.text"):
        list(read_traces(tmp_path / "t.parquet"))


@pytest.mark.parametrize("write", [lines, as_parquet])
@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet", "t.jsonl.gz", "shard-0"])
def test_what_a_file_holds_says_how_it_is_packed(tmp_path, write, name):
    (tmp_path / "other").mkdir()
    path = write(tmp_path / "other", GOOD).rename(tmp_path / name)
    assert [trace.id for trace in read_traces(path)] == ["a"]


def test_an_empty_file_holds_no_traces_and_is_no_parquet(tmp_path):
    for name in ("t.jsonl", "t.jsonl.gz"):
        (tmp_path / name).write_bytes(b"")
        assert list(read_traces(tmp_path / name)) == []
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"t\.parquet.*cannot be read"):
        list(read_traces(tmp_path / "t.parquet"))


@pytest.mark.skipif(os.name != "posix", reason="there are no named pipes")
def test_a_pipe_is_read(tmp_path):
    """As a shell makes of <(zcat t.jsonl.gz)."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(json.dumps(GOOD)), daemon=True)
    writer.start()
    assert [trace.id for trace in read_traces(tmp_path / "pipe")] == ["a"]
    writer.join(10)
    with pytest.raises(InputError, match="neither a file nor a folder"):
        find_trace_files(["/dev/null"])


ONE = json.dumps(GOOD)
OTHER = json.dumps(GOOD | {"id": "b"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (f"[{ONE}, {OTHER}]", r"line 1: a JSON array, .*jq -c '\.\[\]'"),
        (f"[\n{ONE},\n{OTHER}\n]", "line 1: a JSON array"),
        (json.dumps(GOOD, indent=2), r"line 1: .*does not end in its line: .*several lines.*jq -c \."),
        ("{\n" + ONE[1:], "line 1: .*does not end in its line"),
        (f"{ONE}\n{OTHER[:30]}", "line 2: .*does not end in its line.*cut short"),
        (f"{ONE},\n{OTHER}", "line 1: a comma follows the record"),
        (f"{ONE}{OTHER}", "line 1: .*more than one record in the line"),
        (f"{ONE}, {OTHER}", "line 1: .*more than one record in the line"),
        (f"{ONE}}}", r"line 1: something follows the record: '}'"),
        (f"{ONE}\r{OTHER}\r", "line 1: the lines end with CR alone"),
        (repr(GOOD), "line 1: written as Python shows a dict"),
        (f"{ONE}\n\0\0\0\0", "line 2: holds NUL bytes"),
        ("\0" * 2000, "line 1: holds NUL bytes"),
        ("id,prompt_id,text,correct\na,p,x,1\n", "line 1: not a JSON object: it begins with 'id,prompt_id"),
        ("null", "line 1: not a JSON object: it begins with 'null'"),
        (json.dumps(ONE), "line 1: not a JSON object"),
        (ONE.replace("hello", "caf\udce9"), "line 1: the text is not UTF-8: byte 0xe9 is the line's byte 43 .*iconv"),
        (ONE.replace("hello", "\udced\udca0\udcbd"), "line 1: the text is not UTF-8: byte 0xed"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_what_mends_it(tmp_path, content, says):
    path = tmp_path / "t.jsonl"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=says) as caught:
        list(read_traces(path))
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"doc_id": 0, "doc": {}, "target": "9", "resps": [["4"]], "filtered_resps": ["9"]}, "lm-evaluation-harness"),
        (
            {"id": "b", "custom_id": "t", "response": {}, "error": None},
            r"OpenAI's Batch API.*msifr convert \S+/t\.jsonl --prompts",
        ),
        ({"custom_id": "t", "method": "POST", "url": "/v1", "body": {}}, "a request for OpenAI's Batch API"),
        ({"instruction": "a", "input": "", "output": "b"}, r"Alpaca.*msifr convert \S+/t\.jsonl --filter numeric -o"),
        ({"id": "x", "conversations": []}, r"ShareGPT.*msifr convert \S+/t\.jsonl --filter"),
        ({"prompt": "q", "completions": ["a"], "rewards": [1]}, r"TRL.*msifr convert \S+/t\.jsonl -o traces"),
        ({"prompt": "q", "outputs": [{"text": "a"}]}, r"vLLM.*msifr convert"),
        ({"problem": "q", "generations": ["a"], "correctness_math_verify": [True]}, r"Open R1.*msifr convert"),
        ({"instruction": "q", "generation": "a", "model_name": "m"}, r"distilabel.*msifr convert"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "training data"),
        ({"messages": []}, r"a chat \(messages\)"),
        ({"question": "q", "answer": "#### 9"}, "benchmark"),
        ({"prompt_id": "p", "prompt": "q", "gold": "9"}, "a prompt, at which no attempt was made .*msifr generate"),
        ({"prompt_id": "p", "messages": []}, "a prompt, at which no attempt was made"),
        ({"kind": "run", "settings": {}, "version": 1}, r"the ledger of a run .*without \.ledger"),
        ({"kind": "attempt", "id": "a", "prompt_id": "p", "outcome": "accepted", "seconds": 0}, "the ledger of a run"),
        ({"schema_version": 2}, "a policy file"),
    ],
)
def test_records_of_other_tools_and_files_are_known(tmp_path, record, says):
    """The fields that are missing are still named first, and how a trace looks last."""
    with pytest.raises(InputError, match=rf"line 1: missing required field .*: this is .*{says}") as caught:
        list(read_traces(lines(tmp_path, record)))
    assert EXAMPLE in caught.value.remedy
    whole = record | GOOD  # other keys are ignored, whatever they are
    assert [trace.id for trace in read_traces(lines(tmp_path, whole))] == ["a"]


def test_a_trace_that_lacks_its_text_is_no_prompt(tmp_path):
    with pytest.raises(InputError, match=r"missing required field `text` \(a trace is a line such as"):
        list(read_traces(lines(tmp_path, GOOD | {"prompt": "q", "text": None})))


@pytest.mark.parametrize("correct", ["yes", 2, -1, 0.5, "true", [1], {}])
def test_what_values_of_the_outcome_count_is_said(tmp_path, correct):
    with pytest.raises(InputError, match=r"`correct` is .*, must be true or false \(or 1 or 0\)"):
        list(read_traces(lines(tmp_path, GOOD | {"correct": correct})))


def test_all_that_is_missing_is_said_at_once_with_an_example(tmp_path):
    with pytest.raises(
        InputError, match=r"line 1: missing required field `prompt_id` \(and `text`, `correct`\)"
    ) as caught:
        list(read_traces(lines(tmp_path, {"id": "a", "output": "hello"})))
    assert EXAMPLE in caught.value.remedy
    assert "\n" not in str(caught.value)
    pasted = tmp_path / "pasted.jsonl"
    pasted.write_text(EXAMPLE)
    assert [trace.id for trace in read_traces(pasted)] == ["a1"]
    assert EXAMPLE in SCHEMA_HELP
    for field in Trace.__struct_encode_fields__:
        assert field in SCHEMA_HELP


@pytest.mark.parametrize("write", [lines, as_parquet])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_the_survivors_of_a_run_with_a_policy_are_refused_whatever_is_skipped(tmp_path, write, on_error):
    """A discarded attempt is not malformed: nobody knows its outcome, and the others do not stand for it."""
    finished = GOOD | {"status": "finished"}
    discarded = {name: value for name, value in GOOD.items() if name != "correct"} | {"id": "b", "status": "discarded"}
    path = write(tmp_path, finished, discarded)
    with pytest.raises(InputError, match=r"(line|row) 2: a discarded attempt: .*survivors.*--policy none"):
        list(read_traces(path, on_error=on_error))
    audited = discarded | {"correct": True}  # finished in spite of the policy
    assert [trace.id for trace in read_traces(write(tmp_path, finished, audited), on_error=on_error)] == ["a", "b"]


def test_a_line_that_is_too_long_is_malformed(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        for name, size in (("a", 1), ("b", LONGEST_LINE), ("c", 1)):
            file.write(json.dumps(GOOD | {"id": name, "text": "x" * size}) + "\n")
    report = ReadReport()
    assert [trace.id for trace in read_traces(path, on_error="skip", report=report)] == ["a", "c"]
    assert "line 2: longer than" in report.errors[0]


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
    for name in ("b.jsonl", "a.jsonl.gz", "c.txt", "D.JSONL", "b.ledger.jsonl"):
        (tmp_path / name).write_text("")
    assert [p.name for p in find_trace_files([tmp_path])] == ["D.JSONL", "a.jsonl.gz", "b.jsonl"]
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


def test_attempts_that_could_not_be_made_are_left_out_and_counted(tmp_path):
    """A run through a server writes them into its output, which is fitted on."""
    path = tmp_path / "out.jsonl"
    good = {"id": "a", "prompt_id": "p", "text": "1", "correct": True, "status": "finished"}
    failed = {"id": "b", "prompt_id": "p", "text": "", "status": "failed", "error": "HTTP 400: too long"}
    path.write_bytes(f"{json.dumps(good)}\n{json.dumps(failed)}\n".encode())
    report = ReadReport()
    assert [trace.id for trace in read_traces(path, report=report)] == ["a"]
    assert (report.read, report.failed, report.skipped) == (1, 1, 0)


def test_what_is_nested_too_deeply_is_said_so(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n")
    with pytest.raises(InputError, match=r"t\.jsonl, line 1: nested too deeply"):
        list(read_traces(tmp_path / "t.jsonl"))
