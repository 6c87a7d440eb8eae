"""Weights of words: the regression, what families share, and that scores are those of the validator in flight."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy.optimize import approx_fprime

from makers import make_traces
from msifr_calibration import Family
from msifr_calibration.beliefs.stack import stack_up
from msifr_calibration.beliefs.words import Grams, fit_word_odds, linked, read_words, with_words, word_tensors
from msifr_policy import EveryUnits, InputError, build_evidence
from msifr_policy.validators import Length
from msifr_policy.validators.words import SMOOTHING, Words, prompt_buckets, text_buckets
from msifr_policy.weights import remember, to_bytes


def attempts(n_prompts, seed, *, sign=1, prompts="p"):
    """Attempts whose text has the word "surely" when they are accepted (sign 1) or when not (−1), nine times of ten."""
    rng = np.random.default_rng(seed)
    traces = []
    for trace in make_traces(n_prompts, attempts=2, seed=seed, loop=0.0, slip=0.0):
        says = (trace.accepted == (sign > 0)) == (rng.random() < 0.9)
        text = f"{'surely' if says else 'perhaps'} {trace.text}"
        prompt_id = trace.prompt_id.replace("p", prompts)
        traces.append(msgspec.structs.replace(trace, text=text, prompt_id=prompt_id, tokens=len(text), token_ends=None))
    return traces


def table_of(traces):
    return build_evidence(traces, EveryUnits(20, "characters"), (Length(),))


def bucket_of(word):
    return int(text_buckets(f"{word} ")[0][0])


def odds_of(families, seed=0):
    tables = {name: table_of(traces) for name, traces in families.items()}
    words = [read_words(tables[name], traces) for name, traces in families.items()]
    odds = fit_word_odds([Family(name, table) for name, table in tables.items()], words, seed=seed)
    return dict(zip(families, odds, strict=True))


def test_the_gradient_is_that_of_the_scores():
    families = {"a": attempts(4, 1), "b": attempts(3, 2, prompts="q"), "c": attempts(2, 3)}
    tables = [table_of(traces) for traces in families.values()]
    words = [read_words(table, traces) for table, traces in zip(tables, families.values(), strict=True)]
    grams = Grams(stack_up(tables, 0), words)
    rng = np.random.default_rng(0)
    theta = rng.normal(size=grams.size)
    by_row = rng.normal(size=len(grams.stack.attempt))
    numeric = approx_fprime(theta, lambda t: by_row @ sum(grams.scores(t)), 1e-6)
    assert grams.gradient(by_row) == pytest.approx(numeric, abs=1e-5)


def test_scores_are_sums_over_the_distinct_words_so_far():
    """Against the definition, word by word, for every row."""
    traces = attempts(3, 5)
    table = table_of(traces)
    grams = Grams(stack_up([table], 0), [read_words(table, traces)])
    theta = np.random.default_rng(1).normal(size=grams.size)
    text, prompt = grams.weights(theta, 0)
    scores = grams.scores(theta)
    by_id = {trace.id: trace for trace in traces}
    for row, attempt in enumerate(table.attempt):
        trace = by_id[table.attempt_ids[attempt]]
        buckets, ready = text_buckets(trace.text)
        seen = buckets[ready <= table.position[row]]
        assert scores.text[row] == pytest.approx(text[seen].sum() / np.sqrt(len(seen) + SMOOTHING))
        seen = prompt_buckets(trace.prompt)
        assert scores.prompt[row] == pytest.approx(prompt[seen].sum() / np.sqrt(len(seen) + SMOOTHING))


def test_families_that_share_prompts_are_linked_also_through_others():
    tables = [table_of(attempts(n, seed, prompts=p)) for seed, (n, p) in enumerate([(3, "x"), (3, "y"), (2, "z")])]
    bridge = replace(tables[2], prompt_ids=(tables[0].prompt_ids[0], tables[1].prompt_ids[0]))
    assert len(set(linked(tables).tolist())) == 3
    assert len(set(linked([*tables[:2], bridge]).tolist())) == 1


def test_a_word_that_tells_is_found_and_replayed_in_flight():
    traces = attempts(150, 7)
    table = table_of(traces)
    odds = odds_of({"": traces}, seed=1)[""]
    assert odds.text[bucket_of("surely")] > 0.5
    assert odds.text[bucket_of("perhaps")] < -0.5
    accepted = table.accepted[table.attempt][table.is_checkpoint]
    score = odds.cross_fitted[table.is_checkpoint, 0]
    assert score[accepted].mean() > score[~accepted].mean() + 0.3
    words = Words(remember(to_bytes(word_tensors(odds))))
    replayed = with_words(table, traces, words).values[:, -2]
    # The cross-fitted score is of another fit; the mean of the five lies close to it.
    assert np.corrcoef(replayed[table.is_checkpoint], score)[0, 1] > 0.98


def test_linked_families_may_disagree_with_others():
    """In one benchmark the word speaks for, in another against; what is shared does not override what is their own."""
    families = {"a": attempts(120, 1), "b": attempts(120, 2, sign=-1, prompts="q")}
    odds = odds_of(families)
    assert odds["a"].text[bucket_of("surely")] > 0.3
    assert odds["b"].text[bucket_of("surely")] < -0.3


def test_a_family_with_few_prompts_leans_on_the_others():
    families = {"a": attempts(150, 1), "few": attempts(4, 2, prompts="q")}
    together = odds_of(families)["few"].text[bucket_of("surely")]
    alone = odds_of({"few": families["few"]})["few"].text[bucket_of("surely")]
    assert together > 0.4
    assert together > alone


def test_one_prompt_cannot_be_learned_from():
    with pytest.raises(InputError, match="too few prompts"):
        odds_of({"": attempts(1, 1)})
