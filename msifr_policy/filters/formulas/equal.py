r"""Whether two answers are equal as mathematics: part by part where their kinds say how, by algebra where they do not.

Formulas are read by the LaTeX parser of math-verify and compared by their values: constants with sixty digits and
relative to their size, so 1/150! is not 1/152!; formulas with variables at several points, where two that differ
agree to so many digits only if they were made to. What has no values, relations that are no intervals and
equations between several unknowns, is left to math-verify's own comparison.

Two exact numbers are equal only if they are; a decimal stands for what rounds to it, if it has `LEAST_DIGITS`.
Only to be used in a process that may be killed: sympy may take for ever.
"""

import logging
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from math_verify import verify
from sympy.core.function import AppliedUndef

from msifr_policy.filters.formulas.forms import (
    Based,
    ChoiceForm,
    Equation,
    Form,
    Formula,
    Interval,
    Matrix,
    NumberForm,
    Percent,
    Quantity,
    Ratio,
    RelationForm,
    Several,
    Union,
    WordsForm,
)
from msifr_policy.filters.formulas.reader import read, read_canonical
from msifr_policy.filters.formulas.text import SET_AS_TEXT, canonical
from msifr_policy.filters.worker import Answerer

LEAST_DIGITS: Final = 6
"""Significant digits that a decimal must have to stand for a number that only rounds to it."""

_MOST_UNKNOWNS: Final = 2
"""Unknowns of equations that are solved to compare them; with more, solving takes too long."""

LONGEST: Final = 2000
"""Characters of an answer that are compared; a longer one equals nothing."""


def same(gold: str, answer: str) -> bool:
    """Say whether `answer` equals `gold`: the same value and the same kind of thing; see the module.

    Where the gold answer has no unit, an answer may have one; a name before the value (`x = 5`) says nothing either.
    What sympy raises for a formula means that it equals nothing; a MemoryError is raised.
    """
    if max(len(gold), len(answer)) > LONGEST:
        return False
    texts = canonical(gold), canonical(answer)
    if not all(texts):
        return False
    right, said = map(read_canonical, texts)
    if isinstance(right, NumberForm) and right.places is not None and isinstance(said, Several):
        said = read(_COMMA.sub(r"\1.\2", answer, count=1)) or said
    return _plain(texts[0]) == _plain(texts[1]) or bool(_guarded(_same)(right, said))


_COMMA = re.compile(r"\A([\s$*\\-]*\d+),(\d{1,2}|\d{4,})(?![\d,]|.*,)", re.DOTALL)
"""A comma that can only be a decimal one, if there is but one number."""


def readable(gold: str) -> bool:
    """Say whether a gold answer says anything; a formula is read to the end, which may take for ever."""
    form = read(gold) if len(gold) <= LONGEST else None
    if isinstance(form, Formula):
        _expression_of(form.latex)
    return form is not None


def _plain(text: str) -> str:
    # A blank between digits parts two numbers.
    return re.sub(r"(?<!\d) +| +(?!\d)", "", SET_AS_TEXT.sub(r"\1", text))


