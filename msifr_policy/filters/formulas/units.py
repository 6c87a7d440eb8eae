"""Units after numbers: whether two measure the same kind of thing, and how many of one are in the other."""

import re
from fractions import Fraction
from typing import Final, NamedTuple

from msifr_policy.reading.literals import words


class Unit(NamedTuple):
    """A unit: its dimensions, as sorted pairs of a base and its power, and how many of the bases it is."""

    dimensions: tuple[tuple[str, int], ...]
    factor: Fraction


_PREFIXES: Final = {
    **dict(zip("pnµμumcdkMG", (-12, -9, -6, -6, -6, -3, -2, -1, 3, 6, 9), strict=True)),
    **dict(
        zip(words("pico nano micro milli centi deci kilo mega giga"), (-12, -9, -6, -3, -2, -1, 3, 6, 9), strict=True)
    ),
}
# Base or derived unit that takes prefixes: symbol, words, and what it counts as.
_METRIC: Final = (
    ("m", "metre meter", "length"), ("g", "gram gramme", "mass"), ("s", "second", "time"),
    ("L", "litre liter", "volume"), ("J", "joule", "energy"), ("W", "watt", "power"), ("N", "newton", "force"),
    ("Pa", "pascal", "pressure"), ("Hz", "hertz", "frequency"), ("V", "volt", "voltage"),
    ("A", "ampere amp", "current"), ("mol", "mole", "mole"), ("K", "kelvin", "kelvin"),
    ("eV", "electronvolt", "electronvolt"), ("cal", "calorie", "calorie"), ("pc", "parsec", "parsec"),
    ("Ω", "ohm", "resistance"), ("F", "farad", "capacity"), ("C", "coulomb", "charge"), ("T", "tesla", "tesla"),
    ("B", "byte", "byte"), ("bit", "", "bit"), ("erg", "", "erg"), ("rad", "radian", "radian"),
)  # fmt: skip
# Units without prefixes: symbols and words, the base, and how many of it one is.
_PLAIN: Final = (
    ("in inch inches", "length", Fraction("0.0254")),
    ("ft foot feet", "length", Fraction("0.3048")),
    ("yd yds yard", "length", Fraction("0.9144")),
    ("mi mile", "length", Fraction("1609.344")),
    ("Å angstrom ångström", "length", Fraction(1, 10**10)),
    ("micron", "length", Fraction(1, 10**6)),
    ("sec", "time", Fraction(1)),
    ("min mins minute", "time", Fraction(60)),
    ("h hr hrs hour", "time", Fraction(3600)),
    ("d day", "time", Fraction(86400)),
    ("wk week", "time", Fraction(604800)),
    ("month", "month", Fraction(1)),
    ("yr yrs year", "month", Fraction(12)),
    ("lb lbs pound", "pound", Fraction(1)),
    ("oz ounce", "pound", Fraction(1, 16)),
    ("t tonne", "mass", Fraction(10**6)),
    ("ton", "ton", Fraction(1)),
    ("cc", "volume", Fraction(1, 10**6)),
    ("gal gallon", "gallon", Fraction(1)),
    ("qt quart", "gallon", Fraction(1, 4)),
    ("pt pint", "gallon", Fraction(1, 8)),
    ("acre", "acre", Fraction(1)),
    ("hectare ha", "area", Fraction(10**4)),
    ("$ dollar USD buck", "dollar", Fraction(1)),
    ("cent", "dollar", Fraction(1, 100)),
    ("€ euro EUR", "euro", Fraction(1)),
    ("£", "sterling", Fraction(1)),
    ("₹ rupee Rs", "rupee", Fraction(1)),
    ("¥ yen yuan 元", "yen", Fraction(1)),
    ("degree deg ° 度", "degree", Fraction(1)),
    ("arcminute arcmin", "degree", Fraction(1, 60)),
    ("arcsecond arcsec", "degree", Fraction(1, 3600)),
    ("atm atmosphere", "atmosphere", Fraction(1)),
    ("mph", "length/time", Fraction("1609.344") / 3600),
    ("kph kmh kmph", "length/time", Fraction(1000, 3600)),
    ("dozen", "dozen", Fraction(1)),
    ("厘米", "length", Fraction(1, 100)),
    ("平方米", "area", Fraction(1)),
    ("平方厘米", "area", Fraction(1, 10**4)),
    ("立方米", "volume", Fraction(1)),
    ("立方厘米", "volume", Fraction(1, 10**6)),
    ("米", "length", Fraction(1)),
    ("千米 公里", "length", Fraction(1000)),
    ("千克 公斤", "mass", Fraction(1000)),
    ("克", "mass", Fraction(1)),
    ("小时", "time", Fraction(3600)),
    ("分钟", "time", Fraction(60)),
    ("秒", "time", Fraction(1)),
)
_DERIVED: Final = {"volume": (("length", 3),), "area": (("length", 2),), "length/time": (("length", 1), ("time", -1))}


