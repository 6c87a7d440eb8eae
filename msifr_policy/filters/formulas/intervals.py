"""Sets of real numbers that conditions leave: intervals, and all numbers but some."""

from collections.abc import Sequence
from itertools import pairwise

from msifr_policy.filters.formulas.forms import Form, Formula, Interval, NumberForm, Union


def infinite(form: Form) -> bool:
    """Say whether this is ∞, with any sign."""
    return isinstance(form, Formula) and form.latex.lstrip("+- ") == r"\infty"


def both_hold(forms: list[Form]) -> Form | None:
    """Return what conditions on one name leave together, if they leave an interval or all but some numbers."""
    left_out = [_left_out(form) for form in forms]
    if len(forms) > 1 and all(left_out):
        return all_but([number for numbers in left_out for number in numbers])
    if len(forms) != 2 or not all(isinstance(form, Interval) and form.name for form in forms):
        return None
    first, second = sorted((form for form in forms if isinstance(form, Interval)), key=lambda form: infinite(form.low))
    low, high = first.low, second.high
    if first.name != second.name or not infinite(first.high) or not infinite(second.low):
        return None
    if not isinstance(low, NumberForm) or not isinstance(high, NumberForm) or low.value >= high.value:
        return None
    return Interval(low, high, (first.closed[0], second.closed[1]), first.name)


def _left_out(form: Form) -> list[Form]:
    """Return the numbers that a union is all but: of (-∞, 1) ∪ (1, ∞), the 1; nothing for another form."""
    parts = form.parts if isinstance(form, Union) else ()
    if not all(isinstance(part, Interval) and not any(part.closed) for part in parts):
        return []
    ends = [(part.low, part.high) for part in parts if isinstance(part, Interval)]
    joined = all(before[1] == after[0] for before, after in pairwise(ends))
    whole = joined and len(ends) > 1 and infinite(ends[0][0]) and infinite(ends[-1][1])
    return [high for _, high in ends[:-1]] if whole else []


def all_but(forms: Sequence[Form], name: str = "") -> Form | None:
    """Return the real numbers without these, or None if they are not numbers."""
    numbers = sorted({form.value for form in forms if isinstance(form, NumberForm)})
    if not forms or len(numbers) < len(forms):
        return None
    ends: list[Form] = [Formula(r"-\infty"), *(NumberForm(number) for number in numbers), Formula(r"\infty")]
    return Union(tuple(Interval(low, high, (False, False), name) for low, high in pairwise(ends)))