def _same(gold: Form, said: Form) -> bool:
    """Compare two forms; what may be around a value on one side only is taken off first."""
    if isinstance(gold, ChoiceForm) or isinstance(said, ChoiceForm):
        return _same_choice(gold, said)
    assigned = _assigned(gold), _assigned(said)
    if assigned[0] and assigned[0].keys() == assigned[1].keys():
        return all(_same(value, assigned[1][name]) for name, value in assigned[0].items())
    if isinstance(gold, Equation) or isinstance(said, Equation):
        return _same_equation(gold, said)
    if isinstance(gold, Percent) or isinstance(said, Percent):
        return _same_percent(gold, said)
    if isinstance(gold, Quantity) or isinstance(said, Quantity):
        return _same_quantity(gold, said)
    if isinstance(gold, Ratio) or isinstance(said, Ratio):
        return _same_ratio(gold, said)
    if isinstance(gold, Several) or isinstance(said, Several):
        return _same_several(gold, said)
    if isinstance(gold, Matrix) and isinstance(said, Matrix):
        return len(gold.rows) == len(said.rows) and all(map(_in_order, gold.rows, said.rows))
    if isinstance(gold, Interval) and isinstance(said, Interval):
        return _same_interval(gold, said)
    if isinstance(gold, Union) and isinstance(said, Union):
        return _in_any_order(gold.parts, said.parts)
    if isinstance(gold, Formula) and isinstance(said, Formula) and _CONSTANT.search(gold.latex):
        return _same_integral(gold.latex, said.latex)
    if isinstance(gold, WordsForm) or isinstance(said, WordsForm):
        return _same_words(gold, said)
    if isinstance(gold, Based) or isinstance(said, Based):
        return gold == said
    if isinstance(gold, RelationForm | Interval) and isinstance(said, RelationForm | Interval):
        return bool(gold.latex and said.latex) and _verified(gold.latex, said.latex)
    if isinstance(gold, NumberForm) and isinstance(said, NumberForm):
        return _same_number(gold, said)
    if isinstance(gold, NumberForm | Formula) and isinstance(said, NumberForm | Formula):
        return _same_formula(gold, said)
    return False


def _assigned(form: Form) -> dict[str, Form]:
    """Return what several names are said to be, in one equation each or in one of tuples; else nothing."""
    items = form.items if isinstance(form, Several) else ()
    pairs = [(_plain(item.sides[0]), read_canonical(item.sides[-1])) for item in items if isinstance(item, Equation)]
    if isinstance(form, Equation):
        names, value = (read_canonical(side) for side in (form.sides[0], form.sides[-1]))
        if not isinstance(names, Several) or not isinstance(value, Several) or len(names.items) != len(value.items):
            return {}
        items = value.items
        pairs = [(_plain(_latex(name)), item) for name, item in zip(names.items, items, strict=True)]
    assigned = dict(pairs)
    return assigned if len(assigned) == len(items) > 1 and "" not in assigned else {}


def _in_order(golds: Sequence[Form], said: Sequence[Form]) -> bool:
    return len(golds) == len(said) and all(map(_same, golds, said))


def _in_any_order(golds: Sequence[Form], said: Sequence[Form]) -> bool:
    if len(golds) != len(said):
        return False
    left = list(said)
    for gold in golds:
        at = next((at for at, form in enumerate(left) if _same(gold, form)), None)
        if at is None:
            return False
        del left[at]
    return True


def _different(forms: Sequence[Form]) -> list[Form]:
    kept: list[Form] = []
    for form in forms:
        if not any(_same(other, form) for other in kept):
            kept.append(form)
    return kept


def _same_choice(gold: Form, said: Form) -> bool:
    """A letter is compared with a letter; what it stands for, with a gold answer that is no letter."""
    if isinstance(gold, ChoiceForm) and isinstance(said, ChoiceForm):
        return gold.letter == said.letter
    if isinstance(gold, ChoiceForm) and isinstance(said, Formula) and len(said.latex) == 1:
        return said.latex.upper() == gold.letter
    if isinstance(said, ChoiceForm):
        return said.meaning is not None and _same(gold, said.meaning)
    return isinstance(gold, ChoiceForm) and gold.meaning is not None and _same(gold.meaning, said)


_CONSTANT = re.compile(r"\+\s*(?:C|c|K|k|C_\{[01]\}|c_\{[01]\}|\\text\{\s*(?:const(?:ant)?|C)\.?\s*\})\s*\Z")


def _same_integral(gold: str, said: str) -> bool:
    """Say whether two formulas that both end in an arbitrary constant differ by a constant only."""
    if _equal(gold, said):
        return True
    ends = _CONSTANT.search(gold), _CONSTANT.search(said)
    if not ends[0] or not ends[1]:
        return False
    both = [_expression_of(formula[: end.start()]) for formula, end in zip((gold, said), ends, strict=True) if end]
    return all(isinstance(one, sympy.Expr) and one.free_symbols for one in both) and bool(_constant_apart(*both))


