"""What a run made, for those who train on it: samples, pairs and data sets, and what their card says and does not."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import re
import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from fake_server import FakeServer
from makers import make_table
from msifr_calibration import fit_policy
from msifr_integrations.cli import main
from msifr_integrations.formats import export as exporting
from msifr_integrations.formats.export import ExportOptions, check_export, export_run
from msifr_integrations.formats.preference import PairCounts, PairOptions, make_pairs
from msifr_integrations.formats.written import Written, read_written
from msifr_integrations.generation.journal import AttemptRecord, ledger_path
from msifr_policy.audit import Audited
from msifr_policy.errors import InputError
from msifr_policy.filters import Message
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.ledger import Entry, Header, encode_line

PAIRS = ExportOptions(form="preference")
DATA = ExportOptions(form="datasets", pairs="one-per-prompt")
SETTINGS = {
    "attempts": 4, "accepted_per_prompt": None, "seed": 7, "temperature": 0.5, "top_k": 0, "top_p": 0.9,
    "max_new_tokens": 64, "engine": "slots", "prompt_count": 3, "model": "some-model", "filter": "numeric[auto]",
}  # fmt: skip


def attempt(prompt: str, number: int, kind: str, text: str, **changed: Any) -> tuple[AttemptRecord, Entry]:
    """The two lines of an attempt that was accepted, unaccepted, cut (unaccepted at its limit), discarded or failed."""
    status: Any = {"discarded": "discarded", "failed": "failed"}.get(kind, "finished")
    outcome: Any = "unaccepted" if kind == "cut" else kind
    correct = kind == "accepted" if status == "finished" else None
    reason = {"discarded": "arithmetic", "failed": "HTTP 400", "cut": "length", "unaccepted": "filter"}.get(kind, "")
    name, group = f"{prompt}/7/{number}", changed.pop("group", "sums")
    record = AttemptRecord(
        id=name, prompt_id=prompt, prompt=f"{prompt}?", text=text, status=status, seed=7, model="some-model",
        tokens=len(text), prompt_tokens=3, token_ends=[], correct=correct, group=group, gold="4",
        reason="arithmetic" if kind == "discarded" else None, **changed,
    )  # fmt: skip
    entry = Entry(
        id=name, prompt_id=prompt, group=group, outcome=outcome, tokens=len(text), prompt_tokens=3, seconds=1,
        stages=(len(text),) if text or kind != "discarded" else (), reason=reason,
        finish={"cut": "length", "discarded": "", "failed": ""}.get(kind, "end"),
    )  # fmt: skip
    return record, entry


ATTEMPTS = [
    attempt("p", 0, "accepted", "2 + 2 = 4, so 4"),
    attempt("q", 0, "unaccepted", "so 5"),
    attempt("p", 1, "unaccepted", "so 5"),
    attempt("p", 2, "discarded", "2 + 2 = 5"),
    attempt("r", 0, "accepted", "4"),
    attempt("p", 3, "unaccepted", "it is 5, I guess"),
    attempt("r", 1, "discarded", ""),
    attempt("q", 1, "failed", ""),
    attempt("s", 0, "discarded", "3 + 3 = 7", messages=(Message("system", "Be brief."), Message("user", "3+3?"))),
    attempt("s", 1, "accepted", "3 + 3 = 6"),
    attempt("s", 2, "discarded", "3 + 3"),
    attempt("t", 0, "cut", "1 + 1 + 1"),
    attempt("t", 1, "accepted", "so 2"),
]


def write_run(out: Path, attempts: list[tuple[AttemptRecord, Entry]], policy: str = "none", **changed: Any) -> Path:
    settings = SETTINGS | {"policy": policy} | changed
    out.write_bytes(b"".join(encode_line(record) for record, _ in attempts))
    ledger_path(out).write_bytes(b"".join(map(encode_line, [Header(settings=settings), *(e for _, e in attempts)])))
    os.utime(ledger_path(out), (1_790_000_000, 1_790_000_000))
    return out


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_run(tmp_path / "out.jsonl", ATTEMPTS)


@pytest.fixture(scope="module")
def policy() -> PolicyFile:
    fitted = fit_policy(make_table(150, attempts=2, loop=0.9), max_false_reject=0.1, confidence=0.9).file
    assert fitted.certificate.certified
    return fitted


@contextmanager
def little_room(most: int) -> Iterator[None]:
    """No file gets larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def under(file: PolicyFile) -> str:
    return file.policy().fingerprint


