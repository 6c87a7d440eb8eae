"""The slot engine: a decode loop that never pays for a token after a decision.

    engine = SlotEngine(model, slots=16, sampling=Sampling(), end=end_tokens(model))
    engine.submit(attempt)                  # any number of them
    while engine.busy:
        for event in engine.step():         # one token for each attempt that runs
            if unwanted(event):
                engine.cancel(event.id)

Between two steps the caller decides, on the same thread, so that nothing is sampled meanwhile. A step fills free slots
first, if it is time; then it feeds the last token of every row, draws the next and reads the results back: one copy to
the device and one from it, whatever the number of slots.

The host holds the truth about rows (who, how long, which token); the device holds only keys and values. On CUDA, steps
of a shape that has come up before are replayed as graphs (`step_graphs`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch

from msifr_integrations.engine import attention
from msifr_integrations.engine.base import Event, ModelEngine, Sampling
from msifr_integrations.engine.places import Prompt, places
from msifr_integrations.engine.prefill import passes, prefill
from msifr_integrations.engine.sampling import Row, draw
from msifr_integrations.engine.slot_cache import SlotCache


class SlotEngine(ModelEngine):
    """A decode loop over a slot cache, for decoder-only models with full attention.

    `cache` is there from the first step on. `prefilled` counts the prompt tokens computed.
    """

    name: Literal["slots"] = "slots"

    def __init__(self, model: Any, *, slots: int, sampling: Sampling, end: frozenset[int]) -> None:
        super().__init__(model, slots=slots, sampling=sampling, end=end)
        self._rows: list[Row | None] = [None] * slots
        self._held: list[Prompt] = [()] * slots  # the prompt whose keys and values a slot begins with
        self._free = list(range(slots))  # the longest free first
        self._attention_before = attention.register(model)
        self.cache: SlotCache | None = None
        self.prefilled = 0

    @property
    def running(self) -> list[str]:
        """Ids of the attempts in slots."""
        return [row.attempt.id for row in self._rows if row is not None]

    @property
    def busy(self) -> bool:
        """Whether anything is queued or running."""
        return bool(self._queue) or any(self._rows)

    def cancel(self, attempt_id: str) -> None:
        """Free the attempt's slot, or take it from the queue. An id that is neither is ignored."""
        for slot, row in enumerate(self._rows):
            if row is not None and row.attempt.id == attempt_id:
                self._leave(slot)
                return
        self._queue = deque(attempt for attempt in self._queue if attempt.id != attempt_id)

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
        if self._queue and (running == 0 or 4 * (self.slots - running) >= self.slots):
            self._refill()
        elif not self._queue and 0 < 2 * running <= len(self._rows):
            self._compact()
        if self.cache is None or not any(self._rows):
            return []
        # An empty slot computes along, behind the prompt that it holds. Ids and lengths are exact in float64: one copy
        # does.
        none = [0.0] * self._levels
        state = [
            [row.last, row.length, *row.uniforms()] if row else [0.0, len(prompt), *none]
            for row, prompt in zip(self._rows, self._held, strict=True)
        ]
        rows = torch.tensor(state, dtype=torch.float64).to(self._model.device)
        ids = rows[:, :2].long()
        longest = max(row.length for row in self._rows if row)
        logits = self.cache.step(self._model, ids[:, 0], ids[:, 1], longest)
        self.row_steps += len(self._rows)
        events = []
        for slot, drawn in enumerate(draw(logits, rows[:, 2:], self._sampling).rows()):
            if row := self._rows[slot]:
                events.append(row.take(drawn, self._end))
                if events[-1].finish:
                    self._leave(slot)
        return events

    def _refill(self) -> None:
        """Fill free slots from the queue; a prompt that a slot holds is not computed again."""
        if self.cache is None:
            # One position shows the cache its shapes.
            self.cache = SlotCache(prefill(self._model, [(0,)]), self.slots, self._context)
        if len(self._rows) < self.slots:  # compacted when the queue was empty
            self.cache.keep(range(len(self._rows)), self.slots)
            more = self.slots - len(self._rows)
            self._free += range(len(self._rows), self.slots)
            self._rows += [None] * more
            self._held += [()] * more
        entering = [self._queue.popleft() for _ in range(min(len(self._free), len(self._queue)))]
        prompts = [cast(Prompt, attempt.prompt)[:-1] for attempt in entering]  # submit() refuses texts
        chosen = places(prompts, self._free, self._held)
        if chosen.shared:
            self.cache.share(*zip(*chosen.shared, strict=True))
        for group in passes(list(chosen.fresh)):
            to = [(slot, source) for source, prompt in enumerate(group) for slot in chosen.fresh[prompt]]
            self.cache.fill([slot for slot, _ in to], prefill(self._model, group), [source for _, source in to])
            self.prefilled += sum(map(len, group))
        for slot, attempt, prompt in zip(chosen.slots, entering, prompts, strict=True):
            self._rows[slot] = Row(attempt, self._context, self._levels)
            self._held[slot] = prompt
        self._free = [slot for slot in self._free if self._rows[slot] is None]

    def _compact(self) -> None:
        """Shrink the batch to the attempts that run: nobody is waiting for the empty slots."""
        used = [slot for slot, row in enumerate(self._rows) if row is not None]
        if self.cache is not None:
            self.cache.keep(used, len(used))
        self._rows = [self._rows[slot] for slot in used]
        self._held = [self._held[slot] for slot in used]
        self._free = []

    def _leave(self, slot: int) -> None:
        self._rows[slot] = None
        self._free.append(slot)

    def close(self) -> None:
        """Drop queue, rows and cache, and give the model its own attention back."""
        self._queue.clear()
        self._rows, self._held, self._free = [None] * self.slots, [()] * self.slots, list(range(self.slots))
        self.cache = None
        if self._model.config._attn_implementation != self._attention_before:
            self._model.set_attn_implementation(self._attention_before)
