"""Equations that do not hold: the oldest sign that a derivation has gone wrong.

Running text is cut into clauses (`clauses`), and each equation of a clause is judged exactly as soon as the
clause is complete (`equations.judge`): holds, false, or skipped where anything was not understood. An
equation at the very end of the text is not judged before something ends its clause.

A false equation counts only if the text claims it (`equations.claims`): when its sentence has ended, and until the
next sentence takes it back. Otherwise it is skipped, as is one that may be true in another number system that the text
or its prompt mentions (`equations.systems`).

Text that corrects itself ("Wait, …", "Let me double-check") states false equations and repairs them. This is
counted, and keeps the verdict UNKNOWN.
"""

from __future__ import annotations

import math
import re
from collections import deque
from functools import cache
from typing import TYPE_CHECKING

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence
from msifr_policy.validators.equations.claims import KEPT, Claims
from msifr_policy.validators.equations.judge import JudgedEquation, Truth, judge, may_hold_equation, some_false
from msifr_policy.validators.equations.systems import DECIMAL, HINTS, given, mentioned
from msifr_policy.validators.readers.clauses import LIMIT, Clause, ClauseCutter

if TYPE_CHECKING:
    import re2


class Arithmetic(Rule, frozen=True):
    """Judges the equations in the text.

    The verdict is DEAD from `strikes` false equations on, unless the text has corrected itself before
    (`reflective` false equations are allowed then; None: any number), else UNKNOWN.
    """

    name = "arithmetic"
    version = "2"
    columns = ("checked", "false", "false_share", "skipped", "since_false", "worst", "corrections")
    """`checked`: equations that hold or are false; `false`: those that are false; `false_share`: of the
    checked, NaN without any; `skipped`: numeric equations not judged; `since_false`: characters since the
    first false equation, 0 without one; `worst`: log(1 + e) for the largest relative error of e percent;
    `corrections`: marks of self-correction.
    """
    strikes: int = 1
    reflective: int | None = None

    def __post_init__(self) -> None:
        self._check("strikes", self.strikes >= 1, "be at least 1")
        self._check("reflective", self.reflective is None or self.reflective >= 0, "not be negative")

    def _state(self, prompt: str) -> TextState:
        return _ArithmeticState(self, prompt)


_CORRECTIONS = re.compile(r"[Ww]ait\b|[Hh]mm|[Dd]ouble-check|mistake|[Oo]ops|[Aa]ctually|[Ll]et me (?:check|verify|re)")
_CORRECTION_HINTS = ("wait", "hmm", "double-check", "mistake", "oops", "actually", "let me (?:check|verify|re)")
_CORRECTION_BEGINNINGS = tuple(hint.split("(")[0] for hint in _CORRECTION_HINTS)
_THOUSANDS = re.compile(r"(?<![0-9,.])[0-9]{1,3}$")
_HUNDREDS = re.compile(r"\s[0-9]{3}(?![0-9.])")  # of 14, 400
_GOES_ON = re.compile(r"[\s&]*(?:=|≈|\\{1,2}approx)")


@cache
def _hints() -> re2._Regexp[bytes]:
    import re2

    return re2.compile(f"(?i){'|'.join((*_CORRECTION_HINTS, *HINTS))}".encode())


class _ArithmeticState(TextState):
    def __init__(self, rule: Arithmetic, prompt: str) -> None:
        self._rule = rule
        self._cutter = ClauseCutter()
        self._window = ""  # the text since the last clause
        self._end = 0  # characters fed
        self._prompt = prompt  # until an equation seems false: only then it matters what it says
        self._systems = DECIMAL
        self._claims = Claims(prompt)
        self._trail: deque[Clause] = deque(maxlen=KEPT)
        self._held = self._skipped = self._corrections = 0
        self._before = ""  # what a line that begins with a relation goes on from

    def _read(self, text: str) -> Evidence:
        self._end += len(text)
        self._window += text
        if clauses := list(self._cutter.feed(text)):
            self._take(clauses)
        false, first, worst = self._claims.so_far()
        checked = self._held + false
        allowed: float = self._rule.strikes - 1
        if self._corrections:
            allowed = max(allowed, math.inf if self._rule.reflective is None else self._rule.reflective)
        share = false / checked if checked else math.nan
        since = self._end - first if false else 0
        skipped = self._skipped + self._claims.shown
        worst, dead = math.log1p(100 * worst), false > allowed
        return evidence(checked, false, share, skipped, since, worst, self._corrections, dead=dead)

    def _take(self, clauses: list[Clause]) -> None:
        window = self._window
        # One pass for all clauses: patterns over every clause would cost more than all the rest.
        hints = {match[0].decode() for match in _hints().finditer(window.encode("utf-8", "replace"))}
        corrections = {hint for hint in hints if hint.lower().startswith(_CORRECTION_BEGINNINGS)}
        systems = hints - corrections
        for clause in clauses:
            text, _, line, _ = clause
            new = DECIMAL
            if corrections and any(hint in text for hint in corrections):
                self._corrections += len(_CORRECTIONS.findall(text))
            if systems and any(hint in text for hint in systems):
                new = mentioned(text)
                self._systems = self._systems.also(new)
            false: list[JudgedEquation] = []
            if "=" in text or "≈" in text or "approx" in text:
                if self._before and _GOES_ON.match(text):
                    text = f"{self._before}\n{text}"
                if may_hold_equation(text):
                    false = self._judge(text)
            if false or self._claims.awaited:
                self._claims.take(clause, false, text, self._trail, new)
            self._trail.append(clause)
            if not line:
                self._before = ""
            elif text.strip():
                self._before = text[text.rfind("=") + 1 :][-LIMIT:]
        self._window = window[len(window) - self._end + clauses[-1].end :]

    def _judge(self, text: str) -> list[JudgedEquation]:
        false = []
        lead = self._trail[-1].text if self._trail and self._trail[-1].mark == ":" else ""
        judged = judge(text, self._systems, lead)
        if self._prompt and some_false(judged):
            self._systems = self._systems.also(given(self._prompt))
            self._prompt = ""
            judged = judge(text, self._systems, lead)
        if self._trail and self._trail[-1].mark[:1] == "," and some_false(judged):
            head, tail = _THOUSANDS.search(self._trail[-1].text), _HUNDREDS.match(text)
            if head and tail and not some_false(joined := judge(f"{head[0]}{text.lstrip()}", self._systems, lead)):
                judged = joined
        for equation in judged:
            if equation.truth is Truth.HOLDS:
                self._held += 1
            elif equation.truth is Truth.SKIPPED:
                self._skipped += 1
            else:
                false.append(equation)
        return false
