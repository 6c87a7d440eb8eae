"""Learning posterior and cost to go together, from evidence columns and the words of prompt and text [T4].

One small network (`msifr_policy.network`) on all checkpoints of all attempts, of one family of traces or of many.
Families share everything but an offset, so that small ones learn from large ones. The vectors of the hashed words are
learned with it and become the validator `words`. The loss per checkpoint is

    −log P(outcome) + ½·c·(M_k − M_{k+1})² + ¼·e·(log r_k − log remaining cost)²

where M_{k+1} is held fixed: a temporal-difference term that draws successive estimates towards a martingale [T4, T12]
(Sutton 1988). Each attempt weighs the same, and a family of n attempts 1/√n. Five networks are learned, each without a
fifth of the prompts; what they say of those is the cross-fitted estimate, over all families: none comes from a network
that saw the prompt. On new prompts the beliefs are the mean of their log-odds and of their log r. The number of epochs
is the one with the least cross-fitted loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.posterior import log_loss
from msifr_calibration.split import prompt_uniform
from msifr_calibration.stages import standardise
from msifr_policy.errors import InputError
from msifr_policy.evidence import EvidenceTable, build_evidence
from msifr_policy.network import NetworkCostToGo, NetworkPosterior
from msifr_policy.posterior import signed_log1p
from msifr_policy.traces import Trace
from msifr_policy.validators import describe
from msifr_policy.validators.words import BUCKETS, SMOOTHING, Words, prompt_buckets, text_buckets
from msifr_policy.weights import remember, to_bytes

if TYPE_CHECKING:
    import torch

__all__ = ["LearnOptions", "LearnedBeliefs", "WordRows", "learn_beliefs", "read_words", "with_words"]

_FOLDS = 5
_STEPS_AT_LEAST = 300
_LOOKS = 8  # epochs after which the held-out loss is taken, at most; parameters of each are kept
_LARGEST_UNIT = 2**15 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnOptions:
    """How the network is learned.

    dimensions: of the vectors of words. hidden: width H. dropout: of hidden units and word columns; word_dropout: share
    of the buckets left out of each sum. batch: attempts per step. epochs: most passes over the data. consistency: c,
    the weight of the temporal-difference term; cost_weight: e. device: "auto" takes a GPU if there is one.
    """

    dimensions: int = 16
    hidden: int = 64
    dropout: float = 0.3
    word_dropout: float = 0.5
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    word_decay: float = 0.1
    batch: int = 256
    epochs: int = 5
    consistency: float = 0.5
    cost_weight: float = 0.4
    checkpoints: int = 64
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class WordRows:
    """The hashed words behind a table, see `validators.words`.

    buckets: `[G]` of all attempts, in order. new: `[R]` how many of them become complete between the row before and
    this row. prompt_buckets `[Q]`, prompt_start `[P + 1]`: of each distinct prompt text; prompt_of: `[N]` which one.
    """

    buckets: NDArray[np.int32]
    new: NDArray[np.int64]
    prompt_buckets: NDArray[np.int32]
    prompt_start: NDArray[np.int64]
    prompt_of: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LearnedBeliefs:
    """What was learned for one family: the validator of words, both models, and what they predict crosswise.

    cross_fitted, remaining: `[R]` M_k and r_k by networks that did not see the row's prompt. log_loss: mean
    cross-fitted loss in nats per checkpoint; base_loss: that of the family's acceptance rate.
    """

    words: Words
    posterior: NetworkPosterior
    cost_to_go: NetworkCostToGo
    cross_fitted: NDArray[np.float64]
    remaining: NDArray[np.float64]
    log_loss: float
    base_loss: float
    epochs: int


def read_words(table: EvidenceTable, traces: Sequence[Trace]) -> WordRows:
    """Return the hashed words of the attempts of `table`, whose texts are in `traces` (any order, by id).

    Raises `InputError` if a trace is missing.
    """
    by_id = {trace.id: trace for trace in traces}
    buckets: list[NDArray[np.int64]] = []
    new: list[NDArray[np.int64]] = []
    prompts: dict[str, int] = {}
    prompt_words: list[NDArray[np.int64]] = []
    prompt_of = []
    for i, attempt in enumerate(table.attempt_ids):
        trace = by_id.get(attempt)
        if trace is None:
            raise InputError(f"no trace {attempt!r}", where="learned posterior", remedy="give the traces of the table")
        words, ready = text_buckets(trace.text)
        seen = np.searchsorted(ready, table.position[table.start[i] : table.start[i + 1]], side="right")
        buckets.append(words[: seen[-1]])
        new.append(np.diff(seen, prepend=0))
        if trace.prompt not in prompts:
            prompts[trace.prompt] = len(prompts)
            prompt_words.append(prompt_buckets(trace.prompt))
        prompt_of.append(prompts[trace.prompt])
    sizes = [len(w) for w in prompt_words]
    return WordRows(
        np.concatenate(buckets).astype(np.int32),
        np.concatenate(new),
        np.concatenate(prompt_words).astype(np.int32),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.asarray(prompt_of, dtype=np.int64),
    )


def with_words(table: EvidenceTable, traces: Sequence[Trace], words: Words) -> EvidenceTable:
    """Return `table` with the columns of `words`, replayed as in flight over its traces."""
    by_id = {trace.id: trace for trace in traces}
    if not table.n_attempts:
        width = 2 * words.dimensions
        nothing = replace(
            table,
            columns=tuple(f"words.{c}" for c in words.columns),
            values=np.zeros((0, width)),
            verdicts=np.zeros((0, 1), dtype=np.int8),
            validators=(describe(words),),
        )
        return table.join(nothing)
    more = build_evidence([by_id[i] for i in table.attempt_ids], table.schedule, (words,), unit="characters")
    if more.failures:
        # In flight a validator fails open; here it would only hide that nothing was learned.
        raise InputError(f"words could not be read: {more.failures}", where="learned posterior")
    return table.join(more)


def learn_beliefs(
    tables: Mapping[str, EvidenceTable],
    words: Mapping[str, WordRows],
    *,
    options: LearnOptions | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, LearnedBeliefs]:
    """Learn the beliefs of all families together; all tables have the same columns.

    `progress` is called with a line per network. Needs torch. Raises `InputError` if the columns differ or nothing can
    be learned (one outcome only, or fewer than two prompts).
    """
    options = options or LearnOptions()
    data = _Data(tables, words, seed)
    order = np.arange(len(data.accepted))
    runs = []
    for held in range(_FOLDS):
        inside = data.fold != held
        if inside.all() or not inside.any():
            continue
        progress(f"network {held + 1} of {_FOLDS}")
        runs.append(_fit(data, order[inside], order[~inside], options, seed + held))
    # Every fold tells its loss after the same epochs; the one with the least loss over all of them is taken.
    losses = np.sum([run.losses for run in runs], axis=0)
    best = int(losses.argmin())
    M, log_r = np.empty(len(data.k)), np.empty(len(data.k))
    for run in runs:
        M[run.rows], log_r[run.rows] = run.outputs[best]
    result = {}
    for f, (name, table) in enumerate(tables.items()):
        rows = slice(data.first_row[f], data.first_row[f + 1])
        mine, checks = 1 / (1 + np.exp(-M[rows])), table.is_checkpoint
        outcome = table.accepted[table.attempt][checks]
        sha256 = remember(to_bytes(_together([run.parameters[best] for run in runs], data, f, options)))
        words_of = Words(sha256, options.dimensions * len(runs))
        columns = (*table.columns, *(f"words.{c}" for c in words_of.columns))
        rho = float(table.cost.sum() / max(table.n_accepted, 1))
        result[name] = LearnedBeliefs(
            words_of,
            NetworkPosterior(columns, sha256),
            NetworkCostToGo(columns, sha256, rho),
            mine,
            np.exp(np.clip(log_r[rows], 0.0, 20.0)),
            log_loss(mine[checks], outcome),
            log_loss(np.full(len(outcome), table.accepted.mean()), outcome),
            runs[0].epochs[best],
        )
    return result


class _Data:
    """All families end to end: rows, attempts, words, each with offsets."""

    def __init__(self, tables: Mapping[str, EvidenceTable], words: Mapping[str, WordRows], seed: int) -> None:
        every = list(tables.values())
        if len({table.columns for table in every}) != 1:
            raise InputError("the tables have different columns", where="learned posterior")
        self.names = tuple(tables)
        rows = [len(table.k) for table in every]
        self.first_row = np.concatenate([[0], np.cumsum(rows)])
        self.evidence = np.concatenate([signed_log1p(table.values) for table in every]).astype(np.float32)
        self.k = np.concatenate([table.k for table in every])
        # Of all rows: evidence, not outcomes, so that nothing of a held-out prompt's fate is told.
        _, self.centre, self.scale = standardise(self.evidence.astype(np.float64))
        self.checks = np.concatenate([table.is_checkpoint for table in every])
        self.start = np.concatenate([[0], *(t.start[1:] + o for t, o in zip(every, self.first_row[:-1], strict=True))])
        self.accepted = np.concatenate([table.accepted for table in every]).astype(np.float32)
        if not 0 < self.accepted.mean() < 1:
            raise InputError("every attempt has the same outcome", where="learned posterior", remedy="add traces")
        self.log_remaining = np.concatenate(
            [np.log1p(table.cost[table.attempt] - table.spent) for table in every]
        ).astype(np.float32)
        self.family = np.repeat(np.arange(len(every)), [table.n_attempts for table in every])
        self.weight = 1 / np.sqrt(np.bincount(self.family))[self.family]
        uniform = [prompt_uniform(table.prompt_ids, seed, "fold") for table in every]
        # The fold is a function of the prompt alone, so that no family tells about another's held-out prompts.
        self.fold = np.concatenate(
            [(u * _FOLDS).astype(np.int64)[t.prompt] for u, t in zip(uniform, every, strict=True)]
        )
        if len(np.unique(self.fold)) < 2:
            raise InputError("too few prompts to learn from", where="learned posterior", remedy="add prompts")
        mine = [words[name] for name in self.names]
        self.buckets = np.concatenate([w.buckets for w in mine])
        self.new = np.concatenate([w.new for w in mine])
        self.row_bucket = np.concatenate([[0], np.cumsum(self.new)])
        self.prompt_buckets = np.concatenate([w.prompt_buckets for w in mine])
        offsets = np.cumsum([0, *(len(w.prompt_buckets) for w in mine)])
        self.prompt_start = np.concatenate(
            [*(w.prompt_start[:-1] + o for w, o in zip(mine, offsets, strict=False)), offsets[-1:]]
        )
        counts = np.cumsum([0, *(len(w.prompt_start) - 1 for w in mine)])
        self.prompt_of = np.concatenate([w.prompt_of + c for w, c in zip(mine, counts, strict=False)])


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
    parameters: list[dict[str, NDArray[Any]]]


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
        net = _network(data.evidence.shape[1], len(data.names), options).to(device)
        vectors = [net.text.weight, net.prompt.weight]
        rest = [p for name, p in net.named_parameters() if not name.startswith(("text.", "prompt."))]
        optimiser = torch.optim.AdamW(
            [
                {"params": vectors, "weight_decay": options.word_decay},
                {"params": rest, "weight_decay": options.weight_decay},
            ],
            lr=options.learning_rate,
        )
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
                b = _batch(data, shuffled[first : first + size], device, options.word_dropout, rng)
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
            parameters.append({name: _kept(name, p) for name, p in net.state_dict().items()})
    return _Run(looks, np.asarray(losses), held_rows, outputs, parameters)


def _kept(name: str, parameter: torch.Tensor) -> NDArray[Any]:
    """Copy a parameter; the many vectors of words in half precision, which is finer than what is exported."""
    array = parameter.detach().cpu().numpy()
    return array.astype(np.float16 if name in ("text.weight", "prompt.weight") else np.float64)


def _together(
    networks: Sequence[Mapping[str, NDArray[Any]]], data: _Data, family: int, options: LearnOptions
) -> dict[str, NDArray[Any]]:
    """Return the tensors of all networks side by side for one family, its offset folded into their bias."""
    d, H, D, N = options.dimensions, options.hidden, data.evidence.shape[1], len(networks)
    vectors = np.stack([np.hstack([net[f"{kind}.weight"] for net in networks]) for kind in ("text", "prompt")])
    unit = max(float(np.abs(vectors).max()), 1e-12) / _LARGEST_UNIT
    text, prompt = np.rint(vectors.astype(np.float64) / unit).astype(np.int16)
    known = np.zeros((D + 2 * N * d, N, H))
    unknown = np.zeros_like(known)
    bias, at_checkpoint = [], []
    for i, net in enumerate(networks):
        of_rules, of_text, of_prompt, of_unknown, of_family, of_k = np.split(
            net["first.weight"].T, np.cumsum([D, d, d, D, 8])
        )
        known[:D, i] = of_rules
        known[D + i * d : D + (i + 1) * d, i] = of_text
        known[D + (N + i) * d : D + (N + i + 1) * d, i] = of_prompt
        unknown[:D, i] = of_unknown
        bias.append(net["first.bias"] + net["family.weight"][family] @ of_family)
        at_checkpoint.append(np.column_stack([net["checkpoint.weight"], net["ramp"]]) @ of_k)
    beliefs = {
        "centre": np.concatenate([data.centre, np.zeros(2 * N * d)]),
        "scale": np.concatenate([data.scale, np.ones(2 * N * d)]),
        "known": known.reshape(-1, N * H),
        "unknown": unknown.reshape(-1, N * H),
        "bias": np.concatenate(bias),
        "checkpoint": np.hstack(at_checkpoint),
        "hidden": np.stack([net["hidden.weight"].T for net in networks]),
        "hidden_bias": np.stack([net["hidden.bias"] for net in networks]),
        "out": np.stack([net["out.weight"].T for net in networks]),
        "out_bias": np.mean([net["out.bias"] for net in networks], axis=0),
    }
    return {
        "words.text": text,
        "words.prompt": prompt,
        "words.scale": np.asarray(unit),
        **{f"beliefs.{name}": array.astype(np.float32) for name, array in beliefs.items()},
    }


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


def _batch(
    data: _Data,
    attempts: NDArray[np.int64],
    device: torch.device,
    word_dropout: float,
    rng: np.random.Generator | None,
) -> dict[str, Any]:
    """Gather the rows of `attempts`; without `rng` nothing is left out."""
    import torch

    def put(array: NDArray[Any], dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.as_tensor(array, dtype=dtype).to(device)

    sizes = np.diff(data.start)[attempts]
    rows = _ranges(data.start[attempts], sizes)
    attempt = np.repeat(np.arange(len(attempts)), sizes)
    before = np.repeat(np.cumsum(sizes) - sizes, sizes)
    new = data.new[rows]
    buckets = data.buckets[_ranges(data.row_bucket[rows], new)]
    totals = np.cumsum(new)
    count = totals - (totals - new)[before]
    prompt = data.prompt_of[attempts]
    prompt_sizes = np.diff(data.prompt_start)[prompt]
    prompt_buckets_ = data.prompt_buckets[_ranges(data.prompt_start[prompt], prompt_sizes)]

    def kept(n: int) -> torch.Tensor:
        if rng is None:
            return torch.ones(n, device=device)
        return put((rng.random(n) >= word_dropout) / (1 - word_dropout), torch.float32)

    unknown = ~np.isfinite(data.evidence[rows])
    z = np.where(unknown, 0.0, (data.evidence[rows] - data.centre) / data.scale)
    is_end = np.zeros(len(rows), dtype=bool)
    is_end[np.cumsum(sizes) - 1] = True
    return {
        "attempts": attempts,
        "attempt": put(attempt),
        "rows_of": put(np.repeat(sizes, sizes), torch.float32),
        "first": put(before),
        "buckets": put(buckets.astype(np.int64)),
        "bucket_start": put(totals - new),
        "bucket_weight": kept(len(buckets)),
        "count": put(count, torch.float32),
        "prompt_buckets": put(prompt_buckets_.astype(np.int64)),
        "prompt_start": put(np.cumsum(prompt_sizes) - prompt_sizes),
        "prompt_weight": kept(len(prompt_buckets_)),
        "prompt_count": put(prompt_sizes, torch.float32),
        "z": put(z, torch.float32),
        "unknown": put(unknown, torch.float32),
        "family": put(data.family[attempts]),
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
            b = _batch(data, attempts[first : first + 512], device, 0.0, None)
            outputs.append([o.cpu().numpy().astype(np.float64) for o in net(b)])
    logit, log_r = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    return logit, log_r


def _network(n_columns: int, n_families: int, options: LearnOptions) -> Any:
    """Make the module; a function, so that torch is imported only when something is learned."""
    import torch
    from torch import nn

    d, H, K = options.dimensions, options.hidden, options.checkpoints

    def g(x: torch.Tensor) -> torch.Tensor:
        return torch.sign(x) * torch.log1p(x.abs())

    class Network(nn.Module):
        ramp: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.text = nn.EmbeddingBag(BUCKETS, d, mode="sum")
            self.prompt = nn.EmbeddingBag(BUCKETS, d, mode="sum")
            self.family = nn.Embedding(n_families, 8)
            self.checkpoint = nn.Embedding(K, 6)
            for weight in (self.text.weight, self.prompt.weight):
                nn.init.normal_(weight, std=0.02)
            for weight in (self.family.weight, self.checkpoint.weight):
                nn.init.normal_(weight, std=0.1)
            self.first = nn.Linear(2 * n_columns + 2 * d + 8 + 7, H)
            self.hidden = nn.Linear(H, H)
            self.out = nn.Linear(H, 2)
            self.drop = nn.Dropout(options.dropout)
            self.register_buffer("ramp", torch.arange(1, K + 1)[:, None] / 20 - 0.5)

        def forward(self, b: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
            sums = torch.cumsum(
                self.text(b["buckets"], b["bucket_start"], per_sample_weights=b["bucket_weight"]), dim=0
            )
            earlier = torch.where(b["first"][:, None] > 0, sums[(b["first"] - 1).clamp(min=0)], 0.0)
            text = g((sums - earlier) / torch.sqrt(b["count"][:, None] + SMOOTHING))
            prompt = self.prompt(b["prompt_buckets"], b["prompt_start"], per_sample_weights=b["prompt_weight"])
            prompt = g(prompt / torch.sqrt(b["prompt_count"][:, None] + SMOOTHING))[b["attempt"]]
            at = b["k"].clamp(max=K) - 1
            x = torch.cat(
                [
                    b["z"],
                    self.drop(text),
                    self.drop(prompt),
                    b["unknown"],
                    self.family(b["family"])[b["attempt"]],
                    self.checkpoint(at),
                    self.ramp[at],
                ],
                dim=1,
            )
            gelu = nn.functional.gelu
            h = self.drop(gelu(self.hidden(self.drop(gelu(self.first(x))))))
            out = self.out(h)
            return out[:, 0], out[:, 1]

    return Network()
