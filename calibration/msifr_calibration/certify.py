"""Certifying, the second half of learn-then-test: how far along the paths f ≤ α holds on held-out prompts [T10, T15].

Families certified as one **pool** walk their own paths in step: at each step every family uses the policy of one price,
relative to its own cost per accepted sample, and the pool's false-reject rate is tested. The certificate then holds for
the pool as sampled, and says so; no family takes a policy by which it seems to lose more than the pool may. The
cheapest certified policy of all paths is taken, so a certified length cap is never out of reach.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_calibration.beliefs.fitted import FittedBeliefs
from msifr_calibration.betting import Expected
from msifr_calibration.certificate import Tested, certificate_of, certify_in_order
from msifr_calibration.choose import Way, choose_way
from msifr_calibration.exit_path import ExitPath, Stopped, stopped
from msifr_calibration.held_out import HeldOut
from msifr_calibration.learn import Candidates
from msifr_calibration.length_cap import best_length_cap
from msifr_calibration.nested import Nested, nested, replayed
from msifr_calibration.options import FitOptions
from msifr_calibration.path import PolicyPath, good_samples_lost
from msifr_calibration.reference import reference_of
from msifr_calibration.sample_size import critical_number
from msifr_policy.beliefs import Beliefs
from msifr_policy.evidence.exits import ExitColumns
from msifr_policy.evidence.history import Follower, reads_history
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import Fingerprint, FrontierPoint, PolicyFile
from msifr_policy.rates import rates

_CLEARLY = 0.75
_MOST_UNITS = 2000
_ROWS = 2**16  # whose evidence is copied at a time

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """The policy file with what it came from: the candidates, and the attempts it was certified on.

    held_out: returns these.
    """

    file: PolicyFile
    candidates: Candidates
    held_out: Callable[[], EvidenceTable]

    @property
    def certifying(self) -> EvidenceTable:
        """The attempts it was certified on, with all columns of its beliefs; taken anew whenever asked for."""
        return self.held_out()


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Attempts of a table that certify, and which: their evidence is read where it is, and not copied.

    table: with all columns of the beliefs. attempts: `[n]`, None: all. exits: the answers that were forced in these
    attempts, beside the rows of their table; None if policies do not exit.
    """

    table: EvidenceTable
    attempts: NDArray[np.int64] | None = None
    exits: ExitColumns | None = None

    @property
    def n_accepted(self) -> int:
        """Number of accepted attempts."""
        return self.table.n_accepted if self.attempts is None else int(self.table.accepted[self.attempts].sum())

    def whole(self) -> EvidenceTable:
        """Return their table."""
        return self.table if self.attempts is None else self.table.take(self.attempts)

    def judged(self, beliefs: Beliefs) -> tuple[EvidenceTable, Array, Array]:
        """Return their table, and `[R]` M_k and ω_k; without evidence, unless policies make their own history."""
        if self.attempts is None or reads_history(self.table):
            table = self.whole()
            return table, *beliefs.worth(table.k, table.values)
        rows = self.table.rows_of(self.attempts)
        M, worth = np.empty(len(rows)), np.empty(len(rows))
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            here = slice(start, start + _ROWS)
            M[here], worth[here] = beliefs.worth(self.table.k[some], self.table.values[some])
        return self.table.take(self.attempts, evidence=False), M, worth


def key_of(tables: Sequence[EvidenceTable]) -> str:
    """Return what all random choices about these data hang on: no seed and no order can be shopped for."""
    return hashlib.sha256("".join(sorted(table.fingerprint for table in tables)).encode()).hexdigest()


def certify_pools(
    candidates: Sequence[Candidates],
    certifying: Sequence[EvidenceTable | HeldBack],
    options: FitOptions | None = None,
    *,
    key: str = "",
) -> list[Fit]:
    """Certify families pool by pool, and those with many accepted samples to certify on alone (`certify_alone`).

    Who is alone is decided by counts, before any loss is seen. Arguments as for `certify`.
    """
    options = options or FitOptions()
    members: dict[tuple[str, str], list[int]] = {}
    for i, (each, table) in enumerate(zip(candidates, certifying, strict=True)):
        alone = table.n_accepted >= options.certify_alone
        members.setdefault(("alone", str(i)) if alone else ("pool", each.family.pool), []).append(i)
    fits: dict[int, Fit] = {}
    for pool in members.values():
        together = certify([candidates[i] for i in pool], [certifying[i] for i in pool], options, key=key)
        fits |= zip(pool, together, strict=True)
    return [fits[i] for i in range(len(candidates))]


