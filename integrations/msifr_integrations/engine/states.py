"""The states of a model while it runs: a probe's numbers of each token's, and states of texts that are there already.

The state of a token is the output of one decoder layer at the position from whose logits the token was drawn. In flight
a hook on that layer applies the linear probe (`msifr_policy.validators.hidden`) to all rows, and its numbers come back
with the tokens that are drawn, in the same copy: no state leaves the device, and nothing is known later than the token.
The hook writes in place, so that it is part of a step that is replayed as a graph. It is a product of rows × d × 3.

To learn a probe, states of recorded attempts are read in one teacher-forced pass over prompt and text (`forced`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from msifr_policy.errors import InputError
from msifr_policy.validators.hidden import NUMBERS, Hidden, probe_of

MOST = 4096
"""Tokens of a forced pass at most, padding included, unless one attempt alone has more."""


def decoder_layers(model: Any) -> nn.ModuleList:
    """Return the decoder layers of a model, the first one first. Raises `InputError` if it shows none."""
    depth = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise InputError(f"no list of {depth} decoder layers is found in it", where="hidden states of the model")


def state_of(output: Any) -> Tensor:
    """Return the states (rows, positions, d) that a decoder layer gives out, beside whatever else."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states


class StateReader:
    """Applies a probe to the last position of every row of each forward pass of `model`, for at most `rows` rows.

    Raises `InputError` if the model has no such layer, or states of another width.
    """

    def __init__(self, model: Any, probe: Hidden, rows: int) -> None:
        layers, where = decoder_layers(model), "probe of hidden states"
        arrays = probe_of(probe.weights or "")
        width = model.config.get_text_config().hidden_size
        if probe.layer >= len(layers):
            raise InputError(f"the model has {len(layers)} layers, none with number {probe.layer}", where=where)
        if len(arrays["hidden.weights"]) != width:
            what = f"the model's states have {width} numbers, those it was fitted to {len(arrays['hidden.weights'])}"
            raise InputError(what, where=where)
        layer = layers[probe.layer]
        device = next(layer.parameters()).device
        # Copies, for what is remembered is read-only.
        self._weights, self._bias = (
            torch.tensor(arrays[name], dtype=torch.float32, device=device) for name in ("hidden.weights", "hidden.bias")
        )
        self._numbers = torch.zeros(rows, NUMBERS, device=device)
        self._hook = layer.register_forward_hook(lambda _, __, output: self.take(output))

    def take(self, output: Any) -> None:
        """Take what the layer gives out in a forward pass."""
        last = state_of(output)[:, -1]
        if len(last) <= len(self._numbers):  # else a prefill, whose states nobody asks for
            torch.addmm(self._bias, last.float(), self._weights, out=self._numbers[: len(last)])

    def beside(self, drawn: Tensor) -> Tensor:
        """Return what was drawn, (n, rows), with the probe's numbers of the last pass under it: (n + 3, rows)."""
        return torch.cat([drawn, self._numbers[: drawn.shape[1]].T.to(drawn)])

    def close(self) -> None:
        """Take the hook off."""
        self._hook.remove()


@contextmanager
def _kept(model: Any, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Keep the output of each of the layers in the dictionary that is given, while the block runs."""
    every, kept = decoder_layers(model), dict[int, Tensor]()

    def keep(number: int) -> Any:
        return every[number].register_forward_hook(lambda _, __, output: kept.update({number: state_of(output)}))

    hooks = [keep(number) for number in layers]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def forced(
    model: Any, attempts: Sequence[tuple[Sequence[int], Sequence[int]]], layers: Sequence[int]
) -> Iterator[tuple[int, dict[int, Tensor]]]:
    """Yield for each attempt, a prompt's and sampled token ids, its number and by layer the states of its tokens.

    States are (tokens, d) on the model's device, the longest attempts first; one without tokens is left out. Passes are
    padded on the right, which under causal attention no real token sees.
    """
    lengths = [len(prompt) + len(sampled) - 1 for prompt, sampled in attempts]
    left = sorted((i for i in range(len(attempts)) if attempts[i][1]), key=lambda i: -lengths[i])
    while left:
        n = max(1, MOST // lengths[left[0]])
        batch, left = left[:n], left[n:]
        ids = torch.zeros(len(batch), lengths[batch[0]], dtype=torch.long)
        for row, i in enumerate(batch):
            prompt, sampled = attempts[i]
            ids[row, : lengths[i]] = torch.tensor([*prompt, *sampled[:-1]])
        with _kept(model, layers) as kept:
            model(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=1)
        for row, i in enumerate(batch):
            begin = len(attempts[i][0]) - 1
            yield i, {number: states[row, begin : lengths[i]] for number, states in kept.items()}