def lines(path: Path) -> list[Any]:
    data = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()]


def sides(path: Path) -> list[tuple[str, str, str, bool]]:
    return [
        (one["prompt_id"], one["chosen_id"][-1], one["rejected_id"][-1], one["rejected_is_prefix"])
        for one in lines(path)
    ]


def test_a_pair_for_each_prompt_that_has_both_sides(out: Path) -> None:
    to = out.parent / "pairs.jsonl"
    exported = export_run(out, to, PAIRS)
    # Of p the finished one of nearest length; s has prefixes alone; t's is finished, but cut off.
    assert sides(to) == [("p", "0", "3", False), ("s", "1", "0", True), ("t", "1", "0", True)]
    assert exported.pairs == PairCounts(
        pairs=3, prefixes=2, prompts=3, prompts_seen=5, only_accepted=1, none_accepted=1, contained=0
    )
    assert exported.samples is None
    first, second, _ = lines(to)
    assert first == {
        "prompt": [{"role": "user", "content": "p?"}],
        "chosen": [{"role": "assistant", "content": "2 + 2 = 4, so 4"}],
        "rejected": [{"role": "assistant", "content": "it is 5, I guess"}],
        "prompt_id": "p",
        "chosen_id": "p/7/0",
        "rejected_id": "p/7/3",
        "rejected_outcome": "unaccepted",
        "rejected_is_prefix": False,
        "rejected_reason": "",
        "weight": 1.0,
        "group": "sums",
    }
    assert second["prompt"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "3+3?"}]
    assert (second["rejected_outcome"], second["rejected_reason"]) == ("discarded", "arithmetic")


@pytest.mark.parametrize(
    ("rejected", "wanted"),
    [
        ("any", ["p01", "p02", "p03", "s10", "t10"]),
        ("finished", ["p01", "p03", "t10"]),
        ("discarded", ["p02", "s10"]),
    ],
)
def test_all_pairs(out: Path, rejected: Any, wanted: list[str]) -> None:
    to = out.parent / "pairs.jsonl.gz"
    exported = export_run(out, to, ExportOptions(form="preference", pairs="all", rejected=rejected))
    assert [f"{prompt}{chosen}{other}" for prompt, chosen, other, _ in sides(to)] == wanted
    # "3 + 3" begins the chosen text: it cannot be both what is wanted and what is not.
    assert exported.pairs is not None
    assert exported.pairs.contained == (rejected != "finished")


def test_what_the_filter_could_not_judge_is_not_rejected(out: Path) -> None:
    late = attempt("p", 9, "unaccepted", "2 + 2 = 4, yes")  # in length the closest to the chosen one
    late = late[0], msgspec.structs.replace(late[1], failures={"final filter: timed out": 1, "arithmetic: KeyError": 1})
    write_run(out, [*ATTEMPTS, late])
    exported = export_run(out, out.parent / "pairs.jsonl", PAIRS)
    assert sides(out.parent / "pairs.jsonl")[0] == ("p", "0", "3", False)
    assert exported.pairs is not None
    assert (exported.pairs.pairs, exported.pairs.unjudged) == (3, 1)
    assert exported.remarks == ("1 attempts are on no side of a pair: the final filter could not judge them",)


