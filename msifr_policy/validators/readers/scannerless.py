r"""A grammar in Lark's notation without its lexer: each terminal spelled out, one character at a time.

llguidance reads with a lexer that always takes the longest terminal and never goes back, and skips what is ignored
between terminals only. Lark's Earley parser finds a parse wherever the terminals begin and end, and skips what
is ignored before the first one and after the last one too. `scannerless` writes a grammar that llguidance reads like
Lark: terminals become rules of single characters, and each terminal of a rule is followed by what is ignored.
Priorities, aliases and marks for trees are left out: they choose among parses, and any parse will do.

    start: STEM "ed"           start: ignored r_start
    STEM: "rat" | "rates"  →   r_start: (t_stem ignored) (("e" "d") ignored)
    %ignore " "                t_stem: "r" "a" "t" | "r" "a" "t" "e" "s"
                               ignored: ((" "))*
"""

import re
from functools import lru_cache

MOST = 50_000
"""Characters of a grammar that is rewritten."""

_STATEMENT = re.compile(r"\s*(?:([?!]*)([A-Za-z_]\w*)(?:\.-?[0-9]+)?\s*:|%(\w+))")
_ITEM = re.compile(
    r"""
    \s+ | (?P<string> "(?:[^"\\\n]|\\.)*+" ) (?P<any_case> i? )
    | (?P<regex> /(?![/*])(?:[^/\\\n]|\\.)++/ ) (?P<flags> [imslux]* )
    | (?P<alias> ->\s*\w+ ) | (?P<range> \.\. ) | (?P<name> [?!]?[A-Za-z_]\w* )
    | (?P<count> ~\s*[0-9]+(?:\s*\.\.\s*[0-9]+)? | \{\s*[0-9]*\s*(?:,\s*[0-9]*\s*)?\} ) | (?P<sign> [()|*+?\[\]] )
    """,
    re.VERBOSE,
)
_RANGE_END = re.compile(r'\s*\.\.\s*("(?:[^"\\]|\\.)")')
_IMPORT = re.compile(r"\s*common\.(\w+)\s*(?:->\s*(\w+)\s*)?|\s*common\s*\(([\w\s,]+)\)\s*")
_ESCAPED = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)|[^\\]")
_PRIORITY = re.compile(r"(?m)^(\s*[?!]*[A-Za-z_]\w*)\.-?[0-9]+(?=\s*:)")
_COMMENT = re.compile(r"""("(?:[^"\\\n]|\\.)*+"|/(?![/*])(?:[^/\\\n]|\\.)++/)|(?://|\#)[^\n]*""")
_COMMON = {
    "DIGIT": "/[0-9]/", "HEXDIGIT": "/[a-fA-F0-9]/", "INT": "/[0-9]+/", "SIGNED_INT": "/[-+]?[0-9]+/",
    "DECIMAL": r"/[0-9]+\.[0-9]*|\.[0-9]+/",
    "FLOAT": r"/[0-9]+[eE][-+]?[0-9]+|([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?/",
    "NUMBER": r"/([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?/",
    "SIGNED_FLOAT": r"/[-+]?([0-9]+[eE][-+]?[0-9]+|([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?)/",
    "SIGNED_NUMBER": r"/[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?/",
    "ESCAPED_STRING": r'/"([^"\\\n]|\\[^\n])*"/', "LCASE_LETTER": "/[a-z]/", "UCASE_LETTER": "/[A-Z]/",
    "LETTER": "/[A-Za-z]/", "WORD": "/[A-Za-z]+/", "CNAME": "/[_A-Za-z][_A-Za-z0-9]*/", "WS_INLINE": r"/[ \t]+/",
    "WS": r"/[ \t\f\r\n]+/", "CR": r"/\r/", "LF": r"/\n/", "NEWLINE": r"/(\r?\n)+/", "SH_COMMENT": r"/#[^\n]*/",
    "CPP_COMMENT": r"/\/\/[^\n]*/", "SQL_COMMENT": r"/--[^\n]*/",
}  # fmt: skip


class _UnreadableError(Exception):
    """Something of a grammar that is not rewritten."""


def without_priorities(lark: str) -> str:
    """Return the grammar without the priorities of terminals and rules, which llguidance does not take."""
    return _PRIORITY.sub(r"\1", lark)


@lru_cache(16)
def scannerless(lark: str) -> str | None:
    """Return the grammar without a lexer, None if it holds what cannot be rewritten (attributes, templates, other
    notations within, look-around).
    """
    try:
        return _rewritten(lark) if len(lark) <= MOST else None
    except _UnreadableError:
        return None


def _rewritten(lark: str) -> str:
    rules: dict[str, str] = {}
    ignored: list[str] = []
    imported: dict[str, str] = {}
    for name, body in _statements(_COMMENT.sub(lambda match: match[1] or "", lark)):
        if name == "%llguidance":  # options of the parser
            continue
        if name == "%ignore":
            ignored.append(_expression(body, within_terminal=True))
        elif name == "%import":
            imported |= _imports(body)
        elif name.startswith("%"):
            raise _UnreadableError(name)
        else:
            rules[name] = body
    if "start" not in rules:
        raise _UnreadableError("start")
    lines = [
        "start: ignored r_start",
        f"ignored: ({' | '.join(f'({one})' for one in ignored)})*" if ignored else 'ignored: ""',
    ]
    for name, body in {**imported, **rules}.items():
        lines.append(f"{_renamed(name)}: {_expression(body, within_terminal=_is_terminal(name))}")
    return "\n".join(lines)


