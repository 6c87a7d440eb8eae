"""Fenced blocks in a text: what stands between two lines of backticks."""

from typing import Final

_FENCE = "```"
_LONGEST: Final = 200
"""Characters of a line that begins like a fence; what a longer one means, a reader of pieces does not say."""


class _Fences:
    """Follows fences line by line; `inside` says whether the next line belongs to a block in one of `languages`."""

    def __init__(self, languages: frozenset[str]) -> None:
        self.inside = False
        self._languages = languages
        self._ticks = 0  # of the fence that is open

    def read(self, line: str) -> None:
        stripped = line.strip()
        run = len(stripped) - len(stripped.lstrip("`"))
        if self._ticks == 0:
            if stripped.startswith(_FENCE) and "`" not in stripped[run:]:
                self._ticks, self.inside = run, stripped[run:].strip().lower() in self._languages
        elif run >= self._ticks and run == len(stripped):
            self._ticks, self.inside = 0, False


def last_block(text: str, languages: frozenset[str]) -> str | None:
    """Return the last closed block fenced as one of `languages` (lower case), or None; one pass over the lines.

    A block that the text breaks off in is none: its end is missing.
    """
    found: str | None = None
    fences, lines = _Fences(languages), list[str]()
    for line in text.splitlines(keepends=True):
        before = fences.inside
        fences.read(line)
        if not before:
            lines = []
        elif fences.inside:
            lines.append(line)
        else:
            found = "".join(lines)
    return found


class BlockEnd:
    """Ends with the line that closes the first block fenced as one of `languages` (lower case).

    A filter that reads the last closed block would read a later one; here the first is the answer.
    """

    exact: Final = False

    def __init__(self, languages: frozenset[str]) -> None:
        self._fences = _Fences(languages)
        self._line = ""  # as much of a line without its end as tells whether it is a fence
        self._lost = False
        self._read = 0
        self._end: int | None = None

    def feed(self, text: str) -> int | None:
        """See `DecidedReader`."""
        for piece in text.splitlines(keepends=True):
            if self._end is not None or self._lost:
                break
            (content,) = piece.splitlines()
            self._line = _like_fence(self._line + content)
            self._lost = len(self._line) > _LONGEST
            if len(content) < len(piece):
                before = self._fences.inside
                self._fences.read(self._line)
                self._line = ""
                if before and not self._fences.inside and not self._lost:
                    self._end = self._read + len(content)
            self._read += len(piece)
        return self._end


def _like_fence(line: str) -> str:
    """Return as much of the beginning of a line as tells, whatever follows in it, whether it is a fence."""
    line = line.lstrip()
    return line if line.startswith(_FENCE) or _FENCE.startswith(line) else line[:1] if line[:1] != "`" else "`x"
