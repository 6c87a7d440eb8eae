r"""One spelling of mathematics for many: what means the same in answers of models is written the same.

`canonical` turns an answer as models and data sets write it (Unicode, Markdown, any dialect of LaTeX) into a small
LaTeX without spacing and size commands, in which `\text{…}` holds words and nothing else does. It changes no value: a
`\frac12` becomes `\frac{1}{2}`, a `½` too; `1{,}000` becomes 1000, for a brace around a comma groups digits. Nothing is
evaluated, and the time is linear in the text.
"""

import re
import unicodedata
from typing import Final

_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi omicron pi rho sigma "
    "tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega hbar ell"
).split()
_FUNCTIONS = (
    "arcsin arccos arctan sinh cosh tanh sin cos tan cot sec csc log ln lg exp max min gcd sqrt frac lceil lfloor angle "
    "cdot times infty"
).split()
_OTHERS = (
    "text mathrm mathbb begin end left right cup cap in notin setminus emptyset varnothing pm mp le ge leq geq lt gt ne "
    "neq equiv approx sim to rightarrow Rightarrow implies iff land lor wedge vee forall exists subset subseteq mid "
    "nmid parallel perp circ degree prime dagger star ast div bmod pmod mod binom over choose overline underline bar hat "
    "vec dot ddot tilde widehat sum prod int oint lim sup inf limsup liminf det rank arg Re Im lcm operatorname rfloor "
    "rceil langle rangle lvert rvert vert Vert lVert rVert lbrace rbrace lbrack rbrack dots ldots cdots quad qquad "
    "partial nabla odot oplus otimes mho triangle square therefore because quad boxed fbox dfrac tfrac cfrac mod coth "
    "sech csch arccot arcsec arccsc arsinh arcosh artanh backslash propto cong simeq lesssim gtrsim ll gg bigcup bigcap "
    "complement aleph imath jmath Box checkmark displaystyle textstyle hline cot varrho varsigma"
).split()
_KNOWN: Final = frozenset((*_GREEK, *_FUNCTIONS, *_OTHERS))
_HEADS: Final = tuple(sorted((*_GREEK, *_FUNCTIONS), key=len, reverse=True))

