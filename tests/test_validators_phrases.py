"""Phrases count where sentences begin, and nowhere else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.validators import Phrases, Verdict
from msifr_policy.validators.phrases import PHRASES
from msifr_policy.validators.readers.sentences import LIMIT, SentenceCutter

EXAMPLES = {
    "refusals": [
        "I'm sorry, but I can't help with that.",
        "I’m very sorry, I cannot provide medical advice",
        "Unfortunately, I am unable to answer",
        "As an AI language model, I cannot assist",
        "I must respectfully decline",
        "This request violates the rules",
        "> I'm sorry, I don't have access to it",
    ],
    "self_references": [
        "As an AI language model, it is not for me",
        "However, as a large language model I do",
        "I'm just an AI",
        "I am a virtual assistant",
        "Based on my training data, it",
        "I was trained by",
    ],
    "truncations": [
        "[truncated]",
        "... (continued)",
        "# ... rest of the code",
        "// existing code here",
        "The response was cut off",
        "I'll continue in the next message",
    ],
    "hedges": [
        "I think that it is 5",
        "So perhaps it is 5",
        "But I'm not entirely sure",
        "I am uncertain",
        "It seems that 5 is right",
        "- Maybe 5",
        "HMM, MAYBE 5",
    ],
}
PLAIN = [
    "A rule that I cannot help with is none.",
    "We cannot provide 5 apples to 3 boys",
    "I can't find the answer",
    "I apologize for the confusion. Let me redo it",
    "As an aide, Ann has 3 apples",
    "# The rest of 5 and 3",
    "She may be 5; that might be right",
    "The answer was cut in half",
]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in EXAMPLES.items() for text in texts])
def test_a_phrase_counts_at_the_beginning_of_a_sentence(name: str, text: str) -> None:
    """Of the text, of a line, and after the end of a sentence; in the midst of one it does not."""
    rule = Phrases()
    k = rule.columns.index(name)
    assert tuple(PHRASES)[k] == name
    for before in ("", "So it is 5.\n", "Is it 5? ", 'He said "5." '):
        assert rule.start("").feed(before + text).scores[k] >= 1
        assert rule.start("").feed(before + text + "\n" + text).scores[k] >= 2
    assert rule.start("").feed("they say that " + text[0].lower() + text[1:].replace(". ", ", ")).scores[k] == 0


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_has_no_phrases(text: str) -> None:
    assert set(Phrases().start("").feed(text).scores[:4]) == {0}


def test_verdict_and_sentences() -> None:
    two = "I cannot help with that.\n\nI'm sorry, but I can't assist you."
    assert Phrases().start("").feed(two).verdict is Verdict.UNKNOWN
    assert Phrases(refusals=2).start("").feed(two).verdict is Verdict.DEAD
    assert Phrases(refusals=3).start("").feed(two).verdict is Verdict.UNKNOWN
    assert Phrases().start("").feed(two).scores[-1] == 2


@given(
    pieces=st.lists(
        st.sampled_from(["a", ". ", ".", '"', " ", "\n", "?", "x" * 150, "b" * (LIMIT - 1), "! "]), max_size=14
    ),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=9),
)
def test_sentences_do_not_depend_on_chunks(pieces: list[str], sizes: list[int]) -> None:
    """They make up the text, none is longer than the limit, and cutting the text elsewhere gives the same."""
    text = "".join(pieces)
    whole, cutter = SentenceCutter(), SentenceCutter()
    expected = whole.feed(text)
    found, at = [], 0
    while at < len(text):
        size = sizes[at % len(sizes)]
        found += cutter.feed(text[at : at + size])
        at += size
    assert found == expected
    assert cutter.unfinished == whole.unfinished
    everything = [*expected, whole.unfinished]
    assert "".join(sentence for sentence, _, _ in everything) == text
    assert all(len(sentence) <= LIMIT + 5 for sentence, _, _ in everything)
    assert all(b[2] - a[2] == len(b[0]) for a, b in pairwise(everything))
