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

from msifr_policy.reading.literals import words
from msifr_policy.reading.searching import as_utf8, whatever_case
from msifr_policy.reading.thinking import QUOTES

Place = Literal["box", "hash", "phrase", "json", "tag"]
"""The kinds of markers."""

LONGEST_MARKER: Final = 200
"""Characters of the longest marker, with what stands before it and is looked at."""

REACH: Final = 2000
"""Characters after a marker within which its answer must end."""

# Noun, and verbs that link it to the answer; upper and lower case are alike. Empty: a number may follow at once.
_PHRASES: Final = (
    # English; German, Dutch, the Scandinavian languages
    (
        r"answers?",
        r"is|are|was|equals|becomes"
        r"|(?:will|would|should|must|can|could|has to)(?: (?:therefore|thus|then|hence|only|also|now))? be"
        r"|(?:comes|came|turns|turned|works|worked) out (?:to be|to|as)"
        r"|(?:comes|simplifies|reduces|evaluates|amounts) to",
    ),
    (r"(?:correct|right|best|final) (?:option|choice|one)", r"is|would be|should be"),
    (r"(?:schluss|end)?antwort", r"ist|lautet|beträgt|wäre"),
    (r"antwoord", r"is|luidt"),
    (r"svaret|svar", r"är|er|blir|lyder"),
    # Spanish, French, Italian, Portuguese, Romanian
    (r"respuesta", r"es|sería|será"),
    (r"réponse", r"est|serait|sera"),
    (r"risposta", r"è|sarebbe"),
    (r"resposta", r"é|seria|será"),
    (r"răspunsul|răspuns", r"este|e"),
    # Russian, Ukrainian, Bulgarian, Serbian and Croatian, Polish, Czech, Kazakh, Greek, Turkish, Finnish, Hungarian
    (r"ответом|ответ", r"равен|составляет|является|будет"),
    (r"відповідь", r"є|дорівнює"),
    (r"отговорът|отговор|одговор|odgovor", r"е|је|je"),
    (r"odpowied[źz]", r"to|brzmi|wynosi"),
    (r"odpověď|odpoveď", r"je|zní|znie"),
    (r"жауабы|жауап", r""),
    (r"απάντηση", r"είναι"),
    (r"cevap|vastaus|válasz", r"on|"),
    # Chinese, Japanese, Korean
    (r"答案|答复|答曰", r"应该是|應該是|应为|應為|就是|等于|等於|是|为|為"),
    (r"故选择?|故選擇?|应选|應選", r"(?=[(（]?[A-Za-z])"),
    (r"答え|解答|回答|正解", r"は"),
    (r"정답|답변|답", r"은|는"),
    # Arabic, Persian, Urdu, Hebrew
    (r"(?:ال)?[إا]جابة(?: النهائية| الصحيحة)?|(?:ال)?جواب(?: النهائي| الصحيح)?|پاسخ(?: نهایی)?", r"هي|هو|ہے|"),
    (r"ה?תשובה(?: הסופית| הנכונה)?", r"היא|"),
    # Hindi and Marathi, Bengali, Telugu, Tamil, Malayalam, Kannada, Gujarati, Punjabi, Thai
    (r"उत्तर", r"है|"),
    (r"উত্তর(?=ঃ)|উত্তর", r"হল|হলো|"),
    (r"సమాధానం", r"అవుతుంది|"),
    (r"பதில்|விடை|ഉത്തരം|ಉತ್ತರ|જવાબ|ਉੱਤਰ|ਜਵਾਬ", r""),
    (r"คำตอบ(?:ที่ถูกต้อง|สุดท้าย)?", r"คือ"),
    # Swahili, Yoruba, Vietnamese, Indonesian, Filipino
    (r"jibu(?: la mwisho| sahihi)?", r"ni"),
    (r"idahun|ìdáhùn|idáhùn|àdáhùn", r"ni|jẹ́"),
    (r"đáp án|đáp số|câu trả lời", r"đúng là|cuối cùng là|là"),
    (r"jawabannya|jawaban(?: akhir| yang benar)?", r"adalah"),
    (r"sagot|tugon", r"ay"),
)
# At the beginning of a line these announce an answer by a colon.
_SHORT = r"a|ans|答|final"
_KEYS = (
    r"(?:(?:final|correct|numeric|numerical)[ _-]?)?answer|answer[_-](?:value|number)"
    r"|final[ _-]?(?:result|value|number)"
)
_TAGS = r"(?:final[ _-]?)?answer|ans|final|solution|result"
_BRACKETED = r"(?:final[ _-]?)?answer"
_SHORT_TAGS = ("ans", "final", "solution", "result")  # may hold a whole text

