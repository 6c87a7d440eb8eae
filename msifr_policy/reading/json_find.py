"""Which part of a finished text is its JSON document.

Models think before they answer, show a shape first and a draft, correct themselves, and add an example in another
language. So the document is **the last one that counts**, and what is no JSON hides none before it:

* thinking (see `thinking`) holds no document, and a text cut off while thinking has none; marks in the strings of a
  document outside thinking are spoken of ("fence": those within a line of a block);
* "whole": what remains of the text behind the thinking that it begins with. Only there thinking needs a mark that opens
  it, or one that closes it at the very beginning: a document may speak of the marks;
* "fence": the last closed block fenced as json; or one without a language, or with that of a kin of JSON, if it
  begins with a bracket and is JSON;
* "object": the last outermost object that is JSON, wherever it stands; one within an array or within braces that are
  none of JSON's counts, too. An empty one counts only if there is no other, and so does one in a block that is fenced
  as another language. For a schema whose type is array, arrays are found in the same way.

What is JSON is said by RFC 8259. A document with doubtful parts, as a key that occurs twice, counts, and is refused.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from msifr_policy.reading.blocks import Block, after_thinking, blocks
from msifr_policy.reading.json_documents import AfterHead
from msifr_policy.reading.json_syntax import STOPS, WHITE, JsonSyntax
from msifr_policy.reading.thinking import marks

Find = Literal["whole", "fence", "object"]
"""Where the document is: see this module."""

_BRACKETS = ("{", "[")
KIN: Final = frozenset({"", "jsonc", "json5", "jsonl", "ndjson", "jsonld", "geojson"})
"""Languages of blocks that hold a document if it is JSON."""


def find_document(text: str, find: Find, bracket: str = "{") -> str | None:
    """Return the document of `text` as it is written, or None; it need not be JSON with "whole" and "fence".

    bracket: what begins a document with "object", `{` or `[`.

    Linear in the text.
    """
    if find == "whole":
        return AfterHead().feed(text)
    part = after_thinking(text) if find == "fence" else _answer_part(text, bracket)
    if part is None:
        return None
    if find == "fence":
        found = [block.content for block in blocks(part) if block.closed and _holds_json(block)]
        return found[-1] if found else None
    code = [block for block in blocks(part) if not is_json(block.language) and block.language not in KIN]
    starts = [block.start for block in code]
    best, best_rank = None, (False, False)
    for start, end in _outermost(part, bracket):
        before = bisect_right(starts, start)  # blocks of code
        in_code = before > 0 and start < code[before - 1].end
        rank = (part[start + 1 : end - 1].strip(WHITE) != "", not in_code)
        if rank >= best_rank:
            best, best_rank = part[start:end], rank
    return best


def is_json(language: str) -> bool:
    """Say whether blocks of a language (lower case), or of a file of that name, hold a document, be it broken."""
    return language == "json" or language.endswith(".json")


def _answer_part(text: str, bracket: str) -> str | None:
    """Return the answer part, where marks in strings of documents are none; None if the text breaks off thinking."""
    start, thinking = 0, False
    at, document = 0, _Document(0, 0, broken=False)  # where to search on, and the document found last
    for mark in marks(text):
        while not thinking and document.end <= mark.start():
            document = _next_document(text, bracket, at) or _Document(len(text), len(text) + 1, broken=True)
            at = document.end - document.broken
        if thinking or not document.start < mark.start() < document.end or document.broken:
            thinking = mark["open"] is not None
            # A broken document is not read again before its end: so the time stays linear.
            start = at = mark.end()
    return None if thinking else text[start:]


def _holds_json(block: Block) -> bool:
    if is_json(block.language):
        return True
    content = block.content.strip(WHITE)
    return block.language in KIN and content[:1] in _BRACKETS and (0, len(content)) in _outermost(content, content[0])


def _outermost(text: str, bracket: str) -> Iterator[tuple[int, int]]:
    """Yield where the documents that `bracket` begins start and end, none within another."""
    at = 0
    while (document := _next_document(text, bracket, at)) is not None:
        if document.whole:
            yield document.start, document.end
        at = document.end - document.broken  # what breaks a document may begin another


class _Document(NamedTuple):
    """Where what may be a document starts, and where it ends or breaks; the text may break off before."""

    start: int
    end: int
    whole: bool = False
    broken: bool = False


def _next_document(text: str, bracket: str, at: int) -> _Document | None:
    found = _BEGINS[bracket].search(text, at)
    if found is None:
        return None
    syntax = JsonSyntax()
    end = syntax.feed(text, found.start())
    return _Document(found.start(), end, syntax.state == "whole", syntax.state in STOPS - {"whole"})


_BEGINS: Final = {"{": re.compile(r'\{(?=[ \t\n\r]*+["}])'), "[": re.compile(r'\[(?=[ \t\n\r]*+["{\[\]0-9tfn-])')}
