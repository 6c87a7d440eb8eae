r"""Which choice of a multiple-choice question an answer names, and which choices a prompt offers.

An answer names a choice by its letter (`(B)`, `B.`, `Option B`, `\textbf{(B)}\ 12`) or by its text. One that names
several, denies one (`not (B)`, `(E) is incorrect`) or asks (`B?`) names none. Time is linear in the text.
"""

import re
from collections.abc import Iterator, Mapping
from string import ascii_uppercase
from typing import Final, NamedTuple

from msifr_policy.reading.literals import plain, words
from msifr_policy.reading.number import LONGEST, read_number

_ITEM = re.compile(
    r"""
    (?<!\S) (?P<line> (?<![^\n])[ \t]*+ )?+ (?:[-*•>]\s)?+ (?:\*\*)?+
    (?: [(（]\ ?(?P<inside>[A-Za-z])\ ?[)）] | (?P<letter>[A-Za-zＡ-Ｚ])(?P<mark>[.):、．：）]) )
    (?:\*\*)?+ [.:]?
    """,
    re.VERBOSE,
)
_FEWEST_INLINE: Final = 3  # choices like `A. one B. two C. three` in a line; two may be initials
_TYPESET_LETTER = re.compile(
    r"(?:\\q?quad\s*+)*+\\(?:text(?:bf|rm)?|math(?:bf|rm))\s?"
    r"\{\s?(\([A-Z]\)|[A-Z][.):])[\s~]?\}(?:\\[ ,])?"
)
_JOINS = re.compile(r"(?:^|(?<=[\s,;]))(?:or|and)\s?$|^\.$|\$$(?<!\$.\$)")
_FAR: Final = 200
"""Characters from the last choice of a list in lines from which on another list is one of its own."""
_BETWEEN = " \t\n,;/|*"


class _Item(NamedTuple):
    letter: str
    mark: str  # the style: a), A), (A), ...
    start: int
    end: int  # where its text begins
    begins_line: bool


def options_of(prompt: str) -> dict[str, str]:
    """Return the choices that a prompt offers, as texts by upper-case letter; empty if it offers none.

    They are lettered from A without a gap, in one of the usual styles (`A.`, `A)`, `(A)`, `A:`), each on a line of its
    own or one after another. Of several such lists the last counts: earlier ones belong to examples.
    """
    prompt = _TYPESET_LETTER.sub(r" \1 ", prompt)
    items = [
        _Item(
            letter.upper(), f"{letter.islower()}{match['mark']}", match.start(), match.end(), match["line"] is not None
        )
        for match in _ITEM.finditer(prompt)
        for letter in (match["inside"] or match["letter"],)
    ]
    in_lines = _last_list(prompt, [item for item in items if item.begins_line], fewest=2)
    within = _last_list(prompt, items, fewest=_FEWEST_INLINE)
    # The texts of a list in lines may hold letters that look like a list themselves.
    run = within if not in_lines or (within and within[0].start > in_lines[-1].start + _FAR) else in_lines
    return dict(zip((item.letter for item in run), _texts(prompt, run), strict=True))


def _last_list(prompt: str, items: list[_Item], *, fewest: int) -> list[_Item]:
    """Return the last items that are lettered in order and have texts; at least two, `fewest` if marked by a point."""
    runs: list[list[_Item]] = []
    latest: dict[str, list[_Item]] = {}
    for item in items:
        run = latest.get(item.mark, [])
        if item.letter == "A":
            latest[item.mark] = [item]
            runs.append(latest[item.mark])
        elif run and len(run) < len(ascii_uppercase) and item.letter == ascii_uppercase[len(run)]:
            run.append(item)
    for run in reversed(runs):
        enough = len(run) >= (fewest if run[0].mark[-1] in ".:、．：" else 2)
        if enough and all(_texts(prompt, run)):
            return run
    return []


def _texts(prompt: str, run: list[_Item]) -> list[str]:
    """Return the texts of these items; empty for one that only joins letters, as in `(A), (B) or (C)`."""
    if not run:
        return []
    line_end = prompt.find("\n", run[-1].end)
    ends = [item.start for item in run[1:]] + [len(prompt) if line_end < 0 else line_end]
    return [_JOINS.sub("", prompt[item.end : end]).strip(_BETWEEN) for item, end in zip(run, ends, strict=True)]


_LEAD = frozenset(
    words(
        "the a an correct right best final answer answers option choice letter is are was be would should must most "
        "likely seems appears probably clearly definitely indeed therefore thus so hence then it that this i we think "
        "believe choose select pick chose selected picked go with my our to of question statement solution closest "
        "alternative das die der richtige antwort ist la el le respuesta réponse correcta correcte es est "
        "it's that's there's approximately about roughly exactly"
    )
)
"""Words before a letter that say no more than that it is the answer."""