_ADJECTIVE = (
    r"(?: (?:final|finale|finală|correct|correcte|correcta|corretta|correta|is correct|key|choice|option|letter|number"
    r"|value))?"
)
# What it is the answer to, or in which unit; who found it; a particle.
_OF = (
    r"(?: (?:to|for|of|in|de|der|des|del|della|du|da) (?:(?!answer)[^\n:：.?!=]){1,60}?| [(\[][^()\[\]\n]{1,40}[)\]]"
    r"| (?:(?:that|which) )?(?:I|we|you) (?:get|got|find|found|obtain|obtained|need|want|seek|reach|arrive at)"
    r"|,? (?:then|therefore|thus|so|hence|indeed),?| as an? \w{1,20}| mod(?:ulo)? \d{1,9}|,[^\n,:：.?!=]{1,60},)?"
)
_BLANK = r"[\s\u200b-\u200d\u2060\ufeff]"
_ARROW = r"[-=]{1,2}>|[→⇒➜➔⟶⟹]"
_SIGN = rf"[*_\"'}}]{{0,4}}{_BLANK}{{0,4}}[*_\"'}}]{{0,4}}(?:[:：﹕=＝ঃ](?:-(?=\s))?|{_ARROW})| [—–-](?=\s)"
_NUMBER_AHEAD = r"\s(?=[*_\"\\$(]{0,4}[-−+]?\d)"


def _phrase(noun: str, verbs: str, *, heading: str) -> str:
    ends = r"(?!\w)" if noun[0] < "\u0500" else ""  # beyond, words are not set apart everywhere
    said = "|".join(verb for verb in verbs.split("|") if verb) or "(?!)"
    link = rf"{_SIGN}|{_OF}[*_\s]{{0,4}}(?:{said}){ends}|{_OF}[*_]{{0,4}}{_BLANK}?[:：]"
    link += rf"|[*_]{{0,4}}{_NUMBER_AHEAD}" if verbs.endswith("|") or not verbs else ""
    return rf"(?:{noun}){_ADJECTIVE}(?:{link}|(?P<{heading}>[*_ \t]{{0,8}}(?=\r?\n)))"


