"""Shards of a run joined: as one run of all, whoever reads it, and nothing lost or doubled on the way."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tiny
from msifr_integrations.cli import main
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.merge import merge_runs
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.paired import pair_runs, read_attempts
from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Entry, Header, Session, encode_line, read_ledger, total
from msifr_policy.records.traces import read_traces

N = 3


def policy() -> Any:
    return tiny.TextPolicy(tiny.unwanted)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all, the same in three shards, and a run without a policy."""
    folder = tmp_path_factory.mktemp("shards")
    tiny.run(folder / "whole.jsonl", policy())
    tiny.run(folder / "full.jsonl")
    for number in range(1, N + 1):
        tiny.run(folder / f"part-{number}.jsonl", policy(), shard=(number, N))
    return folder


def parts(folder: Path, *numbers: int) -> list[Path]:
    return [folder / f"part-{number}.jsonl" for number in numbers or range(1, N + 1)]


@pytest.fixture
def own(runs: Path, tmp_path: Path) -> Path:
    """Copies of the shards that a test may spoil."""
    for path in parts(runs):
        shutil.copy(path, tmp_path)
        shutil.copy(ledger_path(path), tmp_path)
    return tmp_path


def test_merged_shards_are_the_run_of_all(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged.jsonl"
    merged = merge_runs(reversed(parts(runs)), out)
    assert read_attempts(out) == read_attempts(runs / "whole.jsonl")
    whole, joined = read_ledger(ledger_path(runs / "whole.jsonl")), read_ledger(ledger_path(out))
    assert joined.settings == whole.settings
    times = {"seconds": 0, "cpu_seconds": 0}
    as_dicts = [{e.id: json.loads(encode_line(e)) | times for e in ledger.entries} for ledger in (whole, joined)]
    assert as_dicts[0] == as_dicts[1]
    assert [json.loads(line)["id"] for line in out.read_bytes().splitlines()] == [e.id for e in joined.entries]
    assert (merged.shards, merged.missing_shards, merged.missing) == (N, (), 0)
    assert merged.totals == total(joined.entries)
    # Time: the slowest shard's by the wall, the sum in processor time.
    ledgers = [read_ledger(ledger_path(path)) for path in parts(runs)]
    assert merged.totals.seconds == max(ledger.seconds for ledger in ledgers)
    cpu = sum(total(ledger.entries).cpu_seconds for ledger in ledgers)
    assert merged.totals.cpu_seconds == pytest.approx(cpu, abs=1e-4)
    assert cpu > max(total(ledger.entries).cpu_seconds for ledger in ledgers)


def test_whatever_reads_a_run_reads_a_merged_one(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged.jsonl"
    merge_runs(parts(runs), out)
    before = out.read_bytes(), ledger_path(out).read_bytes()
    said: list[str] = []
    result = tiny.run(out, policy(), tell=said.append, compare=runs / "full.jsonl")
    assert "already finished" in said[0]
    assert (out.read_bytes(), ledger_path(out).read_bytes()) == before
    assert (result.attempts, result.survivors_changed) == (40, 0)
    paired = pair_runs(runs / "full.jsonl", out)
    assert (paired.changed, paired.not_prefix) == (0, 0)
    assert paired.survivors == result.attempts - result.discarded
    full = tmp_path / "merged-full.jsonl"
    for number in range(1, N + 1):
        tiny.run(tmp_path / f"full-{number}.jsonl", shard=(number, N))
    merge_runs([tmp_path / f"full-{number}.jsonl" for number in range(1, N + 1)], full)
    assert {t.id for t in read_traces(full)} == {t.id for t in read_traces(runs / "full.jsonl")}


def test_a_killed_shard_is_merged_as_far_as_it_is_whole_and_the_rest_is_made_later(own: Path, runs: Path) -> None:
    part, out = own / "part-2.jsonl", own / "merged.jsonl"
    lines, accounts = part.read_bytes().splitlines(True), ledger_path(part).read_bytes().splitlines(True)
    part.write_bytes(b"".join(lines[:4]) + lines[4][:50])  # three accounted for, one not, one half written
    ledger_path(part).write_bytes(b"".join(accounts[:4]) + accounts[4][:10])
    before = part.read_bytes(), ledger_path(part).read_bytes()
    with pytest.raises(InputError, match=r"part-2\.jsonl: has 3 of 12 attempts .*start the same command again"):
        merge_runs(parts(own), out)
    assert not out.exists()
    merged = merge_runs(parts(own), out, partial=True)
    assert (merged.missing, merged.totals.attempts) == (9, 31)
    assert (part.read_bytes(), ledger_path(part).read_bytes()) == before
    result = tiny.run(out, policy())
    assert result.attempts == 40
    assert read_attempts(out) == read_attempts(runs / "whole.jsonl")


def test_what_sessions_spent_beside_is_kept(own: Path) -> None:
    for number, path in enumerate(parts(own), 1):
        with open(ledger_path(path), "ab") as ledger:
            ledger.write(encode_line(Session(probe=number, unfinished=10 * number, arrived=100, made=200)))
    merged = merge_runs(parts(own), own / "merged.jsonl")
    assert merged.totals.tokens_beside == 6 + 60 + sum(100 - number for number in (1, 2, 3))
    assert len(read_ledger(own / "merged.ledger.jsonl").sessions) == N


def test_missing_shards_are_named(own: Path) -> None:
    out = own / "merged.jsonl"
    with pytest.raises(InputError, match="shards 1/3, 3/3 are missing"):
        merge_runs(parts(own, 2), out)
    merged = merge_runs(parts(own, 2), out, partial=True)
    assert (merged.missing_shards, merged.missing) == ((1, 3), 28)


def test_a_shard_of_no_prompts_is_not_missing(tmp_path: Path) -> None:
    two = tiny.prompts(2)
    for number in (1, 2, 3):
        tiny.run(tmp_path / f"part-{number}.jsonl", tasks=two, shard=(number, 3))
    assert not (tmp_path / "part-3.jsonl").exists()
    merged = merge_runs(parts(tmp_path, 1, 2), tmp_path / "merged.jsonl")
    assert (merged.shards, merged.missing, merged.totals.attempts) == (3, 0, 8)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the settings in the ledger of an output."""
    header, *rest = ledger_path(path).read_bytes().splitlines(True)
    record = json.loads(header)
    change(record["settings"])
    ledger_path(path).write_bytes(json.dumps(record).encode() + b"\n" + b"".join(rest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(temperature=0.5), r"part-3\.jsonl: has temperature = 0\.5, .*part-1\.jsonl 1\.0"),
        (lambda s: s.update(policy="none"), r"has no policy, unlike "),
        (lambda s: s.update(shard="3/4"), "has shards = 4"),
        (lambda s: s.update(shard="2/3"), r"part-3\.jsonl: is shard 2/3, as .*part-2\.jsonl is"),
        (lambda s: s.pop("seed"), "has seed = None"),
        (lambda s: s.update(colour="red"), "has colour = 'red', .* None"),
        (lambda s: s.pop("shard"), "is no shard of a run"),
        (lambda s: s.update(shard="4/3"), "is no shard of a run"),
        (lambda s: s.update(shard=[1]), "is no shard of a run"),
        (lambda s: s.update(shard=f"1/{'9' * 5000}"), "is no shard of a run"),
        (lambda s: s.update(prompt_count="many"), "is no shard of a run"),
    ],
)
def test_what_is_not_of_one_run_is_refused(own: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    edit(own / "part-3.jsonl", change)
    with pytest.raises(InputError, match=message):
        merge_runs(parts(own), own / "merged.jsonl", partial=True)
    assert not list(own.glob("merged*"))
    assert not list(own.glob(".*"))


def test_an_attempt_in_two_shards_is_refused(own: Path) -> None:
    line, account = (path.read_bytes().splitlines(True) for path in (own / "part-1.jsonl", own / "part-1.ledger.jsonl"))
    for path, more in ((own / "part-2.jsonl", line[0]), (own / "part-2.ledger.jsonl", account[1])):
        path.write_bytes(path.read_bytes() + more)
    with pytest.raises(InputError, match=r"part-2\.jsonl: attempt 'p\d/0/\d' is in another shard, too"):
        merge_runs(parts(own), own / "merged.jsonl")


def test_outputs_that_are_no_pair_with_their_ledger_are_refused(own: Path) -> None:
    part, out = own / "part-2.jsonl", own / "merged.jsonl"
    lines = part.read_bytes().splitlines(True)

    def spoiled(*kept: bytes) -> None:
        part.write_bytes(b"".join(kept))
        with pytest.raises(InputError, match=r"part-2.*no pair"):
            merge_runs(parts(own), out, partial=True)
        assert not list(own.glob("merged*"))

    spoiled(lines[1], lines[0], *lines[2:])
    spoiled(*lines[:-2])
    spoiled(*lines, lines[0], lines[1])
    spoiled(b"{}\n", *lines[1:])
    spoiled(b"\xff\n", *lines[1:])
    part.unlink()
    with pytest.raises(InputError, match="no pair"):
        merge_runs(parts(own), out)
    ledger_path(part).unlink()
    with pytest.raises(
        InputError, match=r"part-2\.ledger\.jsonl: cannot be read: No such file or directory \(name the output"
    ):
        merge_runs(parts(own), out)


def test_nothing_is_written_over(own: Path) -> None:
    before = (own / "part-1.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"part-1\.jsonl: exists, and would be lost"):
        merge_runs(parts(own, 2, 3), own / "part-1.jsonl", partial=True)
    (own / "link.jsonl").symlink_to(own / "part-1.jsonl")
    with pytest.raises(InputError, match="would be lost"):
        merge_runs(parts(own), own / "link.jsonl")
    (own / "merged.ledger.jsonl").write_text("mine")
    with pytest.raises(InputError, match=r"merged\.ledger\.jsonl: exists"):
        merge_runs(parts(own), own / "merged.jsonl")
    with pytest.raises(InputError, match=r"must end in \.jsonl"):
        merge_runs(parts(own), own / "merged.json")
    with pytest.raises(InputError, match=r"no shards were named .*not their ledgers"):
        merge_runs([own / "part-1.ledger.jsonl"], own / "other.jsonl")
    assert (own / "part-1.jsonl").read_bytes() == before


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    """Two shards of 20 MB each."""
    size, count = 20_000, 1000
    for number in (1, 2):
        settings = {"prompt_count": 2 * count, "attempts": 1, "shard": f"{number}/2"}
        path = tmp_path / f"part-{number}.jsonl"
        with open(path, "wb") as lines, open(ledger_path(path), "wb") as ledger:
            ledger.write(encode_line(Header(settings=settings)))
            for i in range(count):
                name = f"{number}-{i}"
                lines.write(json.dumps({"id": name, "text": "x" * size}).encode() + b"\n")
                entry = Entry(id=name, prompt_id=name, outcome="accepted", tokens=0, prompt_tokens=0, seconds=i)
                ledger.write(encode_line(entry))
    tracemalloc.start()
    try:
        merge_runs(parts(tmp_path, 1, 2), tmp_path / "merged.jsonl")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "merged.jsonl").stat().st_size > 2 * size * count
    assert peak < 3_000_000


def test_the_command_merges_what_a_pattern_finds(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged.jsonl"
    pattern = sorted(map(str, runs.glob("part-*.jsonl")))
    assert any(name.endswith(".ledger.jsonl") for name in pattern)
    done = CliRunner().invoke(main, ["merge", str(out), *pattern, "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout[done.stdout.index("{") :])
    assert record["totals"]["attempts"] == 40
    assert "3 of 3 shards: 40 attempts" in done.stderr
    refused = CliRunner().invoke(main, ["merge", str(tmp_path / "some.jsonl"), pattern[0]])
    assert refused.exit_code == 2
    assert "are missing" in refused.stderr
    some = CliRunner().invoke(main, ["merge", str(tmp_path / "some.jsonl"), *pattern[:2], "--partial"])
    assert some.exit_code == 0, some.output
    assert "1 of 3 shards" in some.stdout
    assert "are missing" in some.stdout


def test_policies_are_fitted_on_a_merged_run(tmp_path: Path) -> None:
    from msifr_integrations.embedded import embedded_model_path, problems
    from msifr_policy.filters import Prompt

    tasks = [Prompt(prompt_id=t.prompt_id, prompt=t.prompt, gold=t.gold, group=t.group) for t in problems(3, 30)]
    for number in (1, 2):
        options = GenerateOptions(attempts=2, slots=30, max_new_tokens=120, device="cpu", shard=(number, 2))
        path = tmp_path / f"part-{number}.jsonl"
        generate(embedded_model_path(), tasks, None, path, options, tell=lambda _: None)
    out = tmp_path / "merged.jsonl"
    merge_runs(parts(tmp_path, 1, 2), out)
    done = CliRunner().invoke(main, ["fit", str(out), "-o", str(tmp_path / "policy.json"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "policy.json").read_text())
