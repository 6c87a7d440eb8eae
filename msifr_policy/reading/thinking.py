r"""What of a text is the answer, and what only leads there: models that think aloud mark where they stop thinking.

Known are the marks of the families in use: `<think>…</think>` and its like, `[THINK]…[/THINK]`, `◁think▷…◁/think▷`,
`<|begin_of_thought|>…<|end_of_thought|>`, `<|START_THINKING|>…<|END_THINKING|>`, `<unused94>thought…<unused95>`, and
the channels `analysis` (or `thought`) and `final`. The opening mark is often in the prompt, so a closing one alone
counts too. Marks in quotation marks or backticks, and opening ones amid words, are spoken of, not used.
"""

import re
from collections.abc import Iterator
from typing import Final

from msifr_policy.reading.searching import as_utf8, whatever_case

_NAMES = (
    "think", "thinking", "thought", "thoughts", "reasoning", "seed:think", "mm:think", "longcat_think", "scratchpad",
    "reflection", "inner_thoughts", "inner_monologue",
)  # fmt: skip
_OPENING = (
    *(f"<{name}{end}" for name in _NAMES for end in (">", " >")), "[think]", "◁think▷", "<|think|>", "<|thinking|>",
    "<|begin_of_thought|>", "<|start_thinking|>", "<unused94>thought", "<|channel|>analysis", "<|channel>thought",
)  # fmt: skip
_CLOSING = (
    *(f"</{name}{end}" for name in _NAMES for end in (">", " >")), "[/think]", "◁/think▷", "<|/think|>",
    "<|/thinking|>", "<|end_of_thought|>", "<|end_thinking|>", "<unused95>", "<|channel|>final<|message|>",
    "<channel|>",
)  # fmt: skip
QUOTES: Final = "`\"'“”‘’"
"""Between two of them a mark is spoken of, not used."""

MARKS: Final = (*_OPENING, *_CLOSING)
"""The marks, in lower case."""

MARK: Final = re.compile(
    rf"(?=[<\[◁])(?<![{QUOTES}])(?:"
    rf"(?P<open>(?:(?<!\w)(?<!\w )|(?=<\|))(?:{'|'.join(map(re.escape, _OPENING))}))"
    rf"|(?P<close>{'|'.join(map(re.escape, _CLOSING))})"
    rf")(?!(?!```)[{QUOTES}])",  # a fence may follow at once
    re.IGNORECASE,
)
"""A mark that opens thinking, or closes it."""

_BEGINNINGS = ["".join(sorted({mark[i] for mark in MARKS})) for i in range(3)]
# What every mark begins with; sets of characters make the search fast, and single characters still faster.
_FIRST_OF_MARKS: Final = tuple(_BEGINNINGS[0])
_LIKE_MARK = re.compile("".join(f"[{re.escape(characters)}]" for characters in _BEGINNINGS), re.IGNORECASE)
_MAY_BE_MARK = whatever_case("|".join(map(re.escape, MARKS)))

LONGEST_MARK: Final = 32
"""Characters of the longest mark, with two before it and one behind."""


def marks(text: str) -> Iterator[re.Match[str]]:
    """Yield the marks in `text`, as `MARK` matches them, in order: many times faster than by `MARK` alone."""
    if not _may_hold_mark(text):
        return
    for may_be in _MAY_BE_MARK.finditer(as_utf8(text)):
        mark = MARK.match(text, may_be.start())
        if mark is not None:
            yield mark


def _may_hold_mark(text: str) -> bool:
    for first in _FIRST_OF_MARKS:
        if first in text:
            return _LIKE_MARK.search(text) is not None
    return False


def answer_start(text: str) -> int | None:
    """Return where in `text` the answer part begins, in characters: after the last mark that closes thinking.

    None if the text breaks off while thinking. Without marks the whole text is the answer part. Linear in the text.
    """
    start, thinking = 0, False
    for mark in marks(text):
        thinking = mark["open"] is not None
        if not thinking:
            start = mark.end()
    return None if thinking else start
