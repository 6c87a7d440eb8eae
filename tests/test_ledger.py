"""The ledger: accounts add up, and half-written files are read up to what is whole."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Entry, Header, Spent, encode_line, read_ledger, total

SETTINGS = {"seed": 0, "markers": ["a", "b"]}


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    made = []
    for i in range(draw(st.integers(0, 8))):
        stages = tuple(draw(st.lists(st.integers(0, 50), max_size=5)))
        outcome = draw(st.sampled_from(["accepted", "unaccepted", "discarded"]))
        made.append(
            Entry(
                id=f"a{i}",
                prompt_id=f"p{i // 2}",
                outcome=outcome,
                tokens=sum(stages),
                prompt_tokens=draw(st.integers(0, 9)),
                stages=stages,
                reason="" if outcome == "accepted" else draw(st.sampled_from(["filter", "length", "arithmetic"])),
                wasted=draw(st.integers(0, sum(stages))),
                failures=draw(st.dictionaries(st.sampled_from(["x: ValueError", "y: KeyError"]), st.integers(1, 3))),
                seconds=float(i),
            )
        )
    return made


def write(path: Path, records: list[Entry]) -> bytes:
    whole = b"".join(map(encode_line, [Header(settings=SETTINGS), *records]))
    path.write_bytes(whole)
    return whole


@given(entries())
def test_every_way_of_cutting_the_tokens_gives_the_same_sum(records: list[Entry]) -> None:
    sums = total(records)
    assert sums.tokens == sum(entry.tokens for entry in records)
    assert sums.tokens == sum(spent.tokens for spent in sums.by_stage.values())
    assert sums.tokens == sum(spent.tokens for spent in sums.by_outcome.values())
    assert sums.attempts == len(records) == sums.accepted + sums.unaccepted + sums.discarded
    assert sum((spent for spent in sums.by_reason.values()), Spent()).attempts == sums.unaccepted + sums.discarded
    assert sums.tokens_wasted_after_decision == sum(entry.wasted for entry in records)
    assert sums.prompt_tokens == sum(entry.prompt_tokens for entry in records)
    assert sum(sums.failures.values()) == sum(sum(entry.failures.values()) for entry in records)


@given(entries(), entries())
def test_totals_add_up_over_ledgers(one: list[Entry], other: list[Entry]) -> None:
    both, first, second = total([*one, *other]), total(one), total(other)
    assert both.tokens == first.tokens + second.tokens
    for k in both.by_stage:
        assert both.by_stage[k] == first.by_stage.get(k, Spent()) + second.by_stage.get(k, Spent())


def test_totals_by_hand() -> None:
    records = [
        Entry(id="a", prompt_id="p", outcome="accepted", tokens=9, prompt_tokens=3, stages=(4, 5),
              seconds=1.0),
        Entry(id="b", prompt_id="p", outcome="discarded", tokens=4, prompt_tokens=3, stages=(4,),
              reason="arithmetic", seconds=2.0),
        Entry(id="c", prompt_id="q", outcome="unaccepted", tokens=7, prompt_tokens=2, stages=(0, 7),
              reason="filter", seconds=1.5),
    ]  # fmt: skip
    sums = total(records)
    assert (sums.attempts, sums.accepted, sums.unaccepted, sums.discarded) == (3, 1, 1, 1)
    assert (sums.tokens, sums.prompt_tokens, sums.seconds) == (20, 8, 2.0)
    assert sums.by_stage == {1: Spent(2, 8), 2: Spent(2, 12)}
    assert sums.by_reason == {"arithmetic": Spent(1, 4), "filter": Spent(1, 7)}
    assert total([]).tokens == 0


@given(records=entries(), cut=st.integers(0, 10_000))
def test_a_ledger_cut_anywhere_reads_up_to_its_last_whole_line(
    tmp_path_factory: pytest.TempPathFactory, records: list[Entry], cut: int
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "run.ledger.jsonl"
    whole = write(path, records)
    cut = min(cut, len(whole))
    path.write_bytes(whole[:cut])
    lines = whole[:cut].count(b"\n")
    if lines == 0:
        with pytest.raises(InputError, match="no header"):
            read_ledger(path)
        return
    ledger = read_ledger(path)
    assert ledger.settings == SETTINGS
    assert ledger.entries == records[: lines - 1]
    assert ledger.seconds == max((entry.seconds for entry in ledger.entries), default=0.0)


def test_what_is_no_ledger_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "run.ledger.jsonl"
    one = Entry(id="a", prompt_id="p", outcome="accepted", tokens=1, prompt_tokens=1, stages=(1,), seconds=0.0)
    header, line = encode_line(Header(settings=SETTINGS)), encode_line(one)
    for content, message in [
        (header + line + line, r"line 3: attempt 'a' is in the ledger twice"),
        (line, r"line 1: a ledger has one header"),
        (header + header, r"line 2: a ledger has one header"),
        (header + b"{}\n", r"line 2: not a ledger line"),
        (header + b"\xff\n", r"line 2: not a ledger line"),
        (header + line.replace(b'"tokens":1', b'"tokens":2'), r"line 2: .*`stages` sum to 1, not to 2"),
        (encode_line(Header(settings={}, version=99)), r"ledger version 99"),
        (b"", r"no header"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_ledger(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_ledger(tmp_path / "absent")


def test_the_former_word_for_what_was_not_accepted_is_read(tmp_path: Path) -> None:
    """Nothing but the outcome changes, whatever the other fields say."""
    path = tmp_path / "run.ledger.jsonl"
    says = '"outcome":"rejected"'
    one = Entry(
        id=says, prompt_id="p", outcome="unaccepted", tokens=1, prompt_tokens=1, stages=(1,), seconds=0.0, reason=says
    )
    now = encode_line(Header(settings={"filter": says})) + encode_line(one)
    path.write_bytes(now.replace(b'"outcome":"unaccepted"', b'"outcome":"rejected"'))
    assert path.read_bytes() != now
    ledger = read_ledger(path)
    assert ledger.entries == [one]
    assert ledger.settings == {"filter": says}
    assert total(ledger.entries).unaccepted == 1


def test_an_entry_that_does_not_add_up_cannot_be_made() -> None:
    good = {
        "id": "a",
        "prompt_id": "p",
        "outcome": "accepted",
        "tokens": 3,
        "prompt_tokens": 0,
        "seconds": 0.0,
    }
    for wrong in ({"stages": (1,)}, {"stages": (4, -1)}, {"stages": (3,), "wasted": 4}):
        with pytest.raises(ValueError, match=r"sum to|negative"):
            Entry(**good, **wrong)  # type: ignore[arg-type]
    assert msgspec.json.decode(encode_line(Entry(**good, stages=(1, 2))))["stages"] == [1, 2]  # type: ignore[arg-type]
