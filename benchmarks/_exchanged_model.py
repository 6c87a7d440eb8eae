"""A model that is exchanged in the middle of a run, under a certified policy whose would-be discards are audited.

The embedded model runs under a policy that is fitted to and certified on its shipped samples. From a prompt on another
model answers: the same weights, but in its vocabulary two signs have changed places, so it divides as well as before
and writes 12*4=3 where it used to write 12/4=3. Its answers are as good as ever, and the policy, to which such
equations are false, loses many of them. How many is measured by the same seeds without a policy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import msgspec

from benchmarks._embedded_life import prompts
from benchmarks._records import Record
from msifr_calibration import fit_policy
from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path, embedded_samples_path
from msifr_integrations.engine.base import Attempt, Engine, Notice
from msifr_integrations.generation import generate as generating
from msifr_integrations.generation.auditing import AuditReport, audit_ledger
from msifr_integrations.generation.engines import Opened, open_engine
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.inputs import load_model
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.paired import read_attempts
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.filters import Prompt
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.ledger import Entry, Session, read_ledger
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import default_validators

PROMPTS, SWAP = 400, 160
SEED = 404
AUDIT = 0.05
SIGNS = "/", "*"


class Exchanged:
    """Two engines as one: attempts for which `later` says so are the second's."""

    def __init__(self, first: Engine, second: Engine, later: Callable[[str], bool]) -> None:
        self._engines, self._later = (first, second), later
        self.name, self.slots, self.logprobs, self.asynchronous = first.name, first.slots, first.logprobs, False
        self.waiting = 0
        self._given = False

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt at the engine that is its own."""
        self._given = True
        self._engines[self._later(attempt.id)].submit(attempt)

    def cancel(self, attempt_id: str) -> None:
        """Stop an attempt."""
        self._engines[self._later(attempt_id)].cancel(attempt_id)

    def drain(self, take: Callable[[Sequence[Notice]], None]) -> None:
        """Run one dry and then the other, until neither was given anything."""
        while self._given:
            self._given = False
            for engine in self._engines:
                engine.drain(take)

    def spent(self) -> Session:
        """Return what the first says: engines of this process spend nothing beside attempts."""
        return self._engines[0].spent()

    def close(self) -> None:
        """Close both."""
        for engine in self._engines:
            engine.close()


def exchanged_signs(tokenizer: Any) -> Any:
    """Return the embedded model with two signs exchanged in what it reads and writes."""
    import torch

    model, _ = load_model(embedded_model_path(), dtype="float32")
    one, other = (tokenizer.convert_tokens_to_ids(sign) for sign in SIGNS)
    with torch.no_grad():
        for weights in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            weights[[one, other]] = weights[[other, one]]
    return model


def certified_policy() -> PolicyFile:
    """Return a policy certified on the embedded model's shipped samples."""
    table = build_evidence(read_traces(embedded_samples_path()), NewlineSteps(), default_validators())
    return fit_policy(table, history=False).file


def records(folder: Path, *, n: int = PROMPTS, swap: int = SWAP) -> Iterator[Record]:
    """Yield what the exchange came to, of n prompts, those from `swap` on by the other model."""
    file = certified_policy()
    alpha = file.certificate.max_false_reject
    given = prompts(n, SEED)
    model, tokenizer = load_model(embedded_model_path(), dtype="float32")
    other = exchanged_signs(tokenizer)
    options = GenerateOptions(slots=32, max_new_tokens=200, model_name=EMBEDDED_MODEL)
    out = folder / "exchanged.jsonl"
    with _exchanged(model, other, given, swap):
        audited = msgspec.structs.replace(options, audit=AUDIT)
        generate(model, given, file.policy(), out, audited, tokenizer=tokenizer)
    told = audit_ledger(out, file)
    ledger = read_ledger(ledger_path(out))
    alarms = [steer.block for steer in ledger.steers if steer.phase == "alarm"]
    back = min(alarms[0] * int(ledger.settings["block"]) if alarms else n, n)
    full = folder / "full.jsonl"
    if back > swap:
        generate(other, given[swap:back], None, full, options, tokenizer=tokenizer)
    yield Record("exchanged model: prompts", float(n), f"{swap} before")
    yield from _alarm(told, ledger.entries, swap, back if alarms else None)
    yield from _lost(ledger.entries, full, alpha)


@contextmanager
def _exchanged(model: Any, other: Any, given: Sequence[Prompt], swap: int) -> Iterator[None]:
    """Have runs of `model` go over to `other` at a prompt."""
    later = {prompt.prompt_id for prompt in given[swap:]}

    def is_later(attempt_id: str) -> bool:
        return attempt_id.rsplit("/", 2)[0] in later

    @contextmanager
    def opened(_: Any, tokenizer: Any, *more: Any) -> Iterator[Opened]:
        with open_engine(model, tokenizer, *more) as one, open_engine(other, tokenizer, *more) as two:
            yield replace(one, engine=Exchanged(one.engine, two.engine, is_later))

    with patch.object(generating, "open_engine", opened):
        yield


def _alarm(told: AuditReport, entries: Sequence[Entry], swap: int, back: int | None) -> Iterator[Record]:
    state = told.monitor
    at = None if state is None else state.alarm_at
    right = at is not None and at > swap
    yield Record("exchanged model: alarm, and not before", str(right), "", "True", ok=right)
    if state is None or at is None or back is None:
        return
    between = [entry for entry in entries if entry.place is not None and swap <= entry.place < at]
    yield Record("exchanged model: prompts from the exchange to the alarm", float(at - swap))
    yield Record("exchanged model: audits from the exchange to the alarm",
                 float(sum(entry.audited is not None for entry in between)))  # fmt: skip
    yield Record("exchanged model: prompts from the exchange until nothing is discarded", float(back - swap))
    after = sum(entry.outcome == "discarded" for entry in entries if (entry.place or 0) >= back)
    yield Record("exchanged model: discarded after that", float(after), "", "0", ok=after == 0)
    drifted = ", ".join(each.column for each in state.drift or ())
    yield Record("exchanged model: what has changed, by the monitor", drifted or "nothing")


def _lost(entries: Sequence[Entry], full: Path, alpha: float) -> Iterator[Record]:
    """Yield what the policy lost of the other model's samples, by the same seeds without it."""
    if not full.exists():
        return
    good = {name for name, record in read_attempts(full).items() if record.correct}
    here = [entry for entry in entries if entry.id in good]
    f = sum(entry.would_discard for entry in here) / len(here)
    yield Record(
        "exchanged model: f of the policy there", f, f"of {len(good)}", f"> {alpha}", "the same seeds", bool(f > alpha)
    )
    lost = sum(entry.outcome == "discarded" for entry in here)
    accepted = sum(entry.outcome == "accepted" for entry in entries)
    yield Record("exchanged model: good samples lost from the exchange on", float(lost),
                 f"{lost / (accepted + lost):.1%} of the run's")  # fmt: skip
