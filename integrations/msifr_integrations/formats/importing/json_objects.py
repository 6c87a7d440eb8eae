"""The objects of a JSON document, one at a time: of an array, of several arrays, of objects one after another.

Only strings and brackets are told from the rest: what an object holds is for its reader to find well-formed. Time is
linear, and in memory is one object at a time, whatever the document's size.
"""

import re
from collections.abc import Iterator
from typing import IO, Final

from msifr_policy.errors import InputError

LONGEST_DOCUMENT: Final = 2**29
"""Bytes of one object: a document that is one object is read whole, and a hostile one must not fill the memory."""

_PIECE: Final = 1 << 18
# A string, a bracket, or a string whose end has not come yet. Possessive: nothing is kept to go back to.
_MARK: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\]]|"', re.DOTALL)


def json_objects(stream: IO[bytes], where: str, before: bytes = b"") -> Iterator[bytes]:
    """Yield the outermost objects of a document: what came `before` of the stream, and the stream.

    Raises `InputError` if it ends within an object, if brackets do not match, or an object is too long.
    """
    data, place, depth = before, 0, 0
    begins: int | None = None
    at = 0
    while True:
        for mark in _MARK.finditer(data, place):
            place = mark.end()
            kind = data[mark.start()]
            if kind == ord('"'):
                if place - mark.start() == 1:
                    place = mark.start()
                    break
            elif kind in b"{[":
                if begins is None and kind == ord("{"):
                    begins, at = mark.start(), depth
                depth += 1
            else:
                depth -= 1
                if depth < 0:
                    raise InputError("brackets that do not match", where=where, remedy="mend the JSON")
                if begins is not None and depth == at:
                    yield data[begins:place]
                    begins = None
        else:
            place = len(data)
        cut = place if begins is None else begins
        data, place, begins = data[cut:], place - cut, None if begins is None else 0
        if len(data) > LONGEST_DOCUMENT:
            remedy = "write records as JSON lines, for instance with jq -c '.[]'"
            raise InputError(f"an object longer than {LONGEST_DOCUMENT} bytes", where=where, remedy=remedy)
        # As much again as is kept: a long string that is looked at anew each time is so in linear time.
        if not (piece := stream.read(max(_PIECE, len(data)))):
            break
        data += piece
    if depth or data.strip():
        what = "ends in the middle of a record" if depth else f"something follows the records: {data[:20]!r}"
        raise InputError(what, where=where, remedy="the file may be cut short")