_PROSE = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{3,}\s")
_COMPOUND = re.compile(r"[-+*/]|\\cdot|\\times|\A\s*\d+\s*[A-Za-z\\]")


def _name(equation: Equation) -> str | None:
    """Return the left side if it is something's name or what is asked for, rather than a condition on unknowns."""
    first = equation.sides[0]
    inner = re.sub(r"\([^()]*\)|\{[^{}]*\}", "", first)
    return None if _COMPOUND.search(inner) and not _PROSE.search(first) else _plain(first)


def _values(equation: Equation, *, named: bool) -> list[Form]:
    """Return what an equation says that something is: its sides, but for the one that names it."""
    values = [read_canonical(side) for side in equation.sides[1:]]
    # Of a chain, what does not equal its end does not count.
    values = [value for value in values if value is values[-1] or not _contradicts(value, values[-1])]
    if named and not isinstance(first := read_canonical(equation.sides[0]), WordsForm) and not _letters(first):
        # 1/2 = 0.5, but not 5 = 6.
        values = [*values, first] if _roughly(first, values[-1]) else []
    return values


def _contradicts(first: Form, second: Form) -> bool:
    """Say whether both are numbers, and not roughly the same."""
    numbers = isinstance(first, NumberForm | Formula) and isinstance(second, NumberForm | Formula)
    constants = numbers and not _letters(first) and not _letters(second)
    return constants and not _roughly(first, second)


def _roughly(first: Form, second: Form) -> bool:
    """Say whether two values may be said to be equal, one of them perhaps rounded."""
    exact, rounded = _constant(_latex(first)), _constant(_latex(second))
    return exact is not None and rounded is not None and bool(abs(exact - rounded) <= abs(exact) / 100)


def _letters(form: Form) -> bool:
    return not isinstance(form, NumberForm | Formula) or (
        isinstance(form, Formula)
        and bool(re.search(r"[A-Za-z]", re.sub(r"\\(?:frac|sqrt|pi|cdot|times)", "", form.latex)))
    )


_FUNCTION = re.compile(r"[A-Za-z](?:\(([a-z])\)|_\{([a-z])\})")


def _with_variable_of(gold: Equation, said: Equation) -> Equation:
    """Return `said` with the variable of `gold`, if both say what one function is: f(n) = 2n is f(x) = 2x."""
    functions = [_FUNCTION.fullmatch(equation.sides[0].replace(" ", "")) for equation in (gold, said)]
    if not functions[0] or not functions[1] or functions[0][0][:2] != functions[1][0][:2]:
        return said
    old, new = (function[1] or function[2] for function in (functions[1], functions[0]))
    alone = r"(?<!\\)(?<![A-Za-z]){0}(?![A-Za-z])"
    if old == new or any(re.search(alone.format(new), side) for side in said.sides):
        return said
    return Equation(
        tuple(re.sub(rf"\\[A-Za-z]+|{old}", lambda it: new if it[0] == old else it[0], side) for side in said.sides)
    )


def _same_equation(gold: Form, said: Form) -> bool:
    if isinstance(gold, Equation) and isinstance(said, Equation):
        said = _with_variable_of(gold, said)
        names = _name(gold), _name(said)
        values = [_values(equation, named=False)[-1] for equation in (gold, said)]
        heads = [name and re.sub(r"(?<=[A-Za-z])\([a-z]\)\Z", "", name) for name in names]
        named = names[0] == names[1] or (heads[0] == heads[1] and heads[0] in names)  # y(x) is y
        if names[0] is not None and named and _same(*values):
            return True
        sides = [[read_canonical(side) for side in equation.sides] for equation in (gold, said)]
        if len(sides[0]) == len(sides[1]) and any(isinstance(side, WordsForm) for side in sides[0]):
            return _in_any_order(*sides)
        return len(gold.sides) == len(said.sides) == 2 and _same_zeros(gold, said)
    if isinstance(gold, Equation):
        # What is only named may be given without its name; a condition may not.
        values = _values(gold, named=True)
        first = read_canonical(gold.sides[0])
        named = _name(gold) is not None and not isinstance(first, NumberForm)
        return (named or not any(map(_letters, (first, *values)))) and any(_same(value, said) for value in values)
    if not isinstance(said, Equation):
        return False
    name, values = _name(said), _values(said, named=True)
    if name is None and said.sides[0][:1].isdigit() and _letters(read_canonical(said.sides[0])):
        return False  # 2x = 10 is not 10
    zero = bool(values) and isinstance(values[0], NumberForm) and values[0].value == 0
    return not (name is None and zero) and any(_same(gold, value) for value in values)


