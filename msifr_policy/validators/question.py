"""Generated questions: whether the text so far can be asked, and whether it gives itself away.

A question for a data set has to ask something, to say with which quantities, and to stand alone: no figure that is
not there, no earlier part, no gap left to fill in; and it must not answer itself. Each of these shows in the
words of a sentence, found by RE2. Notation is none of these: brackets of mathematics, sets, code and links are no gaps,
and a gap may be what is asked for ("fill in the blank"); "put the answer in \\boxed{}" and "Answer:" at the end give no
answer. The patterns belong to the version of the validator; what is asked is known in many languages, the rest in
English and the most usual of others.
"""

import math
import re
from collections.abc import Set

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence
from msifr_policy.validators.readers.asking import ASKS, LEAD
from msifr_policy.validators.readers.sentences import PatternSets, SentenceCutter

READ = 4096
"""Characters of the text that are read; a longer one is no question."""

_GAP = (
    r"(?:(?:the |an? |[xny] |some |first |second |another |any |person'?s? |student'?s? )?"
    r"(?:name|number|value|topic|subject|amount|item|object|unit|city|place|date|price|quantity|noun|verb|adjective"
    r"|percentage|person)s?(?:[ _#-]*[0-9a-z])?)"
)
_PICTURE = r"(?:graph|chart|picture|image|drawing|map)"
_VALUE = (
    r"(?:\*|\$+|\\[(\[]|[\"“(]| )*(?:(?:approximately|about|equal to|just|simply|exactly|clearly) )?(?:[-+−]?[0-9]"
    r"|\\(?:boxed|frac|dfrac|sqrt|pi)|\(?(?-i:[A-Z])(?:[).\s*$]|$)|[a-z] ?= ?"
    r"|(?:true|false|yes|no)(?:[.,!*)]|\s*$)|[π√½¼]"
    r"|(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)(?:[.,!]|\s*$))"
)
_ANSWER = (
    r"(?:the )?(?:correct |final |right |exact )?answer(?: to (?:this|the)(?: \w+)?)? "
    r"(?:is|equals|would be|will be|must be|comes out to|=)"
)
_ANSWER_ELSEWHERE = (
    r"(?:(?:die |la |a |de )(?:antwort|lösung|respuesta|réponse|risposta|resposta) (?:ist|es|est|è|é)"
    r"|(?:ответ|решение)(?: равен)?)"
)

