r"""From the characters of an answer to tokens, and from an arithmetic expression to its exact value.

An expression is evaluated wholly or refused: what stands beside a number and belongs to it (a factor, a root, a
variable) is never cut off. Values are rationals; size and work are bounded, so time is linear in the text.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from msifr_policy.reading.literals import DIGITS, MOST_EXPONENT, digits_value, plain, repeating, unfinished, words


class Refused(Exception):  # noqa: N818 (a result, not a fault)
    """What is read is no number, or none that is evaluated."""


class Token(NamedTuple):
    """A number, sign, word or mark of an answer.

    `kind` is one of `number`, `word`, `variable`, `ordinal`, an operator (`+ - * / ^ !`), a bracket, a macro that is
    evaluated (`frac sqrt binom over`), a relation (`= about other arrow`), or a mark (`, . : ? % _ dash`).
    """

    kind: str
    text: str
    spaced: bool  # a blank before
    value: Fraction | None = None  # of a number
    blank_after: bool = False


_TOKEN = re.compile(
    rf"""
    (?P<blank> (?:
        \s | ~ | __ | [`"] | \\?[$&\#] | \\{{1,2}}[,;:!\ ()\[\]] | \\(?:left|right)(?!\s?\||[A-Za-z])
      | \\(?:quad|qquad|[bB]igg?[lr]?|displaystyle|limits|dollar|[lL]arge|LARGE|[hH]uge|small|normalsize)(?![A-Za-z])
      | \\(?:begin|end)\{{(?:aligned|align\*?|equation\*?|gathered|gather\*?|split|center)\}}
      | \\(?:checkmark|(?:black)?square|Box|qed)(?![A-Za-z]) | \\n(?![a-z])
      | \\(?:text)?color\s?\{{[A-Za-z]{{1,20}}\}}
      | </?[A-Za-z][A-Za-z0-9]{{0,15}}(?:\s[a-z-]{{1,20}}=[^<>]{{0,80}})?\s?/?> | <\|[A-Za-z_\ ]{{1,40}}\|>
      | (?<![^\W_])(?: (?:US|AU|CA|NZ|HK|NT|[ACRS])\\?\$ | Rs\. )
    )++ )
  | \\{{1,2}}[cdt]?frac\s*+ (?P<numerator>[0-9]) \s*+ (?P<denominator>[0-9])
  | (?P<whole>[0-9]++) \. (?P<before>[0-9]*+) \\{{1,2}}(?:overline|bar|dot)\s*+ \{{ (?P<period>[0-9]++) \}}
  | (?P<lined>[0-9]++) \. (?P<unlined>(?:[0-9](?!\u0305))*+) (?P<overlined>(?:[0-9]\u0305)++)
  | (?P<number>{DIGITS}) (?P<exponent>[eE][+-]?[0-9]++(?![0-9A-Za-z]|\.[0-9]))?+ (?P<dots>\s?+ (?:\.{{2,}}|\\l?dots))?+
  | (?P<ordinal> (?<=[0-9])(?:st|nd|rd|th)\b
      | \^ \s*+ (?:\{{\s*+)?+ (?:\\(?:text|textrm|mathrm|rm)\s*+\{{?+\s*+)?+ (?:st|nd|rd|th)\b [\s}}]{{0,4}} )
  | (?P<degree> \^ \s*+ (?: (?:\\circ|o)(?![A-Za-z]) | \{{ \s*+ (?:\\circ|o) \s*+ \}} )
      | \\(?:degree|circ)(?![A-Za-z]) )
  | (?P<word> [^\W\d_]++ (?: ['-] [^\W\d_]++ )*+ )
  | (?P<bar> \\(?:left|right)\s?\| )
  | \\{{1,2}}(?P<macro> [A-Za-z]++ )
  | (?P<sign> \*++ | ~~ | <= | >= | != | =>|[-=]+> | :=|==++ | \\\\ | \\[{{}}|%] | --++ | . )
    """,
    re.VERBOSE | re.DOTALL,
)

_WRAPPERS = frozenset(
    words(
        "text textbf textit textrm textsf texttt mathrm mathbf mathit mathsf mathtt mathnormal rm bf it mbox hbox "
        "fbox boxed boldsymbol bm emph underline displaystyle operatorname"
    )
)
_MACROS = {
    **dict.fromkeys(words("frac dfrac tfrac cfrac nicefrac sfrac"), "frac"),
    **dict.fromkeys(words("binom dbinom tbinom"), "binom"),
    **dict.fromkeys(words("over choose"), "over"),
    "sqrt": "sqrt",
    **dict.fromkeys(words("times cdot ast"), "*"),
    "div": "/",
    **dict.fromkeys(words("approx simeq sim thickapprox doteq"), "about"),
    **dict.fromkeys(words("to rightarrow Rightarrow implies Longrightarrow longrightarrow therefore iff"), "arrow"),
    **dict.fromkeys(
        words("le leq leqslant ge geq geqslant lt gt ne neq equiv in notin pm mp propto subset cong mid"), "other"
    ),
    **dict.fromkeys(words("lbrace rbrace cup cap infty ldots dots cdots pmod bmod mod hline begin end"), "bad"),
    "lvert": "|",
    "rvert": "|",
    "newline": ",",
    "percent": "%",
}
_SIGNS = {
    **{sign: sign for sign in "+-–/^!(){}|:?%_,=."},
    "[": "(",
    "]": ")",
    "\\|": "|",
    "\\%": "%",
    "—": "dash",
    "--": "dash",
    "---": "dash",
    ";": ",",
    "\\\\": ",",
    "=>": "arrow",
    "->": "arrow",
    "==": "=",
    **dict.fromkeys(("<", ">", "<=", ">=", "!=", ":="), "other"),
}
_VARIABLES = frozenset(
    words(
        "sqrt sin cos tan cot csc log ln exp lim gcd lcm mod arcsin arccos arctan sinh cosh tanh pi "
        "theta det alpha beta gamma delta lambda mu sigma omega phi psi xy yz xz zx ab bc ac abc xyz inf infinity "
        "infinite nan undefined"
    )
)


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of an answer, without its blanks and what only sets off (`$`, bold, fonts, quotes)."""
    text = plain(text)
    tokens: list[Token] = []
    braces: list[bool] = []  # for each open one: whether it only holds what a wrapper wraps
    wrapped, spaced, bold = False, False, ""
    stars = Counter(_STARS.findall(text))  # runs that are still to come
    for match in _TOKEN.finditer(text):
        kind, found = match.lastgroup or "", match[0]
        if kind == "blank" or found == "'":
            if ("\n" in found or "\\n" in found) and tokens:
                tokens.append(Token("line", found, spaced=True))
            spaced = True
            if tokens and not tokens[-1].blank_after:
                tokens[-1] = tokens[-1]._replace(blank_after=True)
            continue
        if found == "{" and wrapped:
            braces.append(True)
            wrapped = False
            continue
        wrapped = False
        if found in ("{", "}"):
            if found == "{":
                braces.append(False)
            elif braces and braces.pop():
                continue
        if kind == "macro" and match["macro"] in _WRAPPERS:
            wrapped = spaced = True
            continue
        if kind == "sign" and found[0] == "*":
            stars[found] -= 1
            closes = bold == found and stars[found] % 2 == 0  # else what closes is to come: **10**6**
            if closes or not _multiplies(tokens, text, match.end()):
                bold, spaced = "" if bold == found else found, True
                continue
        tokens += _tokens(match, kind, found, spaced)
        spaced = False
    return tokens


_STARS = re.compile(r"\*+")
_AFTER_STAR = re.compile(r"[0-9({\\$.+-]")


def _multiplies(tokens: list[Token], text: str, end: int) -> bool:
    """Say whether the run of stars that ends here stands between two operands; else it is bold type."""
    if not tokens or not ends_operand(tokens[-1]):
        return False
    blank = text[end : end + 1].isspace()
    start = end + blank
    return blank == tokens[-1].blank_after and _AFTER_STAR.match(text, start) is not None


def _tokens(match: re.Match[str], kind: str, found: str, spaced: bool) -> list[Token]:
    if match["numerator"]:
        digits = (
            Token("number", match[name], False, Fraction(int(match[name]))) for name in ("numerator", "denominator")
        )
        return [
            Token("frac", found, spaced),
            *(token for digit in digits for token in (Token("{", "{", False), digit, Token("}", "}", False))),
        ]
    if match["whole"]:
        return [Token("number", found, spaced, repeating(match["whole"], match["before"], match["period"]))]
    if match["overlined"]:
        period = match["overlined"].replace("\u0305", "")
        return [Token("number", found, spaced, repeating(match["lined"], match["unlined"], period))]
    if match["number"]:
        return [Token("number", match["number"], spaced, _literal(match))]
    if kind == "degree":
        return [Token("word", "degree", True)]
    if kind == "macro":
        name = match["macro"]
        return [Token(_MACROS.get(name, "variable"), name, spaced)]
    if kind == "word":
        name = found.lower()
        if len(found) == 1 and found.isascii():
            return [Token("variable", found, spaced)]
        if found == "sqrt" and match.string[match.end() :].lstrip()[:1] == "(":
            return [Token("sqrt", found, spaced)]
        greek = any("Ͱ" <= char <= "Ͽ" for char in found) and len(found) == 1 and found not in "ΩΜμ"
        return [Token("variable" if greek or name in _VARIABLES else "word", found, spaced)]
    if kind == "ordinal":
        return [Token("ordinal", found, spaced)]
    if kind == "sign" and found[0] == "*":
        return [Token("*" if len(found) == 1 else "^", found, spaced)]
    return [Token("|" if kind == "bar" else _SIGNS.get(found, "bad"), found, spaced)]


def _literal(match: re.Match[str]) -> Fraction | None:
    digits, exponent = match["number"], match["exponent"]
    if match["dots"]:
        return unfinished(digits) if not exponent and match["dots"][0] != " " else None
    if (value := digits_value(digits)) is None or not exponent:
        return value
    power = exponent[1:]
    if len(power) > 6 or abs(int(power)) > MOST_EXPONENT:
        return None
    return value * Fraction(10) ** int(power)


_BEGINS = frozenset(("number", "(", "{", "frac", "sqrt", "binom"))


def begins_operand(token: Token | None) -> bool:
    """Say whether an operand, its sign aside, can begin with this token."""
    return token is not None and token.kind in _BEGINS


def begins_signed(sign: Token | None, following: Token | None) -> bool:
    """Say whether an operand with a sign before it can begin with these two tokens."""
    return sign is not None and sign.kind in ("+", "-") and begins_operand(following)


def ends_operand(token: Token) -> bool:
    """Say whether an operand can end with this token."""
    return token.kind in ("number", ")", "}", "!", "%", "variable")


def is_bar(token: Token) -> bool:
    """Say whether a vertical bar opens an absolute value: not in `| -3 |`, which may be a row of a table."""
    return token.text != "|" or not token.blank_after


_GROUPS = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{2,3})*,[0-9]{3}(?:\.[0-9]+)?")


def _is_pair(digits: str) -> bool:
    """Say whether digits with a comma in brackets, `(1,2)`, may be two numbers: what is grouped is one."""
    digits = digits.replace("\\,", " ")
    return "," in digits and "{,}" not in digits and _GROUPS.fullmatch(digits.replace("\\!", "")) is None


_MOST_BITS = int(MOST_EXPONENT * math.log2(10)) + 1
_MOST_WORK = 40 * _MOST_BITS  # bits of all intermediate values together
_MOST_ROOT_BITS = 4096
_DEEPEST = 40


def bits(value: Fraction) -> int:
    """Return the size of a value in bits: numerator and denominator."""
    return value.numerator.bit_length() + value.denominator.bit_length()


class ShownExpression:
    """Evaluates the longest expression that begins at a token; `position` is then where it ends."""

    def __init__(self, tokens: Sequence[Token], *, sentence: bool = False) -> None:
        self.tokens = tokens
        self._sentence = sentence  # in a sentence an exclamation mark at its end is no factorial
        self.position = 0
        self._start = 0  # where the expression begins, its sign aside
        self._depth = 0
        self._work = 0

    def evaluate(self, position: int) -> Fraction:
        """Return the value of the expression at `position`.

        Raises `Refused` for what is not evaluated: variables, irrational values, divisions by zero, ranges, dates,
        ratios, and what is too large.
        """
        self.position = position
        self._start = position + (self.tokens[position].kind in ("+", "-", "–"))
        self._depth = 0
        return self._over(self._sum())

    def _over(self, above: Fraction) -> Fraction:
        r"""Return the value of what began with this operand, if `\over` or `\choose` parts it from another."""
        token = self._token()
        if token is None or token.kind != "over":
            return above
        self.position += 1
        below = self._sum()
        return self._divided(above, below) if token.text == "over" else self._chosen(above, below)

    def _divided(self, above: Fraction, below: Fraction) -> Fraction:
        if below == 0:
            raise Refused
        return self._bounded(above / below)

    def _chosen(self, above: Fraction, below: Fraction) -> Fraction:
        if above.denominator != 1 or below.denominator != 1 or not 0 <= below <= above <= 3000:
            raise Refused
        return self._bounded(Fraction(math.comb(int(above), int(below))))

    def _token(self, ahead: int = 0) -> Token | None:
        position = self.position + ahead
        return self.tokens[position] if position < len(self.tokens) else None

    def _next_is(self, kind: str, ahead: int = 0) -> bool:
        token = self._token(ahead)
        return token is not None and token.kind == kind

    def _bounded(self, value: Fraction) -> Fraction:
        size = bits(value)
        self._work += size
        if size > 2 * _MOST_BITS or self._work > _MOST_WORK:
            raise Refused
        return value

    def _sign(self) -> int:
        token = self._token()
        if token is not None and token.kind in ("+", "-", "–"):
            self.position += 1
            return 1 if token.kind == "+" else -1
        return 1

    def _sum(self) -> Fraction:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Refused
        total = self._sign() * self._product()
        while (token := self._token()) is not None and token.kind in ("+", "-"):
            following = self._token(1)
            if not begins_operand(following) and not begins_signed(following, self._token(2)):
                break  # a dash of prose, or nothing that is understood: whoever reads on decides
            if token.kind == "-" and not token.spaced and not token.blank_after and self._digits_around():
                raise Refused  # 3-5: a range, a score, a date
            self.position += 1
            sign = 1 if token.kind == "+" else -1
            total = self._bounded(total + sign * self._sign() * self._product())
        self._depth -= 1
        return total

    def _digits_around(self) -> bool:
        return self.tokens[self.position - 1].kind == "number" and self._next_is("number", 1)

    def _product(self) -> Fraction:
        product = self._power()
        divisions = 0
        while (token := self._token()) is not None:
            following = self._token(1)
            if token.kind in ("*", "/") and (begins_operand(following) or begins_signed(following, self._token(2))):
                divisions = divisions + 1 if token.kind == "/" else 0
                if divisions > 1:
                    raise Refused  # 1/2/2024
                self.position += 1
                sign = self._sign()
                factor = sign * self._power()
            elif token.text in ("x", "X") and begins_operand(following) and self._is_times(token, following):
                self.position += 1
                divisions, factor = 0, self._power()
            elif self._implicit(token):
                if divisions:
                    raise Refused  # 1/2(3): in which order?
                factor = self._power()
                token = token._replace(kind="*")
            else:
                break
            if token.kind == "/" and factor == 0:
                raise Refused
            product = self._bounded(product / factor if token.kind == "/" else product * factor)
        return product

    def _is_times(self, sign: Token, following: Token | None) -> bool:
        """Say whether a letter x between two operands multiplies them: `2 x 3`, `2x10^3`, but not `2x3`."""
        return (sign.spaced and sign.blank_after) or (
            following is not None and following.text == "10" and self._next_is("^", 2)
        )

    def _implicit(self, token: Token) -> bool:
        last = self.tokens[self.position - 1]
        if token.kind == "(":
            if last.kind == "number" and "." in last.text and self._next_is("number", 1):
                raise Refused  # 0.1(6): a period, or a product?
            return not token.spaced
        return token.kind in ("frac", "sqrt", "binom", "{")

    def _power(self) -> Fraction:
        base = self._primary()
        while self._factorial_follows():
            self.position += 1
            base = self._factorial(base)
        if not self._next_is("^"):
            return base
        self.position += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Refused
        exponent = self._sign() * self._power()
        self._depth -= 1
        return self._raise(base, exponent)

    def _factorial_follows(self) -> bool:
        token, following = self._token(), self._token(1)
        if token is None or token.kind != "!" or token.spaced:
            return False
        if following is not None and following.kind == "!" and not self._sentence:
            raise Refused  # a double factorial
        if not self._sentence or (following is not None and following.kind not in ("line", "word", "variable")):
            return True
        if self.position > self._start + 1:
            raise Refused  # 2 + 3! at the end of a sentence
        return False

    def _factorial(self, base: Fraction) -> Fraction:
        if base.denominator != 1 or not 0 <= base <= 3000:
            raise Refused
        return self._bounded(Fraction(math.factorial(int(base))))

    def _raise(self, base: Fraction, exponent: Fraction) -> Fraction:
        if exponent.denominator != 1:
            base = _root(base, exponent.denominator)
        power = exponent.numerator
        if base == 0 and power <= 0:
            raise Refused
        if (bits(base) - 1) * abs(power) > 2 * _MOST_BITS and abs(base) != 1:
            raise Refused
        if abs(power) > _MOST_BITS:  # of one or minus one
            power %= 2
        return self._bounded(base**power)

    def _primary(self) -> Fraction:
        token = self._token()
        if token is None:
            raise Refused
        self.position += 1
        if token.kind == "number":
            return self._number(token)
        if token.kind in ("(", "{"):
            return self._inside(")" if token.kind == "(" else "}")
        if token.kind == "|" and is_bar(token):
            return abs(self._inside("|"))
        if token.kind == "frac":
            return self._divided(self._argument(), self._argument())
        if token.kind == "sqrt":
            return self._square_root()
        if token.kind == "binom":
            return self._chosen(self._argument(), self._argument())
        raise Refused

    def _inside(self, closing: str) -> Fraction:
        first = self.position
        value = self._over(self._sum())
        if not self._next_is(closing):
            raise Refused
        if self.position == first + 1 and _is_pair(self.tokens[first].text):
            raise Refused  # (1,2): a pair
        self.position += 1
        return value

    def _argument(self) -> Fraction:
        token = self._token()
        if token is not None and token.kind == "{":
            self.position += 1
            return self._inside("}")
        if token is not None and token.kind == "number" and len(token.text) == 1:
            self.position += 1
            return self._bounded(_known(token))
        raise Refused

    def _square_root(self) -> Fraction:
        degree = 2
        token, order, closing = self._token(), self._token(1), self._token(2)
        if token is not None and token.text == "[" and order is not None and closing is not None:
            if order.kind != "number" or closing.text != "]" or order.text not in map(str, range(2, 65)):
                raise Refused
            degree = int(order.text)
            self.position += 3
            token = self._token()
        if token is not None and token.kind in ("(", "number"):
            # √16, √(16): without braces, as typed.
            self.position += 1
            return _root(self._inside(")") if token.kind == "(" else _known(token), degree)
        return _root(self._argument(), degree)

    def _number(self, token: Token) -> Fraction:
        value = self._bounded(_known(token))
        following = self._token()
        if following is None:
            return value
        if following.kind == "_" and begins_operand(self._token(1)):
            return self._in_base(token)
        if not token.text.isdigit():
            grouped = " " in token.text and following.kind == "/" and self._next_is("number", 1)
            if grouped or following.kind == "frac":
                raise Refused  # 2 125/126 may be 2125/126; 2.5\frac{1}{2}
            return value
        if following.kind == "frac":
            start = self.position
            part = self._primary()
            if self.tokens[start].kind == "frac" and self._is_proper(start, part):
                return self._mixed(value, part)
            raise Refused  # 2\frac{3}{2}: a sum, or a product?
        if following.kind == "number" and following.spaced and self._next_is("/", 1) and self._next_is("number", 2):
            above, below = following, self._token(2)
            if below is None or not (above.text.isdigit() and below.text.isdigit()):
                raise Refused
            if not 0 < int(above.text) < int(below.text):
                raise Refused
            self.position += 3
            return self._mixed(value, Fraction(int(above.text), int(below.text)))
        return value

    def _is_proper(self, start: int, part: Fraction) -> bool:
        inner = self.tokens[start + 1 : self.position]
        return 0 < part < 1 and all(token.kind in ("{", "}", "number") for token in inner)

    def _mixed(self, whole: Fraction, part: Fraction) -> Fraction:
        token = self._token()
        if token is not None and token.kind in ("/", "^", "!"):
            raise Refused
        return self._bounded(whole + part)

    def _in_base(self, digits: Token) -> Fraction:
        self.position += 1
        base = self._argument_digits()
        if not digits.text.isdigit() or not 2 <= base <= 36 or any(int(digit) >= base for digit in digits.text):
            raise Refused
        return self._bounded(Fraction(int(digits.text, base)))

    def _argument_digits(self) -> int:
        braced = self._next_is("{")
        token = self._token(1 if braced else 0)
        if token is None or token.kind != "number" or token.text not in map(str, range(2, 37)):
            raise Refused
        if braced and not self._next_is("}", 2):
            raise Refused
        self.position += 3 if braced else 1
        return int(token.text)


def _known(token: Token) -> Fraction:
    if token.value is None:
        raise Refused
    return token.value


def _root(value: Fraction, degree: int) -> Fraction:
    """Return the real root of a rational if it is rational."""
    if degree > 64 or bits(value) > _MOST_ROOT_BITS or (value < 0 and degree % 2 == 0):
        raise Refused
    above, below = _whole_root(abs(value.numerator), degree), _whole_root(value.denominator, degree)
    return Fraction(above if value >= 0 else -above, below)


def _whole_root(value: int, degree: int) -> int:
    if degree == 2:
        root = math.isqrt(value)
    else:
        # Newton's iteration from above.
        root = 1 << -(-value.bit_length() // degree)
        while value and (better := ((degree - 1) * root + value // root ** (degree - 1)) // degree) < root:
            root = better
        root = root if value else 0
    if root**degree != value:
        raise Refused
    return root
