r"""Fenced blocks in a text: what stands between two fences, as CommonMark has them and as models write them.

A **fence** is a line that begins with three or more backticks or tildes; the first word of what follows on the opening
one is the block's language. The closing fence is at least as long, of the same character and alone on its line
(CommonMark 0.31, section 4.5). Fences may stand in quotations and in items of lists, and what they hold is freed of as
much indentation as its opening fence has. Beyond CommonMark, as texts of models need it:

* an opening fence may be indented as far as it likes, and a closing one less than what it closes; one that is four or
  more columns deeper closes nothing, since it stands in a docstring; what begins without indentation keeps its own;
* special tokens and tags (`<|im_end|>`, `</s>`, `</answer>`, `[DONE]`) may stand before an opening and after a closing
  fence;
* a closing fence may stand at the end of the last line of what it closes, unless that is a comment or opens a string;
* an opening fence with one word may stand at the end of a line ("Here it is: ```json"), and a block may be one line;
* a fence with a language within an open block of no longer fence begins a new block: the open one was never closed;
* what marks the end of thinking (see `thinking`) ends an open block too, without closing it; a mark within a line of
  a block, outside thinking, with more than a fence behind it, is content;
* a closing fence may be followed by a sentence, and by what has no width; where the language of a block stands alone on
  its first line, it is its language.

Lines end as CommonMark has it, with a line feed, a carriage return, or both. Of a line longer than 600 characters
the first 400 and the last 200 say what it is.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Literal, NamedTuple

from msifr_policy.reading.thinking import LONGEST_MARK, MARK


class Block(NamedTuple):
    """A fenced block of a text.

    language: the first word after the opening fence, in lower case, without what decorates it; "" if there is none.
    content: what stands between the fences, without the indentation of the opening one.
    start, end: where in the text the block stands, with its fences, in characters.
    closed: False if its closing fence is missing.
    """

    language: str
    content: str
    start: int
    end: int
    closed: bool


class Fence(NamedTuple):
    """A fence that is open: its character and `length`, columns of indentation after `quotes` marks of quotation."""

    character: str
    length: int
    indent: int
    quotes: int
    language: str


class Part(NamedTuple):
    """What a line, or a part of a line, is: from `start` to `end`, in characters of the text.

    kind: "outside" of blocks; "opens" a block, up to where its content begins; "holds": a line of a block; "closes" it;
        "breaks": the open block ends there without a fence; "thinks" and "answers": marks of thinking, open and closed.
    line: the line, of "holds" without the fence's indentation; a long one without its middle.
    fence: the block's.
    """

    kind: Literal["outside", "opens", "holds", "closes", "breaks", "thinks", "answers"]
    start: int
    end: int
    line: str = ""
    fence: Fence | None = None


_HEAD, _TAIL = 400, 200
_BLANKS = 8  # between a mark and a fence
_KEPT = 2000  # characters of an unfinished line; more than head, tail and a mark
_LINE = re.compile(r"([^\r\n]*)(\r\n?|\n|\Z)")
_MARKUP = r"(?:<[|｜][^|｜<>]{1,64}+[|｜]>|</?[A-Za-z][\w.:-]{0,64}+>|\[/?[A-Z][A-Z_]{1,20}+\])"
_LEAD = re.compile(rf"(?:[ \t]*+(?:>|(?:[-*+•]|\d{{1,9}}+[.)])(?=[ \t])|{_MARKUP}))*+[ \t]*+")
_NOTABLE = re.compile(r"[`~<\[◁]|.{600}")
_RUN = re.compile(r"`{3,}+|~{3,}+")
_TOKENS = re.compile(_MARKUP)
_TRAIL = re.compile(rf"(?:[ \t\u200b\ufeff]++|{_MARKUP})*+\Z")
_SENTENCE = re.compile(r"[.,;!?)](?=\s|\Z)|[ \t]++[A-Z][\w']*+,?[ ]\S")
_FIRST_LINE = re.compile(r"[ \t]*+(python3?|py|json)[ \t]*+(?:\r\n?|\n)", re.IGNORECASE)
_QUOTE = re.compile(r"[ \t]{0,3}+> ?")
_LANGUAGE = re.compile(r"[ \t]*+\{?+[ \t]*+\.?+([^\s:,;=(){}`]*)")
_WORD = re.compile(r"[ \t]*+\{?+\.?[A-Za-z][\w+#.:-]*+\}?+[ \t]*+")
_WORD_WITHIN = re.compile(r"[A-Za-z][\w+#.-]*+(?=[\s{\[])")


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of `text` in their order, those that the text breaks off in too; time linear in it."""
    reader, found = BlockReader(), list[Block]()
    opened: Part | None = None
    for part in chain(reader.feed(text), reader.rest(), [Part("breaks", len(text), len(text))]):
        if part.kind == "opens":
            opened = part
        elif part.kind in ("closes", "breaks") and opened is not None and opened.fence is not None:
            content, language = _free(text[opened.end : part.start], opened.fence), opened.fence.language
            if not language and (said := _FIRST_LINE.match(content)):
                content, language = content[said.end() :], said[1].lower()
            found.append(Block(language, content, opened.start, part.end, part.kind == "closes"))
            opened = None
    return found


