"""What engines have in common: the attempt that goes in, the events that come out, and how to run them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

__all__ = ["Attempt", "Engine", "EngineKind", "Event", "Finish", "end_tokens"]

EngineKind = Literal["auto", "slots", "static"]
"""The slot engine, the static engine, or the slot engine if the model can run in it."""

Finish = Literal["", "end", "length"]
"""Why an attempt ended by itself: not yet, by an end-of-sequence token, or at its limit of tokens."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to generate.

    id: unique among the attempts of an engine.
    prompt: token ids, at least one; attempts of one prompt, submitted in a row, share its prefill.
    key: 16 bytes that seed the attempt's own random stream (`sampling.stream_key`).
    max_new_tokens: the attempt ends after so many sampled tokens, or at the model's longest context.
    """

    id: str
    prompt: tuple[int, ...]
    key: bytes
    max_new_tokens: int


class Event(NamedTuple):
    """One sampled token of the attempt `id`.

    `logprob` is the model's natural log-probability of the token (temperature 1, whole vocabulary);
    `sampled_logprob` that of the distribution it was drawn from (0.0 when greedy).
    """

    id: str
    token: int
    logprob: float
    sampled_logprob: float
    finish: Finish


class Engine(Protocol):
    """A decode loop. It runs on the caller's thread: nothing is sampled while the caller thinks."""

    @property
    def name(self) -> str:
        """`slots` or `static`."""

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt. Raises `InputError` for a prompt that is empty or longer than the context."""

    def cancel(self, attempt_id: str, reason: str = "") -> None:
        """Stop an attempt now: no further token of it is sampled. An id not known is ignored."""

    def drain(self, take: Callable[[Sequence[Event]], None]) -> None:
        """Run until nothing is queued or running; `take` gets each step's events, may submit and cancel."""

    def close(self) -> None:
        """Give back the cache's memory and leave the model as it was."""


def end_tokens(model: object, tokenizer: object = None) -> frozenset[int]:
    """Return the end-of-sequence ids that the model's settings, configuration and tokenizer name."""
    found: set[int] = set()
    for owner in (getattr(model, "generation_config", None), getattr(model, "config", None), tokenizer):
        ids = getattr(owner, "eos_token_id", None)
        found.update([] if ids is None else [ids] if isinstance(ids, int) else ids)
    return frozenset(found)