def certify(
    candidates: Sequence[Candidates],
    certifying: Sequence[EvidenceTable | HeldBack],
    options: FitOptions | None = None,
    *,
    key: str = "",
) -> list[Fit]:
    """Certify families as one pool, and take each one's cheapest certified policy.

    `certifying` are held-out attempts of each family, none at its fitting prompts unless the scope is these prompts,
    with all columns of its beliefs (`FittedBeliefs.extend`). `key`: what random choices hang on, by default the
    held-out attempts.
    """
    options = options or FitOptions()
    held_back = [HeldBack(each) if isinstance(each, EvidenceTable) else each for each in certifying]
    key = key or key_of([each.whole() for each in held_back])
    members = [_Member.of(*each) for each in zip(candidates, held_back, strict=True)]
    held_out = HeldOut.of(
        [member.table for member in members], key, options.weigh, by_group=options.certify_groups, scope=options.scope
    )
    fitted = [member.candidates.fitted.table for member in members]
    fitting = HeldOut.of(fitted, key, options.weigh, scope=options.scope)
    way = _choose(members, fitting, held_out, options, key)
    paths = range(len(way.weights))

    def expected(path: int, step: int) -> Sequence[Expected]:
        if way.test != "betting by prompt" or held_out.by_group:
            return ()
        discarded = np.concatenate([member.known[path].discards(step) for member in members])
        return [Expected.of(fitting.scores(discarded, options.max_false_reject))]

    tested = certify_in_order(
        [_discards(members, path) for path in paths],
        held_out,
        max_false_reject=options.max_false_reject,
        confidence=options.confidence,
        test=way.test,
        weights=way.weights,
        expected=expected,
    )
    pool = sorted(each.family.name for each in candidates) if len(candidates) > 1 else []
    remedy = _remedy(tested, candidates, options)
    return [
        Fit(_policy_file(member, each, tested, pool, remedy, options, key), member.candidates, each.whole)
        for member, each in zip(members, held_back, strict=True)
    ]


class _Member(NamedTuple):
    """A family of a pool: its held-out attempts with `[R]` posterior and worth, and what each path does to them.

    seen, known: per path, what its policies do to the held-out and to the fitting attempts; exit_seen, exit_known: more
    of the same for those that exit.
    """

    candidates: Candidates
    table: EvidenceTable
    M: Array
    worth: Array
    seen: list[Nested]
    known: list[Nested]
    exit_seen: Stopped | None = None
    exit_known: Stopped | None = None

    @classmethod
    def of(cls, candidates: Candidates, held_back: HeldBack) -> "_Member":
        fitted = candidates.fitted
        table, M, worth = held_back.judged(fitted.beliefs)
        discarding = [path for path in candidates.paths if isinstance(path, PolicyPath)]
        seen = [replayed(table, fitted.beliefs, (M, worth), path.thresholds, path.give_up) for path in discarding]
        known = [_on_fitting(fitted, path) for path in discarding]
        if candidates.exits is None or candidates.exit_columns is None or held_back.exits is None:
            return cls(candidates, table, M, worth, seen, known)
        path, forced = candidates.exits, candidates.exits.forced
        whole = held_back.whole()
        r = fitted.beliefs.predict(whole.k, whole.values)[1]
        predicted = forced.beliefs.predict(whole.k, whole.values)
        exit_seen = stopped(table, held_back.exits, path, (M, r, worth), predicted)
        believed = fitted.M, fitted.r, fitted.worth
        exit_known = stopped(fitted.table, candidates.exit_columns, path, believed, (forced.e, forced.X))
        seen, known = [*seen, exit_seen.nested], [*known, exit_known.nested]
        return cls(candidates, table, M, worth, seen, known, exit_seen, exit_known)

    def n_steps(self, path: int) -> int:
        return len(self.candidates.paths[path].prices)


def _on_fitting(fitted: FittedBeliefs, path: PolicyPath) -> Nested:
    """Return what a path does to the fitting attempts, with histories as recorded unless it gives prompts up."""
    if path.give_up is None:
        return nested(fitted.table, fitted.M, fitted.worth, path.thresholds)
    return replayed(fitted.table, fitted.beliefs, (fitted.M, fitted.worth), path.thresholds, path.give_up)


def _discards(members: Sequence[_Member], path: int) -> Iterator[NDArray[np.bool_]]:
    """Yield `[N]` what each step of a path discards; a family whose path has ended waits there for the others."""
    steps = range(max(member.n_steps(path) for member in members))
    return (np.concatenate([member.seen[path].discards(step) for member in members]) for step in steps)


def _choose(members: Sequence[_Member], fitting: HeldOut, held_out: HeldOut, options: FitOptions, key: str) -> Way:
    """Choose test and shares of δ by what the fitting parts say."""
    paths = range(len(members[0].known))
    way = choose_way(
        fitting,
        [np.concatenate([member.known[path].first for member in members]) for path in paths],
        [_saved(members, path) for path in paths],
        held_out,
        max_false_reject=options.max_false_reject,
        confidence=options.confidence,
        key=key,
    )
    if options.randomise and way.test == "exact binomial":
        return Way("randomised exact binomial", way.weights)
    return way


