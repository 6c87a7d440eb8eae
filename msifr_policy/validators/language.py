"""Language drift: text that leaves the language, or the script, it was asked in.

Looked at in samples, the first `SAMPLE` characters of each `STEP`, so that chunking cannot matter: a language is not
left for a line or two. A sample speaks the language of the script that most of its letters are in; for Latin
letters it is the language whose function words ("the", "und", "nous") it has most of, if it has two different ones.
Words that several of the languages share do not count, nor do Latin letters as foreign ones, nor short runs of Greek
ones: formulas are full of them. The language to compare with is the one that the prompt asks for, else its own or one
that it names, or without one that can be told, that of the first sample that speaks one.
"""

import math
from collections import Counter, deque
from functools import lru_cache

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence
from msifr_policy.validators.readers.asked_language import asked_languages, named_languages
from msifr_policy.validators.readers.scripts import letters_by_script

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
    "sv": "och att är inte många också från eller när sedan varje",
    "da": "og ikke det af hvor også når hver mellem derfor jeg",
    "fi": "ja ei että kuin myös joka kun ovat siis kuinka monta niin tämä jos",
    "cs": "je že pro jsou není který kolik každý tedy protože nebo když",
    "hu": "az és egy hogy nem ez hány minden mint vagy tehát így",
    "ro": "și este cu nu care pentru din sunt câte fiecare deci dacă sau",
    "ca": "amb els també quants doncs això aquest perquè són",
    "sw": "ya wa kwa katika ngapi kila kwamba hii jumla lakini pia",
    "tl": "ang ng mga ay ilan bawat kung",
}
_COMMON = Counter(word for words in _FUNCTION_WORDS.values() for word in set(words.split()))
_LANGUAGE = {
    word: language for language, words in _FUNCTION_WORDS.items() for word in words.split() if _COMMON[word] == 1
}

_JAPANESE = frozenset(("han", "kana"))
AMONG_FORMULAS = 8
"""A script speaks for a sample of mostly Latin letters, but no Latin words, that has one of its letters to so many."""


class Language(Rule, frozen=True):
    """Compares the language of the text with what the prompt asks for, else its own; the verdict is always UNKNOWN."""

    name = "language"
    version = "2"
    columns = ("foreign", "drift", "switches")
    """`foreign`: share of letters of foreign scripts in the last `RECENT` samples; `drift`: share of those among
    them that speak another language, of all that speak one; both NaN before there is one to compare. `switches`:
    how often the language changed from one sample that speaks one to the next. Where the prompt asks for several
    languages, or names some and asks for none, none of them is another.
    """

    def _state(self, prompt: str) -> TextState:
        return _LanguageState(_expected(prompt))


@lru_cache(256)  # attempts at one prompt come together
def _expected(prompt: str) -> frozenset[str]:
    """Return the languages, or scripts, that an answer to a prompt may be in; none if that cannot be told."""
    if asked := asked_languages(prompt):
        return asked
    own = spoken(prompt[-READ:])[0]
    return named_languages(prompt) | {own} if own else frozenset()


class _LanguageState(TextState):
    def __init__(self, expected: frozenset[str]) -> None:
        self._expected = expected  # empty while not known
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
        drift = sum(language not in self._expected for language in speaking) / len(speaking) if speaking else math.nan
        return evidence(foreign / letters if letters else math.nan, drift, self._switches)

    def _look(self, sample: str) -> None:
        language, letters = spoken(sample)
        if not self._expected:
            if not language:
                return
            self._expected = frozenset((language,))
        home = self._expected | _JAPANESE if "kana" in self._expected else self._expected
        foreign = sum(number for script, number in letters.items() if script != "latin" and script not in home)
        self._letters.append((foreign, sum(letters.values())))
        self._speaks.append(language)
        if language:
            self._switches += self._last not in ("", language)
            self._last = language


def spoken(text: str) -> tuple[str, dict[str, int]]:
    """Return the language of a text ("" if it cannot be told), and its letters by script."""
    letters = letters_by_script(text)
    script = max(letters, key=letters.__getitem__)
    if script != "latin":
        return _written_in(script, letters), letters
    votes = Counter(map(_LANGUAGE.__getitem__, _LANGUAGE.keys() & set(text.lower().split())))
    ((language, number), *rest) = votes.most_common(2) or [("", 0)]
    if number >= 2 and not (rest and rest[0][1] == number):
        return language, letters
    number, script = max(((letters[script], script) for script in letters if script != "latin"), default=(0, ""))
    if number * AMONG_FORMULAS > letters["latin"]:
        return _written_in(script, letters), letters
    return "", letters


def _written_in(script: str, letters: dict[str, int]) -> str:
    """Return what tells the languages of a script: Chinese has no kana, Japanese always has."""
    if script in _JAPANESE:
        return "kana" if 10 * letters.get("kana", 0) > letters.get("han", 0) else "han"
    return script
