"""The memory of a run is that of what is in flight: what is done leaves a few bytes behind, and no more.

Memory is that which Python was asked for, at its most; the difference between a small and a large job of a kind, by
attempt or prompt, is what grows. The bounds are far below what an object for each would take.
"""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import letters
from msifr_integrations.engine.base import Attempt
from msifr_integrations.generation import prompts as kept
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.journal import AttemptRecord, Journal, ledger_path
from msifr_integrations.generation.options import GenerateOptions
from msifr_policy.records.ledger import Entry, Header, encode_line, scan_ledger

FEW, MANY = 600, 2000
BY_PROMPT = 100.0
"""Bytes: 8 for its place, 13 while it is checked, 17 for how its attempts ended; and arrays that grow by leaps."""
BY_ATTEMPT = 30.0
"""Bytes: 13 of each attempt in a file while that is read."""


def most(work: Callable[[], object]) -> int:
    """Return the most memory that was asked for meanwhile, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Forgetful(letters.Letters):
    """Letters that do not remember what they were asked."""

    def submit(self, attempt: Attempt) -> None:
        super().submit(attempt)
        self.submitted.clear()
        self.busy.clear()


def write_prompts(path: Path, count: int) -> None:
    lines = (f'{{"prompt_id":"p{i}","prompt":"Say something of number {i}","gold":"50"}}\n' for i in range(count))
    path.write_text("".join(lines), encoding="utf-8")


@pytest.mark.parametrize(("most_attempts", "quota"), [(1, None), (2, 1)])
def test_prompts_and_attempts_of_a_run_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_attempts: int, quota: int | None
) -> None:
    monkeypatch.setattr(kept, "_IN_MEMORY", 1)  # as a large file of prompts

    def run(count: int) -> None:
        asked, out = tmp_path / f"{count}.prompts", tmp_path / f"{count}.jsonl"
        given = GenerateOptions(attempts=most_attempts, accepted_per_prompt=quota, final_filter=letters.good, slots=4)
        with letters.engine_is(Forgetful(4)):
            generate("none", asked, None, out, given, tell=lambda _: None)

    for count in (8, FEW, MANY):
        write_prompts(tmp_path / f"{count}.prompts", count)
    run(8)  # what is made once in a process
    few, many = (most(lambda count=count: run(count)) for count in (FEW, MANY))  # type: ignore[misc]
    assert (many - few) / (MANY - FEW) < BY_PROMPT


def journal_of(out: Path, count: int) -> Path:
    """A run of so many attempts, 2 at each prompt but the last, which has one."""
    with open(out, "wb") as lines, open(ledger_path(out), "wb") as accounts:
        accounts.write(encode_line(Header(settings={"attempts": 2})))
        for i in range(count):
            name, prompt = f"prompt {i // 2}/0/{i % 2}", f"prompt {i // 2}"
            record = AttemptRecord(
                id=name, prompt_id=prompt, prompt="?", text="so", status="finished", seed=0, model="m", tokens=1,
                prompt_tokens=1, token_ends=[2], correct=True,
            )  # fmt: skip
            entry = Entry(
                id=name, prompt_id=prompt, outcome="accepted", tokens=1, prompt_tokens=1, stages=(1,), seconds=1.0
            )
            lines.write(encode_line(record))
            accounts.write(encode_line(entry))
    return out


def test_a_run_that_goes_on_and_who_reads_its_ledger_keep_a_few_bytes_of_an_attempt(tmp_path: Path) -> None:
    few, many = (journal_of(tmp_path / f"{count}.jsonl", count) for count in (2_001, 10_001))

    def resumed(out: Path) -> None:
        with Journal(out) as journal:
            assert journal.done == {f"prompt {(journal.count - 1) // 2}/0/0"}  # the others have what they need
            assert journal.totals().accepted == journal.count

    def scanned(out: Path) -> None:
        for _ in scan_ledger(ledger_path(out)):
            pass

    for work in (resumed, scanned):
        assert (most(lambda: work(many)) - most(lambda: work(few))) / 8_000 < BY_ATTEMPT  # noqa: B023