def _saved(members: Sequence[_Member], path: int) -> Array:
    """Return `[J]` one minus the net cost factor at each step, as the fitting parts tell; the mean over families."""
    steps = np.arange(max(member.n_steps(path) for member in members))
    saved = np.zeros(len(steps))
    for member in members:
        table, known = member.candidates.fitted.table, member.known[path]
        if len(known.spent):
            spent, lost = known.outcomes[np.minimum(steps, len(known.spent) - 1)].T
            full, accepted = np.full(len(steps), table.cost.sum()), np.full(len(steps), table.n_accepted)
            factor = rates(np.stack([full, spent, accepted, lost], axis=1))
            saved += np.maximum(1 - factor.net_cost_factor, -1)
    result: Array = saved / len(members)
    return result


def _policy_file(
    member: _Member,
    held_back: HeldBack,
    tested: Tested,
    pool: Sequence[str],
    remedy: str,
    options: FitOptions,
    key: str,
) -> PolicyFile:
    fitted, table = member.candidates.fitted, member.table
    fitting = member.candidates.family.table
    chosen = _cheapest(member, tested, options)
    thresholds, price, discarded = np.zeros(0), None, np.zeros(table.n_attempts, dtype=bool)
    quota, rule = options.quota, None
    if chosen is not None:
        path = member.candidates.paths[chosen[0]]
        at = min(chosen[1], len(path.prices) - 1)
        thresholds, price = path.thresholds[at], float(path.prices[at])
        discarded = member.seen[chosen[0]].discards(at)
        if quota is not None and path.give_up is not None:
            quota = msgspec.structs.replace(quota, give_up=path.give_up[at].tolist())
        if isinstance(path, ExitPath) and member.candidates.exit_columns is not None:
            rule = path.rule(at, member.candidates.exit_columns)
    provenance = [each.provenance for each in (fitting, table)]
    file = PolicyFile(
        costing=fitting.costing,
        schedule=fitting.schedule,
        validators=list(fitted.validators),
        beliefs=fitted.beliefs,
        thresholds=thresholds.tolist(),
        price=price,
        certificate=certificate_of(
            tested, table, chosen, discarded, key=key, pool=pool, remedy=remedy, exits=rule is not None
        ),
        length_cap=best_length_cap((fitting, table), tested.max_false_reject),
        frontier=_frontier(member),
        fitted_on=Fingerprint.of(fitting),
        certified_on=Fingerprint.of(table),
        provenance=msgspec.structs.replace(
            provenance[0],
            models=tuple(dict.fromkeys(name for each in provenance for name in each.models)),
            datasets=tuple(dict.fromkeys(name for each in provenance for name in each.datasets)),
        ),
        seed=options.seed,
        quota=quota,
        exit=rule,
        created_by=f"msifr-policy {version('msifr-policy')}",
    )
    return _to_watch(file, member, held_back, key)


def _to_watch(file: PolicyFile, member: _Member, held_back: HeldBack, key: str) -> PolicyFile:
    """Return the file with what a run of it is held against: its reference, and E[√M_τ] over what it discards."""
    fitted, table = member.candidates.fitted, member.table
    if file.exit is not None and held_back.exits is not None:
        stopping = file.policy().along(held_back.whole(), held_back.exits)
        stop, told = stopping.stop, [stopping.M[stopping.stop[(stopping.stop >= 0) & ~stopping.exited]]]
    else:
        thresholds = np.asarray(file.thresholds)
        give_up = None if file.quota is None else np.asarray(file.quota.give_up, dtype=bool)
        told = []
        for each, known in ((fitted.table, (fitted.M, fitted.worth)), (table, (member.M, member.worth))):
            followed = Follower(each, fitted.beliefs.worth, known).follow(thresholds, give_up)
            stop = followed.stop
            told.append(followed.M[stop[stop >= 0]])
    roots = np.sqrt(np.concatenate(told))
    return msgspec.structs.replace(
        file,
        reference=reference_of(table, stop, key, evidence=held_back.table, attempts=held_back.attempts),
        mean_root_posterior=float(roots.mean()) if len(roots) else None,
    )


