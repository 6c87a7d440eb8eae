"""Pretrained beliefs: learned once on recorded families, they need few samples of a new one [T4].

**Learning** (`learn_pretrained`) is that of `beliefs.blend` without what belongs to one family: the words have only the
weights that all families share, and the network is shown half of the attempts without their family's offset, and each
without the scores of some validators. What comes out is one safetensors file that says what it reads.

The words, which remember how attempts at a prompt ended, come in five sets: set s is learned without the questions that
any prompt of fold s asks, a fold being a hash of the prompt's text. So every prompt, also one that was learned from, is
read by weights that never saw its question, and may fit and certify like any other. The network is learned on what each
set says of its own fold; it has no words and hardly knows a prompt again (`benchmarks/pretrained.py` measures both).

**Fitting** (`fit_pretrained_beliefs`) to a new family keeps all of it and learns a handful of numbers. With η the
network's log-odds and g(k) the group of checkpoint k,

    log-odds of M_k = a·η + c + c_g(k),    log r_k = the network's + d,

where a ~ N(1, 0.5²), c ~ N(0, 1.5²), c_g ~ N(0, 0.3²) and all attempts together weigh as many independent rows as there
are attempts (√n for n at one prompt): the posterior mode, so that no attempts leave the network as it is. A prior by
recalibration on other families (Platt 1999, with its scale and offset held near 1 and 0). d is a shrunken mean; it also
turns the units that costs were learned in into those of the family. With `own` a logistic regression of the family's
own evidence joins in, log-odds = a·η + b·η_own + c with b ~ N(0, 0.5²), b ≥ 0: a stack (Wolpert 1992).

The network is written anew for other columns or schedules: columns that it was not trained on weigh nothing, those that
it misses are unknown. M and r of the result are cross-fitted by prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, logit

import msifr_policy.beliefs
from msifr_calibration.beliefs.checkpoint_groups import group_checkpoints, prompt_folds
from msifr_calibration.beliefs.fitted import FittedBeliefs
from msifr_calibration.beliefs.linear import fit_posterior
from msifr_calibration.beliefs.network import NetworkOptions, fit_networks, network_tensors
from msifr_calibration.beliefs.stack import FOLDS, Integers, stack_up
from msifr_calibration.beliefs.words import fit_word_sets, read_words, with_words, word_tensors
from msifr_calibration.family import Family
from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.blend import Blend, bounded, cost_of
from msifr_policy.beliefs.linear import CheckpointGroup, LinearModel
from msifr_policy.beliefs.network import Layers, Network
from msifr_policy.checkpoints import at_checkpoint
from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Geometric
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.near_duplicates import near_duplicates, sketch
from msifr_policy.records.traces import Trace
from msifr_policy.validators import ValidatorSpec, Words
from msifr_policy.validators.words import prompt_fold
from msifr_policy.weights import recall, remember, to_bytes

Array = NDArray[np.float64]

PRETRAINED: Final = Path(msifr_policy.beliefs.__file__).with_name("pretrained") / "beliefs.safetensors"
"""The weights that come with the package; `card.json` beside them says what they were learned and judged on."""

TRAINING: Final = NetworkOptions(nameless=0.5, unseen=0.1)
"""How the network of pretrained beliefs is trained."""

_WORDS: Final = tuple(f"{Words.name}.{column}" for column in Words.columns)
_RATIO, _PART = 1.25, 40  # checkpoints of the automatic schedule: from median/40 characters on, 25 % apart
_MOST_MISSING = 2  # validators
_MOST_LOG_ODDS = 10.0
_SPREAD_OF_A, _SPREAD_OF_C, _SPREAD_OF_GROUP = 0.5, 1.5, 0.3
_SPREAD_OF_D = 3.0  # of log cost: units differ by less than e³


class Reads(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What pretrained weights read, in order: evidence `columns`, made by `validators`; the words come last."""

    columns: tuple[str, ...]
    validators: tuple[ValidatorSpec, ...]


