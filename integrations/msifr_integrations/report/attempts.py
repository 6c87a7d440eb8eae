"""The attempts that a report shows: which ones, and each as pieces of text with marks where it was decided.

What is shown does not depend on the order of files: lost attempts come first, then the other kinds in turn, within a
kind in the order of a hash of their ids. Texts are cut to a bound, around what is marked.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import zip_longest
from typing import Literal, NamedTuple, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_integrations.report.deciding import NOT_RECORDED, Deciding, Place, Recorded, deciding_evidence
from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy import NO_PARAMETERS, Parameters

Kind = Literal["lost", "discarded", "unaccepted", "kept", "failed"]
"""Discarded although it would have been accepted; otherwise discarded; finished and not accepted; finished and
accepted; never made."""

MOST_SHOWN = 200
_CHARACTERS = 6_000
"""Of an attempt's text and of its prompt; less where very many are shown."""
_IN_ALL = 4_000_000
_STEPS = 12  # at which beliefs are told
_WORDS = 200  # characters of an id or another name


class Decided(NamedTuple):
    """What the policy decided on an attempt: at checkpoint k after `position` characters and `tokens` units of cost.

    row: `[D]` the evidence there, NaN or None where it is not known.
    """

    k: int
    position: int
    spent: float
    reason: str
    posterior: float | None = None
    worth: float | None = None
    threshold: float | None = None
    row: NDArray[np.float64] | None = None


