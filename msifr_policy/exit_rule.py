"""When a policy exits: the rule that a policy file holds beside its thresholds, decided from beliefs alone [T8].

With e_k = P(accepted | forced answer, F_k) and X_k what forcing it costs, EXIT is worth Λe_k − X_k at total price Λ.
It is right where that is above both DISCARD, 0, and CONTINUE. Going on to the end is worth Λ·M_k − r_k, and going on
with the choice of stopping later is worth more than that, by a **margin** that is fitted per checkpoint. So

    EXIT  iff  Λe_k − X_k > 0                              where the threshold says DISCARD,
          iff  Λ(e_k − M_k) − (X_k − r_k) > margin_k      elsewhere.
"""

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.linear import Positive
from msifr_policy.checkpoints import at_checkpoint
from msifr_policy.errors import InputError
from msifr_policy.evidence.exits import ExitPlan

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]


class ExitRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where to exit, on what beliefs.

    beliefs: e_k for the posterior and X_k for the cost to go, of forced answers, from the evidence that the policy
    reads. price: Λ in units of cost. margins: `[K + 1]` in units of cost, checkpoint 0 first, None where it never
    exits; checkpoints beyond use the last. prefill_price: what a token that is read costs in X_k, in sampled tokens.
    Raises `InputError` without a margin.
    """

    plan: ExitPlan
    beliefs: Beliefs
    price: Positive
    margins: list[Annotated[float, Meta(ge=0)] | None]
    prefill_price: Annotated[float, Meta(ge=0)] = 0.0

    def __post_init__(self) -> None:
        if not self.margins:
            raise InputError("an exit needs a margin per checkpoint", where="exit")
        if self.beliefs.weights is not None:
            raise InputError("beliefs of forced answers are linear", where="exit")

    def exits(self, k: NDArray[np.int64], values: Array, believed: tuple[Array, Array], discards: Flags) -> Flags:
        """Return `[R]` where EXIT is chosen.

        k `[R]`, values `[R, D]` evidence; believed: (M_k, r_k) `[R]` each; discards: `[R]` where the threshold would.
        """
        e, X = self.beliefs.predict(k, values)
        margins = np.asarray([np.inf if margin is None else margin for margin in self.margins])
        possible = (k > 0) & (k % self.plan.every == 0)
        result: Flags = possible & chosen(self.price, (e, X), believed, discards, at_checkpoint(margins, k))
        return result


def chosen(
    price: float | Array, forced: tuple[Array, Array], believed: tuple[Array, Array], discards: Flags, margin: Array
) -> Flags:
    """Return where EXIT is chosen, elementwise, by the formula of the module docstring.

    forced: (e_k, X_k); believed: (M_k, r_k). NaN in either is no reason to exit.
    """
    (e, X), (M, r) = forced, believed
    worth = price * e - X
    result: Flags = np.where(discards, worth > 0, worth - (price * M - r) > margin)
    return result
