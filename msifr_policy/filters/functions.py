"""Filters that ask a function of the user's: whether to accept, or for a score, of a reward model or a judge."""

import math
from collections.abc import Callable

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.filters.base import Judgement, Prompt
from msifr_policy.filters.decided import DecidedReader


class FunctionFilter(msgspec.Struct, frozen=True):
    """Accepts what a function of (prompt, text) returns true for.

    If the function knows before a text ends that its verdict is certain, it can say so by an attribute `reader`: a
    function of the prompt that returns a `DecidedReader` for one attempt, or None.
    """

    function: Callable[[Prompt, str], bool | Judgement]
    name: str

    def reader(self, prompt: Prompt) -> DecidedReader | None:
        """Return the reader that the function offers, if it does; see `msifr_policy.filters.decided`."""
        offered: Callable[[Prompt], DecidedReader | None] | None = getattr(self.function, "reader", None)
        return None if offered is None else offered(prompt)

    def check(self, prompt: Prompt) -> None:
        """Do nothing: what the function needs is the function's to know."""

    def __call__(self, prompt: Prompt, text: str) -> bool | Judgement:
        """Ask the function; what it raises is raised."""
        verdict = self.function(prompt, text)
        return verdict if isinstance(verdict, Judgement) else bool(verdict)


class ScoreThreshold(msgspec.Struct, frozen=True):
    """Accepts a text whose `score(prompt, text)` is at least `threshold`, in the unit of the score.

    `scorer` is what the score is called: name the model and its version, since a run is only resumed, and two runs
    are only compared, under equal names. The score itself goes into the judgement, hence into the output, so another
    threshold can be tried without generating again. A score that is NaN, is no number, or raises, is a failure.

    Raises `InputError` for a threshold that is not finite and for an empty name.
    """

    score: Callable[[Prompt, str], float]
    threshold: float
    scorer: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise InputError(f"threshold {self.threshold} must be a finite number", where="score filter")
        if not self.scorer:
            raise InputError("the score has no name", where="score filter", remedy="give scorer=, with its version")

    @property
    def name(self) -> str:
        """`score`, with what the score is called and its threshold."""
        return f"score[{self.scorer} >= {float(self.threshold)!r}]"

    def check(self, prompt: Prompt) -> None:
        """Do nothing: what the score needs is the score's to know."""

    def __call__(self, prompt: Prompt, text: str) -> Judgement:
        """Ask for the score and compare."""
        try:
            score = float(self.score(prompt, text))
        except Exception as error:
            # One text that a judge chokes on must not end a run; it is counted instead.
            return Judgement(accepted=False, failure=f"the score raised {type(error).__name__}")
        if math.isnan(score):
            return Judgement(accepted=False, failure="the score is NaN")
        return Judgement(accepted=score >= self.threshold, score=score)