def after_thinking(text: str) -> str | None:
    """Return the answer part of `text` by the marks that are no content of blocks, None if it breaks off thinking.

    Where blocks do not matter, `thinking.answer_start` goes by all marks.
    """
    reader, start, thinking = BlockReader(), 0, False
    for part in chain(reader.feed(text), reader.rest()):
        if part.kind in ("thinks", "answers"):
            start, thinking = part.end, part.kind == "thinks"
    return None if thinking else text[start:]


class BlockReader:
    """Follows the blocks of a text as it comes; time linear in the text, bounded memory.

    `thinking` says whether a mark has opened thinking that none has closed.
    """

    def __init__(self) -> None:
        self.thinking = False
        self._fence: Fence | None = None
        self._line = ""  # the unfinished one, or the part after a mark; if long, without its middle
        self._start = 0  # of that line in the text
        self._end = 0  # of what was read
        self._return = False  # the last character ended a line, and may be half of its end

    def feed(self, text: str) -> Iterator[Part]:
        """Read the text that is new; yields what is complete by now. To be exhausted before the next call."""
        at = 0
        if self._return and text:
            at = int(text[0] == "\n")
            self._return = False
            self._end += at
            self._start = self._end
        for match in _LINE.finditer(text, at):
            content, ending = match.groups()
            if ending and self._fence is None and not self._line and not _NOTABLE.search(content):
                # Nearly all lines of most texts: a short cut.
                start, end = self._end, self._end + len(content)
                self._start = self._end = end + len(ending)
                self._return = ending == "\r" and match.end() == len(text)
                yield Part("outside", start, end, content)
                continue
            searched = max(0, len(self._line) - LONGEST_MARK - _BLANKS)
            self._line += content
            self._end += len(content)
            yield from self._marked(searched, whole=bool(ending))
            if ending:
                end, self._end = self._end, self._end + len(ending)
                yield from self._finish(self._line, end, self._end)
                self._line, self._start = "", self._end
                self._return = ending == "\r" and match.end() == len(text)
            elif len(self._line) > _KEPT:
                self._line = f"{self._line[:_HEAD]}\0{self._line[-_KEPT // 2 :]}"

    def rest(self) -> Iterator[Part]:
        """Yield what the unfinished line is, should the text end here; reading may go on when all is yielded."""
        kept = self.thinking, self._fence, self._line, self._start
        yield from self._marked(max(0, len(self._line) - LONGEST_MARK - _BLANKS), whole=True)
        yield from self._finish(self._line, self._end, self._end)
        self.thinking, self._fence, self._line, self._start = kept

    def _marked(self, searched: int, *, whole: bool) -> Iterator[Part]:
        """Cut the line after its last mark of thinking; one at the end of a line that is not `whole` may be none."""
        line, start, done = self._line, self._start, 0
        while (mark := MARK.search(line, max(searched, done))) and (whole or mark.end() < len(line)):
            if self._is_content(line[done : mark.start()]):
                behind = line[mark.end() : mark.end() + _BLANKS].lstrip(" \t")
                if behind[:1] not in ("", "`", "~"):
                    searched = mark.end()
                    continue
                if not behind and not whole and mark.end() + _BLANKS > len(line):
                    break
            first, last = (_offset(line, at, start, self._end) for at in mark.span())
            yield from self._finish(line[done : mark.start()], first, first)
            self.thinking = mark["open"] is not None
            if not self.thinking and self._fence is not None:
                yield Part("breaks", first, first, "", self._fence)
                self._fence = None
            yield Part("thinks" if self.thinking else "answers", first, last)
            done, self._start = mark.end(), last
        self._line = line[done:]

    def _is_content(self, before: str) -> bool:
        """Say whether a mark that stands behind this on a line belongs to an open block."""
        fence = self._fence
        if fence is None or self.thinking:
            return False
        inner = _unquoted(before, fence.quotes)
        return bool(inner and inner.strip() and not _closing(inner, fence))

    def _finish(self, line: str, end: int, following: int) -> Iterator[Part]:
        """Say what a line is that ends at `end` and is followed by what begins at `following`."""
        if len(line) > _HEAD + _TAIL:
            line = f"{line[:_HEAD]}\0{line[-_TAIL:]}"
        start, fence = self._start, self._fence
        if fence is not None:
            inner = _unquoted(line, fence.quotes)
            if inner is None:  # the end of a quotation closes what it holds
                yield Part("closes", start, start, "", fence)
            elif span := _closing(inner, fence):
                before = len(line) - len(inner)
                if content := inner[: span[0]].strip(" \t"):
                    yield Part("holds", start, end, _without_indent(inner[: span[0]], fence.indent), fence)
                first, last = (_offset(line, before + at, start, end) for at in span)
                yield Part("closes", first if content else start, last, "", fence)
                self._fence = None
                return
            elif _reopens(inner, fence):
                yield Part("breaks", start, start, "", fence)
            else:
                yield Part("holds", start, end, _without_indent(inner, fence.indent), fence)
                return
        self._fence = None
        opening = _opening(line)
        if opening is None:
            yield Part("outside", start, end, line)
            return
        fence, run, content_span = opening
        first = _offset(line, run, start, end)
        if content_span is None:
            self._fence = fence
            yield Part("opens", first, following, "", fence)
        else:
            inside, outside, last = (_offset(line, at, start, end) for at in content_span)
            yield Part("opens", first, inside, "", fence)
            yield Part("holds", inside, outside, line[content_span[0] : content_span[1]], fence)
            yield Part("closes", outside, last, "", fence)