def _same_percent(gold: Form, said: Form) -> bool:
    """50% is 50%, and 0.5; where one side has no sign at all, it is 50 too."""
    if isinstance(gold, Percent) and isinstance(said, Percent):
        return _same(gold.value, said.value)
    percent, other = (gold, said) if isinstance(gold, Percent) else (said, gold)
    if not isinstance(percent, Percent) or (isinstance(other, Quantity) and other.unit is not None):
        return False
    value = percent.value
    hundredth: Form = Formula(rf"\frac{{{_latex(value)}}}{{100}}") if isinstance(value, NumberForm | Formula) else value
    if isinstance(value, NumberForm):
        places = None if value.places is None else value.places + 2
        hundredth = NumberForm(value.value / 100, places, value.digits)
    pairs = ((value, other), (hundredth, other))
    return any(_same(*(pair if percent is gold else pair[::-1])) for pair in pairs)


def _same_quantity(gold: Form, said: Form) -> bool:
    """Values are compared in the same unit; where only one side has a unit, or one that is not known, as they are."""
    units = [form.unit if isinstance(form, Quantity) else None for form in (gold, said)]
    values = [form.value if isinstance(form, Quantity) else form for form in (gold, said)]
    formulas = [form.formula if isinstance(form, Quantity) else _latex(form) for form in (gold, said)]
    if units[0] and units[1]:
        if units[0].dimensions != units[1].dimensions:
            return False
        return _same(values[0], _scaled(values[1], units[1].factor / units[0].factor))
    if _same(values[0], values[1]):
        return True
    degrees = [unit is not None and unit.dimensions == (("degree", 1),) for unit in units]
    if any(degrees) and None in units:
        radians = [
            rf"({_latex(value)})\cdot\frac{{\pi}}{{180}}" if is_ else _latex(value)
            for value, is_ in zip(values, degrees, strict=True)
        ]
        return (
            all(isinstance(value, NumberForm | Formula) for value in values)
            and any(r"\pi" in _latex(value) for value in values)
            and _equal(radians[0], radians[1])
        )
    # A unit may be a variable after all: 4t.
    both_formulas = all(isinstance(value, NumberForm | Formula) for value in values) and all(formulas)
    return bool(both_formulas) and _equal(formulas[0], formulas[1])


def _scaled(form: Form, factor: Fraction) -> Form:
    if factor == 1:
        return form
    if isinstance(form, NumberForm):
        return NumberForm(form.value * factor, None, form.digits)
    if isinstance(form, Formula):
        return Formula(rf"({form.latex})\cdot\frac{{{factor.numerator}}}{{{factor.denominator}}}")
    if isinstance(form, Several):
        return Several(form.kind, tuple(_scaled(item, factor) for item in form.items))
    return form


def _same_ratio(gold: Form, said: Form) -> bool:
    if isinstance(gold, Ratio) and isinstance(said, Ratio):
        if gold.clock and said.clock:
            times, halves = zip(*(clock.split(" ") for clock in (gold.clock, said.clock)), strict=True)
            # What only 24 hours tell, a time without its half does not say.
            told = halves[0][-1:] == halves[1][-1:] if any("24" in half for half in halves) else True
            return times[0] == times[1] and told and len({half[-1:] for half in halves} - {""}) < 2
        if len(gold.terms) != len(said.terms):
            return False
        # a : b : c = d : e : f if neighbours have equal products crosswise.
        pairs = zip(pairwise(gold.terms), pairwise(said.terms), strict=True)
        return all(_equal(_product(a, e), _product(b, d)) for (a, b), (d, e) in pairs)
    ratio, other = (gold, said) if isinstance(gold, Ratio) else (said, gold)
    if not isinstance(ratio, Ratio) or len(ratio.terms) != 2 or ratio.clock:
        return False
    quotient = Formula(rf"\frac{{{_latex(ratio.terms[0])}}}{{{_latex(ratio.terms[1])}}}")
    return isinstance(other, NumberForm | Formula) and _equal(quotient.latex, _latex(other))


