r"""Where the final answer of a finished text is: the first of the two steps of a final filter; the second compares it.

What a text announces as its answer counts, the last announcement first; see `msifr_policy.reading.markers`. So an
announcement that gives no answer hides no earlier one; one that the text breaks off in means that there is none.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Final, Literal, NamedTuple, Self, get_args

import msgspec
import re2

from msifr_policy.errors import InputError
from msifr_policy.filters.base import Prompt
from msifr_policy.filters.decided import AnswerEnd, DecidedReader
from msifr_policy.filters.json_end import JsonEnd
from msifr_policy.reading.markers import REACH, Announced, Marker, asks, markers, members, read, tags
from msifr_policy.reading.searching import as_utf8
from msifr_policy.reading.thinking import answer_start

Where = Literal["auto", "box", "hash", "phrase", "json", "tag", "regex", "last", "whole"]

PLACES: Final = "auto, box, hash, phrase, json:KEY, tag:NAME, regex:PATTERN, last, whole"
"""The words for places of answers, as `Extract.parse` reads them."""

_MOST: Final = 64  # announcements looked at, from the last on


class Answer(NamedTuple):
    """A final answer as it is written, the kind of place, and where it is announced and ends, in characters."""

    text: str
    place: str
    start: int
    end: int


class Extract(msgspec.Struct, frozen=True):
    r"""Finds the final answer of a text.

    where: "auto", or one kind of place:
        box: the last `\boxed{…}`, or several that stand side by side; hash: what follows the last `####`;
        phrase: what follows "The answer is", "Answer:" and their like; tag: the last `<which>…</which>`;
        json: the value under the key `which`, of the last object that has it;
        regex: the last match of the pattern `which` (RE2's syntax), or of its first group if it has one;
        last: the last number, whatever it is; whole: the whole answer part.
    which: the key, the name or the pattern.

    "auto" takes the place that the prompt asks for if the text has an answer there, else the last announcement of any
    kind; where a text is a JSON document, its answer is a member, not what its strings tell.

    In all cases only the answer part counts (what follows `</think>`), up to where a model goes on to another question
    by itself; and what a text takes back is no answer. Linear in the text.

    Raises `InputError` for a place without what belongs to it, or a pattern that is none.
    """

    where: Where = "auto"
    which: str = ""

    def __post_init__(self) -> None:
        needs = self.where in ("json", "tag", "regex")
        if self.where not in get_args(Where) or needs != bool(self.which):
            raise InputError(f"no place of an answer: {self.name!r}", where="--answer", remedy=f"known: {PLACES}")
        if self.where == "tag" and not re.fullmatch(r"[^\W\d][\w.:-]{0,62}", self.which):
            raise InputError(f"no name of a tag: {self.which!r}", where="--answer", remedy="for example tag:answer")
        if self.where == "regex":
            try:
                _pattern(self.which)
            except re2.error as error:
                why = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
                what = f"no pattern of RE2: {self.which!r} ({why})"
                raise InputError(
                    what, where="--answer", remedy="look-around and back references are not known"
                ) from error

    @classmethod
    def parse(cls, word: str) -> Self:
        """Return what a word such as `auto`, `box` or `json:answer` stands for; raises `InputError` for none."""
        where, _, which = word.partition(":")
        return cls(where, which)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """The word that `parse` reads."""
        return f"{self.where}:{self.which}" if self.which else self.where

    def __call__(self, prompt: Prompt, text: str, reads: Callable[[str], bool] | None = None) -> Answer | None:
        """Return the final answer, or None if the text gives none.

        What prose announces and `reads` refuses is skipped if it has no digit: "The answer is clearly shown above".
        """
        start = answer_start(text)
        if start is None:
            return None
        part = text[start:]
        asked = asked_place(prompt.prompt) if self.where == "auto" else None
        own = _own(part)
        for piece in (own, part) if own < part else (part,):
            answer = (asked._find(piece, reads) if asked else None) or self._find(piece, reads)
            if answer is not None:
                return answer._replace(start=answer.start + start, end=answer.end + start)
        return None

    def reader(self, prompt: Prompt, complete: Callable[[str], bool]) -> DecidedReader | None:
        """Return a reader that ends an attempt after its first answer that is `complete`; None if only the end tells.

        That is not exact: the first answer counts then, not the last; see `msifr_policy.filters.decided`.
        """
        finds: dict[str, Callable[[str], Iterator[Marker]]] = {
            "auto": lambda text: (marker for marker in markers(text) if marker.place != "json"),
            "tag": lambda text: tags(text, self.which),
        }
        for place in ("box", "hash", "phrase"):
            finds[place] = partial(_of_place, place)
        if self.where == "json":
            return JsonEnd(anywhere=True)
        if self.where not in finds:
            return None
        return AnswerEnd(finds[self.where], document=self.where == "auto", complete=complete, asked=prompt.prompt)

    def _find(self, part: str, reads: Callable[[str], bool] | None) -> Answer | None:
        if self.where == "whole":
            return Answer(part.strip(), "whole", 0, len(part))
        if self.where == "last":
            return _last_match(part, _NUMBER, "last")
        if self.where == "regex":
            return _last_match(part, self.which, "regex")
        answer, open_ended = _last_given(part, self._announcements(part), reads)
        if answer is None and not open_ended and self.where in ("auto", "phrase"):
            begins = _DOCUMENT.match(part)
            closed = _object_end(part, begins.end() - 1) if begins else 0
            # Blank lines stand in no document: what is no JSON, though it begins like it, is prose.
            answer = _said_otherwise(part, max(closed, 0)) if closed >= 0 or "\n\n" in part.strip() else None
        return answer and _kept(part, answer)

    def _announcements(self, part: str) -> list[Marker]:
        """Return the markers that count, in order, at most `_MOST`."""
        if self.where == "json":
            return list(members(part, self.which))[-_MOST:]
        if self.where == "tag":
            return list(tags(part, self.which))[-_MOST:]
        found = list(markers(part))
        if self.where != "auto":
            return [marker for marker in found if marker.place == self.where][-_MOST:]
        # What the strings of a document say is not what the text says.
        inside = [marker for marker in found if marker.place == "json"]
        begins = _DOCUMENT.match(part)
        if begins or inside:
            closed = part.rfind("}") if not begins else _object_end(part, begins.end() - 1)
            found = inside + [marker for marker in found if marker.start > closed >= 0 and marker.place != "json"]
        return found[-_MOST:]


def _of_place(place: str, text: str) -> Iterator[Marker]:
    return (marker for marker in markers(text) if marker.place == place)


def asked_place(asked: str) -> Extract | None:
    """Return the place that a prompt asks for the answer in, or None if it names none (that is known here)."""
    return _asked_place(asked[-_LONGEST_PROMPT:])


_LONGEST_PROMPT: Final = 100_000  # characters, the last of a prompt
_TEMPLATE_TAG = re.compile(r"<([^\W\d][\w-]{0,40})>[^<>]{0,200}</\1>")
_TEMPLATE_KEY = re.compile(r"""["']([^"'\n]{1,40})["']\s{0,8}:""")
_ANSWER_LIKE = re.compile(r"answer|final|solution|result|output|choice|label|prediction", re.IGNORECASE)


@lru_cache(maxsize=1024)
def _asked_place(asked: str) -> Extract | None:
    named = [name for name in _TEMPLATE_TAG.findall(asked) if _ANSWER_LIKE.search(name)]
    if named:
        return Extract("tag", named[-1])
    if re.search(r"\bjson\b", asked, re.IGNORECASE):
        keys = [key for key in _TEMPLATE_KEY.findall(asked) if _ANSWER_LIKE.search(key)]
        best = [key for key in keys if "answer" in key.lower()] or keys
        if best:
            return Extract("json", best[-1])
    return Extract("box") if "\\boxed" in asked else Extract("hash") if "####" in asked else None


_DOCUMENT = re.compile(r"\s*(?:```\w*\s*)?\{(?=\s*[\"'])")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}]', re.DOTALL)


def _object_end(part: str, start: int) -> int:
    """Return where the object that begins at `start` ends, or -1 if the text breaks off in it."""
    depth = 0
    for token in _TOKEN.finditer(part, start):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.start()
    return -1


def _last_given(part: str, found: list[Marker], reads: Callable[[str], bool] | None) -> tuple[Answer | None, bool]:
    """Return the last answer that one of these markers announces, and whether the text breaks off in one."""
    for i in reversed(range(len(found))):
        announced = read(found[i], part)
        if announced.state == "open":
            if i and read(found[i - 1], part).end > found[i].start:
                continue  # within one that is closed
            return None, True
        in_prose = found[i].place in ("phrase", "hash") and not _SAYS.search(announced.text)
        passing = in_prose and reads is not None and not reads(announced.text)
        if announced.state == "given" and not passing and not _supposed(found[i], announced, part):
            answer = Answer(announced.text, found[i].place, found[i].start, announced.end)
            answer = _whole_list(part, answer, found[i].at)
            return _side_by_side(part, found[:i], answer) if answer.place == "box" else answer, False
    return None, False


_LISTED = r"(?:[-•+*]|\(?[a-e1-9][.)])[ \t]+"
_LIST = re.compile(rf"[^\n]{{0,8}}\n\s{{0,8}}{_LISTED}(?P<first>[^\n]*)(?P<more>(?:\n[ \t]{{0,8}}{_LISTED}[^\n]*)+)")


def _whole_list(part: str, answer: Answer, at: int) -> Answer:
    """Return the answer with the other items of a list, if what is announced there is the first of one."""
    listed = _LIST.match(part, at, at + REACH) if answer.place == "phrase" else None
    if listed is None:
        return answer
    text = "; ".join(re.split(rf"\n[ \t]{{0,8}}{_LISTED}", listed["first"] + listed["more"]))
    return answer._replace(text=text, end=max(answer.end, listed.end()))


# What answers whatever is asked: a digit, or that there is no answer.
_SAYS = re.compile(
    r"\d|\b(?:undefined|impossible|infinit\w+|(?:cannot|can['’]t|can not) be|not (?:possible|enough)|insufficient"
    r"|does(?:n['’]t| not) exist|no (?:such|(?:real )?solutions?|answer))\b",
    re.IGNORECASE,
)


def _supposed(marker: Marker, announced: Announced, part: str) -> bool:
    """Say whether an answer is only asked for, in a box, or said of another case: `would be 5 if`."""
    if marker.place == "box":
        return asks(part, announced.end)
    return marker.place == "phrase" and "would" in part[marker.start : marker.at] and " if " in announced.text


_BETWEEN_BOXES = re.compile(
    r"(?:\s|[,;$&、]|\\[()\[\],;!]|\\q?quad|(?:\\text\{)?\s?\b(?:and|or|und|oder|et|ou|y|o)\b\s?\}?|和|或)*+"
)


_NAMED = re.compile(r"([A-Za-z])\s?=\s?\Z")


def _side_by_side(part: str, before: list[Marker], answer: Answer) -> Answer:
    """Add the boxes that stand right before an answer in a box, with nothing but commas or "and" between."""
    texts = [answer.text]
    for marker in reversed(before):
        announced = read(marker, part)
        between = part[announced.end : answer.start]
        if marker.place != "box" or announced.state != "given" or len(between) > 40:
            break
        named = _NAMED.search(between)
        if named is not None:  # of the same unknown
            other = _NAMED.search(part[max(0, marker.start - 20) : marker.start])
            if other is None or other[1] != named[1]:
                break
            between = between[: named.start()]
        if not _BETWEEN_BOXES.fullmatch(between) or "\n" in between:
            break
        if announced.text not in texts:
            texts.insert(0, announced.text)
        answer = answer._replace(start=marker.start)
    return answer._replace(text=", ".join(texts))


_IS_THE_ANSWER = re.compile(
    r"\s(?:is|are|was)\s(?:therefore\s)?(?:the|our|my)\s(?:final\s|correct\s|right\s)?(?:answer|option|choice)\b(?!\s*\?)",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"(?:^|\s)(\S*\d\S*(?:\s\w{1,20})?|\S*[\\$*(]\S{1,40}|[A-Z])\Z")
_BEFORE_REACH: Final = 80  # characters
_RESULT = re.compile(
    r"(?<!\w)(?:result|solution|value|total|(?:end)?ergebnis|lösung|résultat|resultado|solución|solução|risultato"
    r"|soluzione|результат|итого|wynik|resultaat|sonuç|結果|结果|결과)[*_]*"
    r"\s?(?:is\b|ist\b|est\b|es\b|è\b|é\b|[:：=]|是|为)\s*[*_]*([^\n]+)$",
    re.IGNORECASE,
)


def _said_otherwise(part: str, start: int) -> Answer | None:
    """Return an answer said without a marker, from there on.

    That is "72 is the answer", or at the end "Result: 72" or "So it is 72.".
    """
    found = deque(_IS_THE_ANSWER.finditer(part, start), maxlen=1)
    last = found[0] if found else None
    if last is not None:
        begin = max(0, last.start() - _BEFORE_REACH)
        said = _BEFORE.search(part[begin : last.start()])
        return said and Answer(said[1].strip("*_.,; "), "phrase", begin + said.start(1), last.end())
    return _conclusion(part, start)


# A last statement that begins as a conclusion and has one number, as a sentence that is over.
_CONCLUDES = re.compile(
    r"[\s*_>-]*(?:so|thus|therefore|hence|in conclusion|in total|consequently|altogether|∴|因此|所以|also|donc)\b",
    re.IGNORECASE,
)
_LINK = re.compile(r"\b(?:is|are|be|was|ist|est|es)\s|=|是|为")
_INFERS = re.compile(r"[\s*_>$\\(-]*(?:therefore\b|hence\b|thus\b|∴|因此|所以)", re.IGNORECASE)
_NUMERAL = re.compile(r"(?<![\w.])[-−]?[$€£¥]?\d[\d,.]*(?<=\d)%?")
_EQUALS_LAST = re.compile(r"=\s*[-−]?\\?[$€£¥]?\d[\d,.]*(?<=\d)%?(?:[\s$*]|\\[)\]])*\Z")
_LAST_LINES: Final = 3  # those that are not blank


def _conclusion(part: str, start: int) -> Answer | None:
    stripped = part.rstrip()
    end = len(stripped)
    for _ in range(_LAST_LINES):
        begin = max(stripped.rfind("\n", 0, end) + 1, start)
        line = stripped[begin:end]
        if len(line) > REACH:
            return None
        result = _RESULT.search(line)
        if result is not None:
            return Answer(result[1].strip("*_.,; "), "phrase", begin + result.start(), end)
        over = line.endswith((".", "!", "。", ".**")) and _CONCLUDES.match(line)
        if over or (_INFERS.match(line) and _EQUALS_LAST.search(line)):
            *_, said = 0, *(link.end() for link in _LINK.finditer(line))
            numerals = {numeral[0] for numeral in _NUMERAL.finditer(line, said)}
            if len(numerals) == 1:
                return Answer(numerals.pop(), "phrase", begin, end)
        end = len(stripped[:begin].rstrip())
        if end <= start:
            return None
    return None


# A text that takes back what it said, and what it says instead.
_RETRACTS = re.compile(
    r"\b(?:that|this|it|which|(?:the|my)\s(?:above|answer|result|value|number))(?:['’]s|\s(?:is|was|looks|seems|must\sbe))"
    r"\s(?:wrong|incorrect|not\s(?:right|correct|possible)|a\smistake|an\serror|impossible)\b"
    r"|\bI\s(?:have\s|must\shave\s)?(?:made\san?\s(?:\w+\s)?(?:mistake|error)|miscalculated|miscounted|misread)\b"
    r"|\b(?:that|this|it)\s(?:can(?:['’]t|not)|couldn['’]t)\sbe\s(?:right|correct|true)\b"
    r"|\b(?:scratch|strike)\sthat\b|\bcorrection\s?:|\bactually,?\sit(?:['’]s|\sis|\sshould\sbe)\s(?!not\b)"
    r"|\b(?:(?:no,?\s)?wait|sorry|oops|I\smeant?|no)[\s,:—-]{1,3}(?=[$\\]{0,2}[-−]?\d)"
    r"|\b(?:wait|no|oops|hmm|sorry)\b[\s,.!…—-]{1,4}(?:no\b|actually\b|it\s(?:is|should)\b(?!\snot)|it['’]s\b(?!\snot)|that['’]?s?\s(?:not|isn['’]t|wrong)|I\smeant\b)",
    re.IGNORECASE,
)
_INSTEAD = re.compile(
    r"\b(?:actually|should\s(?:be|have\sbeen)|it\sis|it['’]s|make\sthat|I\smeant|(?:correct\s|right\s)?(?:value|number|total|result)\sis"
    r"|correction|(?:wait|sorry|oops|I\smean|no)(?=[\s,:—-]{1,3}[$\\]{0,2}[-−]?\d))\b[\s:,*—-]*(?:it['’]s\s|it\sis\s|to\sbe\s)?([^\n]*?\d[^\n]*?)(?:[.;!](?=\s|$)|\n|$)",
    re.IGNORECASE,
)


def _kept(part: str, answer: Answer) -> Answer | None:
    """Return the answer, or what the rest of the text says instead; None if the text only takes it back."""
    # What follows a question answers it: "Is it 5? No, that is wrong."
    told = _RETRACTS.finditer(part, answer.end)
    taken_back = next(
        (found for found in told if not part[max(0, found.start() - 8) : found.start()].rstrip().endswith("?")), None
    )
    if taken_back is None:
        return answer
    instead = _INSTEAD.search(part[: taken_back.start() + REACH], taken_back.start())
    return Answer(instead[1].strip(), "phrase", instead.start(), instead.end()) if instead else None


# What a model writes when it goes on to another question, or to another turn, by itself.
_NEXT = re.compile(
    r"\n[ \t>#*]{0,8}(?:(?:next |another |follow-?up |new )?(?:Q|Question|Problem|Exercise|Example)|Human|User|Input"
    r"|Instruction|Frage|Aufgabe|Pregunta|Pergunta|Domanda|Вопрос|Задача|问题|問題|题目|題目|質問|질문|문제)\s?\d{0,4}[*]{0,2}\s?[:：]"
    r"|\n[ \t>#*]{0,8}(?:Question|Problem|Exercise|Example) \d{1,4}[*]{0,2}[ \t]*\n"
    r"|\[INST\]|<start_of_turn>|<\|(?:im_start|im_end|eot_id|endoftext|end_of_text|end|eom_id|user|start_header_id)\|>"
    r"|<[|｜](?:end▁of▁sentence|User|return)[|｜]>|</s>|<eos>|<end_of_turn>",
    re.IGNORECASE,
)


def _own(part: str) -> str:
    """Return the beginning of a text up to where, after its first announcement, another question begins."""
    first = next(markers(part), None)
    ends = _NEXT.search(part, first.at) if first else None
    return part[: ends.start()] if ends else part


_NUMBER: Final = r"[-+−]?[$€£¥]?(?:\d[\d,.]*\d|\d)(?:\s?/\s?\d+|%)?"


def _last_match(part: str, pattern: str, place: str) -> Answer | None:
    found = deque(_pattern(pattern).finditer(as_utf8(part)), maxlen=1)
    match = found[0] if found else None
    if match is None:
        return None
    group = 1 if match.re.groups else 0
    return Answer((match[group] or "").strip(), place, match.start(), match.end())


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> "re2._Regexp[str]":
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)
