"""Certifying, the second half of learn-then-test: how far along the paths f ≤ α holds on held-out prompts [T10].

Families certified as one **pool** walk their own paths in step: at each step every family uses the policy of one price,
relative to its own cost per accepted sample, and the pool's false-reject rate is tested. The certificate then holds for
the pool as sampled, and says so; no family takes a policy by which it seems to lose more than the pool may. The
cheapest certified policy is taken.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_calibration.certificate import Tested, certificate_of, fixed_sequence_test
from msifr_calibration.learn import Candidates
from msifr_calibration.length_cap import best_length_cap
from msifr_calibration.options import FitOptions
from msifr_calibration.path import good_samples_lost
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import Fingerprint, FrontierPoint, PolicyFile
from msifr_policy.rates import rates

MARGIN = 1.35
"""How many times the accepted samples that a certificate needs are aimed at: some may be lost, and splits are luck."""

MOST_TO_CERTIFY = 0.75
"""Largest share of the prompts that is held out to certify on unless one is named."""

_CLEARLY = 0.75


@dataclass(frozen=True, slots=True)
class Fit:
    """The policy file with what it came from: the candidates, and the attempts it was certified on."""

    file: PolicyFile
    candidates: Candidates
    certifying: EvidenceTable


def certify_pools(
    candidates: Sequence[Candidates], certifying: Sequence[EvidenceTable], options: FitOptions | None = None
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
        fits |= zip(pool, certify([candidates[i] for i in pool], [certifying[i] for i in pool], options), strict=True)
    return [fits[i] for i in range(len(candidates))]


def certify(
    candidates: Sequence[Candidates], certifying: Sequence[EvidenceTable], options: FitOptions | None = None
) -> list[Fit]:
    """Certify families as one pool, and take each one's cheapest certified policy.

    `certifying` are held-out attempts of each family, none at its fitting prompts, with all columns of its beliefs
    (`FittedBeliefs.extend`).
    """
    options = options or FitOptions()
    seen = [_see(each, table) for each, table in zip(candidates, certifying, strict=True)]
    n_steps = max(len(each.path.prices) for each in candidates)
    # A family whose path has ended waits there for the others; −1 is never discarding.
    steps = [np.minimum(np.arange(n_steps), len(each.path.prices) - 1) for each in candidates]
    prompt_ids = [table.prompt_ids[p] for table in certifying for p in table.prompt]
    _, prompt = np.unique(np.asarray(prompt_ids, dtype=object), return_inverse=True)
    tested = fixed_sequence_test(
        (np.concatenate([one.stops[at[i]] >= 0 for one, at in zip(seen, steps, strict=True)]) for i in range(n_steps)),
        prompt.astype(np.int64),
        np.concatenate([table.accepted for table in certifying]),
        max_false_reject=options.max_false_reject,
        confidence=options.confidence,
        seed=options.seed,
    )
    pool = [each.family.name for each in candidates] if len(candidates) > 1 else []
    remedy = _remedy(tested, candidates, options)
    return [
        Fit(_policy_file(*each, tested, pool, remedy, options), each[0], each[1].table)
        for each in zip(candidates, seen, steps, strict=True)
    ]


class _Replayed(NamedTuple):
    """Attempts as the policies see them: `[R]` posterior; per policy `[N]` where it discards, and last −1: never."""

    table: EvidenceTable
    M: NDArray[np.float64]
    stops: list[NDArray[np.int64]]


def _see(candidates: Candidates, table: EvidenceTable) -> _Replayed:
    """Return the held-out attempts as the policies see them."""
    M, worth = candidates.fitted.beliefs.worth(table.k, table.values)
    stops = [table.stops(worth, thresholds) for thresholds in candidates.path.thresholds]
    return _Replayed(table, M, [*stops, np.full(table.n_attempts, -1)])


def _policy_file(
    candidates: Candidates,
    held_out: _Replayed,
    steps: NDArray[np.int64],
    tested: Tested,
    pool: Sequence[str],
    remedy: str,
    options: FitOptions,
) -> PolicyFile:
    fitted, path, fitting, certifying = candidates.fitted, candidates.path, candidates.family.table, held_out.table
    step = _cheapest(candidates, held_out, steps[: tested.n_certified], options)
    at = -1 if step is None else int(steps[step])
    provenance = [table.provenance for table in (fitting, certifying)]
    return PolicyFile(
        costing=fitting.costing,
        schedule=fitting.schedule,
        validators=list(fitted.validators),
        beliefs=fitted.beliefs,
        thresholds=[] if at < 0 else path.thresholds[at].tolist(),
        price=None if at < 0 else float(path.prices[at]),
        certificate=certificate_of(tested, certifying, step, held_out.stops[at] >= 0, pool=pool, remedy=remedy),
        length_cap=best_length_cap((fitting, certifying), tested.max_false_reject),
        frontier=[
            _frontier_point(certifying, stop, float(price))
            for stop, price in zip(held_out.stops[:-1], path.prices, strict=True)
        ],
        fitted_on=Fingerprint.of(fitting),
        certified_on=Fingerprint.of(certifying),
        provenance=msgspec.structs.replace(
            provenance[0],
            models=tuple(dict.fromkeys(name for each in provenance for name in each.models)),
            datasets=tuple(dict.fromkeys(name for each in provenance for name in each.datasets)),
        ),
        seed=options.seed,
        created_by=f"msifr-policy {version('msifr-policy')}",
    )


def _cheapest(candidates: Candidates, held_out: _Replayed, steps: NDArray[np.int64], options: FitOptions) -> int | None:
    """Return the certified step with the least net cost factor, None if none is clearly below 1.

    Every certified policy may be chosen by any rule: what fitting and held-out attempts say of its cost together
    decides. Clearly: below 1 in three of four bootstrap samples of prompts. A policy that saves nothing worth having
    only loses good samples. Policies that seem to lose more than α of this family's good samples are left out: what a
    pool may lose together is not to be one family's loss.
    """
    fitted, worth = candidates.fitted, candidates.fitted.worth
    best, chosen, best_totals = 1.0, None, None
    for step, at in enumerate(steps.tolist()):
        if at >= 0:
            stop = fitted.table.stops(worth, candidates.path.thresholds[at])
            parts = ((fitted.table, fitted.M, stop), (held_out.table, held_out.M, held_out.stops[at]))
            totals = np.concatenate([_prompt_totals(*part) for part in parts])
            _, f, factor = rates(totals.sum(axis=0))
            if factor < best and f <= options.max_false_reject:
                best, chosen, best_totals = float(factor), step, totals
    if best_totals is None:
        return None
    n = len(best_totals)
    draws = np.random.default_rng(options.seed).multinomial(n, np.full(n, 1 / n), 400)
    return chosen if np.mean(rates(draws @ best_totals).net_cost_factor < 1) >= _CLEARLY else None


def _prompt_totals(table: EvidenceTable, M: NDArray[np.float64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return `[P, 4]` per prompt: full cost, cost until `stop` `[N]`, accepted, lost as `good_samples_lost`."""
    columns = (table.cost, table.cost_until(stop), table.accepted, good_samples_lost(table, M, stop))
    return np.column_stack([np.bincount(table.prompt, c, table.n_prompts) for c in columns]).astype(np.float64)