def _product(first: Form, second: Form) -> str:
    return rf"({_latex(first)})\cdot({_latex(second)})"


def _same_several(gold: Form, said: Form) -> bool:
    """Sets and lists have no order, tuples have; a list may leave out the brackets of either, but a set is no tuple."""
    if isinstance(gold, Several) and isinstance(said, Several):
        kinds = {gold.kind, said.kind}
        if kinds == {"set", "tuple"}:
            alone, whole = (gold, said) if gold.kind == "set" else (said, gold)
            return len(alone.items) == 1 and _same(alone.items[0], whole)  # {(1, 2)} is the answer (1, 2)
        if "tuple" in kinds:
            return _in_order(gold.items, said.items)
        if "set" in kinds:
            return _in_any_order(_different(gold.items), _different(said.items))
        return _in_any_order(gold.items, said.items)
    several, other = (gold, said) if isinstance(gold, Several) else (said, gold)
    if not isinstance(several, Several):
        return False
    if isinstance(other, Interval) and several.kind == "tuple" and len(several.items) == 2 and not any(other.closed):
        ends: tuple[Form, Form] = (other.low, other.high)
        return _in_order(several.items, ends) if several is gold else _in_order(ends, several.items)
    if isinstance(other, Matrix) and several.kind == "tuple":
        entries = tuple(entry for row in other.rows for entry in row)
        vector = len(other.rows) == 1 or all(len(row) == 1 for row in other.rows)
        return vector and (_in_order(several.items, entries) if several is gold else _in_order(entries, several.items))
    if isinstance(other, Union) and several.kind == "list":
        return _in_any_order(other.parts, several.items)
    if several.kind == "list" and all(isinstance(item, ChoiceForm) for item in several.items):
        letters = "".join(sorted(item.letter for item in several.items if isinstance(item, ChoiceForm)))
        said_letters = "".join(sorted(_latex(other) or "".join(getattr(other, "words", ())).upper()))
        return letters == said_letters
    if several.kind == "list":
        equal = [item for item in several.items if _same(item, other)]
        return bool(equal) and all(item is equal[0] or _restates(item, equal[0]) for item in several.items)
    if (
        several.kind == "set"
        and isinstance(several.items[0], WordsForm)
        and several.items[0].words == ("no", "solution")
    ):
        return False
    if several.kind == "set" and len(several.items) == 1:
        return _same(several.items[0], said) if several is gold else _same(gold, several.items[0])
    return False


def _restates(first: Form, second: Form) -> bool:
    """Say whether two forms that are not written alike say one thing, one of them perhaps rounded."""
    if first == second:
        return False
    if _same(first, second):
        return True
    for rounded, exact in ((first, second), (second, first)):
        if (
            isinstance(rounded, NumberForm)
            and rounded.places
            and rounded.digits > 1
            and isinstance(exact, NumberForm | Formula)
        ):
            value = _constant(_latex(exact))
            if value is not None and value.is_real:
                return _within_half(rounded.value, rounded.places, _fraction(value))
    return False


def _same_interval(gold: Interval, said: Interval) -> bool:
    if gold.name and said.name and _plain(gold.name) != _plain(said.name):
        return False
    return gold.closed == said.closed and _same(gold.low, said.low) and _same(gold.high, said.high)


def _same_words(gold: Form, said: Form) -> bool:
    if isinstance(gold, WordsForm) and isinstance(said, WordsForm):
        return gold.words == said.words
    texts = [
        " ".join(form.words) if isinstance(form, WordsForm) else form.latex if isinstance(form, Formula) else ""
        for form in (gold, said)
    ]
    plain = [re.sub(r"\\cdot|\\times|\*", "", _plain(text)).casefold() for text in texts]
    return bool(plain[0]) and plain[0] == plain[1]


