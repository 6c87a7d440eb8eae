"""The JSON documents of a text as it arrives, told apart from thinking and prose.

This is how readers and validators follow what `find_document` finds in a finished text: the same however the text
arrives, in time linear in it and with bounded memory.
"""

import re
from collections.abc import Generator, Iterator
from typing import Final, Literal, NamedTuple

from msifr_policy.reading.json_syntax import STOPS, WHITE, JsonSyntax
from msifr_policy.reading.thinking import LONGEST_MARK, MARK, MARKS, marks

Place = Literal["auto", "whole", "fence", "object"]
"""Where documents are: as `Find` has it, or "auto": if the text begins with JSON, that is one, and later ones are
objects that begin a line; else they are in fenced blocks.
"""


class DocumentPart(NamedTuple):
    """What a piece of text adds to a document; without a `document`, all that came before was not the answer."""

    text: str
    begins: bool
    document: JsonSyntax | None
    end: int
    """Characters of the text up to the end of the part."""


class Documents:
    """Follows the documents of one text.

    place: where they are.
    bracket: what begins one with "object", `{` or `[`.

    Where the text is searched, a document counts from its first key or value on: `{}` and `{x}` are not followed. A
    mark of thinking in a string of a document is spoken of; if the document turns out to be none, it counts from there.
    """

    def __init__(self, place: Place, bracket: str = "{") -> None:
        self.sole = place == "whole"
        """Whether the text is one document from its beginning; with "auto" as long as no later one has begun."""
        self.followed = False
        """Whether something other than white space comes after the sole document."""
        self._head = None if place in ("fence", "object") else AfterHead()
        self._auto = place == "auto"
        self._undecided = self._auto
        self._pending = ""  # what may begin the sole document
        self._document: JsonSyntax | None = None  # the sole one
        self._search = _Search(bracket if place == "object" else "")
        self._read = 0

    def feed(self, text: str) -> Iterator[DocumentPart]:
        """Read the text that is new; yield what it adds to documents, in order."""
        self._read += len(text)
        if self._head is not None:
            text = self._pending + self._head.feed(text)
            self._pending = ""
        if self._undecided and text:
            if _MAY_BEGIN.fullmatch(text):
                self._pending = text
                return
            self._undecided, self.sole = False, _BEGINNING.match(text) is not None
            if self.sole:
                self._search = _Search("{", lines=True)
        if self.sole and text:
            text = yield from self._continue(text)
        if not self.sole or (self._auto and text):
            for part in self._search.feed(text, self._read - len(text)):
                self.sole = False
                yield part

    def _continue(self, text: str) -> Generator[DocumentPart, None, str]:
        """Yield what the text adds to the sole document; return what comes after it, or breaks it."""
        begins = self._document is None
        document = self._document = self._document or JsonSyntax()
        if document.state not in STOPS:
            end = document.feed(text)
            yield DocumentPart(text[:end], begins, document, self._read - len(text) + end)
            text = text[end - (document.state in STOPS and document.state != "whole") :]
        self.followed = self.followed or (document.state == "whole" and text.strip(WHITE) != "")
        return text


_MAX_BLANKS = 64
_BEGINNING = re.compile(rf'\{{[ \t\n\r]{{0,{_MAX_BLANKS}}}+"|\[[ \t\n\r]{{0,{_MAX_BLANKS}}}+["{{]')
_MAY_BEGIN = re.compile(rf"[{{\[][ \t\n\r]{{0,{_MAX_BLANKS}}}+")


class AfterHead:
    """Lets through what comes after the white space and the thinking that a text begins with.

    Thinking that the text does not begin with a mark of is not known as such here: a document may speak of the marks.
    """

    def __init__(self) -> None:
        self._held = ""
        self._known = 0  # how much of that was searched for marks
        self._thinking = self._over = False

    def feed(self, text: str) -> str:
        """Return what is new of the text behind; what may be the beginning of a mark is held back."""
        if self._over:
            return text
        text, self._held = self._held + text, ""
        while True:
            if self._thinking:
                settled = _settled(text)
                known = (mark for mark in marks(text) if self._known <= mark.end() < settled)
                closing = next((mark for mark in known if mark["close"]), None)
                if closing is None:
                    start = max(0, settled - LONGEST_MARK)
                    self._held, self._known = text[start:], settled - start
                    return ""
                self._thinking, self._known, text = False, 0, text[closing.end() :]
            text = text.lstrip(WHITE)
            mark = MARK.match(text)
            if mark is not None and mark.end() < _settled(text):
                self._thinking, text = mark["open"] is not None, text[mark.end() :]
            elif any(mark.startswith(text[: _settled(text)].lower()) for mark in MARKS):
                self._held = text
                return ""
            else:
                self._over = True
                return text


def _settled(text: str) -> int:
    """Return how much of a text is settled: one or two backticks at its end may become three, as after a mark."""
    ticks = len(text) - len(text.rstrip("`"))
    return len(text) - ticks * (ticks < 3)


