"""The path of policies that discard and exit, by backward induction on recorded exits [T8].

    V_k = max{ 0 [DISCARD],  Λe_k − X_k [EXIT],  E[V_{k+1} − C_{k+1} | F_k] [CONTINUE] }

Both actions are optimised together, by the regression Monte Carlo of `path`: from the last checkpoints to the first the
value of going on is what recorded attempts got under the decisions found for later checkpoints. Going on is compared

* with DISCARD by an isotonic regression on the worth ω_k: a threshold, as in `path`;
* with EXIT by one on a_k = Λ(e_k − M_k) − (X_k − r_k), how much better exiting is than going on to the end: a margin,
  above which it is better than going on at all (`exit_rule`).

e_k and X_k are beliefs about forced answers, fitted as those about attempts are, to the same evidence, and cross-fitted
by prompt. The utility of what is stopped is read from them and from M_τ [T4] while the path is fitted; what the
policies of the path lose and gain is then counted as observed.

**What is lost.** A good sample (A = 1 had it been finished) is lost if it is discarded, or exited with a forced answer
that is not accepted. So f = P(not kept | A = 1), and that is what is certified. Gained are attempts that are accepted
by their forced answer and would not have been at their end; they lower the cost per accepted sample, and not f.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.beliefs.fitted import FittedBeliefs
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.nested import NEVER, Nested
from msifr_calibration.path import Array, Integers, path_prices, rows_together
from msifr_policy.beliefs import Beliefs
from msifr_policy.checkpoints import at_checkpoint, discards, first_rows
from msifr_policy.evidence.exits import ExitColumns
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.exit_rule import ExitRule, chosen

Flags = NDArray[np.bool_]

_MIN_ROWS = 30
_AT_ONCE = 2**18  # rows times prices


@dataclass(frozen=True, slots=True)
class ForcedBeliefs:
    """Beliefs about forced answers: e_k for the posterior, X_k for the cost to go.

    e, X: `[R]` of the rows of the table they were fitted to, when the row's prompt is held out; NaN where no answer was
    forced. n: forced answers; accepted: those that were accepted.
    """

    beliefs: Beliefs
    e: Array
    X: Array
    n: int
    accepted: int


@dataclass(frozen=True, slots=True)
class ExitPath:
    """Policies that discard and exit, from conservative to aggressive.

    thresholds, margins: `[J, K + 1]`, checkpoint 0 first; a margin of infinity never exits. prices: `[J]` total price
    Λ, falling. losses: `[J]` share of the good samples that is lost on the fitting data, as observed. rho_full,
    rho_best: cost per accepted sample without a policy, and with the last of the path, there.
    """

    forced: ForcedBeliefs
    thresholds: Array
    margins: Array
    prices: Array
    losses: Array
    rho_full: float
    rho_best: float
    give_up: None = None  # no prompt is given up: what attempts know of earlier ones would hang on forced answers

    def rule(self, step: int, exits: ExitColumns) -> ExitRule:
        """Return when policy `step` exits, as a policy file holds it."""
        margins = [float(margin) if np.isfinite(margin) else None for margin in self.margins[step]]
        price = float(self.prices[step])
        return ExitRule(
            plan=exits.plan,
            beliefs=self.forced.beliefs,
            price=price,
            margins=margins,
            prefill_price=exits.prefill_price,
        )


@dataclass(frozen=True, slots=True)
class Stopped:
    """N attempts under J policies that discard and exit.

    discarded: `[J, N]`; exited: `[J, N]`; kept: `[J, N]` accepted at their end or by their forced answer; spent: `[J,
    N]` cost, that of forced answers included.
    """

    accepted: Flags
    discarded: Flags
    exited: Flags
    kept: Flags
    spent: Array

    @property
    def lost(self) -> Flags:
        """`[J, N]` good samples that are not kept."""
        result: Flags = self.accepted & ~self.kept
        return result

    @property
    def nested(self) -> Nested:
        """The same as of policies that only discard: lost is what is not kept, and what is gained is taken off it."""
        D = self.lost
        first = np.where(D.any(axis=0), D.argmax(axis=0), NEVER) if len(D) else np.full(len(self.accepted), NEVER)
        net = self.accepted.sum() - self.kept.sum(axis=1).astype(np.float64)
        return Nested(first, self.spent.sum(axis=1), net, net, D)

    def totals(self, table: EvidenceTable, step: int) -> Array:
        """Return `[P, 4]` per prompt: full cost, cost under policy `step`, accepted, lost less gained."""
        columns = table.cost, self.spent[step], table.accepted, table.accepted * 1.0 - self.kept[step]
        return np.column_stack([np.bincount(table.prompt, c, table.n_prompts) for c in columns])

    @property
    def cost_per_accepted(self) -> Array:
        """`[J]` ρ, infinite where nothing is kept."""
        kept = self.kept.sum(axis=1)
        return np.where(kept > 0, self.spent.sum(axis=1) / np.maximum(kept, 1), np.inf)


def fit_forced_beliefs(table: EvidenceTable, exits: ExitColumns, *, seed: int = 0) -> ForcedBeliefs | None:
    """Fit e_k and X_k to the forced answers of `table`, pooled over checkpoints as beliefs about attempts are.

    None where there are fewer than can tell anything, or where all of them came out alike: then nothing speaks for or
    against EXIT at one place rather than another, and no policy exits.
    """
    rows = np.flatnonzero(exits.possible & table.is_checkpoint)
    accepted = exits.accepted[rows]
    if len(rows) < _MIN_ROWS or accepted.all() or not accepted.any() or not exits.cost[rows].any():
        return None
    fitted: FittedBeliefs = fit_linear_beliefs(_as_attempts(table, exits, rows), seed=seed)
    e, X = np.full(len(table.k), np.nan), np.full(len(table.k), np.nan)
    e[rows], X[rows] = fitted.M[::2], fitted.r[::2]
    return ForcedBeliefs(fitted.beliefs, e, X, len(rows), int(accepted.sum()))


def _as_attempts(table: EvidenceTable, exits: ExitColumns, rows: Integers) -> EvidenceTable:
    """Return a table in which each forced answer is an attempt that begins at its checkpoint and costs X_k."""
    n = len(rows)
    twice = np.repeat(rows, 2)
    attempt = table.attempt[rows]
    spent = np.zeros(2 * n)
    spent[1::2] = exits.cost[rows]
    k = table.k[twice]
    k[1::2] += 1
    used, prompt = np.unique(table.prompt[attempt], return_inverse=True)
    return replace(
        table,
        values=table.values[twice],
        verdicts=table.verdicts[twice],
        k=k,
        spent=spent,
        position=table.position[twice],
        start=np.arange(0, 2 * n + 1, 2),
        attempt_ids=tuple(f"{table.attempt_ids[i]} at {at}" for i, at in zip(attempt, table.k[rows], strict=True)),
        prompt_ids=tuple(table.prompt_ids[i] for i in used),
        prompt_hash=table.prompt_hash[used],
        prompt=prompt.astype(np.int64),
        groups=tuple(table.groups[i] for i in attempt),
        accepted=exits.accepted[rows],
    )


def fit_exit_path(
    table: EvidenceTable,
    exits: ExitColumns,
    fitted: FittedBeliefs,
    forced: ForcedBeliefs,
    *,
    discard: bool = True,
    skip_prompts: bool = True,
) -> ExitPath:
    """Return the path on `table`, with beliefs `fitted` to its attempts and `forced` to its forced answers.

    Without `discard` the policies only exit. Without `skip_prompts` nothing is discarded at checkpoint 0.
    """
    prices = path_prices(table)
    rho = table.cost_per_accepted
    levels = rho / (rho + prices)
    thresholds, margins = _induct(_Known.of(table, exits, fitted, forced), prices, discard=discard)
    if discard:
        # As in `path`: half way to the constant threshold of that price, and no policy discards less than one before.
        thresholds = np.maximum.accumulate((levels[:, None] + thresholds) / 2)
        thresholds[:, 0] *= skip_prompts
    path = ExitPath(forced, thresholds, margins, prices, np.zeros(len(prices)), rho, rho)
    seen = stopped(table, exits, path, (fitted.M, fitted.r, fitted.worth), (forced.e, forced.X))
    each = np.append(rho, seen.cost_per_accepted)
    end = int(each.argmin())
    losses = seen.lost.sum(axis=1) / max(table.n_accepted, 1)
    return replace(
        path,
        thresholds=thresholds[:end],
        margins=margins[:end],
        prices=prices[:end],
        losses=losses[:end],
        rho_best=float(each[end]),
    )


def stopped(
    table: EvidenceTable,
    exits: ExitColumns,
    path: ExitPath,
    believed: tuple[Array, Array, Array],
    forced: tuple[Array, Array],
) -> Stopped:
    """Return what the policies of `path` do to attempts whose forced answers were recorded.

    believed: (M_k, r_k, ω_k), forced: (e_k, X_k), `[R]` each, of the rows of `table`.
    """
    M, r, worth = believed
    J, N = len(path.prices), table.n_attempts
    made = [np.zeros((J, N), dtype=bool) for _ in range(3)]
    discarded, exited, kept = made
    spent = np.empty((J, N))
    due = table.is_checkpoint
    for j, price in enumerate(path.prices):
        out = discards(worth, at_checkpoint(path.thresholds[j], table.k)) & due
        margin = at_checkpoint(path.margins[j], table.k)
        leaves = exits.possible & due & chosen(float(price), forced, (M, r), out, margin)
        stop = first_rows(out | leaves, table.start)
        exited[j], discarded[j], kept[j], spent[j] = stopped_at(table, exits, stop, leaves)
    return Stopped(table.accepted, discarded, exited, kept, spent)


def stopped_at(
    table: EvidenceTable, exits: ExitColumns, stop: Integers, leaves: Flags
) -> tuple[Flags, Flags, Flags, Array]:
    """Return `[N]` whether an attempt exited, was discarded, was kept, and what it cost.

    stop: `[N]` row where it stops, −1: never; leaves: `[R]` where stopping is EXIT.
    """
    stops = stop >= 0
    row = np.maximum(stop, 0)
    exited = stops & leaves[row]
    discarded = stops & ~exited
    kept = np.where(exited, exits.accepted[row], table.accepted & ~discarded)
    spent = table.cost_until(stop) + np.where(exited, np.nan_to_num(exits.cost[row]), 0.0)
    return exited, discarded, kept, spent


@dataclass(frozen=True, slots=True)
class _Known:
    """What the induction reads, `[R]` each; forced answers are NaN where there are none."""

    table: EvidenceTable
    M: Array
    r: Array
    worth: Array
    e: Array
    X: Array
    paid: Array

    @classmethod
    def of(cls, table: EvidenceTable, exits: ExitColumns, fitted: FittedBeliefs, forced: ForcedBeliefs) -> "_Known":
        return cls(table, fitted.M, fitted.r, fitted.worth, forced.e, forced.X, exits.cost)


def _induct(known: _Known, prices: Array, *, discard: bool) -> tuple[Array, Array]:
    """Return thresholds and margins `[J, K + 1]` at each of `prices` `[J]`, some prices at a time."""
    K = known.table.n_checkpoints
    thresholds, margins = np.zeros((len(prices), K + 1)), np.full((len(prices), K + 1), np.inf)
    blocks = rows_together(known.table)
    some = max(1, _AT_ONCE // max(len(known.table.k), 1))
    for start in range(0, len(prices), some):
        here = slice(start, start + some)
        _induct_some(known, blocks, prices[here, None], thresholds[here], margins[here], discard=discard)
    return thresholds, margins


def _induct_some(
    known: _Known, blocks: list[Integers], price: Array, thresholds: Array, margins: Array, *, discard: bool
) -> None:
    """Fill `thresholds` and `margins` `[J, K + 1]` for `price` `[J, 1]`."""
    table = known.table
    attempt = table.attempt
    # Value of each attempt's rest, with what it has paid before: at the end what it cost, and utility as if kept.
    burden = np.repeat(table.cost[None], len(price), axis=0)
    for rows in reversed(blocks):
        owner, first = np.unique(attempt[rows], return_index=True)
        at = slice(int(table.k[rows].min()), int(table.k[rows].max()) + 1)
        M, worth = known.M[rows], known.worth[rows]
        going_on = price * M - (burden[:, attempt[rows]] - table.spent[rows])
        if discard:
            thresholds[:, at] = threshold = _crossings(np.broadcast_to(worth, going_on.shape), going_on, np.zeros(1))
        else:
            threshold = np.zeros((len(price), 1))
        out = discards(worth, threshold)
        e, X = known.e[rows], known.X[rows]
        gain = price * e - X
        better = gain - (price * M - known.r[rows])
        # Where the threshold says DISCARD, or no answer was forced, nothing hangs on the margin.
        open_ = ~out & np.isfinite(gain)
        margins[:, at] = margin = _crossings(
            np.where(open_, better, -np.inf), np.where(open_, gain - going_on, 0.0), np.asarray([0.0]), above=True
        )
        leaves = chosen(price, (e, X), (M, known.r[rows]), out, margin)
        stops = np.where(out | leaves, np.arange(len(rows)), len(rows))
        stop = np.minimum.reduceat(stops, first, axis=1)
        place = np.minimum(stop, len(rows) - 1)
        row = rows[place]
        exits = np.take_along_axis(leaves, place, axis=1)
        lost = price * np.where(exits, known.M[row] - known.e[row], known.M[row])
        more = np.where(exits, known.paid[row], 0.0)
        burden[:, owner] = np.where(stop < len(rows), table.spent[row] + more + lost, burden[:, owner])


def _crossings(on: Array, values: Array, least: Array, *, above: bool = False) -> Array:
    """Return `[J, 1]` from which level of `on` `[J, n]` on an isotonic regression of `values` `[J, n]` is positive.

    Half way between the levels on both sides, at least `least`; where it is nowhere positive the level is above all:
    1, or infinity if `above`. As in `path`: beyond the last place where the sums so far are least.
    """
    order = np.argsort(on, axis=1, kind="stable")
    sorted_on = np.take_along_axis(on, order, axis=1)
    sums = np.zeros((len(on), on.shape[1] + 1))
    sums[:, 1:] = np.cumsum(np.take_along_axis(values, order, axis=1), axis=1)
    # Equal levels are not told apart: only where a level ends may it be cut.
    sums[:, 1:-1][sorted_on[:, 1:] == sorted_on[:, :-1]] = np.inf
    n = on.shape[1]
    cut = n - np.argmin(sums[:, ::-1], axis=1)  # so many are below
    ends = np.full((len(on), 1), np.inf if above else 1.0)
    padded = np.concatenate([np.full((len(on), 1), -np.inf if above else 0.0), sorted_on, ends], axis=1)
    below, beyond = (np.take_along_axis(padded, (cut + i)[:, None], axis=1) for i in (0, 1))
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isneginf(below), least, (below + beyond) / 2)
    middle = np.where((cut == 0)[:, None] & (not above), 0.0, middle)
    middle = np.where((cut == n)[:, None], ends, middle)
    result: Array = np.maximum(middle, least)
    return result
