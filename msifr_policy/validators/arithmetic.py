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
from msifr_policy.validators.equations.judge import Truth, judge, may_hold_equation
from msifr_policy.validators.readers.clauses import LIMIT, Clause, ClauseCutter


class Arithmetic(Rule, frozen=True):
    """Judges the equations in the text.

    The verdict is DEAD from `strikes` false equations on, unless the text has corrected itself before
    (`reflective` false equations are allowed then; None: any number), else UNKNOWN.
    """

    name = "arithmetic"
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

    def _state(self, _: str) -> TextState:
        return _ArithmeticState(self)


_CORRECTIONS = re.compile(r"[Ww]ait\b|[Hh]mm|[Dd]ouble-check|mistake|[Oo]ops|[Aa]ctually|[Ll]et me (?:check|verify|re)")
_RESIDUES = re.compile(r"\bp?mod\b|≡|\\equiv|modulo|modular|remainder")
_GOES_ON = re.compile(r"[\s&]*(?:=|≈|\\{1,2}approx)")


class _ArithmeticState(TextState):
    def __init__(self, rule: Arithmetic) -> None:
        self._rule = rule
        self._cutter = ClauseCutter()
        self._end = 0  # characters fed
        self._held = self._false = self._skipped = self._corrections = 0
        self._first = 0  # where the clause of the first false equation ended
        self._worst = 0.0
        self._residues = False
        self._before = ""  # what a line that begins with a relation goes on from

    def _read(self, text: str) -> Evidence:
        self._end += len(text)
        for clause in self._cutter.feed(text):
            self._take(clause)
        checked = self._held + self._false
        allowed: float = self._rule.strikes - 1
        if self._corrections:
            allowed = max(allowed, math.inf if self._rule.reflective is None else self._rule.reflective)
        share = self._false / checked if checked else math.nan
        since = self._end - self._first if self._false else 0
        worst, dead = math.log1p(100 * self._worst), self._false > allowed
        return evidence(checked, self._false, share, self._skipped, since, worst, self._corrections, dead=dead)

    def _take(self, clause: Clause) -> None:
        text = clause.text
        # Plain searches first: a pattern over every clause would cost more than all the rest.
        if (
            "ait" in text or "mm" in text or "mistake" in text or "et me " in text
            or "ctually" in text or "ouble-" in text or "ops" in text
        ):  # fmt: skip
            self._corrections += len(_CORRECTIONS.findall(text))
        if not self._residues and ("mod" in text or "≡" in text or "equiv" in text or "remainder" in text):
            self._residues = _RESIDUES.search(text) is not None
        if "=" in text or "≈" in text or "approx" in text:
            if self._before and _GOES_ON.match(text):
                text = f"{self._before}\n{text}"
            if may_hold_equation(text):
                self._judge(text, clause.end)
        if not clause.line:
            self._before = ""
        elif text.strip():
            self._before = text[text.rfind("=") + 1 :][-LIMIT:]

    def _judge(self, text: str, end: int) -> None:
        for truth, error in judge(text):
            if truth is Truth.HOLDS:
                self._held += 1
            elif truth is Truth.SKIPPED or self._residues:
                self._skipped += 1
            else:
                self._first = self._first if self._false else end
                self._false += 1
                self._worst = max(self._worst, error)
