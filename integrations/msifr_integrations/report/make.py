"""From what a report is given to its numbers and to the attempts it shows."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import get_args

import msgspec
import numpy as np

from msifr_integrations.generation.journal import AttemptRecord
from msifr_integrations.generation.paired import Paired
from msifr_integrations.generation.provenance import provenance_of
from msifr_integrations.report.attempts import MOST_SHOWN, Decided, Kind, Shown, Told, choose, shown
from msifr_integrations.report.deciding import Recorded
from msifr_integrations.report.given import RunRead, kinds_of, records_of
from msifr_integrations.report.numbers import (
    LeftOut,
    Measured,
    ReportNumbers,
    funnel,
    measured,
    policy_numbers,
    reliability,
)
from msifr_integrations.report.said import contradictions, statement
from msifr_policy.checkpoints import at_checkpoint
from msifr_policy.errors import InputError
from msifr_policy.evidence.history import Followed
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy_file import Fingerprint, PolicyFile
from msifr_policy.records.mapping import FieldMap
from msifr_policy.records.traces import OnError, Trace, read_traces
from msifr_policy.validators import parameters_of
from msifr_sim import Outcomes, Summary, replay_policy


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a report is made of; None is what there is not.

    run: output of a run, ledger: what its ledger tells. traces: files of finished attempts, full: those of them that
    are the run without a policy, which `paired` compares. table: evidence on the traces, by the policy's validators,
    if there is a policy. simulated: what was expected before, and of which attempts in words. most: attempts shown.
    """

    made_of: Sequence[str]
    policy: PolicyFile | None = None
    policy_name: str = ""
    run: str | os.PathLike[str] | None = None
    ledger: RunRead | None = None
    traces: Sequence[str | os.PathLike[str]] = ()
    on_error: OnError = "raise"
    mapping: FieldMap | None = None
    table: EvidenceTable | None = None
    paired: Paired | None = None
    simulated: tuple[Summary, str] | None = None
    most: int = MOST_SHOWN
    seed: int = 0

    @cached_property
    def ready(self) -> FittedPolicy | None:
        """The policy that runs."""
        return None if self.policy is None else self.policy.policy()

    @cached_property
    def followed(self) -> Followed | None:
        """What the policy does along the table."""
        return None if self.table is None or self.ready is None else self.ready.follow(self.table)

    @cached_property
    def outcomes(self) -> Outcomes | None:
        """What attempts cost and became with and without the policy: measured beside a full run, else by replay."""
        if self.paired is not None:
            return self.paired.outcomes
        return None if self.table is None or self.ready is None else replay_policy(self.ready, self.table)

    @cached_property
    def attempts(self) -> tuple[Sequence[str], Sequence[Kind], Sequence[str]]:
        """Ids, kinds and groups of all attempts."""
        outcomes = self.outcomes
        if outcomes is not None:
            ids = self.paired.ids if self.paired is not None else _table(self).attempt_ids
            return ids, _kinds(outcomes), self._groups(ids)
        if self.ledger is not None and (self.run is not None or not self.traces):
            return self.ledger.ids, self.ledger.kinds, self.ledger.groups
        if self.run is not None:
            return kinds_of(records_of(self.run))
        known = [(t.id, "kept" if t.accepted else "unaccepted", t.group_name) for t in _traces(self)]
        return tuple(zip(*known, strict=True)) or ((), (), ())  # type: ignore[return-value]

    def _groups(self, ids: Sequence[str]) -> Sequence[str]:
        if self.paired is None:
            return _table(self).groups
        by_id = dict(zip(self.ledger.ids, self.ledger.groups, strict=True)) if self.ledger else {}
        return [by_id.get(one, "") for one in ids]


def _table(material: Material) -> EvidenceTable:
    assert material.table is not None  # noqa: S101 - outcomes are of a table where they are not of a pair
    return material.table


def _kinds(outcomes: Outcomes) -> list[Kind]:
    words: tuple[Kind, ...] = ("unaccepted", "kept", "discarded", "lost")
    return [words[i] for i in (2 * outcomes.discarded + outcomes.accepted).tolist()]


def _traces(material: Material) -> Iterator[Trace]:
    if not material.traces:
        return iter(())
    return read_traces(material.traces, on_error=material.on_error, mapping=material.mapping)


