"""Near-duplicate prompts: found as defined, never for the template they share, and counted as one prompt."""

from itertools import combinations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from msifr_calibration.betting import binomial_p_value
from msifr_integrations.cli.options import ReadingOptions
from msifr_integrations.cli.tables import load_table
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import Fingerprint
from msifr_policy.records import near_duplicates as module
from msifr_policy.records.near_duplicates import ALIKE, FEWEST, KIN, RARE, WORDS, near_duplicates, sketch
from msifr_policy.records.traces import Trace, write_traces
from msifr_policy.validators import Length

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def groups(texts):
    return near_duplicates([sketch(text) for text in texts]).tolist()


def some_words(rng, n, vocabulary=5000):
    return [f"w{LETTERS[v // 676]}{LETTERS[v // 26 % 26]}{LETTERS[v % 26]}" for v in rng.integers(0, vocabulary, n)]


def edited(rng, words, changes):
    words = list(words)
    for _ in range(changes):
        words[rng.integers(len(words))] = some_words(rng, 1)[0]
    return words


STORY = some_words(np.random.default_rng(0), 60)
OTHERS = [" ".join(some_words(np.random.default_rng(seed), 60)) for seed in range(1, 9)]


def same_prompt(a, b):
    """Whether two texts are one prompt, among eight others that have nothing to do with them."""
    found = groups([a, *OTHERS, b])
    assert found[:-1] == list(range(9))
    return found[-1] == 0


