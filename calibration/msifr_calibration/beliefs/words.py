"""Learning how much each word of prompt and text speaks for acceptance: the weights of the validator `words`.

A logistic regression on hashed grams (`msifr_policy.validators.words`), of all families together. With n buckets seen
so far, idf_i the inverse document frequency of bucket i, and for text and prompt each

    score = Σ_i idf_i·(u_i + v_i) / √(n + 4),

the log-odds at a checkpoint are the score of the text so far, the score of the prompt and an offset of the family. The
weights u are shared by all families, the weights v by those that share prompts (models on one benchmark): a family with
few prompts leans on the others, a benchmark with many has its own say (Daumé 2007). Ridge penalties hold both. Every
attempt weighs the same, spread over its checkpoints; n attempts at one prompt weigh √n, for they are not independent.

The sums over the texts so far are cumulative, so that one pass over the distinct words of each text, a sparse product,
evaluates all its checkpoints: loss and gradient cost O(words). Five regressions are fitted, each without a fifth of the
prompts; what each says of those is the cross-fitted score. New prompts are scored by the mean of the weights
(`fit_word_odds`), or each prompt, old or new, by the regression that has not seen its fold (`fit_word_sets`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit

from msifr_calibration.beliefs.stack import Stack
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import Trace
from msifr_policy.validators import Words
from msifr_policy.validators.words import BUCKETS, SMOOTHING, prompt_buckets, text_buckets

_RIDGE = 1.0
_OFFSET_RIDGE = 0.1
_ITERATIONS = 60
_LARGEST_UNIT = 2**15 - 1

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WordRows:
    """The hashed words behind a table, see `validators.words`.

    buckets: `[G]` of all attempts, in order. new: `[R]` how many of them become complete between the row before and
    this row. prompt_buckets `[Q]`, prompt_start `[P + 1]`: of each distinct prompt text; prompt_of: `[N]` which one.
    """

    buckets: NDArray[np.int32]
    new: Integers
    prompt_buckets: NDArray[np.int32]
    prompt_start: Integers
    prompt_of: Integers


@dataclass(frozen=True, slots=True)
class WordOdds:
    """What was learned: weights in nats, and cross-fitted scores.

    text, prompt: `[65,536]` means over the regressions, or `[5, 65,536]` of each. cross_fitted: `[R, 2]` the scores of
    text and prompt by the regression that did not see the row's prompt.
    """

    text: Array
    prompt: Array
    cross_fitted: Array


def read_words(table: EvidenceTable, traces: Sequence[Trace]) -> WordRows:
    """Return the hashed words of the attempts of `table`, whose texts are in `traces` (any order, by id).

    Raises `InputError` if a trace is missing.
    """
    by_id = {trace.id: trace for trace in traces}
    buckets: list[Integers] = []
    new: list[Integers] = []
    prompts: dict[str, int] = {}
    prompt_words: list[Integers] = []
    prompt_of = []
    for i, attempt in enumerate(table.attempt_ids):
        trace = by_id.get(attempt)
        if trace is None:
            raise InputError(f"no trace {attempt!r}", where="learned beliefs", remedy="give the traces of the table")
        words, ready = text_buckets(trace.text)
        seen = np.searchsorted(ready, table.position[table.start[i] : table.start[i + 1]], side="right")
        buckets.append(words[: seen[-1]])
        new.append(np.diff(seen, prepend=0))
        if trace.prompt not in prompts:
            prompts[trace.prompt] = len(prompts)
            prompt_words.append(prompt_buckets(trace.prompt))
        prompt_of.append(prompts[trace.prompt])
    sizes = [len(w) for w in prompt_words]
    return WordRows(
        np.concatenate(buckets).astype(np.int32),
        np.concatenate(new),
        np.concatenate(prompt_words).astype(np.int32),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.asarray(prompt_of, dtype=np.int64),
    )


def with_words(table: EvidenceTable, traces: Sequence[Trace], words: Words) -> EvidenceTable:
    """Return `table` with the columns of `words`, replayed as in flight over its traces."""
    if not table.n_attempts:
        columns = tuple(f"{words.name}.{column}" for column in words.columns)
        return table.with_scores(columns, np.zeros((0, len(columns))))
    by_id = {trace.id: trace for trace in traces}
    distinct = [by_id[i] for i in dict.fromkeys(table.attempt_ids)]
    scored = build_evidence(distinct, table.schedule, (words,), unit="characters")
    if scored.failures:
        # In flight a validator fails open; here it would only hide that nothing was learned.
        raise InputError(f"words could not be read: {scored.failures}", where="learned beliefs")
    place = {attempt_id: i for i, attempt_id in enumerate(scored.attempt_ids)}
    return table.join(scored.take(np.asarray([place[i] for i in table.attempt_ids])))


def fit_word_odds(
    stack: Stack, words: Sequence[WordRows], *, progress: Callable[[str], None] = lambda _: None
) -> list[WordOdds]:
    """Learn the weights of all families together, from the `words` of each. `progress` gets a line per regression."""
    grams = Grams(stack, words)
    fitted, scores = _cross_fit(grams, stack.folds, progress)
    mean = np.mean(fitted, axis=0)
    return [WordOdds(*grams.weights(mean, f), scores[stack.rows(f)]) for f in range(len(stack.tables))]


def fit_word_sets(
    stack: Stack, words: Sequence[WordRows], *, progress: Callable[[str], None] = lambda _: None
) -> WordOdds:
    """Learn a set of weights per fold that a family yet to come can use: only those, u, that all families share."""
    grams = Grams(stack, words, own=False)
    fitted, scores = _cross_fit(grams, range(stack.tells.shape[1]), progress)
    text, prompt = zip(*(grams.weights(theta, 0) for theta in fitted), strict=True)
    return WordOdds(np.stack(text), np.stack(prompt), scores)


def word_tensors(odds: WordOdds) -> dict[str, NDArray[Any]]:
    """Return the tensors of the validator of words, in fixed point, a unit for each set."""
    most = np.maximum(np.abs(odds.text).max(axis=-1), np.abs(odds.prompt).max(axis=-1))
    unit = np.maximum(most, 1e-12) / _LARGEST_UNIT
    return {
        "words.text": np.rint(odds.text / unit[..., None]).astype(np.int16),
        "words.prompt": np.rint(odds.prompt / unit[..., None]).astype(np.int16),
        "words.scale": unit,
    }


class _Scores(NamedTuple):
    text: Array
    prompt: Array
    offset: Array


class _Vocabulary:
    """The grams that T places of texts add, and their parameters: a bucket's, and a bucket's among linked families.

    buckets: `[G]` place by place. sizes: `[T]` how many each place adds. group: `[G]` of linked families (`linked`).
    """

    def __init__(self, buckets: Integers, sizes: Integers, group: Integers, n_documents: int, *, own: bool) -> None:
        frequency = np.bincount(buckets, minlength=BUCKETS)
        idf = np.log((1 + n_documents) / (1 + frequency)) + 1
        # A mean of one keeps the meaning of the ridge penalty from depending on the language.
        idf = idf / (idf[buckets].mean() if len(buckets) else 1.0)
        self.shared, of_shared = np.unique(buckets, return_inverse=True)
        self.own, of_own = np.unique((group * BUCKETS + buckets)[: len(buckets) * own], return_inverse=True)
        self.size = len(self.shared) + len(self.own)
        self._scale = np.concatenate([idf[self.shared], idf[self.own % BUCKETS]])
        columns = np.stack([of_shared, of_own + len(self.shared)], axis=1).ravel() if own else of_shared
        start = np.concatenate([[0], np.cumsum(sizes)]) * (1 + own)
        self._places = csr_array((self._scale[columns], columns, start), shape=(len(sizes), self.size))

    def added(self, theta: Array) -> Array:
        """Return `[T]` what the grams of each place weigh in all; theta are the vocabulary's parameters."""
        result: Array = self._places @ theta
        return result

    def gradient(self, by_place: Array) -> Array:
        """Return the gradient by theta from the gradient by `added`."""
        result: Array = self._places.T @ by_place
        return result

    def of_buckets(self, theta: Array, group: int) -> Array:
        """Return `[65,536]` the weights of all buckets for one group of linked families; 0 where none was seen."""
        shared, own = np.split(theta * self._scale, [len(self.shared)])
        result = np.zeros(BUCKETS)
        result[self.shared] = shared
        here = self.own // BUCKETS == group
        result[self.own[here] % BUCKETS] += own[here]
        return result


