r"""Numbers in digits, read from the canonical spelling: decimals, fractions, mixed numbers, numerals to other bases.

Nothing is evaluated but what is one number as it is written.
"""

import re
from fractions import Fraction
from typing import Final

from msifr_policy.filters.formulas.forms import Based, Form, Formula, NumberForm, Quantity, WordsForm
from msifr_policy.filters.formulas.text import without_text
from msifr_policy.filters.formulas.units import unit
from msifr_policy.reading.literals import repeating, words

_NUMBER = re.compile(
    r"""(?P<sign>[-+]?)\s*(?P<money>(?:US)?\\\$|[€£¥₹]|(?:USD|EUR|GBP|INR|CNY|Rs\.?)\ ?)?\s*(?P<inner>-?)
    (?: (?P<whole>\d{1,3}(?:[,\ ]\d{3})+|\d+)?
        \s* (?:\\frac\{\s*(?P<minus>-?)\s*(?P<over>\d+)\s*\}\{\s*(?P<under>-?\d+)\s*\})
      | (?P<digits>[1-9]\d{0,2}(?:,\d{3})+|\d+|(?=\.\d)) (?P<decimals>\.\d*)?
        (?:\\(?:overline|bar)\{(?P<again>\d{1,50})\}|\\dot\{(?P<dot>\d)\}(?:(?P<between>\d{0,50})\\dot\{(?P<dot_2>\d)\})?
          |(?<=\.)\((?P<enclosed>\d{1,50})\)|(?<=\d\d\d)\s*(?P<dots>\\ldots)\s*)?
        (?: \s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\{\s*(?P<power>[-+]?\d{1,3})\s*\} | [eE](?P<exponent>[-+]?\d{1,3}) )?
      | 10\^\{\s*(?P<ten>[-+]?\d{1,3})\s*\}
    )""",
    re.VERBOSE,
)
_SPACED = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")


def number_form(text: str) -> Form | None:
    r"""Return a number, money if it has a currency before it, or None for another text.

    A mixed number that is none (`5\frac{11}{4}`) is words, and a fraction over zero a formula.
    """
    found = _NUMBER.fullmatch(text.replace(" ", "") if _SPACED.fullmatch(text) else text)
    if found is None:
        return None
    sign = -1 if (found["sign"] == "-") != (found["inner"] == "-") else 1
    form: Form
    if found["ten"]:
        form = NumberForm(sign * Fraction(10) ** int(found["ten"]))
    elif found["over"] is not None:
        over, under = int(found["over"]), int(found["under"])
        if found["whole"] and (found["minus"] or not 0 <= over < under):
            return WordsForm((text,))  # neither a mixed number nor a product that anyone would write
        if under == 0:
            return Formula(text)
        whole = int(re.sub("[, ]", "", found["whole"] or "0"))
        form = NumberForm(sign * (whole + Fraction(-over if found["minus"] else over, under)))
    else:
        form = _decimal(found, sign)
    if found["money"]:
        return Quantity(form, unit(found["money"].removeprefix("US").strip(" .") or "$"), text)
    return None if found["dots"] and not found["decimals"] else form


def _decimal(found: re.Match[str], sign: int) -> NumberForm:
    whole, decimals = found["digits"].replace(",", "") or "0", (found["decimals"] or "").removeprefix(".")
    value = Fraction(int(whole + decimals), 10 ** len(decimals))
    again = found["again"] or found["enclosed"]
    if found["dot"]:
        again = found["dot"] + (found["between"] or "") + (found["dot_2"] or "")
    elif found["dots"]:
        period = _PERIOD.search(decimals)
        again = period and (period[1] or period[2])
        if not again:  # cut off, not rounded
            value += Fraction(1, 2 * 10 ** len(decimals))
    if again:
        value = repeating(whole, decimals, again)
    power = int(found["power"] or found["exponent"] or 0)
    places = len(decimals) - power if decimals and not again else None
    return NumberForm(sign * value * Fraction(10) ** power, places, len((whole + decimals).lstrip("0")))


_PERIOD = re.compile(r"(?:(\d)\1\1|(\d{2,20})\2)\Z")
"""What is repeated at the end of a decimal, if enough of it is there."""
_BASED = re.compile(r"\(?\s*([0-9A-F]+)\s*\)?\s*_\s*\{\s*\(?\s*(?:\\text\{\s*)?([a-z]+|\d{1,2})\s*\}?\s*\)?\s*\}")
_BASE_SAID = re.compile(r"([0-9A-F]+)\s*\(?\s*(?:in\s+)?base[\s-]*([a-z]+|\d{1,2})\s*\)?\s*")
_BASES: Final = {
    **{word: str(base) for base, word in enumerate(words("two three four five six seven eight nine ten"), start=2)},
    "twelve": "12",
    "sixteen": "16",
    "bin": "2",
    "oct": "8",
    "dec": "10",
    "hex": "16",
}


def based_form(text: str) -> Form | None:
    """Return a numeral whose base is said: `101_{2}`, `2A base sixteen`; None for another text."""
    found = _BASED.fullmatch(text) or _BASE_SAID.fullmatch(without_text(text))
    base = found and (found[2] if found[2].isdigit() else _BASES.get(found[2]))
    if not found or not base or (not found[1][0].isdigit() and int(base) <= 10):
        return None
    digits = found[1].lstrip("0") or "0"
    return number_form(digits) if base == "10" else Based(digits, base)
