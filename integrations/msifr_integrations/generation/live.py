"""One attempt while it is generated: its text so far, and the policy that watches it.

Every token goes to the policy with the piece of text it completes, but for a last one that completes none (end of
sequence): the attempt is over then. A decision to stop counts whenever it falls. A replay that feeds
`text[token_ends[i - 1]:token_ends[i]]` with one token each, by the same rule, sees what the policy saw, so it decides
the same at the same checkpoints.

**Fail open.** A policy that raises, or that discards on a posterior that is no number, is not asked again on this
attempt: the attempt runs to its end, and the failure is counted.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from msifr_integrations.engine.base import Attempt, Event, Finish
from msifr_integrations.generation.text import Pieces
from msifr_policy.errors import InputError
from msifr_policy.filters import Prompt
from msifr_policy.policy import Action, Decision, Policy, PolicyRun


class Task(NamedTuple):
    """An attempt to be made, and at which prompt."""

    prompt: Prompt
    attempt: Attempt


class Live:
    """State of one attempt. `prompt` is the text the policy is started with.

    token_ends, logprobs: one entry per sampled token, as in a trace.
    wasted: tokens sampled after the decision to stop.
    finish: how the attempt ended by itself, "" if it has not.
    decision: the decision to discard it, None if there is none.
    """

    def __init__(self, prompt: str, policy: Policy, tokenizer: Any) -> None:
        self.token_ends: list[int] = []
        self.logprobs: list[float] = []
        self.wasted = 0
        self.finish: Finish = ""
        self.decision: Decision | None = None
        self._checkpoints: list[tuple[int, int]] = []  # k and the tokens sampled until then
        self._pieces = Pieces(tokenizer)
        self._failures: Counter[str] = Counter()
        self._run: PolicyRun | None = None
        self._asked = True
        try:
            self._run = policy.start(prompt)
        except Exception as error:  # fail open
            self._fail(type(error).__name__)

    @property
    def text(self) -> str:
        """The text so far, without characters whose last byte has not come."""
        return self._pieces.text

    @property
    def tokens(self) -> int:
        """Tokens sampled."""
        return len(self.token_ends)

    @property
    def stages(self) -> tuple[int, ...]:
        """Tokens sampled in stage 1, 2, …; they sum to `tokens`.

        An attempt that ended by itself has one stage more than it passed checkpoints, though perhaps of 0 tokens.
        """
        stages: list[int] = []
        before = 0
        for k, tokens in self._checkpoints:
            stages += [0] * (k - 1 - len(stages))  # checkpoints that the same token passed
            stages.append(tokens - before)
            before = tokens
        over = self.finish and self.decision is None
        return (*stages, self.tokens - before) if over or self.tokens > before else tuple(stages)

    @property
    def failures(self) -> Mapping[str, int]:
        """Failures of validators, and of the policy itself, by `name: error type`."""
        return self._failures + Counter({} if self._run is None else dict(self._run.failures))

    def take(self, event: Event) -> Decision | None:
        """Take a sampled token; return the decision if the policy discards the attempt now.

        Raises `InputError` if the policy asks for an early exit, which engines cannot do.
        """
        self.logprobs.append(event.logprob)
        if self.decision is not None:
            self.token_ends.append(self._pieces.length)
            self.wasted += 1
            return None
        piece = self._pieces.push(event.token, last=bool(event.finish))
        self.token_ends.append(self._pieces.length)
        self.finish = event.finish
        decision = self._ask(piece, event.logprob)
        if decision is None:
            return None
        self._checkpoints.append((decision.k, self.tokens))
        if decision.action is Action.EXIT:
            raise InputError(
                f"the policy asks for an early exit at checkpoint {decision.k}",
                where=f"attempt {event.id!r}",
                remedy="engines cannot force an answer; use a policy that continues or discards",
            )
        if decision.action is Action.DISCARD:
            if math.isnan(decision.posterior):
                self._fail("posterior is not a number")
            else:
                self.decision = decision
        return self.decision

    def _ask(self, piece: str, logprob: float) -> Decision | None:
        if self._run is None or not self._asked or (self.finish and not piece):
            return None
        try:
            return self._run.feed(piece, 1, (logprob,))
        except Exception as error:  # fail open, see the module docstring
            self._fail(type(error).__name__)
            return None

    def _fail(self, what: str) -> None:
        self._failures[f"policy: {what}"] += 1
        self._asked = False
