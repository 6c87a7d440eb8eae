"""The same traces, in any order and in any files, give the same table, the same split and the same certificate."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import run
from makers import make_table, make_traces
from msifr_calibration import Family, FitOptions, NetworkOptions, fit_families, fit_policy
from msifr_calibration.certify import key_of
from msifr_integrations.cli.options import ReadingOptions
from msifr_integrations.cli.tables import load_table
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.history import with_history
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import write_traces
from msifr_policy.validators import History, Length, default_validators

SCHEDULE = EveryUnits(20, "characters")
STORY = "Ann has {} apples, buys {} more at the market, and gives {} of them to her brother Bob. How many are left?"
FAST = NetworkOptions(hidden=8, epochs=1, device="cpu")


def some_traces(n_prompts=60, attempts=3, *, seed=0, numbered=True):
    """Attempts with prompts of their own, some of which are near-duplicates under other ids; of two models."""
    traces = []
    for i, trace in enumerate(make_traces(n_prompts, attempts=attempts, seed=seed)):
        p, a = map(int, trace.id[1:].split("/"))
        text = STORY.format(p, p + 3, 2 * p) if p % 10 else STORY.format(p + 1, p + 4, 2 * p + 2).upper()
        asked = f"{text} Try {a}." if p % 5 == 4 else text  # one prompt, recorded with several texts
        traces.append(
            msgspec.structs.replace(
                trace,
                id=trace.id if numbered else f"{i * 7919 % 1000:03d}-{p}",
                prompt=asked,
                model=f"m{i % 2}",
                dataset=f"d{i % 3}",
            )
        )
    return traces


def shuffled(traces, seed):
    return [traces[i] for i in np.random.default_rng(seed).permutation(len(traces))]


def table_of(traces, *validators):
    return build_evidence(traces, SCHEDULE, validators or default_validators())


def assert_same_table(one, other):
    for name in (field.name for field in fields(EvidenceTable)):
        a, b = getattr(one, name), getattr(other, name)
        assert np.array_equal(a, b, equal_nan=True) if name == "values" else np.all(a == b), name


def whole(fit):
    """Everything that a policy file holds."""
    return msgspec.json.encode(fit.file)


@settings(max_examples=20)
@given(st.permutations(range(24)), st.booleans())
def test_a_table_is_the_same_in_any_order_of_traces(order, numbered):
    """Also where prompts are near-duplicates, have several texts, and attempts know of those before them."""
    traces = some_traces(12, 2, numbered=numbered)
    table = table_of(traces, Length(), History())
    assert table.merged
    assert_same_table(table, table_of([traces[i] for i in order], Length(), History()))
    assert list(table.attempt_ids) == sorted(table.attempt_ids)
    assert list(table.prompt_ids) == sorted(table.prompt_ids)


def test_which_text_and_which_id_stand_for_a_prompt_does_not_hang_on_the_order():
    """Of texts that are alike pair by pair but not at the ends, which are one depends on which is looked at first."""
    words = ["".join(letters) for letters in np.random.default_rng(0).choice(list("abcdefgh"), (100, 12))]
    changed = [" ".join([word + "x" * (i < n) for i, word in enumerate(words)]) for n in range(0, 40, 8)]
    traces = [msgspec.structs.replace(trace, prompt=text) for trace, text in zip(make_traces(5), changed, strict=True)]
    expected = table_of(traces, Length())
    assert 0 < expected.merged < 4
    for seed in range(20):
        assert_same_table(expected, table_of(shuffled(traces, seed), Length()))
    # Of several texts under one id, that of the first attempt by its id counts: here it is another prompt's.
    asked = ("What is 2 + 3?", "Name a prime below ten.", "What is 2 + 3?", "Who?")
    names = (("p", "p/0"), ("p", "p/1"), ("q", "q/0"), ("r", "r/0"))
    traces = [
        msgspec.structs.replace(trace, prompt=text, prompt_id=prompt_id, id=name)
        for trace, text, (prompt_id, name) in zip(traces, asked, names, strict=False)
    ]
    assert [table_of(order, Length()).merged for order in (traces, traces[::-1])] == [1, 1]


def test_a_fingerprint_tells_other_traces_apart():
    traces = some_traces(6, 2)
    seen = {table_of(traces, Length()).fingerprint}
    text = traces[3].text[::-1]
    for field, value in (("id", "new"), ("prompt_id", "new"), ("text", text), ("accepted", not traces[3].accepted)):
        other = [*traces[:3], msgspec.structs.replace(traces[3], **{field: value}), *traces[4:]]
        seen.add(table_of(other, Length()).fingerprint)
    seen.add(table_of(traces[1:], Length()).fingerprint)
    assert len(seen) == 6


def test_parts_of_a_table_have_one_fingerprint_in_any_order():
    table, rng = make_table(20, attempts=2), np.random.default_rng(0)
    for part in (rng.permutation(40), rng.permutation(40)[:25]):
        taken, turned = table.take(part), table.take(part[::-1])
        assert (taken.fingerprint == turned.fingerprint) != (taken.attempt_ids == turned.attempt_ids)
        assert (taken.fingerprint == table.fingerprint) == (len(part) == 40)
        assert_same_table(taken.in_order(), turned.in_order())
        assert_same_table(taken.in_order(), table.take(np.sort(part)))
    assert table.in_order() is table
    names = tuple(f"{9 - i % 10}{i}" for i in range(20))
    turned = replace(table, prompt_ids=names).in_order()  # prompts alone out of order
    assert list(turned.prompt_ids) == sorted(names)
    assert [turned.prompt_ids[p] for p in turned.prompt] == [names[p] for p in table.prompt]
    assert table.take(np.zeros(0, dtype=np.int64)).in_order().n_attempts == 0


@pytest.mark.parametrize(
    ("numbered", "options"),
    [
        (True, {"method": "linear", "weigh": "attempts", "randomise": True}),
        (False, {"method": "auto"}),
        (False, {"method": "linear", "scope": "these prompts"}),
        (False, {"method": "isotonic", "accepted_per_prompt": 1}),
        (False, {"method": "logistic", "certify_groups": True}),
    ],
    ids=["by attempts", "auto", "these prompts", "quota", "by group"],
)
def test_a_fit_is_the_same_in_any_order(numbered, options):
    """Of traces, and of the attempts of a table."""
    options = FitOptions(max_false_reject=0.25, confidence=0.8, **options)
    traces = some_traces(80, 3, numbered=numbered)
    table = table_of(traces)
    fit, others = fit_policy(table, options, traces=traces), shuffled(traces, 1)
    turned = table.take(np.random.default_rng(2).permutation(table.n_attempts))
    for same in (table_of(others), turned):
        again = fit_policy(same, options, traces=others)
        assert whole(again) == whole(fit)
        assert again.certifying.attempt_ids == fit.certifying.attempt_ids
    assert fit.file.certificate.certified  # or the test would not have tested much


@pytest.mark.parametrize("method", ["linear", "learned"])
def test_families_may_come_in_any_order_and_under_any_names(method):
    options = FitOptions(max_false_reject=0.25, confidence=0.8, method=method, network=FAST)
    parts = []
    for seed in range(3):
        traces = some_traces(12 if method == "learned" else 50, 2, seed=seed)
        parts.append([msgspec.structs.replace(trace, id=f"{seed}/{trace.id}") for trace in traces])
    families = [Family(f"f{i}", table_of(traces), traces, pool="all") for i, traces in enumerate(parts)]
    fits = fit_families(families, options)
    turned = [
        Family(f"z{9 - i}", table_of(shuffled(parts[i], i)), shuffled(parts[i], 9), pool="all") for i in (1, 0, 2)
    ]
    again = fit_families(turned, options)
    pools = {tuple(fit.file.certificate.pool) for fit in [*fits, *again]}
    assert pools == {("f0", "f1", "f2"), ("z7", "z8", "z9")}
    assert fits[0].file.certificate.certified or method == "learned"
    assert [nameless(again[i]) for i in (1, 0, 2)] == [nameless(fit) for fit in fits]
    assert key_of([family.table for family in families]) == key_of([family.table for family in turned])


def nameless(fit):
    """Everything that a policy file holds, but the names of families."""
    bare = msgspec.structs.replace(fit.file.certificate, pool=[], message="")
    return msgspec.json.encode(msgspec.structs.replace(fit.file, certificate=bare))


def test_history_by_unnumbered_ids_does_not_hang_on_the_place_in_a_file():
    """A file sorted by outcome would else tell each attempt's outcome by its place."""
    traces = some_traces(40, 3, numbered=False)
    by_outcome = with_history(table_of(sorted(traces, key=lambda trace: not trace.accepted), Length()))
    assert_same_table(by_outcome, with_history(table_of(traces, Length())))


