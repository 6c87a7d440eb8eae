"""What the tokens of a run cost, at the prices of whoever asks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from msifr_integrations.generation.goals import PerMillion, amount, prompts_of_all
from msifr_integrations.generation.progress import Progress
from msifr_policy.errors import InputError

if TYPE_CHECKING:
    from msifr_integrations.generation.result import Result


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """What a run cost, in the currency of the prices.

    price_in, price_out: per million tokens of prompts and of outputs. total: of all tokens, those beside attempts
    included; prompts count once for each attempt that was begun, at the mean of those whose engine tells their
    prompt_tokens, and not at all if none does. per_accepted: None if nothing was accepted. saved_estimate: the price
    of the tokens that were not made, as estimated.
    """

    price_in: float
    price_out: float
    total: float
    per_accepted: float | None
    saved_estimate: float | None
    prompt_tokens: int | None


@dataclass(frozen=True, slots=True)
class TokensSpent:
    """What a run has spent so far, in tokens; begun: attempts that were given to the engine.

    prompts_beside: tokens of the prompts of attempts that were in flight at an interrupt.
    """

    begun: int
    accepted: int
    tokens: int
    prompt_tokens: int
    prompts_counted: int
    prompts_beside: int
    saved: int | None


def spent_by(run: Progress | Result) -> TokensSpent:
    """Return what a run has spent, all that lies beside its attempts included."""
    attempts = run.done if isinstance(run, Progress) else run.attempts
    saved = run.tokens_ahead if isinstance(run, Progress) else run.tokens_saved_estimate
    return TokensSpent(
        begun=attempts - run.skipped - run.failed,
        accepted=run.accepted,
        tokens=run.tokens + run.tokens_beside,
        prompt_tokens=run.prompt_tokens,
        prompts_counted=run.prompts_counted,
        prompts_beside=run.prompt_tokens_beside,
        saved=saved,
    )


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """Of a million tokens of prompts, and of outputs, in any currency; max_cost: what a whole run may cost at these.

    Raises `InputError` for what is no price.
    """

    price_in: float = 0.0
    price_out: float = 0.0
    max_cost: float | None = None

    def __post_init__(self) -> None:
        for flag, price in (("--price-in", self.price_in), ("--price-out", self.price_out)):
            if not (math.isfinite(price) and price >= 0):
                raise InputError(f"{price:g} is no price", where=flag, remedy="give what a million tokens cost")

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.price_in or self.price_out)

    @property
    def prices(self) -> PerMillion:
        """The same, as the library takes them."""
        return PerMillion(self.price_in, self.price_out)

    def of(self, spent: TokensSpent) -> Money:
        """Return what was spent in money.

        Prompts of attempts that do not tell their tokens are taken to have the mean of those that do.
        """
        prompts: int | None = None
        if spent.prompts_counted:
            told = prompts_of_all(spent.prompt_tokens, spent.prompts_counted, spent.begun)
            prompts = round(told) + spent.prompts_beside
        total = self.prices.cost(prompts or 0, spent.tokens)
        return Money(
            price_in=self.price_in,
            price_out=self.price_out,
            prompt_tokens=prompts,
            total=total,
            per_accepted=total / spent.accepted if spent.accepted else None,
            saved_estimate=None if spent.saved is None else self.prices.cost(0, spent.saved),
        )

    def line(self, spent: TokensSpent) -> str:
        """Return the money in words."""
        money = self.of(spent)
        told = [f"cost {amount(money.total)}"]
        if money.per_accepted is not None:
            told.append(f"{amount(money.per_accepted)} for each accepted sample")
        if money.saved_estimate:
            told.append(f"{amount(money.saved_estimate)} saved (estimated)")
        if self.price_in and money.prompt_tokens is None and spent.begun:
            told.append("prompts not counted: the engine does not tell their tokens")
        return ", ".join(told)
