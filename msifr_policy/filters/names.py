"""From a word, or a function, to the final filter that it stands for."""

from collections.abc import Callable
from typing import Final, cast

from msifr_policy import filters
from msifr_policy.errors import InputError
from msifr_policy.filters.base import FinalFilter, Judgement, Prompt

_KNOWN: Final[dict[str, Callable[..., FinalFilter]]] = {
    "numeric": filters.NumericMatch,
    "choice": filters.ChoiceMatch,
    "exact": filters.ExactMatch,
    "math": filters.MathVerify,
    "json-schema": filters.JsonSchema,
    "tests": filters.UnitTests,
}
_COMPARE: Final = ("numeric", "choice", "exact", "math")


def final_filter(given: str | FinalFilter | Callable[[Prompt, str], bool | Judgement], answer: str = "") -> FinalFilter:
    """Return the filter that `given` stands for: a name, for a filter with its usual options, a filter, or a function.

    The names are `"numeric"`, `"choice"`, `"exact"`, `"math"`, `"json-schema"` (by the prompts' schemas) and `"tests"`.
    `answer` says where those that compare an answer look for it, in the words of `Extract.parse`; "" is as usual.

    Raises `InputError` for anything else, and for a filter that cannot work here.
    """
    if answer and given not in _COMPARE:
        what = f"the final filter {given if isinstance(given, str) else getattr(given, 'name', given)!r}"
        remedy = f"those that do: {', '.join(_COMPARE)}"
        raise InputError(f"{what} looks for no answer at {answer!r}", where="answer", remedy=remedy)
    if isinstance(given, str):
        if given not in _KNOWN:
            raise InputError(f"unknown final filter {given!r}", remedy=f"known: {', '.join(_KNOWN)}, or a function")
        return _KNOWN[given](answer=answer) if answer else _KNOWN[given]()
    if not callable(given):
        raise InputError(f"{given!r} is not a final filter", remedy="give a name or a function of (prompt, text)")
    if hasattr(given, "check") and hasattr(given, "name"):
        return cast(FinalFilter, given)
    return filters.FunctionFilter(given, f"function {getattr(given, '__qualname__', type(given).__qualname__)}")
