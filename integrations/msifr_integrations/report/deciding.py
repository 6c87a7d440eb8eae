"""Where in a text the evidence lies that decided: the pieces at which the deciding validator's contribution fell.

A validator is replayed over what it had seen at the checkpoint, first line by line, then word by word through the lines
that mattered. By its contract its evidence after each piece is what it would have been in flight, however the text is
cut. What each piece did is measured in the currency of decisions: what the validator adds to log(odds of M / r) at the
checkpoint, all other evidence as it was. For arithmetic, which hears a sentence to its end before it judges, the
equations themselves are shown.

Costs are bounded: a text is read `_LINES` pieces at most, and again in `_WORDS` for each place.
"""

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy import NO_PARAMETERS, Parameters
from msifr_policy.validators import Arithmetic, History, Length, Validator, Verdict
from msifr_policy.validators.base import Tokens
from msifr_policy.validators.equations.judge import Truth, judge, may_hold_equation
from msifr_policy.validators.equations.systems import DECIMAL
from msifr_policy.validators.parameters import for_prompt
from msifr_policy.validators.readers.clauses import Clause, ClauseCutter

MOST_PLACES = 4
FALSE = "false"
"""How the note on an equation that does not hold begins."""

_SHARE = 0.2  # of the whole fall; a piece with less of it is no place
_LINES, _WORDS = 256, 128
_LEAST = 0.05  # log-odds; a smaller fall decides nothing
_DEAD = 1e6  # log-odds; what is dead can become nothing

_WORD = re.compile(r"\S+\s*|\s+")  # everywhere one matches: a long blank is read but once

Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""What a validator adds to the log-odds by its scores `[n, D_v]`: `[n]`."""


class Place(NamedTuple):
    """text[start:end] is where evidence against the attempt arose; `note` says what it is, "" if that shows."""

    start: int
    end: int
    note: str = ""


Where = Literal["text", "everywhere", "prompt", "history"]


class Deciding(NamedTuple):
    """What decided: by name the deciding validator's scores at the checkpoint, and the places they are from.

    `where` most of it is: in places of the text; everywhere, where it grew little by little; in the prompt, where it
    was there before any text; or in the history, how earlier attempts at the prompt ended.
    """

    scores: dict[str, float]
    where: Where
    places: tuple[Place, ...]


class Recorded(NamedTuple):
    """How a text came in tokens: the characters complete after each, and what is known of each, as in a trace."""

    token_ends: Sequence[int] = ()
    logprobs: Sequence[float] = ()
    states: Sequence[tuple[float, ...]] = ()

    def between(self, start: int, end: int) -> Tokens:
        """Return the tokens that complete the characters after `start` up to `end`."""
        a, b = np.searchsorted(np.asarray(self.token_ends, dtype=np.int64), [start, end], side="right")
        states = tuple(self.states[a:b])
        spans = pairwise([0, *(place - start for place in self.token_ends[a:b])]) if states else ()
        return Tokens(int(b - a), tuple(self.logprobs[a:b]), states, tuple(spans))


NOT_RECORDED = Recorded()


def deciding_evidence(
    policy: FittedPolicy,
    reason: str,
    text: str,
    *,
    k: int,
    row: NDArray[np.float64],
    prompt: str = "",
    parameters: Parameters = NO_PARAMETERS,
    recorded: Recorded = NOT_RECORDED,
) -> Deciding | None:
    """Return what the validator named `reason` saw in `text`, the characters up to checkpoint k.

    row: `[D]` the policy's evidence there, NaN where it is not known. None if the policy has no such validator, or it
    fails.
    """
    v = next((i for i, each in enumerate(policy.validators) if each.name == reason), None)
    if v is None:
        return None
    try:
        validator = for_prompt(policy.validators[v], parameters)
        replay = _Replay(validator, text, prompt, recorded, _scorer(policy, v, k, row))
        scores = np.asarray(replay.over([len(text)])[-1].scores)
        where, places = _found(replay)
    except Exception:  # fail open, as the run did: a validator that fails shows nothing
        return None
    seen = _of_validator(policy, v, row)
    known = np.where(np.isfinite(seen), seen, scores)
    return Deciding(dict(zip(validator.columns, known.tolist(), strict=True)), where, places)


def _of_validator(policy: FittedPolicy, v: int, row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the columns of the v-th validator in a row of evidence."""
    start = sum(len(each.columns) for each in policy.validators[:v])
    return np.asarray(row[start : start + len(policy.validators[v].columns)], dtype=np.float64)