_LINKS = "|".join(_phrase(noun, verbs, heading=f"heading{i}") for i, (noun, verbs) in enumerate(_PHRASES))
# What begins a marker, found fast; then the whole marker, read where one may begin.
_BEGINS = whatever_case(
    rf"\\(?:boxed|fbox|framebox)|<\|begin_of_box\|>|####|< ?(?:{_TAGS})|\[(?:{_BRACKETED})\]|[\"'](?:{_KEYS})[\"']"
    rf"|(?m:^)[ \t>*_#-]{{0,8}}(?:{_SHORT})[.]?[*_]{{0,3}}[.]?[ \x{{200b}}-\x{{200d}}]?[:：]"
    r"|(?m:^)[ \t>*_#-]{0,8}ans(?:\.| ?=) "
    r"|" + "|".join(noun.replace("(?=ঃ)", "") for noun, _ in _PHRASES)
)
_MARKER: Final = re.compile(
    rf"""(?P<box>\\(?:boxed|fbox|framebox)(?:\s{{0,8}}\{{|\s{{0,2}}(?=[-−]?\d))|<\|begin_of_box\|>)|(?P<hash>####(?!#))"""
    rf"""|(?P<tag><\s?(?P<name>{_TAGS})\s?(?:\s[^<>]{{0,100}})?>|\[(?P<bracketed>{_BRACKETED})\])"""
    rf"""|(?P<json>(?P<quote>["'])(?:{_KEYS})(?P=quote)\s{{0,8}}:\s{{0,8}})"""
    rf"""|(?P<short>[ \t>*_#-]{{0,8}}(?:(?:{_SHORT})[.]?[*_]{{0,3}}[.]?{_BLANK}?[:：]|ans(?:\.| ?=) ))"""
    rf"""|(?P<phrase>{_LINKS}|(?P<direct>answer(?: of)?{_NUMBER_AHEAD})|(?P<cell>answers?[*_]{{0,3}} ?\|))""",
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
        if match is None or not _announces(text, match):
            continue
        end = match.end()
        place = next(place for place in ("box", "hash", "tag", "json", "short", "phrase") if match[place] is not None)
        name = match["name"] or match["bracketed"] or ""
        if place == "box" and not match[0].endswith("{"):
            name = "token" if match[0][0] == "<" else "digits"
        yield Marker("phrase" if place == "short" else place, start, end, name)  # type: ignore[arg-type]


# Words before the noun: what stands between; an answer that is not the text's own, or not its last word; who says so.
_BETWEEN = frozenset(words("that the a an final correct my our"))
_OTHER = frozenset(
    words(
        "if whether unless suppose assume assuming wrong incorrect mistaken previous earlier initial first second "
        "third next old naive intuitive tempting common possible his her their your no another different "
        "multiple-choice check checking verify verifying confirm confirming"
    )
)
_MAY = frozenset(words("might may could would"))
_SAY = frozenset(words("think thinks say says seem seems believe believes guess conclude assume expect"))
_OTHERS = frozenset(words("one some someone people many most student students you they it"))
_SUBJECTS = frozenset(words("let here it that today question problem exercise task"))


def _is_anothers(before: str) -> bool:
    """Say whether the noun behind this is part of another word, or another's answer, or one of several."""
    if not before or not before[-1].isspace():
        return before[-1:] in tuple("-./") or before[-1:].isalnum() or (before[-2:-1].isalnum() and before[-1:] == "_")
    said = [word.strip(_MARKS).lower() for word in before.rpartition("\n")[2].split()[-6:]]
    while said and said[-1] in _BETWEEN:
        said.pop()
    if not said:
        return False
    *earlier, word = said
    if earlier[-1:] == ["only"]:
        return False
    if word.endswith(_POSSESSIVE):
        return word[:-2] not in _SUBJECTS
    if word in _MAY:
        return earlier[-1:] != ["i"]
    return word in _OTHER or (word in _SAY and not _OTHERS.isdisjoint(earlier)) or said[-2:] == ["multiple", "choice"]


_POSSESSIVE: Final = ("'s", "’s", "s'", "s’")
_MARKS: Final = '*_()[]"“”#>'
_HEADS = re.compile(r"(?:^|\n)[\s#>*_-]*(?:(?:the|my|our|die|la)\s+)?(?:(?:final|correct)\s+)?\Z", re.IGNORECASE)
_BEGINS_ROW = re.compile(r"(?:^|\n)[ \t]*\|[ \t*_]*(?:(?:final|correct)\s)?\Z", re.IGNORECASE)
_GIVES = re.compile(
    r"\b(?:get|gets|got|getting|gives?|giving|obtain|obtained|obtaining|yields?|yielding|reach|arrives? at|have|find)"
    r"\s(?:(?:the|an|a|us|our|final|correct)\s)+\Z",
    re.IGNORECASE,
)
# Before a box: what is in it is supposed, or denied.
_SUPPOSED = re.compile(
    r"(?:\b(?:if|suppose|assume|assuming|whether)(?:\sthat)?\s(?:(?:the|our|my|final|correct)\s)*(?:answer|result|value|it)"
    r"\s(?:is|was|were|be|equals)|\b(?:is it|is the answer|(?:could|might|would) it be|not|isn['’]t|wasn['’]t|never))"
    r"[\s:$*({\\]*\Z",
    re.IGNORECASE,
)


def _announces(text: str, marker: re.Match[str]) -> bool:
    """Say whether what looks like a marker announces an answer, by what stands before it."""
    start = marker.start()
    before = text[max(0, start - 48) : start]
    if marker["box"] is not None:
        return _SUPPOSED.search(before) is None
    if marker["tag"] is not None:
        return not (before[-1:] and before[-1] in QUOTES and text[marker.end() : marker.end() + 1] == before[-1])
    if marker["phrase"] is None:
        return True
    if marker["cell"] is not None:
        return _BEGINS_ROW.search(before) is not None
    if marker["direct"] is not None:
        return _GIVES.search(before) is not None
    if any(marker[name] is not None for name in _HEADINGS):
        return _HEADS.search(before) is not None
    ideograph = text[start] > "\u2e80"  # no blanks between words
    return ideograph or not _is_anothers(before)


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


_ASKED = re.compile(r"(?:[ \t$*}]|\\[)\]]){0,6}[?？]")


def asks(text: str, end: int) -> bool:
    r"""Say whether an answer in a box that is announced up to there is asked for: `Is it \boxed{5}?`."""
    return _ASKED.match(text, end) is not None


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_DIGITS = re.compile(r"[-−]?\d(?:[\d.,]*\d)?")


def _box(marker: Marker, reach: str) -> Announced:
    if marker.name == "digits":  # \boxed 42
        end = _DIGITS.match(reach).end()  # type: ignore[union-attr]
        return Announced("given", reach[:end], end)
    if marker.name == "token":
        end = reach.find("<|end_of_box|>")
        return _open(reach) if end < 0 else Announced(*_within(reach[:end]), end)
    closed = closing_brace(reach)
    if closed is None:
        return _open(reach)
    inside = reach[: closed - 1].strip()
    return Announced("none" if _is_placeholder(inside) else "given", inside, closed)


def closing_brace(content: str) -> int | None:
    """Return the characters up to and with the brace that closes one before `content`; None if none does."""
    depth = 1
    for token in _BRACE.finditer(content):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None


def _open(reach: str) -> Announced:
    """Return what is announced but not closed."""
    return Announced("open", "", len(reach))


def _tag(marker: Marker, reach: str) -> Announced:
    if marker.name.lower() in _SHORT_TAGS:
        end = _ONE_LINE.match(reach).end()  # type: ignore[union-attr]
        if end + 1 < len(reach) and not reach.startswith("</", end):
            return Announced("none", "", end)
    name = re.escape(marker.name)
    closing = _named(rf"(?i:</\s?{name}\s?>|\[/{name}\])").search(reach)
    if closing is None:
        return _open(reach)
    return Announced(*_within(reach[: closing.start()]), closing.end())


_ONE_LINE = re.compile(r"\s*+[^\n<]*+\s*+")


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
        members: list[Any] = list(value.values()) if isinstance(value, dict) else value
        single = members[0] if len(members) == 1 else None
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
    if match is None or not value or match.end() == len(reach):
        return _open(reach)
    return Announced("none" if value in ("null", "None") else "given", value, match.end())


def _unescape(raw: str) -> str:
    r"""Return the text of a JSON string; where a model wrote LaTeX without doubling its backslashes, as it wrote it."""
    if _LATEX_ESCAPE.search(raw.replace("\\\\", "")):
        return raw.replace("\\\\", "\\").replace('\\"', '"')
    try:
        return str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        return raw


_SKIP = re.compile(rf"(?:{_BLANK}|[*_:：=＝>}}\"“|]|-{{3,}}+|={{3,}}+)*+")
_ITEM = re.compile(r"(?:[-•+]|\(?[1a][.)])[ \t]+(?=\S)")  # the first of a list
_LEAD = re.compile(
    r"(?:(?:therefore|thus|then|hence|so|simply|just|indeed|definitely|equal to|given by|as follows|the following|also"
    r"|found to be|still|(?:most )?likely(?: to be)?|probably)\b[\s,:：*_]*)*+",
    re.IGNORECASE,
)
# What is said of an answer without saying it.
_NO_ANSWER = re.compile(
    r"(?:not|never|unlikely|no longer|neither|nicht|kein\w{0,2}|pas|не)\b|不|没有|错"
    r"|an? (?:\w+ ){0,2}(?:integer|number|fraction|decimal|percentage|multiple)\b(?!\s*[\d$\\])"
    r"|(?:less|greater|more|bigger|smaller|larger|fewer|higher|lower) than\b|the same (?:as|in|for|with)\b"
    r"|what (?:was|is|we|you|the)\b"
    r"|(?:in(?:side)? (?:the|a|my|your|this|that)|within|as (?:given|stated|shown|above|before)|given|above|below|see"
    r"|correct|right|wrong|incorrect|unclear|reasonable|consistent|unknown|supposed|expected|rounded|obtained|found|based"
    r"|asked|to be|divisible|expressed|supported|derived|helpful|useful|shown|confirmed|verified|checked|explained"
    r"|already"
    r"|positive (?:since|because|as|and))\b(?!\s*[\d$\\])",
    re.IGNORECASE,
)
_DENIED = re.compile(r"(?:で|じゃ)(?:は)?(?:ない|ありません)|(?:이|가)? ?(?:아니|아닙|아닌)")
# A heading of a section, perhaps with its number.
_HEADING = re.compile(
    r"(?:explanation|solution|step|part|case|question|problem|example|conclusion|verification|note|check|summary"
    r"|reasoning|analysis|given|calculat\w+|final answer|answer|approach|method|breakdown|overview|introduction"
    r"|understanding|alternative|another|common|key|why|how|what|when|python|code|additional|references?|double|final"
    r"|important|background|discussion|interpretation|tips?|remarks?|details?|phase|stage|section|scenario|option \d"
    r"|using|let|first|second|next|finally)\b|\d{1,2}[.)]\s+(?:\*\*)?[A-Z][a-z]+\b"
    r"|\d{1,4}(?:st|nd|rd|th)\s+[a-z]",
    re.IGNORECASE,
)
# Tokens that models end with.
_SPECIAL = r"<[|｜][A-Za-z_▁ ]{1,40}[|｜]>|</s>|<eos>|<end_of_turn>|\[(?:EOS|/?INST)\]"
_HASH_END = re.compile(rf"\n|{_SPECIAL}")
_SENTENCE_END = re.compile(
    rf"\n|{_SPECIAL}|(?<![\d.])[!](?=\s|$)|(?<!\bapprox)(?<!\bRs)(?<!\bFr)(?<!\bca)[.;](?=[\s*\"”)]|$)"
    r"(?!(?<=\b[A-J]\.) [\d$\\-])(?!(?<=\bNo\.) \d)|[。；！।]|(?P<asked>[?？])|####|\\boxed|,? (?=\(?(?:i\.e|e\.g)\.)"
)
_PERIODS: Final = (".", "!", ";", "。", "！", "；", "।")
_DISPLAY = {"\\[": "\\]", "$$": "$$", "```": "```"}
_ENVIRONMENT = re.compile(r"\\begin\{((?:equation|align|gather|displaymath|center)\*?)\}")
_TRAILS_OFF = re.compile(r"(?<![\d.,])(\d++)(?:\.{2,}|…)\Z")
_ANGLES = re.compile(r"[<⟨]([^<>⟨⟩]*)[>⟩]")


def _line(marker: Marker, reach: str) -> Announced:
    start = _SKIP.match(reach).end()  # type: ignore[union-attr]
    if "\n" in reach[:start] and (item := _ITEM.match(reach, start)):
        start = item.end()
    start = _LEAD.match(reach, start).end()  # type: ignore[union-attr]
    displays = dict(_DISPLAY)
    if environment := _ENVIRONMENT.match(reach, start):
        displays[environment[0]] = f"\\end{{{environment[1]}}}"
    for opens, closes in displays.items():
        if reach.startswith(opens, start):
            end = reach.find(closes, start + len(opens))
            if end < 0:
                return _open(reach)
            inside = reach[start + len(opens) : end].strip()
            inside = inside.partition("\n")[2] if opens == "```" and "\n" in inside else inside
            return Announced(*_within(inside), end + len(closes))
    stop = (_SENTENCE_END if marker.place == "phrase" else _HASH_END).search(reach, start)
    end = stop.start() if stop else len(reach)
    if stop is None and reach.rfind("\\(", start) > reach.rfind("\\)", start):
        return _open(reach)
    value = _bare(reach[start:end])
    asked = stop is not None and marker.place == "phrase" and stop.group("asked") is not None
    if stop is not None and stop[0] in _PERIODS:
        end = stop.end()
    heading = marker.place == "hash" and _HEADING.match(value)
    none = asked or heading or _NO_ANSWER.match(value) or _DENIED.search(value) or _is_placeholder(value)
    return Announced("none" if none else "given", value, end)


def _bare(value: str) -> str:
    """Return an answer of a line without bold type around it, brackets of a placeholder, and dots after it."""
    value = value.strip().strip("*_=\u200b\ufeff").strip()
    inside = _ANGLES.fullmatch(value)
    return _TRAILS_OFF.sub(r"\1", inside[1] if inside else value)


_READERS: Final = {"box": _box, "hash": _line, "phrase": _line, "json": _json, "tag": _tag}

_NOTHING = r"(?:[\s.,:;_…·?$*-]|\\[,;! ])*+"
_PLACEHOLDER = re.compile(
    rf"{_NOTHING}(?:\W*(?:(?:your|the|my|insert|put|write|final|correct|numeric(?:al)?)\s+)*"
    r"(?:answer|result|value|number|expression|letter)(?:\s+(?:here|goes here))?\W*"
    r"|\\(?:phantom|q?quad|[lc]?dots|text\{\s*\}).*|\\(?:square|[bB]ox|checkmark|blacksquare|qed)"
    r"|and|or|tags?|done\W?|q\.?e\.?d\.?)?",
    re.IGNORECASE | re.DOTALL,
)


def _is_placeholder(value: str) -> bool:
    r"""Say whether a value only stands in for one: nothing, dots, "your answer here", or a `\phantom`."""
    return len(value) < 200 and _PLACEHOLDER.fullmatch(_UNTEXT.sub(r"\1", value)) is not None


_UNTEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit)\s?\{([^{}]*)\}")
