r"""How texts announce an answer, and where the announced answer ends: one notion for filters, readers and validators.

A **marker** is what stands before an answer: `\boxed{`, `####`, `"answer":`, `<answer>`, or a phrase such as "The
answer is", "Answer:", "答案：" and their like in the languages of the usual benchmarks. `read` says what a marker
announces; an announcement without an answer (an empty box, a heading, a repeated instruction, a question, a denial)
is none.

Reading a marker takes bounded time: at most `REACH` characters after it count.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from msifr_policy.filters.searching import as_utf8, whatever_case

Place = Literal["box", "hash", "phrase", "json", "tag"]
"""The kinds of markers."""

LONGEST_MARKER: Final = 200
"""Characters of the longest marker, with what stands before it and is looked at."""

REACH: Final = 2000
"""Characters after a marker within which its answer must end."""

# Noun, and verbs that link it to the answer. Upper and lower case are alike.
_PHRASES: Final = (
    # English; German, Dutch, the Scandinavian languages
    (r"answers?", r"is|are|was|equals|(?:will|would|should|must|has to|comes out to) be|comes to"),
    (r"(?:correct|right|best|final) (?:option|choice|one)", r"is|would be|should be"),
    (r"antwort", r"ist|lautet|beträgt|wäre"),
    (r"antwoord", r"is|luidt"),
    (r"svaret|svar", r"är|er|blir|lyder"),
    # Spanish, French, Italian, Portuguese, Romanian
    (r"respuesta", r"es|sería|será"),
    (r"réponse", r"est|serait|sera"),
    (r"risposta", r"è|sarebbe"),
    (r"resposta", r"é|seria|será"),
    (r"răspunsul|răspuns", r"este|e"),
    # Russian, Ukrainian, Polish, Czech, Greek, Turkish, Finnish, Hungarian
    (r"ответом|ответ", r"равен|составляет|является|будет"),
    (r"відповідь", r"є|дорівнює"),
    (r"odpowied[źz]", r"to|brzmi|wynosi"),
    (r"odpověď", r"je|zní"),
    (r"απάντηση", r"είναι"),
    (r"cevap|vastaus|válasz", r"on"),
    # Chinese, Japanese, Korean
    (r"答案", r"应该是|應該是|应为|應為|就是|等于|等於|是|为|為"),
    (r"答え|解答|回答", r"は"),
    (r"정답|답", r"은|는"),
    # Arabic, Hindi, Bengali, Telugu, Thai, Swahili, Vietnamese, Indonesian
    (r"إجابة|الجواب", r"هي|هو"),
    (r"उत्तर", r"है"),
    (r"উত্তর", r"হল|হলো"),
    (r"సమాధానం", r"అవుతుంది"),
    (r"คำตอบ", r"สุดท้ายคือ|คือ"),
    (r"jibu", r"ni"),
    (r"đáp án|câu trả lời", r"đúng là|cuối cùng là|là"),
    (r"jawabannya|jawaban", r"adalah"),
)
# At the beginning of a line these announce an answer by a colon.
_SHORT = r"a|ans|答"
_KEYS = r"(?:final[ _-]?)?answer"
_TAGS = r"(?:final[_-]?)?answer"

_ADJECTIVE = (
    r"(?: (?:final|finale|finală|correct|correcte|correcta|corretta|correta|is correct|key|choice|option|letter|number"
    r"|value))?"
)
_OF = r"(?: (?:to|for|of|in|de|der|des|del|della|du|da) [^\n:.?!]{1,60}?)?"  # what it is the answer to
_SIGN = r"[*_\"'}\s]{0,4}[:：=＝]| [—–-](?=\s)"


def _phrase(noun: str, verbs: str, *, heading: str) -> str:
    ends = r"(?!\w)" if noun[0] < "\u0500" else ""  # beyond, words are not set apart everywhere
    link = rf"{_SIGN}|{_OF}[*_\s]{{0,4}}(?:{verbs}){ends}"
    return rf"(?:{noun}){_ADJECTIVE}(?:{link}|(?P<{heading}>[*_ \t]{{0,8}}(?=\n)))"


_LINKS = "|".join(_phrase(noun, verbs, heading=f"heading{i}") for i, (noun, verbs) in enumerate(_PHRASES))
# What begins a marker, found fast; then the whole marker, read where one may begin.
_BEGINS = whatever_case(
    r"\\(?:boxed|fbox|framebox)|####|<(?:final[_-]?)?answer|[\"'](?:final[ _-]?)?answer[\"']"
    rf"|(?m:^)[ \t>*_#-]{{0,8}}(?:{_SHORT})[.]?[*_]{{0,3}} ?[:：]|" + "|".join(noun for noun, _ in _PHRASES)
)
_MARKER: Final = re.compile(
    rf"""(?P<box>\\(?:boxed|fbox|framebox)\s{{0,8}}\{{)|(?P<hash>####(?!#))"""
    rf"""|(?P<tag><(?P<name>{_TAGS})(?:\s[^<>]{{0,100}})?>)|(?P<json>(?P<quote>["']){_KEYS}(?P=quote)\s{{0,8}}:\s{{0,8}})"""
    rf"""|(?P<short>[ \t>*_#-]{{0,8}}(?:{_SHORT})[.]?[*_]{{0,3}} ?[:：])|(?P<phrase>{_LINKS})""",
    re.IGNORECASE,
)


_HEADINGS: Final = [name for name in _MARKER.groupindex if name.startswith("heading")]


class Marker(NamedTuple):
    """A marker: its kind, where it begins and where what it announces begins, in characters; `name` is a tag's."""

    place: Place
    start: int
    at: int
    name: str = ""


def tags(text: str, name: str) -> Iterator[Marker]:
    """Yield where elements of this name open in `text`."""
    for match in _named(rf"<{re.escape(name)}(?:\s[^<>]{{0,100}})?>").finditer(text):
        yield Marker("tag", match.start(), match.end(), name)


def members(text: str, key: str) -> Iterator[Marker]:
    """Yield where members of this key begin in the objects of `text`, be they JSON or nearly so."""
    for match in _named(rf"""(["']){re.escape(key)}\1\s{{0,8}}:\s{{0,8}}""").finditer(text):
        yield Marker("json", match.start(), match.end())


@lru_cache(maxsize=64)
def _named(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def markers(text: str, begin: int = 0) -> Iterator[Marker]:
    """Yield the markers of `text` from there on, in order; linear in the text."""
    end = 0
    for begins in _BEGINS.finditer(as_utf8(text), begin):
        start: int = begins.start()
        match = _MARKER.match(text, start) if start >= end else None
        if match is None:
            continue
        place = next(place for place in ("box", "hash", "tag", "json", "short", "phrase") if match[place] is not None)
        heading = text.startswith("\n", match.end()) and any(match[name] is not None for name in _HEADINGS)
        if place == "phrase" and not _announces(text, start, heading=heading):
            continue
        end = match.end()
        yield Marker("phrase" if place == "short" else place, start, end, match["name"] or "")  # type: ignore[arg-type]


# Before the noun: an answer that the text does not give as its own, or not as the last word.
_NOT_OWN = re.compile(
    r"(?:\b(?:if|whether|unless|suppose|assume|assuming|wrong|incorrect|previous|earlier|initial|first|old|student's|his"
    r"|her|their|your|no|another|different|multiple[ -]choice|check (?:if|that|whether))"
    r"(?:\s+(?:the|an?|final|correct|that|my|our))*\s+|\w|[-_./])\Z",
    re.IGNORECASE,
)
_HEADS = re.compile(r"(?:^|\n)[\s#>*_-]*(?:(?:the|my|our|die|la)\s+)?(?:(?:final|correct)\s+)?\Z", re.IGNORECASE)


def _announces(text: str, start: int, *, heading: bool) -> bool:
    """Say whether the noun that begins there announces an answer, by what stands before it."""
    before = text[max(0, start - 48) : start]
    if heading:
        return _HEADS.search(before) is not None
    ideograph = text[start] > "\u2e80"  # no blanks between words
    return ideograph or _NOT_OWN.search(before) is None


State = Literal["given", "none", "open"]
"""Whether an announcement gives an answer, gives none, or the text breaks off within it."""


class Announced(NamedTuple):
    """What a marker announces: its state, the answer as it is written, and where the announcement ends."""

    state: State
    text: str
    end: int


def read(marker: Marker, text: str, most: int = REACH) -> Announced:
    """Return what `marker` announces in `text`; an answer of more than `most` characters is none."""
    reach = text[marker.at : marker.at + most + 1]
    announced = _READERS[marker.place](marker, reach)
    if announced.end > most or (announced.state == "open" and len(reach) > most):
        return Announced("none", "", marker.at + most)
    return announced._replace(end=marker.at + announced.end)


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def _box(_: Marker, reach: str) -> Announced:
    depth = 1
    for token in _BRACE.finditer(reach):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            inside = reach[: token.start()].strip()
            return Announced("none" if _is_placeholder(inside) else "given", inside, token.end())
    return _open(reach)


def _open(reach: str) -> Announced:
    """Return what is announced but not closed."""
    return Announced("open", "", len(reach))


def _tag(marker: Marker, reach: str) -> Announced:
    end = reach.lower().find(f"</{marker.name.lower()}>")
    if end < 0:
        return _open(reach)
    return Announced(*_within(reach[:end]), end + len(marker.name) + 3)


def _within(value: str) -> tuple[State, str]:
    """Return the answer in a value that may announce one itself, as `The answer is 5` in a tag does."""
    inner = [announced for announced in (read(m, value) for m in markers(value)) if announced.state == "given"]
    value = inner[-1].text if inner else value.strip()
    return ("none" if _is_placeholder(value) else "given"), value


_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"|\'((?:[^\'\\]|\\.)*+)\'', re.DOTALL)
_BARE = re.compile(r"[\d,]*\d(?:\.\d++)?(?=\s*[}\n])|[^,}\n]++")
_LATEX_ESCAPE = re.compile(
    r"\\(?:[^\"\\/bfnrtu]|[bfnrt](?:eta|inom|ar|ox|rac|rt|orall|eq|u\b|abla|ot|ight|ho|ext|imes|heta|an|au|o\b)|u(?![\da-fA-F]{4}))"
)
_decoder = json.JSONDecoder()


def _json(_: Marker, reach: str) -> Announced:
    if reach[:1] in ("[", "{"):
        try:
            value, end = _decoder.raw_decode(reach)
        except (ValueError, RecursionError):
            return _open(reach)
        single: Any = value[0] if isinstance(value, list) and len(value) == 1 else None
        written = str(single) if isinstance(single, str | int | float) else reach[:end]
        return Announced("given" if value else "none", written, end)
    if reach[:1] in ('"', "'"):
        match = _STRING.match(reach)
        if match is None:
            return _open(reach)
        raw = match[1] if match[1] is not None else match[2]
        return Announced(*_within(_unescape(raw)), match.end())
    match = _BARE.match(reach)
    value = match[0].strip() if match else ""
    return Announced("given" if value else "open", value, match.end() if match else 0)


def _unescape(raw: str) -> str:
    r"""Return the text of a JSON string; where a model wrote LaTeX without doubling its backslashes, as it wrote it."""
    if _LATEX_ESCAPE.search(raw.replace("\\\\", "")):
        return raw.replace("\\\\", "\\").replace('\\"', '"')
    try:
        return str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        return raw


_SKIP = re.compile(r"[\s*_:：=＝>}\"“]*+")
_LEAD = re.compile(
    r"(?:(?:therefore|thus|then|hence|so|simply|just|indeed|definitely|equal to|given by|as follows|the following|also"
    r"|found to be|still)\b[\s,:：*_]*)*+",
    re.IGNORECASE,
)
# What is said of an answer without saying it.
_NO_ANSWER = re.compile(
    r"(?:not|never|unlikely|no longer|neither)\b|不|没有|错"
    r"|(?:in(?:side)? (?:the|a|my|your|this|that)|within|as (?:given|stated|shown|above|before)|given|above|below|see"
    r"|correct|right|wrong|incorrect|unclear|reasonable|consistent|unknown|supposed|expected|rounded|obtained|found|based"
    r"|asked|to be)\b(?!\s*[\d$\\])",
    re.IGNORECASE,
)
# A heading of a section, perhaps with its number.
_HEADING = re.compile(
    r"(?:explanation|solution|step|part|case|question|problem|example|conclusion|verification|note|check|summary"
    r"|reasoning|analysis|given|calculat\w+|final answer|answer|approach|method|breakdown|overview|introduction"
    r"|understanding)\b|\d{1,2}[.)]\s+(?:\*\*)?[A-Z][a-z]+\s",
    re.IGNORECASE,
)
_HASH_END = re.compile(r"\n")
_SENTENCE_END = re.compile(
    r"\n|(?<![\d.])[!](?=\s|$)|[.;](?=[\s*\"”)]|$)|[。；！]|(?P<asked>[?？])|####|\\boxed|(?<=\S)\s+<\|"
)
_PERIODS: Final = (".", "!", ";", "。", "！", "；")
_DISPLAY = {"\\[": "\\]", "$$": "$$", "```": "```"}


def _line(marker: Marker, reach: str) -> Announced:
    start = _SKIP.match(reach).end()  # type: ignore[union-attr]
    start = _LEAD.match(reach, start).end()  # type: ignore[union-attr]
    for opens, closes in _DISPLAY.items():
        if reach.startswith(opens, start):
            end = reach.find(closes, start + len(opens))
            if end < 0:
                return _open(reach)
            inside = reach[start + len(opens) : end].strip()
            inside = inside.partition("\n")[2] if opens == "```" and "\n" in inside else inside
            return Announced(*_within(inside), end + len(closes))
    stop = (_SENTENCE_END if marker.place == "phrase" else _HASH_END).search(reach, start)
    end = stop.start() if stop else len(reach)
    value = reach[start:end].strip().strip("*_").strip()
    asked = stop is not None and marker.place == "phrase" and stop.group("asked") is not None
    if stop is not None and stop[0] in _PERIODS:
        end = stop.end()
    no_answer = _NO_ANSWER.match(value) or (marker.place == "hash" and _HEADING.match(value))
    given = not asked and not no_answer and not _is_placeholder(value)
    return Announced("given" if given else "none", value, end)


_READERS: Final = {"box": _box, "hash": _line, "phrase": _line, "json": _json, "tag": _tag}

_NOTHING = r"(?:[\s.,:;_…·?$*-]|\\[,;! ])*+"
_PLACEHOLDER = re.compile(
    rf"{_NOTHING}(?:\W*(?:(?:your|the|my|insert|put|write|final|correct|numeric(?:al)?)\s+)*"
    r"(?:answer|result|value|number|expression|letter)(?:\s+(?:here|goes here))?\W*"
    r"|\\(?:phantom|q?quad|[lc]?dots|text\{\s*\}).*)?",
    re.IGNORECASE | re.DOTALL,
)


def _is_placeholder(value: str) -> bool:
    r"""Say whether a value only stands in for one: nothing, dots, "your answer here", or a `\phantom`."""
    return len(value) < 200 and _PLACEHOLDER.fullmatch(_UNTEXT.sub(r"\1", value)) is not None


_UNTEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit)\s?\{([^{}]*)\}")
