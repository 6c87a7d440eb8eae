"""What a policy is while an attempt runs: it takes text and says CONTINUE, DISCARD or EXIT.

An engine needs nothing but this: `policy.start(prompt)` for each attempt, `run.begin()` before it is made,
`run.feed(text, tokens)` after each step, and the `Decision` they return at checkpoints (None in between). Where a
prompt brings parameters of its own, they are given to `start` as well; where it brings none, they are left out, so a
policy need not know of them.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias

Parameters: TypeAlias = Mapping[str, Mapping[str, Any]]
"""What a prompt asks of validators: by validator's name, then by parameter's. Under `ANY` stands what is for each
validator that has such a parameter and leaves it open (None)."""
ANY = ""
NO_PARAMETERS: Parameters = MappingProxyType({})


class Action(StrEnum):
    """What a policy chooses at a checkpoint."""

    CONTINUE = "continue"
    DISCARD = "discard"
    EXIT = "exit"


class Decision(NamedTuple):
    """A policy's choice at checkpoint `k`, 0 before the first token.

    `position` (characters) and `tokens` were seen; `posterior` is M_k, the conditional utility estimate; `worth` is
    what was compared with `threshold`; `reason` names the evidence that spoke most against the attempt (a validator's
    name), empty unless the action is DISCARD. `ahead`: tokens that a discarded attempt was expected still to take, NaN
    if the policy does not say.
    """

    action: Action
    k: int
    position: int
    tokens: int
    posterior: float
    threshold: float
    reason: str = ""
    worth: float = math.nan
    ahead: float = math.nan


class PolicyRun(Protocol):
    """A policy along one attempt.

    A run may lack `begin`: then the policy has no checkpoint 0, and every attempt is made.
    """

    def begin(self) -> Decision | None:
        """Return the decision before the first token, None if there is none; DISCARD: the attempt is not made.

        Called once at most, and before any text is fed.
        """

    def feed(self, text: str, tokens: int = 0, logprobs: Sequence[float] = ()) -> Decision | None:
        """Take new text, completed by `tokens` new tokens.

        Return the first decision to stop that the piece leads to, else the last CONTINUE, else None when it
        reached no checkpoint. Where a would-be discard is audited the run is fed on, and its later decisions are
        not obeyed. A run that has `posteriors`, M_k at the checkpoints so far, is told of in the ledger.
        """

    @property
    def failures(self) -> Mapping[str, int]:
        """Validators that failed on this attempt (`name: error type`), and how often. They never discard."""


class Policy(Protocol):
    """A discard policy that can run."""

    def start(self, prompt: str, parameters: Parameters = NO_PARAMETERS) -> PolicyRun:
        """Return the run of a fresh attempt at `prompt`, which asks `parameters` of validators."""


class NeverDiscard:
    """The policy that never discards, along any attempt: what runs when nothing was certified, and the base line."""

    failures: Mapping[str, int] = MappingProxyType({})

    def start(self, prompt: str, parameters: Parameters = NO_PARAMETERS) -> PolicyRun:
        """Return a run without checkpoints."""
        del prompt, parameters
        return self

    def feed(self, text: str, tokens: int = 0, logprobs: Sequence[float] = ()) -> Decision | None:
        """Reach no checkpoint."""
        del text, tokens, logprobs
        return None

    def begin(self) -> Decision | None:
        """Make every attempt."""
        return None

    def __repr__(self) -> str:
        return "NEVER_DISCARD"


NEVER_DISCARD = NeverDiscard()
