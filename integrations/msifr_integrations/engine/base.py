"""What engines have in common: the attempt that goes in, the events that come out, and how to run them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from msifr_integrations.engine.prompt_queue import PromptQueue
from msifr_policy.dead_prefixes import DeadPrefixes
from msifr_policy.errors import InputError
from msifr_policy.filters import Message
from msifr_policy.records.ledger import Session
from msifr_policy.validators import Hidden

if TYPE_CHECKING:
    from msifr_integrations.engine.states import StateReader

EngineKind = Literal["auto", "slots", "static"]
"""The slot engine, the static engine, or the slot engine if the model can run in it."""

PromptInput = tuple[int, ...] | str | tuple[Message, ...]
"""A prompt as an engine takes it: token ids, a text to go on with, or the messages of a chat."""

Finish = str
"""Why an attempt ended by itself: "" (not yet), "end" (end of sequence), "length" (its limit of tokens), "stop" (a stop
string), "decided" (the final filter's verdict is certain), or any other word of a server's."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to generate.

    id: unique among the attempts of an engine.
    prompt: what this engine takes; token ids are at least one, and attempts of one prompt in a row share its prefill.
    key: 16 bytes that seed the attempt's own random stream (`stream_key`).
    max_new_tokens: the attempt ends after so many sampled tokens, or at the model's longest context.
    memory: the prefixes at its prompt that are not to be drawn, which do not change while it runs; only engines of
        transformers models know what to do with it.
    """

    id: str
    prompt: PromptInput
    key: bytes
    max_new_tokens: int
    memory: DeadPrefixes | None = None


def stream_key(seed: int, prompt_id: str, attempt: int) -> bytes:
    """Return the 16-byte key of an attempt's random stream."""
    # Decimal numbers hold no newline, so that no two triples give the same text.
    return blake2b(f"{seed}\n{attempt}\n{prompt_id}".encode(), digest_size=16, person=b"msifr-stream").digest()


@dataclass(frozen=True, slots=True)
class Sampling:
    """What to draw from: temperature (0 is greedy), then the `top_k` likeliest (0: all), then `top_p`.

    more: what else the model's generation settings ask for, by its names there (`processors.generation_settings`); only
    engines of transformers models know what to do with it.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature = {self.temperature} must be finite and not negative", where="sampling")
        if self.top_k < 0:
            raise InputError(f"top_k = {self.top_k} must not be negative", where="sampling", remedy="0 keeps all")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p = {self.top_p} must be above 0 and at most 1", where="sampling")


class Event(NamedTuple):
    """One sampled token of the attempt `id`, or, if `tokens` is 0, only that it ended.

    token: its id, −1 where the engine does not know it. text: what it completes, None where token ids are given and
    the reader decodes them. `logprob` is the model's natural log-probability of the token (temperature 1, whole
    vocabulary); `sampled_logprob` that of the distribution it was drawn from (0.0 when greedy); NaN is not known.
    prompt_tokens: of the attempt's prompt, as a server counts them; 0 where it does not tell. state: a probe's
    numbers of the state it was drawn from, where one reads the model's states.
    """

    id: str
    token: int
    logprob: float
    sampled_logprob: float
    finish: Finish
    text: str | None = None
    tokens: int = 1
    prompt_tokens: int = 0
    state: tuple[float, ...] = ()


class Again(NamedTuple):
    """The attempt `id` begins anew, since the connection to what made it broke: its tokens so far are lost."""

    id: str
    why: str


class Failed(NamedTuple):
    """The attempt `id` cannot be made: it is given up, and the others go on."""

    id: str
    why: str


Notice = Event | Again | Failed


class Engine(Protocol):
    """What makes tokens. `take` is always called on the thread that drains.

    name: what settings and ledger call it. slots: attempts side by side. logprobs: whether events carry them.
    asynchronous: tokens are made elsewhere, while the caller thinks, so that it must not think long.
    """

    @property
    def name(self) -> str:
        """`slots`, `static`, `server`, …."""

    @property
    def slots(self) -> int:
        """Attempts made side by side."""

    @property
    def logprobs(self) -> bool:
        """Whether events carry log-probabilities."""

    @property
    def asynchronous(self) -> bool:
        """Whether tokens are made while the caller thinks; it is given no more attempts than it may soon take."""

    @property
    def waiting(self) -> int:
        """Attempts that have begun and wait for a first token."""

    def spent(self) -> Session:
        """Return what it spent beside the tokens of attempts, until now."""

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt. Raises `InputError` for one that cannot be run."""

    def cancel(self, attempt_id: str) -> None:
        """Stop an attempt now: no further token of it is wanted. An id not known is ignored."""

    def drain(self, take: Callable[[Sequence[Notice]], None]) -> None:
        """Run until nothing is queued or running; `take` gets each step's events, may submit and cancel."""

    def close(self) -> None:
        """Give back memory and connections, and leave the model as it was."""