# No counted repetition of what may be anything: it would make the automaton large.
SIGNS: dict[str, tuple[str, ...]] = {
    "asks": ASKS,
    "quantities": (
        r"[0-9]|\p{Nd}|\p{No}|[二两兩三四五六七八九十百千万亿]",
        r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|fifty|hundred|thousand"
        r"|million|half|third|quarter|twice|thrice|double|triple|dozen|pair)\b",
    ),
    "dangling": (
        r"\b(?:in|from|on|see|using|shown in|to|of|by) (?:the |this |that )?(?:following |above |below |attached "
        r"|given |accompanying )?(?:(?:diagram|passage|excerpt|appendix)\b|figure(?:[^\w ]|$| (?:[^o]|o[^u])))",
        rf"\b(?:in|from|see|shown in|shown on|using) (?:the |this |that )?(?:above |below |attached |given "
        rf"|accompanying )?{_PICTURE}(?: (?:above|below|shown|given|provided|to the (?:left|right))|[.,;:?!)]|\s*$)",
        rf"\b(?:following|above|attached|accompanying) (?:table|{_PICTURE})\b[^:]*$",
        r"\b(?:above|attached|accompanying) (?:code|list|text|data|equation|problem|question)\b",
        r"\b(?:table|figure|diagram|code|list|data|graph|chart|picture|image) (?:above|below)\b",
        r"\bas (?:shown|described|mentioned|stated|given|seen|defined) (?:above|below|earlier|previously|in)\b",
        r"\b(?:previous|preceding|earlier) (?:question|problem|part|exercise|example|section)\b",
        r"\b(?:in|from|of|to) the (?:last|next) (?:question|problem|exercise|example)\b",
        r"\b(?:part|question|problem|exercise|theorem|lemma|equation) \(?[a-f1-9]\)? (?:above|below|of)\b",
        rf"\blook(?:ing)? at (?:the |this )(?:{_PICTURE}|figure|table)\b",
        r"\b(?:in|siehe|aus) (?:der|die) (?:folgenden? |obigen? |nebenstehenden? )?(?:abbildung|figur|skizze|grafik)\b",
        r"\b(?:sur|dans|voir) (?:la figure|le (?:schéma|graphique)|l'image)\b|\b(?:en|según) (?:la (?:figura|imagen"
        r"|gráfica)|el (?:diagrama|gráfico))\b|на (?:рисунке|графике|чертеже)",
        r"如图|下图|上图|图中|右图|左图|上题|上一题|上述",
    ),
    "placeholders": (
        r"(?:^|[^\w\\\]}{)$\[])\[(?:question|problem(?: statement)?|distance|time|speed|age|colou?r|location|event"
        r"|animal|fruit|food|friend|country|day|month|year|length|width|weight|height|word|company"
        r"|product)\](?:[^(\[]|$)",
        r"\$\[(?:number|amount|price|value|cost)\][ .,]|^\W*<question>\W*$",
        r"\b(?:has|have|had|buys?|bought|gives?|gave|eats?|ate|sells?|sold|costs?|cost|makes?|reads?) \[[a-z]\] [a-z]",
        rf"(?:^|[^\w\\\]}}{{)$\[])\[(?:insert\b[^\]]*|your [^\]]*|{_GAP}|x{{2,}}|placeholder|tbd|todo)\](?:[^(\[]|$)",
        rf"(?:^|[\s(\"'“])<(?:insert\b[^<>]*|your [^<>]*|{_GAP})>(?:[^<]*$|[^<]*<[^/])",
        r"(?:^|[^\w\\^}{$])\{\{ ?[a-z][a-z_]+[\w .]*\}\}",
        rf"(?:^|[\s(\"'“])\{{{_GAP}\}}",
        r"\(insert [^)]*\)|(?:^|[^\"'])lorem ipsum|[\[【（(](?:插入|请输入|此处填)[^\]】）)]*[\]】）)]",
        r"(?-i:^\W*TODO\W*$|\bTODO:|\bTBD\b|\bINSERT_[A-Z_]+|\bYOUR_[A-Z_]+)",
    ),
    "leaks": (
        rf"{LEAD}(?:the )?(?:correct |final |right )?answer\*?[:=][^\s_?\[(]",
        r"\\boxed\{\s*(?:[-+−.(\[$√π]*[0-9]|[a-z](?:[^a-z]|$)|[-+]?\\(?:d?frac|sqrt|pi|infty|left|[({])"
        r"|\\text\{ ?\(?(?:[a-j][).}]|yes|no|true|false|[0-9]))",
        r"^\s*####\s*[-+$€£]*[0-9](?:[0-9,./]*[0-9])?%?\s*$",
        r"^[\s>*_]*<(?:answer|solution)>\s*(?:[^<\s_.…\[{(y]|\([0-9]|y(?:[^o]|o[^u]))",
        r"答案(?:是|为|為|等于)\s*[$\\(（]*\s*"
        r"(?:[-+]?[0-9]|boxed|d?frac|sqrt|[A-D](?:[。，.]|$)|[二两三四五六七八九十])",
    ),
}
"""The patterns of each sign of a sentence, for text in small or capital letters."""
_HINTS: dict[str, tuple[str, ...]] = {
    # The answer is said, in words that also explain a worked example.
    "stated": (
        rf"(?:{LEAD}|[,;] )(?:so|thus|hence|therefore|and so|which means),? (?:that )?{_ANSWER}:? ?[^\s:]",
        rf"(?:{LEAD}|[,;] (?:and|then) )(?:that )?{_ANSWER}:? ?{_VALUE}",
        rf"{LEAD}{_ANSWER_ELSEWHERE}:? ?{_VALUE}",
    ),
    # A solution begins, if nothing is asked any more.
    "steps": (
        rf"{LEAD}(?:let'?s (?:solve|work through|break) (?:it|this|that|the (?:problem|question|equation)|step)"
        r"|to (?:solve|answer|find) (?:this|it)(?: problem| question| equation)?,? (?:we|i|let|first|start|you|use)\b"
        r"|(?:therefore|thus|hence),)",
    ),
    # What follows is an answer or a solution.
    "label": (
        rf"{LEAD}(?:the )?(?:correct |final |right |short |model )?(?:answer|ans|(?:correct|right) (?:option|choice)"
        rf"|solution|answer key|rationale"
        r"|antwort|lösung|réponse|respuesta|solución|risposta|soluzione|resposta|solução|ответ|решение|答案|参考答案"
        r"|解|解析|解答|答|답|정답|풀이|答え|الجواب|الحل)\*? ?[:：.][*_]*\s*$",
        rf"{LEAD}(?:(?:so|thus|hence|therefore),? )?{_ANSWER}[:：][*_]*\s*$",
        r"^[\s*_#]*(?:solution|answer key)[*_]*\s*$",
    ),
    # A question in the dialogue of few-shot prompts, and its answer.
    "q": (r"^[\s*_#]*q(?:uestion)?[*_]*[ 0-9]*[:：.]",),
    "a": (r"^[\s*_#]*a[*_]*[ 0-9]*[:：][*_]*\s*$",),
    # The same, but for worked examples, which problems of programming come with.
    "explanation": (rf"{LEAD}explanation[:.][*_]*\s*$", r"^[\s*_#]*explanation[*_]*\s*$"),
    "example": (r"^[\s*_#]*(?:examples?|sample|input|output)\b",),
    # It says how to write the answer.
    "format": (
        rf"{LEAD}(?:please |then |also |and )*(?:put|place|write|give|express|present|enclose|wrap|report|return"
        r"|provide|state|format|box|remember|make sure|your|output)\b.*(?:\\boxed|####|answer)",
        r"answer (?:is|must be|will be|=) [^.]*(?:digits?\b|decimals?\b|integer|in the form|rounded|simplified)",
    ),
    # A gap as it is printed, and that it is to be filled in, or with what.
    "blanks": (r"[a-z,] \$?_{3,},? [a-z]|^\s*_{3,} [a-z]|\[blank\](?:[^(]|$)",),
    "fill": (
        r"\bfill\b|\bblanks?\b|\bcomplete (?:the|this|each)\b|\bmissing\b|^\s*(?:options|choices|answer choices)\W*$"
        r"|^\s*\(?[a-e][.):](?:\s|$)|填空|填入|填上|横线|\b(?:ergänze|complétez|completa)\b",
    ),
}
_PATTERNS = PatternSets(SIGNS | _HINTS, anchored=False)
_CODE = re.compile(r"`[^`]*`")