def _table() -> dict[str, Unit]:
    table: dict[str, Unit] = {}

    def add(name: str, base: str, factor: Fraction) -> None:
        unit = Unit(_DERIVED.get(base, ((base, 1),)), factor)
        for form in (name, f"{name}s") if len(name) > 2 else (name,):
            table[form] = unit

    for symbol, spelled, base in _METRIC:
        # A litre is a thousandth of a cubic metre.
        one = Fraction(1, 1000) if symbol == "L" else Fraction(1)
        for prefix, power in {"": 0, **_PREFIXES}.items():
            forms = [] if len(prefix) > 2 else [symbol]
            forms += words(spelled) if len(prefix) != 1 else []
            for name in forms:
                add(prefix + name, base, one * Fraction(10) ** power)
    for prefix, factor in (("", Fraction(1, 1000)), ("m", Fraction(1, 10**6))):
        add(f"{prefix}l", "volume", factor)
    for names, base, factor in _PLAIN:
        for name in words(names):
            add(name, base, factor)
    return table


_UNITS: Final = _table()
_EXPONENTS: Final = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}
_TOKEN = re.compile(
    r"\\degree|\^\{?(?P<power>-?\d)\}?|(?P<over>/|\bper\b)|\\cdot|\\times|[*·.()\s-]|(?P<word>[^\W\d_]+|[$°€£₹¥]|\\\$)|(?P<other>.)"
)


def unit(text: str) -> Unit | None:
    """Return the unit that `text` names (`cm^{2}`, `km per hour`, `square feet`), or None if a word is not known."""
    powers: dict[str, int] = {}
    factor = Fraction(1)
    sign, raised = 1, 1
    last: tuple[Unit, int] | None = None

    def multiply(of: Unit, power: int) -> None:
        nonlocal factor
        factor *= of.factor**power
        for base, exponent in of.dimensions:
            powers[base] = powers.get(base, 0) + exponent * power

    for token in _TOKEN.finditer(text):
        word = "°" if token[0] == r"\degree" else "$" if token[0] == r"\$" else token["word"]
        if token["other"]:
            return None
        if token["over"]:
            sign = -1
        elif token["power"]:
            if last is None:
                return None
            multiply(last[0], last[1] * (int(token["power"]) - 1))
            last = None
        elif word and word.lower() in _EXPONENTS:
            if word.lower() in ("squared", "cubed"):
                if last is None:
                    return None
                multiply(last[0], last[1] * (_EXPONENTS[word.lower()] - 1))
            else:
                raised = _EXPONENTS[word.lower()]
        elif word:
            found = _UNITS.get(word) or (_UNITS.get(word.lower()) if len(word) > 2 else None)
            if found is None:
                return None
            last = (found, sign * raised)
            multiply(*last)
            raised = 1
    dimensions = tuple(sorted((base, power) for base, power in powers.items() if power))
    return Unit(dimensions, factor) if dimensions else None
