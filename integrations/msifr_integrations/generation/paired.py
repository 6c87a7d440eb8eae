"""Two runs with the same seeds, with and without a policy, compared attempt by attempt.

The coupling contract makes this exact in an engine of this process: the run without the policy shows what every
discarded attempt would have become, so the realised saving and false-reject rate need no estimate of either. A server
promises less: an attempt's seed is the same, but its text may still depend on who shares the batch; `changed` counts.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from msifr_integrations.generation.inputs import read_records
from msifr_integrations.generation.journal import AttemptRecord, ledger_path
from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Entry, scan_ledger
from msifr_sim.outcomes import Outcomes

_SUCH = "name an output of generate"


def read_attempts(path: str | os.PathLike[str]) -> dict[str, AttemptRecord]:
    """Return the attempts of an output file of `generate` by id. Raises `InputError` for any other file."""
    return {record.id: record for record in read_records(path, AttemptRecord, _SUCH)}


@dataclass(frozen=True, slots=True)
class Paired:
    """A run with a policy beside the same run without.

    ids, outcomes: of every attempt that failed in neither, ordered by id, with cost in tokens. survivors: attempts that
    it let run to their end; changed: those of them whose text or tokens differ from the run without policy; not_prefix:
    discarded attempts that are not a prefix of what the full run generated, and exited ones that are not
    until their exit. Both are 0 where the coupling contract holds, but for draws that lie within rounding of a boundary
    (see `engine.sampling`).
    """

    ids: tuple[str, ...]
    outcomes: Outcomes
    survivors: int
    changed: int
    not_prefix: int


class _Whole(NamedTuple):
    """What is kept of an attempt without a policy."""

    id: str
    prompt_id: str
    tokens: int
    correct: bool


class _UnderPolicy(NamedTuple):
    """What is kept of an attempt under the policy; `made` tells its text and its tokens from others."""

    status: str
    correct: bool | None
    tokens: int
    k: int
    reason: str
    length: int
    made: bytes
    exited: bool


def pair_runs(full: str | os.PathLike[str], with_policy: str | os.PathLike[str]) -> Paired:
    """Pair the outputs of two runs; the ledger of the one with a policy must lie beside it.

    Both are read once, a record at a time; of texts and tokens a hash is kept. Raises `InputError` if they do not hold
    the same attempts, as under a quota, or if the first discarded any.
    """
    partial = {record.id: _partial(record) for record in read_records(with_policy, AttemptRecord, _SUCH)}
    waiting = dict(partial)
    pairs: list[tuple[_Whole, _UnderPolicy]] = []
    only_in_one = survivors = changed = not_prefix = 0
    for whole in read_records(full, AttemptRecord, _SUCH):
        part = waiting.pop(whole.id, None)
        if part is None:
            only_in_one += 1
            continue
        if "failed" in (whole.status, part.status):
            continue
        if whole.correct is None:
            what = f"attempt {whole.id!r} was discarded"
            raise InputError(what, where=os.fspath(full), remedy="name the full run first")
        if part.exited:
            not_prefix += _made(whole.text[: part.length], ()) != part.made
        elif part.status == "discarded":
            not_prefix += _made(whole.text[: part.length], whole.token_ends[: part.tokens]) != part.made
        else:
            survivors += 1
            changed += (_made(whole.text, whole.token_ends), whole.correct) != (part.made, part.correct)
        pairs.append((_Whole(whole.id, whole.prompt_id, whole.tokens, whole.correct), part))
    if only_in_one or waiting or not partial:
        raise InputError(
            f"{only_in_one + len(waiting)} attempts are in one run only",
            where=f"{os.fspath(full)} and {os.fspath(with_policy)}",
            remedy="compare finished runs of the same prompts, seeds and attempts, without a quota",
        )
    if not pairs:
        raise InputError("all attempts failed in one of the runs", where=os.fspath(full))
    pairs.sort(key=lambda pair: pair[0].id)  # as in evidence tables
    outcomes = _outcomes(pairs, list(_passed([a.id for a, _ in pairs], ledger_path(with_policy))))
    return Paired(tuple(a.id for a, _ in pairs), outcomes, survivors, changed, not_prefix)


def _passed(ids: Sequence[str], ledger: Path) -> Iterator[int]:
    """Yield how many checkpoints each attempt has passed, if it was not discarded."""
    stages = {each.id: len(each.stages) for each, _ in scan_ledger(ledger) if isinstance(each, Entry)}
    for name in ids:
        if name not in stages:
            raise InputError(f"attempt {name!r} is not in the ledger", where=str(ledger))
        yield stages[name] - 1  # the last stage of a survivor ends with the attempt, at no checkpoint


def _partial(record: AttemptRecord) -> _UnderPolicy:
    exited, text, ends = record.finish == "exit", record.text, record.token_ends
    if exited:  # the tokens of the answer that was forced are among those of the text
        text, ends = text[: record.position], []
    stopped = record.k or 0, record.reason or ""
    return _UnderPolicy(record.status, record.correct, record.tokens, *stopped, len(text), _made(text, ends), exited)


def _made(text: str, token_ends: Sequence[int]) -> bytes:
    """Return 16 bytes that tell a text made of such tokens from others."""
    ends = np.asarray(token_ends, dtype="<i8").tobytes()
    return blake2b(text.encode(errors="surrogatepass") + b"\0" + ends, digest_size=16).digest()


def _outcomes(pairs: Sequence[tuple[_Whole, _UnderPolicy]], passed: Sequence[int]) -> Outcomes:
    """Return the outcomes of attempts; passed: the checkpoints that each has passed if it was not discarded."""
    prompts = {prompt: i for i, prompt in enumerate(dict.fromkeys(a.prompt_id for a, _ in pairs))}
    stop_k = np.asarray([b.k for _, b in pairs], dtype=np.int64)
    discarded = np.asarray([b.status == "discarded" for _, b in pairs])
    exited = np.asarray([b.exited for _, b in pairs])
    with_exits = {"exited": exited, "forced": exited & np.asarray([bool(b.correct) for _, b in pairs])}
    return Outcomes(
        unit="tokens",
        cost_full=np.asarray([a.tokens for a, _ in pairs], dtype=np.float64),
        cost_policy=np.asarray([b.tokens for _, b in pairs], dtype=np.float64),
        accepted=np.asarray([a.correct for a, _ in pairs], dtype=np.bool_),
        discarded=discarded,
        prompt=np.asarray([prompts[a.prompt_id] for a, _ in pairs], dtype=np.int64),
        stop_k=stop_k,
        reached=np.where(discarded, stop_k, np.asarray(passed, dtype=np.int64)),
        reason=tuple(b.reason for _, b in pairs),
        **(with_exits if exited.any() else {}),
    )
