"""A decode step as CUDA graphs: the work of the GPU, sampling too, recorded once per shape and replayed in one launch.

A step launches over a thousand kernels, and the host takes longer to launch them than the GPU to run them: at 128 slots
on an H100 in bfloat16 11 ms against 4 for a Llama of 1 billion weights, 19 against 14 for 8 billion.

A graph holds addresses and shapes, so it is good only as long as the cache stays where it is (`forget`), and for one
number of rows and of keys shown. It takes as long to capture as a few eager steps, and a shape seldom comes up only
once: so it is captured the first time. It does not hold what the host does. A model that decides on the host, by what
the GPU computed or by how often it was called, is found out: by a step in which waiting for the GPU is an error, by the
capture, or by the first replay, which has to give the logits of the same step done eagerly. Such a model runs eagerly.

The step without waiting comes first because a capture that fails costs more than itself: before torch 2.12 the
allocator then takes it to be under way for ever, and gives no memory back (pytorch/pytorch, pull request 180395).
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Made = TypeVar("Made")


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


def capture(work: Callable[[], Made], pool: Any = None) -> tuple[Callable[[], None], Made]:
    """Return what does the GPU's part of `work`, at the addresses it uses now, and where it leaves its result.

    Nothing is done yet. pool: of `new_pool`, None for memory of its own. Raises `RuntimeError` if the host takes part
    in the work.
    """
    graph = torch.cuda.CUDAGraph()
    # After a failed capture the stream of captures would stay the current one, were it not for the outer context.
    with (
        torch.cuda.stream(torch.cuda.current_stream()),
        torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
    ):
        made = work()
    return graph.replay, made


def close(logits: Tensor, expected: Tensor) -> bool:
    """Return whether logits are the expected ones but for rounding."""
    half = expected.dtype in (torch.float16, torch.bfloat16)
    expected = expected.float()
    return bool((logits.float() - expected).abs().max() <= (0.05 if half else 1e-3) * expected.abs().max())


class _Graph(NamedTuple):
    """A captured step: what does it again, and where it leaves what was drawn."""

    replay: Callable[[], None]
    drawn: Tensor


class StepGraphs:
    """The graphs of one model on one cache, by shape. What a step returns is good until the next step."""

    def __init__(self, model: Any) -> None:
        self.usable = capturable(model)
        """Whether shapes are captured, so that few of them should occur."""
        self._tried = False
        self._graphs: dict[Hashable, _Graph] = {}
        self._pool: Any = None

    @property
    def captured(self) -> int:
        """The number of graphs."""
        return len(self._graphs)

    def forget(self) -> None:
        """Drop all graphs: what they read or write has moved."""
        self._graphs.clear()
        self._pool = None

    def step(self, shape: Hashable, forward: Callable[[], Tensor], draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `draw(forward())`, by a graph from the second step of a shape on.

        What both read is at the same place each time. forward: returns logits (rows, vocabulary). draw: returns what
        is drawn from them, a function of logits and of what lies at those places.
        """
        if not self.usable:
            return draw(forward())
        if (graph := self._graphs.get(shape)) is not None:
            graph.replay()
            return graph.drawn
        logits = forward()
        drawn = draw(logits)
        if self._capture(shape, forward, draw, logits):
            return drawn
        return draw(forward())  # once more, over what a wrong replay may have written

    def _capture(
        self, shape: Hashable, forward: Callable[[], Tensor], draw: Callable[[Tensor], Tensor], expected: Tensor
    ) -> bool:
        """Capture a step that was just done eagerly, and replay it: it must give the same. Return whether it does."""

        def work() -> tuple[Tensor, Tensor]:
            logits = forward()
            return logits, draw(logits)

        if self._pool is None:
            self._pool = new_pool()
        try:
            if not self._tried:
                with waiting_forbidden():
                    draw(forward())
                self._tried = True
            replay, (logits, drawn) = capture(work, self._pool)
            replay()
            # Logits are looked at only here: their memory is the next graph's.
            self.usable = close(logits, expected) and torch.equal(drawn, draw(logits))
        except RuntimeError:  # the host takes part, or there is no memory left
            self.usable = False
        if self.usable:
            self._graphs[shape] = _Graph(replay, drawn)
        else:
            self.forget()
        return self.usable
