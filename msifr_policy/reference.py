"""What the attempts looked like that a policy was certified on, so that a run can be held against them.

At one checkpoint, each column of evidence has **bins** between tenths of its values. A run writes the bins of its
attempts into the ledger, a character a column, and a monitor compares how often each comes
(`msifr_calibration.monitor.drift`).
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from msifr_policy.errors import InputError

Count = Annotated[int, Meta(ge=0)]

MOST_BINS: Final = 10
NOT_KNOWN: Final = "n"


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Evidence at `checkpoint` k and outcomes, of one attempt of each of `n_prompts` prompts, drawn at random.

    reached: of these attempts came to the checkpoint, and were not discarded before it by the policy; accepted: of all
    of them. edges: for each column of evidence what its bins lie between, in increasing order, none for a column that
    is not compared; a value on an edge is in the bin above it. counts: for each column the attempts in each bin, and
    last those whose value is not known.
    """

    checkpoint: Annotated[int, Meta(ge=1)]
    n_prompts: Count
    reached: Count
    accepted: Count
    edges: list[list[float]]
    counts: list[list[Count]]

    def __post_init__(self) -> None:
        if max(self.reached, self.accepted) > self.n_prompts:
            raise InputError("more attempts than prompts", where="reference")
        if len(self.edges) != len(self.counts) or any(
            len(counts) != len(edges) + 2 or len(edges) >= MOST_BINS
            for edges, counts in zip(self.edges, self.counts, strict=False)
        ):
            raise InputError("edges and counts of columns do not go together", where="reference")

    def bins(self, row: Sequence[float]) -> str:
        """Return a character for each value of a row of evidence: the digit of its bin, "n" if it is not known."""
        return "".join(
            NOT_KNOWN if math.isnan(value) else str(bisect_right(edges, value))
            for value, edges in zip(row, self.edges, strict=True)
        )
