"""Loops: text that repeats itself verbatim, and text that says little new.

Everything is computed at fixed positions, each `STEP` characters of the text, so that chunking cannot
matter; what comes after the last such position waits for the next one.

**Verbatim.** The text ends in a loop of period p and length L if its last L characters equal those p
characters before, as far back as the window reaches. The candidate for p is the distance between the
last `NEEDLE` characters and their latest earlier occurrences, looked for only where the words are not
new; a period once found is followed at the cost of one comparison per step, so L may grow beyond the
window. A loop whose period holds fewer than two different letters ("-----", "0000", table rules, blank
lines) is *trivial* and counts separately.

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

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence

STEP = 64
"""Characters between two looks."""
WINDOW = 4096
"""Characters a loop's first period is looked for in."""
NEEDLE = 48
"""Characters that must recur for a period to be tried."""
TRIES = 3
"""Earlier occurrences tried at each look."""
GRAM = 6
"""Words in a sequence."""
RECENT = 64
"""Words that novelty is a share of."""
MEMORY = 4096
"""Word sequences remembered."""


class Repetition(Rule, frozen=True):
    """Finds loops at the end of the text.

    The verdict is DEAD while the text ends in a loop of at least `characters` characters and `repeats`
    periods, or in a trivial one of at least `trivial` characters; else UNKNOWN.
    """

    name = "repetition"
    version = "2"
    columns = ("loop", "repeats", "period", "trivial", "longest", "novelty", "old_lines")
    """`loop`: characters of the loop the text ends in, 0 without one; `repeats`: its periods; `period`:
    characters of one; `trivial`: characters of a trivial loop at the end; `longest`: the longest `loop`
    so far; `novelty`: share of the recent words that end a new sequence, NaN before the first;
    `old_lines`: share of the recent lines seen before, NaN before the first.
    """
    characters: int = 300
    repeats: float = 3.0
    trivial: int = 1000

    def __post_init__(self) -> None:
        for field, least in (("characters", 2 * STEP), ("repeats", 2.0), ("trivial", 2 * STEP)):
            self._check(field, getattr(self, field) >= least, f"be at least {least}")

    def _state(self, _: str) -> TextState:
        return _RepetitionState(self)


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
_LETTER = re.compile(r"[^\W\d_]")
_MAX_WORD = 64
_MAX_LINE = 256
_MIN_LINE = 16


class _RepetitionState(TextState):
    def __init__(self, rule: Repetition) -> None:
        self._rule = rule
        self._pending = ""  # less than STEP characters not looked at yet
        self._window = ""
        self._period = self._loop = 0  # of the loop that the window ends in, 0 without one
        self._longest = 0
        self._trivial = False
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
        loop = 0 if self._trivial else self._loop
        trivial = self._loop if self._trivial else 0
        repeats = loop / self._period if loop else 0.0
        dead = trivial >= self._rule.trivial or (loop >= self._rule.characters and repeats >= self._rule.repeats)
        period = self._period if loop else 0
        novelty, old_lines = self._grams.novelty, 1.0 - self._lines.novelty
        return evidence(loop, repeats, period, trivial, self._longest, novelty, old_lines, dead=dead)

    def _look(self, text: str, end: int) -> None:
        """Look at the `STEP` characters before `end`; `text` reaches a window further back, or to its start."""
        familiar = self._take(text[end - STEP : end])
        p = self._period
        if p and text[end - STEP : end] == text[end - STEP - p : end - p]:
            self._loop += STEP
        else:
            self._period = self._loop = 0
            if familiar:
                self._find(text[max(0, end - WINDOW) : end])
        if self._period and not self._trivial:
            self._longest = max(self._longest, self._loop)

    def _find(self, window: str) -> None:
        """Look for a period of at least two repeats at the end of the window."""
        needle = window[-NEEDLE:]
        end = len(window) - 1
        for _ in range(TRIES):
            at = window.rfind(needle, 0, end)
            if at < 0:
                return
            p = len(window) - NEEDLE - at
            length = p + _common_suffix(window, p)
            if length >= 2 * p and length >= STEP:
                self._period, self._loop = p, length
                self._trivial = len(set(_LETTER.findall(window[-p:]))) < 2
                return
            end = at + NEEDLE - 1

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


def _common_suffix(text: str, p: int) -> int:
    """Return how many characters at the end of `text` equal those `p` before."""
    end = len(text)

    def differ(length: int) -> bool:
        return text[end - length :] != text[end - length - p : end - p]

    # Bisection, as comparing slices is fast.
    return NEEDLE + bisect_left(range(NEEDLE + 1, end - p + 1), True, key=differ)