def test_pairs_do_not_depend_on_the_order_of_attempts(tmp_path: Path) -> None:
    """Nor on their lengths: which accepted attempt is chosen is drawn by a hash of its id."""
    rng = random.Random(1)  # noqa: S311
    attempts = [
        attempt(f"p{i}", n, rng.choice(("accepted", "unaccepted", "discarded")), "x" * rng.randint(1, 40) + str(n))
        for i in range(60)
        for n in range(6)
    ]
    made = []
    for turn in range(2):
        out = write_run(tmp_path / f"out{turn}.jsonl", attempts)
        export_run(out, tmp_path / "pairs.jsonl", PAIRS)
        made.append(sorted(sides(tmp_path / "pairs.jsonl")))
        rng.shuffle(attempts)
    assert made[0] == made[1]
    assert len(made[0]) > 40
    by_id = {record.id: record for record, _ in attempts}
    shortest = longest = 0
    for prompt, chosen, _, _ in made[0]:
        sizes = {r.id: len(r.text) for r in by_id.values() if r.prompt_id == prompt and r.correct}
        if len(sizes) > 1:
            shortest += sizes[f"{prompt}/7/{chosen}"] == min(sizes.values())
            longest += sizes[f"{prompt}/7/{chosen}"] == max(sizes.values())
    assert min(shortest, longest) >= 5


def test_pairs_of_far_apart_attempts_take_little_memory(tmp_path: Path) -> None:
    """12,000 texts of 1,000 bytes, the second attempt at a prompt 6,000 lines after the first: 12 MB."""
    n = 6_000
    kinds = (True, False)
    attempts = (
        Written(id=f"p{i}/{turn}", prompt_id=f"p{i}", prompt="?", text=f"{turn}{i}" + "x" * 1000, correct=correct)
        for turn, correct in enumerate(kinds)
        for i in range(n)
    )
    counts = PairCounts()
    tracemalloc.start()
    try:
        assert sum(1 for _ in make_pairs(attempts, tmp_path, PairOptions(), counts)) == n
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert (counts.pairs, counts.prompts, counts.prefixes) == (n, n, 0)
    assert list(tmp_path.iterdir()) == []


def test_pairs_in_parquet(out: Path) -> None:
    export_run(out, out.parent / "pairs.jsonl", PAIRS)
    export_run(out, out.parent / "pairs.parquet", PAIRS)
    assert pq.read_table(out.parent / "pairs.parquet").to_pylist() == lines(out.parent / "pairs.jsonl")


def test_samples_with_where_they_are_from(out: Path) -> None:
    to = out.parent / "good.parquet"
    exported = export_run(out, to, ExportOptions(form="parquet"))
    assert (exported.samples, exported.prompts, exported.n_effective) == (4, 4, 4.0)
    row = pq.read_table(to).to_pylist()[2]
    assert row == {
        "messages": [{"role": "user", "content": "s?"}, {"role": "assistant", "content": "3 + 3 = 6"}],
        "prompt_id": "s", "id": "s/7/1", "group": "sums", "weight": 1.0, "gold": "4", "score": None, "tokens": 9,
        "model": "some-model", "sampling": "temperature 0.5, top_k 0, top_p 0.9", "filter": "numeric[auto]", "seed": 7,
        "policy": "none",
    }  # fmt: skip


def weighted(tmp_path: Path, *weights: float) -> Path:
    out = tmp_path / "weighted.jsonl"
    records = [json.loads(encode_line(attempt("p", i, "accepted", "4")[0])) for i in range(len(weights))]
    out.write_text("".join(json.dumps(r | {"weight": w}) + "\n" for r, w in zip(records, weights, strict=True)))
    return out


def test_weights_are_kept_or_refused(tmp_path: Path) -> None:
    out = weighted(tmp_path, 1, 3)
    export_run(out, tmp_path / "good.jsonl")
    assert [one.get("weight") for one in lines(tmp_path / "good.jsonl")] == [None, 3.0]
    exported = export_run(out, tmp_path / "good.parquet", ExportOptions(form="parquet"))
    assert exported.n_effective == pytest.approx(16 / 10)
    assert "train with `weight`" in exported.remarks[0]
    assert pq.read_table(tmp_path / "good.parquet")["weight"].to_pylist() == [1.0, 3.0]
    with pytest.raises(InputError, match=r"has the weight 3\.0, for which this form has no column"):
        export_run(out, tmp_path / "lost.parquet")
    assert not (tmp_path / "lost.parquet").exists()
    export_run(out, tmp_path / "data", ExportOptions(form="datasets"))
    card = (tmp_path / "data" / "README.md").read_text()
    assert "The weights sum to 4.0; these samples tell as much as 1.6 of equal weight." in card
    for bad in (-1.0, float("inf"), "much"):
        with pytest.raises(InputError, match="not an attempt of a run"):
            export_run(weighted(tmp_path, bad), tmp_path / "good.jsonl")  # type: ignore[arg-type]


