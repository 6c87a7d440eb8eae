"""What a whole run will come to, as told by a preview: prompts drawn from it, all of whose attempts are made.

**Which prompts.** `drawn` takes them by chance from all prompts of the run, so that they stand for the others however
the file is sorted. A larger preview contains a smaller one.

**Intervals.** Prompts are the unit: let each prompt that is to come spend y of something (tokens, say) and bring z of
what ends the run (accepted samples, or itself, 1). Let r prompts come until the sum of z is Z, and n be in the preview.
d = y − θz has mean 0 over those to come if θ is what they spend over what they bring, so that (Fieller 1954)

    mean(d)² ≤ t² var(d) (1/n + 1/r)        mean and variance over the preview, t Student's quantile for n − 1

holds with about the confidence of t. The θ that satisfy it are an interval, and θZ is what will be spent: not only its
expectation, which is the reason for 1/r. Where several things may end the run, the least of each counts.

The intervals of 95 % covered in 600 simulated runs each of 400 prompts with 4 attempts, lengths spread by a factor of 2
and acceptance equal, mixed, rare, or all or none by prompt: in 90 % or more by a preview of 10 or 30 prompts, in 89 %
or more by one of 5 (`tests/test_forecast.py`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import scipy
from numpy.typing import NDArray

from msifr_integrations.generation.goals import FEWEST_PROMPTS, Reached, RunGoals
from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Entry

_ADDED = 0.25
"""Prompts added with all attempts accepted, and as many with none, for the spread of accepted samples: a preview that
saw none accepted, or all, does not say that they always are (`msifr_sim.intervals`)."""

_MOST_AT_WORK = 0.75
"""Share of the most attempts seen side by side from which on the speed is that of a run in full swing."""


class Foretold(msgspec.Struct, frozen=True):
    """A number of the whole run: what is expected, and the interval [low, high]."""

    expected: float
    low: float
    high: float

    def map(self, factor: float, plus: float = 0.0) -> "Foretold":
        """Return the estimate of `factor` times it `plus` something."""
        return Foretold(*(factor * each + plus for each in (self.expected, self.low, self.high)))


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole run will come to, what it has spent until now included, as the prompts of the preview say.

    prompts_drawn: of the preview. ends_by: what is expected to end the run, "prompts" if all its attempts are made.
    prompts, attempts: that are made. tokens: sampled, those beside attempts and in flight at the end included.
    prompt_tokens: of attempts that are begun; None if the engine does not tell them. seconds: on the wall, from the
    first step on, at `tokens_per_second`; None if nothing was sampled. cost: at the prices; absent without.
    at_work: attempts side by side when that speed was seen, of so many slots; 0 if it is not known.
    Each estimate has an interval of confidence `ci_level`; the speed is taken as known.
    """

    prompts_drawn: int
    ends_by: Reached | Literal["prompts"]
    prompts: Foretold
    attempts: Foretold
    accepted: Foretold
    tokens: Foretold
    prompt_tokens: Foretold | None
    seconds: Foretold | None
    cost: Foretold | msgspec.UnsetType = msgspec.UNSET
    tokens_per_second: float | None
    at_work: int
    slots: int
    ci_level: float


class ByPrompt(NamedTuple):
    """What complete prompts came to: `[n]` each; attempts that were made or skipped, and what those spent."""

    attempts: NDArray[np.float64]
    accepted: NDArray[np.float64]
    tokens: NDArray[np.float64]
    prompt_tokens: NDArray[np.float64]


class Sums(NamedTuple):
    """What a run has spent until now, over all its sessions, everything beside its attempts included."""

    prompts: float = 0.0
    attempts: float = 0.0
    accepted: float = 0.0
    tokens: float = 0.0
    prompt_tokens: float = 0.0
    seconds: float = 0.0


class ToCome(NamedTuple):
    """What is to come at most: `prompts` that are not complete, a part counting as one; `attempts` at them.

    in_flight: tokens, and those of prompts, that are under way when a goal ends the run.
    """

    prompts: float
    attempts: float
    in_flight: tuple[float, float] = (0.0, 0.0)


