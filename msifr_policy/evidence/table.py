"""The evidence table: attempts x checkpoints x columns, the one thing calibration works on.

For each attempt one row per checkpoint, the first of them before the first token, and a last row for its end
(`evidence.build`). Ragged, stored flat: rows `start[i]:start[i+1]` belong to attempt i. The rule by
which thresholds stop attempts, and what attempts cost until then, live here and nowhere else.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_policy.checkpoints import at_checkpoint, discards, first_rows
from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Schedule, Unit
from msifr_policy.extras import needs
from msifr_policy.files import replacing
from msifr_policy.records.provenance import Provenance
from msifr_policy.validators import ValidatorSpec, Verdict


class Costing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the cost of an attempt was measured.

    `unit` is what one unit of cost is; `source` says where the numbers came from: recorded per token ("recorded"),
    recorded totals spread evenly over the characters ("prorated"), counted by a tokenizer the user named ("tokenizer"),
    or plain characters ("characters").
    """

    unit: Unit
    source: str


@dataclass(frozen=True, slots=True)
class EvidenceTable:
    """Evidence, costs and outcomes of N attempts at P prompts with R rows in all, D columns and V validators.

    values: `[R, D]` float64, NaN = not known. verdicts: `[R, V]` int8 (`Verdict`). k: `[R]` checkpoint number, 0 before
    the first token. spent: `[R]` cost so far in `costing.unit`; the last row of an attempt holds its full cost N.
    position: `[R]` characters so far. start: `[N + 1]` row offsets. prompt: `[N]` index into `prompt_ids`. prompt_hash:
    `[P]` uint64 of id and text of each prompt. accepted: `[N]` bool, the outcome A. merged: how many prompts count as
    one with an earlier one, of which they are near-duplicates, where the table was built.
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
    prompt_hash: NDArray[np.uint64]
    prompt: NDArray[np.int64]
    groups: tuple[str, ...]
    accepted: NDArray[np.bool_]
    schedule: Schedule
    validators: tuple[ValidatorSpec, ...]
    costing: Costing
    fingerprint: str
    provenance: Provenance = field(default_factory=Provenance)
    failures: dict[str, int] = field(default_factory=dict)
    merged: int = 0

    @property
    def n_attempts(self) -> int:
        """Number of attempts N."""
        return len(self.accepted)

    @property
    def n_prompts(self) -> int:
        """Number of distinct prompts P."""
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
    def cost_per_accepted(self) -> float:
        """ρ without a policy: what all attempts cost per accepted one (or in all, where none was)."""
        return float(self.cost.sum() / max(self.n_accepted, 1))

    @property
    def attempt(self) -> NDArray[np.int64]:
        """`[R]` attempt of each row."""
        return np.repeat(np.arange(self.n_attempts), np.diff(self.start))

    @property
    def outcome(self) -> NDArray[np.bool_]:
        """`[R]` outcome A of each row's attempt."""
        return np.repeat(self.accepted, np.diff(self.start))

    @property
    def remaining(self) -> NDArray[np.float64]:
        """`[R]` cost that was still ahead at each row."""
        return np.repeat(self.cost, np.diff(self.start)) - self.spent

    @property
    def is_checkpoint(self) -> NDArray[np.bool_]:
        """`[R]` True where a decision is due, False at the ends."""
        mask = np.ones(len(self.k), dtype=bool)
        mask[self.end] = False
        return mask

    @property
    def begins_at_0(self) -> bool:
        """Whether attempts were looked at before their first token: whether there is a checkpoint 0."""
        return bool((self.k == 0).any())

    @property
    def n_checkpoints(self) -> int:
        """Largest checkpoint number K at which a decision is due, 0 if there is none."""
        return int(self.k[self.is_checkpoint].max(initial=0))

    def stops(self, worth: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return `[N]` the row where each attempt is discarded, −1 if it never is.

        An attempt is discarded at the first checkpoint where its worth `[R]` is below the threshold `[K + 1]` of that
        checkpoint (the last one for those beyond); without thresholds none ever is.
        """
        if not len(thresholds):
            return np.full(self.n_attempts, -1)
        return first_rows(discards(worth, at_checkpoint(thresholds, self.k)) & self.is_checkpoint, self.start)

    def cost_until(self, stop: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return `[N]` what each attempt costs when it stops at row `stop` `[N]` (−1: at its end)."""
        return self.spent[np.where(stop >= 0, stop, self.end)]

    def ever_dead(self) -> NDArray[np.bool_]:
        """Return `[N, V]`: did validator v say DEAD at any checkpoint of the attempt, or at its end?"""
        if self.n_attempts == 0:
            return np.zeros((0, len(self.validators)), dtype=bool)
        result: NDArray[np.bool_] = np.logical_or.reduceat(self.verdicts == Verdict.DEAD, self.start[:-1], axis=0)
        return result

    def rows_of(self, attempts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of the given attempts (indices), attempt by attempt."""
        lengths = np.diff(self.start)[attempts]
        ends = np.cumsum(lengths)
        rows = np.arange(ends[-1] if len(ends) else 0)
        rows += np.repeat(self.start[attempts] - (ends - lengths), lengths)
        return rows

    def take(self, attempts: NDArray[np.int64], *, evidence: bool = True) -> EvidenceTable:
        """Return the table of the given attempts (indices, in that order, repetition allowed).

        Its fingerprint says which attempts they are, not in which order: all of them have that of this table. Without
        `evidence` it has no columns and no validators: what costs and outcomes are left takes little memory.
        """
        if not evidence:
            nothing = {name: getattr(self, name)[:, :0] for name in ("values", "verdicts")}
            return replace(self, columns=(), validators=(), **nothing).take(attempts)
        start = np.concatenate(([0], np.cumsum(np.diff(self.start)[attempts])))
        rows = self.rows_of(attempts)
        chosen = attempts.tolist()
        used, prompt = np.unique(self.prompt[attempts], return_inverse=True)
        ids = tuple(map(self.attempt_ids.__getitem__, chosen))
        all_once = np.array_equal(np.sort(attempts), np.arange(self.n_attempts))
        return replace(
            self,
            **{name: getattr(self, name).take(rows, axis=0) for name in _BY_ROW},
            start=start,
            attempt_ids=ids,
            prompt_ids=tuple(map(self.prompt_ids.__getitem__, used.tolist())),
            prompt_hash=self.prompt_hash[used],
            prompt=prompt.astype(np.int64),
            groups=tuple(map(self.groups.__getitem__, chosen)),
            accepted=self.accepted[attempts],
            fingerprint=self.fingerprint if all_once else digest([self.fingerprint, *sorted(ids)]),
        )

    def in_order(self) -> EvidenceTable:
        """Return the table with attempts and prompts in the order of their ids, as it is built; itself if they are."""
        order = _order(self.attempt_ids)
        table = self if order is None else self.take(order)
        order = _order(table.prompt_ids)
        if order is None:
            return table
        return replace(
            table,
            prompt_ids=tuple(map(table.prompt_ids.__getitem__, order.tolist())),
            prompt_hash=table.prompt_hash[order],
            prompt=np.argsort(order)[table.prompt],
        )

    def where(self, prompts: NDArray[np.bool_]) -> EvidenceTable:
        """Return the table of all attempts at the prompts that are True in `prompts` `[P]`."""
        return self.take(np.flatnonzero(prompts[self.prompt]))

    def with_scores(self, columns: Sequence[str], scores: NDArray[np.float64]) -> EvidenceTable:
        """Return the table with `scores` `[R, len(columns)]` as its last columns; `InputError` if it has them."""
        if set(self.columns) & set(columns):
            raise InputError("the table has these columns already", where="evidence table")
        return replace(self, columns=(*self.columns, *columns), values=np.hstack([self.values, scores]))

    def join(self, other: EvidenceTable) -> EvidenceTable:
        """Return the table with the columns, verdicts and validators of `other` after its own.

        Raises `InputError` unless both are of the same attempts at the same checkpoints.
        """
        if self.attempt_ids != other.attempt_ids or not np.array_equal(self.position, other.position):
            raise InputError("the tables are not of the same checkpoints", where="evidence table")
        return replace(
            self.with_scores(other.columns, other.values),
            verdicts=np.hstack([self.verdicts, other.verdicts]),
            validators=self.validators + other.validators,
            failures={**self.failures, **other.failures},
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table to Parquet: one row per checkpoint and end; the rest is schema metadata."""
        needs("pyarrow", extra="parquet", what="Parquet", where=os.fspath(path))
        import pyarrow as pa
        import pyarrow.parquet as pq

        attempt = self.attempt
        arrays: dict[str, pa.Array] = {
            "attempt_id": pa.array(self.attempt_ids).take(pa.array(attempt)),
            "prompt_id": pa.array(self.prompt_ids).take(pa.array(self.prompt[attempt])),
            "prompt_hash": pa.array(self.prompt_hash[self.prompt[attempt]]),
            "group": pa.array(self.groups).take(pa.array(attempt)),
            "accepted": pa.array(self.outcome),
            "is_end": pa.array(~self.is_checkpoint),
        }
        arrays |= {name: pa.array(getattr(self, name)) for name in ("k", "spent", "position")}
        arrays |= {name: pa.array(self.values[:, i]) for i, name in enumerate(self.columns)}
        arrays |= {f"{v.name}.verdict": pa.array(self.verdicts[:, i]) for i, v in enumerate(self.validators)}
        header = _Header(**{name: getattr(self, name) for name in _Header.__struct_fields__[:-1]})
        table = pa.table(arrays).replace_schema_metadata({_KEY: msgspec.json.encode(header)})
        # By an open file: given a name, the library would delete what it cannot write, a device even.
        with replacing(path) as temporary, open(temporary, "wb") as file:
            pq.write_table(table, file, compression="zstd")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> EvidenceTable:
        """Read a table written by `write`. Raises `InputError` for any other file."""
        needs("pyarrow", extra="parquet", what="Parquet", where=os.fspath(path))
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            header = msgspec.json.decode((table.schema.metadata or {})[_KEY], type=_Header)
            data = {name: table.column(name).to_numpy() for name in table.column_names}
            end = np.flatnonzero(data["is_end"])
            first = np.concatenate(([0], end[:-1] + 1)) if len(end) else end
            ids, place, prompt = np.unique(data["prompt_id"][first].astype(str), return_index=True, return_inverse=True)
            return cls(
                values=np.column_stack([data[name] for name in header.columns]).astype(np.float64),
                verdicts=np.column_stack([data[f"{s.name}.verdict"] for s in header.validators]).astype(np.int8),
                k=data["k"].astype(np.int64),
                spent=data["spent"].astype(np.float64),
                position=data["position"].astype(np.int64),
                start=np.concatenate(([0], end + 1)).astype(np.int64),
                attempt_ids=tuple(data["attempt_id"][first].tolist()),
                prompt_ids=tuple(ids.tolist()),
                prompt_hash=data["prompt_hash"][first][place].astype(np.uint64),
                prompt=prompt.astype(np.int64),
                groups=tuple(data["group"][first].tolist()),
                accepted=data["accepted"][first].astype(bool),
                **{name: getattr(header, name) for name in _Header.__struct_fields__[:-1]},
            )
        except (OSError, KeyError, msgspec.MsgspecError, pa.ArrowException) as error:
            raise InputError(
                f"not an evidence table: {error}", where=str(path), remedy="make one with `msifr score`"
            ) from error


_BY_ROW = ("values", "verdicts", "k", "spent", "position")
_KEY = b"msifr_evidence"


class _Header(msgspec.Struct):
    """What a table file holds beside its rows; `format` last."""

    columns: tuple[str, ...]
    schedule: Schedule
    validators: tuple[ValidatorSpec, ...]
    costing: Costing
    fingerprint: str
    provenance: Provenance
    failures: dict[str, int]
    merged: int = 0
    format: Literal[2] = 2


def _order(ids: Sequence[str]) -> NDArray[np.int64] | None:
    """Return which id comes first, second, … by their characters; None if they stand so."""
    if all(before <= after for before, after in pairwise(ids)):
        return None
    return np.asarray(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)


def digest(parts: Iterable[str]) -> str:
    """Return the SHA-256 of texts, in hexadecimal."""
    so_far = hashlib.sha256()
    for part in parts:
        so_far.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return so_far.hexdigest()