class Grams:
    """The grams of a stack of families: of every text so far, and of every distinct prompt."""

    def __init__(self, stack: Stack, words: Sequence[WordRows], *, own: bool = True) -> None:
        self.stack = stack
        self.group = linked(stack.tables)
        checks = stack.checks.astype(np.float64)
        per_attempt = np.maximum(np.bincount(stack.attempt, checks, len(stack.accepted)), 1)
        self.weight = checks / (per_attempt * np.sqrt(stack.per_prompt))[stack.attempt]

        new = np.concatenate([w.new for w in words])
        buckets = np.concatenate([w.buckets for w in words]).astype(np.int64)
        group_of_gram = np.repeat(self.group, [len(w.buckets) for w in words])
        self.text = _Vocabulary(buckets, new, group_of_gram, len(stack.accepted), own=own)
        self.text_norm = np.sqrt(self._so_far(new) + SMOOTHING)

        buckets = np.concatenate([w.prompt_buckets for w in words]).astype(np.int64)
        sizes = np.concatenate([np.diff(w.prompt_start) for w in words])
        n_prompts = np.cumsum([0, *(len(w.prompt_start) - 1 for w in words)])
        self.prompt_of = np.concatenate([w.prompt_of + o for w, o in zip(words, n_prompts, strict=False)])
        group_of_gram = np.repeat(self.group, [len(w.prompt_buckets) for w in words])
        self.prompt = _Vocabulary(buckets, sizes, group_of_gram, len(sizes), own=own)
        self.prompt_norm = np.sqrt(sizes + SMOOTHING)

    @property
    def size(self) -> int:
        """Number of parameters: of text, of prompts, and an offset per family."""
        return self.text.size + self.prompt.size + len(self.group)

    def split(self, theta: Array) -> list[Array]:
        """Return the parameters of text, of prompts, and the offsets of families."""
        return np.split(theta, np.cumsum([self.text.size, self.prompt.size]))

    def scores(self, theta: Array) -> _Scores:
        """Return `[R]` each: score of the text so far, score of the prompt, offset."""
        of_text, of_prompt, offset = self.split(theta)
        text = self._so_far(self.text.added(of_text)) / self.text_norm
        prompt = self.prompt.added(of_prompt) / self.prompt_norm
        attempt = self.stack.attempt
        return _Scores(text, prompt[self.prompt_of][attempt], offset[self.stack.family][attempt])

    def gradient(self, by_row: Array) -> Array:
        """Return the gradient by theta from the gradient by the log-odds of each row."""
        # A gram counts from its row on: its gradient is the sum over the later rows of its attempt.
        by_text = by_row / self.text_norm
        sums = np.cumsum(by_text)
        onward = sums[self.stack.start[1:] - 1][self.stack.attempt] - sums + by_text
        by_attempt = np.bincount(self.stack.attempt, by_row, len(self.stack.accepted))
        by_prompt = np.bincount(self.prompt_of, by_attempt, len(self.prompt_norm)) / self.prompt_norm
        return np.concatenate(
            [
                self.text.gradient(onward),
                self.prompt.gradient(by_prompt),
                np.bincount(self.stack.family, by_attempt, len(self.group)),
            ]
        )

    def _so_far(self, added: NDArray[Any]) -> NDArray[Any]:
        """Return `[R]` the sum of what the rows of each attempt added, up to each row."""
        sums = np.cumsum(added)
        return sums - (sums - added)[self.stack.start[:-1]][self.stack.attempt]

    def weights(self, theta: Array, family: int) -> tuple[Array, Array]:
        """Return `[65,536]` the weights of text and prompt of one family."""
        of_text, of_prompt, _ = self.split(theta)
        group = int(self.group[family])
        return self.text.of_buckets(of_text, group), self.prompt.of_buckets(of_prompt, group)


