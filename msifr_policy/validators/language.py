"""Language drift: text that leaves the language, or the script, it was asked in.

Looked at in samples, the first `SAMPLE` characters of each `STEP`, so that chunking cannot matter: a language is not
left for a line or two. A sample speaks the language of the script that most of its letters are in; for Latin
letters it is the language whose function words ("the", "und", "nous") it has most of, if it has two different ones.
Words that several of the languages share do not count, nor do Latin and Greek letters as foreign ones: formulas are
full of them. The language to compare with is that of the prompt, or without one that can be told, of the first
sample that speaks one.
"""

import math
import re
from collections import Counter, deque

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence

STEP = 512
"""Characters from the beginning of a sample to that of the next."""
SAMPLE = 256
"""Characters in a sample."""
RECENT = 8
"""Samples that the shares are of."""
READ = 16_384
"""Characters of the prompt that are read, from its end: what is asked comes last."""

_FUNCTION_WORDS = {
    "en": "the and of to is that it for with be are this have from they then there each which has how many we was will"
    " on by at not so can but what when if into would does",
    "de": "der die das und ist nicht mit ein eine auf für den von zu wir dass es sich dem werden auch als wenn wie sind"
    " oder nach bei aus einer einem also noch haben",
    "fr": "le la les des est une pour dans que qui pas sur avec nous donc sont par plus cette du et un ce il elle au"
    " ont mais comme chaque si",
    "es": "el la los las una por que con para es del no se como más su entonces y un lo son cada cuando si pero esta"
    " tiene hay cuántos",
    "it": "il che di è per una sono con non della si dei nel quindi un la le gli i del ogni quanti come questo ha più"
    " alla anche dal",
    "pt": "o os as um uma que do da em para com não é se dos são então de mais por cada quando mas como tem ao pela foi"
    " quantos",
    "nl": "de het een van en dat niet met voor zijn op aan wordt als er maar ook naar uit is in te die we dus heeft"
    " worden hoeveel elke",
    "pl": "i w z na się nie jest to że do jak po od za przez dla oraz ma są ile każdy więc",
    "tr": "ve bir bu için ile olarak da de kadar daha olan her kaç toplam sonra değil ise",
    "id": "yang dan di dari untuk dengan adalah ini itu pada ke jadi berapa setiap tidak akan ada",
    "vi": "là của và có các một được cho trong không với số này vậy mỗi bao nhiêu",
}
_COMMON = Counter(word for words in _FUNCTION_WORDS.values() for word in set(words.split()))
_LANGUAGE = {
    word: language for language, words in _FUNCTION_WORDS.items() for word in words.split() if _COMMON[word] == 1
}

_SCRIPT = re.compile(
    r"(?P<latin>[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]+)"
    r"|(?P<han>[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]+)"
    r"|(?P<kana>[\u3041-\u30ff\u31f0-\u31ff]+)"
    r"|(?P<hangul>[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]+)"
    r"|(?P<cyrillic>[\u0400-\u052f]+)|(?P<arabic>[\u0600-\u06ff\u0750-\u077f]+)|(?P<hebrew>[\u0590-\u05ff]+)"
    r"|(?P<devanagari>[\u0900-\u097f]+)|(?P<bengali>[\u0980-\u09ff]+)|(?P<thai>[\u0e00-\u0e7f]+)"
)
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_NOT_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalpha())
_JAPANESE = frozenset(("han", "kana"))


class Language(Rule, frozen=True):
    """Compares the language of the text with that of the prompt; the verdict is always UNKNOWN."""

    name = "language"
    columns = ("foreign", "drift", "switches")
    """`foreign`: share of letters of foreign scripts in the last `RECENT` samples; `drift`: share of those among
    them that speak another language, of all that speak one; both NaN before there is one to compare. `switches`:
    how often the language changed from one sample that speaks one to the next.
    """

    def _state(self, prompt: str) -> TextState:
        return _LanguageState(spoken(prompt[-READ:])[0])


class _LanguageState(TextState):
    def __init__(self, expected: str) -> None:
        self._expected = expected  # a language or script; "" while not known
        self._last = ""
        self._switches = 0
        self._pending = ""  # of a sample
        self._skip = 0  # characters before the next one
        self._letters: deque[tuple[int, int]] = deque(maxlen=RECENT)  # foreign ones, and all
        self._speaks: deque[str] = deque(maxlen=RECENT)  # "" where it cannot be told

    def _read(self, text: str) -> Evidence:
        text = self._pending + text
        at = self._skip
        while at + SAMPLE <= len(text):
            self._look(text[at : at + SAMPLE])
            at += STEP
        self._pending = text[at:]
        self._skip = max(0, at - len(text))
        letters = sum(number for _, number in self._letters)
        foreign = sum(number for number, _ in self._letters)
        speaking = [language for language in self._speaks if language]
        drift = sum(language != self._expected for language in speaking) / len(speaking) if speaking else math.nan
        return evidence(foreign / letters if letters else math.nan, drift, self._switches)

    def _look(self, sample: str) -> None:
        language, letters = spoken(sample)
        self._expected = self._expected or language
        if not self._expected:
            return
        home = _JAPANESE if self._expected == "kana" else {self._expected}
        foreign = sum(number for script, number in letters.items() if script != "latin" and script not in home)
        self._letters.append((foreign, sum(letters.values())))
        self._speaks.append(language)
        if language:
            self._switches += self._last not in ("", language)
            self._last = language


def spoken(text: str) -> tuple[str, dict[str, int]]:
    """Return the language of a text ("" if it cannot be told), and its letters by script."""
    letters: Counter[str] = Counter()
    letters["latin"] = len(text.encode("ascii", "ignore").translate(None, _NOT_LETTERS))
    if not text.isascii():
        for match in _SCRIPT.finditer("".join(_BEYOND_ASCII.findall(text))):
            letters[match.lastgroup or ""] += match.end() - match.start()
    script = max(letters, key=letters.__getitem__)
    if script in _JAPANESE:  # Chinese has no kana, Japanese always has
        script = "kana" if 10 * letters["kana"] > letters["han"] else "han"
    if script != "latin":
        return script, letters
    votes = Counter(map(_LANGUAGE.__getitem__, _LANGUAGE.keys() & set(text.lower().split())))
    ((language, number), *rest) = votes.most_common(2) or [("", 0)]
    told = number >= 2 and not (rest and rest[0][1] == number)
    return language if told else "", letters
