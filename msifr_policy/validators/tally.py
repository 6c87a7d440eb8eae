"""The shortest kind of validator: its scores so far are all that it remembers of an attempt."""

from msifr_policy.validators.base import Evidence, Rule, TextState, ValidatorState


class Tally(Rule, frozen=True):
    """Base of validators that read new text with their own scores so far, 0 before the first text.

    A subclass names `name` and `columns`, and `version` once its evidence changes, and says in `read` what new text
    makes of the scores. How the text is cut must not matter: `msifr_policy.testing.check_validator` tells.
    """

    def read(self, text: str, scores: tuple[float, ...]) -> Evidence:
        """Return the evidence of the text so far, of which `text` is new and `scores` are of what came before."""
        raise NotImplementedError

    def _state(self, prompt: str) -> ValidatorState:
        del prompt
        return _Tallying(self)


class _Tallying(TextState):
    def __init__(self, rule: Tally) -> None:
        self._rule = rule
        self._scores = (0.0,) * len(rule.columns)

    def _read(self, text: str) -> Evidence:
        evidence = self._rule.read(text, self._scores)
        self._scores = evidence.scores
        return evidence
