"""A decode step as CUDA graphs: the work of the GPU, recorded once per shape and replayed in one launch.

A step launches over a thousand kernels, and the host takes longer to launch them than the GPU to run them: at 128 slots
on an H100 in bfloat16 11 ms against 4 for a Llama of 1 billion weights, 19 against 14 for 8 billion.

A graph holds addresses and shapes, so it is good only as long as the cache stays where it is (`forget`), and for one
number of rows and of keys shown. It does not hold what the host does. A model that decides on the host, by what the GPU
computed or by how often it was called, is found out: by a step in which waiting for the GPU is an error, by the
capture, or by the first replay, which has to give the logits of the same step done eagerly. Such a model runs eagerly.

The step without waiting comes first because a capture that fails costs more than itself: before torch 2.12 the
allocator then takes it to be under way for ever, and gives no memory back (pytorch/pytorch, pull request 180395).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

AFTER = 4
"""Steps of one shape that run eagerly before it is captured: capturing takes as long as a few steps."""

Forward = Callable[[Tensor, Tensor], Tensor]
"""A step: from tokens and lengths, (rows,) each, to logits (rows, vocabulary)."""


def capturable(model: Any) -> bool:
    """Return whether steps of `model` are worth a try: it is on one GPU as a whole."""
    devices = {weight.device for weight in model.parameters()}
    return len(devices) == 1 and devices.pop().type == "cuda"


def new_pool() -> Any:
    """Return memory for graphs that never run at the same time to share."""
    return torch.cuda.graph_pool_handle()


@contextmanager
def waiting_forbidden() -> Iterator[None]:
    """Make it a `RuntimeError` in the block to wait for the GPU, as far as torch notices."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def capture(work: Callable[[], object], pool: Any = None) -> Callable[[], None]:
    """Return what does the GPU's part of `work`, at the addresses it uses now; nothing is done yet.

    pool: of `new_pool`, None for memory of its own. Raises `RuntimeError` if the host takes part in the work.
    """
    graph = torch.cuda.CUDAGraph()
    # After a failed capture the stream of captures would stay the current one, were it not for the outer context.
    with (
        torch.cuda.stream(torch.cuda.current_stream()),
        torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
    ):
        work()
    return graph.replay


def close(logits: Tensor, expected: Tensor) -> bool:
    """Return whether logits are the expected ones but for rounding."""
    half = expected.dtype in (torch.float16, torch.bfloat16)
    expected = expected.float()
    return bool((logits.float() - expected).abs().max() <= (0.05 if half else 1e-3) * expected.abs().max())


class _Buffers(NamedTuple):
    """What graphs read, and what they write: at the same place for all of them."""

    tokens: Tensor
    lengths: Tensor
    logits: Tensor


class StepGraphs:
    """The graphs of one cache and model, by the number of keys shown. Logits are good until the next step."""

    def __init__(self, model: Any) -> None:
        self._usable = capturable(model)
        self._tried = False
        self._seen: Counter[int] = Counter()
        self._replays: dict[int, Callable[[], None]] = {}
        self._buffers: _Buffers | None = None
        self._pool: Any = None

    @property
    def captured(self) -> int:
        """The number of graphs."""
        return len(self._replays)

    def forget(self) -> None:
        """Drop all graphs: what they read or write has moved, or the number of rows has changed."""
        self._seen.clear()
        self._replays.clear()
        self._buffers = self._pool = None

    def step(self, shown: int, forward: Forward, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of `forward(tokens, lengths)`, by a graph if this shape has come up often enough."""
        if not self._usable:
            return forward(tokens, lengths)
        if shown in self._replays and self._buffers is not None:
            self._buffers.tokens.copy_(tokens)
            self._buffers.lengths.copy_(lengths)
            self._replays[shown]()
            return self._buffers.logits
        logits = forward(tokens, lengths)
        self._seen[shown] += 1
        if self._seen[shown] < AFTER or self._capture(shown, forward, tokens, lengths, logits):
            return logits
        return forward(tokens, lengths)  # once more, over what a wrong replay may have written

    def _capture(self, shown: int, forward: Forward, tokens: Tensor, lengths: Tensor, expected: Tensor) -> bool:
        """Capture a step that was just done eagerly, and replay it: it must give the same. Return whether it does."""
        buffers = self._buffers or _Buffers(*map(torch.empty_like, (tokens, lengths, expected)))
        buffers.tokens.copy_(tokens)
        buffers.lengths.copy_(lengths)
        if self._pool is None:
            self._pool = new_pool()
        try:
            if not self._tried:
                with waiting_forbidden():
                    forward(tokens, lengths)
                self._tried = True
            # Logits are copied, so that graphs need not keep some of their own.
            replay = capture(lambda: buffers.logits.copy_(forward(buffers.tokens, buffers.lengths)), self._pool)
            replay()
            self._usable = close(buffers.logits, expected)
        except RuntimeError:  # the host takes part, or there is no memory left
            self._usable = False
        if self._usable:
            self._buffers, self._replays[shown] = buffers, replay
        else:
            self.forget()
        return self._usable
