"""Learning posterior and cost to go together, from evidence columns and the words of prompt and text [T4].

Three steps, of one family of traces or of many:

1. the weights of the validator `words` (`beliefs.words`), whose two scores join the evidence columns;
2. one small network (`msifr_policy.beliefs.network`) on all checkpoints of all attempts. Families share all but an
   offset, so that small ones learn from large ones. Its loss per checkpoint is

       −log P(outcome) + ½·c·(M_k − M_{k+1})² + ¼·e·(log r_k − log remaining cost)²

   where M_{k+1} is held fixed: a temporal-difference term that draws successive estimates towards a martingale
   [T4, T12] (Sutton 1988). Each attempt weighs the same, and a family of n attempts 1/√n;
3. per family a logistic regression per stage (`posterior`) on the same columns, blended with the network
   (`msifr_policy.beliefs.blend`) by two weights fitted to the cross-fitted estimates.

Five networks are learned, each without a fifth of the prompts; what they say of those is the cross-fitted estimate,
over all families: none comes from a regression or network that was fitted to the prompt. On new prompts the beliefs are
the mean of their log-odds and of their log r. The number of epochs is the one with the least cross-fitted loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from msifr_calibration.beliefs.linear import fit_posterior, log_loss
from msifr_calibration.beliefs.stages import standardise
from msifr_calibration.beliefs.words import WordOdds, WordRows, learn_word_odds
from msifr_calibration.split import shared_folds
from msifr_policy.beliefs.blend import BlendedPosterior, blend, log_odds
from msifr_policy.beliefs.linear import signed_log1p
from msifr_policy.beliefs.network import NetworkCostToGo, NetworkPosterior
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable, build_evidence
from msifr_policy.records.traces import Trace
from msifr_policy.validators import describe
from msifr_policy.validators.words import Words
from msifr_policy.weights import remember, to_bytes

if TYPE_CHECKING:
    import torch

__all__ = ["LearnOptions", "LearnedBeliefs", "learn_beliefs", "with_words"]

_STEPS_AT_LEAST = 300
_LOOKS = 8  # epochs after which the held-out loss is taken, at most; parameters of each are kept
_LARGEST_UNIT = 2**15 - 1
_MOST_BLEND = 10.0
_NO_WEIGHTS = "0" * 64
"""Stands for weights that are not known yet: scores were not replayed but come from cross-fitting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnOptions:
    """How the network is learned.

    hidden: width H. dropout: of hidden units. batch: attempts per step. epochs: most passes over the data. consistency:
    c, the weight of the temporal-difference term; cost_weight: e. checkpoints: how many have an offset of their own.
    device: "auto" takes a GPU if there is one.
    """

    hidden: int = 64
    dropout: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    batch: int = 256
    epochs: int = 5
    consistency: float = 0.5
    cost_weight: float = 0.4
    checkpoints: int = 64
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class LearnedBeliefs:
    """What was learned for one family: the validator of words, both models, and what they predict crosswise.

    cross_fitted, remaining: `[R]` M_k and r_k by models that did not see the row's prompt; table: the attempts with the
    cross-fitted scores of words among the columns. log_loss: mean cross-fitted loss in nats per checkpoint; base_loss:
    that of the family's acceptance rate.
    """

    words: Words
    posterior: BlendedPosterior
    cost_to_go: NetworkCostToGo
    table: EvidenceTable
    cross_fitted: NDArray[np.float64]
    remaining: NDArray[np.float64]
    log_loss: float
    base_loss: float
    epochs: int


def with_words(table: EvidenceTable, traces: Sequence[Trace], words: Words) -> EvidenceTable:
    """Return `table` with the columns of `words`, replayed as in flight over its traces."""
    by_id = {trace.id: trace for trace in traces}
    if not table.n_attempts:
        return _join_words(table, words, np.zeros((0, 2)))
    more = build_evidence([by_id[i] for i in table.attempt_ids], table.schedule, (words,), unit="characters")
    if more.failures:
        # In flight a validator fails open; here it would only hide that nothing was learned.
        raise InputError(f"words could not be read: {more.failures}", where="learned posterior")
    return table.join(more)


def _join_words(table: EvidenceTable, words: Words, scores: NDArray[np.float64]) -> EvidenceTable:
    """Return `table` with `scores` `[R, 2]` as the columns of `words`."""
    of_words = replace(
        table,
        columns=tuple(f"words.{column}" for column in words.columns),
        values=scores,
        verdicts=np.zeros((len(table.k), 1), dtype=np.int8),
        validators=(describe(words),),
    )
    return table.join(of_words)


