"""What is remembered of rejections, as the drawing of tokens takes it: log-weights of a few tokens in each row.

Each row stands at a prefix of the tree of its prompt (`msifr_policy.dead_prefixes`), or beside the tree, once it has
drawn a token of which nothing is known. The host knows where; the device is given, for each row, tokens and the
logarithm of what is left of each, which are added to the logits after all that makes a distribution of them
(temperature, truncation). What the law of an attempt becomes by that is [T16].
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from msifr_policy.dead_prefixes import DeadNode

_NARROW = 64
_WIDER = 8


class Weights(NamedTuple):
    """Added to logits: tokens (rows, width), and the log-weight of each; where there are fewer, 0 for token 0.

    Both are float64, in which ids are exact.
    """

    tokens: Tensor
    logs: Tensor

    def added_to(self, logits: Tensor) -> Tensor:
        """Return logits (rows, vocabulary), in float64, with the weights.

        A row in which nothing would be left goes without: rounding may leave a little mass at tokens that are all dead.
        """
        weighted = logits.scatter_add(-1, self.tokens.long(), self.logs)
        return torch.where(weighted.amax(-1, keepdim=True) == -torch.inf, logits, weighted)


class Remembered:
    """Brings the weights of rows to a device, at one address for each `width`.

    width: of the weights, 0 before any is known; it grows by leaps and never shrinks, so that few shapes occur.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.width = 0
        self._rows = rows
        self._device = device
        self._on_host = self._on_device = torch.zeros(0)

    def show(self, nodes: Sequence[DeadNode | None]) -> Weights | None:
        """Return the weights for rows at these prefixes, None as long as nothing is known of any."""
        if not self.width and not any(nodes):  # the common case: no memory at all
            return None
        told = [None if node is None else node.weights for node in nodes]
        widest = max((len(each[0]) for each in told if each is not None), default=0)
        if widest > self.width:
            self._widen(widest)
        if not self.width:
            return None
        rows, width = len(nodes), self.width
        on_host = self._on_host[:rows]
        array = on_host.numpy()
        array[:] = 0
        for row, each in zip(array, told, strict=True):
            if each is not None:
                known = len(each[0])
                row[:known], row[width : width + known] = each
        on_device = self._on_device[:rows]
        on_device.copy_(on_host, non_blocking=True)
        return Weights(on_device[:, :width], on_device[:, width:])

    def _widen(self, widest: int) -> None:
        self.width = self.width or _NARROW
        while self.width < widest:
            self.width *= _WIDER
        pinned = self._device.type == "cuda"
        self._on_host = torch.zeros(self._rows, 2 * self.width, dtype=torch.float64, pin_memory=pinned)
        self._on_device = self._on_host.to(self._device)
