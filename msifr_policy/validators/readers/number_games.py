"""What a prompt and a line say of a number game, where numbers have to be combined to a target.

**Prompts.** A game is a list of numbers after words that announce it ("Input: 4 6 8 8", "using the numbers 3, 5, and
7,"), a target after others ("obtain 24", "that equals 65"), and a sign that it is a game at all. The last list and the
last target count: what came before were examples.

**Lines.** Signs and LaTeX are brought to plain ones. A *step* is an equation of an expression and its result that
begins the line, or follows another step in it; list marks and words such as "first" may come before, and the numbers
that are left after it, "(left: 2, 4 and 6)". All other arithmetic is *unread*: an equation in the midst of prose, one
that the line rejects, or operations told in words. It may be a step or not, so what a reader knows ends there.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from msifr_policy.validators.readers.lines import LIMIT

MOST_OPERANDS = 8
"""Numbers in an expression; a longer one is unread."""


class Game(NamedTuple):
    """The numbers given, sorted; the target; whether the prompt says that some of the numbers may be left out."""

    numbers: tuple[Fraction, ...]
    target: Fraction
    some: bool


Postfix = tuple[str, ...]
"""Numbers as shown and operators, an operator after its two operands."""


class GameStep(NamedTuple):
    """The readings of an expression, the likelier first (2/3 may be two numbers or one); its result; the numbers left,
    None if not shown.
    """

    readings: tuple[Postfix, ...]
    result: str
    left: tuple[str, ...] | None


def operands(postfix: Postfix) -> list[str]:
    """Return the numbers of an expression."""
    return [item for item in postfix if item not in _PRECEDENCE]


class GameLine(NamedTuple):
    """The steps of a line, in order; the numbers of arithmetic that could not be read, after the steps or instead of
    them, None if there is none; whether the line says that the text begins again.
    """

    steps: tuple[GameStep, ...] = ()
    unread: frozenset[str] | None = None
    anew: bool = False


_WHOLE = "-?[0-9]{1,6}"
_AND = "(?:and|und|et|y|&)"
_COMMA = rf"(?: [ ]? [,;、，和] (?:[ ]?{_AND})? [ ]? | [ ] {_AND} [ ] | [ ]{{1,4}} )"
_TARGET = re.compile(
    rf"""
    \b (?: obtain | reach | make s? | making | get s? (?:[ ]to)? | form | produce | create
    | equal (?: s | ing )? (?:[ ]to)? | evaluates?[ ]to | results?[ ]in | calculate | compute
    | (?:target|goal) (?:[ ](?:number|value))? (?:[ ](?:of|is))?
    | total (?: s | ing | [ ]of )? | achieve | arrive[ ]at | derive | hit | (?: come | add | sum ) s?[ ](?:up[ ])?to
    | game[ ]of | (?:result|answer|value|outcome)[ ](?:should|must|has[ ]to|is[ ]to)[ ](?:be|equal) ) \b
    (?: [ ](?:exactly|the[ ](?:target|number|value|result)(?:[ ](?:number|value|of))?) ){{0,2}}
    [ :=*_`"'$(\[]{{1,4}} ({_WHOLE}) \b (?! [./]?[0-9] | [ ]*[-+*/×÷=,][ ]*[0-9]
        | [ ](?: steps? | tries | try | attempts? | points? | numbers | digits | operations? | lines? | times
            | more | words | expressions? | equations? | different | possible ) \b )
    | \b (?<![-./]) ([0-9]{{1,4}}) [ -](?:point[ ])?(?:game|puzzle) \b
    | (?: (?: 得[到出] | 算出? | 凑[成出] | 组成 | 等于 | (?:结果|目标)数?字?[为是：:] ) [ ]?
        | \b (?: ergeben | ergibt | erreichen | erhalten | obtenir | atteindre | obtener | alcanzar | sumar ) [ ] )
        ({_WHOLE}) (?! [./]?[0-9] )
    | \b ({_WHOLE}) [ ] zu [ ] (?: erhalten | erreichen | bilden ) \b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NUMBERS = re.compile(
    rf"""
    (?: \b (?: inputs? | numbers? | digits | integers | nums | values | cards | using | use | with | from | given
        | combine | Zahlen | nombres | números
        | (?: game | puzzle )[ ]of[ ][0-9]{{1,4}} | [0-9]{{1,4}}[ -]game ) \b
    (?: [ ](?: are | is | the | of | only | all | each | these | those | following | four | five | six | three | two
        | given | input | available | numbers? | digits | integers | values | cards | this | list | set | exactly
        | once ) \b ){{0,6}}+ | (?: 数字 | 整数 | 数 | [用给将] | 给定 | 给出 | 使用 ) [：:是为]{{0,2}} )
    ["'`*_]{{0,3}} [ ]? [:=]? [ ]? \n? [ "'`*_$]{{0,3}} [\[({{]{{0,2}} [ ]?
    (?> ({_WHOLE} (?: {_COMMA} {_WHOLE} ){{1,15}}+ ) ) (?! [0-9] | [./][0-9] | [ ]*[-+*/×÷=][ ]*[(0-9] )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_GAME = re.compile(
    r"""
    arithmetic[ ]operat | \bgame[ ]of[ ][0-9] | \b[0-9]+[ -](?:point[ ])?(?:game|puzzle) | \bcountdown\b
    | \b(?:expression|equation|find[ ]a[ ]way)\b [^.\n]{0,40} \b(?:equals?|make|reach|obtain|get|target|evaluates?)\b
    | \b(?:each|every|all)[ ] (?:of[ ]the[ ]|the[ ]|four[ ]|five[ ]|six[ ]|given[ ]|these[ ]){0,3} numbers?\b
        (?: [ ]once | [^.\n]{0,40} \b(?:used?|may|must|can|only)\b )
    | \b(?:use|using)[ ](?:each|every|all)\b | \beach[ ](?:exactly[ ]|only[ ])?once\b
    | \b(?:each|every)[ ]\w+[ ](?:is|are|(?:must|may|can|should)[ ](?:only[ ])?be)[ ]used\b
    | \buse[ ](?:these|those|the)[ ]numbers[ ](?:exactly[ ]|only[ ])?once\b
    | 加减乘除 | 四则运算 | [0-9]点 | 每个数字?[^。\n]{0,8}一次 | \bgenau[ ]einmal\b | \bjede[ ]Zahl\b
    | \bune[ ]seule[ ]fois\b | \buna[ ](?:sola[ ])?vez\b | [+][ ,]{0,2}-[ ,]{0,2}[*×x][ ,]{0,2}[/÷]
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SOME = re.compile(
    r"\b(?:some (?:or all )?of|any (?:or all )?of|at most once|no more than once"
    r"|(?:need not|don['’]?t (?:have|need) to|do not (?:have|need) to|not (?:necessary|required) to) use)\b",
    re.IGNORECASE,
)
_MARKS = re.compile(r"[$`]|(?<!\*)\*\*(?!\*)|\\[()]")


@lru_cache(256)  # attempts at one prompt come together
def read_game(prompt: str, most: int) -> Game | None:
    """Return the last game of a prompt, None if it states none, or one of more than `most` numbers."""
    prompt = _MARKS.sub("", prompt)
    if _GAME.search(prompt) is None:
        return None
    targets = ["".join(found) for found in _TARGET.findall(prompt)]
    lists = _NUMBERS.findall(prompt)
    if not targets or not lists:
        return None
    given = re.findall(_WHOLE, lists[-1])
    numbers = tuple(sorted(map(Fraction, given)))
    some = _SOME.search(prompt) is not None
    return Game(numbers, Fraction(targets[-1]), some) if 2 <= len(given) <= most else None


_PLAIN = str.maketrans({**dict.fromkeys("×·⋅∗✕✖", "*"), "÷": "/", **dict.fromkeys("−–", "-"), "≈": "=", "＝": "="})
_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]{1,40})\}\{([^{}]{1,40})\}")
_LATEX = (
    (re.compile(r"\\(?:times|cdot|ast)\b ?"), "*"),
    (re.compile(r"\\div\b ?"), "/"),
    (re.compile(r"\\approx\b ?"), "="),
    (re.compile(r"\\(?:right|Right|longright)arrow\b|\\(?:to|implies)\b"), "→"),
    (re.compile(r"\\\\"), ";"),
    (re.compile(r"\\[()\[\],;!: ]|\\(?:left|right|q?quad|displaystyle)(?![a-z])|\\[a-z]{2,12}\{"), " "),
)
_SIGNS = (
    (re.compile(r"[-=]{1,2}>|[⇒⟶⟹➜]"), "→"),
    (re.compile(r"[${}&]"), " "),
    (re.compile(r"(?<![0-9)])\*\*|\*\*(?![0-9(])|__|[`\"]"), ""),
)
_WORDED = re.compile(r"[0-9)] ?(?:[xX]|times|multiplied|divided|plus|minus|equals|is|gives|makes|yields)\b")
_WORDS = (
    (re.compile(r"(?<=[0-9)])(?: ?[xX] ?| times | multiplied by )(?=[(0-9])"), "*"),
    (re.compile(r"(?<=[0-9)]) plus (?=[(0-9])"), " + "),
    (re.compile(r"(?<=[0-9)]) minus (?=[(0-9])"), " - "),
    (re.compile(r"(?<=[0-9)]) divided by (?=[(0-9])"), " / "),
    (re.compile(r"(?<=[0-9)]) (?:equals|is|gives|makes|yields) (?=-?[0-9])"), " = "),
)
_MAY_SIGN = re.compile(r"[>⇒⟶⟹➜${}&*_`\"]")
_TIMES = re.compile(r"[0-9)][xX][(0-9]")


def _plain(line: str) -> str:
    """Return a line with plain signs."""
    if not line.isascii():
        line = line.translate(_PLAIN)
    patterns: list[tuple[re.Pattern[str], str]] = []
    if "\\" in line:
        line = _FRACTION.sub(r"(\1)/(\2)", line)
        patterns += _LATEX
    if _MAY_SIGN.search(line):
        patterns += _SIGNS
    for pattern, plain in patterns:
        line = pattern.sub(plain, line)
    # Signs may have stood between a number and a word.
    if _WORDED.search(line) or _TIMES.search(line):
        for pattern, plain in _WORDS:
            line = pattern.sub(plain, line)
    return line


_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,2}(?![0-9])|[0-9]{1,9})(?:\.[0-9]{1,9})?"
_SHOWN = r"-?[0-9]{1,9}(?:\.[0-9]{1,9}|/[0-9]{1,9})?"
_OPERAND = rf"[(\s]{{0,6}}-?[(\s]{{0,6}}{_NUMBER}"
_EQUATION = re.compile(
    rf"""
    (?<! [\w.] ) (?> ({_OPERAND} (?: [)\s]{{0,6}} [-+*/] {_OPERAND} ){{1,{MOST_OPERANDS - 1}}}+ [)\s]{{0,6}} ) )
    [=→] [\s(*_]{{0,4}} (-? {_NUMBER} (?: /[0-9]{{1,9}} )? ) (?! \.?[0-9] | /[0-9] | \s{{0,3}} [-+*/] \s{{0,3}} [(0-9] )
    """,
    re.VERBOSE,
)
_LEAD = re.compile(
    r"""
    (?: [\s>*_\#'|•○▪✓✔✅:,;.→]++ | </?[a-z_]{1,20}> | - (?=[\s(]) | \(?[0-9]{1,2}[.):]++(?![0-9]) | \(?[a-z][.)](?=\s)
    | (?: step | operation | calculation | move ) \b (?: \s?(?:[0-9]{1,3}|one|two|three|four|five) \b )? [\s:.)-]{0,4}
    | (?: first(?:ly)? | second(?:ly)? | third(?:ly)? | fourth | next | then | now | so | finally | last(?:ly)? | and
        | after[ ]that | thus | hence | therefore | compute | calculate | combine | do
        | (?:start|begin|starting|beginning)[ ](?:with|by) | we[ ](?:have|get|do|compute|calculate) ) \b [\s,:.]{1,3}
    | (?: add | subtract | multiply | divide | take | combine | sum ) (?:ing)? \b [^:=+*/]{1,40} : [\s*]{1,3}
    ){0,12}+
    """,
    re.VERBOSE | re.IGNORECASE,
)
_REJECTED = re.compile(
    r"\b(?:not|no|never|cannot|too|invalid|impossible|fail\w*|wrong|dead end|backtrack\w*|unless|if)\b"
    r"|\b(?:would|could|needs?)\b|n['’]t\b|[✗✘❌?≠]",
    re.IGNORECASE,
)
_LEFT = re.compile(
    rf"""
    \b (?: left | remaining | remain s? | leaving | leaves )
    (?:[ _](?: numbers? | over | are | is | now | with | us | the )){{0,3}}
    \s? [:=]? \s? [\[({{]? \s? (?> ({_SHOWN} (?: {_COMMA} {_SHOWN} ){{0,15}}+ ) ) \s{{0,2}} (?= [])}}.,;(*_] | $ )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ARITHMETIC = re.compile(
    r"[0-9)]\s?[-+*/=→]\s?\(?-?[0-9]"
    r"|\b(?:add|sum|subtract|multipl|divid|product|difference|quotient|plus|minus|times|gives?|yields?|results?|makes?"
    r"|becomes?|get)[a-z]*",
    re.IGNORECASE,
)
_ANEW = re.compile(
    r"\b(?:try (?:again|another|a different)|another (?:try|attempt|way|approach|combination)|attempt"
    r"|start (?:over|again)|let['’]s try|alternatively|option [0-9])\b",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_TWO_NUMBERS = re.compile("[0-9][^0-9]++[0-9]")


def read_line(line: str) -> GameLine:
    """Return what a line says, of which no more than `lines.LIMIT` characters are known."""
    anew = _ANEW.search(line) is not None
    cut = len(line) >= LIMIT
    if not _TWO_NUMBERS.search(line):
        return GameLine(unread=frozenset() if cut else None, anew=anew)
    line = _plain(line)
    steps: list[GameStep] = []
    lead = _LEAD.match(line)
    at = lead.end() if lead else 0
    matches = list(_EQUATION.finditer(line, at))
    ends = [*(match.start() for match in matches), len(line)][1:]
    sentence = begun = 0
    for match, following in zip(matches, ends, strict=True):
        rest = line[match.end() : following]
        between = line[at : match.start()]
        readings = _readings(match[1])
        if _LEAD.fullmatch(between) is None or not readings:
            break
        if _REJECTED.search(rest):
            # "12 + 6 = 18, 18 + 4 = 22, no" rejects both.
            if steps and "." not in between:
                del steps[sentence:]
                at = begun
            break
        if not steps or "." in between:
            sentence, begun = len(steps), match.start()
        left = _LEFT.search(rest)
        steps.append(
            GameStep(readings, match[2].replace(",", ""), tuple(re.findall(_SHOWN, left[1])) if left else None)
        )
        at = match.end()
        if left is not None:
            at += left.end()
            at += len(line[at:]) - len(line[at:].lstrip(")]}"))
    unread = None
    if cut or _ARITHMETIC.search(line, at):
        numbers = _DIGITS.findall(line, at)
        unread = frozenset(numbers) if cut or len(numbers) > 1 else None
    return GameLine(tuple(steps), unread, anew)


_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_TOKEN = re.compile(rf"{_NUMBER}|[-+*/()]")
_TOKEN_OR_FRACTION = re.compile(rf"[0-9]{{1,9}}/[0-9]{{1,9}}(?![.0-9])|{_TOKEN.pattern}")


def _readings(expression: str) -> tuple[Postfix, ...]:
    """Return the readings of an expression of two numbers or more, empty if it is none."""
    tokens = (_TOKEN_OR_FRACTION, _TOKEN) if "/" in expression else (_TOKEN,)
    read = dict.fromkeys(_postfix(token.findall(expression)) for token in tokens)
    return tuple(postfix for postfix in read if postfix is not None and len(postfix) > 1)


def _postfix(items: list[str]) -> Postfix | None:
    """Return the numbers and operators of an expression in postfix order, None if it is none."""
    output: list[str] = []
    waiting: list[str] = []
    due, sign = True, ""  # whether an operand is due, and its sign
    for item in items:
        if due:
            if item == "(" and not sign:
                waiting.append(item)
            elif item == "-" and not sign:
                sign = item
            elif item[0].isdigit():
                output.append(sign + item.replace(",", ""))
                due, sign = False, ""
            else:
                return None
        elif item == ")":
            while waiting and waiting[-1] != "(":
                output.append(waiting.pop())
            if not waiting:
                return None
            waiting.pop()
        elif item in _PRECEDENCE:
            while waiting and _PRECEDENCE.get(waiting[-1], 0) >= _PRECEDENCE[item]:
                output.append(waiting.pop())
            waiting.append(item)
            due = True
        else:
            return None
    if due or "(" in waiting:
        return None
    return (*output, *reversed(waiting))


def worth(postfix: Postfix, numbers: Sequence[Fraction]) -> Fraction | None:
    """Return the value of an expression with `numbers` for its operands, None if it divides by zero."""
    operand = iter(numbers)
    stack: list[Fraction] = []
    for item in postfix:
        if item not in _PRECEDENCE:
            stack.append(next(operand))
            continue
        b, a = stack.pop(), stack.pop()
        if item == "/" and b == 0:
            return None
        stack.append(a + b if item == "+" else a - b if item == "-" else a * b if item == "*" else a / b)
    return stack[0]