class Told(NamedTuple):
    """What is known of one attempt: its text as far as it was made in any run, and what became of it.

    cost: in full, None if it is not known. accepted None: not known, as of a discarded attempt. beliefs: the posterior
    M_k at the checkpoints that it reached, as far as they are known.
    """

    id: str
    kind: Kind
    group: str
    prompt: str
    text: str
    accepted: bool | None
    cost: float | None
    unit: str
    decided: Decided | None = None
    gold: str | None = None
    error: str = ""
    parameters: Parameters = NO_PARAMETERS
    recorded: Recorded = NOT_RECORDED
    beliefs: Sequence[float] = ()


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of an attempt's text; `mark` says what it is, `note` what there is to say of it.

    evidence: what spoke against it. decision: no text of the attempt, but where it was stopped. after: what it would
    have gone on with. cut: no text of the attempt, but how much of it is left out.
    """

    text: str
    mark: Literal["", "evidence", "decision", "after", "cut"] = ""
    note: str = ""


class Shown(msgspec.Struct, frozen=True):
    """An attempt as the viewer shows it: `facts` are names with values."""

    id: str
    kind: Kind
    group: str
    reason: str
    prompt: str
    parts: list[Piece]
    facts: list[tuple[str, str]]


def choose(ids: Sequence[str], kinds: Sequence[Kind], most: int = MOST_SHOWN) -> list[int]:
    """Return which attempts to show, at most so many, kind by kind: all lost ones first, then the others in turn."""
    by_kind: dict[Kind, list[int]] = {kind: [] for kind in get_args(Kind)}
    for i, kind in enumerate(kinds):
        by_kind[kind].append(i)

    def drawn(i: int) -> bytes:
        return blake2b(ids[i].encode(errors="surrogatepass"), digest_size=8).digest()

    # Sorting by the hash and not by the id: ids of one prompt, or of one file, are alike.
    ordered = {kind: sorted(members, key=drawn)[:most] for kind, members in by_kind.items()}
    chosen = ordered["lost"][:most]
    in_turn = zip_longest(*(ordered[kind] for kind in get_args(Kind)[1:]))
    chosen += [i for turn in in_turn for i in turn if i is not None][: most - len(chosen)]
    place = {kind: n for n, kind in enumerate(get_args(Kind))}
    return sorted(chosen, key=lambda i: (place[kinds[i]], drawn(i)))


def shown(told: Told, policy: FittedPolicy | None, n_shown: int) -> Shown:
    """Return an attempt as the viewer shows it, one of `n_shown`; without a policy nothing is highlighted."""
    decided, characters = told.decided, min(_CHARACTERS, _IN_ALL // max(n_shown, 1))
    deciding = None
    if decided is not None and policy is not None:
        row = np.full(len(policy.beliefs.columns), np.nan) if decided.row is None else decided.row
        deciding = deciding_evidence(
            policy, decided.reason, told.text[: decided.position], k=decided.k, row=row, prompt=told.prompt,
            parameters=told.parameters, recorded=told.recorded,
        )  # fmt: skip
    parts = list(_parts(told, deciding))
    each = max(80, characters // max(1, sum(part.mark != "decision" for part in parts)))
    return Shown(
        id=_short(told.id),
        kind=told.kind,
        group=_short(told.group),
        reason=_short(decided.reason) if decided else "",
        prompt="".join(part.text for part in _cut(Piece(told.prompt), characters // 2)),
        parts=[piece for part in parts for piece in (_cut(part, each) if part.mark != "decision" else (part,))],
        facts=list(_facts(told, deciding)),
    )


def _short(words: str) -> str:
    return words if len(words) <= _WORDS else f"{words[:_WORDS]}…"


def _parts(told: Told, deciding: Deciding | None) -> Iterator[Piece]:
    decided, text = told.decided, told.text
    stop = len(text) if decided is None else decided.position
    end = 0
    for place in _apart(deciding.places) if deciding else ():
        yield Piece(text[end : place.start])
        yield Piece(text[place.start : place.end], "evidence", place.note)
        end = place.end
    yield Piece(text[end:stop])
    if decided is not None:
        where = f"stopped at checkpoint {decided.k}" if decided.k else "stopped before the first token"
        yield Piece(f"{where}, after {decided.spent:.0f} {told.unit}", "decision")
        yield Piece(text[stop:], "after")


def _apart(places: Sequence[Place]) -> Iterator[Place]:
    """Yield the places in the order of the text; of those that overlap the first, with all they say."""
    end = -1
    for place in sorted(places):
        if place.start >= end:
            same = [p.note for p in places if p.start < place.end and p.end > place.start and p.note]
            yield place._replace(note="; ".join(dict.fromkeys(same)))
            end = place.end


def _cut(part: Piece, most: int) -> Iterator[Piece]:
    """Yield the part, or where it is longer its beginning and its end with a remark between them."""
    text = part.text
    if len(text) <= most:
        if text:
            yield part
        return
    half = most // 2
    yield msgspec.structs.replace(part, text=text[:half])
    yield Piece(f"[{len(text) - 2 * half:,} characters left out]", "cut")
    yield msgspec.structs.replace(part, text=text[len(text) - half :], note="")


_FATES: dict[Kind, str] = {
    "lost": "lost: discarded, and it would have been accepted",
    "discarded": "discarded, and it would not have been accepted",
    "unaccepted": "finished, and not accepted by the final filter",
    "kept": "finished and accepted",
    "failed": "never made",
}


_WHERE = {
    "everywhere": "in no single place: it grew little by little",
    "history": "in how earlier attempts at the prompt ended",
    "prompt": "more in the prompt than in the text: most of it was there before the first word",
}


def _facts(told: Told, deciding: Deciding | None) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of an attempt, by name."""
    decided = told.decided
    unknown = told.kind == "discarded" and told.accepted is None
    yield "fate", "discarded; how it would have ended is not known" if unknown else _FATES[told.kind]
    if decided is not None:
        yield "stopped", f"at checkpoint {decided.k}" if decided.k else "before its first token (checkpoint 0)"
        if decided.posterior is not None:
            yield "posterior", f"{decided.posterior:.1%} believed to be accepted in the end"
        if decided.worth is not None and decided.threshold is not None:
            below = decided.worth < decided.threshold
            yield (
                "worth",
                f"{decided.worth:.3f}, {'below' if below else 'not below'} the threshold {decided.threshold:.3f}",
            )
        yield "reason", _short(decided.reason) or "none was named"
    if deciding is not None and decided is not None:
        known = ", ".join(f"{name} {value:.4g}" for name, value in deciding.scores.items() if not np.isnan(value))
        yield f"evidence of {decided.reason}", known or "it knew nothing"
        if deciding.where != "text":
            yield "where", _WHERE[deciding.where]
    if len(told.beliefs) > 1:
        yield "posterior on its way", _on_the_way(told.beliefs)
    yield "cost", _cost(told)
    if told.gold is not None:
        yield "reference answer", _short(told.gold)
    if told.error:
        yield "error", _short(told.error)


def _on_the_way(beliefs: Sequence[float]) -> str:
    """Return beliefs from checkpoint to checkpoint, some left out where there are many, never the last."""
    step = -(-len(beliefs) // _STEPS)
    chosen = [*beliefs[: len(beliefs) - 1 : step], beliefs[-1]]
    every = "" if step == 1 else f" (every {step} checkpoints)"
    return " → ".join(f"{belief:.0%}" for belief in chosen) + every


def _cost(told: Told) -> str:
    spent = told.decided.spent if told.decided else told.cost
    if told.decided and told.cost is not None:
        return f"{spent:.0f} {told.unit} instead of {told.cost:.0f}"
    return "not known" if spent is None else f"{spent:.0f} {told.unit}"
