"""Phrases that give an output away: refusals, talk about oneself, cut-off text, hedging.

Each set is a list of RE2 patterns matched at the beginning of a sentence (bullets, quotation marks and a
word of connection aside), where these phrases stand when they are meant and hardly ever when they are not:
"I cannot help with that" is a refusal, "a rule that I cannot help with" is none. RE2 takes linear time whatever the
text. The sets are English and belong to the version of the validator.
"""

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence
from msifr_policy.validators.readers.sentences import PatternSets, SentenceCutter

_AI = (
    r"(?:an? )?(?:large |artificial |ai |virtual |digital |text-based )*"
    r"(?:ai|intelligence|language model|chatbot|assistant|llm)\b"
)
_SORRY = (
    r"(?:(?:i['’]?m|i am) )?(?:(?:very|so|really|truly|terribly) )?sorry[,.]? |i apologi[sz]e,? |"
    r"(?:unfortunately|regrettably),? "
)
_CANNOT = (
    r"(?:cannot|can['’]?t|can not|won['’]?t|will not|(?:am |['’]m )?(?:not able|unable) to|"
    r"(?:am |['’]m )not (?:going|allowed|permitted) to|do(?: not|n['’]?t) feel comfortable)"
)
_SERVE = (
    r"(?:help|assist|provide|answer|fulfil|comply|complete|create|generate|engage|discuss|support|share|participate)"
)
_ELISION = r"(?:the )?(?:rest|remainder|remaining|previous|existing|same)\b"

PHRASES: dict[str, tuple[str, ...]] = {
    "refusals": (
        rf"(?:{_SORRY})?(?:but )?(?:as {_AI},? )?i ?{_CANNOT} (?:be able to |be )?{_SERVE}",
        r"i (?:must|have to|need to) (?:respectfully |politely )?(?:decline|refuse)",
        r"(?:this|your|that|the) (?:request|prompt|content|query) (?:violates|goes against|is inappropriate)",
        rf"(?:{_SORRY})(?:but )?i (?:do not|don['’]?t) have (?:access|the ability)",
    ),
    "self_references": (
        rf"(?:(?:{_SORRY})?but |however, |please note that |note that )?as {_AI}",
        rf"(?:{_SORRY})?(?:but )?i(?: am|['’]m) (?:just |only |merely )?{_AI}",
        r"(?:based on |according to )?my (?:training data|knowledge cut-?off|programming|guidelines)\b",
        r"i was (?:trained|created|developed|programmed) (?:by|on|to)\b",
    ),
    "truncations": (
        rf"(?:(?:\.{{3}}|…) ?|[\[(] ?)(?:truncated|continued|to be continued|omitted|{_ELISION})",
        r"(?:#|//|--|/\*|<!--) ?(?:\.{3}|…)",
        rf"(?:#|//|--|/\*|<!--) ?{_ELISION} (?:of )?(?:the |your |my )?(?:code|function|logic|class|file|methods?)\b",
        r"(?:the |my |this )?(?:response|answer|output|message) (?:was|is|has been|got) (?:cut off|truncated|too long)",
        r"(?:i['’]?ll |i will |to be |let me )?continued? in (?:the|my|a) (?:next|following) (?:message|response|part)",
    ),
    "hedges": (
        r"(?:i think|i believe|i guess|i suppose|i assume|i suspect|i['’]?m guessing|i would guess|my guess)\b",
        r"(?:i['’]?m|i am) (?:not|un)(?: \w+)? ?(?:sure|certain)\b",
        r"(?:maybe|perhaps|possibly|probably|presumably|apparently|supposedly)\b",
        r"it (?:seems|appears|might|may|could|is possible|is likely|is unclear|is not clear)\b",
        r"(?:i might|i may|i could|this might|this may|we might) be (?:wrong|mistaken|incorrect|off)\b",
        r"(?:not sure|unclear|hard to say|difficult to say)\b",
    ),
}
"""The patterns of each set, for text in small or capital letters."""

_FORMULA = frozenset("0123456789\\$=+|&{}")
"""What no phrase begins with, but many a line of mathematics."""
_LEAD = r"[\s>*_#\"'“‘(-]{0,8}(?:(?:so|but|and|well|hmm|ok|okay|now|then|however),? )?"
_PATTERNS = PatternSets(PHRASES, anchored=True, lead=_LEAD)


class Phrases(Rule, frozen=True):
    """Counts the sentences that begin with a phrase of each set of `PHRASES`.

    The verdict is DEAD from `refusals` refusals on (0, the default: never, since a text may refuse and go on), else
    UNKNOWN.
    """

    name = "phrases"
    columns = (*PHRASES, "sentences")
    """`refusals`, `self_references`, `truncations`, `hedges`: sentences so far that begin with such a phrase;
    `sentences`: all of them, the unfinished one included.
    """
    refusals: int = 0

    def __post_init__(self) -> None:
        self._check("refusals", self.refusals >= 0, "not be negative")

    def _state(self, _: str) -> TextState:
        return _PhrasesState(self.refusals)


class _PhrasesState(TextState):
    def __init__(self, refusals: int) -> None:
        self._refusals = refusals
        self._cutter = SentenceCutter()
        self._counts = dict.fromkeys(PHRASES, 0)  # of finished sentences
        self._sentences = 0

    def _read(self, text: str) -> Evidence:
        for sentence, fresh, _ in self._cutter.feed(text):
            if fresh and not sentence.isspace():
                self._sentences += 1
                if sentence[0] not in _FORMULA:
                    for phrase in _PATTERNS.found(sentence):
                        self._counts[phrase] += 1
        last, fresh, _ = self._cutter.unfinished
        begun = fresh and bool(last) and not last.isspace()
        found = _PATTERNS.found(last) if begun else set()
        counts = {phrase: number + (phrase in found) for phrase, number in self._counts.items()}
        dead = 0 < self._refusals <= counts["refusals"]
        return evidence(*counts.values(), self._sentences + begun, dead=dead)
