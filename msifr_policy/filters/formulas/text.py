r"""One spelling of mathematics for many: what means the same in answers of models is written the same.

`canonical` turns an answer as models and data sets write it (Unicode, Markdown, any dialect of LaTeX) into a small
LaTeX without spacing and size commands, in which `\text{…}` holds words and nothing else does. It changes no value: a
`\frac12` becomes `\frac{1}{2}`, a `½` too; `1{,}000` becomes 1000, for a brace around a comma groups digits. Nothing is
evaluated, and the time is linear in the text.
"""

import re
from typing import Final

from msifr_policy.filters.formulas.symbols import COMMANDS, FUNCTIONS, HEADS, RENAMED, command
from msifr_policy.reading.literals import words

_RAISED: Final = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni", strict=True))
_LOWERED: Final = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙ", "0123456789+-=()n", strict=True))
_SCRIPTS = re.compile(rf"[{''.join(_RAISED)}]++|[{''.join(_LOWERED)}]++")


def _ascii(text: str) -> str:
    if text.isascii():
        return text

    def script(run: re.Match[str]) -> str:
        raised = run[0][0] in _RAISED
        signs = _RAISED if raised else _LOWERED
        return f"{'^' if raised else '_'}{{{''.join(map(signs.__getitem__, run[0]))}}}"

    text = _SCRIPTS.sub(script, text)
    return "".join(character if character.isascii() else command(character) for character in text)


