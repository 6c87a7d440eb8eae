"""Phrases that give an output away: refusals, talk about oneself, cut-off text, hedging.

Each set is a list of RE2 patterns matched at the beginning of a sentence (bullets and words of connection aside),
where these phrases stand when they are meant and hardly ever when they are not: "I cannot help with that" is a refusal,
"a rule that I cannot help with" is none. Nor does a phrase count that someone else says: between quotation marks, after
the name of a speaker, or before "said the guard". A JSON string is no quotation. RE2 takes linear time whatever the
text. The sets are English, refusals and talk about oneself also those of some other languages; they belong to the
version of the validator.
"""

import re
from collections.abc import Set

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence
from msifr_policy.validators.readers.refusals import (
    REFUSALS,
    REFUSALS_ELSEWHERE,
    SELF_REFERENCES,
    SELF_REFERENCES_ELSEWHERE,
)
from msifr_policy.validators.readers.sentences import PatternSets, SentenceCutter

_ELISION = r"(?:the )?(?:rest|remainder|remaining|previous|existing|same)\b"

PHRASES: dict[str, tuple[str, ...]] = {
    "refusals": REFUSALS + REFUSALS_ELSEWHERE,
    "self_references": SELF_REFERENCES + SELF_REFERENCES_ELSEWHERE,
    "truncations": (
        rf"(?:(?:\.{{3}}|…) ?|[\[(] ?)(?:truncated|continued|to be continued|omitted|{_ELISION})",
        r"(?:#|//|--|/\*|<!--) ?(?:\.{3}|…)",
        rf"(?:#|//|--|/\*|<!--) ?{_ELISION} (?:of )?(?:the |your |my )?(?:code|function|logic|class|file|methods?)\b",
        r"(?:the |my |this )?(?:response|answer|output|message) (?:was|is|has been|got) (?:cut off|truncated|too long)",
        r"(?:i'll |i will |to be |let me )?continued? in (?:the|my|a) (?:next|following) (?:message|response|part)",
    ),
    "hedges": (
        r"(?:i think|i believe|i guess|i suppose|i assume|i suspect|i'?m guessing|i would guess|my guess)\b",
        r"(?:i'?m|i am) (?:not|un)(?: \w+)? ?(?:sure|certain)\b",
        r"(?:maybe|perhaps|possibly|probably|presumably|apparently|supposedly)\b",
        r"it (?:seems|appears|might|may|could|is possible|is likely|is unclear|is not clear)\b",
        r"(?:i might|i may|i could|this might|this may|we might) be (?:wrong|mistaken|incorrect|off)\b",
        r"(?:not sure|unclear|hard to say|difficult to say)\b",
    ),
}
"""The patterns of each set, for text in small or capital letters and with straight apostrophes."""

_FORMULA = frozenset("0123456789\\$=+|&{}")
"""What no phrase begins with, but many a line of mathematics."""
_LEAD = r"[\s>*_#(-]{0,8}(?:</?\|?[a-z_]+\|?>\s?)?(?:(?:so|but|and|well|hmm|ok|okay|now|then|however),? )?"
_PATTERNS = PatternSets(PHRASES, anchored=True, lead=_LEAD)
_UNVOICED = frozenset(("truncations",))
"""Sets that are the writer's own whoever speaks."""
_REPORTABLE = frozenset(("refusals", "self_references"))
"""Sets of which a phrase may be followed by who said it."""
_NONE: frozenset[str] = frozenset()

