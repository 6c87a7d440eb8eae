"""Forced answers: what came of stopping an attempt at checkpoints and asking for its answer at once.

They are recorded in **shadow**: the attempt goes on to its end as if nothing had been asked, and each forced answer is
judged by the final filter. So a trace tells at every checkpoint of its exits what EXIT would have cost there, X_k, and
whether it would have been accepted: what e_k is fitted to [T8], and what certifies it.
"""

from itertools import pairwise
from typing import Any

import msgspec

_MOST = 2**63


class ForcedAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"accepted": "correct"}):
    """The answer that was forced at checkpoint `k` of an attempt.

    position: characters of the attempt's text that it follows; asked: what was put after them; text: what the model
    said then, in `tokens` sampled tokens; prompt_tokens: what it read for it, the prompt and the text so far included,
    0 where the engine does not tell. accepted: the outcome of all three together by the final filter.
    """

    k: int
    position: int
    asked: str
    text: str
    tokens: int
    accepted: bool
    prompt_tokens: int = 0

    def __post_init__(self) -> None:
        """Check what types alone cannot; msgspec turns a ValueError into a validation error."""
        for name in ("k", "position", "tokens", "prompt_tokens"):
            if not 0 <= getattr(self, name) < _MOST:
                raise ValueError(f"`{name}` of a forced answer is {getattr(self, name)!s:.40}")
        if not self.k:
            raise ValueError("no answer is forced before the first token")


class Exits(msgspec.Struct, frozen=True, kw_only=True):
    """Forced answers of an attempt, and by which plan they were asked for (`msifr_policy.evidence.exits.ExitPlan`).

    One at each checkpoint of the plan that the attempt reached with tokens ahead. schedule, every, prompt, tokens: as
    in the plan.
    """

    schedule: dict[str, Any]
    prompt: str
    tokens: int
    every: int = 1
    answers: list[ForcedAnswer]

    def __post_init__(self) -> None:
        """Check what types alone cannot."""
        ks = [answer.k for answer in self.answers]
        if any(after <= before for before, after in pairwise(ks)):
            raise ValueError("the checkpoints of `exits` must increase")