def end_tokens(model: object, tokenizer: object = None) -> frozenset[int]:
    """Return the end-of-sequence ids that the model's settings, configuration and tokenizer name."""
    found: set[int] = set()
    for owner in (getattr(model, "generation_config", None), getattr(model, "config", None), tokenizer):
        ids = getattr(owner, "eos_token_id", None)
        found.update([] if ids is None else [ids] if isinstance(ids, int) else ids)
    return frozenset(found)


def levels(vocabulary: int) -> int:
    """Return how many uniform numbers a token takes: the depth of the tree over the vocabulary (see `sampling`)."""
    return max(vocabulary - 1, 0).bit_length()


def most_positions(prompt: PromptInput, max_new_tokens: int, context: int) -> int:
    """Return how many positions of keys and values an attempt may come to need, its last token being never fed."""
    return min(len(prompt) + max_new_tokens - 1, context)


def in_short(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def longest_sequence(model: Any) -> int:
    """Return how many tokens a sequence may have, prompt included; the configuration of the model may state none."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 20)


def longest_in_slots(model: Any) -> int:
    """Return how many tokens a sequence in slots may have: as many as turn no other row's positions.

    Rotations by "longrope" take other frequencies, for all rows of a step, from the length on at which one needs them.
    """
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    by_kind = [part for part in (rope, *rope.values()) if isinstance(part, dict)]
    turns = [part["original_max_position_embeddings"] for part in by_kind if part.get("rope_type") == "longrope"]
    return min([longest_sequence(model), *turns])


def check_length(prompt: PromptInput, context: int, where: str) -> None:
    """Raise `InputError` if a prompt has no tokens, or more than the context."""
    if not prompt:
        raise InputError("the prompt has no tokens", where=where)
    if len(prompt) > context:
        what = f"the prompt has {len(prompt)} tokens, the context {context}"
        raise InputError(what, where=where, remedy="shorten the prompt or leave it out")


class NoRoomError(InputError):
    """An attempt may need more keys and values than there is room for."""


def check_room(prompt: PromptInput, max_new_tokens: int, context: int, room: int | None, where: str) -> None:
    """Raise `NoRoomError` if an attempt may need more positions of keys and values than there is room for."""
    need = most_positions(prompt, max_new_tokens, context)
    if room is not None and need > room:
        raise NoRoomError(
            f"it may need {need} positions of keys and values, and there is room for {room}",
            where=where,
            remedy="lower max_new_tokens, or raise kv_tokens if memory suffices",
        )


class ModelEngine:
    """What the engines for transformers models share: the model, how tokens are drawn from it, and the queue.

    slots: attempts generated side by side. end: the token ids that end an attempt.
    `row_steps` counts the rows computed, empty and stopped ones included: what the hardware did.
    """

    logprobs = True
    asynchronous = False
    waiting = 0

    def __init__(self, model: Any, *, slots: int, sampling: Sampling, end: frozenset[int]) -> None:
        if slots < 1:
            raise InputError(f"slots = {slots} must be at least 1", where="engine")
        config = model.config.get_text_config()
        self._model = model
        self.slots = slots
        self._sampling = sampling
        self._end = end
        self._context = longest_sequence(model)
        self._levels = levels(int(config.vocab_size))
        self._queue = PromptQueue()
        self.row_steps = 0
        self.states: StateReader | None = None

    def read_states(self, probe: Hidden | None) -> None:
        """Have events carry what `probe` makes of the model's states, or no longer; before anything is submitted.

        Raises `InputError` if it does not fit the model.
        """
        from msifr_integrations.engine.states import StateReader  # importing torch takes seconds

        if self.states is not None:
            self.states.close()
        self.states = None  # also if what follows fails
        if probe is not None:
            self.states = StateReader(self._model, probe, self.slots)

    def spent(self) -> Session:
        """Return that it spends nothing besides."""
        return Session()

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt. Raises `InputError` if it is to have no tokens, or no prompt that fits the context."""
        where = f"attempt {attempt.id!r}"
        if not all(isinstance(part, int) for part in attempt.prompt):
            raise InputError("the prompt is a text; this engine takes token ids", where=where)
        check_length(attempt.prompt, self._context, where)
        if attempt.max_new_tokens < 1:
            raise InputError(f"max_new_tokens = {attempt.max_new_tokens} must be at least 1", where=where)
        self._queue.append(attempt)