def learn_beliefs(
    tables: Mapping[str, EvidenceTable],
    words: Mapping[str, WordRows],
    *,
    options: LearnOptions | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, LearnedBeliefs]:
    """Learn the beliefs of all families together; all tables have the same columns.

    `progress` is called with a line per model. Needs torch. Raises `InputError` if the columns differ or nothing can
    be learned (one outcome only, or fewer than two prompts).
    """
    options = options or LearnOptions()
    if len({table.columns for table in tables.values()}) != 1:
        raise InputError("the tables have different columns", where="learned posterior")
    if len(np.unique(np.concatenate([table.accepted for table in tables.values()]))) < 2:
        raise InputError("every attempt has the same outcome", where="learned posterior", remedy="add traces")
    odds = learn_word_odds(tables, words, seed=seed, progress=progress)
    joined = {name: _join_words(table, Words(_NO_WEIGHTS), odds[name].cross_fitted) for name, table in tables.items()}
    data = _Data(joined, shared_folds(tables, seed))
    networks = _cross_fit(data, options, seed, progress)
    progress("a linear model per family")
    linear = {name: fit_posterior(table, method="logistic", seed=seed) for name, table in joined.items()}
    M_linear = np.concatenate([fitted.cross_fitted for fitted in linear.values()])
    a, b = _blend_weights(data, networks.M, M_linear)
    M = blend(networks.M, M_linear, a, b)
    result = {}
    for f, (name, table) in enumerate(tables.items()):
        rows = slice(data.first_row[f], data.first_row[f + 1])
        mine, checks = M[rows], table.is_checkpoint
        outcome = table.accepted[table.attempt][checks]
        arrays = {**_of_words(odds[name]), **_of_networks(networks.parameters, data, f)}
        sha256 = remember(to_bytes(arrays))
        columns = joined[name].columns
        rho = float(table.cost.sum() / max(table.n_accepted, 1))
        result[name] = LearnedBeliefs(
            Words(sha256),
            BlendedPosterior(NetworkPosterior(columns, sha256), linear[name].posterior, a, b),
            NetworkCostToGo(columns, sha256, rho),
            joined[name],
            mine,
            np.exp(np.clip(networks.log_r[rows], 0.0, 20.0)),
            log_loss(mine[checks], outcome),
            log_loss(np.full(len(outcome), table.accepted.mean()), outcome),
            networks.epochs,
        )
    return result


@dataclass(frozen=True, slots=True)
class _Networks:
    """The networks of all folds after the same number of epochs, and `[R]` what each says of its held-out rows."""

    epochs: int
    parameters: list[dict[str, NDArray[np.float64]]]
    M: NDArray[np.float64]
    log_r: NDArray[np.float64]


def _cross_fit(data: _Data, options: LearnOptions, seed: int, progress: Callable[[str], None]) -> _Networks:
    order = np.arange(len(data.accepted))
    runs = []
    for held in np.unique(data.fold).tolist():
        progress(f"network {held + 1} of {data.fold.max() + 1}")
        runs.append(_fit(data, order[data.fold != held], order[data.fold == held], options, seed + held))
    # Every fold tells its loss after the same epochs; the one with the least loss over all of them is taken.
    best = int(np.sum([run.losses for run in runs], axis=0).argmin())
    eta, log_r = np.empty(len(data.k)), np.empty(len(data.k))
    for run in runs:
        eta[run.rows], log_r[run.rows] = run.outputs[best]
    return _Networks(runs[0].epochs[best], [run.parameters[best] for run in runs], expit(eta), log_r)


