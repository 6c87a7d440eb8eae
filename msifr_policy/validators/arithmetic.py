"""Equations that do not hold: the oldest sign that a derivation has gone wrong.

Running text is cut into clauses (`clauses`), and each equation of a clause is judged exactly as soon as the
clause is complete (`equations`): holds, false, or skipped where anything was not understood. An
equation at the very end of the text is not judged before something ends its clause.

Text that corrects itself ("Wait, …", "Let me double-check") states false equations and repairs them, and
text that computes with residues writes congruences as equations. The first is counted, and keeps the
verdict UNKNOWN; in the second a false equation counts as skipped.
"""

import math
import re

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence
from msifr_policy.validators.equations.claims import Claims
from msifr_policy.validators.equations.judge import JudgedEquation, Truth, judge, may_hold_equation
from msifr_policy.validators.equations.systems import DECIMAL, HINTS, LONGEST_HINT, given, mentioned
from msifr_policy.validators.readers.clauses import LIMIT, Clause, ClauseCutter


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
_GOES_ON = re.compile(r"[\s&]*(?:=|≈|\\{1,2}approx)")


class _ArithmeticState(TextState):
    def __init__(self, rule: Arithmetic, prompt: str) -> None:
        self._rule = rule
        self._cutter = ClauseCutter()
        self._claims = Claims(prompt)
        self._systems = given(prompt)
        self._end = 0  # characters fed
        self._tail = ""  # the last of them
        self._hinted = -1  # where the last hint of a system begins
        self._held = self._skipped = self._corrections = 0
        self._before = ""  # what a line that begins with a relation goes on from

    def _read(self, text: str) -> Evidence:
        self._end += len(text)
        window = self._tail + text
        self._tail = window[-LONGEST_HINT:]
        for hint in HINTS:
            if hint in window:
                self._hinted = max(self._hinted, self._end - len(window) + window.rfind(hint))
        for clause in self._cutter.feed(text):
            self._take(clause)
        false, first, worst = self._claims.so_far()
        checked = self._held + false
        allowed: float = self._rule.strikes - 1
        if self._corrections:
            allowed = max(allowed, math.inf if self._rule.reflective is None else self._rule.reflective)
        share = false / checked if checked else math.nan
        since = self._end - first if false else 0
        skipped = self._skipped + self._claims.shown
        return evidence(
            checked, false, share, skipped, since, math.log1p(100 * worst), self._corrections, dead=false > allowed
        )

    def _take(self, clause: Clause) -> None:
        text = clause.text
        # Plain searches first: a pattern over every clause would cost more than all the rest.
        if (
            "ait" in text or "mm" in text or "mistake" in text or "et me " in text
            or "ctually" in text or "ouble-" in text or "ops" in text
        ):  # fmt: skip
            self._corrections += len(_CORRECTIONS.findall(text))
        new = mentioned(text) if clause.end - len(text) - len(clause.mark) <= self._hinted else DECIMAL
        if new:
            self._systems = self._systems.also(new)
        false: list[JudgedEquation] = []
        if "=" in text or "≈" in text or "approx" in text:
            if self._before and _GOES_ON.match(text):
                text = f"{self._before}\n{text}"
            if may_hold_equation(text):
                false = self._judge(text)
        self._claims.take(clause, false, text, new)
        if not clause.line:
            self._before = ""
        elif text.strip():
            self._before = text[text.rfind("=") + 1 :][-LIMIT:]

    def _judge(self, text: str) -> list[JudgedEquation]:
        false = []
        for equation in judge(text, self._systems):
            if equation.truth is Truth.HOLDS:
                self._held += 1
            elif equation.truth is Truth.SKIPPED:
                self._skipped += 1
            else:
                false.append(equation)
        return false
