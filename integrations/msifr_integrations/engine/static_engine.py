"""The static engine: transformers' `generate()` with stopping criteria, for any model that can generate.

**It saves tokens, not time.** A batch runs until its last attempt ends, and a stopped row is computed along until then:
padding is all that is written for it. It stands in for `SlotEngine` only where a model's cache cannot be cut into slots
(recurrent layers, biases by distance), and as the base line of benchmarks.

Tokens are drawn by the same counter-based sampling as everywhere: a logits processor draws, and leaves `generate()` one
token to choose from. Batches hold prompts of one length, so that nothing is padded; with `left_padding` they hold any,
as is usual with `generate()`: a trap for models whose padded rows see nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from msifr_integrations.engine.base import Attempt, Event, ModelEngine, Sampling
from msifr_integrations.engine.memory import Remembered
from msifr_integrations.engine.processors import Shaping
from msifr_integrations.engine.sampling import Row, draw, read_rows


class StaticEngine(ModelEngine):
    """`generate()` on batches of at most `slots` attempts; see the module's docstring for what it cannot do."""

    name: Literal["static"] = "static"

    def __init__(
        self, model: Any, *, slots: int, sampling: Sampling, end: frozenset[int], left_padding: bool = False
    ) -> None:
        super().__init__(model, slots=slots, sampling=sampling, end=end)
        self._left_padding = left_padding
        self._shaping = Shaping(model, sampling.more, end)
        self._stopped: set[str] = set()

    def cancel(self, attempt_id: str) -> None:
        """Sample no further token of the attempt: its row computes padding until its batch ends, if it has begun."""
        self._stopped.add(attempt_id)
        self._queue.remove(attempt_id)

    def drain(self, take: Callable[[Sequence[Event]], None]) -> None:
        """Run batch after batch; `take` gets the events of each step."""
        while self._queue:
            first, *others = self._queue
            alike = [a for a in others if self._left_padding or len(a.prompt) == len(first.prompt)]
            batch = [first, *alike[: self.slots - 1]]
            for attempt in batch:
                self._queue.remove(attempt.id)
            self._stopped.clear()
            self._run(batch, take)

    @torch.inference_mode()
    def _run(self, batch: list[Attempt], take: Callable[[Sequence[Event]], None]) -> None:
        width = max(len(attempt.prompt) for attempt in batch)
        padding = min(self._end, default=0)
        ids = torch.tensor([[padding] * (width - len(a.prompt)) + list(a.prompt) for a in batch])
        mask = torch.tensor([[0] * (width - len(a.prompt)) + [1] * len(a.prompt) for a in batch])
        rows = [Row(attempt, self._context, self._levels) for attempt in batch]
        remembered = Remembered(len(rows), self._model.device)
        done = [False] * len(batch)
        drawn: list[tuple[float, ...]] = []

        def draw_tokens(_: Tensor, scores: Tensor) -> Tensor:
            """Draw one token a row and forbid every other."""
            uniforms = torch.from_numpy(np.stack([row.uniforms() for row in rows])).to(scores.device)
            shaped = self._shaping.of(rows)
            tokens = draw(scores, uniforms, self._sampling, remembered.show([row.node for row in rows]), shaped)
            stacked = tokens.stacked()
            drawn[:] = read_rows(stacked if self.states is None else self.states.beside(stacked))
            return torch.full_like(scores, -torch.inf).scatter(-1, tokens.token[:, None], 0.0)

        def after_step(ids: Tensor, *_: Any, **__: Any) -> Tensor:
            """Hand out the step's events; say for each row whether it is done."""
            self.row_steps += len(batch)
            events = [row.take(drawn[i], self._end) for i, row in enumerate(rows) if not done[i]]
            ended = {event.id for event in events if event.finish}
            take(events)
            done[:] = [done[i] or row.attempt.id in ended | self._stopped for i, row in enumerate(rows)]
            return torch.tensor(done, device=ids.device)

        # generate() fills gaps from the model's own settings (a repetition penalty, say): now it has none.
        before, self._model.generation_config = self._model.generation_config, GenerationConfig()
        try:
            self._model.generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                generation_config=GenerationConfig(
                    do_sample=False,
                    max_new_tokens=max(row.limit for row in rows),
                    eos_token_id=sorted(self._end) or None,
                    pad_token_id=padding,
                ),
                logits_processor=LogitsProcessorList([draw_tokens]),
                stopping_criteria=StoppingCriteriaList([after_step]),
            )
        finally:
            self._model.generation_config = before

    def close(self) -> None:
        """Forget the queue, and read no states any more."""
        self._queue.clear()
        self.read_states(None)