def _same_number(gold: NumberForm, said: NumberForm) -> bool:
    if gold.value == said.value:
        return True
    # The one with fewer places may be the other one rounded; an exact number never is.
    pairs = ((gold, said), (said, gold))
    return any(
        _rounds(rounded, other.value)
        for rounded, other in pairs
        if rounded.places is not None and (other.places is None or rounded.places < other.places)
    )


def _rounds(number: NumberForm, value: Fraction) -> bool:
    """Say whether a decimal stands for `value`, which rounds to it."""
    if number.places is None or number.places <= 0 or number.digits < LEAST_DIGITS:
        return False
    return _within_half(number.value, number.places, value)


def _within_half(rounded: Fraction, places: int, value: Fraction) -> bool:
    """Say whether a value is no further from a decimal than half a unit of its last place."""
    return bool(abs(value - rounded) * 2 * 10**places <= 1)


def _same_formula(gold: NumberForm | Formula, said: NumberForm | Formula) -> bool:
    number, formula = (gold, said) if isinstance(gold, NumberForm) else (said, gold)
    if isinstance(number, NumberForm) and number.places is not None and isinstance(formula, Formula):
        value = _constant(formula.latex)
        if value is None:
            return False
        return _near(value, number.value) or (bool(value.is_real) and _rounds(number, _fraction(value)))
    return _equal(_latex(gold), _latex(said))


def _fraction(value: sympy.Expr) -> Fraction:
    """Return a real value to fifty decimals."""
    return Fraction(int(value * 10**50), 10**50)


def _latex(form: Form) -> str:
    """Return a number or formula as LaTeX, "" for another form."""
    if isinstance(form, NumberForm):
        return (
            rf"\frac{{{form.value.numerator}}}{{{form.value.denominator}}}"
            if form.value.denominator > 1
            else str(form.value)
        )
    return form.latex if isinstance(form, Formula) else ""


# What follows is algebra.

_DIGITS: Final = 60
_POINTS: Final = 6
_CONFIG: Final = ConversionConfig(interpret_as_mixed_fractions=False, lowercase_symbols=False)
_CHOSEN = re.compile(
    r"(?<![A-Za-z\\\d])C\(\s*(?P<n1>\d+|[a-z])\s*,\s*(?P<k1>\d+|[a-z])\s*\)"
    r"|(?:\{\s*\})?[\^_]\{(?P<n2>\d+|[a-z])\}\s*C_\{(?P<k2>\d+|[a-z])\}"
    r"|(?<![A-Za-z\\\d}])C_\{(?P<n3>\d+)\}\^\{(?P<k3>\d+)\}|(?<![A-Za-z\\\d])(?P<n4>\d+)C(?P<k4>\d+)"
)
"""How many choices there are, in other notations than a binomial."""
_SUBSCRIPT = re.compile(
    r"((?:(?<![A-Za-z\\])|(?<=text))[A-Za-z]|\\(?:[a-z]?[a-z]*(?:[αa]|eta|mma|lta|lon|ppa|mu|nu|xi|rho|phi|psi|chi|tau|ega|bda|gma)))_\{([^{}]*(?:\{[^{}]*\}[^{}]*)?)\}"
)
_ENCLOSING = re.compile(r"(\\sqrt\[[^\[\]]*\]|\\\\)|\[|\]|\\[{}]")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\\degree")


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make None of what a library raises for one input; memory that is used up is the process's end."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except MemoryError:
            raise
        except Exception:
            return None

    return call


