"""Letters by their script: Latin, Han, Greek, Tamil and all others that Unicode has.

The script is the first word of a letter's Unicode name ("GREEK SMALL LETTER ALPHA"), so that no table of scripts has to
be kept. Letters of mathematics (ℝ, 𝑥, ℵ, µ) are of none.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

KNOWN = 1 << 14
"""Characters whose script is remembered."""

_NAMED_OTHERWISE = {"cjk": "han", "ideographic": "han", "hiragana": "kana", "katakana": "kana", "modifier": ""}
_FORMS = ("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>")  # of a letter that stays itself
_NOT_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalpha())
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_GREEK_WORD = re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]{4,}")


def letters_by_script(text: str) -> dict[str, int]:
    """Return how many letters of each script a text has, "latin" always among them.

    Greek letters count in runs of four and more: fewer are symbols, of which formulas are full.
    """
    letters = {"latin": len(text.encode("ascii", "ignore").translate(None, _NOT_LETTERS))}
    if not text.isascii():
        for char, number in Counter("".join(_BEYOND_ASCII.findall(text))).items():
            if name := script(char):
                letters[name] = letters.get(name, 0) + number
        if "greek" in letters:
            letters["greek"] = sum(map(len, _GREEK_WORD.findall(text)))
    return letters


@lru_cache(KNOWN)
def script(char: str) -> str:
    """Return the script of a letter in small letters, "" for what is no letter of one."""
    if unicodedata.category(char)[0] != "L":
        return ""
    form = unicodedata.decomposition(char)
    if form.startswith("<") and not form.startswith(_FORMS):
        return ""
    if form and " " not in form:  # the same letter at another place
        return script(chr(int(form, 16)))
    name = unicodedata.name(char, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ").lower()
    word = re.split("[ -]", name, maxsplit=1)[0]
    return _NAMED_OTHERWISE.get(word, word)
