r"""What kinds of thing an answer may be: a number, a set, an interval, a time, a word …

Two answers can only be equal if they are of one kind: `\{2,3\}` is no pair, 11:00 is not 11, and `5\frac{11}{4}` is no
number at all. Only what a `Formula` holds needs algebra to be compared; everything else is compared part by part.
"""

from fractions import Fraction
from typing import Literal, NamedTuple

from msifr_policy.filters.formulas.units import Unit


class NumberForm(NamedTuple):
    """A number as it is written; `places` are the decimal digits after the point, None if the number is exact."""

    value: Fraction
    places: int | None = None
    digits: int = 1
    """Significant digits, where there are `places`."""


class Formula(NamedTuple):
    """What only algebra can compare, in canonical LaTeX."""

    latex: str


class Quantity(NamedTuple):
    """A value with what is measured; `unit` is None for a word that is no unit known."""

    value: "Form"
    unit: Unit | None
    formula: str
    """The same with the unit read as symbols: `4t`."""


class Percent(NamedTuple):
    """So many hundredths."""

    value: "Form"


class WordsForm(NamedTuple):
    """An answer in words: lower case, without articles."""

    words: tuple[str, ...]


class ChoiceForm(NamedTuple):
    """A letter of a multiple choice, and what it stands for if that is said."""

    letter: str
    meaning: "Form | None"


class Several(NamedTuple):
    """Several things: a `list` as it is said, a `set` in braces, or a `tuple` in brackets, the only one with order."""

    kind: Literal["list", "set", "tuple"]
    items: tuple["Form", ...]


class Interval(NamedTuple):
    """From `low` to `high`; of an inequality, with the variable's name."""

    low: "Form"
    high: "Form"
    closed: tuple[bool, bool]
    name: str = ""
    latex: str = ""
    """An inequality as it is written; empty for brackets."""


class Union(NamedTuple):
    """A union of sets."""

    parts: tuple["Form", ...]


class Equation(NamedTuple):
    """Sides that are said to be equal."""

    sides: tuple[str, ...]


class RelationForm(NamedTuple):
    """Another relation, as a formula."""

    latex: str


class Matrix(NamedTuple):
    """Rows of entries."""

    rows: tuple[tuple["Form", ...], ...]


class Ratio(NamedTuple):
    """`3:4`; a time of day is one too."""

    terms: tuple["Form", ...]
    clock: str
    """A time as minutes after midnight or noon, a blank, and the half of the day if it is said (`a`, `p`, after `24` if
    only the hour tells it); else empty."""


class Based(NamedTuple):
    """A numeral to another base than ten."""

    digits: str
    base: str


Form = (
    NumberForm | Formula | Quantity | Percent | WordsForm | ChoiceForm | Several | Interval | Union | Equation
    | RelationForm | Matrix | Ratio | Based
)  # fmt: skip