def _offset(line: str, at: int, start: int, end: int) -> int:
    """Return where in the text the character `at` of a line stands that reaches from `start` to `end`."""
    return start + at if at <= _HEAD else end - (len(line) - at)


def _limit(indent: int) -> int:
    """Return the most columns of indentation of a fence that closes one of `indent`."""
    return 3 + indent * (indent > 1)  # one that is indented by two or more may stand in an item of a list


def _opening(line: str) -> tuple[Fence, int, tuple[int, int, int] | None] | None:
    """Return the fence that a line opens, and where it stands.

    If the block is this line alone, also where its content begins and ends, and where its closing fence ends.
    """
    at = line.find("```")
    if at < 0 and "~~~" not in line:
        return None
    lead = _matched(_LEAD, line, 0)
    run = _RUN.match(line, len(lead))
    if run is None:
        run = _RUN.match(line, at) if "`" not in line[:at] and line[: max(at, 0)].strip(" \t\0") else None
        if run is None or not _WORD.fullmatch(line, run.end()):
            return None
        lead = ""
    quotes = lead.count(">") - sum(token.count(">") for token in _TOKENS.findall(lead))
    indent = 0 if _TOKENS.search(lead) else _columns(lead.rpartition(">")[2].removeprefix(" " * (quotes > 0)))
    character, length, info = run[0][0], len(run[0]), line[run.end() :]
    language = "" if _TRAIL.match(info) else _matched(_LANGUAGE, info, 0, 1).lower()
    if character == "~" or "`" not in info:
        return Fence(character, length, indent, quotes, language), run.start(), None
    last = _last_run(info, character)
    content = info[: last[0]] if last and last[1] - last[0] >= length else ""
    if last is None or not content.strip() or "`" in content:
        return None
    word = _matched(_WORD_WITHIN, content, 0)
    first = len(content) - len(content[len(word) :].lstrip())
    span = (run.end() + first, run.end() + last[0], run.end() + last[1])
    return Fence(character, length, 0, 0, word.lower()), run.start(), span


