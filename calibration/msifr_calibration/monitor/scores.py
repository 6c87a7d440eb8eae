"""What one prompt tells of the false-reject rate of a policy that runs, by audits [T11, T13].

An attempt that is **audited** counts with the weight w = 1/ε, one that is discarded with 0, any other with 1. The
**score** of a prompt for a budget α is the mean over its m attempts of w·A·(1{up for discard} − α). Whatever ε was, as
long as it was settled before the draw, E[w·A·1{up for discard}] = E[A·1{up for discard}], so that E[score] ≤ 0 says
f ≤ α, where prompts weigh equally. Attempts that were never made count as not accepted.

Under a quota, attempts at a prompt are made until enough are accepted, and what stops them is known before each: so
E[score] ≤ 0 then says that f ≤ α among the good samples of the attempts that are made, each weighing the same. Prompts
that are hard have nearly as many of them as easy ones; in a certificate, where a prompt counts by the share of its
attempts that is accepted, they weigh less. Where hard prompts lose more, f is larger here than there.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Entry


class Score(NamedTuple):
    """Per attempt of one prompt, by weight: good samples that the policy gives up (`lost`), and those it does not.

    In expectation `lost`/(`lost` + `kept`) is f.
    """

    lost: float
    kept: float

    def at(self, alpha: float) -> float:
        """Return Z = lost·(1 − α) − kept·α, which is in [−α, (1 − α)/ε] for the policy that ran."""
        return self.lost * (1 - alpha) - self.kept * alpha


def score_of(entries: Sequence[Entry], attempts: int) -> Score:
    """Return the score of one prompt by the `entries` of its attempts, of which the run asked for `attempts`.

    Raises `InputError` if there are more entries than attempts, or if they are of several prompts.
    """
    if len(entries) > attempts:
        raise InputError(f"{len(entries)} entries for {attempts} attempts", where=f"prompt {entries[0].prompt_id!r}")
    lost = kept = 0.0
    for entry in entries:
        if entry.prompt_id != entries[0].prompt_id:
            raise InputError(f"entries of {entry.prompt_id!r} too", where=f"prompt {entries[0].prompt_id!r}")
        if entry.outcome == "accepted":
            if entry.audited is None:
                kept += 1.0
            else:
                lost += 1 / entry.audited.probability
    return Score(lost / attempts, kept / attempts)