# Who says what follows, at the end of a sentence, and who said what came before, within it.
_SAYS = (
    r"(?:said|says|saying|replied|replies|answered|asked|told|tells|wrote|writes|responded|responds|added|adds|shouted"
    r"|shouts|whispered|whispers|cried|explained|explains|insisted|admitted|declared|stated|warned|reads)"
)
_VOICES = {
    "others": (
        rf".*\b{_SAYS}(?: [a-z]+){{0,3}}[:：][*_]*\s*$",
        r"(?-i:[A-Z])[\w.'-]*(?: (?-i:[A-Z0-9])[\w.'-]*)?(?: \([^)]*\))?:[*_]*\s*$",
    ),
    "own": (
        r"(?:[\w'-]+ )?(?:assistant|ai|bot|chatbot|chatgpt|model|system|answer|response|output|reply|result|note|reason"
        r"|explanation|solution|reasoning|thoughts?|analysis|conclusion|summary|warning|important|disclaimer|comment"
        r"|hello|hi|sorry|unfortunately|however|verdict|refusal|error|step|part|case|option|question|problem|method"
        r"|approach|attempt)(?: [0-9]+)?[:：][*_]*\s*$",
    ),
}
_VOICE = PatternSets(_VOICES, anchored=True, lead=r"[\s>*_#(-]{0,8}")
_SPEAKER = r"(?:he|she|they|(?-i:[A-Z])[\w-]+|(?:the|an?|my|his|her|our|their) [\w-]+(?: [\w-]+)?)"
_REPORTED = PatternSets({"reported": (rf"[,!?] (?:{_SPEAKER} {_SAYS}\b|{_SAYS} {_SPEAKER})",)}, anchored=False)
_QUOTES = re.compile("[“”„«»「」『』]")
_ENDED = re.compile(r"""[.!?。！？…]["'”’»)*_]*\s*\Z""")


class Phrases(Rule, frozen=True):
    """Counts the sentences that begin with a phrase of each set of `PHRASES`.

    The verdict is DEAD from `refusals` refusals on (0, the default: never, since a text may refuse and go on), else
    UNKNOWN. For the verdict a refusal counts when its sentence has ended, since "I cannot help you" may go on with
    ", said the guard".
    """

    name = "phrases"
    version = "2"
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
        self._voice = _Voice()
        self._counts = dict.fromkeys(PHRASES, 0)  # of finished sentences
        self._sentences = 0

    def _read(self, text: str) -> Evidence:
        for sentence, fresh, _ in self._cutter.feed(text):
            if fresh and not sentence.isspace():
                self._sentences += 1
                for phrase in self._voice.phrases(sentence):
                    self._counts[phrase] += 1
            self._voice.read(sentence)
        last, fresh, _ = self._cutter.unfinished
        begun = fresh and bool(last) and not last.isspace()
        found = self._voice.phrases(last) if begun else frozenset[str]()
        counts = {phrase: number + (phrase in found) for phrase, number in self._counts.items()}
        ended = counts["refusals"] - ("refusals" in found and not _ENDED.search(last))
        return evidence(*counts.values(), self._sentences + begun, dead=0 < self._refusals <= ended)


class _Voice:
    """Tells a writer's own sentences from what is quoted, or said by someone named, in the same line."""

    def __init__(self) -> None:
        self._quoted = False  # since an earlier sentence
        self._spoken = False  # since an earlier sentence
        self._record = False  # the line has a key of JSON: its quotation marks hold values

    def phrases(self, sentence: str) -> Set[str]:
        """Return the sets of which the writer's own `sentence` begins with a phrase."""
        if self._record:
            sentence = sentence.lstrip('" ') or sentence
        if sentence[0] in _FORMULA:
            return _NONE
        found = _PATTERNS.found(sentence)
        if not found:
            return found
        if self._spoken or (self._quoted and not self._record):
            return found & _UNVOICED
        if not found.isdisjoint(_REPORTABLE) and _REPORTED.found(sentence):
            return found - _REPORTABLE
        return found

    def read(self, sentence: str) -> None:
        """Take a finished sentence, or a part of a long one."""
        if sentence[-1] == "\n":
            self._quoted = self._spoken = self._record = False
            return
        if '"' in sentence:
            self._record = self._record or '":' in sentence
            self._quoted ^= sentence.count('"') % 2 == 1
        if not sentence.isascii():
            for mark in _QUOTES.findall(sentence):
                # German text opens with „ and closes with what opens elsewhere.
                self._quoted = mark in "„«「『" or (mark == "“" and not self._quoted)
        if sentence.rstrip().rstrip("*_")[-1:] in (":", "："):
            voices = _VOICE.found(sentence)
            self._spoken = self._spoken or ("others" in voices and "own" not in voices)