def defined_pairs(texts):
    """The definition, word for word: indices over all shingles and over the rare ones, of texts of plain words."""
    words = [text.split() for text in texts]
    all_of = [{tuple(w[i : i + WORDS]) for i in range(len(w) - WORDS + 1)} for w in words]
    limit = min(max(5, len(texts) // 10), RARE)
    times = {}
    for shingles in all_of:
        for one in shingles:
            times[one] = times.get(one, 0) + 1
    rare_of = [{one for one in shingles if times[one] <= limit} for shingles in all_of]
    numbers = [[word for word in w if word.isdecimal()] for w in words]

    def index(sets, a, b):
        return len(sets[a] & sets[b]) / max(len(sets[a] | sets[b]), 1)

    pairs = {
        (a, b)
        for a, b in combinations(range(len(texts)), 2)
        if numbers[a] == numbers[b]
        and min(len(rare_of[a]), len(rare_of[b])) >= FEWEST
        and min(index(all_of, a, b), index(rare_of, a, b)) >= ALIKE
    }
    return pairs, lambda a, b: index(all_of, a, b)


@given(
    st.integers(0, 2**32),
    st.integers(2, 60),
    st.sampled_from([16, 30, 80]),
    st.sampled_from([0, 40]),
    st.integers(0, 2),
)
@settings(max_examples=60)
def test_groups_are_those_of_the_definition(seed, n, length, template, numbers):
    rng = np.random.default_rng(seed)
    shared = some_words(rng, template)
    originals = [some_words(rng, length) for _ in range(1 + n // 4)]
    texts = {}
    for _ in range(n):
        words = edited(rng, originals[rng.integers(len(originals))], rng.integers(0, 5))
        words += [str(rng.integers(1, 3)) for _ in range(numbers)]
        texts[" ".join(shared + words)] = None
    texts = list(texts)
    found = groups(texts)
    pairs, index = defined_pairs(texts)
    for a, b in pairs:  # none is missed, but where the first texts are strangers
        assert found[a] == found[b] or index(found[a], found[b]) < KIN
    joined = np.arange(len(texts))
    for a, b in sorted(pairs):  # and none is made up
        joined[joined == joined[b]] = joined[a]
    assert all(joined[text] == joined[first] and first <= text for text, first in enumerate(found))
    assert all(found[first] == first for first in found)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("What is the capital of France?", "  what is\nthe CAPITAL of France ", True),
        ("Der Fluß, “café” ﬁn", "der fluss cafe\u0301 fin", True),
        ("x² + 1", "x2 + 1", True),
        ("法国的首都是哪里？", "法国的首都是哪里", True),
        ("Is 3 - 5 positive?", "Is 3 5 positive?", False),
        ("Is .5 small?", "Is 5 small?", False),
        ("f(0.5)", "f(0, 5)", False),
        ("[ { } ]", "[ ] { }", False),
        ("a != b", "a == b", False),
        ("法国的首都是哪里", "德国的首都是哪里", False),
        ("What is the capital of France?", "What is the capital of Germany?", False),
    ],
)
def test_case_blanks_and_sentence_punctuation_make_no_prompt_and_signs_and_words_do(a, b, same):
    assert same_prompt(a, b) == same


def test_a_word_changed_in_a_long_text_makes_no_prompt_and_a_number_does():
    text = " ".join(["There", "are", "12", "birds", *STORY])
    assert same_prompt(text, text.replace(STORY[30], "something"))
    assert same_prompt(text, f"Please answer: {text}")
    assert not same_prompt(text, text.replace("12", "13"))
    assert not same_prompt(text, " ".join(["There", "are", "12", "birds", *edited(np.random.default_rng(1), STORY, 9)]))


def test_many_words_of_a_script_without_blanks_are_many_words():
    rng = np.random.default_rng(2)
    text = "".join(chr(c) for c in rng.integers(0x4E00, 0x9FFF, 80))
    assert same_prompt(text, text[:40] + "好" + text[41:])


def test_what_a_template_says_does_not_make_different_questions_one():
    rng = np.random.default_rng(3)
    template = " ".join(some_words(rng, 400))
    short = [" ".join(some_words(rng, 8)) for _ in range(100)]
    long = [some_words(rng, 40) for _ in range(100)]
    texts = [f"{template} {question}" for question in (*short, *map(" ".join, long))]
    assert groups(texts) == list(range(200))
    again = f"{template} {' '.join([*long[7][:20], 'another', *long[7][21:]])}"
    assert groups([*texts, again])[-1] == 107


def test_texts_are_near_duplicates_from_an_index_of_exactly_the_least():
    """Of 30 shingles, the first 24; the 6 that only one text has are the rarest, so the prefixes meet at their ends."""
    text = STORY[:32]
    assert same_prompt(" ".join(text), " ".join(text[:26]))
    assert not same_prompt(" ".join(text), " ".join(text[:25]))


def test_one_story_with_different_usual_questions_is_different_prompts():
    rng = np.random.default_rng(4)
    usual = [" ".join(some_words(rng, 20)) for _ in range(4)]
    stories = [" ".join(some_words(rng, 40)) for _ in range(200)]
    texts = [f"{story} {usual[i % 4]}" for i, story in enumerate(stories)]
    assert groups([*texts, f"{stories[0]} {usual[1]}"]) == list(range(201))


def test_texts_of_usual_sentences_in_an_order_of_their_own_are_different():
    """All that is rare is where two sentences meet; what tells the texts apart is usual."""
    rng = np.random.default_rng(5)
    sentences = [(some_words(rng, 6), some_words(rng, 6)) for _ in range(12)]

    def text(order, colours):
        return " ".join(" ".join((*sentences[s][0], c, *sentences[s][1])) for s, c in zip(order, colours, strict=True))

    texts = []
    for _ in range(150):
        order, colours = rng.permutation(12)[:5], rng.choice(["red", "blue"], 5)
        other = np.where(np.arange(5) == 2, np.where(colours == "red", "blue", "red"), colours)
        texts += [text(order, colours), text(order, other)]
    assert groups(texts) == list(range(300))


def test_a_chain_of_small_changes_does_not_take_in_all():
    rng = np.random.default_rng(6)
    words, texts = STORY, []
    for i in range(400):
        place = 2 * i % 60
        words = [*words[:place], *some_words(rng, 2), *words[place + 2 :]]
        texts.append(" ".join(words))
    found = groups(texts)
    pairs, _ = defined_pairs(texts)
    assert all((i, i + 1) in pairs for i in range(399))  # it is a chain
    assert max(found.count(first) for first in found) < 60
    assert found[1] == 0


def test_prompts_without_a_text_and_prompts_with_one_text_for_all_stay_their_own():
    assert groups(["", "", "  ", "\u3000", "???"]) == [0, 1, 2, 3, 4]
    assert groups(["How many?"] * 5) == [0, 1, 2, 3, 4]
    assert groups(["How many?", "", "How many?"]) == [0, 1, 2]
    assert groups(["How many?", "Who?", "how many", ""]) == [0, 1, 0, 3]
    assert groups([]) == []


@pytest.mark.parametrize(
    "text",
    ["a" + "\u0300\u0316" * 150_000, "x" * 300_000, "[]{}" * 75_000, "1." * 150_000, "\ud800 \udfff" * 1000, "\0" * 9],
    ids=["combining marks", "one word", "symbols", "one number", "surrogates", "zeros"],
)
def test_odd_texts_take_no_more_than_their_length(text):
    """Normalising 150,000 pairs of combining marks at once would take minutes."""
    one = sketch(text)
    assert one.shingles.nbytes <= 4 * module.MOST
    assert groups([text, "another prompt", text + " "]) == [0, 1, 0]


def test_long_texts_are_compared_by_a_sample_of_their_shingles():
    rng = np.random.default_rng(6)
    words = some_words(rng, 20_000, vocabulary=17_000)
    near, far = edited(rng, words, 600), edited(rng, words, 1500)  # indices 0.84 and 0.67, standard error 0.01
    assert groups([" ".join(w) for w in (words, near, far, some_words(rng, 20_000))]) == [0, 0, 2, 3]


def test_a_text_is_compared_with_one_that_is_sampled_by_what_the_sample_can_have():
    """Indices 0.85 and 0.75, standard error 0.01; 0.73 and 0.61 if what was sampled away counted as missing."""
    words = some_words(np.random.default_rng(8), 2730, vocabulary=17_000)
    assert same_prompt(" ".join(words[:2420]), " ".join(words[:2049]))
    assert not same_prompt(" ".join(words), " ".join(words[:2049]))


def test_groups_do_not_depend_on_how_much_is_compared_at_once(monkeypatch):
    rng = np.random.default_rng(7)
    texts = [" ".join(edited(rng, STORY, c % 5)) for c in range(40)] + OTHERS
    expected = groups(texts)
    assert 1 < len(set(expected[:40])) < 40
    monkeypatch.setattr(module, "_PAIRS", 3)
    monkeypatch.setattr(module, "_PLACES", 5)
    assert groups(texts) == expected


def attempt(prompt_id, prompt, number=0, **fields):
    return Trace(id=f"{prompt_id}/{number}", prompt_id=prompt_id, prompt=prompt, text="x" * 45, accepted=True, **fields)


def table_of(traces):
    return build_evidence(traces, EveryUnits(20, "characters"), [Length()])


def test_a_table_counts_near_duplicates_as_one_prompt(tmp_path):
    traces = [attempt("r", "why"), attempt("q", "Who?"), attempt("p", "Why?"), attempt("q", "Who?", 1)]
    table = table_of(traces)
    assert (table.prompt_ids, table.prompt.tolist(), table.merged) == (("p", "q"), [0, 1, 1, 0], 1)
    assert table.attempt_ids == ("p/0", "q/0", "q/1", "r/0")
    seen = Fingerprint.of(table)
    assert (seen.n_prompts, seen.shares(table_of(traces)).tolist()) == (2, [True, True])
    assert seen.shares(table_of([traces[1], traces[3], attempt("s", "How?")])).tolist() == [True, False]
    table.write(tmp_path / "table.parquet")
    back = EvidenceTable.read(tmp_path / "table.parquet")
    assert (back.prompt_ids, back.prompt.tolist(), back.merged) == (("p", "q"), [0, 1, 1, 0], 1)


def test_what_a_prompt_asks_of_its_validators_is_part_of_it():
    schemas = [{"type": "object", "required": [name]} for name in ("age", "name", "age")]
    table = table_of([attempt(f"p{i}", "Answer in JSON.", schema=schema) for i, schema in enumerate(schemas)])
    assert table.prompt_ids == ("p0", "p1")
    assert table_of([attempt(f"p{i}", "", schema=schema) for i, schema in enumerate(schemas)]).n_prompts == 3


def test_the_command_line_says_how_many_prompts_were_merged(tmp_path, capsys):
    path = tmp_path / "traces.jsonl"
    reading = ReadingOptions(None, "auto", "raise")
    write_traces(path, [attempt("p", "Why?"), attempt("q", "Who?"), attempt("r", "why")])
    table = load_table([str(path)], reading, EveryUnits(20, "characters"), [Length()]).table
    assert (table.n_prompts, table.merged) == (2, 1)
    said = " ".join(capsys.readouterr().out.split())
    assert "1 prompts are near-duplicates of others and count as one with them (2 prompts left)" in said
    write_traces(path, [attempt("p", "Why?"), attempt("q", "Who?")])
    load_table([str(path)], reading, EveryUnits(20, "characters"), [Length()])
    assert "near-duplicates" not in capsys.readouterr().out


def test_certificates_keep_their_promise_where_prompts_are_copied_under_other_ids():
    """Each of 60 prompts is there three times, f is exactly α, and copies are lost together (ρ = 1).

    Counted as independent, they certify f ≤ α wrongly in 19 % of calibrations instead of δ = 10 %. Each assertion fails
    for correct code with probability < 1e-6; 20,000 calibrations see an excess of 1.1 % with probability > 1 - 1e-3.
    """
    alpha, delta, repeats = 0.05, 0.1, 20_000
    rng = np.random.default_rng(8)
    traces = []
    for p in range(60):
        words = some_words(rng, 50)
        copies = (
            " ".join(words),
            "Please: " + " ".join(words).upper(),
            " ".join([*words[:25], "changed", *words[26:]]),
        )
        traces += [attempt(f"p{p}-{c}", text) for c, text in enumerate(copies)]
    counted_as_one = table_of(traces)
    as_independent = table_of([msgspec.structs.replace(trace, prompt="") for trace in traces])
    assert (counted_as_one.n_prompts, as_independent.n_prompts) == (60, 180)
    wrong = {}
    for name, table in (("one", counted_as_one), ("independent", as_independent)):
        _, first = np.unique(table.prompt, return_index=True)
        losses = (rng.random((repeats, 60)) < alpha).repeat(3, axis=1)[:, first].sum(axis=1)
        certifies = np.asarray([binomial_p_value(lost, len(first), alpha) <= delta for lost in range(len(first) + 1)])
        wrong[name] = int(certifies[losses].sum())
    assert wrong["one"] <= binom.isf(1e-6, repeats, delta)
    assert wrong["independent"] > binom.isf(1e-6, repeats, delta)
