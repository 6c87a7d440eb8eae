"""What a validator is: fast evidence from partial text, one code path offline and in flight.

A **validator** is a frozen record of parameters. `start(prompt)` gives the state of one attempt;
`state.feed(text, tokens)` takes the *new* text only and returns the **evidence** so far.

Contract, checked by `msifr_policy.testing.check_validator` for every built-in validator and for yours:

* chunking: any way of cutting a text into pieces gives the same evidence at its end as one piece;
* cost: O(new text) time, bounded memory, on any text whatsoever;
* scores are finite floats, or NaN for "not known".
"""

import math
from abc import ABC, abstractmethod
from enum import IntEnum
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import msgspec

from msifr_policy.errors import InputError


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
    """The tokens behind a piece of text: their `number`, and their `logprobs` where an engine has them.

    states: where a probe reads the model's states, its numbers of each token's (`hidden`); spans: then also from where
    to where, in the piece, the text stands that each token completed.
    """

    number: int = 0
    logprobs: tuple[float, ...] = ()
    states: tuple[tuple[float, ...], ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


NO_TOKENS = Tokens()


class ValidatorState(Protocol):
    """State of one attempt under one validator."""

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Take the new `text` (may be empty) and return the evidence on everything fed so far."""


@runtime_checkable
class Validator(Protocol):
    """Parameters of a validator: an immutable msgspec.Struct, so that a policy file can hold it.

    Name, version and columns belong to the class: declare them as `ClassVar`.
    """

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


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the built-in validators."""

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    columns: ClassVar[tuple[str, ...]]

    def _check(self, parameter: str, fine: bool, must: str) -> None:
        """Refuse a parameter that is not `fine`, saying what it must be."""
        if not fine:
            raise InputError(f"{parameter} = {getattr(self, parameter)} must {must}", where=f"validator {self.name}")

    def start(self, prompt: str) -> ValidatorState:
        """Return the state of a fresh attempt at `prompt`."""
        return self._state(prompt)

    def _state(self, prompt: str, /) -> ValidatorState:
        raise NotImplementedError


class TextState(ABC):
    """Base of the states of rules that read the text alone."""

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Read the new text."""
        del tokens
        return self._read(text)

    @abstractmethod
    def _read(self, text: str, /) -> Evidence: ...


class Silence(TextState):
    """State of an attempt of which a rule has nothing to say: UNKNOWN, and NaN in each of `columns`."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._evidence = evidence(*[math.nan] * len(columns))

    def _read(self, _: str) -> Evidence:
        return self._evidence


def evidence(*scores: float, dead: bool = False) -> Evidence:
    """Return the evidence of a rule that can tell when an attempt is DEAD, but never that it is ALIVE."""
    return Evidence(Verdict.DEAD if dead else Verdict.UNKNOWN, tuple(map(float, scores)))