def test_files_may_come_in_any_order_and_be_one_file(tmp_path):
    traces = shuffled(some_traces(50, 3), 5)
    write_traces(tmp_path / "a.jsonl", traces[:60])
    write_traces(tmp_path / "b.jsonl", traces[60:])
    write_traces(tmp_path / "whole.jsonl", traces[::-1])
    fits = []
    for i, names in enumerate((["a", "b"], ["b", "a"], ["whole"])):
        out = tmp_path / f"{i}.json"
        files = [tmp_path / f"{name}.jsonl" for name in names]
        run("fit", *files, "-o", out, "--max-false-reject", "0.2", "--confidence", "0.8", "--holdout", "0.1")
        fits.append(json.loads(out.read_text()))
    assert fits[0] == fits[1] == fits[2]
    assert fits[0]["certificate"]["certified"]


def test_families_in_files_may_come_in_any_order(tmp_path):
    for seed, name in enumerate("ab"):
        write_traces(tmp_path / f"{name}.jsonl", some_traces(40, 2, seed=seed))
    for out, names in (("one", "ab"), ("other", "ba")):
        files = [tmp_path / f"{name}.jsonl" for name in names]
        run("fit", *files, "--together", "-o", tmp_path / out, "--posterior", "linear", "--max-false-reject", "0.2")
    for name in "ab":
        assert (tmp_path / "one" / f"{name}.json").read_bytes() == (tmp_path / "other" / f"{name}.json").read_bytes()


def test_the_automatic_schedule_looks_at_all_traces(tmp_path):
    """More than any sample from the beginning: short ones in one file, long ones in another."""
    made = make_traces(1)[0]
    for name, length in (("short", 40), ("long", 4000)):
        write_traces(
            tmp_path / f"{name}.jsonl",
            [
                msgspec.structs.replace(made, id=f"{name}{i}", text="x" * length, tokens=None, token_ends=None)
                for i in range(2100)
            ],
        )
    reading = ReadingOptions(None, "auto", "raise")
    tables = [
        load_table([str(tmp_path / f"{name}.jsonl") for name in names], reading, None, [Length()])
        for names in (("short", "long"), ("long", "short"))
    ]
    assert tables[0].table.schedule == tables[1].table.schedule
    assert tables[0].table.fingerprint == tables[1].table.fingerprint
    assert tables[0].table.schedule.first == round(2020 / 40)