def linked(tables: Sequence[EvidenceTable]) -> Integers:
    """Return `[F]` a number per family, the same for families connected by shared prompts, also through others."""
    group = np.arange(len(tables))
    first: dict[str, int] = {}
    for f, table in enumerate(tables):
        for prompt in table.prompt_ids:
            group[group == group[f]] = group[first.setdefault(prompt, f)]
    return group


def _cross_fit(grams: Grams, folds: Sequence[int], progress: Callable[[str], None]) -> tuple[list[Array], Array]:
    """Return the parameters of a regression per fold, and `[R, 2]` what each says of the fold it was fitted without."""
    stack = grams.stack
    scores = np.zeros((len(stack.attempt), 2))
    fitted: list[Array] = []
    for fold in folds:
        progress(f"words {len(fitted) + 1} of {len(folds)}")
        theta = _fit(grams, stack.learned_from(fold))
        predicted = grams.scores(theta)
        rows = stack.held_out(fold)[stack.attempt]
        scores[rows] = np.column_stack([predicted.text, predicted.prompt])[rows]
        fitted.append(theta)
    return fitted, scores


def _fit(grams: Grams, use: NDArray[np.bool_]) -> Array:
    """Fit on the attempts `use` `[N]` by L-BFGS."""
    weight = grams.weight * use[grams.stack.attempt]
    sign = np.where(grams.stack.accepted, 1.0, -1.0)[grams.stack.attempt]
    ridge = np.full(grams.size, _RIDGE)
    ridge[-len(grams.group) :] = _OFFSET_RIDGE

    def loss(theta: Array) -> tuple[float, Array]:
        margin = sign * sum(grams.scores(theta))
        value = weight @ np.logaddexp(0.0, -margin) + 0.5 * ridge @ theta**2
        by_row = -weight * sign * expit(-margin)
        return float(value), grams.gradient(by_row) + ridge * theta

    options = {"maxiter": _ITERATIONS, "maxcor": 6, "ftol": 1e-5}
    result: Array = minimize(loss, np.zeros(grams.size), jac=True, method="L-BFGS-B", options=options).x
    return result
