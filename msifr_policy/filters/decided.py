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
from operator import itemgetter
from typing import Final, Protocol, cast

from msifr_policy.filters.base import FinalFilter, Prompt


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


Ends = Callable[[str], int | None]
"""Where a complete answer ends in the text after its marker; None if there is none, whatever follows the answer."""


class AnswerEnd:
    """Ends after the first complete answer that a marker announces.

    markers: what announces an answer, and how the end of such an answer is found. A later marker replaces an earlier
        one whose answer is not complete. Where an answer ends must depend on nothing that comes after the end is known.
    reach: characters after a marker within which an answer must be complete.
    """

    exact: Final = False

    def __init__(self, markers: Iterable[tuple[str, Ends]], *, reach: int, flags: int = 0) -> None:
        # Looking ahead finds occurrences that overlap, too.
        self._markers = [(re.compile(f"(?=({re.escape(marker)}))", flags), ends) for marker, ends in markers]
        self._longest = max((len(marker) for marker, _ in markers), default=1)
        self._reach = reach
        self._tail = ""  # what may be the beginning of a marker, and the answer that may go on
        self._before = 0  # characters before the tail
        self._answer = 0  # where in the tail the answer begins
        self._ends: Ends | None = None  # of that answer; None: there is none that may still become complete
        self._end: int | None = None

    def feed(self, text: str) -> int | None:
        """See `DecidedReader`."""
        if self._end is not None:
            return self._end
        known, text = len(self._tail), self._tail + text
        found = [
            (hit.end(1), ends)
            for marker, ends in self._markers
            for hit in marker.finditer(text, max(0, known + 1 - self._longest))
            if hit.end(1) > known
        ]
        for start, ends in sorted(found, key=itemgetter(0)):
            # What comes before this marker may have been an answer to the one before it.
            if self._complete(text, start):
                return self._end
            self._answer, self._ends = start, ends
        if self._complete(text, len(text)):
            return self._end
        keep = max(0, len(text) + 1 - self._longest)
        if self._ends is not None:
            keep = min(keep, self._answer)
        self._tail, self._before, self._answer = text[keep:], self._before + keep, self._answer - keep
        return None

    def _complete(self, text: str, until: int) -> bool:
        """Look for the end of the answer in the text until there."""
        if self._ends is None:
            return False
        answer = text[self._answer : min(until, self._answer + self._reach)]
        end = self._ends(answer)
        if end is not None:
            self._end, self._tail = self._before + self._answer + end, ""
        elif len(answer) == self._reach:
            self._ends = None
        return end is not None


def line_end(answer: str) -> int | None:
    """Return the end of a line that is not blank and that another follows."""
    line, newline, _ = answer.partition("\n")
    return len(line) if newline and line.strip() else None


_BRACE = re.compile(r"\\.|(?P<brace>[{}])", re.DOTALL)
FORMULA_END: Final = re.compile(r"\$|\\[)\]]")
"""What ends a formula."""
_DISPLAY_END = ("\\]", "$$")


def box_end(answer: str, given: Callable[[str], object]) -> int | None:
    r"""Return where the line ends in which a `\boxed{` before `answer` is closed; None if it is not `given` an answer.

    A formula that is closed at the beginning of the next line ends there. More boxes may follow in the same line.
    """
    depth = 1
    for token in _BRACE.finditer(answer):
        depth += {"{": 1, "}": -1}.get(token["brace"], 0)
        if depth == 0:
            break
    else:
        return None
    line, newline, rest = answer[token.end() :].partition("\n")
    if not newline or not given(answer[: token.start()]):
        return None
    end = token.end() + len(line)
    if FORMULA_END.search(line):
        return end
    begins = rest.lstrip()
    if begins.startswith(_DISPLAY_END):
        return len(answer) - len(begins) + 2
    return None if begins in ("", "\\", "$") else end  # not known yet
