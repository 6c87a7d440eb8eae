"""Learning how much each word of prompt and text speaks for acceptance: the weights of the validator `words`.

A logistic regression on hashed grams (`msifr_policy.validators.words`), of all families together. With n buckets seen
so far, idf_i the inverse document frequency of bucket i, and for text and prompt each

    score = Σ_i idf_i·(u_i + v_i) / √(n + 4),

the log-odds at a checkpoint are the score of the text so far, the score of the prompt and an offset of the family. The
weights u are shared by all families, the weights v by those that share prompts (models on one benchmark): a family with
few prompts leans on the others, a benchmark with many has its own say (Daumé 2007). Ridge penalties hold both. Every
attempt weighs the same, spread over its checkpoints; n attempts at one prompt weigh √n, for they are not independent.

The sums over the texts so far are cumulative, so that one pass over the distinct words of each text evaluates all its
checkpoints: loss and gradient cost O(words). Five regressions are fitted, each without a fifth of the prompts; what
each says of those is the cross-fitted score. New prompts are scored by the mean of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from msifr_calibration.split import shared_folds
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import Trace
from msifr_policy.validators.words import BUCKETS, SMOOTHING, prompt_buckets, text_buckets

__all__ = ["WordOdds", "WordRows", "learn_word_odds", "read_words"]

_RIDGE = 1.0
_OFFSET_RIDGE = 0.1
_ITERATIONS = 60

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
    """What was learned for one family: weights `[65,536]` in nats, and cross-fitted scores.

    text, prompt: means over the regressions. cross_fitted: `[R, 2]` the scores of text and prompt by the regression
    that did not see the row's prompt.
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
            raise InputError(f"no trace {attempt!r}", where="learned posterior", remedy="give the traces of the table")
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


def learn_word_odds(
    tables: Mapping[str, EvidenceTable],
    words: Mapping[str, WordRows],
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, WordOdds]:
    """Learn the weights of all families together. `progress` is called with a line per regression.

    Raises `InputError` if all prompts fall into one fold.
    """
    grams = _Grams(tables, words)
    fold = shared_folds(tables, seed)
    scores = np.zeros((len(grams.attempt), 2))
    fitted = []
    for held in np.unique(fold).tolist():
        progress(f"words {held + 1} of {fold.max() + 1}")
        theta = _fit(grams, fold != held)
        parts = grams.scores(theta)
        mine = (fold == held)[grams.attempt]
        scores[mine] = np.column_stack([parts.text, parts.prompt])[mine]
        fitted.append(theta)
    mean = np.mean(fitted, axis=0)
    return {
        name: WordOdds(*grams.weights(mean, f), scores[grams.first_row[f] : grams.first_row[f + 1]])
        for f, name in enumerate(tables)
    }


class _Scores(NamedTuple):
    text: Array
    prompt: Array
    offset: Array


class _Vocabulary:
    """Which parameters each of G grams has: its bucket's, and its bucket's among the families that share prompts."""

    def __init__(self, buckets: Integers, kin: Integers, n_documents: int) -> None:
        frequency = np.bincount(buckets, minlength=BUCKETS)
        idf = np.log((1 + n_documents) / (1 + frequency)) + 1
        # A mean of one keeps the meaning of the ridge penalty from depending on the language.
        self.idf = idf / (idf[buckets].mean() if len(buckets) else 1.0)
        self.shared, self.of_shared = np.unique(buckets, return_inverse=True)
        self.own, self.of_own = np.unique(kin * BUCKETS + buckets, return_inverse=True)
        self.size = len(self.shared) + len(self.own)
        self._scale = np.concatenate([self.idf[self.shared], self.idf[self.own % BUCKETS]])

    def of_grams(self, theta: Array) -> Array:
        """Return `[G]` the weight of each gram; theta are the vocabulary's parameters."""
        scaled = theta * self._scale
        result: Array = scaled[: len(self.shared)][self.of_shared] + scaled[len(self.shared) :][self.of_own]
        return result

    def gradient(self, by_gram: Array) -> Array:
        """Return the gradient by theta from the gradient by the weights of grams `[G]`."""
        shared = np.bincount(self.of_shared, by_gram, len(self.shared))
        own = np.bincount(self.of_own, by_gram, len(self.own))
        return np.concatenate([shared, own]) * self._scale

    def of_buckets(self, theta: Array, kin: int) -> Array:
        """Return `[65,536]` the weights of all buckets for families of one kin; 0 where none was seen."""
        scaled = theta * self._scale
        result = np.zeros(BUCKETS)
        result[self.shared] = scaled[: len(self.shared)]
        mine = self.own // BUCKETS == kin
        result[self.own[mine] % BUCKETS] += scaled[len(self.shared) :][mine]
        return result


