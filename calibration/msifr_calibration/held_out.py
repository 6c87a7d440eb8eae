"""What tests count of held-out attempts, settled before any loss is seen; and p-values of false-reject rates [T10].

Prompts are independent, the attempts of one prompt are not. Two tests respect that: **exact** counts one attempt of
each prompt, drawn at random, and the losses among the accepted ones are binomial; **betting** scores every prompt by
all of its attempts. The false-reject rate they speak of is of prompts that weigh equally, f = E[mean A·D] / E[mean A]
with means over a prompt's attempts, or of attempts that do, f = E[Σ A·D] / E[Σ A]: then the exact test keeps a prompt
of m attempts with probability m over the most there are, and the betting test gives every attempt the same share.

Where the rate is of further attempts at **these prompts**, the attempts are independent given the prompts, and the
exact test counts many of each: f = Σ P(A·D | p) / Σ P(A | p) over the prompts p. Where prompts weigh equally it counts
as many attempts of each as the prompt with the fewest has, drawn at random; where attempts do, all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.betting import (
    Expected,
    betting_p_value,
    binomial_p_value,
    given_prompts_p_value,
    prompt_scores,
)
from msifr_calibration.split import uniform
from msifr_policy.errors import InputError
from msifr_policy.evidence.history import reads_history
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import Scope, Weigh

Test = Literal["exact binomial", "randomised exact binomial", "betting by prompt"]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """N attempts at P prompts as the tests see them.

    prompt: `[N]` from 0; accepted: `[N]`; share: `[N]` what an attempt counts for in its prompt's score; drawn: `[n]`
    attempts counted by the exact tests, at most one of each prompt, unless the scope is these prompts; order: `[P]` in
    which prompts are bet on; group: `[N]` a number where a rate is to be certified for each group by itself
    (`by_group`), else 0 everywhere; U: what randomises.
    """

    prompt: NDArray[np.int64]
    accepted: NDArray[np.bool_]
    share: NDArray[np.float64]
    drawn: NDArray[np.int64]
    order: NDArray[np.int64]
    group: NDArray[np.int64]
    by_group: bool
    weigh: Weigh
    scope: Scope
    U: float

    @classmethod
    def of(
        cls,
        tables: Sequence[EvidenceTable],
        key: str,
        weigh: Weigh = "prompts",
        *,
        by_group: bool = False,
        scope: Scope = "new prompts",
    ) -> "HeldOut":
        """Return the attempts of `tables` end to end; a prompt that several of them have is one prompt.

        `key`: which of all random choices. Raises `InputError` where attempts know of each other and must not.
        """
        check_scope(tables, scope)
        if len(tables) == 1:
            ids, prompt = list(tables[0].prompt_ids), np.arange(tables[0].n_prompts)
        else:
            ids, prompt = _numbered([p for table in tables for p in table.prompt_ids])
        offsets = np.cumsum([0, *(table.n_prompts for table in tables)])
        of = np.concatenate([prompt[table.prompt + o] for table, o in zip(tables, offsets, strict=False)])
        accepted = np.concatenate([table.accepted for table in tables])
        group = np.zeros(len(of), dtype=np.int64)
        if by_group:
            _, group = _numbered([name for table in tables for name in table.groups])
        per_prompt = np.bincount(of, minlength=len(ids))
        most = per_prompt.max(initial=1)
        share = 1 / (per_prompt[of] if weigh == "prompts" else np.full(len(of), most))
        attempt_ids = [i for table in tables for i in table.attempt_ids]
        if scope == "these prompts":
            n_each = per_prompt.min(initial=len(of)) if weigh == "prompts" else most
            drawn = np.flatnonzero(rank_in_prompt(of, attempt_ids, key, "draw") < n_each)
        else:
            drawn = one_each(of, attempt_ids, key)
            if weigh == "attempts":
                kept = uniform(ids, key, "thin") < per_prompt / most
                drawn = drawn[kept[of[drawn]]]
        order = np.argsort(uniform(ids, key, "order"), kind="stable")
        U = 1 - float(uniform([""], key, "randomise")[0])
        return cls(of, accepted, share, drawn, order, group, by_group, weigh, scope, U)

    @property
    def n_prompts(self) -> int:
        """Number of prompts P."""
        return len(self.order)

    @property
    def unequal(self) -> bool:
        """Whether prompts have different numbers of attempts: only then it matters what weighs equally."""
        return len(np.unique(np.bincount(self.prompt))) > 1

    @property
    def alike(self) -> bool:
        """Whether all counted attempts are drawn alike, not at prompts that are given."""
        return self.scope == "new prompts"

    @property
    def tests(self) -> tuple[Test, ...]:
        """The tests to choose from: bets, where the exact test would count only one of several attempts."""
        several = len(self.prompt) > self.n_prompts
        return ("betting by prompt", "exact binomial") if self.alike and several else ("exact binomial",)

    def good(self, test: Test) -> NDArray[np.int64]:
        """Return the accepted attempts that `test` counts."""
        counted = np.arange(len(self.accepted)) if test == "betting by prompt" else self.drawn
        result: NDArray[np.int64] = counted[self.accepted[counted]]
        return result

    def scores(self, discarded: NDArray[np.bool_], alpha: float, group: int = 0) -> NDArray[np.float64]:
        """Return `[P]` Z of one group, in the order of bets."""
        return prompt_scores(self.prompt, self.accepted & (self.group == group), discarded, alpha, self.share)[
            self.order
        ]

    def p_value(
        self, discarded: NDArray[np.bool_], test: Test, alpha: float, expected: Sequence[Expected] = ()
    ) -> float:
        """Return the p-value of H: f ≥ α in some group, of a policy that discards `discarded` `[N]`.

        The largest of all groups': each has to be rejected at the level of all (Berger 1982), none of it is shared out.
        `expected` is what other prompts tell of Z, per group; with nothing known the first bets are small.
        """
        groups = np.unique(self.group).tolist()
        if test == "betting by prompt":
            prior = list(expected) or [Expected(-alpha / 4, alpha**2)] * len(groups)
            of_groups = [
                betting_p_value(self.scores(discarded, alpha, g), alpha, each)
                for g, each in zip(groups, prior, strict=True)
            ]
        else:
            good = self.good(test)
            n = np.bincount(self.group[good], minlength=len(groups))
            lost = np.bincount(self.group[good], discarded[good], len(groups)).astype(np.int64)
            U = self.U if test == "randomised exact binomial" else 1.0
            p_value = binomial_p_value if self.alike else given_prompts_p_value
            of_groups = [p_value(int(lost[g]), int(n[g]), alpha, U) for g in groups]
        return max(of_groups, default=1.0)


def check_scope(tables: Sequence[EvidenceTable], scope: Scope) -> None:
    """Raise `InputError` where the scope is these prompts and attempts have earlier ones at their prompt as evidence.

    Given the prompts attempts are independent, but not given what others of the same prompt came to.
    """
    if scope == "these prompts" and any(map(reads_history, tables)):
        raise InputError(
            "the history of a prompt is no evidence where attempts have to be independent of each other",
            where="scope these prompts",
            remedy="leave out the validator history, or certify for new prompts",
        )


def one_each(prompt: NDArray[np.int64], attempt_ids: Sequence[str], key: str) -> NDArray[np.int64]:
    """Return one attempt of each prompt, `prompt` `[N]`, drawn by a hash of its id: the same one in any company."""
    u = uniform(attempt_ids, key, "draw")
    least = np.ones(int(prompt.max(initial=-1)) + 1)
    np.minimum.at(least, prompt, u)
    drawn = np.flatnonzero(u == least[prompt])
    # Of two with one number the first: by chance that is one prompt in 10¹⁴, but ids may be given twice.
    result: NDArray[np.int64] = drawn[np.unique(prompt[drawn], return_index=True)[1]]
    return result


def rank_in_prompt(prompt: NDArray[np.int64], attempt_ids: Sequence[str], key: str, use: str) -> NDArray[np.int64]:
    """Return `[N]` the place of each attempt among those of its prompt, from 0, drawn by a hash of its id."""
    order = np.lexsort((uniform(attempt_ids, key, use), prompt))
    first = np.concatenate(([0], np.cumsum(np.bincount(prompt))))
    rank = np.empty(len(prompt), dtype=np.int64)
    rank[order] = np.arange(len(prompt)) - first[prompt[order]]
    return rank


def _numbered(names: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct names in the order in which they come, and for each of `names` its number among them."""
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return list(number), np.fromiter(map(number.__getitem__, names), dtype=np.int64, count=len(names))
