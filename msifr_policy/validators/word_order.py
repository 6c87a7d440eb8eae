"""Word sorting: whether a text that sorts words claims an order that is false.

The prompt is a list of words, or ends in one after `List:`. A *claim* is two of these in quotation marks with "<"
and no other word between them, as in `(2) "bat" < (3) ["cat" ? "cow"]`; it is *false* unless the first comes before the
second in the alphabet.
"""

import re

from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence

MOST_WORDS = 1000
"""A prompt with more words is no list."""


class WordOrder(Rule, frozen=True):
    """Checks claims of alphabetical order.

    The verdict is UNKNOWN, since a text may correct itself; with `first_false_counts` it is DEAD from the first false
    claim on.
    """

    name = "word_order"
    columns = ("claims", "false")
    """`claims`: claims so far; `false`: those of them that are false. All NaN if the prompt is no list of words."""
    first_false_counts: bool = False

    def _state(self, prompt: str) -> TextState:
        words = _words(prompt)
        return _WordOrderState(self, words) if words else Silence(self.columns)


_WORD = re.compile("[a-z]{1,40}")
_TOKEN = re.compile(r'["“”`]([^"“”`\s]{1,40})["“”`]|[<?.;:\n]')
_UNFINISHED = re.compile(r'["“”`][^"“”`\s]{0,40}\Z')


def _words(prompt: str) -> frozenset[str]:
    """Return the words to be sorted, of letters only (of others the order is a matter of taste)."""
    words = prompt.rpartition("List:")[2].lower().split()
    listed = 2 <= len(words) <= MOST_WORDS and all(word.replace("-", "").replace("'", "").isalnum() for word in words)
    return frozenset(filter(_WORD.fullmatch, words)) if listed else frozenset()


def unfinished_word(text: str, at: int) -> str:
    """Return the quotation mark and the letters of a word, after `at`, that may go on."""
    match = _UNFINISHED.search(text, max(at, len(text) - 41))
    return match[0] if match else ""


class _WordOrderState(TextState):
    def __init__(self, rule: WordOrder, words: frozenset[str]) -> None:
        self._rule = rule
        self._words = words
        self._tail = ""  # an unfinished word
        self._last = ""  # word
        self._less = False  # "<" after it
        self._claims = self._false = 0

    def _read(self, text: str) -> Evidence:
        text = self._tail + text
        end = 0
        for match in _TOKEN.finditer(text):
            end = match.end()
            if match[1]:
                self._take(match[1].lower())
            elif match[0] == "<":
                self._less = True
            else:
                self._last, self._less = "", False
        self._tail = unfinished_word(text, end)
        return evidence(self._claims, self._false, dead=self._rule.first_false_counts and self._false > 0)

    def _take(self, word: str) -> None:
        if self._less and self._last in self._words and word in self._words:
            self._claims += 1
            self._false += self._last >= word
        self._last, self._less = word, False
