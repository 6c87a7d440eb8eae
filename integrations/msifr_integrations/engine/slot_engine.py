"""The slot engine: a decode loop that frees the slot of a discarded attempt at once.

    engine = SlotEngine(model, slots=16, sampling=Sampling(), end=end_tokens(model))
    engine.submit(attempt)                  # any number of them
    while engine.busy:
        for event in engine.step():         # one token for each attempt that runs
            if unwanted(event):
                engine.cancel(event.id)

Between two steps the caller decides, on the same thread, so that nothing is sampled meanwhile (unless `ahead`). A step
fills free slots first, if it is time; then it feeds the last token of every row, draws the next and reads the results
back: one copy to the device and one from it, whatever the number of slots.

The host holds the truth about rows (who, how long, which token); the device holds keys and values, and what it drew
last. On CUDA, steps of a shape that has come up before are replayed as graphs (`step_graphs`), prompts too (`packs`).
That few shapes come up, the batch shrinks by quarters there, keys are shown in coarser measures, and the cache begins
with room for what is queued; on a CPU it follows the attempts closely.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from msifr_integrations.engine import attention
from msifr_integrations.engine.admission import Room, Waiting, affordable, may_begin
from msifr_integrations.engine.base import (
    Attempt,
    Event,
    ModelEngine,
    Sampling,
    check_room,
    longest_in_slots,
    most_positions,
)
from msifr_integrations.engine.fused import Fused
from msifr_integrations.engine.memory import Remembered
from msifr_integrations.engine.packs import SIZES, Packs
from msifr_integrations.engine.places import Prompt, places
from msifr_integrations.engine.prefill import passes, prefill
from msifr_integrations.engine.processors import Shaping
from msifr_integrations.engine.sampling import Row, draw, read_rows
from msifr_integrations.engine.slot_cache import SlotCache
from msifr_integrations.engine.step_graphs import StepGraphs
from msifr_policy.records.ledger import Session
from msifr_policy.validators import Hidden

SHRINK = 4
"""By how much the batch shrinks at a time where each size is captured: that costs as much as some twenty steps save."""


def batch(attempts: int, slots: int, *, few: bool) -> int:
    """Return how many rows to compute for so many attempts; few: few sizes, `slots` divided by powers of `SHRINK`."""
    rows = slots
    while few and rows > 1 and -(-rows // SHRINK) >= attempts:
        rows = -(-rows // SHRINK)
    return rows if few else attempts


class _UnderWay(NamedTuple):
    """A step that the device works on: what it will have drawn, (3, rows), for whom, and when it can be read."""

    drawn: Tensor
    rows: list[Row | None]
    ready: torch.cuda.Event | None


class SlotEngine(ModelEngine):
    """A decode loop over a slot cache, for decoder-only models whose layers attend, to all positions or to some.

    `cache` is there from the first step on. `prefilled` counts the prompt tokens computed.

    ahead: begin the next step before this one is read, so that the device always has work: each step feeds what the one
    before it drew, from where that lies. The tokens are the same; but then one token is computed for an attempt after
    it was cancelled, or ended by a token. It is never delivered; `dropped` counts such tokens, and `spent` tells them.
    Where the host must know a token before the next is drawn (processors of the model's settings, a memory of
    rejections), the next step begins when this one is read, before its events are handed out.
    kv_tokens: positions of keys and values that all rows may have together; None for what is affordable when the first
    attempt begins. What does not fit waits (`admission`).
    """

    name: Literal["slots"] = "slots"

    def __init__(
        self,
        model: Any,
        *,
        slots: int,
        sampling: Sampling,
        end: frozenset[int],
        ahead: bool = False,
        kv_tokens: int | None = None,
    ) -> None:
        super().__init__(model, slots=slots, sampling=sampling, end=end)
        self._kv_tokens = kv_tokens
        self._context = longest_in_slots(model)
        self._shaping = Shaping(model, sampling.more, end)
        self._attention_before = attention.register(model)
        self._fused: Fused | None = None
        try:
            self._prepare(model)
        except BaseException:
            self._give_back()
            raise
        self._ahead = ahead
        self.prefilled = self.dropped = self._delivered = 0
        self._start_anew()

    def _prepare(self, model: Any) -> None:
        slots = self.slots
        self._kernel = attention.kernel_serves(model)
        self._fused = Fused(model)
        on_gpu = model.device.type == "cuda"
        # What a step feeds: last token, length and numbers of each slot. Ids and lengths are exact in float64. One may
        # be on its way to the device while the other is written.
        self._inputs = deque(
            torch.zeros(slots, 2 + self._levels, dtype=torch.float64, pin_memory=on_gpu) for _ in range(2)
        )
        self._on_device = self._inputs[0].to(model.device)
        self._last = torch.zeros(slots, dtype=torch.float64, device=model.device)  # tokens that the last step drew
        self._remembered = Remembered(slots, model.device)

    def _start_anew(self) -> None:
        self._rows: list[Row | None] = [None] * self.slots
        self._computed = 0  # rows: the attempts that run are among the first
        self._held: list[Prompt] = [()] * self.slots  # the prompt whose keys and values a slot begins with
        self._free = list(range(self.slots))  # the longest free first
        self._graphs = StepGraphs(self._model)
        self._under_way: deque[_UnderWay] = deque()
        self._packs: Packs | None = None
        self._room = Room(self.slots, self._kv_tokens or 0)
        self.cache: SlotCache | None = None

    @property
    def running(self) -> list[str]:
        """Ids of the attempts in slots."""
        return [row.attempt.id for row in self._rows if row is not None]

    @property
    def busy(self) -> bool:
        """Whether anything is queued or running."""
        return bool(self._queue) or len(self._free) < self.slots

    @property
    def captured(self) -> int:
        """The number of CUDA graphs that steps run by."""
        return self._graphs.captured

    def spent(self) -> Session:
        """Return the tokens that were dropped, as a server tells what it made and what arrived."""
        return Session(arrived=self._delivered, made=self._delivered + self.dropped) if self._ahead else Session()

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt. Raises `InputError` as any engine of a model does, or if it may outgrow the whole cache."""
        if self._kv_tokens is not None or self.cache is not None:
            self._check_room(attempt)
        super().submit(attempt)

    def _check_room(self, attempt: Attempt) -> None:
        where = f"attempt {attempt.id!r}"
        check_room(attempt.prompt, attempt.max_new_tokens, self._context, self._room.positions, where)

    def cancel(self, attempt_id: str) -> None:
        """Free the attempt's slot, or take it from the queue. An id that is neither is ignored."""
        for slot, row in enumerate(self._rows):
            if row is not None and row.attempt.id == attempt_id:
                self.dropped += row.pending
                self._leave(slot)
                return
        self._queue.remove(attempt_id)

    def drain(self, take: Callable[[Sequence[Event]], None]) -> None:
        """Step until nothing is queued or running; `take` gets the events of each step."""
        while self.busy:
            take(self.step())

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Sample one token for every running attempt and return them in the order of slots.

        Attempts that end by themselves free their slots. Raises `MsifrError` if the model gives no numbers.
        """
        if not self._under_way:
            self._begin()
        if self._ahead:
            self._begin()
        if not self._under_way:
            return []
        begun, events = self._under_way.popleft(), []
        for slot, (row, of_slot) in enumerate(zip(begun.rows, read_rows(begun.drawn, begun.ready), strict=True)):
            if row is None or self._rows[slot] is not row:  # nobody's, or over when this was under way
                continue
            row.pending -= 1
            events.append(row.take(of_slot, self._end))
            if events[-1].finish:
                self.dropped += row.pending
                self._leave(slot)
        self._delivered += len(events)
        if self._ahead and not self._under_way:
            self._begin()
        return events

    def _begin(self) -> None:
        """Begin a step, if there is anything to run: fill slots or shrink first, where it is time.

        While one is under way, nothing begins that needs to know what it draws, or that moves its rows.
        """
        running = self.slots - len(self._free)
        if self._under_way and (self._shaping or any(row is not None and row.node is not None for row in self._rows)):
            return
        if self._queue and self._free:
            self.cache = self.cache or self._new_cache()
            entering, longest = self._may_begin(running)
            if not entering and not running:
                self._check_room(next(iter(self._queue)))
            if entering:
                if running + entering > self.cache.rows or longest > self.cache.limit:
                    if self._under_way:
                        return
                    self._make_room(self.cache, longest)
                self._refill(self.cache, running, entering)
        running = self.slots - len(self._free)
        if running and 2 * self._batch(running) <= self._computed:
            if self._under_way:
                return
            self._compact(running)
        if self.cache is not None:
            self._launch(self.cache)

    def _launch(self, cache: SlotCache) -> None:
        """Have the device feed the last token of each row and draw the next, for all rows that are to go on."""
        rows = [
            None if row is None or row.sampled + row.pending >= row.limit else row
            for row in self._rows[: self._computed]
        ]
        if not any(rows):
            return
        self._inputs.rotate()
        inputs, longest = self._inputs[0][: self._computed], 0
        fed = inputs.numpy()
        fed[:] = 0
        for slot, row in enumerate(rows):
            if row is None:  # it computes along, behind the prompt that it holds
                fed[slot, 1] = len(self._held[slot])
            else:
                at = row.length + row.pending
                longest = max(longest, at)
                fed[slot, 0], fed[slot, 1], fed[slot, 2:] = -1 if row.pending else row.last, at, row.uniforms()
        self._reserve(cache, longest + 1)
        cache.show(longest)
        state, last = self._on_device[: self._computed], self._last[: self._computed]
        state.copy_(inputs, non_blocking=True)
        drawn = self._step(cache, state, last, rows)
        last.copy_(drawn[0])
        ready = None
        if drawn.is_cuda:
            drawn, ready = drawn.to("cpu", non_blocking=True), torch.cuda.Event()
            ready.record()
        self._under_way.append(_UnderWay(drawn, rows, ready))
        self.row_steps += self._computed
        for row in rows:
            if row is not None:
                row.pending += 1
                row.uniforms()  # those of the next step: made now, while the device works

    def _step(self, cache: SlotCache, state: Tensor, last: Tensor, rows: list[Row | None]) -> Tensor:
        """Return what a step draws, (3, rows), and what is under it; a token of -1 is what the last step drew."""
        remembered = self._remembered.show([None if row is None else row.node for row in rows])
        shaped = self._shaping.of(rows)

        def forward() -> Tensor:
            given, lengths = state[:, 0], state[:, 1]
            return cache.forward(self._model, torch.where(given < 0, last, given).long(), lengths.long())

        def drawn(logits: Tensor) -> Tensor:
            stacked = draw(logits, state[:, 2:], self._sampling, remembered, shaped).stacked()
            return stacked if self.states is None else self.states.beside(stacked)

        shape = self._computed, cache.shown, self._remembered.width
        if shaped is None:
            return self._graphs.step(shape, forward, drawn)
        # What the host makes of tokens is not to be replayed: the model's part of the step is, if that is all of it.
        return drawn(forward() if self.states else self._graphs.step(shape, forward, lambda logits: logits))

    def _may_begin(self, running: int) -> tuple[int, int]:
        """Return how many of the queue begin now, and how many positions the longest of all then needs."""
        needs = [self._need(row.attempt) for row in self._rows if row is not None]
        waiting = (Waiting(len(attempt.prompt), self._need(attempt)) for attempt in self._queue)
        pack = None if self._packs is None else SIZES[-1]
        return may_begin(waiting, self._room, running=running, longest=max(needs, default=0), pack=pack)

    def _need(self, attempt: Attempt) -> int:
        return most_positions(attempt.prompt, attempt.max_new_tokens, self._context)

    def _make_room(self, cache: SlotCache, longest: int) -> None:
        """Change rows for positions, or positions for rows, where the longest attempt needs so many positions."""
        rows = self._room.rows(longest)
        if rows != cache.rows:
            self._gather(rows)
            self._computed = min(self._computed, rows)
            cache.resize(rows, min(cache.capacity, self._room.limit(longest)))
            lost = [slot >= rows or len(prompt) >= cache.capacity for slot, prompt in enumerate(self._held)]
            self._held = [() if gone else prompt for prompt, gone in zip(self._held, lost, strict=True)]
            self._graphs.forget()
        cache.limit = self._room.limit(longest)

    def _refill(self, cache: SlotCache, running: int, count: int) -> None:
        """Fill free slots by the first of the queue; a prompt that a slot holds is not computed again."""
        entering = [self._queue.popleft() for _ in range(count)]
        self._computed = max(self._computed, self._batch(running + len(entering)))
        free = [slot for slot in self._free if slot < self._computed]
        prompts = [cast(Prompt, attempt.prompt)[:-1] for attempt in entering]  # submit() refuses texts
        chosen = places(prompts, free, self._held)
        if chosen.shared:
            cache.share(*zip(*chosen.shared, strict=True))
        packed = {p: to for p, to in chosen.fresh.items() if self._packs is not None and len(p) <= SIZES[-1]}
        if self._packs is not None and packed:
            self._reserve(cache, max(map(len, packed)))
            self._packs.fill({to[0]: prompt for prompt, to in packed.items()})
            more = [(slot, to[0], len(prompt)) for prompt, to in packed.items() for slot in to[1:]]
            if more:
                cache.share(*zip(*more, strict=True))
            self.prefilled += sum(map(len, packed))
        for group in passes([prompt for prompt in chosen.fresh if prompt not in packed]):
            to = [(slot, source) for source, prompt in enumerate(group) for slot in chosen.fresh[prompt]]
            self._reserve(cache, len(group[0]))
            cache.fill([slot for slot, _ in to], prefill(self._model, group), [source for _, source in to])
            self.prefilled += sum(map(len, group))
        for slot, attempt, prompt in zip(chosen.slots, entering, prompts, strict=True):
            self._rows[slot] = Row(attempt, self._context, self._levels)
            self._held[slot] = prompt
        self._free = [slot for slot in self._free if self._rows[slot] is None]

    def _new_cache(self) -> SlotCache:
        like = prefill(self._model, [(0,)])  # one position shows the shapes
        self._room = Room(self.slots, self._kv_tokens or affordable(like))
        longest = max(map(self._need, self._queue))
        few = self._graphs.usable
        packing = few and self._kernel
        rows = self._room.rows(longest)
        limit = self._room.limit(longest) if rows else 1
        cache = SlotCache(
            like,
            max(rows, 1),
            self._context,
            expected=longest if few else 0,
            limit=limit,
            coarse=few,
            kernel=self._kernel,
            spare=packing,
        )
        self._packs = Packs(self._model, cache, self._graphs) if packing else None
        return cache

    def _reserve(self, cache: SlotCache, length: int) -> None:
        if cache.reserve(length):
            self._graphs.forget()

    def _batch(self, attempts: int) -> int:
        rows = self.slots if self.cache is None else self.cache.rows
        return min(rows, batch(attempts, self.slots, few=self._graphs.usable))

    def _compact(self, running: int) -> None:
        """Compute fewer rows, now that nobody is waiting for the empty slots."""
        self._computed = self._batch(running)
        self._gather(self._computed)

    def _gather(self, rows: int) -> None:
        """Move those that run to the first rows."""
        moving = [slot for slot in range(rows, self.slots) if self._rows[slot] is not None]
        to = [slot for slot in self._free if slot < rows][: len(moving)]
        if moving and self.cache is not None:
            self.cache.share(to, moving, [row.length for row in map(self._rows.__getitem__, moving) if row])
        for slot, source in zip(to, moving, strict=True):
            self._rows[slot], self._held[slot] = self._rows[source], self._held[source]
            self._rows[source] = None
        self._free = [slot for slot in self._free if self._rows[slot] is None] + moving

    def _leave(self, slot: int) -> None:
        self._rows[slot] = None
        self._free.append(slot)

    def read_states(self, probe: Hidden | None) -> None:
        """Do as any engine of a model; steps that are kept as graphs do it otherwise, and are forgotten."""
        super().read_states(probe)
        self._graphs.forget()

    def close(self) -> None:
        """Drop queue, rows and cache, and give the model its own attention back."""
        self._queue.clear()
        self.read_states(None)
        self._start_anew()
        self._give_back()

    def _give_back(self) -> None:
        """Leave the model as it was."""
        if self._fused is not None:
            self._fused.undo()
        if self._model.config._attn_implementation != self._attention_before:
            self._model.set_attn_implementation(self._attention_before)
