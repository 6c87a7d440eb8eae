"""The slot engine: a decode loop that never pays for a token after a decision.

    engine = SlotEngine(model, slots=16, sampling=Sampling(), end=end_tokens(model))
    engine.submit(attempt)                  # any number of them
    while engine.busy:
        for event in engine.step():         # one token for each attempt that runs
            if unwanted(event):
                engine.cancel(event.id, "reason")

Between two steps the caller decides, on the same thread, so that nothing is sampled meanwhile. A step fills
free slots first, if it is time; then it feeds the last token of every row, draws the next and reads the
results back: one copy to the device and one from it, whatever the number of slots.

The host holds the truth about rows (who, how long, which token); the device holds only keys and values.
Written for CPU and CUDA alike; speeds on a GPU have not been measured.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from msifr_integrations.engine import attention
from msifr_integrations.engine.base import Attempt, Event, Finish
from msifr_integrations.engine.sampling import Sampling, Stream, draw, levels
from msifr_integrations.engine.slot_cache import Prefix, SlotCache, prefill
from msifr_policy.errors import InputError, MsifrError

__all__ = ["SlotEngine", "context_length"]

_NO_LIMIT = 1 << 20  # positions, for models that state none


def context_length(model: Any) -> int:
    """Return the longest sequence the model's configuration allows, prompt included."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or _NO_LIMIT)


class _Row:
    """An attempt in a slot: what its next step feeds (token `last` at position `length`), how far it is."""

    __slots__ = ("attempt", "last", "length", "limit", "sampled", "stream")

    def __init__(self, attempt: Attempt, max_length: int, levels: int) -> None:
        self.attempt = attempt
        self.stream = Stream(attempt.key, levels)
        self.length = len(attempt.prompt) - 1
        self.last = attempt.prompt[-1]
        self.sampled = 0
        # The last sampled token is never fed, so a context of n positions yields n - len(prompt) + 1 tokens.
        self.limit = min(attempt.max_new_tokens, max_length - self.length)


