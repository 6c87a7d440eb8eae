"""What a whole run is to reach, or may spend: accepted samples, tokens, money.

A run with **goals** ends as soon as one of them is reached, or when all its attempts are made. Goals are no settings of
a run: one that reached them goes on when it is asked for more.

What a run sampled is everything that it pays for: attempts that are over, those in flight, and what lies beside.
Attempts that were in flight when the goal was reached are given up, and these are longer than others on average. So
which attempts are in the output depends on their lengths; all attempts of a run without a goal do not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Totals

Reached = Literal["accepted", "max_tokens", "max_cost"]
"""Which goal ended a run."""

FEWEST_PROMPTS = 2
"""Prompts of a preview without which nothing is known of how they differ."""

MILLION = 1e6
"""Tokens that a price is of."""


class PerMillion(NamedTuple):
    """Of a million tokens of prompts, and of a million generated ones, in any currency."""

    price_in: float = 0.0
    price_out: float = 0.0

    def cost(self, prompt_tokens: float, tokens: float) -> float:
        """Return what so many tokens cost."""
        return (self.price_in * prompt_tokens + self.price_out * tokens) / MILLION


NO_PRICES = PerMillion()


class RunSpent(NamedTuple):
    """What a run has come to, over all its sessions, with what is in flight.

    tokens: sampled. prompt_tokens: of attempts that were begun; those whose engine does not tell them count as the mean
    of the others.
    """

    accepted: int = 0
    tokens: int = 0
    prompt_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class RunGoals:
    """What ends a run before all its attempts are made; None: nothing of the kind.

    accepted: samples in the whole run. max_tokens: sampled in the whole run, wasted ones and those beside included.
    max_cost: of prompts and sampled tokens, at these prices.

    Raises `InputError` for goals that are none, and for a cost without prices.
    """

    accepted: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    prices: PerMillion = NO_PRICES

    def __post_init__(self) -> None:
        for name in ("accepted", "max_tokens"):
            goal = getattr(self, name)
            if goal is not None and goal < 1:
                raise InputError(f"{name} = {goal} must be at least 1", where="generate")
        if not all(math.isfinite(price) and price >= 0 for price in self.prices):
            remedy = "give what a million tokens cost"
            raise InputError("prices = {:g}, {:g} are none".format(*self.prices), where="generate", remedy=remedy)
        if self.max_cost is None:
            return
        if not (math.isfinite(self.max_cost) and self.max_cost > 0):
            raise InputError(f"max_cost = {self.max_cost:g} must be finite and above 0", where="generate")
        if not any(self.prices):
            remedy = "say what a million tokens cost: --price-in, --price-out"
            raise InputError("a cost needs prices", where="max_cost", remedy=remedy)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return any(goal is not None for goal in (self.accepted, self.max_tokens, self.max_cost))

    def cost(self, spent: RunSpent) -> float:
        """Return what was spent in money."""
        return self.prices.cost(spent.prompt_tokens, spent.tokens)

    def reached(self, spent: RunSpent) -> Reached | None:
        """Return the goal that is reached, of several the first of accepted, max_tokens and max_cost; None: none."""
        return next((name for name, (there, goal) in self.standing(spent).items() if there >= goal), None)

    def standing(self, spent: RunSpent) -> dict[Reached, tuple[float, float]]:
        """Return for each goal what is there, and what is to be."""
        every: dict[Reached, tuple[float, float | None]] = {
            "accepted": (spent.accepted, self.accepted),
            "max_tokens": (spent.tokens, self.max_tokens),
            "max_cost": (self.cost(spent), self.max_cost),
        }
        return {name: (there, goal) for name, (there, goal) in every.items() if goal is not None}

    def said(self, spent: RunSpent) -> str:
        """Return in words how far the goals are: "120 of 500 accepted, cost 0.31 of 2.00"."""
        told = [] if self.accepted is None else [f"{spent.accepted:,} of {self.accepted:,} accepted"]
        told += [] if self.max_tokens is None else [f"{spent.tokens:,} of {self.max_tokens:,} tokens"]
        told += [] if self.max_cost is None else [f"cost {amount(self.cost(spent))} of {amount(self.max_cost)}"]
        return ", ".join(told)


NO_GOALS = RunGoals()


class GoalsReport(msgspec.Struct, frozen=True, kw_only=True):
    """Goals of a whole run, None where there is none of a kind, and which of them is reached; None: none.

    accepted_missing: accepted samples that are wanted and not there; None if no number is wanted.
    """

    accepted: int | None
    max_tokens: int | None
    max_cost: float | None
    reached: Reached | None
    accepted_missing: int | None


def goals_report(goals: RunGoals, spent: RunSpent, say: Callable[[str], None], *, ended: bool) -> GoalsReport:
    """Return how far a run has come; says which goal it reached, or what to do if it `ended` without."""
    lacks = None if goals.accepted is None else max(goals.accepted - spent.accepted, 0)
    reached = goals.reached(spent)
    if reached is not None:
        say(f"a goal of the run is reached: {goals.said(spent)}")
    elif ended and lacks:
        missing = f"all attempts are made, and {lacks:,} of {goals.accepted:,} accepted samples are missing"
        say(f"{missing}: run more prompts, or these with another seed or more attempts, into another file")
    return GoalsReport(
        accepted=goals.accepted,
        max_tokens=goals.max_tokens,
        max_cost=goals.max_cost,
        reached=reached,
        accepted_missing=lacks,
    )


def spent_before(totals: Totals) -> RunSpent:
    """Return what a run has come to that is over, by the sums over its ledger."""
    begun = totals.attempts - totals.skipped - totals.failed
    prompts = prompts_of_all(totals.prompt_tokens, totals.prompts_counted, begun) + totals.prompt_tokens_beside
    return RunSpent(totals.accepted, totals.tokens + totals.tokens_beside, prompts)


def prompts_of_all(told: int, counted: int, begun: int) -> float:
    """Return the tokens of the prompts of `begun` attempts, of which `counted` told them, `told` together.

    The others count as the mean of those; 0 if none tells.
    """
    return told * max(begun / counted, 1) if counted else 0.0


def amount(money: float) -> str:
    """Return a sum of money in digits: three, and no power of ten, since nobody tells prices so."""
    if money >= 1:
        return f"{money:,.2f}"
    if not money:
        return "0"
    return f"{money:.{2 - math.floor(math.log10(money))}f}".rstrip("0").rstrip(".")