def learn_pretrained(
    families: Sequence[Family],
    *,
    options: NetworkOptions = TRAINING,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> bytes:
    """Learn beliefs on all `families` together, tables with the same columns and traces; return a safetensors file.

    `progress` is called with a line per model. Needs torch. Raises `InputError` if columns differ, a trace is missing
    or nothing can be learned (one outcome only, or all prompts in one fold).
    """
    columns, validators = families[0].table.columns, families[0].table.validators
    if any((f.table.columns, f.table.validators) != (columns, validators) for f in families):
        raise InputError("the tables have different columns or validators", where="pretrained beliefs")
    if len(np.unique(np.concatenate([family.table.accepted for family in families]))) < 2:
        raise InputError("every attempt has the same outcome", where="pretrained beliefs", remedy="add traces")
    words = [read_words(family.table, family.traces) for family in families]
    stack = stack_up([family.table for family in families], *folds_and_questions(families))
    odds = fit_word_sets(stack, words, progress=progress)
    scores = [odds.cross_fitted[stack.rows(f)] for f in range(len(families))]
    tables = [f.table.with_scores(_WORDS, each) for f, each in zip(families, scores, strict=True)]
    networks = fit_networks(replace(stack, tables=tables), options, seed, progress)
    reads = Reads(tables[0].columns, validators)
    card = np.frombuffer(msgspec.json.encode(reads), dtype=np.uint8)
    return to_bytes({**word_tensors(odds), **network_tensors(networks, None), "reads": card})


def folds_and_questions(families: Sequence[Family]) -> tuple[Integers, Integers]:
    """Return `[N]` the fold of each attempt, by the text of its prompt, and `[N]` a number for the question it asks.

    Prompts of one id and prompts with near-duplicate texts ask one question, directly or through others: a benchmark
    that was recorded with two templates has one id and two texts, and these may be in different folds.
    """
    texts: dict[str, int] = {}
    ids: dict[str, int] = {}
    text_of, id_of = [], []
    for family in families:
        by_id = {trace.id: trace.prompt for trace in family.traces}
        text_of += [texts.setdefault(by_id[i], len(texts)) for i in family.table.attempt_ids]
        numbers = [ids.setdefault(prompt, len(ids)) for prompt in family.table.prompt_ids]
        id_of += [numbers[p] for p in family.table.prompt]
    same = near_duplicates([sketch(text) for text in texts])
    n = len(texts)
    one, other = [*text_of, *range(n)], [*(n + i for i in id_of), *same.tolist()]
    asks = connected_components(coo_array((np.ones(len(one)), (one, other)), shape=(n + len(ids),) * 2))[1]
    fold = np.asarray([prompt_fold(text, FOLDS) for text in texts], dtype=np.int64)
    return fold[text_of], asks[text_of].astype(np.int64)


def shipped_weights() -> str:
    """Return the SHA-256 of the weights that come with the package, and remember them."""
    return remember(PRETRAINED.read_bytes(), where=str(PRETRAINED))


def pretrained_supports(table: EvidenceTable, weights: str | bytes | None = None) -> str:
    """Return "" if pretrained beliefs can be fitted to `table`, otherwise why not.

    The validators they were learned with must be of the same version and parameters, and all but two of them there.
    Columns of other validators do no harm, and any schedule will do.
    """
    reads = _reads(_known(weights))
    by_name = {spec.name: spec for spec in table.validators}
    other = [spec.name for spec in reads.validators if by_name.get(spec.name, spec) != spec]
    if other:
        return f"they were learned with another version or parameters of {', '.join(other)}"
    missing = [spec.name for spec in reads.validators if spec.name not in by_name]
    if len(missing) > _MOST_MISSING:
        return f"they were learned with validators that are not here: {', '.join(missing)}"
    return "" if table.cost_per_accepted > 0 else "no attempt costs anything"


def table_with_pretrained_words(
    table: EvidenceTable, traces: Sequence[Trace], weights: str | bytes | None = None
) -> EvidenceTable:
    """Return `table` with the scores of the pretrained words as its last columns, replayed as in flight.

    A table that has them is returned as it is. Raises `InputError` if a trace is missing.
    """
    if set(_WORDS) <= set(table.columns):
        return table
    missing = set(table.attempt_ids) - {trace.id for trace in traces}
    if missing:
        raise InputError(
            f"no trace {min(missing)!r}", where="pretrained beliefs", remedy="give the traces of the table"
        )
    read = with_words(replace(table, columns=(), values=table.values[:, :0]), traces, Words(_known(weights)))
    return table.with_scores(_WORDS, read.values)


def fit_pretrained_beliefs(
    table: EvidenceTable,
    traces: Sequence[Trace] = (),
    *,
    seed: int = 0,
    own: bool = False,
    weights: str | bytes | None = None,
) -> FittedBeliefs:
    """Fit pretrained beliefs to the family of `table`; `own` adds a logistic regression of the family's own evidence.

    traces: the texts, unless the table has the words already. weights: by content or name, those of the package unless
    given. Raises `InputError` where `pretrained_supports` says why, or a trace is missing.
    """
    weights = _known(weights)
    if reason := pretrained_supports(table, weights):
        raise InputError(f"pretrained beliefs do not fit: {reason}", where="pretrained beliefs")
    table = table_with_pretrained_words(table, traces, weights)
    sha256 = remember(_written_for(table, weights))
    outputs = Network(sha256).predict(table.k, table.values)
    d, log_r = _cost_offset(table, outputs[:, 1], seed)
    eta, group_of = bounded(outputs[:, 0]), group_checkpoints(table)
    if own:
        _, (linear, _), M_own = fit_posterior(table, method="logistic", seed=seed)
        recalibration, M = _cross_fit(table, np.column_stack([eta, bounded(logit(M_own))]), group_of[:1], seed)
        linear = _scaled(linear, recalibration.shares[1], recalibration.offsets[0])
    else:
        recalibration, M = _cross_fit(table, eta[:, None], group_of, seed)
        nothing = [0.0] * len(table.columns)
        ones = [1.0] * len(table.columns)
        groups = [CheckpointGroup(offset, nothing, ones, nothing) for offset in recalibration.offsets]
        linear = LinearModel(group_of.tolist(), groups)
    beliefs = Beliefs(
        "pretrained",
        table.columns,
        table.cost_per_accepted,
        linear,
        blend=Blend(Network(sha256), recalibration.shares[0], 1.0, d),
    )
    return FittedBeliefs(beliefs, table, M, cost_of(log_r), Words(sha256))


class _Recalibration(msgspec.Struct, frozen=True):
    """shares: of each log-odds; offsets: in nats, per group of checkpoints."""

    shares: list[float]
    offsets: list[float]

    def predict(self, eta: Array, group: NDArray[np.int64]) -> Array:
        result: Array = expit(eta @ np.asarray(self.shares) + np.asarray(self.offsets)[group])
        return result


def _cross_fit(
    table: EvidenceTable, eta: Array, group_of: NDArray[np.int64], seed: int
) -> tuple[_Recalibration, Array]:
    """Return the recalibration of log-odds η `[R, S]`, and `[R]` M when a row's prompt is held out."""
    fold, group = prompt_folds(table, seed)[table.attempt], at_checkpoint(group_of, table.k)
    n_groups = int(group_of.max()) + 1
    M = np.zeros(len(table.k))
    for held in range(int(fold.max(initial=0)) + 1):
        here = fold == held
        M[here] = _recalibrate(table, eta, group, n_groups, ~here).predict(eta[here], group[here])
    return _recalibrate(table, eta, group, n_groups, np.ones(len(table.k), dtype=bool)), M


def _recalibrate(
    table: EvidenceTable, eta: Array, group: NDArray[np.int64], n_groups: int, use: NDArray[np.bool_]
) -> _Recalibration:
    """Return the posterior mode of the module docstring on the checkpoints among `use` `[R]`."""
    rows = np.flatnonzero(use & table.is_checkpoint)
    eta, group, accepted = eta[rows], group[rows], table.outcome[rows]
    sign, weight = np.where(accepted, 1.0, -1.0), _weights(table)[rows]
    n_shares = eta.shape[1]
    mean = np.zeros(n_shares + 1 + n_groups)
    mean[0] = 1.0
    spread = np.concatenate([np.full(n_shares, _SPREAD_OF_A), [_SPREAD_OF_C], np.full(n_groups, _SPREAD_OF_GROUP)])

    def loss(parameters: Array) -> tuple[float, Array]:
        shares, c, of_group = np.split(parameters, [n_shares, n_shares + 1])
        margin = sign * (eta @ shares + c + of_group[group])
        by_row = -weight * sign * expit(-margin)
        by_data = np.concatenate([eta.T @ by_row, [by_row.sum()], np.bincount(group, by_row, n_groups)])
        away = (parameters - mean) / spread
        return float(weight @ np.logaddexp(0.0, -margin) + 0.5 * away @ away), by_data + away / spread

    # One outcome tells of offsets alone: shares would only grow.
    one_outcome = accepted.all() or not accepted.any()
    most = mean[:n_shares] if one_outcome else np.full(n_shares, _MOST_LOG_ODDS)
    least = mean[:n_shares] if one_outcome else np.zeros(n_shares)
    bounds = [*zip(least, most, strict=True), *[(-_MOST_LOG_ODDS, _MOST_LOG_ODDS)] * (1 + n_groups)]
    found = minimize(loss, mean, jac=True, method="L-BFGS-B", bounds=bounds).x
    shares, c, of_group = np.split(found, [n_shares, n_shares + 1])
    return _Recalibration(shares.tolist(), (c + of_group).tolist())


def _weights(table: EvidenceTable) -> Array:
    """Return `[R]` the weight of each row: rows weigh alike, in all as attempts do, n at one prompt as √n."""
    per_prompt = np.bincount(table.prompt)[table.prompt]
    share = table.n_attempts / max(int(table.is_checkpoint.sum()), 1)
    result: Array = share / np.sqrt(per_prompt)[table.attempt]
    return result


def _cost_offset(table: EvidenceTable, log_r: Array, seed: int) -> tuple[float, Array]:
    """Return d and `[R]` log r with the d of the other folds."""
    residual, weight = np.log1p(table.remaining) - log_r, _weights(table)
    fold = prompt_folds(table, seed)[table.attempt]

    def offset(use: NDArray[np.bool_]) -> float:
        rows = use & table.is_checkpoint
        return float(weight[rows] @ residual[rows] / (weight[rows].sum() + 1 / _SPREAD_OF_D**2))

    by_fold = np.asarray([offset(fold != held) for held in range(int(fold.max(initial=0)) + 1)])
    return offset(np.ones(len(fold), dtype=bool)), log_r + by_fold[fold]


def _scaled(model: LinearModel, share: float, offset: float) -> LinearModel:
    """Return share·η + offset of the log-odds η of `model`."""
    return LinearModel(
        model.group_of,
        [
            CheckpointGroup(share * g.intercept + offset, g.centre, g.scale, [share * c for c in g.coefficients])
            for g in model.groups
        ],
    )


def _known(weights: str | bytes | None) -> str:
    if weights is None:
        return shipped_weights()
    return remember(weights) if isinstance(weights, bytes) else weights


def _reads(weights: str) -> Reads:
    try:
        return msgspec.json.decode(recall(weights)["reads"].tobytes(), type=Reads)
    except (KeyError, msgspec.MsgspecError) as error:
        raise InputError(f"not pretrained weights: {error}", where="pretrained beliefs") from None


def _written_for(table: EvidenceTable, weights: str) -> bytes:
    """Return the weights for the columns and checkpoints of `table`."""
    arrays, columns = recall(weights), _reads(weights).columns
    layers = Layers(*(arrays[f"beliefs.{name}"].astype(np.float64) for name in Layers._fields))
    place = {column: i for i, column in enumerate(columns)}
    here = [(d, place[column]) for d, column in enumerate(table.columns) if column in place]
    to, source = np.asarray(here, dtype=np.int64).reshape(-1, 2).T
    missing = [i for column, i in place.items() if column not in table.columns]
    D, NH = len(table.columns), layers.bias.shape[0]

    def moved(of_columns: Array, otherwise: float) -> Array:
        result = np.full((D, *of_columns.shape[1:]), otherwise)
        result[to] = of_columns[source]
        return result

    written = layers._replace(
        centre=moved(layers.centre, 0.0),
        scale=moved(layers.scale, 1.0),
        known=moved(layers.known, 0.0),
        unknown=moved(layers.unknown, 0.0),
        bias=layers.bias + layers.unknown[missing].sum(axis=0),
        checkpoint=_offsets(table, layers.checkpoint.reshape(-1, NH)),
    )
    tensors: dict[str, NDArray[Any]] = {
        f"beliefs.{name}": array.astype(np.float32) for name, array in written._asdict().items()
    }
    return to_bytes({**{name: a for name, a in arrays.items() if name.startswith("words.")}, **tensors})


def _offsets(table: EvidenceTable, checkpoint: Array) -> Array:
    """Return `[K', N·H]` the offsets of the checkpoints of `table`, from those of the automatic schedule `[K, N·H]`.

    Other schedules have theirs elsewhere: a checkpoint takes the offset of the automatic one with as many characters
    behind it, in units of the median length.
    """
    if isinstance(table.schedule, Geometric) and table.schedule.ratio == _RATIO:
        return checkpoint
    rows = table.is_checkpoint
    if not rows.any():
        return checkpoint
    first = max(float(np.median(table.position[table.end])) / _PART, 1.0)
    typical = [np.median(table.position[rows & (table.k == k)]) for k in range(1, table.n_checkpoints + 1)]
    at = np.append(0.0, 1 + np.log(np.maximum(typical, 1.0) / first) / np.log(_RATIO))
    low = np.clip(np.floor(at), 0, len(checkpoint) - 2).astype(np.int64)
    share = np.clip(at - low, 0.0, 1.0)[:, None]
    result: Array = (1 - share) * checkpoint[low] + share * checkpoint[low + 1]
    return result