_SIGNS: Final = {
    **dict.fromkeys("−–—﹣－‐‑", "-"),
    **dict.fromkeys("×✕✖⨯", r"\times "),
    **dict.fromkeys("·⋅∙•・", r"\cdot "),
    **dict.fromkeys("∕⁄", "/"),
    **dict.fromkeys("∗＊", "*"),
    **dict.fromkeys("。｡．", "."),
    **dict.fromkeys("，、﹐", ","),
    **dict.fromkeys("⟨〈", r"\langle "),
    **dict.fromkeys("⟩〉", r"\rangle "),
    **dict.fromkeys("′’", "'"),
    **dict.fromkeys("″”", "''"),
    **dict.fromkeys("\u2009\u200a\u202f", "\\,"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\u00ad", ""),
    **{
        "÷": r"\div ",
        "±": r"\pm ",
        "∓": r"\mp ",
        "∞": r"\infty ",
        "°": r"\degree ",
        "º": r"\degree ",
        "˚": r"\degree ",
    },
    **{"∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "∅": r"\emptyset ", "∖": r"\setminus "},
    **{"≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≦": r"\le ", "≧": r"\ge ", "≠": r"\ne "},
    **{"≈": r"\approx ", "≡": r"\equiv ", "⇒": r"\Rightarrow ", "→": r"\to ", "∧": r"\land ", "∨": r"\lor "},
    **{"√": r"\sqrt ", "∛": r"\sqrt[3]", "∠": r"\angle ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}"},
    **{"ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "π": r"\pi ", "ℓ": r"\ell ", "ℏ": r"\hbar ", "…": r"\ldots "},
    **{"⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "∑": r"\sum ", "∫": r"\int "},
    **{"％": "%", "¢": r"\text{ cents}", "Å": r"\text{ Å}", "Å": r"\text{ Å}", "＄": "$", "￥": "¥", "ϕ": r"\phi "},
}
_RAISED: Final = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni", strict=True))
_LOWERED: Final = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙ", "0123456789+-=()n", strict=True))
_SCRIPTS = re.compile(rf"[{''.join(_RAISED)}]++|[{''.join(_LOWERED)}]++")


def _letter(character: str) -> str:
    """Return a character of Unicode in the spelling of LaTeX."""
    known = _SIGNS.get(character)
    if known is not None:
        return known
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", unicodedata.name(character, ""))
    if greek:
        name = greek[2].lower().replace("lamda", "lambda")
        name = name.capitalize() if greek[1] == "CAPITAL" else name
        return f"\\{name} " if name in _KNOWN else character
    if unicodedata.category(character) == "No":  # ½
        upper, stroke, lower = unicodedata.normalize("NFKC", character).partition("⁄")
        return rf"\frac{{{upper}}}{{{lower}}}" if stroke else character
    return " " if character.isspace() else unicodedata.normalize("NFKC", character)


def _ascii(text: str) -> str:
    if text.isascii():
        return text

    def script(run: re.Match[str]) -> str:
        raised = run[0][0] in _RAISED
        signs = _RAISED if raised else _LOWERED
        return f"{'^' if raised else '_'}{{{''.join(map(signs.__getitem__, run[0]))}}}"

    text = _SCRIPTS.sub(script, text)
    return "".join(character if character.isascii() else _letter(character) for character in text)


_THIN_GROUP = re.compile(r"(?<=\d)(?:\\[,;:!]|~|\{,\}|,\\!){1,2}(?=\d{3}(?!\d))")
_DECIMAL_BRACE = re.compile(r"(?<=\d)\{,\}(?=\d)")
_SPACES = re.compile(
    r"(?P<row>\\\\(?!\s*\Z))|\\[,;:> ~]|\\(?:quad|qquad|thinspace|enspace|medspace|thickspace|null|displaystyle|textstyle|scriptstyle|limits"
    r"|nolimits|hfill|par|newline|noindent|normalsize|large|Large|LARGE|huge|small|tiny|it|rm|bf|sf|tt|em)(?![A-Za-z])"
    r"|\\[hv]space\*?\{[^{}]{0,20}\}|\\h?phantom\{[^{}]{0,99}\}|~|\\\\|[ \t\r\n]"
)
_NOTHING = re.compile(
    r"(?P<row>\\\\)|\\!|\\(?:left|right|mleft|mright|middle)\s*\.|\\(?:left|right|mleft|mright|middle)(?![A-Za-z])"
    r"|\\[bB]igg?[lrm]?(?![A-Za-z])|\\[()\[\]](?!\])|\\label\{[^{}]{0,99}\}"
)
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z])")
_POWER = re.compile(r"(?<=[\w)}])\*\*(?=[\w({\\-])")
_MARKDOWN = re.compile(r"\*\*+|__+|`+")
_FONT = re.compile(
    r"\\(text|mbox|hbox|textrm|textbf|textit|textsf|texttt|textnormal|textsc|emph|mathrm|mathbf|mathit|mathsf|mathtt"
    r"|mathcal|mathscr|boldsymbol|bm|pmb|operatorname\*?|boxed|fbox|underline|ensuremath|mathop|mathord|displaystyle"
    r"|color|textcolor|bold|underbrace)\s*\{"
)
_WORDS = frozenset("text mbox hbox textrm textbf textit textsf texttt textnormal textsc emph bold".split())
_RENAMED = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac", "nicefrac", "sfrac"), "frac"),
    **{"leq": "le", "geq": "ge", "leqslant": "le", "geqslant": "ge", "neq": "ne", "varnothing": "emptyset"},
    **{
        "lt": "<",
        "gt": ">",
        "lbrace": r"\{",
        "rbrace": r"\}",
        "lbrack": "[",
        "rbrack": "]",
        "lvert": "|",
        "rvert": "|",
    },
    **{"vert": "|", "mid": "|", "colon": ":", "ast": "*", "star": "*", "degrees": "degree", "rightarrow": "to"},
    **{"implies": "Rightarrow", "dbinom": "binom", "tbinom": "binom", "infin": "infty", "infinity": "infty"},
    **{"wedge": "land", "vee": "lor", "dots": "ldots", "cdots": "ldots", "textdegree": "degree", "percent": "%"},
    **{"lparen": "(", "rparen": ")", "AA": r"\text{ Å}", "textdollar": r"\$", "euro": "€", "pounds": "£"},
    **{"arcctg": "arccot", "arctg": "arctan", "tg": "tan", "ctg": "cot", "sh": "sinh", "ch": "cosh", "imath": "i"},
}
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_DEGREE = re.compile(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree|\^\s*o(?![A-Za-z])")
_PRIME = re.compile(r"\^\s*\{\s*((?:\\prime\s*)+)\}|\^\s*\\prime(?![A-Za-z])|(?<=[A-Za-z)}])('+)(?![A-Za-z])")
_SLASHED = re.compile(r"(?<![\d.}_^A-Za-z)/])(\d{1,99})\s*/\s*(\d{1,99})(?![\d.!^/]|\s*/)")
_SCRIPT = re.compile(r"([\^_])\s*([-+]?(?:\d+|[A-Za-z]|\\(?!frac|sqrt|degree|prime)[A-Za-z]+))")
_TRAILING = " \t\n.,;:。"


def canonical(text: str) -> str:
    """Return the answer in the canonical spelling; see the module."""
    text = _dollars(_ascii(text))
    text = _MARKDOWN.sub("", _POWER.sub("^", text))
    text = _DECIMAL_BRACE.sub(".", _THIN_GROUP.sub("", text))
    text = _NOTHING.sub(lambda found: found["row"] or "", text)
    text = _SPACES.sub(lambda found: found["row"] or " ", text)
    text = _fonts(text if r"\begin" in text else _DOUBLED.sub(r"\\", text))
    text = _COMMAND.sub(_command, text).replace(r"\%", "%").replace(r"\&", r"\text{and}")
    text = _spoken(_ORDINAL.sub("", text))
    text = _DEGREE.sub(r"\\degree ", text)
    text = _PRIME.sub(lambda prime: "^{" + r"\prime" * max(1, prime[0].count("prime"), prime[0].count("'")) + "}", text)
    text = _SCRIPT.sub(r"\1{\2}", _arguments(text))
    text = _SLASHED.sub(r"\\frac{\1}{\2}", text)
    return re.sub(r" {2,}", " ", text).strip(_TRAILING)


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
    if name in _RENAMED:
        new = _RENAMED[name]
        return f"\\{new} " if new.isalpha() else new
    if name not in _KNOWN:
        for head in _HEADS:
            if name.startswith(head):
                return f"\\{head} {name[len(head) :]}"
    return found[0]


def _fonts(text: str) -> str:
    r"""Unwrap what only changes the font; words stay in `\text{…}`, and so do units, which are set upright."""
    out: list[str] = []
    open_groups: list[tuple[str, int] | None] = []  # of each open brace: the font's name and where it begins in out
    at = 0
    for token in re.finditer(rf"{_FONT.pattern}|\\.|[{{}}]", text, re.DOTALL):
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
    if font in ("color", "textcolor"):
        return ""
    words = _PLAIN_WORDS.fullmatch(inside) and any(map(str.isalpha, inside))
    if words and (font in _WORDS or (font == "mathrm" and len(inside.strip()) > 1)):
        return rf"\text{{{inside}}}"
    if font.startswith("operatorname"):
        return f"\\{inside} " if inside in _KNOWN else rf"\operatorname{{{inside}}}"
    if font in ("boxed", "fbox") or font in _WORDS or len(inside) == 1:
        return inside
    # `\text{…}` around a formula, `\mathrm{d}`, a unit with an exponent.
    return f" {inside} "


_OPENER = re.compile(r"\\(frac|sqrt|binom)\s*|sqrt\s*(?=[({\d])")


def _arguments(text: str) -> str:
    r"""Give every `\frac`, `\binom` and `\sqrt` its arguments in braces: `\frac12`, `\sqrt3`, `sqrt(2)`."""
    # From the right, so that an argument is in order before it is taken.
    for found in reversed(list(_OPENER.finditer(text))):
        name = found[1] or "sqrt"
        at, given = found.end(), ""
        if name == "sqrt" and text.startswith("[", at) and (end := text.find("]", at)) > 0:
            given, at = text[at : end + 1], end + 1
        for _ in range(1 if name == "sqrt" else 2):
            while text.startswith(" ", at):
                at += 1
            inside, at = _argument(text, at, rounded=name == "sqrt")
            given += f"{{{inside}}}"
        text = f"{text[: found.start()]}\\{name}{given}{text[at:]}"
    return text


_ROOTED = re.compile(r"\d+(?:\.\d+)?|\\[A-Za-z]+|[A-Za-z]|")


def _argument(text: str, at: int, *, rounded: bool) -> tuple[str, int]:
    """Return the argument that begins there, without its braces, and where it ends."""
    if text.startswith(("{", "(") if rounded else "{", at):
        end = closing(text, at)
        return (text[at + 1 : end], end + 1) if end is not None else (text[at + 1 :], len(text))
    if text.startswith("\\", at):
        command = re.compile(r"\\[A-Za-z]+|\\.").match(text, at)
        end = command.end() if command else at + 1
        if command and command[0] in (r"\frac", r"\sqrt", r"\binom"):
            for _ in range(1 if command[0] == r"\sqrt" else 2):
                end = (closing(text, end) or len(text) - 1) + 1 if text.startswith("{", end) else end
        return text[at:end], end
    return text[at : at + 1], min(at + 1, len(text))


_BRACKET: Final = re.compile(
    r"\\begin\{[a-zA-Z*]+\}|\\end\{[a-zA-Z*]+\}|\\[{}]|\\(?:langle|rangle)|\\.|[()\[\]{}]", re.DOTALL
)


def closing(text: str, at: int) -> int | None:
    """Return where the bracket is closed that opens at `at`, whatever closes it; None if nothing does."""
    depth = 0
    for bracket in _BRACKET.finditer(text, at):
        depth += nesting(bracket[0])
        if depth == 0 and nesting(bracket[0]) < 0:
            return bracket.start() if len(bracket[0]) == 1 else bracket.end() - 1
    return None


def nesting(bracket: str) -> int:
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
            depth = max(0, depth + nesting(token[0]))
        elif depth == 0:
            parts.append(text[start : token.start()])
            separators.append(token["separator"])
            start = token.end()
    parts.append(text[start:])
    return parts, separators
