"""What is held out to certify on: whole prompts; or some attempts of every prompt, where the scope is these prompts."""

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.held_out import HeldOut, check_scope, rank_in_prompt
from msifr_calibration.options import FitOptions
from msifr_calibration.sample_size import critical_number
from msifr_calibration.split import uniform
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable

USE = "certify"
"""What numbers that split are drawn for."""
_LEFT_TO_FIT = 5
_MOST_TO_FIT = 20_000

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


def attempts_to_certify(table: EvidenceTable, key: str, options: FitOptions, share: float) -> Flags:
    """Return `[N]` which attempts are held out to certify on.

    Those of whole prompts (`prompts_to_certify`), or where the scope is these prompts, some of every prompt in an order
    drawn by `key`: the same number of each where prompts weigh equally, and prompts with few attempts only fit; else
    the same share of each. So many that the accepted ones reach the number that `prompts_to_certify` says. Raises
    `InputError` if the scope is these prompts and no prompt has two attempts, or attempts know of each other.
    """
    check_scope([table], options.scope)
    if options.scope == "new prompts" or not table.n_attempts:
        return prompts_to_certify(table, key, options, share)[table.prompt]
    rank = rank_in_prompt(table.prompt, table.attempt_ids, key, USE)
    attempts = np.bincount(table.prompt)
    most = int(attempts.max())
    if most < 2:
        raise InputError(
            "no prompt has two attempts",
            where="scope these prompts",
            remedy="make several attempts at each prompt, or certify for new prompts",
        )
    if options.weigh == "prompts":
        sizes = np.arange(2, most + 1)
        most = int(sizes[np.argmax([size * np.sum(attempts >= size) for size in sizes])])
        place = np.where(attempts[table.prompt] >= most, np.minimum(rank, most), most)
    else:
        # By chance up or down, so that on average no prompt is held out more than others.
        begin = uniform(table.prompt_ids, key, "share")
        place = ((rank + begin[table.prompt]) / attempts[table.prompt] * most).astype(np.int64)
    group = np.unique(table.groups, return_inverse=True)[1] if options.certify_groups else np.zeros_like(place)
    counted = np.flatnonzero(table.accepted & (place < most))
    return place < _how_many(place, most, counted, group, options, share)


def prompts_to_certify(table: EvidenceTable, key: str, options: FitOptions, share: float) -> Flags:
    """Return `[P]` which prompts are held out to certify on: `certify_share` of them, or by default as many as count.

    Among one attempt of each prompt, a certificate that m lost samples do not prevent needs as many accepted ones as
    its critical number (45, 77, 105, … for α = 5 % with confidence 90 %); between two of them nothing is gained.
    Prompts are held out, in an order drawn by `key`, until the critical number nearest to `share` of the accepted ones
    is reached (of each group, where groups are certified), or the first, if that leaves some to fit on; else half. No
    more than 20,000 attempts are fitted on, but by networks: linear beliefs and paths learn next to nothing from more,
    certificates do. Looks at outcomes alone, never at what a policy discards, so the certificate stays valid.
    """
    if not table.n_attempts:
        return np.zeros(0, dtype=bool)
    place = np.empty(table.n_prompts, dtype=np.int64)
    place[np.argsort(uniform(table.prompt_ids, key, USE), kind="stable")] = np.arange(table.n_prompts)
    counted = HeldOut.of([table], key, options.weigh, by_group=options.certify_groups)
    good = counted.good("exact binomial")
    return place < _how_many(place[table.prompt], table.n_prompts, good, counted.group, options, share)


def _how_many(
    place: Integers, n_places: int, good: Integers, group: Integers, options: FitOptions, share: float
) -> int:
    """Return how many places are held out, first those of `place` `[N]` 0; `good` are the accepted ones that count.

    A place n_places is none. `group` `[N]`: each has to have enough.
    """
    if options.certify_share is not None:
        n = round(options.certify_share * n_places)
        return min(max(n, 1), n_places - 1)
    numbers = []
    for each in np.unique(group).tolist():
        at_place = np.bincount(place[good[group[good] == each]], minlength=n_places)
        wanted = _to_certify(int(at_place.sum()), options, share)
        numbers.append(int(np.searchsorted(np.cumsum(at_place), wanted)) + 1 if wanted else 0)
    if not all(numbers):
        return n_places // 2
    n = max(numbers)
    if options.method != "learned":
        attempts = np.cumsum(np.bincount(place, minlength=n_places)[:n_places])
        n = max(n, int(np.searchsorted(attempts, attempts[-1] - _MOST_TO_FIT)))
    return min(n, n_places - 1)


def _to_certify(n_accepted: int, options: FitOptions, share: float) -> int:
    """Return how many of so many accepted samples are to certify; 0 if no number of them can, and leave a few."""
    alpha, confidence = options.max_false_reject, options.confidence
    losses, numbers = 0, list[int]()
    while not numbers or numbers[-1] < n_accepted:
        numbers.append(critical_number(losses, alpha, confidence))
        losses += 1 + losses // 10  # far out the steps are close together
    possible = [n for n in numbers if n <= n_accepted - _LEFT_TO_FIT]
    return min(possible, key=lambda n: abs(n - share * n_accepted), default=0)
