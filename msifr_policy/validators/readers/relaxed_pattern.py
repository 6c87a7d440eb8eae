r"""Regular expressions of ECMA-262 as llguidance takes them: what matches the one, matches the other too.

llguidance reads the syntax of Rust's `regex`, which has no look-around and no back references, and in which other
characters are white space. What it cannot say is **relaxed**: look-around and word boundaries go, and so do anchors
but at the ends of the pattern or of its alternatives; back references become any text, properties of Unicode any
character. Everything that is kept is written out as code points, so that it means the same there.
"""

import re
from typing import Final, NamedTuple

import re2

from msifr_policy.errors import InputError
from msifr_policy.reading.searching import quietly

LONGEST: Final = 4096
"""Characters of a pattern that is read; a longer one is relaxed to any text."""
MAX_REPEATS: Final = 1000
"""Repetitions that are counted."""


class Relaxed(NamedTuple):
    """A pattern that matches whatever the given one matches, and what of that is relaxed in it."""

    pattern: str
    missing: frozenset[str]


def relaxed_pattern(pattern: str) -> Relaxed:
    """Relax a pattern; raises `InputError`, with the reason, if it is none of ECMA-262 (as far as that is seen)."""
    if len(pattern) > LONGEST:
        return Relaxed(_ANY_TEXT, frozenset({"a long pattern"}))
    try:
        translation = _Translation(pattern)
        quietly(translation.result)
    except (re2.error, ValueError) as error:
        if re.search("repetition size|too large", str(error)):
            return Relaxed(_ANY_TEXT, frozenset({"many repetitions"}))
        where = f"pattern {pattern[:100]!r}"
        raise InputError(f"no regular expression of ECMA-262: {error}", where=where) from error
    return Relaxed(translation.result, frozenset(translation.missing))


_ANY: Final = r"\x{0}-\x{10ffff}"
_ANY_TEXT: Final = f"[{_ANY}]*"
_CLASSES: Final = {
    "d": "0-9",
    "D": r"\x{0}-\x{2f}\x{3a}-\x{10ffff}",
    "w": "0-9A-Z_a-z",
    "W": r"\x{0}-\x{2f}\x{3a}-\x{40}\x{5b}-\x{5e}\x{60}\x{7b}-\x{10ffff}",
    "s": r"\x{9}-\x{d} \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}",
    "S": r"\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}"
    r"\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}",
}
"""What the classes of ECMA-262 hold, as it stands within brackets."""
_DOT: Final = r"[^\x{a}\x{d}\x{2028}\x{2029}]"
_CONTROLS: Final = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}

# One character, or a class, by its escape.
_ESCAPE = r"""
    \\(?: u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
        | u\{(?P<long>0*[0-9a-fA-F]{1,6})\} | u(?P<unit>[0-9a-fA-F]{4}) | x(?P<byte>[0-9a-fA-F]{2})
        | c(?P<control>[A-Za-z]) | (?P<property>[pP]\{[^{}]*\}) | (?P<back>k<[^<>]*>|[1-9][0-9]*) | (?P<escaped>.) )"""
_PIECE = re.compile(
    rf"""(?P<look>\(\?<?[=!]) | (?P<modified>\(\?[ims]*(?:-[ims]*)?:)(?<!\(\?:)
      | (?P<group>\((?:\?(?::|<[^<>=!][^<>]*>))?+) | (?P<count>\{{[0-9]+(?:,[0-9]*)?\}})
      | {_ESCAPE} | (?P<sign>[^\\])""",
    re.VERBOSE | re.DOTALL,
)
_IN_CLASS = re.compile(rf"{_ESCAPE} | (?P<sign>[^\\])", re.VERBOSE | re.DOTALL)


