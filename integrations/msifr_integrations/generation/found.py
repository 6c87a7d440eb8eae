"""Where the answers of a run stand, said aloud: a filter that does not see them accepts too little, silently."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msifr_policy.filters import FinalFilter, Judgement, Prompt
from msifr_policy.filters.extract import Extract, asked_place
from msifr_policy.records.ledger import Totals

_ALARM: Final = 0.2
"""A larger share of finished attempts without an answer is remarked on."""

_EARLY: Final = 50
"""After so many finished attempts a run that looks wrong says so."""

_WORDS: Final = {
    "box": "in \\boxed{}",
    "hash": "after ####",
    "phrase": "after a phrase",
    "json": "in a JSON member",
    "tag": "in a tag",
    "regex": "by the pattern",
    "last": "as the last number",
    "whole": "as the whole text",
}


class Watcher:
    """Counts where the answers of finished attempts stand, and says early on if many show none.

    `before` are the sums over earlier sessions of the run: what one of them said is not said again.
    """

    def __init__(self, accept: FinalFilter, say: Callable[[str], None] | None, before: Totals) -> None:
        self._accept = accept
        self._say = say
        self._found = Counter({place: spent.attempts for place, spent in before.by_found.items()})
        self._cut = before.cut_unanswered

    def add(self, judgement: Judgement | None, *, cut: bool) -> None:
        """Count a judgement, None that of an attempt that was not finished; `cut`: it ended at its limit."""
        if judgement is None or judgement.found is None or self._say is None:
            return
        self._found[judgement.found] += 1
        self._cut += cut and not judgement.found
        if self._found.total() == _EARLY and (remark := missing(self._found, self._cut, self._accept.name)) is not None:
            self._say(f"of the first {_EARLY} finished attempts {remark}")


def missing(found: Mapping[str, int], cut: int, name: str) -> str | None:
    """Return a remark on the attempts that show no answer, if they are many: what is wrong, and what helps.

    `found` counts by kind of place, "" for none; `cut` of those were cut off at their limit. `name` is the filter's.
    """
    none, finished = found.get("", 0), sum(found.values())
    if none <= _ALARM * finished:
        return None
    what = f"{none} ({none / finished:.0%}) show no answer that the final filter {name} finds, "
    what += "and are not accepted for that"
    if cut:
        what += f"; {cut} of them were cut off: give attempts more tokens (--max-new-tokens)"
    if none > cut:
        what += "; if the others have one, say" if cut else "; if they have one, say"
        what += " where it is (--answer)"
    return what


def places(found: Mapping[str, int]) -> str:
    """Return where answers were found, the most frequent place first."""
    given = sorted(((n, place) for place, n in found.items() if place), reverse=True)
    return ", ".join(f"{_WORDS.get(place, place)} {n}" for n, place in given) or "nowhere"


def asked(accept: FinalFilter, prompts: Sequence[Prompt]) -> str | None:
    """Return what a filter that looks for answers by itself makes of the prompts; None if it is told where they are."""
    extract = getattr(accept, "extract", None)
    if not isinstance(extract, Extract) or extract.where != "auto" or not prompts:
        return None
    count = Counter("" if (place := asked_place(prompt.prompt)) is None else place.name for prompt in prompts)
    ask = ", ".join(f"{n} for {place}" for place, n in count.most_common() if place)
    said = (
        f"of {len(prompts)} prompts some ask for a place of the answer: {ask}"
        if ask
        else "the prompts ask for no place"
    )
    return f"answers are looked for where texts announce them (--answer auto); {said}"