class Question(Rule, frozen=True):
    """Looks for what makes a generated question well posed; reads the text as that question.

    With `strict` the verdict is DEAD once a sentence leaves a gap to fill in or gives the answer away; else it
    is always UNKNOWN.
    """

    name = "question"
    version = "2"
    columns = (*SIGNS, "after")
    """Sentences so far, the unfinished one included, that ask something (`asks`), hold a quantity
    (`quantities`), refer to what is not there (`dangling`), leave a gap to fill in (`placeholders`) or give the
    answer away (`leaks`); `after`: characters after the last sentence that asks, NaN before the first.
    """
    strict: bool = False

    def _state(self, _: str) -> TextState:
        return _QuestionState(self.strict)


class _QuestionState(TextState):
    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._cutter = SentenceCutter()
        self._reader = _Reader()
        self._counts = dict.fromkeys((*SIGNS, "steps", "blanks"), 0)  # of finished sentences
        self._asked_at = math.nan
        self._end = 0  # characters fed

    def _read(self, text: str) -> Evidence:
        read = text[: max(0, READ - self._end)]
        self._end += len(text)
        for sentence, _, end in self._cutter.feed(read):
            found = self._reader.signs(sentence)
            self._reader.read(sentence, found)
            self._counts = _counted(self._counts, found)
            if "asks" in found:
                self._asked_at = end
        last, _, end = self._cutter.unfinished
        found = self._reader.signs(last)
        asked_at = end if "asks" in found else self._asked_at
        counts = _counted(self._counts, found)
        if not (self._reader.fill or "fill" in found):
            counts["placeholders"] += counts["blanks"]
        counts["leaks"] += counts["steps"]
        dead = self._strict and counts["placeholders"] + counts["leaks"] > 0
        return evidence(*(counts[sign] for sign in SIGNS), self._end - asked_at, dead=dead)


def _counted(counts: dict[str, int], found: Set[str]) -> dict[str, int]:
    """Return the counts with those of one more sentence; steps before a question are of its story."""
    counts = {sign: number + (sign in found) for sign, number in counts.items()}
    if "asks" in found:
        counts["steps"] = 0
    return counts


class _Reader:
    """Tells the signs of each sentence from its words and from what came before."""

    def __init__(self) -> None:
        self._code = False  # between fences
        self._asked = False
        self._example = False
        self._dialogue = False  # the text says "Q:"
        self._label = False  # what comes next is an answer
        self.fill = False  # gaps are what is asked for

    def signs(self, sentence: str) -> Set[str]:
        """Return the signs of the next sentence, finished or not."""
        found = set(_PATTERNS.found(sentence))
        if self._code or sentence.lstrip().startswith("```"):
            return found & {"quantities"}
        if "`" in sentence and not found.isdisjoint(("placeholders", "blanks")):
            found -= {"placeholders", "blanks"} - _PATTERNS.found(_CODE.sub(" ", sentence))
        if self._example or not self._asked:
            found.discard("steps")
        if (self._label and sentence.strip(" _*.\t\n)]") != "") or ("stated" in found and not self._example):
            found.add("leaks")
        if not found.isdisjoint(("asks", "format")):
            found -= {"leaks", "steps"}
        if "format" in found:
            found.discard("placeholders")
        if "leaks" in found:
            found.discard("steps")
        return found

    def read(self, sentence: str, found: Set[str]) -> None:
        """Take a finished sentence with its signs."""
        if sentence.lstrip().startswith("```"):
            self._code = not self._code
        self._asked = self._asked or "asks" in found
        self._example = self._example or "example" in found
        self.fill = self.fill or "fill" in found
        self._dialogue = self._dialogue or "q" in found
        if "label" in found or (self._dialogue and "a" in found) or ("explanation" in found and not self._example):
            self._label = True
        elif not sentence.isspace():
            self._label = False
