"""Units: an equation between unlike ones may be true though its numbers are not equal, as in 2 h + 5 min = 125 min.

English words that are units or count something tell that at once, and so do words for counts in other
languages. For all others the factor that would make the equation true is computed, in whatever language:
if it is a usual one (60, 100, 1000, …), the equation is not called false.
"""

from bisect import bisect
from collections.abc import Iterable, Mapping
from fractions import Fraction

from msifr_policy.validators.equations.atoms import Number
from msifr_policy.validators.equations.expressions import Expression, Item, UnreadableError

_QUANTITIES = {
    "time": "second sec minute min hour hr day week month year quarter decade century weekend shift ms ns yr",
    "length": """nm mm cm m km inch inches foot feet ft yard mile mi meter metre kilometer centimeter millimeter
        nanometer kilometre centimetre millimetre micron micrometer angstrom pc kpc mpc ly""",
    "area": "acre hectare ha",
    "weight": "mcg mg g gram kg kilogram milligram ounce oz pound lb lbs lbm ton tonne slug stone",
    "volume": """ml l liter litre milliliter millilitre gallon gal quart qt pint cup tablespoon teaspoon tbsp tsp ounce
        oz cc barrel bushel""",
    "money": "dollar cent penny pennies nickel dime quarter pound pence euro",
    "pressure": "pa kpa mpa atm bar psi psf torr mmhg",
    "energy": "kj joule cal kcal calorie ev kev mev gev btu kwh wh erg",
    "power": "kw mw watt kilowatt hp horsepower",
    "force": "kn newton dyne lbf",
    "frequency": "hz khz mhz ghz rpm",
    "amount": "mol mole mmol",
    "data": "kb mb gb tb byte bit",
    "clock": "am pm p.m a.m o'clock noon midnight remainder mod modulo base binary hex r uhr",
    # From here on: English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian, Chinese and Japanese.
    "count": """dozen thousand million billion trillion hundred tens ones score gross pair couple percent half halves
        third fourths fifths sixths eighths tenths hundredths thousandths quarter crore lakh squared cubed
        dutzend hundert tausend million millionen milliarde milliarden mio mrd tsd prozent zehner einer hälfte quadrat
        douzaine mille millier milliard dizaine moitié
        docena cien cientos mil millón millones millardo decena cuadrado
        dozzina cento mila migliaia milione milioni miliardo miliardi decine metà
        dúzia milhar milhares milhão milhões bilhão bilhões dezena metade
        dozijn honderd duizend miljoen miljard helft
        tuzin tuziny setka setki tysiąc tysiące tysięcy mln mld milionów miliard miliardy dziesiątek połowa
        дюжина дюжины дюжин сотня сотни сотен тысяча тысячи тысяч тыс миллион миллиона миллионов млн миллиард
        миллиарда миллиардов млрд десяток десятка десятков половина процент процента процентов
        百万 千万 十万 平方 立方""",
}
_KINDS: dict[str, set[str]] = {}
for _kind, _units in _QUANTITIES.items():
    for _unit in _units.split():
        _KINDS.setdefault(_unit, set()).add(_kind)

_FACTORS = [7, 10, 12, 16, 20, 24, 36, 52, 60, 100, 144, 365, 500, 1440, 1760, 3600, 5280, 86400]
_POWERS = [10**n for n in range(3, 13)]
_USUAL = sorted({Fraction(n) for n in (*_FACTORS, *_POWERS)} | {Fraction(1, n) for n in (*_FACTORS, *_POWERS)})
_FIRST = [*map(Fraction, (1, 7, 12, 24, 60, 100, 365, 1000, 3600, 86400)), Fraction(1, 24), Fraction(1, 60)]
_NEAR = Fraction(1, 50)  # how far a factor may seem off where the result is rounded
_SAME = 4  # words that begin with as many equal letters are forms of one: минута, минуты


def may_convert(words: Iterable[str], *, money: bool) -> bool:
    """Say whether known units may need converting: several of one kind, a price per unit, one that counts something."""
    known = {word if word in _KINDS else word.removesuffix("s") for word in words} & _KINDS.keys()
    if money and known - {"dollar"}:
        return True
    kinds = [kind for unit in known for kind in _KINDS[unit]]
    return len(set(kinds)) < len(kinds) or "count" in kinds or "clock" in kinds


def alike(left: Expression, right: Expression, *, dollars: bool) -> bool:
    """Say whether an equation needs no conversion, whatever units stand beside it.

    That is so if all its numbers with a unit have the same one, on both sides, or if its result is shown in `dollars`,
    unless a usual factor lies between its sides. The numbers are those of a reading that keeps units.
    """
    sides = [{item.unit for item in side.items if isinstance(item, Number) and item.unit} for side in (left, right)]
    units = {unit.removesuffix("s") for unit in sides[0] | sides[1]}
    kinds = {kind for unit in units | sides[0] | sides[1] for kind in _KINDS.get(unit, ())}
    same = len(units) == 1 and sides[0] and sides[1]
    if same and _all_have_units(left) and _all_have_units(right):
        return True
    if not (same or (dollars and "money" not in kinds)) or kinds & {"count", "clock"}:
        return False
    try:
        a, b = (Fraction(abs(side.plain)) for side in (left, right))
    except UnreadableError:
        return False
    return not b or all(abs(a / b - usual) > _NEAR * usual for usual in _USUAL)


def _all_have_units(side: Expression) -> bool:
    """Say whether an expression is a sum of quantities: 3 dozen + 4 dozen."""
    return all(item.unit if isinstance(item, Number) else item in ("+", "-", "(", ")") for item in side.items)


def converts(left: Expression, right: Expression, *, money: bool) -> bool:
    """Say whether usual factors between the units of the numbers would make both sides equal.

    The numbers are those of a reading that keeps units. All units are converted to that of the result, or else
    to that of the last number. More than two others are taken to convert. Numbers without a unit are sums of `money`
    where there are some.
    """
    numbers = [item for item in (*left.items, *right.items) if isinstance(item, Number)]
    result = right.number or left.number or numbers[-1]
    plain = set() if money else {""}
    others = sorted({number.unit[:_SAME] for number in numbers} - {result.unit[:_SAME]} - plain)
    if not 1 <= len(others) <= 2:
        return len(others) > 2
    choices = [{others[0]: factor} for factor in _FIRST] if len(others) > 1 else [{}]
    slack = Fraction(1, 10**result.decimals) if result.decimals else Fraction()
    try:
        return any(_converts(left, right, others[-1], choice, slack) for choice in choices)
    except UnreadableError:
        return False


def _converts(left: Expression, right: Expression, unit: str, others: dict[str, Fraction], slack: Fraction) -> bool:
    """Say whether the factor of `unit` that makes the sides equal is a usual one, given those of the other units."""

    def difference(factor: Fraction) -> Fraction:
        factors = {**others, unit: factor}
        return _value(left, factors) - _value(right, factors)

    one, two = difference(Fraction(1)), difference(Fraction(2))
    if one == two:
        return False
    factor = 1 + one / Fraction(one - two)  # the difference is linear in it, but for products of units
    near = bisect(_USUAL, factor)
    return any(
        abs(usual - factor) <= _NEAR * usual and abs(difference(usual)) <= slack
        for usual in (*_USUAL[max(0, near - 1) : near + 1], *([Fraction(1)] if others else []))
    )


def _value(expression: Expression, factors: Mapping[str, Fraction]) -> Fraction:
    items: list[Item] = [
        item._replace(value=item.value * factors.get(item.unit[:_SAME], 1)) if isinstance(item, Number) else item
        for item in expression.items
    ]
    return Expression(items).plain