_CHINESE_LEAD = re.compile(r"[答案选]|[是为]$")
_NAMES = frozenset(words("option choice letter answer alternative options"))
"""Words before a letter that say that it is one."""
_DENIALS = frozenset(words("not no never neither nor none cannot isn't aren't wasn't incorrect wrong false unlikely"))
_CHINESE_DENIAL = re.compile(r"[不非错無无]")
_LEAVES = frozenset(
    words(
        "because since as for which who that where when while with given but however although though if in on from by "
        "due based not rather instead unlike than per according assuming weil car porque 因为"
    )
)
"""Words after a letter that leave the statement: what follows is a remark."""

_WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt)?|math(?:bf|it|rm|sf|tt)|boxed|fbox|boldsymbol|bf|rm|quad|qquad)(?![A-Za-z])"
    r"|\\[()\[\],;:!_\ ]|[{}$*`_\"~]"
)
_SCRIPTS = re.compile(r"(?<=[぀-ヿ一-鿿가-힣])(?=[A-Za-z(])|(?<=[A-Za-z)])(?=[぀-ヿ一-鿿가-힣])")
"""Where Latin letters and East Asian ones meet without a blank."""
_TOKEN = re.compile(
    r"""
    (?<!\w)\(\s{0,3}(?P<inside>[A-Za-z])\s{0,3}\)
  | (?<!\w)(?P<closed>[A-Za-z])\)
  | (?P<word> [^\W\d_]++ (?:['’-][^\W\d_]++)*+ (?!\w) )
  | (?P<stop> [.!。](?!\S) | 。 | \n )
  | (?P<mark> \d[\d.,]*+ | \w++ | \S )
    """,
    re.VERBOSE,
)


_PART = re.compile(r"[^\W_]++(?:[.,][0-9]++)*+|[-+/^%=<>\\]")
"""What counts when texts are compared: letters, digits and the signs of numbers."""


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def choice_of(text: str, options: Mapping[str, str] | None = None) -> str | None:
    """Return the upper-case letter of the choice that an answer names, or None if it names none or several.

    `options` are the texts of the choices by letter, as of `options_of`: then only their letters count, and a text, or
    a number that only one of them shows, names its choice too.
    """
    options = options or {}
    text = text.strip()
    if len(text) > LONGEST:
        text = text.partition("\n")[0][:LONGEST]
    named = _by_text(text, options)
    if named is not None and _normal(text).upper() not in options:
        return named
    clean = _SCRIPTS.sub(" ", _WRAPPER.sub(" ", plain(text))).strip()
    reader = _ChoiceReader(clean, options)
    return reader.letter() or (None if reader.several else _by_number(clean[reader.lead_end :], options))


def _normal(text: str) -> str:
    """Return what of a text counts when it is compared with a choice."""
    text = _WRAPPER.sub(" ", plain(text)).lower()
    return " ".join(_PART.findall(text))


def _by_text(text: str, options: Mapping[str, str]) -> str | None:
    """Return the only choice whose text this is."""
    wanted = _normal(text)
    found = [letter for letter, option in options.items() if wanted and _normal(option) == wanted]
    return found[0] if len(found) == 1 else None


def _by_number(text: str, options: Mapping[str, str]) -> str | None:
    """Return the only choice that shows the number that this text shows; one of both may leave the unit away."""
    number = read_number(text, sentence=True) if options else None
    if number is None:
        return None
    shown = {letter: read_number(option, sentence=True) for letter, option in options.items()}
    found = [letter for letter, other in shown.items() if other is not None and other.value == number.value]
    if len(found) != 1:
        return None
    option = options[found[0]]
    same_unit = not (_has_words(text) and _has_words(option)) or f" {_normal(option)} " in f" {_normal(text)} "
    return found[0] if same_unit else None


def _has_words(text: str) -> bool:
    return re.search(r"[^\W\d_]", re.sub(r"\\[A-Za-z]++", "", text)) is not None


