"""What a format makes of a record: attempts, or why there is none in it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.records.lines import is_number

Record = dict[str, Any]


class ForeignAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One finished attempt as a foreign record tells of it.

    `prompt` is what was asked last; `asked` all that was asked, where that is more (a system's message, earlier turns):
    prompts without an id are told apart by it. `request_id` is the id of a request, of which several may ask the same.
    `outcome` is the format's own verdict, None if it has none. The others
    are as in `Trace`; `tests` and `schema` are what a final filter may need.
    """

    text: str
    prompt: str = ""
    asked: str = ""
    prompt_id: str = ""
    request_id: str = ""
    id: str = ""
    outcome: bool | None = None
    gold: str | None = None
    group: str | None = None
    dataset: str | None = None
    model: str | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    token_ends: list[int] | None = None
    logprobs: list[float] | None = None
    states: list[tuple[float, ...]] | None = None
    stages: list[int] | None = None
    step_labels: list[int] | None = None
    parameters: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    schema: dict[str, Any] | None = None
    tests: str | None = None


class Lost(NamedTuple):
    """Why an attempt that a record should hold cannot be a trace, in words that are counted."""

    why: str


@dataclass(frozen=True, slots=True)
class OutcomeReader:
    """What is asked of formats: which of several verdicts is the outcome, and from which reward on it is "yes".

    `remembered` is what a format remembers of earlier records of a file.
    """

    metric: str = ""
    reward_threshold: float | None = None
    remembered: dict[str, str] = field(default_factory=dict)

    def outcome(self, value: Any, name: str, where: str) -> bool | None:
        """Return the outcome that a reward or verdict is, None for none.

        Raises `InputError` for a number other than 0 and 1 without a threshold: only the user can know what it means.
        """
        if isinstance(value, str):
            value = _as_number(value)
        if not isinstance(value, int | float) or value != value:
            return None
        if self.reward_threshold is not None and not isinstance(value, bool):
            return value >= self.reward_threshold
        if value not in (0, 1):
            shown = f"{value:g}" if isinstance(value, float) else f"{value!s:.40}"
            what = f"`{name}` is {shown}: from which value on is an output accepted?"
            raise InputError(what, where=where, remedy="say it with --reward-threshold, or judge with --filter")
        return bool(value)


Fits = Callable[[Record], bool]
Attempts = Callable[[Record, OutcomeReader, str], Iterable[ForeignAttempt | Lost]]


@dataclass(frozen=True, slots=True)
class Format:
    """A format: what it is called, whether a record is of it, and the attempts in a record (its place is for errors).

    `used` are the names of the members that have a place in traces, or are known to need none; the others are counted.
    `note` is what someone should know who converts it.
    """

    name: str
    fits: Fits
    attempts: Attempts
    used: frozenset[str]
    note: str = ""


def named(words: str) -> frozenset[str]:
    """Return the names in words with blanks between."""
    return frozenset(words.split())


_WORDS: Final = {"true": True, "false": False, "yes": True, "no": False, "correct": True, "incorrect": False}


def _as_number(text: str) -> Any:
    """Return the number or truth value that a cell of a table holds, else the text."""
    if len(text) > 40:
        return text
    try:
        return _WORDS[word] if (word := text.strip().casefold()) in _WORDS else float(text)
    except ValueError:
        return text


def as_count(value: Any) -> int | None:
    """Return a count of tokens, None for what is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def as_word(value: Any) -> str | None:
    """Return a text, or a number as one, for an id, a name or an answer; None for anything else, and for nothing."""
    if isinstance(value, str):
        return value or None
    return str(value) if is_number(value) else None


def first_of(record: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first member under these names that has a value, None if none has."""
    for name in names:
        if (value := record.get(name)) is not None:
            return value
    return None


def in_place(values: Any, place: int) -> Any:
    """Return the value for one of several attempts, where there is a list of them; else what they share."""
    if isinstance(values, list | tuple):
        return values[place] if place < len(values) else None
    return values
