"""What the words beside a number say about it: units, scales, bounds, denials and remarks, in lower case."""

import re
from typing import Final

from msifr_policy.reading.literals import SCALES, words

LEAD: Final = frozenset(
    words(
        "the a an is are was were be will would equal equals about approximately approx around roughly nearly "
        "almost exactly precisely only just so thus hence therefore total sum result answer value final of rs usd "
        "eur gbp cad aud inr cny rmb jpy us hk ca au nz sgd chf it its that this there simply indeed now then "
        "finally overall correct which equivalently namely or get we have i.e circa ca est yes"
    )
)
"""Words before a number that make no sentence of their own: what follows the number is a remark."""

DENIALS: Final = frozenset(
    words(
        "not no never neither nor cannot without unknown none "
        "more less fewer greater larger smaller higher lower least most over under above below beyond up between "
        "either unless until twice double triple thrice anything nowhere far nicht kein keine mehr weniger mindestens "
        "höchstens moins menos más meno più больше меньше более менее"
    )
)
"""Words before a number that say it is none, a bound, or part of an expression in words; those in n't do so too."""

NEGATIVE: Final = frozenset(words("minus negative moins menos meno минус 负 負 マイナス 마이너스"))
"""Words that are the sign of the number behind them."""

BOUNDS: Final = re.compile(
    "大于|大於|小于|小於|超过|超過|少于|少於|多于|多於|不足|以上|以下|以内|以內|未満|未满|이상|이하|미만|초과"
)
"""What makes a bound of the number beside it, where words are not set apart."""

PERCENT: Final = frozenset(words("percent percentage pct prozent procent pourcent процент процента процентов"))
"""Words for the percent sign."""

SHARES: Final = frozenset(words("von de di van af от des der"))
"""Words between a percentage and what it is part of."""

OPERATIONS: Final = frozenset(
    words(
        "sum product difference quotient root square cube ratio fraction multiple multiples factor factors power "
        "powers divisor divisors logarithm factorial"
    )
)
"""Words that, with `of` behind them, make an expression of the number that follows: `the square root of 16`."""

ARITHMETIC: Final = frozenset(
    words(
        "times plus minus over divided multiplied to by of than power through modulo mod remainder choose added "
        "subtracted raised increased decreased reduced"
    )
)
"""Words between two numbers that make an expression of both: `5 times 3`, `3 of 5`, `3 to 5`."""

LINKS: Final = ARITHMETIC | frozenset(words("the from out up more less fewer greater root square cube"))
"""Words that stand in such an expression: `2 to the power of 3`, `5 less than 8`."""

LEAVES: Final = frozenset(
    words(
        "because since as for from in into on onto at per each every of out off with within when where while which "
        "who whose than these those after before during given although though about into among across via through "
        "throughout against till not instead more less fewer only making leaving meaning having being assuming "
        "considering including excluding remaining left based using compared total altogether overall by to times "
        "plus minus over divided multiplied weil denn da für pro im aus von mit wenn parce car pour par sur dans "
        "porque para por en de del"
    )
)
"""Words after a number that leave the statement: what follows is a remark."""

JOINS: Final = frozenset(words("and or so then thus hence therefore but und oder et y o"))
"""Words after a number behind which another statement may follow."""

CONNECTIVES: Final = frozenset(words("because since where if when which while as with for")) | JOINS
"""Words that part one equation from what precedes it."""

REFUSALS: Final = frozenset(words("not no incorrect wrong false impossible invalid too"))
"""Words that, with `is` before them, take back the number before."""

ABBREVIATIONS: Final = frozenset(words("rs fr approx ca est i.e no"))
"""Words before a number that end in a point."""

MONEY: Final = frozenset(words("dollar dollars euro euros pound pounds usd eur gbp rupees"))
"""Currencies of which a hundredth has a name in `HUNDREDTHS`."""

HUNDREDTHS: Final = frozenset(words("cent cents pence penny paise"))
"""Hundredths of currencies."""

UNIT_LETTERS: Final = frozenset("mgshLlWJNVACFΩ")
"""Letters that are units behind a blank; other letters are variables."""

GLUED_LETTERS: Final = frozenset("mgshLl")
"""Letters that are units behind a digit too, as they are typed: `5m`."""

_GLUED_UNITS = frozenset(
    words(
        "cm mm km nm dm kg mg ug ml mL cl dl ft in yd mi lb lbs oz hr hrs min mins sec secs ms ns am pm mph kph "
        "kmh kwh kW kV mV MW GW kJ MJ kN Pa kPa Hz kHz MHz GHz GB MB KB TB kB gb mb tb USD EUR GBP CAD AUD INR "
        "RMB CNY JPY usd eur gbp sq cc mol rpm psi kcal cal bps dB eV yr yrs wk wks pts ct cts px pt"
    )
)
_FUNCTION = re.compile(r"(?:sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt)[a-z]?")


def is_glued_unit(word: str) -> bool:
    """Say whether a word is a unit even where it follows a digit at once: `5kg`, `5apples`, but not `5ab`, `2sinx`."""
    return word in _GLUED_UNITS or (len(word) > 3 and _FUNCTION.fullmatch(word) is None) or not word.isascii()


GLUED_SCALES: Final = {"k": 10**3, "M": 10**6, "B": 10**9}
"""Letters that multiply the number they follow at once: `3k`."""

_WORD_SCALES = (
    SCALES
    | {f"{word}s": value for word, value in SCALES.items()}
    | dict.fromkeys(words("tausend mille тысяч тысячи тысяча тыс हज़ार हजार 천"), 10**3)
    | dict.fromkeys(words("lac lacs लाख"), 10**5)
    | dict.fromkeys(words("mn mln mio millionen millón millones milhão milhões миллион миллиона миллионов млн"), 10**6)
    | dict.fromkeys(words("करोड़"), 10**7)
    | dict.fromkeys(words("bn mrd milliarde milliarden milliard milliards миллиард миллиарда миллиардов млрд"), 10**9)
)
_UNCLEAR_SCALES = frozenset(words("mil bil tn billionen billones billón bilhões bilhão trillionen half halves quarter"))
_IDEOGRAPHIC_SCALES = {"十": 10, "百": 100, "千": 10**3, "万": 10**4, "萬": 10**4, "만": 10**4} | dict.fromkeys(
    "亿億억", 10**8
)
_IDEOGRAPHIC_UNIT = re.compile(r"千[克米瓦焦卡赫帕伏安升]|百分")


def scale_of(word: str) -> int | None:
    """Return what a word multiplies the number before it by: 1 for most words, None where that is unclear.

    The letters of `十万人` count as far as they are scales.
    """
    if word in _UNCLEAR_SCALES:
        return None
    scale = _WORD_SCALES.get(word, 1)
    if not word.isascii() and not _IDEOGRAPHIC_UNIT.match(word):
        for letter in word[:4]:
            if letter not in _IDEOGRAPHIC_SCALES:
                break
            scale *= _IDEOGRAPHIC_SCALES[letter]
    return scale


_IDEOGRAPHIC_LEAVES = re.compile("因为|所以|由于|每|其中|除以|的")


def leaves(word: str) -> bool:
    """Say whether what follows this word, behind a number, is a remark."""
    return word in LEAVES or _IDEOGRAPHIC_LEAVES.search(word) is not None