class _Search:
    """Follows the documents of an answer part: what `bracket` opens, or without one, what fenced blocks begin with.

    lines: whether a bracket must begin a line.
    """

    def __init__(self, bracket: str, *, lines: bool = False) -> None:
        self._bracket = bracket
        self._lines = lines
        self._newline = False  # whether a line, or the answer part, begins
        self._tail = ""  # what may be the beginning of a mark
        self._held = ""  # what is not settled
        self._thinking = False
        self._spoken: bool | None = None  # whether a mark in a string of the document would open thinking
        self._forget()

    def _forget(self) -> None:
        self._line = ""  # what may be the beginning of a fence
        self._fenced = False  # after a fence, before what the block begins with
        self._opened = ""  # a bracket before its first key or value
        self._document: JsonSyntax | None = None

    def feed(self, text: str, before: int) -> Iterator[DocumentPart]:
        """Read on after `before` characters of the text."""
        before -= len(self._held)
        at = known = len(self._tail)
        around = self._tail + self._held + text
        settled = _settled(around)
        around, self._held = around[:settled], around[settled:]
        # A mark counts once the character after it is known.
        for mark in marks(around):
            if known <= mark.end() < len(around):
                if not self._thinking:
                    yield from self._look(around[at : mark.end()], before + at - known)
                at = mark.end()
                opens = mark["open"] is not None
                if not self._thinking and self._document is not None and self._document.state == "string":
                    self._spoken = opens
                else:
                    yield self._marked(before + at - known, opens=opens)
        if not self._thinking:
            yield from self._look(around[at:], before + at - known)
        self._newline = around.endswith("\n") if at < len(around) else self._newline
        self._tail = around[-LONGEST_MARK:]

    def _marked(self, end: int, *, opens: bool) -> DocumentPart:
        self._thinking, self._newline, self._spoken = opens, True, None
        self._forget()
        return DocumentPart("", True, None, end)

    def _look(self, text: str, before: int) -> Iterator[DocumentPart]:
        at = 0
        while at < len(text) and not self._thinking:
            begins = ""
            if self._document is None:
                start = self._begin(text, at)
                if start is None:
                    return
                begins, self._opened, at = self._opened, "", start
                self._document = JsonSyntax()
                self._document.feed(begins)
            document = self._document
            end = document.feed(text, at)
            yield DocumentPart(begins + text[at:end], begins != "", document, before + end)
            at = end
            if document.state in STOPS:
                # What breaks a document may begin another.
                at -= document.state != "whole"
                self._forget()
                if self._spoken is not None and document.state != "whole":
                    yield self._marked(before + at, opens=self._spoken)  # the mark was in no document
                self._spoken = None

    def _begin(self, text: str, at: int) -> int | None:
        """Return where the first key or value of the next document is, after the bracket `self._opened`."""
        while at < len(text):
            if self._opened or self._fenced:
                content = _CONTENT.search(text, at)
                if content is None:
                    break
                at = content.start()
                if self._opened and content[0] in _FIRST[self._opened]:
                    return at
                self._opened = content[0] if self._fenced and content[0] in _FIRST else ""
                self._fenced = False
                at += self._opened != ""
            elif self._bracket:
                found = self._line_with_bracket(text, at) if self._lines else text.find(self._bracket, at)
                if found < 0:
                    break
                self._opened, at = self._bracket, found + 1
            else:
                at = self._after_fence(text, at)
        return None

    def _line_with_bracket(self, text: str, at: int) -> int:
        """Return where the next line begins with the bracket, or -1."""
        if at == 0 and self._newline and text.startswith(self._bracket):
            return 0
        return text.find(f"\n{self._bracket}", max(0, at - 1)) + 1 or -1

    def _after_fence(self, text: str, at: int) -> int:
        """Return where the next fence of a block that may be JSON ends, else the end of the text."""
        known = len(self._line)
        fence = _next_fence(self._line + text[at : at + _REACH], 0)
        if fence is not None:
            at += fence.end() - known
        else:
            fence = _next_fence(text, at)
            if fence is None:
                self._line = (self._line + text[at:])[-_REACH:]
                return len(text)
            at = fence.end()
        self._line, self._fenced = "", True
        return at


_CONTENT = re.compile(r"[^ \t\n\r]")
_FIRST: Final = {"{": '"', "[": '"[{-0123456789tfn'}
"""What the first key or value in a bracket begins with."""
_FENCE = re.compile(r"[`~]{3}[ \t]{0,8}+(?:[jJ][sS][oO][nN]\w{0,8}+)?[ \t]{0,8}+\r?\n")
_REACH = 64
"""More characters than a fence and its line can span."""


def _next_fence(text: str, at: int) -> re.Match[str] | None:
    """Return the next fence of a block that may be JSON, by `_FENCE`, which most texts need not be searched for."""
    starts = [start for start in (text.find("```", at), text.find("~~~", at)) if start >= 0]
    return _FENCE.search(text, min(starts)) if starts else None
