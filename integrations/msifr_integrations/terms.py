"""The words that commands and reports print, explained to someone who does not know the theory.

The texts are in `terms.toml`. `where` names the place in `docs/theory.md`; that it exists is tested.
"""

import tomllib
from pathlib import Path
from typing import NamedTuple


class Term(NamedTuple):
    """A word of this project, its symbol ("" if none), its meaning in a sentence, and more in a few.

    where: a section or statement of `docs/theory.md`, such as "§1" or "[T2]", "" if it is not in there.
    """

    name: str
    symbol: str
    meaning: str
    more: str
    where: str


def find(word: str) -> Term:
    """Return the term of a name, symbol, plural or synonym, in any case. Raises `KeyError` if there is none.

    Symbols that differ in case alone are told apart: R are survivors, r is the cost to go.
    """
    return TERMS[_SYMBOLS.get(word) or _NAMES[_plain(word)]]


def known_words() -> tuple[str, ...]:
    """Return every word that `find` knows, names first."""
    return tuple(dict.fromkeys((*TERMS, *_SYMBOLS, *_NAMES)))


def _plain(word: str) -> str:
    return " ".join(word.casefold().replace("-", " ").replace("_", " ").split())


_RECORDS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

TERMS: dict[str, Term] = {
    name.casefold(): Term(name, each.get("symbol", ""), each["meaning"], each["more"], each.get("where", ""))
    for name, each in _RECORDS.items()
}
"""The terms by their names in lower case, in the order in which a reader meets them."""

_SYMBOLS = {term.symbol: key for key, term in reversed(TERMS.items()) if term.symbol}
"""Of terms that share a symbol, the first."""

_NAMES = (
    {_plain(symbol): key for symbol, key in _SYMBOLS.items()}
    | {_plain(key): key for key in TERMS}
    | {_plain(f"{key[:-1]}ies" if key.endswith("y") else f"{key}s"): key for key in TERMS if not key.endswith("s")}
    | {_plain(also): name.casefold() for name, each in _RECORDS.items() for also in each.get("also", ())}
)
