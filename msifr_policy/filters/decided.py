r"""When a final filter's verdict is known before the text ends, and where the judged text ends then.

Models go on after their answer: they explain the document, add an example to the program, ask themselves the next
question. A **reader** follows an attempt as it comes and says where the answer ends, so that the rest need not be made.
What is kept, up to there, is what the filter judges.

Two kinds of readers must be told apart. An **exact** one ends an attempt when no continuation can change the verdict:
the accepted attempts are the same as without it. Where a filter reads the last answer of a text, or the whole of it, a
reader that is not exact makes **the first complete answer the answer**: another rule of acceptance, which a run states.
It is careful all the same: what may not be an answer yet is read on, to the end of the text if need be.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, Protocol, cast

from msifr_policy.filters.base import FinalFilter, Prompt
from msifr_policy.filters.json_end import JsonEnd
from msifr_policy.reading.markers import REACH, Announced, Marker, asks, closing_brace, read
from msifr_policy.reading.thinking import marks


class DecidedReader(Protocol):
    """Follows one attempt; time linear in the text, bounded memory, and the same result however the text arrives."""

    @property
    def exact(self) -> bool:
        """Whether no continuation can change the verdict; if not, the first complete answer becomes the answer."""

    def feed(self, text: str) -> int | None:
        """Read the text that is new; return where the judged text ends, in characters from the attempt's beginning.

        None as long as that is not known. What was said once is said again, whatever follows.
        """


def reader_of(final: FinalFilter, prompt: Prompt) -> DecidedReader | None:
    """Return a new reader for one attempt at `prompt`, or None if the verdict is only known at the end.

    Filters offer one by a method `reader(prompt)`; so may a function given as a filter, by an attribute `reader`.
    """
    offered = getattr(final, "reader", None)
    return cast(DecidedReader | None, offered(prompt)) if callable(offered) else None


class AnswerEnd:
    """Ends after the first complete answer that a text announces outside its thinking, as `markers` reads it.

    An announcement is looked at when the line in which it ends is over.

    find: finds the markers that count.
    document: whether a text that begins like a JSON document is read to the end of that document, whatever it says.
    complete: whether an answer, as it is written, may be the whole answer; else the text is read on.
    asked: the prompt. An announcement that it holds too, marker and all, may be a repetition, and is none; a line with
        `####` is, since prompts show so how answers end.
    """

    exact: Final = False

    def __init__(
        self, find: Callable[[str], Iterable[Marker]], *, document: bool, complete: Callable[[str], bool], asked: str
    ) -> None:
        self._find = find
        self._may_be_document = document
        self._complete = complete
        self._asked = asked
        self._line: list[str] = []  # the pieces of the line that is coming
        self._size = 0  # their characters
        self._lines = ""  # those before it with an announcement that may go on
        self._read = 0  # characters before the line that is coming
        self._thinking = False
        self._document: JsonEnd | None = None
        self._before = 0  # characters before the document
        self._end: int | None = None

    def feed(self, text: str) -> int | None:
        """See `DecidedReader`."""
        for piece in text.splitlines(keepends=True) if self._end is None else ():
            self._size += len(piece)
            if self._size <= _LONGEST_LINE:
                self._line.append(piece)
            if not piece.endswith("\n"):
                continue
            line = "".join(self._line) if self._size <= _LONGEST_LINE else ""
            start, self._read = self._read, self._read + self._size
            self._line, self._size = [], 0
            self._end = self._take(line, start)
            if self._end is not None:
                break
        return self._end

    def _take(self, line: str, start: int) -> int | None:
        """Take a whole line that begins there; empty if it is too long to be read."""
        *_, last = None, *marks(line)
        if last is not None:
            self._thinking = last["open"] is not None
            start, line, self._lines = start + last.end(), line[last.end() :], ""
        if self._thinking or not line:
            self._lines = ""
            return None
        if self._may_be_document and line.strip():
            self._may_be_document = False
            if line.lstrip().startswith(_DOCUMENT):
                self._document, self._before = JsonEnd(anywhere=True), start
        if self._document is not None:
            end = self._document.feed(line)
            return None if end is None else self._before + end
        return self._search(self._lines + line, start - len(self._lines))

    def _search(self, lines: str, start: int) -> int | None:
        """Look for an answer in whole lines of which the first begins there; keep those whose answer may go on."""
        keep = len(lines)
        for marker in self._find(lines):
            announced = read(marker, lines)
            end = self._ends(marker, announced, lines)
            if end is not None:
                return start + end
            goes_on = marker.place == "box" or announced.end >= len(lines)
            keep = marker.start if goes_on and len(lines) - marker.start < REACH else len(lines)
        self._lines = lines[keep:]
        return None

    def _ends(self, marker: Marker, announced: Announced, lines: str) -> int | None:
        """Return where the judged text ends with the answer that this marker announces, if it is complete."""
        if announced.state != "given" or announced.end == len(lines) or not self._complete(announced.text):
            return None
        if marker.place != "hash" and lines[marker.start : announced.end] in self._asked:
            return None
        if marker.place == "phrase" and _PERHAPS.search(lines[max(0, marker.start - _NEAR) : marker.start]):
            return None
        if marker.place == "box" and asks(lines, announced.end):
            return None
        if marker.place != "box":
            return announced.end
        end = box_end(lines[marker.at :])
        return None if end is None else marker.at + end


# Before an announcement: it is a guess, which more text may confirm or not.
_PERHAPS: Final = re.compile(r"\b(?:perhaps|maybe|possibly|probably|might|could)\b[^.\n]*\Z", re.IGNORECASE)
_NEAR: Final = 48
_LONGEST_LINE: Final = 4000  # characters of a line that is read
_DOCUMENT: Final = ("{", "```json")

_FORMULA_END: Final = re.compile(r"\$|\\[)\]]")
_DISPLAY_END = ("\\]", "$$")


def box_end(answer: str) -> int | None:
    r"""Return where the line ends in which a `\boxed{` before `answer` is closed; None if that is not known yet.

    A formula that is closed at the beginning of the next line ends there. More boxes may follow in the same line.
    """
    closed = closing_brace(answer)
    if closed is None:
        return None
    line, newline, rest = answer[closed:].partition("\n")
    if not newline:
        return None
    end = closed + len(line)
    if _FORMULA_END.search(line):
        return end
    begins = rest.lstrip()
    if begins.startswith(_DISPLAY_END):
        return len(answer) - len(begins) + 2
    return None if begins in ("", "\\", "$") else end  # not known yet
