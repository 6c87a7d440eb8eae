"""`--map`: where the fields of traces are in records of another shape."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from msifr_integrations.cli import main
from msifr_policy.errors import InputError
from msifr_policy.records.traces import ReadReport, field_map, read_traces

RECORD = {
    "q": "2+3?",
    "meta": {"src": "sums", "a.b": 7},
    "choices": [{"message": {"content": "5"}}, {"message": {"content": "6"}}],
    "scores": [0.9, 0.2],
    "flat.name": "whole",
}


def told(*words, record=RECORD):
    return field_map(words).attempts(record, "here")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("text=choices[0].message.content", "5"),
        ("text=choices[-1].message.content", "6"),
        ('gold=meta["a.b"]', 7),
        ("gold=meta['a.b']", 7),
        ("group=meta.src", "sums"),
        ("group=flat.name", "whole"),  # a column with a dot in its name
        ("correct=scores[0]>=0.9", True),
        ("correct=scores[0]>0.9", False),
        ("correct=scores[1]==0.2", True),
        ("correct=meta.src==sums", True),
        ("correct=meta.src==sum", False),
        ("correct = scores[1] >= -1e3", True),
    ],
)
def test_a_path_is_followed(word, value):
    (attempt,) = told(word)
    assert attempt == {word.partition("=")[0].strip(): value}


@pytest.mark.parametrize("path", ["nothing", "q.deeper", "q[0]", "choices[7].message", "meta[0]", "choices.message"])
def test_a_path_that_leads_nowhere_gives_no_value(path):
    assert told(f"text={path}") == [{}]


def test_every_place_of_a_list_is_an_attempt():
    words = ("text=choices[*].message.content", "correct=scores[*]>=0.5", "prompt=q")
    assert told(*words) == [
        {"prompt": "2+3?", "text": "5", "correct": True},
        {"prompt": "2+3?", "text": "6", "correct": False},
    ]
    with pytest.raises(InputError, match="here: lists of different length: 2 for `text`, 3 for `gold`"):
        told("text=choices[*].message.content", "gold=more[*]", record=RECORD | {"more": [1, 2, 3]})


def test_chats_and_texts_of_json_are_what_they_say():
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert told("prompt=m", "text=m", record={"m": chat}) == [{"prompt": "q", "text": "a"}]
    assert told("text=packed.a[1]", record={"packed": json.dumps({"a": [1, "x"]})}) == [{"text": "x"}]
    assert told("correct=ok", record={"ok": "True"}) == [{"correct": True}]
    assert told("correct=score>=0.5", record={"score": "0.7"}) == [{"correct": True}]
    assert told("correct=ok==false", record={"ok": "False"}) == [{"correct": True}]
    with pytest.raises(InputError, match="`correct` cannot be compared: score is 'high', not a number"):
        told("correct=score>=0.5", record={"score": "high"})


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("text", "not of the form FIELD=PATH"),
        ("answer=a", "unknown field 'answer'"),
        ("text=a..b", "is not a path"),
        ("text=a[", "is not a path"),
        ("text=.a", "is not a path"),
        ("text=a[x]", "is not a path"),
        ("text=a[*].b[*]", r"\[\*\] stands twice"),
        ("text=a>=1", r"is not a path \(only `correct` can be a comparison"),
        ("correct=a>=b", "cannot compare with 'b'"),
        ("correct=a>=true", "cannot compare with 'true'"),
        ("correct=a>=nan", "cannot compare with 'nan'"),
        ("correct=__import__('os')", "is not a path"),
    ],
)
def test_words_that_tell_nothing_are_refused(word, says):
    with pytest.raises(InputError, match=says) as caught:
        field_map([word])
    assert caught.value.remedy
    with pytest.raises(InputError, match="named twice"):
        field_map(["text=a", "text=b"])


NAME = st.text("ab.[]*\"'=><0-1 ", max_size=12)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=3),
    max_leaves=8,
)


@given(
    field=st.sampled_from(["text", "correct", "gold"]), path=NAME, record=st.dictionaries(st.sampled_from("ab"), VALUE)
)
def test_no_word_and_no_record_does_more_than_an_error(field, path, record):
    try:
        found = field_map([f"{field}={path}"]).attempts(record, "here")
    except InputError:
        return
    assert all(one.keys() <= {field} for one in found)


def write(tmp_path, kind, rows):
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
        return tmp_path / "t.parquet"
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "t.jsonl"


WORDS = ("text=choices[*].message.content", "prompt=q", "correct=scores[*]>=0.5", "group=meta.src")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_traces_are_read_with_ids_that_are_the_same_every_time(tmp_path, kind):
    path = write(tmp_path, kind, [RECORD, RECORD | {"q": "3+3?"}, RECORD])
    traces = list(read_traces(path, mapping=field_map(WORDS)))
    assert traces == list(read_traces([path], mapping=field_map(WORDS)))
    assert [(t.text, t.accepted, t.group) for t in traces] == [("5", True, "sums"), ("6", False, "sums")] * 3
    one, other = traces[0].prompt_id, traces[2].prompt_id
    assert [t.id for t in traces] == [f"{one}/0", f"{one}/1", f"{other}/0", f"{other}/1", f"{one}/2", f"{one}/3"]


def test_ids_of_records_stay_and_fields_can_be_left_out(tmp_path):
    own = {"id": "r", "prompt_id": "p", "text": "own", "correct": True, "schema": "not one", "score": 3}
    (trace,) = read_traces(write(tmp_path, "jsonl", [own]), mapping=field_map(["correct=score>=4", "schema="]))
    assert (trace.id, trace.prompt_id, trace.text, trace.accepted, trace.schema) == ("r", "p", "own", False, None)
    rows = [{"id": "r", "prompt_id": "p", "outs": ["a", "b"], "ok": [1, 0]}]
    traces = list(read_traces(write(tmp_path, "jsonl", rows), mapping=field_map(["text=outs[*]", "correct=ok[*]"])))
    assert [(t.id, t.text, t.accepted) for t in traces] == [("r/0", "a", True), ("r/1", "b", False)]


def test_what_a_map_does_not_find_is_malformed_and_can_be_skipped(tmp_path):
    path = write(tmp_path, "jsonl", [{"q": "2+3?", "out": "5", "score": 0.3}, {"q": "2+3?", "out": "5"}, {"out": "5"}])
    words = ["text=out", "prompt=q", "correct=score>=0.5"]
    with pytest.raises(InputError, match="line 2: no `correct`"):
        list(read_traces(path, mapping=field_map(words)))
    report = ReadReport()
    assert len(list(read_traces(path, mapping=field_map(words), on_error="skip", report=report))) == 1
    assert (report.skipped, len(report.errors)) == (2, 2)
    with pytest.raises(InputError, match=r"`correct` is 0\.3.*--map 'correct=score>=0\.5', quoted for the shell"):
        list(read_traces(path, mapping=field_map(["text=out", "prompt=q", "correct=score"])))


def test_commands_take_it(tmp_path):
    path = write(tmp_path, "jsonl", [RECORD, RECORD | {"q": "3+3?"}])
    words = [argument for word in WORDS for argument in ("--map", word)]
    result = CliRunner().invoke(main, ["score", str(path), *words])
    assert "4 attempts at 2 prompts, 2 accepted" in result.output
    result = CliRunner().invoke(main, ["score", str(path), "--map", "text=a["])
    assert result.exit_code == 2
    assert "is not a path" in result.output
    for command in ("fit", "evaluate", "simulate", "score", "convert"):
        assert "--map" in CliRunner().invoke(main, [command, "--help"]).output