def _blend_weights(data: _Data, M_network: NDArray[np.float64], M_linear: NDArray[np.float64]) -> tuple[float, float]:
    """Return a, b ≥ 0 with the least cross-fitted loss, each attempt weighing the same and a family of n 1/√n."""
    rows = np.flatnonzero(data.checks)
    sizes = np.bincount(data.attempt[rows], minlength=len(data.accepted))
    w = (data.weight / np.maximum(sizes, 1))[data.attempt[rows]]
    sign = np.where(data.accepted > 0, 1.0, -1.0)[data.attempt[rows]]
    eta = np.column_stack([log_odds(M_network[rows]), log_odds(M_linear[rows])])

    def loss(ab: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (eta @ ab)
        by_row = -w * sign * expit(-margin)
        return float(w @ np.logaddexp(0.0, -margin)), eta.T @ by_row

    a, b = minimize(loss, np.full(2, 0.5), jac=True, method="L-BFGS-B", bounds=[(0.0, _MOST_BLEND)] * 2).x
    return float(a), float(b)


def _of_words(odds: WordOdds) -> dict[str, NDArray[Any]]:
    """Return the tensors of the validator of words, in fixed point."""
    unit = max(float(np.abs(odds.text).max()), float(np.abs(odds.prompt).max()), 1e-12) / _LARGEST_UNIT
    return {
        "words.text": np.rint(odds.text / unit).astype(np.int16),
        "words.prompt": np.rint(odds.prompt / unit).astype(np.int16),
        "words.scale": np.asarray(unit),
    }


class _Data:
    """All families end to end: rows and attempts, each with offsets."""

    def __init__(self, tables: Mapping[str, EvidenceTable], fold: NDArray[np.int64]) -> None:
        every = list(tables.values())
        self.n_families = len(every)
        self.first_row = np.cumsum([0, *(len(table.k) for table in every)])
        self.evidence = np.concatenate([signed_log1p(table.values) for table in every]).astype(np.float32)
        self.k = np.concatenate([table.k for table in every])
        # Of all rows: evidence, not outcomes, so that nothing of a held-out prompt's fate is told.
        _, self.centre, self.scale = standardise(self.evidence.astype(np.float64))
        self.checks = np.concatenate([table.is_checkpoint for table in every])
        self.start = np.concatenate([[0], *(t.start[1:] + o for t, o in zip(every, self.first_row, strict=False))])
        self.attempt = np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))
        self.accepted = np.concatenate([table.accepted for table in every]).astype(np.float32)
        self.log_remaining = np.concatenate(
            [np.log1p(table.cost[table.attempt] - table.spent) for table in every]
        ).astype(np.float32)
        self.family = np.repeat(np.arange(len(every)), [table.n_attempts for table in every])
        self.weight = 1 / np.sqrt(np.bincount(self.family))[self.family]
        self.fold = fold


