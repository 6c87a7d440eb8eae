"""Whether a text claims the equations it shows.

It does not if it asks, supposes, denies or strikes them, quotes them as a mistake or as what somebody else says, or
takes them back in what follows. The words that show this stand before the equation in its sentence (or in the line
above, if that ends in a colon), after it in its sentence, or at the beginning of the next one. They are read only where
an equation is false, so their number costs nothing elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from msifr_policy.validators.equations.judge import JudgedEquation, half_place
from msifr_policy.validators.equations.systems import DECIMAL, Systems
from msifr_policy.validators.readers.clauses import LIMIT, Clause
from msifr_policy.validators.readers.sentences import PatternSets

_WIDTH = 240
"""Characters before and after an equation that are read."""
_MOST = 16
"""Claims of one sentence that are kept open."""
KEPT = 12
"""Clauses before an equation in which what leads to it is looked for."""
_ENDS = (".", "?", "!", '"')

_NOT_TO = r"(?:$|[^ ]| (?:$|[^tf]|t(?:$|[^o]|o[a-z])|f(?:$|[^o])))"  # not "to" or "for" next
_WRONG = (
    r"\b(?:wrong|incorrect|false|untrue|invalid|absurd|nonsens\w*|erroneous|mistake[ns]?|slips?|typos?"
    r"|fallac\w+"
    r"|misconception|contradict\w*|bogus|misread|misstated?|a lie)\b",
    r"\b(?:in|an|my|this|the) error\b|\b(?:common|typical|frequent|classic|careless|usual|arithmetic|calculation"
    r"|student|sign) errors?\b",
    r"\b(?:not|n't|cannot|never) (?:be |even |quite |a |an |actually |necessarily |yet |in fact |give "
    r"|make )?(?:true|correct"
    r"|right|valid|hold|holds|equal|work|works|the case|satisf\w*|sense|add up|so\b|consistent"
    r"|what|allowed"
    r"|mean|means|be\b|solution)",
    # What is impossible to do, and values that do not match each other, are no judgements of an equation.
    rf"\b(?:impossible|(?:not|never) (?:be |even |quite |actually )?possible){_NOT_TO}",
    r"\b(?:does|did|is|it)(?: not|n't) (?:a )?match|\bsides (?:do|are)(?: not|n't) (?:match|equal|the same|agree)",
    r"\b(?:has|have) no (?:proof|solution|meaning)\b",
    r"\bn't (?:true|correct|right|valid|hold|equal|work|so\b|satisf|make|add up|the case)",
    r"[✗✘❌]",
    r"\b(?:falsch|stimmt nicht|gilt nicht|nicht richtig|nicht wahr|fehler|irrtum)\b",
    r"\b(?:faux|fausse|inexact|erreur|incorrecte|n'est pas)\b",
    r"\b(?:falso|falsa|incorrect[oa]|err[oó]ne[oa]|equivocad[oa]|no es (?:cierto|verdad|correcto)|un error\b"
    r"|error com[uú]n)",
    r"\b(?:sbagliat[oa]|scorrett[oa]|un errore|non è (?:vero|corretto|giusto))",
    r"\b(?:errad[oa]|incorret[oa]|um erro|não é (?:verdade|certo|correto))",
    r"\b(?:fout|onjuist|niet (?:waar|juist|correct|gelijk))\b",
    r"(?:błąd|błędn|fałsz|nieprawd|nie jest)",
    r"(?:неверн|неправильн|ошибк|ошибочн|не равно|неправда)",
    r"(?:错误|錯誤|不正确|不對|不对|不等于|不成立|間違|誤り|正しくない|と[言書答]|틀렸|틀린|오류|라고 )",
)
_MISTAKES = (
    r"(?:forg[oe]t\w*|mis(?:read|count|calculat|add|tak|plac|heard|appl|underst|remember|cop)[a-z]*|careless\w*"
    r"|confused|broken|faulty|defective|bugs?|glitch)"
)
_GOT = (
    r"(?:got|gets?|gives?|gave|shows?|showed|obtain(?:s|ed)|wrote|writes|(?:ended|ends|came|comes) up with|calculated"
    r"|computed|puts?|answered|prints?|returns?|outputs?|displays?|would (?:have|get|be))"
)
_WORDS = PatternSets(
    {
        "wrong": _WRONG,
        "denied": (
            r"\bnot (?:that|because|say|write|claim|imply|as|conclude)\b|\bnot [^a-z]{3,}$",
            r"\b(?:does|do|did|is|was|would|should|could|can)(?: not|n't) (?:say|write|claim|imply|conclude|that"
            r"|think|believe)",
            r"\b(?:don't|never|nobody|no one) (?:say|write|claim|think|conclude|assume|believe|put)",
            r"\b(?:can't|cannot|mustn't|must not|shouldn't|may not) (?:say|write|claim|conclude|put)",
            r"\b(?:someone|somebody|anyone|one|you|they|we) (?:might|may|could) (?:be tempted|\w*ly )?(?:write|think"
            r"|say|guess|put|believe"
            r"| to)",
            r"\b(?:forg[oe]ts?|forgetting|fails? to|failing to|neglects?) ",
            r"\b(?:den(?:y|ies|ied)|refut\w+|disprov\w+|disput\w+|doubt(?:s|ed)?|disagree\w*)\b",
            r"\b(?:rather than|instead of|as opposed to)\b",
            r"\b(?:impossible|not possible) (?:to|for \w+ to) (?:have|get|write|say|make|claim|obtain) [^a-z]*$",
            r"\b(?:wrongly|incorrectly|mistakenly|falsely|erroneously|naive(?:ly)?|tempting|distractor|pitfall|trap)\b",
        ),
        "erred": (
            rf"\b(?:{_MISTAKES}|neglect\w*|fail(?:s|ed|ing)? to|skip(?:s|ped)|ignore[sd])\b.{{0,90}} {_GOT}[^a-z]*$",
            r"\bexpect(?:s|ed)?\b.{0,90} (?:got|received|returned)\b[^a-z]*$",
            rf"\b(?:because|since|as) (?:\w+ ){{1,4}}?(?:{_MISTAKES}|wrong\w*|buggy|made an? (?:\w+ )?(?:error|slip))",
        ),
        "said": (
            r"\b(?:says|said|claims|claimed|thinks|believes|believed|wrote|writes|argue[sd]|insist(?:s|ed)"
            r"|assert(?:s|ed)"
            r"|guess(?:es|ed)|answered|told|tells|replie[sd]|jokes?|joked|proposes?|proposed)\b",
            r"\b(?:thought|state[sd]?) that\b",
            r"\baccording to (?:him|her|them|some|my|his|her|this student|the student)\b",
            r"\b(?:students|pupils|children|kids|beginners|people|learners) (?:\w+ )?(?:often|might|sometimes|commonly"
            r"|usually|frequently|tend|think|say|write|wrote)\b",
            r"\b(?:student|pupil|classmate)(?:'s (?:work|answer|solution|attempt)\b| (?:\w+ )?(?:adds|added|got"
            r"|computes"
            r"|computed|made)\b)",
            r"\b(?:sagt|sagte|schreibt|schrieb|behauptet|behauptete|meint|glaubt|denkt)\b",
            r"(?:dit que|prétend|écrit|croit|pense que|affirme) ",
            r"\b(?:dice que|dijo que|escribi(?:ó|eron)|escriben? |cree que|afirma|piensa que)",
            r"\b(?:dice che|ha scritto|scrive|crede che|sostiene|pensa che)\b",
            r"\b(?:diz que|disse que|escreveu|acha que|afirma que)\b",
            r"\b(?:zegt|schreef|schrijft|beweert|denkt|twierdzi|mówi|napisał)",
            r"(?:говорит|сказал|утвержда|написал|считает|думает)",
            r"(?:[他她人]说|认为|写成|写道|声称|と言|と書|と思)",
        ),
        "supposed": (
            r"\b(?:if|whether|suppos(?:e|ing)|assum(?:e|ing|es)|imagine|pretend|what if|unless|as though"
            r"|hypothetical(?:ly)?"
            r"|a world|say that|let's say|let us say)\b",
            r"\b(?:wenn|angenommen|ob es|supposons|supongamos|supón|supondo|suponha|supponiamo|stel dat|jeśli|gdyby"
            r"|załóżmy)\b",
            r"\b(?:si|se|als|ob) (?:[0-9]|on|le|la|les|el|los|las|un|il|lo|o|a|we|het|de|das|fuera|fosse|tenemos"
            r"|abbiamo)\b",
            r"(?:если|допустим|предположим|пусть)",
            r"(?:如果|假如|假设|假設|もし|仮に)",
        ),
        "rounded": (
            r"\b(?:round\w*|nearest|estimat\w+|approximat\w+|roughly|gerundet|ungefähr|geschätzt|arrondi\w*|environ"
            r"|redonde\w+|aproximad\w+|arredond\w+|arrotond\w+|circa|afgerond|ongeveer|zaokrągl\w*|około)",
            r"(?:округл|примерно|приблизительно|约|約|大约|四舍五入)",
        ),
    },
    anchored=False,
)
_OF_IT = (
    r"(?:again|as|because|since|so|but|it|this|that|the|a|an|and|here|step|sum|product|difference|result|equation"
    r"|calculation|computation|arithmetic|addition|subtraction|multiplication|division|answer|value|total|math)\b"
)
_ANSWERS = PatternSets(
    {
        "no": (
            r"(?:no|nope|nah|nein|non|nie|nee|nej|não|нет|不是?|いいえ|아니요?)(?:\s*[.,!;:—–。，！]|\s*$"
            r"| (?:it|that|this|you)\b)",
            # "Incorrect input" is said of something else.
            rf"(?:wrong|incorrect|false|invalid)(?:[^a-z ]|$| (?:$|[^a-z]|{_OF_IT}))",
            rf"(?:impossible){_NOT_TO}",
            r"(?:untrue|absurd|nonsense|(?:a )?contradiction|correction|corrected|oops|sorry"
            r"|not (?:quite|true|correct|right|so|equal))\b|✗|✘|❌",
            r"(?:falsch|faux|falso|sbagliato|errado|fout|błąd|неверно|неправильно|错|不对|違)",
        ),
        "it": (
            r"(?:(?:but|however|yet|and|well|clearly|obviously|of course)\W+)?(?:that|this|it|which|these|both"
            r"|the (?:above|last|previous) \w+|the (?:(?:two )?sides|equation|statement|claim|sum|result|answer)"
            r"|the left side|these two|his|her|their)\b",
            r"i (?:made|was|mis\w+)\b|my bad",
            r"(?:das|dies|cela|c'est|ce|eso|esto|questo|isso|isto|dat|dit|to|это|но это|这|那|これ|それ)",
        ),
        "right": (
            r"(?:the|a|his|her|their|its|my|our|in fact|in reality|really|actually|it|that|this|so|right"
            r"|correct)\b.{0,60}"
            r"\b(?:correct|right|actual|actually|true|proper|really|should|sum|difference|product|quotient|total)",
            r"(?:correct|right|actual|actually|richtig|correcto|corretto|correto|правильн|正确|正しく)",
        ),
    },
    anchored=True,
    lead=r"[\s>*_#\"'“‘(\]-]{0,8}(?:(?:but|and|well|oh|so|yes|however|teacher|tutor|answer|a|b|reply)[,:]? ?)?",
)
_TURNS = re.compile(
    r"\b(?:but|however|then|thus|hence|therefore|so|whereas|while|correctly|because|since|instead(?! of)"
    r"|(?:the|in) (?:correct|right|true|truth|reality|fact))\b",
    re.IGNORECASE,
)


_PREDICATE = re.compile(
    r"=[^A-Za-z=]{1,60}(?:\\\)|\$)? (?:is|are|was|has|have|divides?|satisf(?:y|ies)) "
    r"(?!(?:not |in fact |really |actually |even )?(?:true|correct|right|valid|possible|so\b|wrong|false|incorrect))"
)  # of what is computed on the way: whether 3 + 4 = 7 is prime
_ASKED = re.compile(r"=[^a-zA-Z?]{0,60}\?")
_NUMBER = re.compile(r"[0-9]{1,12}(?:,[0-9]{3})*(?:\.[0-9]{1,12}|/[0-9]{1,12})?")
_LIST_ITEM = re.compile(r"\s*(?:[-*•–+|>]|\(?[0-9]{1,3}[.)]|\(?[a-zA-Z][.)])")
_OPENS = re.compile(r"(?:[A-Za-z,] [\"']|[“„«‘])[^A-Za-z\"“”„«»]{1,60}$")
_CLOSES = re.compile(r"=[^A-Za-z\"“”„«»]{1,60}[\"'”“»’]")
_LEFT = re.compile(r"[^A-Za-z=,;:\"]{3,80}$")
_RIGHT = re.compile(r"=[^A-Za-z=,;:\"]{1,80}")
_STRIKES = re.compile(r"~~|</?(?:del|s|strike)>")
_ROUGH = 0.02  # relative error of what is rounded or estimated
_EXACT = 2  # decimals of a result that is no rough one: it is rounded in its last digit alone
_FEW = 3  # numbers of a sentence that says what is right instead
_CUT = ("+", "-", "*", "/", "×", "÷", "^", "(")  # at the end of a clause: its expression goes on


class _Claim(NamedTuple):
    """A false equation that the text has claimed so far."""

    equation: JudgedEquation
    end: int  # of its clause
    stands: bool  # whether its sentence may no longer be awaited


class Claims:
    """The false equations that a text claims, and how many it only shows.

    A claim counts when something other than a comma, a colon or a semicolon follows it. It may still be taken
    back until the next sentence has ended.
    """

    def __init__(self, prompt: str) -> None:
        self._given = "".join(prompt.split()) if "=" in prompt else ""
        self._count = self._first = 0  # of the claims that can no longer be taken back
        self._kept: list[_Claim] = []  # those before the last sentence that a like one may still take back with it
        self._worst = 0.0
        self.shown = 0  # false equations that are not claimed
        self._open: list[_Claim] = []  # of this sentence
        self._recent: list[_Claim] = []  # of the sentence before
        self._heard = ""  # how this sentence begins, while there are claims

    def so_far(self) -> tuple[int, int, float]:
        """Return how many claims there are, where the clause of the first ended (0: none), and the largest error."""
        standing = [claim for claim in (*self._kept, *self._recent, *self._open) if claim.stands]
        if not standing:
            return self._count, self._first, self._worst
        worst = max(self._worst, *(claim.equation.error for claim in standing))
        return self._count + len(standing), self._first or standing[0].end, worst

    @property
    def awaited(self) -> bool:
        """Whether some claims may still be taken back, so that the next clause must be read."""
        return bool(self._open or self._recent)

    def take(
        self, clause: Clause, false: list[JudgedEquation], text: str, trail: Sequence[Clause], systems: Systems
    ) -> None:
        """Read a clause with its false equations, whose places are those in `text`.

        `trail` are the last `KEPT` clauses before it, `systems` those that it mentions. A clause without false
        equations need not be read while nothing is awaited.
        """
        mark = clause.mark[:1]
        if clause.text and not clause.text.isspace():
            self._hear(clause.text + mark, systems)
        if false:
            last = trail[-1].text.rstrip().removesuffix("**") if trail else ""  # bold type
            cut = last.endswith(_CUT) and "=" not in text[: false[0].place]
            # All equations of a clause share its words: they are read once.
            if not cut and self._claimed(_said_before(trail, clause.text), text, false):
                self._open += [_Claim(equation, clause.end, stands=False) for equation in false]
            else:
                self.shown += len(false)
        if self._open:
            ended = mark not in (",", ";", ":", "")
            self._open = [c._replace(stands=True) if ended or clause.end - c.end > LIMIT else c for c in self._open]
            for claim in self._open[:-_MOST]:
                self._keep(claim)
            del self._open[:-_MOST]
        if _ends_sentence(clause) and (self._heard or self._open):
            self._end_sentence(asked=mark == "?")

    def _end_sentence(self, *, asked: bool) -> None:
        for claim in self._recent:
            self._keep(claim)
        self.shown += len(self._open) if asked else 0
        self._recent = [] if asked else [claim._replace(stands=True) for claim in self._open]
        self._open = []
        self._heard = ""

    def _keep(self, claim: _Claim) -> None:
        self._kept.append(claim._replace(stands=True))
        if len(self._kept) > _MOST:
            first = self._kept.pop(0)
            self._count += 1
            self._first = self._first or first.end
            self._worst = max(self._worst, first.equation.error)

    def _take_back(self, claim: _Claim) -> None:
        """Take back a claim, and those before it that it only simplifies: 2 + √1 = 3 - 2, so 2 + 1 = 1."""
        kept = [other for other in self._kept if other.equation.values != claim.equation.values]
        self.shown += 1 + len(self._kept) - len(kept)
        self._kept = kept

    def _hear(self, text: str, systems: Systems) -> None:
        """Take back what this clause takes back: of its own sentence, or of the one before."""
        heard = f"{self._heard} {text}"[:_WIDTH]
        if self._recent and len(self._heard) < _WIDTH:
            self._recent = self._left(self._recent, heard, systems, answer=True)
        if self._open:
            self._open = self._left(self._open, text[:_WIDTH], systems, answer=False)
        self._heard = heard

    def _left(self, claims: list[_Claim], text: str, systems: Systems, *, answer: bool) -> list[_Claim]:
        """Return the claims that `text` leaves: an answer to them, or the rest of their sentence."""
        answers = _ANSWERS.found(text)
        if "no" in answers:
            back = True
        elif "it" in answers or not (answer or _TURNS.match(text.lstrip())):
            back = "wrong" in _WORDS.found(text)
        else:
            back = False
        numbers = list(_numbers(text)) if "right" in answers else []
        repairs = numbers if len(numbers) <= _FEW else []
        if not (back or repairs) and systems == DECIMAL:
            return claims
        left = []
        for claim in claims:
            repaired = claim.equation.value in repairs
            if back or repaired or _in_systems(claim.equation, systems):
                self._take_back(claim)
            else:
                left.append(claim)
        return left

    def _claimed(self, said: tuple[str, str], text: str, false: list[JudgedEquation]) -> bool:
        """Say whether a sentence claims the equations of its clause `text`, given what was said in it before that."""
        clause, rest = text[: false[0].place][-_WIDTH:], text[false[-1].place :][:_WIDTH]
        if _ASKED.match(rest) or (_OPENS.search(clause) and _CLOSES.match(rest)) or self._is_given(clause, rest):
            return False
        sentence, led = said
        before = f"{sentence} {clause}"[-_WIDTH:]
        if _is_struck(before):
            return False
        everything, since = _WORDS.found(before), _since_turn(before)
        words = everything if len(since) == len(before) else _WORDS.found(since)
        if words & {"wrong", "denied", "said"} or "erred" in everything:
            return False
        supposed = "supposed" in words and not _PREDICATE.match(rest)
        if supposed and "supposed" in _WORDS.found(_since_turn(f"{led} {clause}")):
            return False
        turn = _TURNS.search(rest)
        after = _WORDS.found(rest[: turn.start()] if turn else rest)
        if turn and "erred" in _WORDS.found(rest):
            return False
        return "wrong" not in after and not ("rounded" in {*words, *after} and all(map(_is_rough, false)))

    def _is_given(self, clause: str, rest: str) -> bool:
        """Say whether the prompt shows the equation."""
        if not self._given or not (left := _LEFT.search(clause)) or not (right := _RIGHT.match(rest)):
            return False
        return "".join(f"{left[0]}{right[0]}".split()).strip("$.()") in self._given


def _said_before(trail: Iterable[Clause], text: str) -> tuple[str, str]:
    """Return what was said in its sentence before the clause `text`, and the part of that which leads to it by a colon.

    A line that ends in a colon begins the sentence of the next line, and of all items of a list that it heads.
    """
    lines: list[list[Clause]] = [[]]
    for clause in trail:
        lines[-1].append(clause)
        if clause.line:
            lines.append([])
    line = lines.pop()
    sentence = _last_sentence(line)
    if len(sentence) == len(line):
        item = _is_item(line[0].text + line[0].mark if line else text)
        for above in reversed(lines):
            shown = "".join(f"{clause.text}{clause.mark}" for clause in above).rstrip(" *_\n\\n")
            if not shown:
                continue
            if shown.endswith(":"):
                sentence = [*_last_sentence(above), *sentence]
            elif item and _is_item(shown):
                continue
            break
    # "Suppose, 3 = 4" leads to it too.
    leads = bool(sentence) and (sentence[-1].mark == ":" or not line or len(sentence[-1].text.split()) <= 2)
    led = sentence[-1].text if leads else ""
    return " ".join(clause.text for clause in sentence), led


def _last_sentence(line: list[Clause]) -> list[Clause]:
    """Return the clauses since the last sentence of a line has ended, but for blank ones."""
    start = max((i + 1 for i, clause in enumerate(line) if not clause.line and _ends_sentence(clause)), default=0)
    return [clause for clause in line[start:] if clause.text.strip()]


def _ends_sentence(clause: Clause) -> bool:
    return clause.line or (clause.mark[:1] in _ENDS and not clause.text.strip().isdigit())  # 1. begins an item


def _is_item(line: str) -> bool:
    return _LIST_ITEM.match(line) is not None


def _is_struck(text: str) -> bool:
    """Say whether what follows `text` is struck through."""
    marks = _STRIKES.findall(text) if "~~" in text or "<" in text else []
    return bool(marks) and (marks.count("~~") % 2 == 1 if marks[-1] == "~~" else marks[-1][1] != "/")


def _is_rough(equation: JudgedEquation) -> bool:
    """Say whether the result may be rounded or estimated: in its zeros, or within 2 percent."""
    if equation.sides is None or equation.value is None:
        return equation.error <= _ROUGH
    result = equation.sides[1].number or equation.sides[0].number
    if equation.error <= _ROUGH:
        return result is None or result.decimals < _EXACT
    return result is not None and abs(equation.value - result.value) <= half_place(result)


def _in_systems(equation: JudgedEquation, systems: Systems) -> bool:
    return systems != DECIMAL and equation.sides is not None and systems.allow(*equation.sides)


def _since_turn(text: str) -> str:
    """Return what follows the last word like "but" or "then": what was said before it was said of something else."""
    return text[max((turn.end() for turn in _TURNS.finditer(text)), default=0) :]


def _numbers(text: str) -> Iterator[Fraction]:
    for match in _NUMBER.finditer(text):
        number = match[0].replace(",", "")
        if not number.endswith(("/0", "/00", "/000")):
            yield Fraction(number)