@lru_cache(maxsize=4096)
def _expression(latex: str) -> Any:
    """Return what math-verify's parser makes of a formula, its decimals exact, or None."""
    latex = re.sub(r"(?<=\d)[, ](?=\d{3}(?!\d))", "", latex)
    if re.search(r"\d \d", latex):
        return None  # two numbers side by side, which the parser would multiply
    latex = re.sub(r"\\text\{\s*([^{}]*?)\s*\}", r" \1 ", latex)
    latex = _CHOSEN.sub(_binomial, latex)
    latex = _SUBSCRIPT.sub(lambda found: f"{found[1]}_{{{_index(found[2])}}}", latex)
    latex = _DEGREES.sub(r"(\1\\cdot\\frac{\\pi}{180})", latex).replace("%", r"\cdot\frac{1}{100}")
    # Brackets only enclose here, and the parser takes long to find out that square ones are no interval.
    latex = _ENCLOSING.sub(lambda found: found[1] or ("(" if found[0] in ("[", r"\{") else ")"), latex)
    parsed = latex2sympy(latex, is_real=True, normalization_config=None, conversion_config=_CONFIG)
    if not isinstance(parsed, sympy.Expr):
        return parsed
    parsed = parsed.replace(lambda part: isinstance(part, AppliedUndef), _applied)
    parsed = parsed.replace(lambda part: part.is_Float, lambda part: sympy.Rational(str(part)))
    parsed = parsed.doit()
    parsed = parsed.replace(lambda part: isinstance(part, sympy.Derivative), lambda part: sympy.Symbol(str(part)))
    imaginary = {symbol: sympy.I for symbol in parsed.free_symbols if symbol.name == "i"}
    return parsed.subs(imaginary)


def _binomial(found: re.Match[str]) -> str:
    chosen = [group for group in found.groups() if group]
    return rf"\binom{{{chosen[0]}}}{{{chosen[1]}}}"


def _index(text: str) -> str:
    return "".join(character if character.isalnum() else {"-": "m", "+": "p"}.get(character, "") for character in text)


def _applied(call: Any) -> Any:
    """A name before a bracket is a function of a variable or number, and a factor of anything else."""
    argument = call.args[0]
    if len(call.args) == 1 and not (argument.is_Symbol or argument.is_number):
        return sympy.Symbol(str(call.func), real=True) * argument
    return sympy.Symbol(str(call), real=True)


_expression_of = _guarded(_expression)


def _constant(latex: str) -> sympy.Expr | None:
    """Return the value of a formula without variables with many digits, or None."""
    expression = _expression_of(latex)
    if not isinstance(expression, sympy.Expr) or expression.free_symbols:
        return None
    value = _value(expression, {})
    return value if isinstance(value, sympy.Expr) else None


def _evaluated(expression: sympy.Expr, at: dict[Any, Any]) -> Any:
    value = expression.subs(at).doit() if at else expression
    if not value.is_Rational:
        value = value.evalf(_DIGITS)
    return value if value.is_number and value.is_finite and not value.has(sympy.nan) else None


_value = _guarded(_evaluated)


def _near(first: Any, second: Any) -> bool:
    """Compare values: exactly where both are exact, else but for what rounding does to so many digits."""
    first, second = sympy.sympify(first), sympy.sympify(second)
    if first.is_Rational and second.is_Rational:
        return bool(first == second)
    size = max(abs(first), abs(second))
    return bool(abs(first - second) <= size * sympy.Float("1e-40", _DIGITS))


def _equal(first: str, second: str) -> bool:
    """Compare two formulas."""
    if _plain(first) == _plain(second) and first.strip():
        return True
    expressions = _expression_of(first), _expression_of(second)
    if any(expression is None for expression in expressions):
        return False
    if not all(isinstance(expression, sympy.Expr) for expression in expressions):
        return bool(_verify(*expressions))
    return bool(_equal_expressions(*expressions))


def _compare(first: sympy.Expr, second: sympy.Expr) -> bool:
    if first == second:
        return not first.has(sympy.nan, sympy.zoo)
    if first.has(sympy.oo, sympy.zoo, sympy.nan) or second.has(sympy.oo, sympy.zoo, sympy.nan):
        return False
    if not first.free_symbols and not second.free_symbols:
        values = _value(first, {}), _value(second, {})
        if None in values:
            return False
        if 0 in (first, second):
            return bool((first - second).equals(0))
        return _near(*values)
    agreed = 0
    for at in _points(first, second):
        values = _value(first, at), _value(second, at)
        if None in values or (min(at.values()) < 0 and not all(value.is_real for value in values)):
            continue  # outside of the domain
        if not _near(*values):
            return False
        agreed += 1
    return agreed > 1 or bool(sympy.simplify(first - second) == 0)