def _statements(lark: str) -> list[tuple[str, str]]:
    """Return the name of each rule, terminal or command, and what is said of it."""
    found: list[tuple[str, str]] = []
    for line in lark.splitlines():
        match = _STATEMENT.match(line)
        if match:
            found.append((match[2] or f"%{match[3]}", line[match.end() :]))
        elif line.strip():
            if not found:
                raise _UnreadableError(line)
            name, body = found[-1]
            found[-1] = (name, f"{body} {line}")
    return found


def _imports(body: str) -> dict[str, str]:
    """Return the terminals of the `common` library that a command imports."""
    match = _IMPORT.fullmatch(body)
    if match is None:
        raise _UnreadableError(body)
    names = [match[1]] if match[1] else [name.strip() for name in match[3].split(",") if name.strip()]
    if not _COMMON.keys() >= set(names):
        raise _UnreadableError(body)
    return {match[2] or name: _COMMON[name] for name in names}


def _is_terminal(name: str) -> bool:
    return name.lstrip("_?!")[:1].isupper()


def _renamed(name: str) -> str:
    name = name.lstrip("?!")
    return f"t_{name.lower()}" if _is_terminal(name) else f"r_{name}"


def _expression(body: str, *, within_terminal: bool) -> str:
    """Return the right side of a rule; within a rule what is ignored may follow each terminal."""
    written: list[str] = []
    at = 0
    while at < len(body):
        match = _ITEM.match(body, at)
        if match is None:
            raise _UnreadableError(body[at:])
        at = match.end()
        terminal = ""
        if match["string"]:
            terminal = _spelled(match["string"], any_case=bool(match["any_case"]))
            if last := _RANGE_END.match(body, at):
                terminal, at = f"{match['string']}..{last[1]}", last.end()
        elif match["regex"]:
            terminal = _Regex(match["regex"][1:-1], match["flags"]).rewritten()
        elif match["name"]:
            name = _renamed(match["name"])
            terminal = name if _is_terminal(match["name"]) else ""
            written += [] if terminal else [name]
        elif match["count"] or match["sign"]:
            written.append(match[0])
        elif match["range"]:
            raise _UnreadableError(body)
        if terminal:
            written.append(f"({terminal})" if within_terminal else f"(({terminal}) ignored)")
    return " ".join(written) or '""'


def _spelled(string: str, *, any_case: bool) -> str:
    """Return a quoted string as a sequence of single characters."""
    characters = _ESCAPED.findall(string[1:-1])
    return " ".join(f'"{character}"{"i" if any_case else ""}' for character in characters) or '""'


class _Regex:
    """A regular expression as alternatives, sequences and repetitions of single characters."""

    def __init__(self, pattern: str, flags: str) -> None:
        if set(flags) - set("is"):
            raise _UnreadableError(flags)
        self._pattern = pattern
        self._at = 0
        self._flags = set(flags)

    def rewritten(self) -> str:
        if first := _FIRST_FLAGS.match(self._pattern):
            self._flags |= set(first[1])
            self._at = first.end()
        text = self._alternatives(0)
        if self._at < len(self._pattern):
            raise _UnreadableError(self._pattern)
        return text

    def _alternatives(self, depth: int) -> str:
        if depth > 20:
            raise _UnreadableError(self._pattern)
        branches: list[list[str]] = [[]]
        while self._at < len(self._pattern) and self._pattern[self._at] != ")":
            if self._pattern[self._at] == "|":
                self._at += 1
                branches.append([])
            else:
                branches[-1].append(self._repeated(self._one(depth)))
        return " | ".join(" ".join(branch) or '""' for branch in branches)

    def _one(self, depth: int) -> str:
        pattern = self._pattern
        if pattern[self._at] == "(":
            opening = _OPENING.match(pattern, self._at)
            if opening is None:
                raise _UnreadableError(pattern)
            self._at = opening.end()
            outside, self._flags = self._flags, self._flags | set(opening[1] or "")
            inner = self._alternatives(depth + 1)
            self._flags = outside
            if pattern[self._at : self._at + 1] != ")":
                raise _UnreadableError(pattern)
            self._at += 1
            return f"({inner})"
        match = _CHARACTER.match(pattern, self._at)
        if match is None:
            raise _UnreadableError(pattern)
        self._at = match.end()
        flags = f"(?{''.join(sorted(self._flags))})" if self._flags else ""
        return f"/{flags}{match[0]}/"

    def _repeated(self, one: str) -> str:
        match = _QUANTIFIER.match(self._pattern, self._at)
        if match is None:
            return one
        self._at = match.end()
        return f"{one}{match[1]}"


_OPENING = re.compile(r"\((?:\?([is]*):)?(?!\?)")
_FIRST_FLAGS = re.compile(r"\(\?([is]+)\)")
_CHARACTER = re.compile(
    r"""
    \\ (?: x[0-9a-fA-F]{2} | u[0-9a-fA-F]{4} | [pP]\{\w+\} | [dDwWsS] | [nrtfv] | [^\w] )
    | \[ \^? \]? (?: [^]\\[] | \\. )*+ \] | [^\\()\[\]|*+?{}^$&~]
    """,
    re.VERBOSE,
)
_QUANTIFIER = re.compile(r"([*+?]|\{[0-9]*,?[0-9]*\})\??")
