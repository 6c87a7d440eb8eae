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
from msifr_integrations.engine.sampling import Row, draw
from msifr_integrations.engine.slot_cache import Prefix, SlotCache, prefill


class SlotEngine(ModelEngine):
    """A decode loop over a slot cache, for decoder-only models with full attention.

    `cache` is there from the first step on. `prefilled` counts the prompt tokens computed.
    """

    name: Literal["slots"] = "slots"

    def __init__(self, model: Any, *, slots: int, sampling: Sampling, end: frozenset[int]) -> None:
        super().__init__(model, slots=slots, sampling=sampling, end=end)
        self._rows: list[Row | None] = [None] * slots
        self._next_prefix: tuple[tuple[int, ...], Prefix] | None = None  # of the prompt the queue goes on with
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
                self._rows[slot] = None
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
        # An empty slot computes along at position 0. Ids and lengths are exact in float64: one copy does.
        empty = [0.0] * (2 + self._levels)
        state = [[row.last, row.length, *row.uniforms()] if row else empty for row in self._rows]
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
                    self._rows[slot] = None
        return events

    def _refill(self) -> None:
        """Fill free slots from the queue; attempts of one prompt in a row share one prefill."""
        if self.cache is not None and len(self._rows) < self.slots:  # compacted when the queue was empty
            self.cache.keep(range(len(self._rows)), self.slots)
            self._rows += [None] * (self.slots - len(self._rows))
        entering: dict[tuple[int, ...], list[int]] = {}  # prompt without its last token: slots it goes to
        for slot, row in enumerate(self._rows):
            if row is None and self._queue:
                attempt = self._queue.popleft()
                self._rows[slot] = Row(attempt, self._context, self._levels)
                prompt = cast(tuple[int, ...], attempt.prompt)  # submit() refuses any other
                entering.setdefault(prompt[:-1], []).append(slot)
        known, self._next_prefix = self._next_prefix, None
        if known is not None and known[0] in entering:
            self._fill(known[1], [(known[0], entering.pop(known[0]))])
        fresh = [(prompt, slots) for prompt, slots in entering.items() if prompt]
        if fresh or self.cache is None:
            # A prompt of one token leaves nothing to prefill; one position then shows the cache its shapes.
            self._fill(prefill(self._model, [prompt for prompt, _ in fresh] or [(0,)]), fresh)
            self.prefilled += sum(len(prompt) for prompt, _ in fresh)

    def _fill(self, prefix: Prefix, entering: Sequence[tuple[tuple[int, ...], list[int]]]) -> None:
        """Put the prompts of `prefix` (in its order) into their slots; keep what the queue goes on with."""
        if self.cache is None:
            self.cache = SlotCache(prefix, self.slots, self._context)
        places = [(slot, source) for source, (_, slots) in enumerate(entering) for slot in slots]
        if places:
            self.cache.fill([slot for slot, _ in places], prefix, [source for _, source in places])
        for source, (prompt, _) in enumerate(entering):
            if self._queue and self._queue[0].prompt[:-1] == prompt:
                self._next_prefix = (prompt, prefix.row(source, len(prompt)))

    def _compact(self) -> None:
        """Shrink the batch to the attempts that run: nobody is waiting for the empty slots."""
        used = [slot for slot, row in enumerate(self._rows) if row is not None]
        if self.cache is not None:
            self.cache.keep(used, len(used))
        self._rows = [self._rows[slot] for slot in used]

    def close(self) -> None:
        """Drop queue, rows and cache, and give the model its own attention back."""
        self._queue.clear()
        self._rows = [None] * self.slots
        self.cache = self._next_prefix = None
        if self._model.config._attn_implementation != self._attention_before:
            self._model.set_attn_implementation(self._attention_before)
