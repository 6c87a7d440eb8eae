"""Small real runs for tests of reports: recorded attempts of the embedded model, played once more under a policy."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from msifr_calibration import fit_policy
from msifr_integrations.embedded import embedded_samples_path
from msifr_integrations.generation.journal import AttemptRecord, ledger_path
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.policy import Action, Decision, NeverDiscard, Policy
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.ledger import Entry, Header, encode_line
from msifr_policy.records.traces import Trace, read_traces, write_traces
from msifr_policy.validators import default_validator

PROMPTS = 60


class Runs(NamedTuple):
    """Files of one job: traces it was fitted on, the policy, and a run without it and one with it on other prompts."""

    traces: Path
    policy: Path
    full: Path
    with_policy: Path

    @property
    def file(self) -> PolicyFile:
        return PolicyFile.load(self.policy)


def make_runs(folder: Path) -> Runs:
    """Fit a policy on recorded attempts, and play others live, without it and with it."""
    recorded = list(read_traces(embedded_samples_path()))
    fitting, fresh = recorded[: 4 * 250], recorded[4 * 250 : 4 * (250 + PROMPTS)]
    runs = Runs(*(folder / name for name in ("traces.jsonl", "policy.json", "full.jsonl", "with_policy.jsonl")))
    write_traces(runs.traces, fitting)
    table = build_evidence(fitting, NewlineSteps(), [default_validator(n) for n in ("arithmetic", "length", "answer")])
    fit_policy(table, max_false_reject=0.1, history=False).file.save(runs.policy)
    play(fresh, None, runs.full)
    play(fresh, runs.file.policy(), runs.with_policy)
    return runs


def play(traces: list[Trace], policy: Policy | None, out: Path) -> None:
    """Write the files of a run whose attempts would come out as these traces: token by token under the policy."""
    settings = {
        "model": "msifr-embedded-1m",
        "policy": "none" if policy is None else policy.fingerprint,
        "prompts": "same",
    }
    with open(out, "wb") as records, open(ledger_path(out), "wb") as ledger:
        ledger.write(encode_line(Header(settings={**settings, "seed": 0, "filter": "numeric"})))
        for trace in traces:
            record, entry = _played(trace, policy or NeverDiscard())
            records.write(encode_line(record))
            ledger.write(encode_line(entry))


def _played(trace: Trace, policy: Policy) -> tuple[AttemptRecord, Entry]:
    run = policy.start(trace.prompt)
    ends, passed, decision, before = [], [], run.begin(), 0
    for end in trace.token_ends:
        if _stops(decision):
            break
        ends.append(end)
        decision = run.feed(trace.text[before:end], 1)
        before = end
        if decision is not None:
            passed.append((decision.k, len(ends)))
    stopped = decision if _stops(decision) else None
    tokens = {k: n for k, n in passed if n < len(ends) or stopped is not None}
    marks = [0, *tokens.values(), *([] if stopped is not None else [len(ends)])]
    same = {
        "id": trace.id, "prompt_id": trace.prompt_id, "group": trace.group, "tokens": len(ends),
        "prompt_tokens": trace.prompt_tokens or 0,
    }  # fmt: skip
    text = trace.text[: ends[-1] if ends else 0]
    ending = {"correct": trace.accepted, "status": "finished"}
    if stopped is not None:
        names = ("k", "position", "posterior", "worth", "threshold", "reason")
        ending = {"status": "discarded", **{name: getattr(stopped, name) for name in names}}
    record = msgspec.convert(
        {"prompt": trace.prompt, "text": text, "seed": 0, "model": trace.model, "token_ends": ends, "gold": trace.gold}
        | same | ending,
        AttemptRecord,
    )  # fmt: skip
    outcome = "discarded" if stopped else "accepted" if trace.accepted else "unaccepted"
    reason = stopped.reason if stopped else "" if trace.accepted else "filter"
    stages = tuple(b - a for a, b in pairwise(marks))
    return record, Entry(**same, outcome=outcome, reason=reason, stages=stages, seconds=1.0, finish="")


def _stops(decision: Decision | None) -> bool:
    return decision is not None and decision.action is Action.DISCARD