_equal_expressions = _guarded(_compare)


def _points(*expressions: sympy.Expr) -> list[dict[Any, Any]]:
    """Return values for the variables: integers where only these have meaning, else fractions, of both signs."""
    names = sorted(set().union(*(expression.free_symbols for expression in expressions)), key=str)
    whole = (sympy.factorial, sympy.binomial, sympy.floor, sympy.ceiling, sympy.Sum, sympy.Product, sympy.Mod)
    integers = any(expression.has(*whole) for expression in expressions)

    def value(name: int, point: int) -> sympy.Rational:
        if integers:
            return sympy.Integer(2 + (5 * name + 7 * point + 3 * name * point) % 12)
        # No pattern that a formula could share.
        size = sympy.Rational(20 + (61 * name + 97 * point + 29 * name * name * point) % 281, 97)
        return -size if point > 2 and (name + point) % 2 else size

    return [{symbol: value(name, point) for name, symbol in enumerate(names)} for point in range(_POINTS)]


def _values_of(first: sympy.Expr, second: sympy.Expr) -> list[tuple[Any, Any]]:
    """Return the values of two formulas at the points where both have one."""
    pairs = ((_value(first, at), _value(second, at)) for at in _points(first, second))
    return [pair for pair in pairs if None not in pair]


def _same_zeros(gold: Equation, said: Equation) -> bool:
    """Say whether two equations are the same but for a factor; if they are not, math-verify may solve both."""
    differences = []
    for left, right in (gold.sides, said.sides):
        sides = _expression_of(left), _expression_of(right)
        if not all(isinstance(side, sympy.Expr) for side in sides):
            return False
        differences.append(sides[0] - sides[1])
    if bool(_proportional(*differences)):
        return True
    if len(set().union(*(difference.free_symbols for difference in differences))) > _MOST_UNKNOWNS:
        return False
    return bool(_verify(*(sympy.Eq(difference, 0, evaluate=False) for difference in differences)))


def _constant_ratio(first: sympy.Expr, second: sympy.Expr) -> bool:
    ratios = [one / other for one, other in _values_of(first, second) if 0 not in (one, other)]
    return len(ratios) > 2 and all(_near(ratio, ratios[0]) for ratio in ratios)


def _constant_difference(first: sympy.Expr, second: sympy.Expr) -> bool:
    differences = [one - other for one, other in _values_of(first, second)]
    size = max((abs(difference) for difference in differences), default=0)
    return len(differences) > 2 and all(
        abs(difference - differences[0]) <= size * sympy.Float("1e-40", _DIGITS) for difference in differences
    )


_constant_apart = _guarded(_constant_difference)
_proportional = _guarded(_constant_ratio)
_verify = _guarded(lambda gold, said: verify(gold, said, timeout_seconds=None, raise_on_error=True))


def _verified(gold: str, said: str) -> bool:
    """Leave the comparison of two relations to math-verify."""
    expressions = _expression_of(gold), _expression_of(said)
    return None not in expressions and bool(_verify(*expressions))


_USUAL: Final = (
    r"-\frac{x_{1}^{2}+3}{2n!}-2\sqrt{3}(y-1)",
    r"\sin(2t)\cdot e^{-\pi t}",
    r"\sum_{k=1}^{n}k",
    r"2.5\log_{2}8|x|",
)
"""Formulas that the parser reads at the start: what it learns from them takes seconds."""


def load() -> Answerer:
    """Return what answers {gold, answer}, or {gold} alone: can it be read at all? See `msifr_policy.filters.worker`."""
    logging.disable()  # math-verify logs what it cannot read, text and all
    for formula in _USUAL:
        _expression_of(formula)

    def answer(request: dict[str, Any]) -> bool:
        return same(request["gold"], request["answer"]) if "answer" in request else readable(request["gold"])

    return answer
