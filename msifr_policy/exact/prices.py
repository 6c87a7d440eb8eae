"""Prices: what prompts, tokens and seconds cost, in the one unit of the decision core.

A **token-equivalent** is the price of one decode token (theory §1). With prices π_prefill, π_decode per token and
π_second per second of a validator or a tool, in any currency,

    C = (π_prefill · prefill tokens + π_decode · decode tokens + π_second · seconds) / π_decode

is what enters as stage, prompt, exit and checkpoint costs everywhere else. Looking has a price too: a validator that
runs at checkpoint k costs every attempt that arrives there unfinished, whatever is then decided. `charge_checkpoints`
puts that into the stage that ends there; `optimum.keep_checkpoints` weighs it against what looking there saves.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from msifr_policy.errors import InputError
from msifr_policy.exact.process import StageProcess, Vector, check_number, check_values, prospects, pull


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in any one currency: per prefill token, per decode token (> 0), per second of validators or tools.

    Raises `InputError` naming the price that is negative or not finite.
    """

    prefill_token: float
    decode_token: float
    second: float = 0.0

    def __post_init__(self) -> None:
        for name in ("prefill_token", "decode_token", "second"):
            check_number(getattr(self, name), name, where="Prices")
        if not self.decode_token > 0:
            raise InputError("decode tokens are free", where="Prices", remedy="they are the unit: give them a price")

    def tokens(self, *, prefill: npt.ArrayLike = 0.0, decode: npt.ArrayLike = 0.0, seconds: npt.ArrayLike = 0.0) -> Any:
        """Return the cost in token-equivalents of prefill tokens, decode tokens and seconds.

        Numbers, or arrays that broadcast (one entry per stage, state or checkpoint). Raises `InputError`, naming the
        first place, for amounts that are negative or not finite.
        """
        paid = [np.asarray(amount, float) for amount in (prefill, decode, seconds)]
        for name, amounts in zip(("prefill", "decode", "seconds"), paid, strict=True):
            check_values(amounts, f"{name} {{}}" if amounts.ndim else name)
        total = paid[1] + (self.prefill_token * paid[0] + self.second * paid[2]) / self.decode_token
        return total if total.ndim else float(total)


def charge_checkpoints(process: StageProcess, checkpoint_costs: npt.ArrayLike) -> StageProcess:
    """Return the process in which validators are paid for at every checkpoint.

    checkpoint_costs: `[K]` tokens that checkpoint k = 0 … K − 1 costs each attempt that arrives there with cost still
    ahead, added to the stage that ends there (to the prompt for k = 0); zero where nobody looks. On the result every
    evaluation and optimum includes the validators, and so does its "never discard": the base line to compare a cost
    per accepted with is that of the process as it was, where nobody looks. Raises `InputError`, naming the checkpoint,
    for costs that are negative or not finite.
    """
    costs = checked_costs(process, checkpoint_costs)
    ahead = [(r > 0).astype(float) for r in prospects(process).remaining_cost]
    stage_costs = list(process.stage_costs)
    for k in range(1, process.K):
        arriving = pull(process.transitions[k - 1], ahead[k][:, None])[:, 0]
        stage_costs[k - 1] = stage_costs[k - 1] + costs[k] * arriving
    prompt_cost = process.prompt_cost + float(costs[0] * (process.initial @ ahead[0]))
    return replace(process, stage_costs=tuple(stage_costs), prompt_cost=prompt_cost)


def checked_costs(process: StageProcess, checkpoint_costs: npt.ArrayLike) -> Vector:
    """Return `[K]` costs of checkpoints; raises `InputError`, naming the checkpoint, for what are none."""
    costs = np.asarray(checkpoint_costs, dtype=float)
    if costs.shape != (process.K,):
        raise InputError(f"checkpoint costs of shape {costs.shape}", remedy=f"{process.K} costs")
    check_values(costs, "cost of checkpoint {}")
    return costs