def header_of(card: str) -> dict[str, str]:
    """The configurations of the YAML header, and the files of each."""
    _, header, _ = card.split("---\n", 2)
    return dict(re.findall(r"- config_name: (\w+)\n  data_files:\n  - split: train\n    path: (\S+)\n", header))


def test_a_data_set_with_its_card(out: Path, policy: PolicyFile) -> None:
    write_run(out, ATTEMPTS, under(policy), filter="", model="")
    policy.save(out.parent / "my-policy.json")
    to = out.parent / "data"
    options = msgspec.structs.replace(DATA, policy=str(out.parent / "my-policy.json"))
    exported = export_run(out, to, options)
    assert (exported.samples, exported.remarks) == (4, ())
    card = (to / "README.md").read_text()
    assert header_of(card) == {"default": "data/train-*.parquet", "preference": "preference/train-*.parquet"}
    for folder, rows in (("data", 4), ("preference", 3)):
        (path,) = (to / folder).glob("train-*.parquet")
        assert pq.read_metadata(path).num_rows == rows
    assert pq.read_table(to / "data" / "train-00000.parquet")["policy"][0].as_py() == "my-policy.json"
    certificate = policy.certificate
    for said in (
        "4 samples at 4 prompts",
        "3 pairs at 3 prompts",
        "| accepted | these samples | 4 | 29 |",
        "| discarded | stopped in flight by the policy | 4 | 23 |",
        "1 of the discarded attempts were never begun",
        "| arithmetic | 4 | 23 |",
        "| HTTP 400 | 1 | 0 |",
        f"Policy my-policy.json: {certificate.message}.",
        f"discarded {certificate.false_rejects} of\n  {certificate.n_accepted} (",
        f"certified is f ≤ {certificate.max_false_reject:g} with confidence {certificate.confidence:g}",
        "prompts drawn as those it was certified on",
        "| sums | 13 | 4 | 4 | | | |",
        "Every sample has the weight 1",
        "| run last written | 2026-09-21 |",
        "| sampling | temperature 0.5, top\\_k 0, top\\_p 0.9 |",
        "arXiv:2605.14062",
    ):
        assert said in card, said
    for name, bound in certificate.groups.items():
        worse = " may lose more than 0.1" if bound.upper > certificate.max_false_reject else ""
        share = bound.false_rejects / bound.n_accepted
        row = f"| {name} | 0 | 0 | 0 | {bound.false_rejects} of {bound.n_accepted} ({share:.1%}) | {bound.upper:.1%} |"
        assert f"{row}{worse} |" in card
    assert "may lose more than 0.1" in card
    assert "**This run differs from what was certified**" not in card
    assert "was made as the attempts that the certificate is about" in card


def test_the_card_of_a_run_with_an_autopilot_has_its_promise_and_asks_for_no_policy(
    out: Path, policy: PolicyFile
) -> None:
    audited = Audited(probability=0.5, k=1, posterior=0.1, reason="arithmetic")
    first, (record, entry), *others = ATTEMPTS
    attempts = [first, (record, msgspec.structs.replace(entry, audited=audited)), *others]
    write_run(out, attempts, "autopilot", autopilot={"max_false_reject": 0.05, "confidence": 0.9}, audit=0.5)
    exported = export_run(out, out.parent / "data", DATA)
    assert exported.remarks == ()
    card = " ".join((out.parent / "data" / "README.md").read_text().split())
    assert "With confidence 0.9, over the whole run, none that was at work loses more than 0.05" in card
    assert "weight 1: of the attempts that went on by chance (audits), 1, none was accepted" in card
    assert "| policy | autopilot |" in card
    assert pq.read_table(out.parent / "data" / "data" / "train-00000.parquet")["policy"][0].as_py() == "autopilot"
    policy.save(out.parent / "policy.json")
    with pytest.raises(InputError, match="had an autopilot, and no policy file"):
        export_run(out, out.parent / "good.jsonl", ExportOptions(policy=str(out.parent / "policy.json")))