class _ChoiceReader:
    """Reads a cleaned answer from left to right for the letter that it names."""

    def __init__(self, text: str, options: Mapping[str, str]) -> None:
        self._text = text
        self._options = options
        self._letters = frozenset(options) or frozenset(ascii_uppercase)
        self._tokens = list(_tokens(text))
        self.several = False
        """Whether the answer names several letters, or denies one; known after `letter`."""
        self.lead_end = 0
        """Where the words end that only say that an answer follows."""

    def letter(self) -> str | None:
        """Return the letter that the answer names."""
        plainly = True  # no words yet but those of the lead
        for position, token in enumerate(self._tokens):
            letter = self._letter(position, plainly=plainly)
            if letter is not None:
                return self._only(letter, position, plainly=plainly)
            if token.kind == "stop":
                break
            word = token.text.lower()
            if token.kind == "word" and _denies(word):
                self.several = True
                break
            leads = word in _LEAD or _CHINESE_LEAD.search(word) is not None or word in tuple(":,-#=><[")
            if plainly and leads:
                self.lead_end = token.end
            elif plainly:
                plainly = False
                named = self._by_rest(position)
                if named is not None:
                    return named
        return None

    def _by_rest(self, position: int) -> str | None:
        """Return the choice whose text stands from a token to the end of the line, or to where a remark begins."""
        start = self._at(position).start
        named = _by_text(self._text[start:].partition("\n")[0], self._options)
        remark = (token.start for token in self._tokens[position:] if token.kind == "stop" or token.text in _LEAVES)
        return named or _by_text(self._text[start : next(remark, start)], self._options)

    def _at(self, position: int) -> _Token:
        end = len(self._text)
        return self._tokens[position] if 0 <= position < len(self._tokens) else _Token("stop", "", end, end)

    def _letter(self, position: int, *, plainly: bool) -> str | None:
        """Return the letter that the token names, as it stands there."""
        token, after, before = self._at(position), self._at(position + 1), self._at(position - 1)
        letter = token.text.upper()
        if letter not in self._letters:
            return None
        if token.kind == "inside":
            return letter
        if token.kind == "closed":
            return letter if plainly else None
        if token.kind != "word" or len(token.text) != 1:
            return None
        next_word = after.text.lower()
        ended = after.kind == "stop" or after.text in tuple(".:,;-–—&=?)|(]>\\") or not after.text.isascii()
        reasons = next_word in _LEAVES or next_word in ("is", "and", "or")
        called = position > 0 and before.text.lower() in _NAMES
        if (position == 0 and after.kind == "stop") or (called and (ended or reasons or token.text not in "aIi")):
            return letter
        if not plainly or token.text.islower():
            return None
        if token.text in "AI":
            # The words A and I: `A few`, `I am`, but not `A because`.
            reasons = next_word in ("because", "or") or (token.text == "A" and next_word in ("is", "and"))
        return letter if ended or reasons or self._own_text_end(letter, token.end) > token.end else None

    def _own_text_end(self, letter: str, start: int) -> int:
        """Return where the text of this choice ends if it stands at `start`; else `start`."""
        own = _normal(self._options.get(letter, "")).split()
        parts = [part for part, _ in zip(_PART.finditer(self._text, start), own, strict=False)]
        return parts[-1].end() if own and [part[0].lower() for part in parts] == own else start

    def _only(self, letter: str, position: int, *, plainly: bool) -> str | None:
        """Return the letter named at a position unless what follows takes it back or names another.

        A remark may name others, but not in a sentence that began otherwise: `Unlike (A) in (B), the answer is (C)`.
        """
        self.several = True
        end = self._at(position).end
        own_end = self._own_text_end(letter, end)
        if own_end == end and self._taken_back(letter, position):
            return None
        for later in range(position + 1, len(self._tokens)):
            after = self._at(later)
            if after.start < own_end:
                continue
            if after.kind == "stop" or (plainly and after.text.lower() in _LEAVES):
                break
            if self._rival(later) not in (None, letter):
                return None
        self.several = False
        return letter

    def _taken_back(self, letter: str, position: int) -> bool:
        """Say whether the words after a letter ask for it, deny it or are the text of another choice."""
        following, next_but_one = self._at(position + 1), self._at(position + 2)
        if following.text in ("?", "isn't", "aren't") or _CHINESE_DENIAL.match(following.text):
            return True
        if following.text.lower() in ("is", "are") and next_but_one.text.lower() in _DENIALS:
            return True
        rest = self._text[self._at(position).end :].partition("\n")[0]
        return _by_text(rest, self._options) not in (None, letter)

    def _rival(self, position: int) -> str | None:
        """Return the letter that a token after the one named names beside it."""
        token, before, after = self._at(position), self._at(position - 1), self._at(position + 1)
        letter = token.text.upper()
        if letter not in self._letters or (token.kind == "inside" and token.text.islower()):
            return None
        if token.kind == "inside" or before.text.lower() in _NAMES:
            return letter
        if token.kind not in ("word", "closed") or token.text.islower():
            return None
        # (B) and C; B, C; B/C, but neither (B) 5 m/V nor (B) and I go.
        listed = before.text in (",", "/", "&") and self._at(position - 2).text.upper() in self._letters
        joined = before.text.lower() in ("and", "or", "y", "und", "oder", "et", "和", "或")
        ended = after.kind == "stop" or after.text in tuple(".:,;/&)") or after.text.lower() in ("and", "or")
        return letter if (listed or joined) and (ended or token.text not in "AI") else None


def _denies(word: str) -> bool:
    return word in _DENIALS or word.endswith("n't") or _CHINESE_DENIAL.search(word) is not None


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "mark"
        yield _Token(kind, match[kind], match.start(), match.end())
