"""The network in torch: its module, one training run, and what it says of held-out attempts. Needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu

from msifr_calibration.beliefs.checkpoint_groups import standardise
from msifr_policy.beliefs.linear import signed_log1p

if TYPE_CHECKING:
    from msifr_calibration.beliefs.network import NetworkOptions
    from msifr_calibration.beliefs.stack import Stack

FAMILY_WIDTH = 8
_CHECKPOINT_WIDTH = 6
_LOOKS = 8  # epochs after which the held-out loss is taken, at most; parameters of each are kept

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class Inputs(NamedTuple):
    """Standardised evidence of a stack of families, ready for torch.

    z, unknown: `[R, D]` float32, z = 0 and unknown = 1 where a score is not known. centre, scale: `[D]`. k: `[R]`;
    log_remaining: `[R]` float32. weight: `[N]` 1/√n of an attempt in a family of n.
    """

    z: NDArray[np.float32]
    unknown: NDArray[np.float32]
    centre: Array
    scale: Array
    k: Integers
    log_remaining: NDArray[np.float32]
    weight: Array


def inputs_of(stack: Stack) -> Inputs:
    """Return the evidence of all rows, standardised over all: without outcomes it tells nothing of a prompt's fate."""
    x = np.concatenate([signed_log1p(table.values) for table in stack.tables]).astype(np.float32)
    _, centre, scale = standardise(x.astype(np.float64))
    unknown = ~np.isfinite(x)
    return Inputs(
        np.where(unknown, 0.0, (x - centre) / scale).astype(np.float32),
        unknown.astype(np.float32),
        centre,
        scale,
        np.concatenate([table.k for table in stack.tables]),
        np.concatenate([np.log1p(table.remaining) for table in stack.tables]).astype(np.float32),
        1 / np.sqrt(np.bincount(stack.family))[stack.family],
    )


@dataclass(frozen=True, slots=True)
class Trained:
    """A network after each of the looks at it: epochs `[L]`, held-out losses `[L]`, outputs and parameters.

    rows: `[H]` the held-out rows; outputs: per look `[H, 2]` log-odds of M and log r of them.
    """

    epochs: list[int]
    losses: Array
    rows: Integers
    outputs: list[Array]
    parameters: list[dict[str, Array]]


class _Network(nn.Module):
    ramp: torch.Tensor

    def __init__(self, n_columns: int, n_families: int, options: NetworkOptions) -> None:
        super().__init__()
        self.family = nn.Embedding(n_families, FAMILY_WIDTH)
        self.checkpoint = nn.Embedding(options.checkpoints, _CHECKPOINT_WIDTH)
        for weight in (self.family.weight, self.checkpoint.weight):
            nn.init.normal_(weight, std=0.1)
        self.first = nn.Linear(2 * n_columns + FAMILY_WIDTH + _CHECKPOINT_WIDTH + 1, options.hidden)
        self.hidden = nn.Linear(options.hidden, options.hidden)
        self.out = nn.Linear(options.hidden, 2)
        self.drop = nn.Dropout(options.dropout)
        self.register_buffer("ramp", torch.arange(options.checkpoints)[:, None] / 20 - 0.5)

    def forward(self, batch: _Batch) -> torch.Tensor:
        at = batch.k.clamp(max=len(self.ramp) - 1)
        family = self.family(batch.family) * batch.named
        x = torch.cat([batch.z, batch.unknown, family, self.checkpoint(at), self.ramp[at]], dim=1)
        hidden = self.drop(gelu(self.hidden(self.drop(gelu(self.first(x))))))
        result: torch.Tensor = self.out(hidden)
        return result


class _Batch(NamedTuple):
    """The rows `[B]` of some attempts on the device; weight: of a row in the loss, 0 at ends.

    named: `[B, 1]` 1, or 0 where the network is not told the family.
    """

    z: torch.Tensor
    unknown: torch.Tensor
    family: torch.Tensor
    named: torch.Tensor
    k: torch.Tensor
    accepted: torch.Tensor
    log_remaining: torch.Tensor
    weight: torch.Tensor
    is_end: torch.Tensor