def _cheapest(member: _Member, tested: Tested, options: FitOptions) -> tuple[int, int] | None:
    """Return path and step of the certified policy with the least net cost factor, None if none is clearly below 1.

    Every certified policy may be chosen by any rule: what fitting and held-out attempts say of its cost together
    decides. Clearly: below 1 in three of four bootstrap samples of prompts. A policy that saves nothing worth having
    only loses good samples. Policies that seem to lose more than α of this family's good samples are left out: what a
    pool may lose together is not to be one family's loss.
    """
    fitted = member.candidates.fitted
    tables = (fitted.table, member.table)
    full, accepted = (
        sum(float(part.sum()) for part in parts) for parts in zip(*((t.cost, t.accepted) for t in tables), strict=True)
    )
    best, chosen = 1.0, None
    for path, outcome in enumerate(tested.paths):
        n = min(outcome.n_certified, member.n_steps(path))
        spent, lost = (member.known[path].outcomes[:n] + member.seen[path].outcomes[:n]).T
        totals = np.stack(np.broadcast_arrays(full, spent, accepted, lost), axis=1).reshape(n, 4)
        of_path = rates(totals)
        factor = np.where(of_path.false_reject_rate <= options.max_false_reject, of_path.net_cost_factor, np.inf)
        if n and factor.min() < best:
            best, chosen = float(factor.min()), (path, int(factor.argmin()))
    if chosen is None:
        return None
    totals = np.concatenate(_totals_of(member, member.candidates.paths[chosen[0]], chosen[1]))
    rng = np.random.default_rng(options.seed)
    if len(totals) > _MOST_UNITS:
        # So many prompts are resampled in groups of equal size, made at random.
        totals = np.stack([part.sum(axis=0) for part in np.array_split(rng.permutation(totals), _MOST_UNITS)])
    n = len(totals)
    draws = rng.multinomial(n, np.full(n, 1 / n), 400) @ totals
    return chosen if np.mean(rates(draws).net_cost_factor < 1) >= _CLEARLY else None


def _totals_of(member: _Member, path: PolicyPath | ExitPath, step: int) -> list[Array]:
    """Return `[P, 4]` of the fitting and of the held-out attempts, as `_prompt_totals`."""
    fitted = member.candidates.fitted
    if isinstance(path, ExitPath):
        done = (fitted.table, member.exit_known), (member.table, member.exit_seen)
        return [each.totals(table, step) for table, each in done if each is not None]
    give_up = None if path.give_up is None else path.give_up[step]
    parts = []
    for table, known in ((fitted.table, (fitted.M, fitted.worth)), (member.table, (member.M, member.worth))):
        followed = Follower(table, fitted.beliefs.worth, known).follow(path.thresholds[step], give_up)
        parts.append(_prompt_totals(table, followed.M, followed.stop))
    return parts


def _prompt_totals(table: EvidenceTable, M: Array, stop: NDArray[np.int64]) -> Array:
    """Return `[P, 4]` per prompt: full cost, cost until `stop` `[N]`, accepted, lost as `good_samples_lost`."""
    columns = (table.cost, table.cost_until(stop), table.accepted, good_samples_lost(table, M, stop))
    return np.column_stack([np.bincount(table.prompt, c, table.n_prompts) for c in columns]).astype(np.float64)


def _frontier(member: _Member) -> list[FrontierPoint]:
    """Return what each policy of the path by price saves and loses on the held-out attempts."""
    table, seen = member.table, member.seen[0]
    full, accepted = float(table.cost.sum()), table.n_accepted
    points = []
    for price, spent, lost in zip(member.candidates.path.prices, seen.spent, seen.lost, strict=True):
        s, f, _ = rates([full, spent, accepted, lost])
        points.append(FrontierPoint(float(price), float(np.nan_to_num(s)), float(np.nan_to_num(f))))
    return points


def _remedy(tested: Tested, candidates: Sequence[Candidates], options: FitOptions) -> str:
    """Return what to do where accepted samples to certify on are too few."""
    n = tested.n_accepted
    if not n:
        return "add prompts with accepted attempts"
    prompts = tested.n_prompts + len({p for each in candidates for p in each.family.table.prompt_ids})
    in_all = tested.accepted_in_all + sum(each.family.table.n_accepted for each in candidates)
    counted = in_all * n / max(tested.accepted_in_all, 1)
    more = 1.35 * tested.needed / counted
    first = f"bring about {math.ceil(prompts * more)} prompts, not {prompts}"
    if options.scope == "these prompts":
        attempts = len(tested.held_out.accepted) + sum(each.family.table.n_attempts for each in candidates)
        each_has = attempts / tested.n_prompts
        first = f"make {math.ceil(each_has * more)} attempts at each prompt, not {each_has:.3g}"
    elif len(candidates) == 1 and in_all / 2 >= critical_number(0, options.max_false_reject, options.confidence):
        first += ", or certify for further attempts at these prompts only: --scope these-prompts"
    if options.certify_share is not None and tested.needed < 0.75 * counted:
        first = "leave out --certify-share: by default as many are held out as are needed"
    if tested.test == "betting by prompt":
        return first
    allowed = math.ceil(1000 * (1 - (1 - options.confidence) ** (1 / n))) / 1000
    return f"{first}, or allow more: --max-false-reject {allowed:g}"