def card_of(out: Path, **options: Any) -> str:
    to = out.parent / "card"
    export_run(out, to, ExportOptions(form="datasets", **options))
    return (to / "README.md").read_text()


def test_a_card_says_what_is_not_known_and_what_is_not_certified(out: Path, policy: PolicyFile) -> None:
    assert "no good sample was lost by that (f = 0)" in card_of(out)
    assert header_of(card_of(out)) == {"default": "data/train-*.parquet"}
    given = str(out.parent / "policy.json")
    other = msgspec.structs.replace(
        policy, provenance=msgspec.structs.replace(policy.provenance, models=("another-model",))
    )
    other.save(given)
    write_run(out, ATTEMPTS, under(other), accepted_per_prompt=2)
    exported = export_run(out, out.parent / "card", ExportOptions(form="datasets"))
    assert "give its file (--policy)" in exported.remarks[0]
    assert "whose file was not given" in card_of(out)
    card = card_of(out, policy=given)
    assert "**This run differs from what was certified**" in card
    assert "- models: some-model here, another-model there" in card
    assert "- quota: 2 accepted of at most 4 attempts per prompt here, none there" in card
    assert "was made as the attempts" not in card
    assert "attempts at it ended when it had its quota" in card
    nothing = msgspec.structs.replace(
        policy, thresholds=[], certificate=msgspec.structs.replace(policy.certificate, certified=False, message="none")
    )
    nothing.save(given)
    write_run(out, ATTEMPTS, under(nothing))
    card = card_of(out, policy=given)
    assert "Policy policy.json: none." in card
    assert "false-reject rate" not in card
    with pytest.raises(InputError, match="the run was under another policy"):
        export_run(
            write_run(out, ATTEMPTS, "FittedPolicy 0"),
            out.parent / "card",
            ExportOptions(form="datasets", policy=given),
        )
    with pytest.raises(InputError, match="the run had no policy"):
        card_of(write_run(out, ATTEMPTS), policy=given)
    ledger_path(out).unlink()
    with pytest.raises(InputError, match="has no ledger beside it"):
        card_of(out, policy=given)
    card = card_of(out)
    assert "what was dropped, and what it cost, is not known" in card
    assert "Nothing is known: there was no ledger" in card


def test_a_certificate_of_given_prompts_names_those_that_are_others(out: Path, policy: PolicyFile) -> None:
    scoped = msgspec.structs.replace(
        policy,
        certificate=msgspec.structs.replace(policy.certificate, scope="these prompts", unit_of_independence="attempt"),
    )
    scoped.save(out.parent / "policy.json")
    card = card_of(write_run(out, ATTEMPTS, under(scoped)), policy=str(out.parent / "policy.json"))
    assert "further attempts at the very prompts that it was certified\n  on" in card
    assert re.search(r"- prompts: 5 of 5 here are others than the \d+ there", card)


def test_what_others_named_cannot_write_the_card(tmp_path: Path) -> None:
    hostile = "a|b\n---\n# <script>alert(1)</script> [x](javascript:1) `c`\x1b[2J" + "z" * 5000
    attempts = [attempt("p", 0, "accepted", "4", group=hostile)]
    card = card_of(write_run(tmp_path / "out.jsonl", attempts, model=hostile))
    assert "<script>" not in card
    assert "\x1b" not in card
    assert "\n# \\<" not in card
    assert r"a\|b --- \# \<script\>alert(1)\</script\> \[x\](javascript:1) \`c\`" in card
    (row,) = (line for line in card.splitlines() if line.startswith(r"| a\|b") and "| 1 |" in line)
    assert len(row) < 1200
    assert pq.read_table(tmp_path / "card" / "data" / "train-00000.parquet")["group"][0].as_py() == hostile


