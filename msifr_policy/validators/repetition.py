"""Loops: text that repeats itself verbatim, and text that says little new.

Everything is computed at fixed positions, each `STEP` characters of the text, so that chunking cannot
matter; what comes after the last such position waits for the next one.

**Verbatim.** The text ends in a loop of period p and length L ≥ 2p if its last L characters equal those p
characters before, as far back as a window reaches. A candidate for p is the distance between the
last characters and an earlier occurrence of them, looked for only where the words are not
new: at each look in the last `WINDOW` characters, each `FAR_STEP` characters in the last `FAR`, where a period found is
followed until it has come twice. A loop is followed at the cost of one comparison per step, so L may grow beyond
both.

**Kinds.** Much that is equal is no fault: a matrix of zeros, a table, a picture of characters, base64. So a loop is
of one of six kinds, by its period (`loop_kind`):

* *text*: much of what is seen are words in a row, of at least two letters, beside formulas or not, or it has more than
  `_ROWS` different lines, or a mark of a turn, of thought or of the end, as chat templates have;
* *verse*: such words in short lines that seldom end a sentence, as a refrain has;
* *formula*: anything else that holds a formula: equal terms may be summed;
* *rows*: anything else with a line break or a list in a list: rows of a table or of a matrix, equal records;
* *cells*: anything else within a line: numbers, list items, rules, codes (DNA, hexadecimal), one character;
* *blank*: white space alone.

The last three are *trivial*. Where the prompt orders something to be written many times, none is worse than rows.

**Novelty.** Share of the last words that end a sequence of `GRAM` words not seen among the last
`MEMORY` such sequences; numbers are taken for equal, and so are capitals and small letters (of ASCII), so
that counting up ("Step 41", "step 42") is not new. Words and lines are known by the CRC-32 of their UTF-8:
a text gives the same evidence in every process.
"""

import math
import re
import zlib
from bisect import bisect_left
from collections import deque
from collections.abc import Hashable
from typing import Literal

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence

STEP = 64
"""Characters between two looks."""
WINDOW = 4096
"""Characters that two periods of at most `NEAR` characters are looked for in at each look."""
NEAR = WINDOW // 2 - STEP
"""So many that what came before two periods is seen too: the first of them may begin between two looks."""
NEEDLE = 48
"""Characters that must recur for a period to be tried."""
TRIES = 3
"""Earlier occurrences tried at each look."""
FAR = 24_576
"""Characters that longer periods are looked for in."""
FAR_STEP = 1024
"""Characters between two looks so far back, a multiple of `STEP`."""
FAR_NEEDLE = 256
"""Characters that must recur for a longer period to be followed."""
GRAM = 6
"""Words in a sequence."""
RECENT = 64
"""Words that novelty is a share of."""
MEMORY = 4096
"""Word sequences remembered."""

Kind = Literal["text", "verse", "formula", "rows", "cells", "blank"]
_TRIVIAL: frozenset[Kind] = frozenset({"rows", "cells", "blank"})
_PATIENCE = 4
"""Times that verse and formulas may be as long as other text."""


class Repetition(Rule, frozen=True):
    """Finds loops at the end of the text.

    The verdict is DEAD while the text ends in a loop that is too long for its kind; else UNKNOWN. Too long is text of
    at least `characters` characters and `repeats` periods, verse and formulas four times as long; `blank` characters
    of white space; `trivial` of other cells, since lists of equal items may be right answers; `rows` of equal rows,
    since a matrix grows with the square of its side.
    """

    name = "repetition"
    version = "3"
    columns = ("loop", "repeats", "period", "trivial", "longest", "novelty", "old_lines")
    """`loop`: characters of the loop at the end that is not trivial, 0 without one; `repeats`: its periods; `period`:
    characters of one; `trivial`: characters of a trivial loop at the end; `longest`: the longest `loop`
    so far; `novelty`: share of the recent words that end a new sequence, NaN before the first;
    `old_lines`: share of the recent lines seen before, NaN before the first.
    """
    characters: int = 300
    repeats: float = 3.0
    trivial: int = 3000
    rows: int = 20_000
    blank: int = 1000

    def __post_init__(self) -> None:
        least = 2 * STEP
        for field in ("characters", "trivial", "rows", "blank"):
            self._check(field, getattr(self, field) >= least, f"be at least {least}")
        self._check("repeats", self.repeats >= 2, "be at least 2")

    def _state(self, prompt: str) -> TextState:
        return _RepetitionState(self, ordered=_orders_repetition(prompt[-_READ:]))

    def too_long(self, kind: Kind, characters: int, repeats: float, *, ordered: bool = False) -> bool:
        """Say whether a loop of that kind is no right answer any more; `ordered`: the prompt wants repetition."""
        if ordered and kind != "blank":
            kind = "rows"
        most = {
            "text": self.characters,
            "verse": _PATIENCE * self.characters,
            "formula": _PATIENCE * self.characters,
            "rows": self.rows,
            "cells": self.trivial,
            "blank": self.blank,
        }
        return characters >= most[kind] and repeats >= self.repeats


