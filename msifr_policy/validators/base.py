"""What a validator is: fast evidence from partial text, one code path offline and in flight.

A **validator** is a frozen record of parameters. `start(prompt)` gives the state of one attempt;
`state.feed(text, tokens)` takes the *new* text only and returns the **evidence** so far.

Contract, held by property tests over every registered validator:

* chunking: any way of cutting a text into pieces gives the same evidence at its end as one piece;
* cost: O(new text) time, bounded memory, on any text whatsoever;
* `state.copy()` is independent of the original (attempts can be forked);
* scores are finite floats, or NaN for "not known".
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["NO_TOKENS", "Evidence", "Tokens", "Validator", "ValidatorState", "Verdict"]


class Verdict(IntEnum):
    """What a validator says of an attempt at its default setting.

    DEAD is reserved for what cannot become acceptable any more; it is evidence like any other and
    discards nothing by itself.
    """

    ALIVE = -1
    UNKNOWN = 0
    DEAD = 1


class Evidence(NamedTuple):
    """Evidence of one validator: its verdict and one score per name in `Validator.columns`."""

    verdict: Verdict
    scores: tuple[float, ...]


class Tokens(NamedTuple):
    """The tokens behind a piece of text: their `number`, and their `logprobs` where an engine has them."""

    number: int = 0
    logprobs: tuple[float, ...] = ()


NO_TOKENS = Tokens()


class ValidatorState(Protocol):
    """State of one attempt under one validator."""

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Take the new `text` (may be empty) and return the evidence on everything fed so far."""

    def copy(self) -> ValidatorState:
        """Return an independent state that has seen the same text."""


@runtime_checkable
class Validator(Protocol):
    """Parameters of a validator: an immutable msgspec.Struct, so that a policy file can hold it."""

    @property
    def name(self) -> str:
        """Unique name, `[a-z_]+`; prefix of its evidence columns."""

    @property
    def version(self) -> str:
        """Changes whenever the evidence on some text changes; checked when a policy file is loaded."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the scores, without the validator's name."""

    def start(self, prompt: str) -> ValidatorState:
        """Return the state of a fresh attempt at `prompt`."""