def _frontier_point(table: EvidenceTable, stop: NDArray[np.int64], price: float) -> FrontierPoint:
    lost = (table.accepted & (stop >= 0)).sum()
    s, f, _ = rates([table.cost.sum(), table.cost_until(stop).sum(), table.n_accepted, lost])
    return FrontierPoint(price, float(np.nan_to_num(s)), float(np.nan_to_num(f)))


def _remedy(tested: Tested, candidates: Sequence[Candidates], options: FitOptions) -> str:
    """Return what to do where accepted samples to certify on are too few; the margin allows for the luck of a split."""
    n, wanted = tested.n_accepted, MARGIN * tested.needed
    if not n:
        return "add prompts with accepted attempts"
    fitting = [each.family.table for each in candidates]
    # Accepted samples and prompts in all, counted as the test counts.
    in_all = n * (1 + sum(table.n_accepted for table in fitting) / tested.accepted_in_all)
    prompts = tested.n_prompts + len({p for table in fitting for p in table.prompt_ids})
    share = math.ceil(100 * wanted / in_all) / 100
    if share <= MOST_TO_CERTIFY:
        first = f"hold out more of what there is (--certify-share {share:g})"
    else:
        enough = math.ceil(prompts * wanted / (MOST_TO_CERTIFY * in_all))
        first = f"bring about {enough} prompts, not {prompts} (and --certify-share {MOST_TO_CERTIFY:g})"
    share_now = f"{options.certify_share or 1:.6g}"
    if not tested.exact or share_now == "1":
        return first
    allowed = math.ceil(1000 * (1 - (1 - options.confidence) ** (1 / n))) / 1000
    return f"{first}, or allow more: --max-false-reject {allowed:g} --certify-share {share_now}"