class _Training:
    """One training run for the prompts of a fold."""

    def __init__(self, stack: Stack, inputs: Inputs, fold: int, options: NetworkOptions) -> None:
        self.stack, self.inputs, self.options = stack, inputs, options
        self.inside = np.flatnonzero(stack.learned_from(fold))
        self.held_out = np.flatnonzero(stack.held_out(fold))
        self.weight = inputs.weight / inputs.weight[self.inside].mean()
        validators = [column.partition(".")[0] for column in stack.tables[0].columns]
        self.owner = np.unique(validators, return_inverse=True)[1]
        name = options.device
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)

    def batch(self, attempts: Integers, rng: np.random.Generator | None = None) -> _Batch:
        """Return the rows of `attempts`; with `rng` some without their family or some scores, as the options say.

        Held-out attempts have no family as soon as any attempt has none: that is what they stand for.
        """
        stack, inputs, rows = self.stack, self.inputs, self.rows(attempts)
        attempt, sizes = stack.attempt[rows], np.diff(stack.start)
        weight = (self.weight / sizes)[attempt] * stack.checks[rows]
        z, unknown = inputs.z[rows], inputs.unknown[rows]
        named = np.full((len(rows), 1), not self.options.nameless, dtype=np.float32)
        if rng is not None and self.options.nameless:
            named = np.repeat(rng.random((len(attempts), 1)) >= self.options.nameless, sizes[attempts], axis=0)
        if rng is not None and self.options.unseen:
            hidden = rng.random((len(attempts), len(self.owner) and self.owner.max() + 1)) < self.options.unseen
            hide = np.repeat(hidden[:, self.owner], sizes[attempts], axis=0)
            z, unknown = np.where(hide, 0, z), np.where(hide, 1, unknown)
        arrays = (
            z.astype(np.float32),
            unknown.astype(np.float32),
            stack.family[attempt],
            named.astype(np.float32),
            inputs.k[rows],
            stack.accepted[attempt].astype(np.float32),
            inputs.log_remaining[rows],
            weight.astype(np.float32),
            ~stack.checks[rows],
        )
        return _Batch(*(torch.as_tensor(array).to(self.device) for array in arrays))

    def rows(self, attempts: Integers) -> Integers:
        """Return the rows of `attempts`, attempt by attempt."""
        sizes = np.diff(self.stack.start)[attempts]
        ends = np.cumsum(sizes)
        return np.arange(ends[-1] if len(ends) else 0) + np.repeat(self.stack.start[attempts] - ends + sizes, sizes)

    def loss(self, outputs: torch.Tensor, batch: _Batch) -> torch.Tensor:
        """Return the loss of the module docstring of `network`; ends have no weight."""
        logit, log_r = outputs[:, 0], outputs[:, 1]
        M = torch.sigmoid(logit)
        onward = torch.where(batch.is_end[1:], batch.accepted[1:], M.detach()[1:])
        step = torch.zeros_like(M)
        step[:-1] = (M[:-1] - onward) ** 2
        by_row = binary_cross_entropy_with_logits(logit, batch.accepted, reduction="none")
        by_row = by_row + self.options.consistency / 2 * step
        by_row = by_row + self.options.cost_weight / 4 * (log_r - batch.log_remaining) ** 2
        return (by_row * batch.weight).sum() / batch.weight.sum().clamp(min=1e-9)

    @torch.no_grad()
    def predict(self, network: _Network) -> Array:
        """Return `[H, 2]` the outputs for the held-out rows."""
        network.eval()
        parts = [self.held_out[first : first + 512] for first in range(0, len(self.held_out), 512)]
        return np.concatenate([network(self.batch(part)).cpu().numpy().astype(np.float64) for part in parts])

    def held_out_loss(self, logit: Array) -> float:
        """Return the weighted log loss on the held-out rows."""
        rows = self.rows(self.held_out)
        attempt = self.stack.attempt[rows]
        weight = (self.weight / np.diff(self.stack.start))[attempt] * self.stack.checks[rows]
        return float((np.logaddexp(0.0, np.where(self.stack.accepted[attempt], -logit, logit)) * weight).sum())


def train(stack: Stack, inputs: Inputs, fold: int, options: NetworkOptions, seed: int) -> Trained:
    """Train without what tells about prompts of `fold`; after at most `_LOOKS` of the epochs look at these."""
    run = _Training(stack, inputs, fold, options)
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Network(inputs.z.shape[1], len(stack.tables), options).to(run.device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        # Counted on all attempts, so that every fold has as many epochs.
        n = len(stack.accepted)
        size = int(np.clip(n // 16, 16, options.batch))
        epochs = max(options.epochs, options.least_steps * size // n)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, options.learning_rate, total_steps=epochs * -(-len(run.inside) // size), pct_start=0.2
        )
        looks = np.unique(np.linspace(1, epochs, min(epochs, _LOOKS)).round().astype(np.int64)).tolist()
        losses, outputs, parameters = [], [], []
        for epoch in range(1, epochs + 1):
            network.train()
            shuffled = rng.permutation(run.inside)
            for first in range(0, len(shuffled), size):
                batch = run.batch(shuffled[first : first + size], rng)
                loss = run.loss(network(batch), batch)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            if epoch in looks:
                outputs.append(run.predict(network))
                losses.append(run.held_out_loss(outputs[-1][:, 0]))
                parameters.append(
                    {name: p.detach().cpu().numpy().astype(np.float64) for name, p in network.state_dict().items()}
                )
    return Trained(looks, np.asarray(losses), run.rows(run.held_out), outputs, parameters)