def make_report(material: Material) -> tuple[ReportNumbers, list[Shown]]:
    """Return the numbers of a report, and the attempts that it shows. Files of texts are read once more for these.

    Raises `InputError` where there are no attempts, though there are files for them.
    """
    policy = policy_numbers(material.policy, material.policy_name) if material.policy else None
    ids, kinds, groups = material.attempts
    if not ids and (material.run or material.traces or material.ledger):
        where = ", ".join(str(path) for path in (material.run, *material.traces) if path)
        raise InputError("holds no attempt", where=where, remedy="name a file that holds some")
    outcomes = material.outcomes
    of_attempts = None if outcomes is None else _measured(material, outcomes, groups)
    stages = material.ledger.funnel if material.ledger else []
    if outcomes is not None:
        stages = funnel(outcomes.reached, outcomes.stop_k, outcomes.discarded, outcomes.reason, outcomes.accepted)
    run = material.ledger.run if material.ledger else None
    chosen = choose(ids, kinds, material.most)
    followed = material.followed
    bins = [] if followed is None else reliability(followed.M, followed.table)
    counts = Counter(kinds)
    texts = [shown(told, material.ready, len(chosen)) for told in _told(material, chosen)]
    numbers = ReportNumbers(
        statement=statement(policy, of_attempts, run),
        remarks=[*contradictions(policy, of_attempts), *_differences(material)],
        left_out=list(_left_out(material)),
        made_on=_today(),
        made_of=list(material.made_of),
        policy=policy,
        measured=of_attempts,
        simulated=material.simulated[0] if material.simulated else None,
        simulated_on=material.simulated[1] if material.simulated else "",
        run=run,
        funnel=stages,
        reliability=bins,
        attempts={kind: counts[kind] for kind in get_args(Kind) if counts[kind]},
        attempts_shown=len(texts),
    )
    return numbers, texts


def _measured(material: Material, outcomes: Outcomes, groups: Sequence[str]) -> Measured:
    paired, file, table, seen = material.paired, material.policy, material.table, 0
    if file is not None and table is not None:
        seen = int((file.fitted_on.shares(table) | file.certified_on.shares(table)).sum())
    return measured(
        "replayed" if paired is None else "paired",
        outcomes,
        groups,
        file,
        seen=seen,
        survivors=None if paired is None else (paired.survivors, paired.changed),
        seed=material.seed,
    )


def _differences(material: Material) -> Iterator[str]:
    """Yield in what the attempts are others than those that the certificate is about."""
    file, ready, settings = material.policy, material.ready, material.ledger.settings if material.ledger else {}
    if file is None or ready is None:
        return
    ran = settings.get("policy", "none")
    if material.run is not None and ran not in ("none", ready.fingerprint):
        yield (
            f"The run was made with another policy than {material.policy_name}: what is said here of the policy, and "
            "the evidence shown in texts, is not of what ran."
        )
    here = provenance_of(settings)
    if material.table is not None:
        prompts = Fingerprint.of(material.table).prompts
        here = msgspec.structs.replace(material.table.provenance, prompts=prompts)
    for difference in file.certified_for.differences(here):
        yield f"What was certified is of other attempts: {difference}."


def _left_out(material: Material) -> Iterator[LeftOut]:
    policy, run = material.policy, material.run or material.ledger
    if policy is None:
        yield LeftOut("Certificate, frontier, and the evidence in the texts", "the policy file: `--policy policy.json`")
    if material.outcomes is None:
        if run and policy is None and not _discards(material):
            needs = "the policy to replay: `--policy policy.json`, as msifr fit makes it of such attempts"
        elif run:
            needs = "the same run without a policy: `--paired FULL.jsonl`, as `msifr generate --policy none` makes it"
        elif material.traces:
            needs = "a policy: `--policy policy.json`, as msifr fit makes it of such traces"
        else:
            needs = "attempts: the output of a run with `--paired FULL.jsonl`, or traces"
        yield LeftOut("What was saved and lost, also by group and difficulty", needs)
    if material.followed is None and (policy is not None or material.outcomes is not None):
        needs = "finished attempts and the policy: `--paired FULL.jsonl` or traces, and `--policy policy.json`"
        yield LeftOut("Reliability of the beliefs", needs)
    if material.ledger is not None and material.ledger.settings.get("audit") and material.ledger.run.audits is None:
        yield LeftOut("What audits tell", "the policy file of the run, and of merged shards the output of one")
    if material.ledger is None:
        yield LeftOut("Ledger of a run", "the output of msifr generate, whose ledger lies beside it")
    if material.outcomes is not None and material.simulated is None:
        yield LeftOut("What was simulated before, with intervals", "the traces the policy was fitted on, named as well")
    if not (material.run or material.traces):
        yield LeftOut("The attempts themselves", "the output of a run, or traces")