class Speed(NamedTuple):
    """How fast a run is in full swing; at_work: attempts side by side meanwhile, 0 if it is not known."""

    tokens_per_second: float | None
    at_work: int = 0
    slots: int = 0


def by_prompt(entries: Iterable[Entry], prompt_ids: Sequence[str]) -> ByPrompt:
    """Return what attempts at these prompts came to, in their order. One that begins anew pays for both tries."""
    row = {name: place for place, name in enumerate(prompt_ids)}
    sums = np.zeros((4, len(row)))
    for entry in entries:
        if (place := row.get(entry.prompt_id)) is not None:
            tokens, read = entry.tokens + entry.lost + entry.forced, entry.prompt_tokens + entry.forced_prompts
            sums[:, place] += (1, entry.outcome == "accepted", tokens, read)
    return ByPrompt(*sums)


def in_flight(tokens: Sequence[int], prompt_tokens: float, slots: int) -> tuple[float, float]:
    """Return the tokens that attempts in all slots have sampled at a moment, on average, and those of their prompts.

    tokens: of each attempt of the preview, prompt_tokens of one on average. An attempt that is under way at a moment is
    one of L tokens with a probability proportional to L, and half made: E[L²]/2E[L] (renewal theory).
    """
    made = np.asarray(tokens, dtype=float)
    mean = float(made.mean()) if len(made) else 0.0
    return (slots * float((made**2).mean()) / (2 * mean) if mean else 0.0), slots * prompt_tokens


