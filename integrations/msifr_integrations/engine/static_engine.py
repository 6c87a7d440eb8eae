"""The static engine: transformers' `generate()` with stopping criteria, for any model that can generate.

**It saves tokens, not time.** A batch runs until its last attempt ends, and a stopped row is computed along
until then: padding is all that is written for it. It stands in for `SlotEngine` only where a model's cache
cannot be cut into slots (sliding windows, recurrent or hybrid layers), and as the base line of benchmarks.

Tokens are drawn by the same counter-based sampling as everywhere: a logits processor draws, and leaves
`generate()` one token to choose from. Batches hold prompts of one length, so that nothing is padded; with
`left_padding` they hold any, as is usual with `generate()`: a trap for models whose padded rows see nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from msifr_integrations.engine.base import Attempt, Event
from msifr_integrations.engine.sampling import Drawn, Sampling, Stream, draw, levels
from msifr_integrations.engine.slot_engine import check_attempt, context_length
from msifr_policy.errors import InputError

__all__ = ["StaticEngine"]


class StaticEngine:
    """`generate()` on batches of at most `slots` attempts; see the module's docstring for what it cannot do.

    `cancelled` counts cancelled attempts by reason, `row_steps` the rows computed, stopped ones
    included.
    """

    name: Literal["static"] = "static"

    def __init__(
        self, model: Any, *, slots: int, sampling: Sampling, end: frozenset[int], left_padding: bool = False
    ) -> None:
        if slots < 1:
            raise InputError(f"slots = {slots} must be at least 1", where="engine")
        self._model = model
        self._sampling = sampling
        self._end = end
        self._slots = slots
        self._left_padding = left_padding
        self._queue: list[Attempt] = []
        self._stopped: set[str] = set()
        self.cancelled: Counter[str] = Counter()
        self.row_steps = 0

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt. Raises `InputError` for a prompt that is empty or longer than the context."""
        check_attempt(attempt, context_length(self._model))
        self._queue.append(attempt)

    def cancel(self, attempt_id: str, reason: str = "") -> None:
        """Sample no further token of the attempt; its row computes padding until its batch ends."""
        if attempt_id not in self._stopped:
            self._stopped.add(attempt_id)
            self.cancelled[reason] += 1

    def drain(self, take: Callable[[Sequence[Event]], None]) -> None:
        """Run batch after batch; `take` gets the events of each step."""
        while self._queue:
            first, *others = self._queue
            alike = [a for a in others if self._left_padding or len(a.prompt) == len(first.prompt)]
            batch = [first, *alike[: self._slots - 1]]
            chosen = {attempt.id for attempt in batch}
            self._queue = [attempt for attempt in self._queue if attempt.id not in chosen]
            self._stopped.clear()
            self._run(batch, take)

    @torch.inference_mode()
    def _run(self, batch: list[Attempt], take: Callable[[Sequence[Event]], None]) -> None:
        width = max(len(attempt.prompt) for attempt in batch)
        pad = min(self._end, default=0)
        ids = torch.tensor([[pad] * (width - len(a.prompt)) + list(a.prompt) for a in batch])
        mask = torch.tensor([[0] * (width - len(a.prompt)) + [1] * len(a.prompt) for a in batch])
        room = context_length(self._model)
        limits = [min(a.max_new_tokens, room - len(a.prompt) + 1) for a in batch]
        depth = levels(int(self._model.config.get_text_config().vocab_size))
        sampler = _Sampler([Stream(attempt.key, depth) for attempt in batch], self._sampling)
        done = [False] * len(batch)

        def after_step() -> list[bool]:
            self.row_steps += len(batch)
            events = []
            for row, drawn in enumerate(zip(*sampler.last, strict=True)):
                if done[row]:
                    continue
                token, logprob, sampled = int(drawn[0]), drawn[1], drawn[2]
                finish: Any = "end" if token in self._end else "length" if sampler.step >= limits[row] else ""
                events.append(Event(batch[row].id, token, logprob, sampled, finish))
                done[row] = bool(finish)
            take(events)
            for row, attempt in enumerate(batch):
                done[row] |= attempt.id in self._stopped
            return done

        # generate() fills gaps from the model's own settings (a repetition penalty, say): now it has none.
        own, self._model.generation_config = self._model.generation_config, GenerationConfig()
        try:
            self._model.generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                generation_config=GenerationConfig(
                    do_sample=False,
                    max_new_tokens=max(limits),
                    eos_token_id=sorted(self._end) or None,
                    pad_token_id=pad,
                ),
                logits_processor=LogitsProcessorList([sampler]),
                stopping_criteria=StoppingCriteriaList([_After(after_step)]),
            )
        finally:
            self._model.generation_config = own

    def close(self) -> None:
        """Forget the queue."""
        self._queue.clear()


class _Sampler(LogitsProcessor):
    """Draws one token a row and forbids every other; keeps what it drew in `last` and counts steps."""

    def __init__(self, streams: list[Stream], sampling: Sampling) -> None:
        self._streams = streams
        self._sampling = sampling
        self.step = 0
        self.last: list[list[float]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        del input_ids
        numbers = [stream.uniforms(self.step) for stream in self._streams]
        uniforms = torch.tensor(numbers, dtype=torch.float64, device=scores.device)
        drawn: Drawn = draw(scores, uniforms, self._sampling)
        self.last = torch.stack([drawn.token.double(), drawn.logprob, drawn.sampled_logprob]).tolist()
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn.token[:, None], 0.0)


class _After(StoppingCriteria):
    """Calls a function after each step, which says for each row whether it is done."""

    def __init__(self, after_step: Callable[[], list[bool]]) -> None:
        self._after_step = after_step

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        del scores, kwargs
        return torch.tensor(self._after_step(), device=input_ids.device)
