"""Building evidence tables: validators are replayed over traces exactly as they run in flight (`watch.Watch`)."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.history import filled
from msifr_policy.evidence.schedule import Schedule, Unit
from msifr_policy.evidence.table import Costing, EvidenceTable, digest
from msifr_policy.evidence.watch import Watch, column_names
from msifr_policy.records.near_duplicates import Sketch, near_duplicates, sketch
from msifr_policy.records.provenance import Provenance
from msifr_policy.records.traces import Trace
from msifr_policy.validators import Validator, describe, parameters_of

TokenEnds = Callable[[str], Sequence[int]]
"""A tokenizer as far as costs go: the end offset in characters of each token of a text."""


Piece = tuple[str, int, Sequence[float], Sequence[tuple[float, ...]]]
"""What an engine feeds: text, tokens, their log-probabilities, and what a probe made of their states."""


def pieces(trace: Trace, unit: Unit, token_ends: Sequence[int] | None) -> Iterator[Piece]:
    """Yield the pieces a trace was made of, as an engine would feed them.

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
        yield trace.text, 0, (), ()
        return
    before = 0
    logprobs, states = trace.logprobs or (), trace.states or ()
    for i, end in enumerate(token_ends):
        # The end-of-sequence token adds no text and is not fed: in flight, the attempt ends with it.
        if end > before or i + 1 < len(token_ends):
            yield trace.text[before:end], 1, logprobs[i : i + 1], states[i : i + 1]
        before = end
    if before < len(trace.text):
        yield trace.text[before:], 0, (), ()


class _Rows(NamedTuple):
    """Rows of one or more replayed traces: `[R·D]` values, `[R·V]` verdicts, `[R]` the others; tokens may be NaN."""

    values: NDArray[np.float64]
    verdicts: NDArray[np.int8]
    k: NDArray[np.int64]
    position: NDArray[np.int64]
    tokens: NDArray[np.float64]


class _ReplayedTrace(NamedTuple):
    """What is kept of a trace: its rows, where their tokens are from, and what it says of itself; of its text a digest.

    content: 32 bytes.
    """

    rows: _Rows
    content: bytes
    source: str
    prompt_id: str
    prompt_hash: int
    group: str
    accepted: bool
    model: str | None
    dataset: str | None
    judged_by: str | None


def _replay(trace: Trace, watch: Watch, unit: Unit, tokenizer: TokenEnds | None, asked: str) -> _ReplayedTrace:
    """Replay one trace through a fresh `watch`; `unit` is the schedule's, `asked` what its prompt asks beside text."""
    ends: Sequence[int] | None = trace.token_ends
    source = "recorded" if ends is not None else "prorated" if trace.tokens is not None else "characters"
    if ends is None and tokenizer is not None:
        ends, source = tokenizer(trace.text), "tokenizer"
    seen = [watch.begin(), *(c for piece in pieces(trace, unit, ends) for c in watch.feed(*piece)), watch.finish()]
    position = np.asarray([c.position for c in seen], dtype=np.int64)
    if ends is not None:
        tokens = np.minimum(np.searchsorted(np.asarray(ends), position) + 1.0, len(ends))
        tokens[0], tokens[-1] = 0, len(ends)
    else:
        total = float("nan") if trace.tokens is None else float(trace.tokens)
        tokens = total / max(len(trace.text), 1) * position
        tokens[-1] = total
    rows = _Rows(
        np.asarray([score for c in seen for score in c.row], dtype=np.float64),
        np.asarray([verdict for c in seen for verdict in c.verdicts], dtype=np.int8),
        np.asarray([c.k for c in seen], dtype=np.int64),
        position,
        tokens,
    )
    return _ReplayedTrace(
        rows=rows,
        content=bytes.fromhex(digest([trace.id, trace.prompt_id, trace.text, str(trace.accepted), asked])),
        source=source,
        prompt_id=trace.prompt_id,
        prompt_hash=prompt_hash(trace.prompt_id, trace.prompt),
        group=trace.group_name,
        accepted=trace.accepted,
        model=trace.model,
        dataset=trace.dataset,
        judged_by=trace.judged_by,
    )


def prompt_hash(prompt_id: str, prompt: str) -> int:
    """Return what a prompt is known by in tables and policy files, below 2⁶⁴."""
    return int(digest([prompt_id, prompt])[:16], 16)