def _ranges(first: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return first[0], first[0] + 1, … (sizes[0] numbers), first[1], …"""
    ends = np.cumsum(sizes)
    result: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + sizes, sizes)
    return result


@dataclass(frozen=True, slots=True)
class _Run:
    """A fitted network after some epochs: its loss and outputs on the held-out rows, and its parameters."""

    epochs: list[int]
    losses: NDArray[np.float64]
    rows: NDArray[np.int64]
    outputs: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
    parameters: list[dict[str, NDArray[np.float64]]]


def _fit(
    data: _Data,
    inside: NDArray[np.int64],
    held_out: NDArray[np.int64],
    options: LearnOptions,
    seed: int,
) -> _Run:
    """Fit on the attempts `inside`; after at most `_LOOKS` of the epochs predict those `held_out`."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    )
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _network(data.evidence.shape[1], data.n_families, options).to(device)
        optimiser = torch.optim.AdamW(net.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        # Counted on all attempts, so that every fold has as many epochs.
        size = int(np.clip(len(data.accepted) // 16, 16, options.batch))
        epochs = max(options.epochs, _STEPS_AT_LEAST * size // len(data.accepted))
        per_epoch = -(-len(inside) // size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, options.learning_rate, total_steps=epochs * per_epoch, pct_start=0.2
        )
        weight = data.weight / data.weight[inside].mean()
        losses, outputs, parameters = [], [], []
        held_rows = _ranges(data.start[held_out], np.diff(data.start)[held_out])
        looks = np.unique(np.linspace(1, epochs, min(epochs, _LOOKS)).round().astype(np.int64)).tolist()
        for epoch in range(1, epochs + 1):
            net.train()
            shuffled = rng.permutation(inside)
            for first in range(0, len(shuffled), size):
                b = _batch(data, shuffled[first : first + size], device)
                logit, log_r = net(b)
                w = torch.as_tensor(weight[b["attempts"]], dtype=torch.float32, device=device)[b["attempt"]]
                w = w * b["checks"] / b["rows_of"]
                loss = binary_cross_entropy_with_logits(logit, b["accepted"], reduction="none")
                M = torch.sigmoid(logit)
                onward = torch.where(b["is_end"][1:], b["accepted"][1:], M.detach()[1:])
                step = torch.zeros_like(M)
                step[:-1] = (M[:-1] - onward) ** 2
                loss = loss + options.consistency / 2 * step
                loss = loss + options.cost_weight / 4 * (log_r - b["log_remaining"]) ** 2
                total = (loss * w).sum() / w.sum().clamp(min=1e-9)
                optimiser.zero_grad()
                total.backward()
                optimiser.step()
                schedule.step()
            if epoch not in looks:
                continue
            logit_held, log_held = _predict(net, data, held_out, device)
            outputs.append((logit_held, log_held))
            losses.append(_weighted_loss(data, held_out, held_rows, logit_held, weight))
            parameters.append(
                {name: p.detach().cpu().numpy().astype(np.float64) for name, p in net.state_dict().items()}
            )
    return _Run(looks, np.asarray(losses), held_rows, outputs, parameters)


def _of_networks(
    networks: Sequence[Mapping[str, NDArray[np.float64]]], data: _Data, family: int
) -> dict[str, NDArray[Any]]:
    """Return the tensors of all networks side by side for one family, its offset folded into their bias."""
    D = data.evidence.shape[1]
    known, unknown, bias, at_checkpoint = [], [], [], []
    for net in networks:
        of_known, of_unknown, of_family, of_k = np.split(net["first.weight"].T, np.cumsum([D, D, 8]))
        known.append(of_known)
        unknown.append(of_unknown)
        bias.append(net["first.bias"] + net["family.weight"][family] @ of_family)
        at_checkpoint.append(np.column_stack([net["checkpoint.weight"], net["ramp"]]) @ of_k)
    beliefs = {
        "centre": data.centre,
        "scale": data.scale,
        "known": np.hstack(known),
        "unknown": np.hstack(unknown),
        "bias": np.concatenate(bias),
        "checkpoint": np.hstack(at_checkpoint),
        "hidden": np.stack([net["hidden.weight"].T for net in networks]),
        "hidden_bias": np.stack([net["hidden.bias"] for net in networks]),
        "out": np.stack([net["out.weight"].T for net in networks]),
        "out_bias": np.mean([net["out.bias"] for net in networks], axis=0),
    }
    return {f"beliefs.{name}": array.astype(np.float32) for name, array in beliefs.items()}


def _weighted_loss(
    data: _Data,
    attempts: NDArray[np.int64],
    rows: NDArray[np.int64],
    logit: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> float:
    sizes = np.diff(data.start)[attempts]
    w = np.repeat(weight[attempts] / sizes, sizes) * data.checks[rows]
    y = np.repeat(data.accepted[attempts], sizes)
    return float((np.logaddexp(0.0, np.where(y > 0, -logit, logit)) * w).sum())


def _batch(data: _Data, attempts: NDArray[np.int64], device: torch.device) -> dict[str, Any]:
    """Gather the rows of `attempts`."""
    import torch

    def put(array: NDArray[Any], dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.as_tensor(array, dtype=dtype).to(device)

    sizes = np.diff(data.start)[attempts]
    rows = _ranges(data.start[attempts], sizes)
    attempt = np.repeat(np.arange(len(attempts)), sizes)
    unknown = ~np.isfinite(data.evidence[rows])
    z = np.where(unknown, 0.0, (data.evidence[rows] - data.centre) / data.scale)
    is_end = np.zeros(len(rows), dtype=bool)
    is_end[np.cumsum(sizes) - 1] = True
    return {
        "attempts": attempts,
        "attempt": put(attempt),
        "rows_of": put(np.repeat(sizes, sizes), torch.float32),
        "z": put(z, torch.float32),
        "unknown": put(unknown, torch.float32),
        "family": put(data.family[attempts][attempt]),
        "k": put(data.k[rows]),
        "accepted": put(data.accepted[attempts][attempt]),
        "log_remaining": put(data.log_remaining[rows]),
        "checks": put(data.checks[rows], torch.float32),
        "is_end": put(is_end),
    }


def _predict(
    net: Any,
    data: _Data,
    attempts: NDArray[np.int64],
    device: torch.device,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import torch

    net.eval()
    outputs = []
    with torch.no_grad():
        for first in range(0, len(attempts), 512):
            b = _batch(data, attempts[first : first + 512], device)
            outputs.append([o.cpu().numpy().astype(np.float64) for o in net(b)])
    logit, log_r = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    return logit, log_r


def _network(n_columns: int, n_families: int, options: LearnOptions) -> Any:
    """Make the module; a function, so that torch is imported only when something is learned."""
    import torch
    from torch import nn

    H, K = options.hidden, options.checkpoints

    class Network(nn.Module):
        ramp: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.family = nn.Embedding(n_families, 8)
            self.checkpoint = nn.Embedding(K, 6)
            for weight in (self.family.weight, self.checkpoint.weight):
                nn.init.normal_(weight, std=0.1)
            self.first = nn.Linear(2 * n_columns + 8 + 7, H)
            self.hidden = nn.Linear(H, H)
            self.out = nn.Linear(H, 2)
            self.drop = nn.Dropout(options.dropout)
            self.register_buffer("ramp", torch.arange(1, K + 1)[:, None] / 20 - 0.5)

        def forward(self, b: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
            at = b["k"].clamp(max=K) - 1
            x = torch.cat(
                [b["z"], b["unknown"], self.family(b["family"]), self.checkpoint(at), self.ramp[at]],
                dim=1,
            )
            gelu = nn.functional.gelu
            h = self.drop(gelu(self.hidden(self.drop(gelu(self.first(x))))))
            out = self.out(h)
            return out[:, 0], out[:, 1]

    return Network()
