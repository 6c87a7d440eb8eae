"""Cutting text into lines, the same however the text arrives.

For texts that are read line by line: of a line only the first `LIMIT` characters are kept, so memory stays
bounded whatever the text.
"""

LIMIT = 400
"""Characters of a line that are kept."""


def cut_lines(unfinished: str, text: str) -> tuple[list[str], str]:
    """Return the lines that `text` completes, without their newlines, and the new unfinished one.

    `unfinished` is what the call before gave, empty at first.
    """
    lines = (unfinished + text).split("\n")
    last = lines.pop()[:LIMIT]
    return [line[:LIMIT] for line in lines], last
