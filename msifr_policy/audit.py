"""The audit stream: some of what a policy would discard is finished nonetheless, to see what is lost [T7, T11].

Where the policy would discard, the attempt goes on with probability ε(F_k) instead, and is then **audited**: it runs to
its own end, whatever the policy would say later. Its weight is 1/ε; that of a discarded attempt is 0, and of any other
1. So W·1{kept} is a mean-one martingale: weighted, the accepted samples of a run are exactly unbiased, whatever the
validators know, and what is lost can be read off them.

At the same budget, ε ∝ √posterior audits where good samples are: for one checkpoint and equal costs to go it is the
roulette of least cost per effective sample (`msifr_policy.exact.roulette`). No ε is below a floor, so weights are
bounded.
"""

import math
from hashlib import blake2b
from typing import Literal

import msgspec

from msifr_policy.errors import InputError

AuditBy = Literal["posterior", "constant"]
"""What ε hangs on: the posterior M_k, by its square root, or nothing."""

_LEAST_OF_SHARE = 0.25
_PERSON = b"msifr-audit"


class Audit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How would-be discards are audited.

    share: of them that are finished, in expectation, in (0, 1]. by: what ε hangs on. mean_root: E[√M_τ] over would-be
    discards, as the policy's own data tell; None: not known, and ε is constant. Raises `InputError` for a share or a
    mean that no audit can have.
    """

    share: float
    by: AuditBy = "posterior"
    mean_root: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"audit share {self.share} must be above 0 and at most 1", where="audit")
        if self.mean_root is not None and not 0 < self.mean_root <= 1:
            raise InputError(f"E[√M] = {self.mean_root} must be above 0 and at most 1", where="audit")

    @property
    def floor(self) -> float:
        """The least ε: no weight is above one over it."""
        return self.share * (1.0 if self.by == "constant" or self.mean_root is None else _LEAST_OF_SHARE)

    def probability(self, posterior: float) -> float:
        """Return ε for a would-be discard at posterior M_k."""
        if self.by == "constant" or self.mean_root is None or not 0 <= posterior <= 1:
            return self.share
        return min(1.0, max(self.floor, self.share * math.sqrt(posterior) / self.mean_root))


class Audited(msgspec.Struct, frozen=True):
    """The would-be discard of an attempt that was finished nonetheless: at checkpoint k, with what probability ε."""

    probability: float
    k: int
    posterior: float
    reason: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.probability <= 1:
            raise ValueError(f"audit probability {self.probability} must be above 0 and at most 1")

    @property
    def weight(self) -> float:
        """1/ε."""
        return 1 / self.probability


def audit_draw(key: bytes) -> float:
    """Return U in [0, 1) of an attempt, by the key of its own stream: it is audited iff U < ε.

    One number an attempt, so neither its company nor an interruption changes it; and one that no token is drawn by.
    """
    word = int.from_bytes(blake2b(key, digest_size=8, person=_PERSON).digest(), "little")
    return (word >> 11) * 2.0**-53
