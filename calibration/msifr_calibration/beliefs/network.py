"""Learning one small network for all families: log-odds of M and log r at every checkpoint [T4].

Families share everything but an offset, so that small ones learn from large ones. The loss per checkpoint is

    −log P(outcome) + ½·c·(M_k − M_{k+1})² + ¼·e·(log r_k − log remaining cost)²

where M_{k+1} is held fixed: a temporal-difference term that draws successive estimates towards a martingale [T4, T12]
(Sutton 1988). Each attempt weighs the same, and a family of n attempts 1/√n.

Five networks are trained, each without a fifth of the prompts; what they say of those is the cross-fitted estimate,
over all families: none comes from a network that was trained on the prompt. On new prompts the mean of their outputs
counts. The number of epochs is the one with the least cross-fitted loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.beliefs.stack import Stack
from msifr_policy.beliefs.network import Layers
from msifr_policy.extras import needs

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """How the network is trained.

    hidden: width H. dropout: of hidden units. batch: attempts per step. epochs: passes over the data, more where that
    makes fewer than least_steps steps. consistency: c, the weight of the temporal-difference term; cost_weight: e.
    checkpoints: how many have an offset of their own. nameless: share of attempts that are shown without their
    family's offset, as attempts of a family yet to come are. unseen: share of validators whose scores an attempt is
    shown without. device: "auto" takes a GPU if there is one.
    """

    hidden: int = 64
    dropout: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    batch: int = 256
    epochs: int = 5
    least_steps: int = 300
    consistency: float = 0.5
    cost_weight: float = 0.4
    checkpoints: int = 64
    nameless: float = 0.0
    unseen: float = 0.0
    device: str = "auto"


class Networks(NamedTuple):
    """The networks of all folds after the same number of epochs, and `[R, 2]` what each says of its held-out rows."""

    parameters: list[dict[str, Array]]
    outputs: Array
    centre: Array
    scale: Array


def needs_torch() -> None:
    """Raise `InputError` unless networks can be trained."""
    needs("torch", extra="learned", what="a learned posterior")


def fit_networks(stack: Stack, options: NetworkOptions, seed: int, progress: Callable[[str], None]) -> Networks:
    """Train a network per fold. Raises `InputError` if torch is not installed."""
    needs_torch()
    from msifr_calibration.beliefs import torch_network

    inputs = torch_network.inputs_of(stack)
    runs = []
    for fold in stack.folds:
        progress(f"network {fold + 1} of {stack.fold.max() + 1}")
        runs.append(torch_network.train(stack, inputs, fold, options, seed + fold))
    # Every fold tells its loss after the same epochs; the one with the least loss over all of them is taken.
    best = int(np.sum([run.losses for run in runs], axis=0).argmin())
    outputs = np.empty((len(stack.attempt), 2))
    for run in runs:
        outputs[run.rows] = run.outputs[best]
    return Networks([run.parameters[best] for run in runs], outputs, inputs.centre, inputs.scale)


def network_tensors(networks: Networks, family: int | None) -> dict[str, NDArray[Any]]:
    """Return the tensors of all networks side by side for one family, its offset folded into their bias.

    Without a `family` they are those for a family yet to come.
    """
    D = len(networks.centre)
    known, unknown, bias, at_checkpoint = [], [], [], []
    for net in networks.parameters:
        width = net["family.weight"].shape[1]
        of_known, of_unknown, of_family, of_k = np.split(net["first.weight"].T, np.cumsum([D, D, width]))
        known.append(of_known)
        unknown.append(of_unknown)
        bias.append(net["first.bias"] + (0.0 if family is None else net["family.weight"][family] @ of_family))
        at_checkpoint.append(np.column_stack([net["checkpoint.weight"], net["ramp"]]) @ of_k)
    layers = Layers(
        centre=networks.centre,
        scale=networks.scale,
        known=np.hstack(known),
        unknown=np.hstack(unknown),
        bias=np.concatenate(bias),
        checkpoint=np.hstack(at_checkpoint),
        hidden=np.stack([net["hidden.weight"].T for net in networks.parameters]),
        hidden_bias=np.stack([net["hidden.bias"] for net in networks.parameters]),
        out=np.stack([net["out.weight"].T for net in networks.parameters]),
        out_bias=np.mean([net["out.bias"] for net in networks.parameters], axis=0),
    )
    return {f"beliefs.{name}": array.astype(np.float32) for name, array in layers._asdict().items()}
