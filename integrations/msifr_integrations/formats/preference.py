"""Preference pairs of a run: at one prompt an accepted attempt is chosen, one that was not kept is rejected.

A rejected attempt is finished and not accepted, or discarded in flight: then there is only a prefix of it, and the pair
says so. Chosen texts are never cut to the length of a prefix: trainers end each side with an end of sequence, so that
a cut text would teach to break off. For the same reason a pair per prompt takes a finished rejected attempt where there
is one, of a length as close to the chosen one's as there is: the lengths of the two sides should tell nothing.
"""

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import IO, Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_integrations.formats.rows import Record
from msifr_integrations.formats.written import RunFacts, Written
from msifr_policy.filters import Message
from msifr_policy.records.ledger import id_digest

Pairs = Literal["one-per-prompt", "all"]
"""One pair at each prompt that has both sides, or every accepted attempt with every rejected one."""

RejectedKind = Literal["any", "finished", "discarded"]
"""What may be rejected: finished attempts that were not accepted, prefixes of discarded ones, or both."""

_ACCEPTED, _FINISHED, _DISCARDED = range(3)
_KINDS: Final = {"any": (_FINISHED, _DISCARDED), "finished": (_FINISHED,), "discarded": (_DISCARDED,)}


class PairOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which pairs are made."""

    pairs: Pairs = "one-per-prompt"
    rejected: RejectedKind = "any"


class PairCounts(msgspec.Struct, kw_only=True):
    """What became of the prompts.

    `pairs` were made at `prompts` of all `prompts_seen`; `prefixes` of them have a rejected side that is broken off.
    `only_accepted` and `none_accepted` prompts have no pair for want of the other side. `contained` pairs were left
    out: the rejected text is the beginning of the chosen one, or the same. `unjudged` attempts are on no side, since
    the final filter could not judge them (it ran out of time): they may be good.
    """

    pairs: int = 0
    prefixes: int = 0
    prompts: int = 0
    prompts_seen: int = 0
    only_accepted: int = 0
    none_accepted: int = 0
    contained: int = 0
    unjudged: int = 0


class _Asked(msgspec.Struct, frozen=True, array_like=True):
    prompt_id: str
    group: str | None
    messages: tuple[Message, ...]


class _Side(msgspec.Struct, frozen=True, array_like=True):
    id: str
    text: str
    weight: float
    reason: str
    prefix: bool


class _Index(NamedTuple):
    """`[N]` arrays of the attempts, grouped by prompt: place in the file, number of the prompt, kind, length, lot."""

    place: NDArray[np.int64]
    prompt: NDArray[np.int64]
    kind: NDArray[np.int8]
    size: NDArray[np.int64]
    lot: NDArray[np.uint64]
    asked: NDArray[np.int64]  # `[P]` place of each prompt


def make_pairs(
    attempts: Iterable[Written],
    folder: str | os.PathLike[str],
    options: PairOptions,
    counts: PairCounts,
    facts: RunFacts = RunFacts(),  # noqa: B008 - frozen
) -> Iterator[Record]:
    """Yield the pairs of the attempts, prompt by prompt in the order in which these first occur, and count.

    A pair has `prompt`, `chosen` and `rejected`, each a list of messages as TRL's conversational preference data has
    them, `prompt_id`, `chosen_id`, `rejected_id`, `rejected_outcome`, `rejected_is_prefix`, `rejected_reason`, `weight`
    (the chosen one's) and `group`. Which accepted attempt is chosen for a pair per prompt is drawn by a hash of its id,
    so that neither its length nor its turn decide. `facts`: which finished attempts were cut off, and which not judged.

    Attempts at a prompt may be far apart: their texts are kept in a file without a name in `folder`, about as large as
    these; memory: 40 bytes for each attempt, and a digest for each prompt.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        index = _kept(attempts, file, _KINDS[options.rejected], facts, counts)
        counts.prompts_seen = len(index.asked)
        bounds = np.searchsorted(index.prompt, np.arange(len(index.asked) + 1))
        for number, place in enumerate(index.asked):
            rows = np.arange(bounds[number], bounds[number + 1])
            yield from _at_prompt(file, index, rows, int(place), options, counts)


def _kept(
    attempts: Iterable[Written], file: IO[bytes], kinds: tuple[int, ...], facts: RunFacts, counts: PairCounts
) -> _Index:
    """Write what pairs are made of to `file`."""
    place, prompt, kind, size, lot, asked = (array(code) for code in "qqbqQq")
    prompts: dict[bytes, int] = {}
    for attempt in attempts:
        which = _kind(attempt)
        if which is None or (which != _ACCEPTED and which not in kinds):
            continue
        if attempt.id in facts.unjudged:
            counts.unjudged += 1
            continue
        name = id_digest(attempt.prompt_id)
        if name not in prompts:
            prompts[name] = len(prompts)
            asked.append(_append(file, _Asked(attempt.prompt_id, attempt.group, attempt.asked)))
        prefix = which == _DISCARDED or (which == _FINISHED and attempt.id in facts.cut)
        side = _Side(attempt.id, attempt.text, attempt.weight, attempt.reason or "", prefix)
        place.append(_append(file, side))
        prompt.append(prompts[name])
        kind.append(which)
        size.append(len(attempt.text))
        lot.append(int.from_bytes(blake2b(attempt.id.encode(errors="replace"), digest_size=8).digest(), "big"))
    order = np.argsort(np.asarray(prompt), kind="stable")
    return _Index(
        np.asarray(place)[order],
        np.asarray(prompt)[order],
        np.asarray(kind)[order],
        np.asarray(size)[order],
        np.asarray(lot)[order],
        np.asarray(asked),
    )


def _kind(attempt: Written) -> int | None:
    """Return which side an attempt may be, None if it has no text to train on."""
    if attempt.accepted:
        return _ACCEPTED
    if not attempt.text or attempt.status == "failed":
        return None
    return _DISCARDED if attempt.status == "discarded" else _FINISHED


def _append(file: IO[bytes], record: msgspec.Struct) -> int:
    line = msgspec.json.encode(record)
    at = file.tell()
    file.write(len(line).to_bytes(8, "big") + line)
    return at


def _read(file: IO[bytes], place: int, kind: type[Any]) -> Any:
    file.seek(place)
    return msgspec.json.decode(file.read(int.from_bytes(file.read(8), "big")), type=kind)


def _at_prompt(
    file: IO[bytes], index: _Index, rows: NDArray[np.int64], place: int, options: PairOptions, counts: PairCounts
) -> Iterator[Record]:
    accepted = rows[index.kind[rows] == _ACCEPTED]
    rejected = rows[index.kind[rows] != _ACCEPTED]
    counts.none_accepted += not len(accepted)
    counts.only_accepted += not len(rejected)
    if not len(accepted) or not len(rejected):
        return
    if options.pairs == "one-per-prompt":
        accepted = accepted[np.argsort(index.lot[accepted])][:1]
        # The closest in length comes first, finished ones before prefixes.
        distance = np.abs(index.size[rejected] - index.size[accepted[0]])
        rejected = rejected[np.lexsort((index.lot[rejected], distance, index.kind[rejected]))]
    asked: _Asked = _read(file, place, _Asked)
    made = 0
    for row in accepted:
        chosen: _Side = _read(file, int(index.place[row]), _Side)
        for other in rejected:
            side: _Side = _read(file, int(index.place[other]), _Side)
            if chosen.text.startswith(side.text):
                counts.contained += 1
                continue
            outcome = "discarded" if index.kind[other] == _DISCARDED else "unaccepted"
            yield _pair(asked, chosen, side, outcome)
            counts.prefixes += side.prefix
            made += 1
            if options.pairs == "one-per-prompt":
                break
    counts.pairs += made
    counts.prompts += made > 0


def _pair(asked: _Asked, chosen: _Side, rejected: _Side, outcome: str) -> Record:
    pair = {
        "prompt": [msgspec.structs.asdict(message) for message in asked.messages],
        "chosen": [{"role": "assistant", "content": chosen.text}],
        "rejected": [{"role": "assistant", "content": rejected.text}],
        "prompt_id": asked.prompt_id,
        "chosen_id": chosen.id,
        "rejected_id": rejected.id,
        "rejected_outcome": outcome,
        "rejected_is_prefix": rejected.prefix,
        "rejected_reason": rejected.reason,
        "weight": chosen.weight,
    }
    return pair if asked.group is None else pair | {"group": asked.group}


def pair_columns() -> Any:
    """Return the columns of pairs in Parquet."""
    import pyarrow as pa

    said = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    texts = dict.fromkeys(("prompt_id", "chosen_id", "rejected_id", "rejected_outcome"), pa.string())
    more = {"rejected_is_prefix": pa.bool_(), "rejected_reason": pa.string(), "weight": pa.float64()}
    return pa.schema(dict.fromkeys(("prompt", "chosen", "rejected"), said) | texts | more | {"group": pa.string()})
