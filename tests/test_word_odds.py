"""Weights of words: the regression, what families share, and that scores are those of the validator in flight."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.metrics import roc_auc_score

from makers import make_traces
from msifr_calibration import Family
from msifr_calibration.beliefs.pretrained import folds_and_questions
from msifr_calibration.beliefs.stack import folds_by_id, stack_up
from msifr_calibration.beliefs.words import (
    Grams,
    fit_word_odds,
    fit_word_sets,
    linked,
    read_words,
    with_words,
    word_tensors,
)
from msifr_policy import EveryUnits, InputError, build_evidence
from msifr_policy.validators import Length
from msifr_policy.validators.words import SMOOTHING, Words, prompt_buckets, prompt_fold, text_buckets
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


def stacked(tables, seed=0):
    return stack_up(tables, folds_by_id(tables, seed))


def odds_of(families, seed=0):
    tables = {name: table_of(traces) for name, traces in families.items()}
    words = [read_words(tables[name], traces) for name, traces in families.items()]
    odds = fit_word_odds(stacked(list(tables.values()), seed), words)
    return dict(zip(families, odds, strict=True))


def test_the_gradient_is_that_of_the_scores():
    families = {"a": attempts(4, 1), "b": attempts(3, 2, prompts="q"), "c": attempts(2, 3)}
    tables = [table_of(traces) for traces in families.values()]
    words = [read_words(table, traces) for table, traces in zip(tables, families.values(), strict=True)]
    grams = Grams(stacked(tables), words)
    rng = np.random.default_rng(0)
    theta = rng.normal(size=grams.size)
    by_row = rng.normal(size=len(grams.stack.attempt))
    numeric = approx_fprime(theta, lambda t: by_row @ sum(grams.scores(t)), 1e-6)
    assert grams.gradient(by_row) == pytest.approx(numeric, abs=1e-5)


def test_scores_are_sums_over_the_distinct_words_so_far():
    """Against the definition, word by word, for every row."""
    traces = attempts(3, 5)
    table = table_of(traces)
    grams = Grams(stacked([table]), [read_words(table, traces)])
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


def asked(traces, template="{} of {}?"):
    """The attempts with a prompt of two words for each question, one for its id and one that only it has."""
    prompts = {t.prompt_id: template.format(t.prompt_id, chr(0x4E00 + int(t.prompt_id[1:]))) for t in traces}
    return [msgspec.structs.replace(t, prompt=prompts[t.prompt_id]) for t in traces]


def sets_of(families):
    """Return the sets of weights learned from families of traces, their file, and the tables."""
    tables = [table_of(traces) for traces in families]
    words = [read_words(table, traces) for table, traces in zip(tables, families, strict=True)]
    both = [Family(str(i), *each) for i, each in enumerate(zip(tables, families, strict=True))]
    odds = fit_word_sets(stack_up(tables, *folds_and_questions(both)), words)
    return odds, to_bytes(word_tensors(odds)), tables


def test_the_fold_of_a_prompt_is_for_ever():
    """Shipped weights hang on it. 3,000 folds of 5 are even, but for one run in a million (χ² of 4 beyond 33.4)."""
    assert [prompt_fold(p, 5) for p in ("", "How many?", "2 + 2 = ?", "\ud800", "é")] == [1, 1, 0, 4, 3]
    assert prompt_fold("  how\nMANY? ", 5) == prompt_fold("How many?", 5)
    assert prompt_fold("How many?", 1) == 0
    counts = np.bincount([prompt_fold(f"question {i}", 5) for i in range(3000)], minlength=5)
    assert ((counts - 600) ** 2 / 600).sum() < 33.4


def test_a_set_is_not_changed_by_any_outcome_of_its_fold():
    """To the last bit, and also where a question of the fold was recorded with a template that puts it in another."""
    families = [asked(attempts(60, 1)), asked(attempts(60, 2), "Now, how much is {} of {}, if you please?")]
    before, _, tables = sets_of(families)
    both = [Family(str(i), *each) for i, each in enumerate(zip(tables, families, strict=True))]
    fold, question = folds_and_questions(both)
    elsewhere = [len(set(fold[question == q])) for q in set(question[fold == 2])]
    assert sum(n == 2 for n in elsewhere) > 10
    told = iter(np.isin(question, question[fold == 2]))
    changed = [{i for i in table.attempt_ids if next(told)} for table in tables]
    flipped = [
        [msgspec.structs.replace(t, accepted=t.accepted != (t.id in ids)) for t in traces]
        for traces, ids in zip(families, changed, strict=True)
    ]
    after = sets_of(flipped)[0]
    one, other = word_tensors(before), word_tensors(after)
    for name, array in one.items():
        assert [np.array_equal(array[s], other[name][s]) for s in range(5)] == [s == 2 for s in range(5)]


def test_every_prompt_is_read_in_flight_by_the_set_that_did_not_learn_from_it():
    families = [asked(attempts(60, 1)), asked(attempts(40, 2, prompts="p"))]
    odds, raw, tables = sets_of(families)
    replayed = [
        with_words(table, traces, Words(remember(raw))).values[:, -2:]
        for table, traces in zip(tables, families, strict=True)
    ]
    np.testing.assert_allclose(np.concatenate(replayed), odds.cross_fitted, atol=1e-3)  # fixed point


def test_no_set_remembers_how_attempts_at_its_prompts_ended():
    """Outcomes are a coin thrown for each prompt, and each prompt has a word of its own: there is nothing to know.

    Within a fold, for across folds scores know how many of the others were accepted. The area under the curve of 200
    prompts in five folds has standard deviation 0.042 then; it is within five of one half but for 6 in 10⁷ runs.
    """
    rng = np.random.default_rng(0)
    coin = rng.random(200) < 0.5
    traces = [msgspec.structs.replace(t, accepted=bool(coin[int(t.prompt_id[1:])])) for t in asked(attempts(200, 3))]
    odds, raw, (table,) = sets_of([traces])
    rolled = to_bytes({name: np.roll(array, 1, axis=0) for name, array in word_tensors(odds).items()})
    area = {}
    for name, weights in (("own", raw), ("other", rolled)):
        score = with_words(table, traces, Words(remember(weights))).values[table.end, -1]
        asked_of = {trace.id: trace.prompt for trace in traces}
        fold = np.asarray([prompt_fold(asked_of[i], 5) for i in table.attempt_ids])
        each = [roc_auc_score(table.accepted[fold == f], score[fold == f]) for f in range(5)]
        area[name] = np.mean(each)
    assert abs(area["own"] - 0.5) < 0.21
    assert area["other"] > 0.9


def test_weights_that_are_no_sets_are_refused():
    sets = {"words.text": np.zeros((2, 2**16), np.int16), "words.prompt": np.zeros((2, 2**16), np.int16)}
    assert Words(remember(to_bytes({**sets, "words.scale": np.ones(2)}))).start("a").feed("b").scores == (0, 0)
    for scale in (np.asarray(1.0), np.ones(3), np.ones((1, 2)), np.ones(0), np.asarray([1.0, np.nan])):
        with pytest.raises(InputError, match="validator words"):
            Words(remember(to_bytes({**sets, "words.scale": scale}))).start("")
