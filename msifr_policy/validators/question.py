"""Generated questions: whether the text so far can be asked, and whether it gives itself away.

A question for a data set has to ask something, to say with which quantities, and to stand alone: no figure that is
not there, no earlier part, no gap left to fill in; and it must not answer itself. Each of these shows in the
words of a sentence, found by RE2. The patterns are English and belong to the version of the validator.
"""

import math

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence
from msifr_policy.validators.readers.sentences import PatternSets, SentenceCutter

READ = 4096
"""Characters of the text that are read; a longer one is no question."""

_LEAD = r"^[\s>*_#\"'“‘(-]*(?:[0-9]{1,2}[.)] ?|\([a-z]\) ?|question:? ?)?"

# No counted repetition of what may be anything: it would make the automaton large.
SIGNS: dict[str, tuple[str, ...]] = {
    "asks": (
        r"\?[\"'”’)\]*_$\\]*\s*$",
        rf"(?:{_LEAD}(?:please |so |now |then )?|, |\band )(?:find|determine|calculate|compute|evaluate|solve|prove"
        r"|show that|simplify|estimate|express|derive|identify|what|how (?:many|much|long|far|old|often))\b",
    ),
    "quantities": (
        r"[0-9]",
        r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|fifty|hundred|thousand"
        r"|million|half|third|quarter|twice|thrice|double|triple|dozen|pair)\b",
    ),
    "dangling": (
        r"\b(?:in|from|on|see|using|shown in|to|of|by) (?:the |this |that )?(?:following |above |below |attached "
        r"|given |accompanying )?(?:figure|diagram|graph|chart|picture|image|drawing|map|passage|excerpt|appendix)\b",
        r"\b(?:following|above|attached|accompanying) (?:table|code|list|text|data|equation|problem|question)\b",
        r"\b(?:table|figure|diagram|code|list|data) (?:above|below)\b",
        r"\bas (?:shown|described|mentioned|stated|given|seen|defined) (?:above|below|earlier|previously|in)\b",
        r"\b(?:previous|preceding|last|next|earlier) (?:question|problem|part|exercise|example|section)\b",
        r"\b(?:part|question|problem|exercise|theorem|lemma|equation) \(?[a-f1-9]\)? (?:above|below|of)\b",
    ),
    "placeholders": (
        r"\[(?:insert|your|name|number|value|topic|subject|amount|item|object|blank|x+)\b",
        r"<(?:insert|your|name|number|value|topic|amount|item)\b",
        r"\{\{|____|\b(?:TODO|TBD|lorem ipsum)\b",
    ),
    "leaks": (
        r"\b(?:correct |final |right )?answer(?:\*\*)?(?: is\b|:)|\\boxed\{|####",
        rf"{_LEAD}(?:solution|explanation|answer key|rationale)(?:\*\*)?\s*[:.]",
        rf"{_LEAD}(?:let['’]?s solve|to solve this|(?:therefore|thus|hence),)",
    ),
}
"""The patterns of each sign of a sentence, for text in small or capital letters."""
_PATTERNS = PatternSets(SIGNS, anchored=False)


class Question(Rule, frozen=True):
    """Looks for what makes a generated question well posed; reads the text as that question.

    With `strict` the verdict is DEAD once a sentence leaves a gap to fill in or gives the answer away; else it
    is always UNKNOWN.
    """

    name = "question"
    columns = (*SIGNS, "after")
    """Sentences so far, the unfinished one included, that ask something (`asks`), hold a quantity
    (`quantities`), refer to what is not there (`dangling`), leave a gap to fill in (`placeholders`) or give the
    answer away (`leaks`); `after`: characters after the last sentence that asks, NaN before the first.
    """
    strict: bool = False

    def _state(self, _: str) -> TextState:
        return _QuestionState(self.strict)


class _QuestionState(TextState):
    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._cutter = SentenceCutter()
        self._counts = dict.fromkeys(SIGNS, 0)  # of finished sentences
        self._asked_at = math.nan
        self._end = 0  # characters fed

    def _read(self, text: str) -> Evidence:
        read = text[: max(0, READ - self._end)]
        self._end += len(text)
        for sentence, _, end in self._cutter.feed(read):
            found = _PATTERNS.found(sentence)
            for sign in found:
                self._counts[sign] += 1
            if "asks" in found:
                self._asked_at = end
        last, _, end = self._cutter.unfinished
        found = _PATTERNS.found(last)
        asked_at = end if "asks" in found else self._asked_at
        counts = {sign: number + (sign in found) for sign, number in self._counts.items()}
        dead = self._strict and counts["placeholders"] + counts["leaks"] > 0
        return evidence(*counts.values(), self._end - asked_at, dead=dead)