def _today() -> str:
    """Return the date in UTC, or that which SOURCE_DATE_EPOCH asks for, as builds that can be repeated do."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(seconds) if seconds.isdigit() else time.time(), UTC).strftime("%Y-%m-%d")


def _told(material: Material, chosen: Sequence[int]) -> list[Told]:
    """Return what is known of the chosen attempts (indices), in their order."""
    ids, kinds, groups = material.attempts
    wanted = {ids[i]: i for i in chosen}
    if not wanted:
        return []
    found: dict[str, Told] = {}
    if material.run is not None and material.paired is None:
        for record in records_of(material.run):
            if record.id in wanted:
                found[record.id] = _of_record(record, kinds[wanted[record.id]], groups[wanted[record.id]])
    else:
        decided, beliefs = _decided(material, wanted), _beliefs(material, wanted)
        unit = material.outcomes.unit if material.outcomes else "tokens"
        for trace in _traces(material):
            if (i := wanted.get(trace.id)) is not None:
                told = _of_trace(trace, kinds[i], groups[i], decided.get(trace.id), unit, material, i)
                found[trace.id] = told._replace(beliefs=beliefs.get(trace.id, ()))
    return [found[ids[i]] for i in chosen if ids[i] in found]


def _of_record(record: AttemptRecord, kind: Kind, group: str) -> Told:
    stopped = None
    if record.status == "discarded":
        stopped = _decision_of(record)
    return Told(
        record.id, kind, group, record.prompt, record.text, record.correct,
        None if stopped else float(record.tokens), "tokens", stopped, record.gold, record.error,
        parameters_of(msgspec.structs.replace(record, parameters=record.parameters or {})),  # type: ignore[arg-type]
        Recorded(record.token_ends, [np.nan if x is None else x for x in record.logprobs or ()], record.states or ()),
    )  # fmt: skip


def _decision_of(record: AttemptRecord, row: np.ndarray | None = None) -> Decided:
    return Decided(
        record.k or 0, record.position or 0, record.tokens, record.reason or "", record.posterior, record.worth,
        record.threshold, row,
    )  # fmt: skip


def _of_trace(
    trace: Trace, kind: Kind, group: str, decided: Decided | None, unit: str, material: Material, i: int
) -> Told:
    outcomes = material.outcomes
    cost = None if outcomes is None else float(outcomes.cost_full[i])
    if cost is None and trace.tokens is not None:
        cost = float(trace.tokens)
    return Told(
        trace.id, kind, group, trace.prompt, trace.text, trace.accepted, cost, unit, decided, trace.gold, "",
        parameters_of(trace), Recorded(trace.token_ends or (), trace.logprobs or (), trace.states or ()),
    )  # fmt: skip


def _decided(material: Material, wanted: dict[str, int]) -> dict[str, Decided]:
    """Return what was decided on those of the wanted attempts that were discarded."""
    if material.paired is not None and material.run is not None:
        rows = _rows(material)
        return {
            record.id: _decision_of(record, rows.get((record.id, record.k or 0)))
            for record in records_of(material.run)
            if record.id in wanted and record.status == "discarded"
        }
    followed, outcomes, policy = material.followed, material.outcomes, material.ready
    if followed is None or outcomes is None or policy is None:
        return {}
    table, decided = followed.table, {}
    for name, i in wanted.items():
        if (at := int(followed.stop[i])) < 0:
            continue
        k = table.k[at : at + 1]
        threshold = float(at_checkpoint(policy.thresholds, k)[0]) if len(policy.thresholds) else None
        decided[name] = Decided(
            int(k[0]), int(table.position[at]), float(table.spent[at]), outcomes.reason[i], float(followed.M[at]),
            float(followed.worth[at]), threshold, followed.values(np.asarray([at]))[0],
        )  # fmt: skip
    return decided


def _beliefs(material: Material, wanted: dict[str, int]) -> dict[str, list[float]]:
    """Return the posterior at the checkpoints that the wanted attempts reach under the policy."""
    followed = material.followed
    if followed is None:
        return {}
    table, found = followed.table, {}
    for i, name in enumerate(table.attempt_ids):
        if name in wanted:
            end = followed.stop[i] + 1 if followed.stop[i] >= 0 else table.end[i]
            found[name] = followed.M[table.start[i] : end].tolist()
    return found


def _rows(material: Material) -> dict[tuple[str, int], np.ndarray]:
    """Return the evidence at which a replay of the full run discards, by attempt and checkpoint."""
    followed = material.followed
    if followed is None:
        return {}
    table = followed.table
    stops = np.flatnonzero(followed.stop >= 0)
    values = followed.values(followed.stop[stops])
    k = table.k[followed.stop[stops]]
    return {(table.attempt_ids[i], int(k[n])): values[n] for n, i in enumerate(stops.tolist())}


def _discards(material: Material) -> bool:
    return material.ledger is None or material.ledger.run.totals.discarded > 0