def _scorer(policy: FittedPolicy, v: int, k: int, row: NDArray[np.float64]) -> Score:
    widths = [len(each.columns) for each in policy.validators]
    owner = np.repeat(np.arange(len(widths)), widths)
    mine = owner == v

    def score(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.tile(np.asarray(row, dtype=np.float64), (len(scores), 1))
        values[:, mine] = scores
        return np.nan_to_num(policy.beliefs.contributions(np.full(len(scores), k), values, owner)[:, v])

    return score


class _Heard(NamedTuple):
    end: int
    scores: tuple[float, ...]
    added: float


class _Replay(NamedTuple):
    validator: Validator
    text: str
    prompt: str
    recorded: Recorded
    score: Score

    def over(self, ends: Sequence[int]) -> list[_Heard]:
        """Return what a fresh state has seen, and adds, at each of these ends of pieces; first of all at 0."""
        state = self.validator.start(self.prompt)
        heard, start = [], 0
        for end in (0, *ends):
            heard.append(state.feed(self.text[start:end], self.recorded.between(start, end)))
            start = end
        added = self.score(np.asarray([evidence.scores for evidence in heard], dtype=np.float64))
        added -= [_DEAD * (evidence.verdict == Verdict.DEAD) for evidence in heard]
        return [_Heard(end, each.scores, a) for end, each, a in zip((0, *ends), heard, added.tolist(), strict=True)]


def _found(replay: _Replay) -> tuple[Where, tuple[Place, ...]]:
    if isinstance(replay.validator, History):
        return "history", ()
    return _equations(replay) if isinstance(replay.validator, Arithmetic) else _falls(replay)


def _falls(replay: _Replay) -> tuple[Where, tuple[Place, ...]]:
    """Return the places where most of what the validator says against the attempt arose, in the order of the text."""
    lines = replay.over(_thinned([i + 1 for i, c in enumerate(replay.text) if c == "\n"], len(replay.text), _LINES))
    last = lines[-1].added
    whole = max(seen.added for seen in lines) - last
    if -lines[0].added > whole:
        return "prompt", ()
    if whole < _LEAST or isinstance(replay.validator, Length):
        return "everywhere", ()
    places = []
    for start, end, level in _steepest(lines, last, whole):
        words = _thinned([start + match.end() for match in _WORD.finditer(replay.text[start:end])], end, _WORDS)
        finer = [seen for seen in replay.over([start, *words] if start else words) if seen.end >= start]
        within = [place[:2] for place in _steepest(finer, level, whole)]
        # A line in which no word stands out is a place itself, unless it is most of the text.
        places += within or [(start, end)] * (2 * (end - start) < len(replay.text))
    chosen = [_trimmed(replay.text, *place) for place in sorted(set(places))[:MOST_PLACES]]
    found = tuple(place for place in chosen if place.end > place.start)
    return ("text" if found else "everywhere"), found


def _steepest(seen: Sequence[_Heard], level: float, whole: float) -> list[tuple[int, int, float]]:
    """Return the pieces (start, end) by which a good share of the `whole` was lost for good, the steepest first.

    What is made up for later is not lost: each piece counts by how far it lowers the highest of all that follow it,
    which is `level` after the last. It is given with the level that it leaves.
    """
    added = np.asarray([one.added for one in seen[:-1]] + [max(seen[-1].added, level)])
    best_ahead = np.maximum.accumulate(added[::-1])[::-1]
    fall = best_ahead[:-1] - best_ahead[1:]
    steep = np.argsort(-fall, kind="stable")[:MOST_PLACES]
    return [(seen[i].end, seen[i + 1].end, best_ahead[i + 1]) for i in steep.tolist() if fall[i] >= _SHARE * whole]


def _thinned(ends: Sequence[int], last: int, most: int) -> list[int]:
    """Return at most so many of the ends, evenly, and the last."""
    step = max(1, math.ceil(len(ends) / most))
    return [end for end in ends[step - 1 :: step] if end < last] + [last]


def _trimmed(text: str, start: int, end: int) -> Place:
    piece = text[start:end]
    return Place(start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip()))


class _False(NamedTuple):
    place: Place
    at: int  # the end of its clause


def _equations(replay: _Replay) -> tuple[Where, tuple[Place, ...]]:
    """Return the false equations that the validator counts, each with what would be right.

    It counts one when the text has claimed it, which may be a sentence later: of the equations that are false as they
    stand, those are meant that came last before the count rose.
    """
    clauses = list(ClauseCutter().feed(replay.text))
    false = _false_equations(clauses)
    seen = replay.over(_thinned([clause.end for clause in clauses], len(replay.text), 4 * _LINES))
    counted = replay.validator.columns.index("false")
    found: list[_False] = []
    for before, now in pairwise(seen):
        risen = int(now.scores[counted] - before.scores[counted])
        if risen > 0:
            known = [each for each in false if each.at <= now.end and each not in found]
            found += known[-risen:]
        elif risen < 0:
            del found[risen:]
    places = tuple(each.place for each in found[:MOST_PLACES])
    return ("text" if places else "everywhere"), places


def _false_equations(clauses: Sequence[Clause]) -> list[_False]:
    found = []
    start = 0
    for clause in clauses:
        if may_hold_equation(clause.text):
            for equation in judge(clause.text, DECIMAL, ""):
                if equation.truth is Truth.FALSE:
                    place = _trimmed(clause.text, 0, len(clause.text))
                    note = f"{FALSE}{_should_be(equation.value)}"
                    found.append(_False(Place(start + place.start, start + place.end, note), clause.end))
        start = clause.end
    return found


def _should_be(value: Fraction | None) -> str:
    if value is None:
        return ""
    return f": it is {value.numerator}" if value.denominator == 1 else f": it is about {float(value):.6g}"