def test_many_groups_have_a_short_table(tmp_path: Path) -> None:
    attempts = [attempt(f"p{i}", 0, "accepted", "4", group=f"g{i}") for i in range(80)]
    card = card_of(write_run(tmp_path / "out.jsonl", attempts))
    assert len(re.findall(r"^\| g\d+ \|", card, re.MULTILINE)) == 50
    assert "And 30 groups more." in card


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_data_set_stays_where_another_cannot_take_its_place(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(out, ATTEMPTS)
    to = out.parent / "data"
    export_run(out, to, DATA)
    before = files_of(to)
    write_run(out, ATTEMPTS[:5])
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if path.name.endswith(".part"):
            raise OSError(errno.EIO, "broken")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(InputError, match=r"cannot be written: broken"):
        export_run(out, to, DATA)
    assert files_of(to) == before
    assert [path.name for path in out.parent.iterdir() if path.is_dir()] == ["data"]


def test_a_data_set_is_the_same_every_time_and_cut_into_files(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_SHARD_BYTES", 400)
    to = out.parent / "data"
    export_run(out, to, DATA)
    first = files_of(to)
    assert sorted(first) == [
        "README.md", "data/train-00000.parquet", "data/train-00001.parquet", "data/train-00002.parquet",
        "preference/train-00000.parquet", "preference/train-00001.parquet", "preference/train-00002.parquet",
    ]  # fmt: skip
    export_run(out, to, DATA)
    assert files_of(to) == first
    ids = [name for path in sorted((to / "data").iterdir()) for name in pq.read_table(path)["id"].to_pylist()]
    assert ids == [record.id for record, _ in ATTEMPTS if record.correct]
    write_run(out, [attempt("q", 0, "unaccepted", "5")])
    exported = export_run(out, to, DATA)
    assert set(exported.remarks) == {
        "no attempt of the run was accepted; an empty data set cannot be loaded",
        "no prompt has both an accepted attempt and one to reject",
    }
    assert sorted(files_of(to)) == ["README.md"]
    write_run(out, [attempt("q", 0, "accepted", "5")])
    export_run(out, to, DATA)
    assert sorted(files_of(to)) == ["README.md", "data/train-00000.parquet"]
    assert header_of((to / "README.md").read_text()) == {"default": "data/train-*.parquet"}


def test_only_an_earlier_export_is_replaced(out: Path) -> None:
    to = out.parent / "data"
    export_run(out, to, DATA)
    (to / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="with other files, which an export does not replace"):
        check_export(out, to, DATA)
    (to / "notes.txt").unlink()
    (to / "README.md").write_text("my own card")
    with pytest.raises(InputError, match="with other files"):
        export_run(out, to, DATA)
    assert (to / "README.md").read_text() == "my own card"
    (out.parent / "empty").mkdir()
    export_run(out, out.parent / "empty", DATA)
    for to, form, what in (
        (out.parent / "good.txt", "chat", "unknown ending"),
        (out.parent / "good.jsonl", "parquet", r"unknown ending .*use one of \.parquet"),
        (out.parent / "empty", "chat", "unknown ending"),
        (out, "preference", "is written by the run itself"),
        (out, "datasets", "is a file, where a folder is meant"),
    ):
        with pytest.raises(InputError, match=what):
            export_run(out, to, ExportOptions(form=form))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the form chat has no pairs"):
        ExportOptions(pairs="all")


def test_a_full_disk_or_a_bad_line_leaves_what_was_there(out: Path) -> None:
    to = out.parent / "data"
    export_run(out, to, DATA)
    before = files_of(to)
    good = out.read_bytes()
    out.write_bytes(good + b'{"id": "a/0", "prom\n')
    with pytest.raises(InputError, match=r"out\.jsonl, line 14: not an attempt of a run"):
        export_run(out, to, DATA)
    with pytest.raises(InputError, match=r"out\.jsonl, line 14: not an attempt of a run"):
        export_run(out, to.parent / "pairs.jsonl", PAIRS)
    out.write_bytes(good)

    for place, options in ((to, DATA), (out.parent / "pairs.jsonl", ExportOptions(form="preference", pairs="all"))):
        with little_room(900), pytest.raises(InputError, match="cannot be written"):
            export_run(out, place, options)
    assert files_of(to) == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["data", "out.jsonl", "out.ledger.jsonl"]


def test_judged_traces_are_exported_too(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "prompt_id": "p", "prompt": "2+2?", "text": "4", "correct": 1, "group": None, "own": 1},
        {"id": 2, "prompt_id": "p", "prompt": "2+2?", "text": "5", "correct": False},
    ]
    (tmp_path / "judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    export_run(tmp_path / "judged.jsonl", tmp_path / "pairs.jsonl", PAIRS)
    assert [(one["chosen_id"], one["rejected_id"]) for one in lines(tmp_path / "pairs.jsonl")] == [("1", "2")]
    said = CliRunner().invoke(
        main, ["judge", str(tmp_path / "judged.jsonl"), "-o", str(tmp_path / "judged.parquet"), "--filter", "numeric"]
    )
    assert said.exit_code == 0, said.output
    assert [one.accepted for one in read_written(tmp_path / "judged.parquet")] == [True, False]
    (tmp_path / "bare.jsonl").write_text(json.dumps({"id": "a", "prompt_id": "p", "text": "4", "correct": True}) + "\n")
    with pytest.raises(InputError, match="attempt 'a': has neither `prompt` nor `messages`"):
        export_run(tmp_path / "bare.jsonl", tmp_path / "good.jsonl")


def test_the_command(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out.parent)
    said = CliRunner().invoke(main, ["export", "out.jsonl", "-o", "pairs.jsonl", "--form", "preference"])
    assert said.exit_code == 0, said.output
    assert "3 pairs at 3 of 5 prompts, 2 with a rejected text that is broken off" in said.output
    document = CliRunner().invoke(main, ["export", "out.jsonl", "-o", "data", "--form", "datasets", "--json"])
    assert json.loads(document.stdout) == {
        "form": "datasets", "samples": 4, "prompts": 4, "n_effective": 4.0, "pairs": None, "remarks": [],
    }  # fmt: skip
    for words, what in (
        (["export", "out.jsonl", "-o", "out.jsonl"], "is one of the inputs"),
        (["export", "out.jsonl", "-o", "x.jsonl", "--pairs", "all"], "the form chat has no pairs"),
        (["export", "none.jsonl", "-o", "x.jsonl"], "no such file"),
        (["export", "out.ledger.jsonl", "-o", "x.jsonl"], "not an attempt of a run"),
    ):
        failed = CliRunner().invoke(main, words)
        assert (failed.exit_code, what in failed.stderr) == (2, True), failed.stderr


def test_a_run_exports_as_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text('{"prompt_id": "p", "prompt": "Say one", "gold": "2"}\n')
    Path("mine").mkdir()
    Path("mine/notes.txt").touch()
    with FakeServer() as server:
        words = [
            "generate",
            "--server",
            server.url,
            "--prompts",
            "prompts.jsonl",
            "--policy",
            "none",
            "-o",
            "out.jsonl",
        ]
        words += ["--attempts", "2", "--max-new-tokens", "4", "--accepted-format", "datasets", "--accepted-out"]
        refused = CliRunner().invoke(main, [*words, "mine"])
        assert (refused.exit_code, "with other files" in refused.stderr, Path("out.jsonl").exists()) == (2, True, False)
        for _ in range(2):  # a finished run is exported anew
            said = CliRunner().invoke(main, [*words, "data"])
            assert said.exit_code == 0, said.output
            assert "accepted samples at" in said.output
            assert "The run had no policy" in Path("data/README.md").read_text()