class _Translation:
    """One pattern as it is read; raises ValueError where it is none."""

    def __init__(self, pattern: str) -> None:
        self.missing = set[str]()
        self._alternatives: list[str] = []
        self._written: list[str] = []  # of the alternative
        self._starts = self._ends = False  # whether it is anchored
        depth, look = 0, 0  # groups that are open; the depth of the outermost look-around
        gone = False  # the last piece was left out
        at = 0
        while at < len(pattern):
            piece = _PIECE.match(pattern, at)
            if piece is None:
                raise ValueError("it ends in an escape")
            kind, text, at = piece.lastgroup, piece[0], piece.end()
            if gone and (kind == "count" or text in ("*", "+", "?")):
                continue
            gone = False
            if text == "[":
                at, text = self._class(pattern, at)
            elif kind in ("look", "group", "modified"):
                depth += 1
                if kind == "modified":
                    self.missing.add("modifiers")
                    self.result = _ANY_TEXT
                    return
                if kind == "look":
                    self.missing.add("look-around")
                    look = look or depth
                text = "(?:"
            elif text == ")":
                if depth == 0:
                    raise ValueError("a parenthesis is closed that was not opened")
                depth -= 1
                if look > depth:
                    look, gone = 0, True
                    continue
            elif kind == "count":
                text = _count(text)
            elif kind == "sign":
                if text in "^$":
                    self._anchor(text, outermost=depth == 0, counts=not look)
                    gone = True
                    continue
                if text == "|" and depth == 0:
                    self._end_alternative()
                    continue
                if text not in "()*+?|":
                    text = _DOT if text == "." else _literal(ord(text))
            elif piece["escaped"] in ("b", "B"):
                self.missing.add("word boundaries")
                gone = True
                continue
            else:
                text = self._escape(piece)
            if not look:
                self._write(text)
        if depth > 0:
            raise ValueError("a parenthesis is not closed")
        self._end_alternative()
        self.result = f"^(?:{'|'.join(self._alternatives)})$"

    def _write(self, text: str) -> None:
        if self._ends:
            self.missing.add("anchors within")
            self._ends = False
        self._written.append(text)

    def _anchor(self, sign: str, *, outermost: bool, counts: bool) -> None:
        if not counts:
            return
        if not outermost or (sign == "^" and self._written):
            self.missing.add("anchors within")
        elif sign == "^":
            self._starts = True
        else:
            self._ends = True

    def _end_alternative(self) -> None:
        before, after = "" if self._starts else _ANY_TEXT, "" if self._ends else _ANY_TEXT
        self._alternatives.append(f"{before}(?:{''.join(self._written)}){after}")
        self._written, self._starts, self._ends = [], False, False

    def _escape(self, piece: re.Match[str]) -> str:
        if piece["back"]:
            self.missing.add("back references")
            return f"(?:{_ANY_TEXT})"
        value = self._value(piece)
        return f"[{value}]" if isinstance(value, str) else _literal(value)

    def _value(self, piece: re.Match[str]) -> int | str:
        """Return the character of an escape, or the content of a class."""
        escaped = piece["escaped"]
        if piece["property"]:
            self.missing.add("properties of Unicode")
            return _ANY
        if escaped in _CLASSES:
            return _CLASSES[escaped]
        if piece["high"]:
            return 0x10000 + ((int(piece["high"], 16) & 0x3FF) << 10) + (int(piece["low"], 16) & 0x3FF)
        if piece["control"]:
            return ord(piece["control"]) % 32
        digits = piece["long"] or piece["unit"] or piece["byte"]
        if digits:
            value = int(digits, 16)
            if value > 0x10FFFF:
                raise ValueError(f"{piece[0]} is no character")
            return value
        if escaped in _CONTROLS:
            return _CONTROLS[escaped]
        if escaped is None or escaped.isalnum():
            raise ValueError(f"{piece[0]} is no escape")
        return ord(escaped)

    def _class(self, pattern: str, at: int) -> tuple[int, str]:
        """Read a class from after its bracket on; return where it ends, and what stands for it."""
        negated = pattern.startswith("^", at)
        at += negated
        atoms: list[int | str] = []  # characters and contents of classes; a dash that may make a range is "-"
        while not pattern.startswith("]", at):
            piece = _IN_CLASS.match(pattern, at)
            if piece is None:
                raise ValueError("a bracket is not closed")
            at = piece.end()
            if piece["sign"]:
                atoms.append("-" if piece[0] == "-" else ord(piece[0]))
            else:
                atoms.append(8 if piece["escaped"] == "b" else 0x2D if piece["escaped"] == "-" else self._value(piece))
        content = _class_content(atoms)
        if not content and not negated:
            self.missing.add("empty classes")
        if not content or _ANY in atoms:
            return at + 1, f"[{_ANY}]"
        return at + 1, f"[{'^' * negated}{content}]"


def _class_content(atoms: list[int | str]) -> str:
    content, i = [], 0
    while i < len(atoms):
        first, last = _character(atoms[i]), _character(atoms[i + 2]) if i + 2 < len(atoms) else None
        if first is not None and last is not None and atoms[i + 1] == "-":
            if first > last:
                raise ValueError("a range is reversed")
            # Halves of surrogate pairs are no characters there; no document has them.
            first, last = 0xE000 if 0xD800 <= first < 0xE000 else first, 0xD7FF if 0xD800 <= last < 0xE000 else last
            content.append(f"{_point(first)}-{_point(last)}" if first <= last else "")
            i += 3
            continue
        atom = atoms[i]
        content.append(_point(first) if first is not None else str(atom))
        i += 1
    return "".join(content)


def _character(atom: int | str) -> int | None:
    return 0x2D if atom == "-" else atom if isinstance(atom, int) else None


def _point(value: int) -> str:
    """Return a character as it is written on its own and in brackets; half a surrogate pair is left out of these."""
    return "" if 0xD800 <= value < 0xE000 else f"\\x{{{value:x}}}"


def _literal(value: int) -> str:
    return _point(value) or f"[{_ANY}]"


def _count(text: str) -> str:
    """Return a number of repetitions, with those beyond `MAX_REPEATS` as any number more."""
    least, comma, most = text[1:-1].partition(",")
    least = str(min(int(least), MAX_REPEATS))
    if not comma and int(text[1:-1]) <= MAX_REPEATS:
        return f"{{{least}}}"
    return f"{{{least},{most if most and int(most) <= MAX_REPEATS else ''}}}"