_READ = 16_384
"""Characters of the prompt that are read, from its end."""
_ORDERED = re.compile(
    r"(?:^|[.!?:;,\n]\s{0,3}|\b(?:please|then|and|to|you|program that)\s)(?:repeat|write|prints?|say|outputs?|type|copy"
    r"|recite)\b"
    r"[^\n]{0,300}?\b(?:[0-9][0-9,]{0,6}|ten|twenty|thirty|forty|fifty|sixty|a?\s?hundred|a?\s?thousand|many"
    r"|several)\s+times\b"
    r"|\brepeat\s[^.\n]{0,200}\b(?:forever|over and over|again and again|as often as)\b|(?:重复|写|打印"
    r"|输出)[^。\n]{0,60}?[0-9]+\s?[遍次]",
    re.IGNORECASE,
)
_OFTEN = ("times", "TIMES", "epeat", "遍", "次")
_SAMPLE = 2048
"""Characters of a period that its kind is told by."""
_LETTER = re.compile(r"[^\W\d_]")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Scripts that set no space between words: Thai, Lao, Burmese, Khmer, kana, Han."""
# A letter, or a sign that belongs to one: accents, points of Hebrew and Arabic, vowels of the scripts of India.
_SIGN = r"(?:[^\W\d_]|[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0980-\u0dff])"
_END = ".!?;:…।؟۔"
# A word that a space, after the end of a sentence or not, parts from another one on either side.
_IN_A_ROW = re.compile(
    rf"""
    (?: {_SIGN}{{2,40}} (?: ['’-] {_SIGN}{{1,40}} )? | {_SIGN}['’]{_SIGN}{{1,40}} )
        (?= [{_END}]{{0,3}} [ ] ['"“‘(*]{{0,2}} {_SIGN} )
    | (?: (?<= {_SIGN}[ ] ) | (?<= {_SIGN}[{_END}][ ] ) ) {_SIGN}{{2,40}}
    | [{_UNSPACED}]{{2,}}
    """,
    re.VERBOSE,
)
_MUCH = 0.4
_MUCH_BESIDE_FORMULAS = 0.2
_FORMULA = re.compile(r"\\[A-Za-z]{2}|[\w)\]}$] (?:[=<>+*/^-]|[≈≤≥×·÷−→⇒]) ?[\w(\[{$\\-]|[\^_][{(]|\w\^\w")
_NESTED = re.compile(r"[])}],")
_HEXADECIMAL = re.compile("[0-9a-f]{1,16}")
_MARK = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?(?:think|thinking|reasoning|answer|tool_call|tool_response|(?:start|end)_of_turn|eos)>"
    r"|\[/?INST\]"
)
_TABLE_TAG = re.compile(r"</?(?:td|th|tr|li|row|cell|option)\b", re.IGNORECASE)
_CELL_END = re.compile(r"[|\t;]|(?<!\d),(?=\S)|(?<=\d),(?=[^\s\d])")
_VERSE_LINE = 60
_SENTENCE_END = frozenset(".!?:…।؟۔。！？：")
_ROWS = 8
"""Different lines that a period of rows may have: more are a block."""


def loop_kind(period: str) -> Kind:
    """Return the kind of a loop by its period, which may begin anywhere in it; see the module."""
    if period.isspace():
        return "blank"
    sample = period[-_SAMPLE:]
    again = sample * (1 + max(1, 80 // len(sample)))
    if _MARK.search(again):
        return "text"
    other: Kind = "rows" if "\n" in period or _NESTED.search(again) else "cells"
    codes = (sample.isupper() and sample.isascii()) or all(map(_HEXADECIMAL.fullmatch, again.split()))
    if len(set(_LETTER.findall(sample))) < 2 or codes or _TABLE_TAG.search(sample):
        return other
    lines = [line for part in again.split("\n")[1:-1] if (line := part.strip())]
    table = 2 * sum(map(_is_row, lines)) > len(lines)
    if table and len(set(lines)) <= _ROWS:
        return other
    # The cells of a matrix in LaTeX are no formula.
    formula = _FORMULA.search(again) is not None and ("&" not in sample or "=" in sample)
    words = sum(map(len, _IN_A_ROW.findall(again))) / sum(map(len, again.split()))
    if words >= (_MUCH_BESIDE_FORMULAS if formula else _MUCH):
        short = [line for line in lines if len(line) <= _VERSE_LINE and line[-1] not in _SENTENCE_END]
        return "verse" if 2 * len(short) > len(lines) and not any(map(str.isdigit, sample)) else "text"
    if len(set(lines)) > _ROWS:
        return "text"
    return "formula" if formula else other


def _is_row(line: str) -> bool:
    """Say whether a line of words is one of a table, or a statement."""
    return (
        line.startswith("|") or line.endswith((";", "],", "),", "},")) or len(_CELL_END.findall(line)) * 20 > len(line)
    )


class _Seen:
    """Remembers the last `memory` items, and which of the last `recent` ones were new when they came."""

    def __init__(self, memory: int, recent: int) -> None:
        self._memory = memory
        self._order: deque[Hashable] = deque()
        self._items: set[Hashable] = set()
        self._flags: deque[bool] = deque(maxlen=recent)

    def add(self, key: Hashable) -> bool:
        """Take an item; say whether it is new."""
        new = key not in self._items
        self._flags.append(new)
        if new:
            self._items.add(key)
            self._order.append(key)
            if len(self._order) > self._memory:
                self._items.discard(self._order.popleft())
        return new

    @property
    def novelty(self) -> float:
        return sum(self._flags) / len(self._flags) if self._flags else math.nan


_NUMBERS = re.compile(rb"[0-9]+")
_MAX_WORD = 64
_MAX_LINE = 256
_MIN_LINE = 16


def _orders_repetition(prompt: str) -> bool:
    """Say whether a prompt wants something written many times."""
    # Most prompts have none of these words, and this is fast.
    return any(word in prompt for word in _OFTEN) and _ORDERED.search(prompt) is not None


class _RepetitionState(TextState):
    def __init__(self, rule: Repetition, *, ordered: bool) -> None:
        self._rule = rule
        self._ordered = ordered
        self._pending = ""  # less than STEP characters not looked at yet
        self._window = ""
        self._far = ""  # the last FAR characters up to the last multiple of FAR_STEP
        self._since_far = 0  # characters looked at after these
        self._period = self._loop = 0  # of the loop that the text ends in, 0 without one
        self._coming = self._coming_loop = 0  # of a longer period that has not come twice
        self._kind: Kind = "text"
        self._longest = 0
        self._word = self._line = b""  # unfinished, in UTF-8
        self._words: list[int] = []  # the last GRAM - 1 words
        self._grams = _Seen(MEMORY, RECENT)
        self._lines = _Seen(MEMORY // 8, 32)

    def _read(self, text: str) -> Evidence:
        self._pending += text
        if len(self._pending) >= STEP:
            text = self._window + self._pending
            start = len(self._window)
            end = len(text) - len(self._pending) % STEP
            for i in range(start + STEP, end + 1, STEP):
                self._look(text, i)
            self._window = text[max(0, end - WINDOW) : end]
            self._pending = text[end:]
        dead = self._loop > 0 and self._rule.too_long(
            self._kind, self._loop, self._loop / self._period, ordered=self._ordered
        )
        is_trivial = self._kind in _TRIVIAL
        loop, trivial = (0, self._loop) if is_trivial else (self._loop, 0)
        period = self._period if loop else 0
        repeats = loop / period if loop else 0.0
        novelty, old_lines = self._grams.novelty, 1.0 - self._lines.novelty
        return evidence(loop, repeats, period, trivial, self._longest, novelty, old_lines, dead=dead)

    def _look(self, text: str, end: int) -> None:
        """Look at the `STEP` characters before `end`; `text` reaches a window further back, or to its start."""
        block = text[end - STEP : end]
        familiar = self._take(block)
        self._since_far += STEP
        if self._period and block == self._before(text, end, self._period):
            self._loop += STEP
        else:
            self._period = self._loop = 0
            if familiar:
                self._find(text[max(0, end - WINDOW) : end])
        if self._coming and block == self._before(text, end, self._coming):
            self._coming_loop += STEP
        else:
            self._coming = self._coming_loop = 0
        if self._since_far == FAR_STEP:
            self._far = (self._far + text[end - FAR_STEP : end])[-FAR:]
            self._since_far = 0
            if familiar and not self._period and not self._coming:
                self._find_far()
        if not self._period and self._coming_loop >= 2 * self._coming > 0:
            self._begin(self._coming, self._coming_loop, self._before(text, end, self._coming, self._coming))
        if self._period and self._kind not in _TRIVIAL:
            self._longest = max(self._longest, self._loop)

    def _before(self, text: str, end: int, p: int, length: int = STEP) -> str:
        """Return the last `length` characters that lie `p` before `end`; a far period is longer than `FAR_STEP`."""
        if p + length <= end:
            return text[end - p - length : end - p]
        last = len(self._far) + self._since_far - p
        return self._far[max(0, last - length) : last]

    def _find(self, window: str) -> None:
        """Look for a period of at least two repeats at the end of the window."""
        needle = window[-NEEDLE:]
        end = len(window) - 1
        for _ in range(TRIES):
            at = window.rfind(needle, 0, end)
            if at < 0:
                return
            p = len(window) - NEEDLE - at
            length = p + _common_suffix(window, p, NEEDLE)
            if length >= 2 * p and length >= STEP and p <= NEAR:
                self._begin(p, length, window[-p:])
                return
            end = at + NEEDLE - 1

    def _find_far(self) -> None:
        """Look for a period too long for `_find`, of which more than one has come."""
        far = self._far
        needle = far[-FAR_NEEDLE:]
        end = len(far) - NEAR
        for _ in range(TRIES):
            at = far.rfind(needle, 0, max(0, end))
            p = len(far) - FAR_NEEDLE - at
            if at < 0 or p > FAR - 2 * FAR_STEP:
                return
            length = p + _common_suffix(far, p, FAR_NEEDLE)
            if length > self._coming_loop:  # what recurs within a period recurs for a shorter time
                self._coming, self._coming_loop = p, length
            end = at + FAR_NEEDLE - 1

    def _begin(self, p: int, length: int, period: str) -> None:
        self._period, self._loop = p, length
        self._kind = loop_kind(period)

    def _take(self, block: str) -> bool:
        """Take the lines and words of a block; say whether it may be a repeat: no new words end it."""
        data = block.encode("utf-8", "surrogatepass").lower()
        if b"\n" in data:
            for line in _NUMBERS.sub(b"0", self._line + data).split(b"\n")[:-1]:
                if len(line := line.strip()) >= _MIN_LINE:
                    self._lines.add(zlib.crc32(line))
            self._line = data[data.rfind(b"\n") + 1 :]
        else:
            self._line = (self._line + data)[:_MAX_LINE]
        # The last word waits unmasked: a number may lie across two blocks.
        data = self._word + data
        words = _NUMBERS.sub(b"0", data).split()
        self._word = b""
        if words and not data[-1:].isspace():
            words.pop()
            self._word = data.rsplit(None, 1)[-1][:_MAX_WORD]
        seen = [*self._words, *map(zlib.crc32, words)]
        new = False
        for gram in zip(*(seen[i:] for i in range(GRAM)), strict=False):
            new = self._grams.add(gram)
        self._words = seen[1 - GRAM :]
        return not new


def _common_suffix(text: str, p: int, least: int) -> int:
    """Return how many characters at the end of `text` equal those `p` before, where `least` do."""
    end = len(text)

    def differ(length: int) -> bool:
        return text[end - length :] != text[end - length - p : end - p]

    # Bisection, as comparing slices is fast.
    return least + bisect_left(range(least + 1, end - p + 1), True, key=differ)