def until(
    y: NDArray[np.float64],
    z: NDArray[np.float64],
    budget: float,
    level: float,
    added: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Foretold:
    """Return how much of y is spent by prompts to come until they have brought `budget` of z.

    y `[n]`, z `[n]`: of each prompt of the preview, n ≥ 2. added: to the sums of squares of y, of z, and of their
    products. expected and high are infinite if no z was seen, and high if too little was. See the module docstring.
    """
    if budget <= 0:
        return Foretold(0.0, 0.0, 0.0)
    n = len(y)
    mean_y, mean_z = float(y.mean()), float(z.mean())
    if len(set(added)) == 1 and mean_z and np.allclose(y * mean_z, z * mean_y):  # the one is the other, or its price
        return Foretold(*(budget * (mean_y / mean_z),) * 3)
    yy, zz, yz = (
        (float(((a - a.mean()) * (b - b.mean())).sum()) + more) / (n - 1)
        for (a, b), more in zip(((y, y), (z, z), (y, z)), added, strict=True)
    )
    t = float(scipy.special.stdtrit(n - 1, (1 + level) / 2))
    q = t**2 * (1 / n + mean_z / budget)
    # The θ with (mean_y − θ mean_z)² ≤ q (yy − 2θ yz + θ² zz): those with aθ² − 2bθ + c ≤ 0.
    a, b, c = mean_z**2 - q * zz, mean_y * mean_z - q * yz, mean_y**2 - q * yy
    root = math.sqrt(max(b**2 - a * c, 0.0))
    if a > 0:
        low, high = max((b - root) / a, 0.0), (b + root) / a
    else:  # z may be as rare as one likes; y is then at least what it would be without, if it is clearly above 0
        high = math.inf
        low = 0.0 if c <= 0 else c / (b + root) if b + root > 0 else 0.0
    expected = mean_y / mean_z if mean_z else math.inf
    return Foretold(*(budget * each for each in (expected, low, high)))


def forecast(
    sample: ByPrompt,
    so_far: Sums,
    to_come: ToCome,
    goals: RunGoals,
    speed: Speed,
    *,
    level: float,
) -> Forecast:
    """Return what the whole run will come to. Raises `InputError` for a preview of fewer than two complete prompts."""
    n = len(sample.attempts)
    if n < FEWEST_PROMPTS:
        what = f"{n} complete prompts tell nothing of how they differ"
        raise InputError(what, where="preview", remedy=f"{FEWEST_PROMPTS} or more; 10 are of use")
    columns = {name: np.asarray(getattr(sample, name), dtype=float) for name in ByPrompt._fields}
    columns["prompts"] = np.ones(n)
    paid = goals.prices
    columns["cost"] = paid.cost(1, 0) * columns["prompt_tokens"] + paid.cost(0, 1) * columns["tokens"]
    flying = {"tokens": to_come.in_flight[0], "prompt_tokens": to_come.in_flight[1]}
    flying["cost"] = paid.cost(flying["prompt_tokens"], flying["tokens"])
    before = so_far._asdict() | {"cost": paid.cost(so_far.prompt_tokens, so_far.tokens)}

    # By what may end the run: what it is counted in, and how much of that is still to come. What is then in flight has
    # been paid for, but brought nothing.
    ends: dict[str, tuple[str, float]] = {"prompts": ("prompts", to_come.prompts)}
    if goals.accepted is not None:
        ends["accepted"] = "accepted", goals.accepted - so_far.accepted
    if goals.max_tokens is not None:
        ends["max_tokens"] = "tokens", goals.max_tokens - so_far.tokens - flying["tokens"]
    if goals.max_cost is not None:
        ends["max_cost"] = "cost", goals.max_cost - before["cost"] - flying["cost"]

    def total(name: str) -> Foretold:
        found = []
        for by, (unit, budget) in ends.items():
            more = until(columns[name], columns[unit], budget, level, _added(name, unit, columns))
            found.append(more.map(1.0, before[name] + (flying.get(name, 0.0) if by != "prompts" and budget > 0 else 0)))
        least = Foretold(*(min(getattr(each, part) for each in found) for part in Foretold.__struct_fields__))
        if name in ("attempts", "accepted"):
            most = float(before[name] + to_come.attempts)
            least = Foretold(*(min(each, most) for each in (least.expected, least.low, least.high)))
        return least

    def prompts_until(unit: str, budget: float) -> float:
        mean = float(columns[unit].mean())
        return max(budget, 0.0) / mean if mean else math.inf

    tokens, told = total("tokens"), bool(columns["prompt_tokens"].any())
    rate = speed.tokens_per_second
    return Forecast(
        prompts_drawn=n,
        ends_by=min(ends, key=lambda by: prompts_until(*ends[by])),  # type: ignore[arg-type]
        prompts=total("prompts"),
        attempts=total("attempts"),
        accepted=total("accepted"),
        tokens=tokens,
        prompt_tokens=total("prompt_tokens") if told else None,
        seconds=tokens.map(1 / rate, so_far.seconds - so_far.tokens / rate) if rate else None,
        cost=total("cost") if any(paid) else msgspec.UNSET,
        tokens_per_second=rate,
        at_work=speed.at_work,
        slots=speed.slots,
        ci_level=level,
    )


def _added(y: str, z: str, columns: Mapping[str, NDArray[np.float64]]) -> tuple[float, float, float]:
    """Return what is added to the sums of squares and products of y and z where they are accepted samples."""
    all_of_them, mean = float(columns["attempts"].mean()), float(columns["accepted"].mean())
    more = _ADDED * ((all_of_them - mean) ** 2 + mean**2)
    return more * (y == "accepted"), more * (z == "accepted"), more * (y == z == "accepted")


class SpeedSeen:
    """How fast a session is when most of its slots are at work, from what is told of it while it runs."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int, int]] = []  # seconds, tokens, attempts at work
        self._slots = 0

    def see(self, seconds: float, tokens: int, running: int, slots: int) -> None:
        """Take note of a moment: seconds and tokens since the beginning of the run, and what is at work."""
        self._slots = max(self._slots, slots)
        if not self._seen or seconds > self._seen[-1][0]:
            self._seen.append((seconds, tokens, running))

    def speed(self, tokens: int, seconds: float) -> Speed:
        """Return the speed; where nothing was seen, that over the whole of the run until now.

        Between two moments at which three quarters of the most attempts seen side by side are at work.
        """
        most = max((running for _, _, running in self._seen), default=0)
        made = passed = 0.0
        for (begun, before, some), (now, after, others) in zip(self._seen, self._seen[1:], strict=False):
            if min(some, others) >= _MOST_AT_WORK * most and after >= before:
                made, passed = made + after - before, passed + now - begun
        if made and passed:
            return Speed(made / passed, most, self._slots)
        return Speed(tokens / seconds if tokens and seconds else None, 0, self._slots)