def build_evidence(
    traces: Iterable[Trace],
    schedule: Schedule,
    validators: Sequence[Validator],
    *,
    unit: Unit | None = None,
    tokenizer: TokenEnds | None = None,
    provenance: Provenance | None = None,
    progress: Callable[[int], None] | None = None,
) -> EvidenceTable:
    """Replay `validators` at the checkpoints of `schedule` over `traces`, each with the parameters its prompt had.

    The cost unit: tokens when every trace records its tokens or a `tokenizer` is given, otherwise characters; pass
    `unit` to insist on one. `provenance` adds to what the traces tell. `progress` is called with the number of attempts
    done. Memory: one row of numbers per checkpoint, and a sketch of each prompt; no text is kept.

    Attempts stand in the table in the order of their ids, and so do prompts: the table, and what is fitted to it, is
    the same whatever the order of `traces`, in whatever files they come.

    Prompts under different ids that are near-duplicates are one prompt, under the id and with the hash of the first of
    them (`records.near_duplicates`); what a prompt asks of its validators is part of its text there. Where attempts at
    one prompt differ in its text, that of the first one counts.

    Raises `InputError` for duplicate trace ids, an empty input, or a unit the traces cannot give.
    """
    columns = column_names(validators)
    schedule_unit: Unit = getattr(schedule, "unit", "characters")
    replayed: dict[str, _ReplayedTrace] = {}
    sketches: dict[str, tuple[str, Sketch]] = {}  # with the id of the attempt whose prompt it is of
    failures: Counter[str] = Counter()
    for trace in traces:
        if trace.id in replayed:
            raise InputError(f"trace id {trace.id!r} occurs twice", remedy="give each attempt of all files its own id")
        parameters = parameters_of(trace)
        watch = Watch(schedule, validators, trace.prompt, parameters)
        asked = json.dumps(parameters, sort_keys=True) if parameters else ""
        replayed[trace.id] = _replay(trace, watch, schedule_unit, tokenizer, asked)
        failures += watch.failures
        if trace.prompt_id not in sketches or trace.id < sketches[trace.prompt_id][0]:
            text = f"{trace.prompt}\n{asked}" if trace.prompt.strip() else ""
            sketches[trace.prompt_id] = trace.id, sketch(text)
        if progress is not None:
            progress(len(replayed))
    if not replayed:
        raise InputError("there are no traces", remedy="name files that hold some")
    attempt_ids, known_ids = sorted(replayed), sorted(sketches)
    every = [replayed[attempt_id] for attempt_id in attempt_ids]
    sources = Counter(one.source for one in every)
    unit = unit or ("characters" if sources["characters"] else "tokens")
    if unit == "tokens" and sources["characters"]:
        raise InputError(
            f"{sources['characters']} of {len(every)} traces record no token count",
            remedy="name a tokenizer (--tokenizer), or let costs be characters (--unit characters)",
        )
    rows = _Rows(*map(np.concatenate, zip(*(one.rows for one in every), strict=True)))
    hashes = {one.prompt_id: one.prompt_hash for one in reversed(every)}
    first, place = np.unique(near_duplicates([sketches[i][1] for i in known_ids]), return_inverse=True)
    prompts = dict(zip(known_ids, place.tolist(), strict=True))
    prompt_ids = tuple(known_ids[i] for i in first)
    made = provenance or Provenance()
    filters = {one.judged_by or made.filter for one in every}
    table = EvidenceTable(
        columns=columns,
        values=rows.values.reshape(-1, len(columns)),
        verdicts=rows.verdicts.reshape(-1, len(validators)),
        k=rows.k,
        spent=rows.tokens if unit == "tokens" else rows.position.astype(np.float64),
        position=rows.position,
        start=np.cumsum([0, *(len(one.rows.k) for one in every)], dtype=np.int64),
        attempt_ids=tuple(attempt_ids),
        prompt_ids=prompt_ids,
        prompt_hash=np.asarray([hashes[prompt_id] for prompt_id in prompt_ids], dtype=np.uint64),
        prompt=np.asarray([prompts[one.prompt_id] for one in every], dtype=np.int64),
        groups=tuple(one.group for one in every),
        accepted=np.asarray([one.accepted for one in every], dtype=bool),
        schedule=schedule,
        validators=tuple(describe(v) for v in validators),
        costing=Costing(unit, "+".join(sorted(sources)) if unit == "tokens" else "characters"),
        fingerprint=hashlib.sha256(b"".join(one.content for one in every)).hexdigest(),
        provenance=msgspec.structs.replace(
            made,
            filter=filters.pop() if len(filters) == 1 else "",
            models=tuple(sorted({one.model for one in every if one.model})),
            datasets=tuple(sorted({one.dataset for one in every if one.dataset})),
        ),
        failures=dict(sorted(failures.items())),
        merged=len(sketches) - len(prompt_ids),
    )
    return filled(table)
