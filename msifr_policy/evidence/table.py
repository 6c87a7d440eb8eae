"""The evidence table: attempts x checkpoints x columns, the one thing calibration works on.

Replays validators over traces exactly as they run in flight (`watch.Watch`) and keeps, for each attempt, one
row per checkpoint and a last row for its end. Ragged, stored flat: rows `start[i]:start[i+1]` belong to
attempt i.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Schedule, Unit
from msifr_policy.evidence.watch import Watch, column_names
from msifr_policy.files import replacing
from msifr_policy.records.traces import Trace
from msifr_policy.validators import Validator, ValidatorSpec, Verdict, describe

__all__ = ["Costing", "EvidenceTable", "build_evidence", "replay"]

TokenEnds = Callable[[str], Sequence[int]]
"""A tokenizer as far as costs go: the end offset in characters of each token of a text."""


class Costing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the cost of an attempt was measured.

    `unit` is what one unit of cost is; `source` says where the numbers came from: recorded per token
    ("recorded"), recorded totals spread evenly over the characters ("prorated"), counted by a tokenizer the
    user named ("tokenizer"), or plain characters ("characters").
    """

    unit: Unit
    source: str


@dataclass(frozen=True, slots=True)
class EvidenceTable:
    """Evidence, costs and outcomes of N attempts with R rows in all, D columns and V validators.

    values: `[R, D]` float64, NaN = not known. verdicts: `[R, V]` int8 (`Verdict`). k: `[R]` checkpoint number, 1
    for the first. spent: `[R]` cost so far in `costing.unit`; the last row of an attempt holds its full cost N.
    position: `[R]` characters so far. start: `[N + 1]` row offsets. prompt: `[N]` index into `prompt_ids`.
    accepted: `[N]` bool, the outcome A.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    verdicts: NDArray[np.int8]
    k: NDArray[np.int64]
    spent: NDArray[np.float64]
    position: NDArray[np.int64]
    start: NDArray[np.int64]
    attempt_ids: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    prompt: NDArray[np.int64]
    groups: tuple[str, ...]
    accepted: NDArray[np.bool_]
    schedule: Schedule
    validators: tuple[ValidatorSpec, ...]
    costing: Costing
    fingerprint: str
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def n_attempts(self) -> int:
        """Number of attempts N."""
        return len(self.accepted)

    @property
    def n_prompts(self) -> int:
        """Number of distinct prompts."""
        return len(self.prompt_ids)

    @property
    def n_accepted(self) -> int:
        """Number of accepted attempts."""
        return int(self.accepted.sum())

    @property
    def end(self) -> NDArray[np.int64]:
        """`[N]` row of each attempt's end."""
        return self.start[1:] - 1

    @property
    def cost(self) -> NDArray[np.float64]:
        """`[N]` full cost of each attempt."""
        return self.spent[self.end]

    @property
    def attempt(self) -> NDArray[np.int64]:
        """`[R]` attempt of each row."""
        return np.repeat(np.arange(self.n_attempts), np.diff(self.start))

    @property
    def is_checkpoint(self) -> NDArray[np.bool_]:
        """`[R]` True where a decision is due, False at the ends."""
        mask = np.ones(len(self.k), dtype=bool)
        mask[self.end] = False
        return mask

    def ever_dead(self) -> NDArray[np.bool_]:
        """Return `[N, V]`: did validator v say DEAD at any checkpoint of the attempt, or at its end?"""
        if self.n_attempts == 0:
            return np.zeros((0, len(self.validators)), dtype=bool)
        result: NDArray[np.bool_] = np.logical_or.reduceat(self.verdicts == Verdict.DEAD, self.start[:-1], axis=0)
        return result

    def take(self, attempts: NDArray[np.int64]) -> EvidenceTable:
        """Return the table of the given attempts (indices, in that order, repetition allowed)."""
        lengths = np.diff(self.start)[attempts]
        start = np.concatenate(([0], np.cumsum(lengths)))
        rows = np.repeat(self.start[attempts] - start[:-1], lengths) + np.arange(start[-1])
        used, prompt = np.unique(self.prompt[attempts], return_inverse=True)
        ids = tuple(self.attempt_ids[i] for i in attempts)
        return replace(
            self,
            values=self.values[rows],
            verdicts=self.verdicts[rows],
            k=self.k[rows],
            spent=self.spent[rows],
            position=self.position[rows],
            start=start,
            attempt_ids=ids,
            prompt_ids=tuple(self.prompt_ids[p] for p in used),
            prompt=prompt.astype(np.int64),
            groups=tuple(self.groups[i] for i in attempts),
            accepted=self.accepted[attempts],
            fingerprint=_digest([self.fingerprint, *ids]),
        )

    def join(self, other: EvidenceTable) -> EvidenceTable:
        """Return the table with the columns, verdicts and validators of `other` after its own.

        Raises `InputError` unless both are of the same attempts at the same checkpoints.
        """
        same = self.attempt_ids == other.attempt_ids and np.array_equal(self.position, other.position)
        if not same or set(self.columns) & set(other.columns):
            raise InputError("the tables are not of the same checkpoints, or share columns", where="join")
        return replace(
            self,
            columns=self.columns + other.columns,
            values=np.hstack([self.values, other.values]),
            verdicts=np.hstack([self.verdicts, other.verdicts]),
            validators=self.validators + other.validators,
            failures={**self.failures, **other.failures},
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table to Parquet: one row per checkpoint and end; the rest is schema metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        attempt = self.attempt
        arrays: dict[str, pa.Array] = {
            "attempt_id": pa.array(self.attempt_ids).take(pa.array(attempt)),
            "prompt_id": pa.array(self.prompt_ids).take(pa.array(self.prompt[attempt])),
            "group": pa.array(self.groups).take(pa.array(attempt)),
            "accepted": pa.array(self.accepted[attempt]),
            "k": pa.array(self.k),
            "is_end": pa.array(~self.is_checkpoint),
            "spent": pa.array(self.spent),
            "position": pa.array(self.position),
        }
        arrays |= {name: pa.array(self.values[:, i]) for i, name in enumerate(self.columns)}
        for i, spec in enumerate(self.validators):
            arrays[f"{spec.name}.verdict"] = pa.array(self.verdicts[:, i])
        header = _Header(
            self.columns,
            self.schedule,
            self.validators,
            self.costing,
            self.fingerprint,
            self.failures,
            _FORMAT,
        )
        table = pa.table(arrays).replace_schema_metadata({_KEY: msgspec.json.encode(header)})
        with replacing(Path(path)) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> EvidenceTable:
        """Read a table written by `write`. Raises `InputError` for any other file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            header = msgspec.json.decode((table.schema.metadata or {})[_KEY], type=_Header)
            data = {name: table.column(name).to_numpy() for name in table.column_names}
            end = np.flatnonzero(data["is_end"])
            first = np.concatenate(([0], end[:-1] + 1)) if len(end) else end
            prompt_ids, prompt = np.unique(data["prompt_id"][first].astype(str), return_inverse=True)
            return cls(
                columns=header.columns,
                values=np.column_stack([data[name] for name in header.columns]).astype(np.float64),
                verdicts=np.column_stack([data[f"{s.name}.verdict"] for s in header.validators]).astype(np.int8),
                k=data["k"].astype(np.int64),
                spent=data["spent"].astype(np.float64),
                position=data["position"].astype(np.int64),
                start=np.concatenate(([0], end + 1)).astype(np.int64),
                attempt_ids=tuple(data["attempt_id"][first].tolist()),
                prompt_ids=tuple(prompt_ids.tolist()),
                prompt=prompt.astype(np.int64),
                groups=tuple(data["group"][first].tolist()),
                accepted=data["accepted"][first].astype(bool),
                schedule=header.schedule,
                validators=header.validators,
                costing=header.costing,
                fingerprint=header.fingerprint,
                failures=header.failures,
            )
        except (OSError, KeyError, msgspec.MsgspecError, pa.ArrowException) as error:
            raise InputError(
                f"not an evidence table: {error}", where=str(path), remedy="make one with `msifr score`"
            ) from error


_KEY = b"msifr_evidence"
_FORMAT = 1


class _Header(msgspec.Struct):
    columns: tuple[str, ...]
    schedule: Schedule
    validators: tuple[ValidatorSpec, ...]
    costing: Costing
    fingerprint: str
    failures: dict[str, int]
    format: int


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


def replay(trace: Trace, unit: Unit, token_ends: Sequence[int] | None) -> Iterator[tuple[str, int, Sequence[float]]]:
    """Yield the pieces (text, tokens, logprobs) a trace was made of, as an engine would feed them.

    Token by token when the token ends are known, else the whole text at once (possible only for schedules
    in characters or newlines).
    """
    if token_ends is None:
        if unit == "tokens":
            raise InputError(
                "a schedule in tokens needs the token boundaries of the trace",
                where=f"trace {trace.id!r}",
                remedy="record token_ends, name a tokenizer, or use a schedule in characters",
            )
        yield trace.text, 0, ()
        return
    before = 0
    logprobs = trace.logprobs
    for i, end in enumerate(token_ends):
        # The end-of-sequence token adds no text and is not fed: in flight, the attempt ends with it.
        if end > before or i + 1 < len(token_ends):
            yield trace.text[before:end], 1, () if logprobs is None else logprobs[i : i + 1]
        before = end
    if before < len(trace.text):
        yield trace.text[before:], 0, ()


def build_evidence(
    traces: Iterable[Trace],
    schedule: Schedule,
    validators: Sequence[Validator],
    *,
    unit: Unit | None = None,
    tokenizer: TokenEnds | None = None,
    progress: Callable[[int], None] | None = None,
) -> EvidenceTable:
    """Replay `validators` at the checkpoints of `schedule` over `traces`.

    The cost unit: tokens when every trace records its tokens or a `tokenizer` is given, otherwise characters; pass
    `unit` to insist on one. `progress` is called with the number of attempts done.

    Raises `InputError` for duplicate trace ids, an empty input, or a unit the traces cannot give.
    """
    columns = column_names(validators)
    schedule_unit: Unit = getattr(schedule, "unit", "characters")
    rows: list[tuple[float, ...]] = []
    verdicts: list[tuple[int, ...]] = []
    ks: list[int] = []
    positions: list[int] = []
    token_counts: list[float] = []
    start = [0]
    ids: dict[str, None] = {}
    prompts: dict[str, int] = {}
    prompt: list[int] = []
    groups: list[str] = []
    accepted: list[bool] = []
    failures: Counter[str] = Counter()
    digest = hashlib.sha256()
    sources: Counter[str] = Counter()
    for trace in traces:
        if trace.id in ids:
            raise InputError(f"trace id {trace.id!r} occurs twice", remedy="give each attempt its own id")
        ids[trace.id] = None
        ends: Sequence[int] | None = trace.token_ends
        source = "recorded"
        if ends is None and tokenizer is not None:
            ends, source = tokenizer(trace.text), "tokenizer"
        watch = Watch(schedule, validators, trace.prompt)
        seen = [c for piece in replay(trace, schedule_unit, ends) for c in watch.feed(*piece)]
        seen.append(watch.finish())
        failures.update(watch.failures)
        if ends is not None:
            edges = np.asarray(ends)
            at = [min(float(np.searchsorted(edges, c.position)) + 1, float(len(edges))) for c in seen[:-1]]
            at.append(float(len(edges)))
        elif trace.tokens is not None:
            source = "prorated"
            share = trace.tokens / max(len(trace.text), 1)
            at = [share * c.position for c in seen[:-1]] + [float(trace.tokens)]
        else:
            source = "characters"
            at = [float("nan")] * len(seen)
        sources[source] += 1
        for c in seen:
            rows.append(c.row)
            verdicts.append(tuple(map(int, c.verdicts)))
            ks.append(c.k)
            positions.append(c.position)
        token_counts += at
        start.append(len(rows))
        prompt.append(prompts.setdefault(trace.prompt_id, len(prompts)))
        groups.append(trace.group_name)
        accepted.append(trace.accepted)
        for part in (trace.id, trace.prompt_id, trace.text, str(trace.accepted)):
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
        if progress is not None:
            progress(len(accepted))
    if not accepted:
        raise InputError("there are no traces", remedy="check the files named and --on-error skip counts")
    if unit is None:
        unit = "characters" if sources["characters"] else "tokens"
    if unit == "tokens" and sources["characters"]:
        raise InputError(
            f"{sources['characters']} of {len(accepted)} traces record no token count",
            remedy="name a tokenizer, or let costs be characters",
        )
    position = np.asarray(positions, dtype=np.int64)
    return EvidenceTable(
        columns=columns,
        values=np.asarray(rows, dtype=np.float64).reshape(len(rows), len(columns)),
        verdicts=np.asarray(verdicts, dtype=np.int8).reshape(len(rows), len(validators)),
        k=np.asarray(ks, dtype=np.int64),
        spent=np.asarray(token_counts) if unit == "tokens" else position.astype(np.float64),
        position=position,
        start=np.asarray(start, dtype=np.int64),
        attempt_ids=tuple(ids),
        prompt_ids=tuple(prompts),
        prompt=np.asarray(prompt, dtype=np.int64),
        groups=tuple(groups),
        accepted=np.asarray(accepted, dtype=bool),
        schedule=schedule,
        validators=tuple(describe(v) for v in validators),
        costing=Costing(unit, "+".join(sorted(sources)) if unit == "tokens" else "characters"),
        fingerprint=digest.hexdigest(),
        failures=dict(failures),
    )