class SlotEngine:
    """A decode loop over a slot cache, for decoder-only models with full attention.

    `end` are the token ids that end an attempt. `cancelled` counts cancelled attempts by reason, `row_steps`
    the rows computed (empty ones included) and `prefilled` the prompt tokens computed: what the hardware did.
    """

    name: Literal["slots"] = "slots"

    def __init__(
        self,
        model: Any,
        *,
        slots: int,
        sampling: Sampling,
        end: frozenset[int],
        max_length: int | None = None,
    ) -> None:
        if slots < 1:
            raise InputError(f"slots = {slots} must be at least 1", where="engine")
        self._model = model
        self._sampling = sampling
        self._end = end
        self._max_length = min(max_length or _NO_LIMIT, context_length(model))
        self._slots = slots
        self._levels = levels(int(model.config.get_text_config().vocab_size))
        self._rows: list[_Row | None] = [None] * slots
        self._queue: deque[Attempt] = deque()
        self._cache: SlotCache | None = None
        self._kept: tuple[tuple[int, ...], Prefix] | None = None  # the prompt the queue goes on with
        self._attention_before = attention.register(model)
        self.cancelled: Counter[str] = Counter()
        self.row_steps = 0
        self.prefilled = 0

    @property
    def running(self) -> list[str]:
        """Ids of the attempts in slots."""
        return [row.attempt.id for row in self._rows if row is not None]

    @property
    def busy(self) -> bool:
        """Whether anything is queued or running."""
        return bool(self._queue) or any(self._rows)

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt. Raises `InputError` for a prompt that is empty or longer than the context."""
        check_attempt(attempt, self._max_length)
        self._queue.append(attempt)

    def cancel(self, attempt_id: str, reason: str = "") -> None:
        """Free the attempt's slot, or take it from the queue. An id that is neither is ignored."""
        for slot, row in enumerate(self._rows):
            if row is not None and row.attempt.id == attempt_id:
                self._rows[slot] = None
                self.cancelled[reason] += 1
                return
        for queued in self._queue:
            if queued.id == attempt_id:
                self._queue.remove(queued)
                self.cancelled[reason] += 1
                return

    def drain(self, take: Callable[[Sequence[Event]], None]) -> None:
        """Step until nothing is queued or running; `take` gets the events of each step."""
        while self.busy:
            take(self.step())

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Sample one token for every running attempt and return them in the order of slots.

        Attempts that end by themselves free their slots. Raises `MsifrError` if the model gives no numbers.
        """
        running = len(self._rows) - self._rows.count(None)
        # A prefill holds up everyone else: wait until a quarter of the slots can share it.
        if self._queue and (running == 0 or 4 * (self._slots - running) >= self._slots):
            self._refill()
        elif not self._queue and 0 < 2 * running <= len(self._rows):
            self._compact()
        if self._cache is None or not any(self._rows):
            return []
        longest = max(row.length for row in self._rows if row is not None)
        # An empty slot computes along at position 0. Ids and lengths are exact in float64: one copy does.
        empty = [0.0] * (2 + self._levels)
        state = [[row.last, row.length, *row.stream.uniforms(row.sampled)] if row else empty for row in self._rows]
        rows = torch.tensor(state, dtype=torch.float64).to(self._model.device)
        ids = rows[:, :2].long()
        logits = self._cache.step(self._model, ids[:, 0], ids[:, 1], longest)
        drawn = draw(logits, rows[:, 2:], self._sampling)
        self.row_steps += len(self._rows)
        return self._take(torch.stack([drawn.token.double(), drawn.logprob, drawn.sampled_logprob]).tolist())

    def _take(self, drawn: list[list[float]]) -> list[Event]:
        events: list[Event] = []
        for slot, (row, number, logprob, sampled) in enumerate(zip(self._rows, *drawn, strict=True)):
            if row is None:
                continue
            if math.isnan(logprob):
                raise MsifrError(
                    f"the model gave no numbers for attempt {row.attempt.id!r} at token {row.sampled + 1}"
                    " (an overflow in half precision? try dtype bfloat16 or float32)"
                )
            token = int(number)
            row.last = token
            row.length += 1
            row.sampled += 1
            finish: Finish = "end" if token in self._end else "length" if row.sampled >= row.limit else ""
            if finish:
                self._rows[slot] = None
            events.append(Event(row.attempt.id, token, logprob, sampled, finish))
        return events

    def _refill(self) -> None:
        """Fill free slots from the queue; attempts of one prompt in a row share one prefill."""
        if self._cache is not None and len(self._rows) < self._slots:  # compacted when the queue was empty
            self._cache.keep(range(len(self._rows)), self._slots)
            self._rows += [None] * (self._slots - len(self._rows))
        entering: dict[tuple[int, ...], list[int]] = {}  # prompt without its last token: slots it goes to
        for slot, row in enumerate(self._rows):
            if row is None and self._queue:
                attempt = self._queue.popleft()
                self._rows[slot] = _Row(attempt, self._max_length, self._levels)
                entering.setdefault(attempt.prompt[:-1], []).append(slot)
        kept, self._kept = self._kept, None
        if kept is not None and kept[0] in entering:
            slots = entering.pop(kept[0])
            self._fill(slots, kept[1], [0] * len(slots))
            self._keep_for_queue(kept[0], kept[1], 0)
        fresh = [prompt for prompt in entering if prompt]
        if fresh or self._cache is None:
            # A prompt of one token leaves nothing to prefill; one position then shows the cache its shapes.
            prefix = prefill(self._model, fresh or [(0,)], pad=0)
            self.prefilled += sum(map(len, fresh))
            places = [(slot, source) for source, prompt in enumerate(fresh) for slot in entering[prompt]]
            self._fill([slot for slot, _ in places], prefix, [source for _, source in places])
            for source, prompt in enumerate(fresh):
                self._keep_for_queue(prompt, prefix, source)

    def _fill(self, slots: list[int], prefix: Prefix, sources: list[int]) -> None:
        if self._cache is None:
            self._cache = SlotCache(prefix, self._slots, self._max_length)
        if slots:
            self._cache.fill(slots, prefix, sources)

    def _keep_for_queue(self, prompt: tuple[int, ...], prefix: Prefix, source: int) -> None:
        if self._queue and self._queue[0].prompt[:-1] == prompt:
            self._kept = (prompt, prefix.row(source, len(prompt)))

    def _compact(self) -> None:
        """Shrink the batch to the attempts that run: nobody is waiting for the empty slots."""
        used = [slot for slot, row in enumerate(self._rows) if row is not None]
        if self._cache is not None:
            self._cache.keep(used, len(used))
        self._rows = [self._rows[slot] for slot in used]

    def close(self) -> None:
        """Drop queue, rows and cache, and give the model its own attention back."""
        self._queue.clear()
        self._rows = [None] * self._slots
        self._cache = self._kept = None
        if self._model.config._attn_implementation != self._attention_before:
            self._model.set_attn_implementation(self._attention_before)


def check_attempt(attempt: Attempt, max_length: int) -> None:
    """Raise `InputError` for an attempt whose prompt is empty or longer than `max_length` tokens."""
    where = f"attempt {attempt.id!r}"
    if not attempt.prompt:
        raise InputError("the prompt has no tokens", where=where)
    if len(attempt.prompt) > max_length:
        raise InputError(
            f"the prompt has {len(attempt.prompt)} tokens, the context {max_length}",
            where=where,
            remedy="shorten the prompt or leave it out",
        )
    if attempt.max_new_tokens < 1:
        raise InputError(f"max_new_tokens = {attempt.max_new_tokens} must be at least 1", where=where)