def _closing(line: str, fence: Fence) -> tuple[int, int] | None:
    """Return where in a line of a block its closing fence stands."""
    span = _last_run(line, fence.character) or _first_run(line, fence)
    if span is None or span[1] - span[0] < fence.length:
        return None
    before = line[: span[0]].rstrip()
    if not before:
        return span if _columns(line[: span[0]]) <= _limit(fence.indent) else None
    code = before.lstrip()
    if fence.character * 3 in before or code.startswith(("#", "//")) or code.endswith(('"""', "'''")):
        return None
    return None if _LEAD.fullmatch(before + " ") else span


def _last_run(line: str, character: str) -> tuple[int, int] | None:
    """Return the last run of three or more of `character`, if only blanks and tokens follow it."""
    end = line.rfind(character * 3) + 3
    return None if end < 3 or not _TRAIL.match(line, end) else (len(line[:end].rstrip(character)), end)


def _first_run(line: str, fence: Fence) -> tuple[int, int] | None:
    """Return the run of backticks that a line begins with, if a sentence and no other fence follows it."""
    at = len(line) - len(line.lstrip(" \t"))
    run = _RUN.match(line, at) if fence.character == "`" else None
    return run.span() if run and _SENTENCE.match(line, run.end()) and "`" not in line[run.end() :] else None


def _reopens(line: str, fence: Fence) -> bool:
    """Say whether a line of an open block shows, by a fence with a language, that the block was never closed."""
    if fence.character * fence.length not in line:
        return False
    blanks = len(line) - len(line.lstrip(" \t"))
    run = _RUN.match(line, blanks)
    return (
        run is not None
        and run[0].startswith(fence.character * fence.length)
        and _columns(line[:blanks]) <= _limit(fence.indent)
        and _WORD.fullmatch(line, run.end()) is not None
    )


def _free(content: str, fence: Fence) -> str:
    """Return the content of a block without what its fence's indentation and quotation put before each line."""
    if not (fence.indent or fence.quotes):
        return content
    lines = [(_unquoted(line, fence.quotes) or "", ending) for line, ending in _LINE.findall(content)]
    first = next((line for line, _ in lines if line.strip()), "")
    indent = fence.indent * first.startswith((" ", "\t"))
    return "".join(_without_indent(line, indent) + ending for line, ending in lines)


def _unquoted(line: str, quotes: int) -> str | None:
    """Return a line without so many marks of quotation; None if it has fewer."""
    at = 0
    for _ in range(quotes):
        mark = _QUOTE.match(line, at)
        if mark is None:
            return None
        at = mark.end()
    return line[at:]


def _without_indent(line: str, columns: int) -> str:
    """Return a line without so many columns of blanks, or as many as it has."""
    blanks = len(line) - len(line.lstrip(" \t"))
    if columns == 0 or blanks == 0:
        return line
    if "\t" not in line[:blanks]:
        return line[min(blanks, columns) :]
    return " " * (_columns(line[:blanks]) - columns) + line[blanks:]


def _columns(blanks: str) -> int:
    return len(blanks.expandtabs(4))


def _matched(pattern: re.Pattern[str], text: str, at: int, group: int = 0) -> str:
    match = pattern.match(text, at)
    return match[group] if match else ""