class _Grams:
    """All families end to end: rows, attempts, distinct prompts, each with their grams."""

    def __init__(self, tables: Mapping[str, EvidenceTable], words: Mapping[str, WordRows]) -> None:
        every, rows = list(tables.values()), [words[name] for name in tables]
        kin = _kin(every)
        n_attempts = [table.n_attempts for table in every]
        self.first_row = np.cumsum([0, *(len(table.k) for table in every)])
        self.start = np.concatenate([[0], *(t.start[1:] + o for t, o in zip(every, self.first_row, strict=False))])
        self.attempt = np.concatenate([t.attempt + o for t, o in zip(every, np.cumsum([0, *n_attempts]), strict=False)])
        self.family = np.repeat(np.arange(len(every)), n_attempts)
        self.kin = kin
        self.accepted = np.concatenate([table.accepted for table in every])
        checks = np.concatenate([table.is_checkpoint for table in every]).astype(np.float64)
        per_attempt = np.bincount(self.attempt, checks, len(self.accepted))
        per_prompt = np.concatenate([np.bincount(table.prompt)[table.prompt] for table in every])
        self.weight = checks / np.maximum(per_attempt, 1)[self.attempt] / np.sqrt(per_prompt)[self.attempt]

        self.new = np.concatenate([w.new for w in rows])
        self.seen = np.cumsum(self.new)
        self.before = (self.seen - self.new)[self.start[:-1]][self.attempt]
        buckets = np.concatenate([w.buckets for w in rows]).astype(np.int64)
        self.text = _Vocabulary(buckets, np.repeat(kin, [len(w.buckets) for w in rows]), len(self.accepted))
        self.text_norm = np.sqrt(self.seen - self.before + SMOOTHING)

        buckets = np.concatenate([w.prompt_buckets for w in rows]).astype(np.int64)
        self.prompt_sizes = np.concatenate([np.diff(w.prompt_start) for w in rows])
        self.prompt_ends = np.concatenate([[0], np.cumsum(self.prompt_sizes)])
        n_prompts = np.cumsum([0, *(len(w.prompt_start) - 1 for w in rows)])
        self.prompt_of = np.concatenate([w.prompt_of + o for w, o in zip(rows, n_prompts, strict=False)])
        kin_of_gram = np.repeat(kin, [len(w.prompt_buckets) for w in rows])
        self.prompt = _Vocabulary(buckets, kin_of_gram, len(self.prompt_sizes))
        self.prompt_norm = np.sqrt(self.prompt_sizes + SMOOTHING)

    def split(self, theta: Array) -> tuple[Array, Array, Array]:
        """Return the parameters of text, of prompts, and the offsets of families."""
        a = self.text.size
        b = a + self.prompt.size
        return theta[:a], theta[a:b], theta[b:]

    def scores(self, theta: Array) -> _Scores:
        """Return `[R]` each: score of the text so far, score of the prompt, offset."""
        of_text, of_prompt, offset = self.split(theta)
        sums = np.concatenate([[0.0], np.cumsum(self.text.of_grams(of_text))])
        text = (sums[self.seen] - sums[self.before]) / self.text_norm
        sums = np.concatenate([[0.0], np.cumsum(self.prompt.of_grams(of_prompt))])
        prompt = np.diff(sums[self.prompt_ends]) / self.prompt_norm
        return _Scores(text, prompt[self.prompt_of][self.attempt], offset[self.family][self.attempt])

    def gradient(self, by_row: Array) -> Array:
        """Return the gradient by theta from the gradient by the log-odds of each row."""
        # A gram counts from its row on: its gradient is the sum over the later rows of its attempt.
        by_text = by_row / self.text_norm
        sums = np.cumsum(by_text)
        onward = sums[self.start[1:] - 1][self.attempt] - sums + by_text
        by_attempt = np.bincount(self.attempt, by_row, len(self.accepted))
        by_prompt = np.bincount(self.prompt_of, by_attempt, len(self.prompt_sizes)) / self.prompt_norm
        return np.concatenate(
            [
                self.text.gradient(np.repeat(onward, self.new)),
                self.prompt.gradient(np.repeat(by_prompt, self.prompt_sizes)),
                np.bincount(self.family, by_attempt, len(self.kin)),
            ]
        )

    def weights(self, theta: Array, family: int) -> tuple[Array, Array]:
        """Return `[65,536]` the weights of text and prompt of one family."""
        of_text, of_prompt, _ = self.split(theta)
        kin = int(self.kin[family])
        return self.text.of_buckets(of_text, kin), self.prompt.of_buckets(of_prompt, kin)


def _kin(tables: Sequence[EvidenceTable]) -> Integers:
    """Return `[F]` a number per family, the same for families connected by shared prompts."""
    kin = list(range(len(tables)))
    first: dict[str, int] = {}
    for f, table in enumerate(tables):
        for prompt in table.prompt_ids:
            other = kin[first.setdefault(prompt, f)]
            if other != kin[f]:
                mine = kin[f]
                kin = [other if number == mine else number for number in kin]
    return np.asarray(kin, dtype=np.int64)


def _fit(grams: _Grams, use: NDArray[np.bool_]) -> Array:
    """Fit on the attempts `use` `[N]` by L-BFGS."""
    weight = grams.weight * use[grams.attempt]
    sign = np.where(grams.accepted, 1.0, -1.0)[grams.attempt]
    size = grams.text.size + grams.prompt.size
    ridge = np.concatenate([np.full(size, _RIDGE), np.full(len(grams.kin), _OFFSET_RIDGE)])

    def loss(theta: Array) -> tuple[float, Array]:
        margin = sign * sum(grams.scores(theta))
        value = weight @ np.logaddexp(0.0, -margin) + 0.5 * ridge @ theta**2
        by_row = -weight * sign * expit(-margin)
        return float(value), grams.gradient(by_row) + ridge * theta

    options = {"maxiter": _ITERATIONS, "maxcor": 6, "ftol": 1e-5}
    result: Array = minimize(loss, np.zeros(len(ridge)), jac=True, method="L-BFGS-B", options=options).x
    return result