_THIN_GROUP = re.compile(r"(?<=\d)(?:\\[,;:!]|~|'|\s?\{\s*,\s*\}\s?|,\\!\s?){1,2}(?=\d{3}(?!\d))")
_DECIMAL_BRACE = re.compile(r"(?<=\d)\s?\{\s*,\s*\}\s?(?=\d)")
_SPACES = re.compile(
    r"(?P<row>\\\\(?!\s*\Z))|\\[,;:> ~]"
    r"|\\(?:quad|qquad|thinspace|enspace|medspace|thickspace|null|displaystyle|textstyle|scriptstyle|limits|nolimits"
    r"|hfill|par|newline|noindent|normalsize|large|Large|LARGE|huge|small|tiny|it|rm|bf|sf|tt|em)(?![A-Za-z])"
    r"|\\[hv]space\*?\{[^{}]{0,20}\}|\\h?phantom\{[^{}]{0,99}\}|~|\\\\|[ \t\r\n]"
)
_NOTHING = re.compile(
    r"(?P<row>\\\\)|\\!\s*|\\(?:left|right|mleft|mright|middle)\s*\.|\\(?:left|right|mleft|mright|middle)(?![A-Za-z])"
    r"|\\[bB]igg?[lrm]?(?![A-Za-z])|\\[()\[\]]|\\label\{[^{}]{0,99}\}"
)
_TAGS = re.compile(r"<br ?/?>|</?(?:b|strong|i|em|u|p|span|div|center|code|ans|answer)>", re.IGNORECASE)
_EMPHASIS = re.compile(r"\s*([*_]{1,3})(?=[^\s*_])([^*_]*)(?<=\S)\1[\s.]*")
_QUOTED = re.compile(r"\s*([\"'“„«`])([^\"'“”„«»`]+)[\"'”“»`][\s.]*")
_ENDS = re.compile(r"(?:[\s$]|\\(?:q?quad|blacksquare|square|Box|qed|checkmark|hfill)(?![A-Za-z]))+\Z")
_TOMBSTONES: Final = dict.fromkeys(map(ord, "∎■□◻☐✓✔✅☑\ufe0f"), " ")
_COMPARED = re.compile(r"[<>]=|(?<![\d!)])!=")
_OPTIONS = re.compile(r"\\bbox\s*\[[^\[\]]{0,40}\]")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z()\[\]])")
_POWER = re.compile(r"(?<=[\w)}])\*\*(?=[\w({\\-])")
_MARKDOWN = re.compile(r"\*\*+|__+|`+")
_FONT = (
    r"\\(text|mbox|hbox|textrm|textbf|textit|textsf|texttt|textnormal|textsc|emph|mathrm|mathbf|mathit|mathsf|mathtt"
    r"|mathcal|mathscr|boldsymbol|bm|pmb|operatorname\*?|boxed|fbox|underline|ensuremath|mathop|mathord|displaystyle"
    r"|color|textcolor|colorbox|bold|underbrace)\s*\{"
)
_FONT_OR_BRACE = re.compile(rf"{_FONT}|\\.|[{{}}]", re.DOTALL)
_WORDS = frozenset(words("text mbox hbox textrm textbf textit textsf texttt textnormal textsc emph bold"))
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_DEGREE = re.compile(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree|\^\s*o(?![A-Za-z])")
_PRIME = re.compile(r"\^\s*\{\s*((?:\\prime\s*)+)\}|\^\s*\\prime(?![A-Za-z])|(?<=[A-Za-z)}])('+)(?![A-Za-z])")
_SLASHED = re.compile(r"(?<![\d.}_^A-Za-z)/])(\d{1,99})\s*/\s*(\d{1,99})(?!\d|\.\d|[!^]|\s*/)")
_SCRIPT = re.compile(r"([\^_])\s*([-+]?(?:\d+|[A-Za-z]|\\(?!frac|sqrt|degree|prime)[A-Za-z]+))")
_TRAILING: Final = " .,;:"


def canonical(text: str) -> str:
    """Return the answer in the canonical spelling; see the module."""
    text = _dollars(_ascii(text.translate(_TOMBSTONES)).replace("...", r"\ldots "))
    text = _measures(_unmarked(text if r"\begin" in text else _DOUBLED.sub(r"\\", text)))
    text = _COMPARED.sub(lambda sign: {"!": r"\ne ", ">": r"\ge ", "<": r"\le "}[sign[0][0]], text)
    text = _MARKDOWN.sub("", _POWER.sub("^", text))
    text = _DECIMAL_BRACE.sub(".", _THIN_GROUP.sub("", text))
    text = _NOTHING.sub(lambda found: found["row"] or "", text)
    text = _SPACES.sub(lambda found: found["row"] or " ", text)
    text = _OPTIONS.sub(r"\\boxed", text)
    text = _fonts(text)
    text = _COMMAND.sub(_command, text).replace(r"\%", "%").replace(r"\&", r"\text{and}")
    text = _ARROW.sub(r" \1\2\3 ", _CHOOSE.sub(r"\\binom{\1}{\2}", text))
    text = _spoken(_ORDINAL.sub("", text))
    text = _DEGREE.sub(r"\\degree ", text)
    text = _PRIME.sub(lambda prime: "^{" + r"\prime" * max(1, prime[0].count("prime"), prime[0].count("'")) + "}", text)
    text = _SCRIPT.sub(r"\1{\2}", _arguments(text))
    text = _SLASHED.sub(r"\\frac{\1}{\2}", text)
    text = _OUTWARD.sub(_outward, text)
    text = re.sub(r" {2,}", " ", text).lstrip(_TRAILING.replace(".", "")).rstrip(_TRAILING)
    return _unmarked(text).rstrip(_TRAILING)  # once more: within a box, say


_SI_NUMBER = re.compile(r"\\(?:num|ang)\s*\{([^{}]*)\}")
_SI_QUANTITY = re.compile(r"\\(?:SI|qty)\s*\{([^{}]*)\}\s*\{([^{}]*)\}|\\(?:si|unit)\s*\{([^{}]*)\}")


def _measures(text: str) -> str:
    """Write numbers and units of the package siunitx without its commands."""

    def quantity(found: re.Match[str]) -> str:
        named = (found[2] or found[3] or "").replace("\\", " ")
        return rf"{found[1] or ''} \text{{ {named.strip()} }}"

    text = _SI_NUMBER.sub(lambda found: found[1] + (r"\degree " if found[0].startswith(r"\ang") else ""), text)
    return _SI_QUANTITY.sub(quantity, text)


def _unmarked(text: str) -> str:
    """Take away what marks up a page around a formula: tags, emphasis, the sign that a proof is over."""
    text = _TAGS.sub(" ", text) if "</" in text or "<br" in text else text
    emphasised = _EMPHASIS.fullmatch(text) or _QUOTED.fullmatch(text)
    text = emphasised[2] if emphasised else text
    ends = _ENDS.search(text)
    text = text[: ends.start()] if ends and ends.start() and text[ends.start() - 1] not in "+-*/=^_({\\" else text
    return text[:-1] if text.endswith("\\") and not text.endswith("\\\\") else text


# What is chosen, and letters with an arrow or a line over them: the names of vectors and of segments.
_CHOOSE = re.compile(r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}")
_ARROW = re.compile(
    r"\\(?:vec|overrightarrow)\s*(?:\{\s*(\\?[A-Za-z]+)\s*\}|(?=\\?[A-Za-z]))|\\overline\s*\{\s*([A-Z]{2})\s*\}"
    r"|\\hat\s*\{\s*\\?([ijk])(?:math)?\s*\}"
)
# Intervals whose brackets are turned outward where they are open: ]0,1[.
_OUTWARD = re.compile(r"([\[\]])(\s*[^\s,;\[\]][^,;\[\]]*[,;][^,;\[\]]*)([\[\]])")


def _outward(found: re.Match[str]) -> str:
    return f"{'(' if found[1] == ']' else '['}{found[2]}{')' if found[3] == '[' else ']'}"


_ORDINAL = re.compile(r"(?<=\d)\s*\^\s*\{?\s*\\text\{\s*(?:st|nd|rd|th)\s*\}\s*\}?|(?<=\d)(?:st|nd|rd|th)(?![A-Za-z])")
_SPOKEN = re.compile(
    r"(\\text\{[^{}]*\})|(?<![A-Za-z\\])(?:(arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|log|ln|exp|gcd|lcm|pi|theta|alpha"
    r"|beta|omega|infinity|infty|inf)(?![A-Za-z]))"
)


def _spoken(text: str) -> str:
    r"""Write functions and letters that are spelled out as commands: `sin x`, `2pi`."""

    def command(found: re.Match[str]) -> str:
        name = found[2]
        return found[0] if name is None else rf"\{'infty' if name.startswith('inf') else name} "

    return _SPOKEN.sub(command, text)


def _dollars(text: str) -> str:
    """Take away dollar signs that set off formulas; one that stands alone before a digit is money."""
    plain = re.sub(r"\\\$", "\0", text)
    if plain.count("$") % 2:
        plain = re.sub(r"\$(?=\s?-?[\d.])", "\0", plain, count=1)
    return plain.replace("$", " ").replace("\0", r"\$")


def _command(found: re.Match[str]) -> str:
    r"""Return a command by its usual name; `\pir` is `\pi r`, for what it stands in was without blanks."""
    name = found[1]
    if name in RENAMED:
        return RENAMED[name]
    if name not in COMMANDS:
        for head in HEADS:
            if name.startswith(head):
                return f"\\{head} {name[len(head) :]}"
    return found[0]


def _fonts(text: str) -> str:
    r"""Unwrap what only changes the font; words stay in `\text{…}`, and so do units, which are set upright."""
    out: list[str] = []
    open_groups: list[tuple[str, int] | None] = []  # of each open brace: the font's name and where it begins in out
    at = 0
    for token in _FONT_OR_BRACE.finditer(text):
        out.append(text[at : token.start()])
        at = token.end()
        if token[1]:
            open_groups.append((token[1], len(out)))
        elif token[0] == "{":
            open_groups.append(None)
            out.append("{")
        elif token[0] == "}" and open_groups:
            font = open_groups.pop()
            if font is None:
                out.append("}")
            else:
                inside = "".join(out[font[1] :])
                del out[font[1] :]
                out.append(_unwrapped(font[0], inside))
        elif token[0] != "}":
            out.append(token[0])
    out.append(text[at:])
    return "".join(out)


_PLAIN_WORDS = re.compile(r"[^\d=<>\\^_{}$%+*|]+")


def _unwrapped(font: str, inside: str) -> str:
    if font in ("color", "textcolor", "colorbox"):
        return ""
    if inside in FUNCTIONS:
        return f"\\{inside} "
    worded = _PLAIN_WORDS.fullmatch(inside) and any(map(str.isalpha, inside))
    if worded and (font in _WORDS or (font == "mathrm" and len(inside.strip()) > 1)):
        return rf"\text{{{inside}}}"
    if font.startswith("operatorname"):
        return f"\\{inside} " if inside in COMMANDS else rf"\operatorname{{{inside}}}"
    if font in ("boxed", "fbox") or font in _WORDS or len(inside) == 1:
        return inside
    # `\text{…}` around a formula, `\mathrm{d}`, a unit with an exponent.
    return f" {inside} "


_PIECE = re.compile(r"\\[A-Za-z]+|\\.|sqrt(?=\s*[({\d])|.", re.DOTALL)
_ARGUMENTS: Final = {"\\frac": 2, "\\binom": 2, "\\sqrt": 1, "sqrt": 1}
_LONGEST_INDEX: Final = 8  # pieces in the index of a root
_Piece = str | list["_Piece"]
"""A character, a command, or a group: a list that begins and ends with its brackets."""


def _arguments(text: str) -> str:
    r"""Give every `\frac`, `\binom` and `\sqrt` its arguments in braces: `\frac12`, `\sqrt3`, `sqrt(2)`."""
    # From the right, so that an argument is one piece before it is taken. The next piece is the last.
    pieces: list[_Piece] = []
    ends: list[tuple[int, str]] = []  # where, and by what, groups are closed that nothing has opened yet
    for piece in reversed(_PIECE.findall(text)):
        if piece in ("}", ")"):
            ends.append((len(pieces), piece))
            pieces.append(piece)
        elif piece in ("{", "(") and _closed_by(ends, piece):
            at = ends.pop()[0]
            pieces[at:] = [[piece, *reversed(pieces[at:])]]
        elif piece in _ARGUMENTS:
            root = piece.endswith("sqrt")
            given = [_index_of_root(pieces)] if root else []
            given.extend(["{", *_argument(pieces, root=root, ends=ends), "}"] for _ in range(_ARGUMENTS[piece]))
            pieces.append(["\\" + piece.removeprefix("\\"), *given])
        else:
            pieces.append(piece)
    return _joined(pieces)


def _closed_by(ends: list[tuple[int, str]], opener: str) -> bool:
    """Say whether the last end is that of this opener; a brace closes over round brackets that are open on one side."""
    if opener == "{" and any(closer == "}" for _, closer in ends[-3:]):
        while ends[-1][1] != "}":
            ends.pop()
    return bool(ends) and ends[-1][1] == {"{": "}", "(": ")"}[opener]


def _index_of_root(pieces: list[_Piece]) -> list[_Piece]:
    """Take `[3]` from before the argument of a root."""
    nearest = pieces[-_LONGEST_INDEX:]
    if not pieces or pieces[-1] != "[" or "]" not in nearest:
        return []
    size = nearest[::-1].index("]") + 1
    taken = pieces[-size:][::-1]
    del pieces[-size:]
    return taken


def _argument(pieces: list[_Piece], *, root: bool, ends: list[tuple[int, str]]) -> list[_Piece]:
    """Take the next argument, without its brackets; a root takes a whole number and what is in round brackets."""
    while pieces and pieces[-1] == " ":
        pieces.pop()
    if not pieces or (ends and ends[-1][0] == len(pieces) - 1):
        return []
    first = pieces.pop()
    if isinstance(first, list):
        bracketed = first[0] == "{" or (root and first[0] == "(")
        return first[1:-1] if bracketed else [first]
    taken: list[_Piece] = [first]
    while root and first.isdigit() and pieces and isinstance(pieces[-1], str) and pieces[-1].isdigit():
        taken.append(pieces.pop())
    return taken


def _joined(pieces: list[_Piece]) -> str:
    text: list[str] = []
    while pieces:
        piece = pieces.pop()
        if isinstance(piece, str):
            text.append(piece)
        else:
            pieces.extend(reversed(piece))
    return "".join(text)


SET_AS_TEXT: Final = re.compile(r"\\text\{([^{}]*)\}")
"""Words in the canonical spelling."""


def without_text(text: str) -> str:
    r"""Return a formula in which the words of every `\text{…}` stand bare, between blanks."""
    return SET_AS_TEXT.sub(r" \1 ", text)


_BRACKET: Final = re.compile(
    r"\\begin\{[a-zA-Z*]+\}|\\end\{[a-zA-Z*]+\}|\\[{}]|\\(?:langle|rangle)|\\.|[()\[\]{}]", re.DOTALL
)


def closing(text: str, at: int) -> int | None:
    """Return where the bracket is closed that opens at `at`, whatever closes it; None if nothing does."""
    depth = 0
    for bracket in _BRACKET.finditer(text, at):
        depth += _nesting(bracket[0])
        if depth == 0 and _nesting(bracket[0]) < 0:
            return bracket.start() if len(bracket[0]) == 1 else bracket.end() - 1
    return None


def _nesting(bracket: str) -> int:
    """Return 1 for what opens, -1 for what closes, 0 for another command."""
    if bracket.startswith(("\\begin", "\\langle")) or bracket in ("(", "[", "{", "\\{"):
        return 1
    return -1 if bracket.startswith(("\\end", "\\rangle")) or bracket in (")", "]", "}", "\\}") else 0


def split(text: str, separator: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """Return the parts of `text` between separators that no bracket encloses, and these separators."""
    parts: list[str] = []
    separators: list[str] = []
    depth = start = 0
    both = re.compile(rf"(?P<separator>{separator.pattern})|(?:{_BRACKET.pattern})", re.DOTALL | separator.flags)
    for token in both.finditer(text):
        if token["separator"] is None:
            depth = max(0, depth + _nesting(token[0]))
        elif depth == 0:
            parts.append(text[start : token.start()])
            separators.append(token["separator"])
            start = token.end()
    parts.append(text[start:])
    return parts, separators
