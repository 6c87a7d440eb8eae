"""How a policy is fitted and certified: the one place of defaults for library and command line."""

import math
from dataclasses import dataclass, field
from typing import Literal, TypedDict, get_args

from msifr_calibration.beliefs.network import NetworkOptions, needs_torch
from msifr_policy.errors import InputError
from msifr_policy.evidence.history import MOST_ATTEMPTS, PromptQuota
from msifr_policy.policy_file import Scope, Weigh

Method = Literal["auto", "linear", "logistic", "isotonic", "pretrained", "learned"]
"""How beliefs are fitted: linear ones, logistic, isotonic or the better of the two; pretrained ones, fitted to the
family by a few numbers; learned anew with words and a network; auto: pretrained, linear or both, by held-out loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How a policy is fitted and certified.

    max_false_reject: α, the largest false-reject rate; confidence: 1 − δ of the certificate. certify_share: share of
    the prompts held out to certify on, None for as many as count, see `to_certify`. method: of fitting beliefs;
    pretrained: SHA-256 of weights to take instead of those of the package; network: how the network of learned ones is
    trained. certify_alone: from so many accepted samples to certify on, a family of a pool is certified alone: losing 3
    % of 300 certifies α = 5 % with confidence 90 %, nearly what a pool admits, and promises more. weigh: what weighs
    equally in f, prompts or attempts. scope: whether f is of new prompts, or of further attempts at these: then the
    attempts of every prompt are split. certify_groups: f ≤ α of every group at once. randomise: exact tests by a number
    drawn from the data, which certify a little more often where accepted samples are few. history: whether earlier
    attempts at a prompt are evidence, where there are several. skip_prompts: whether an attempt may be discarded before
    its first token. accepted_per_prompt: fit to a run that stops at a prompt with so many accepted, after
    attempts_per_prompt at most (None: as many as there are). exits: also try policies that exit, by the forced answers
    that the traces record; they read no history. exit_prefill_price: what a token that is read to force an answer
    costs, in sampled tokens. Raises `InputError` for shares outside (0, 1), a negative
    seed, an unknown method or scope, and where torch is missing for a learned posterior.
    """

    max_false_reject: float = 0.05
    confidence: float = 0.9
    certify_share: float | None = None
    method: Method = "auto"
    pretrained: str | None = None
    network: NetworkOptions = field(default_factory=NetworkOptions)
    certify_alone: int = 300
    weigh: Weigh = "prompts"
    scope: Scope = "new prompts"
    certify_groups: bool = False
    randomise: bool = False
    history: bool = True
    skip_prompts: bool = True
    accepted_per_prompt: int | None = None
    attempts_per_prompt: int | None = None
    exits: bool = False
    exit_prefill_price: float = 0.0
    seed: int = 0

    @property
    def wanted(self) -> tuple[int, int]:
        """The quota: accepted samples per prompt, and the most attempts for them; of runs without one, the most."""
        return self.accepted_per_prompt or MOST_ATTEMPTS, self.attempts_per_prompt or MOST_ATTEMPTS

    @property
    def quota(self) -> PromptQuota | None:
        """The quota as a policy file has it, with no prompt given up; None without one."""
        if self.accepted_per_prompt is None:
            return None
        n, m = self.wanted
        return PromptQuota(n, m, [[False] * n] * m)

    def __post_init__(self) -> None:
        check_share("max_false_reject", self.max_false_reject)
        check_share("confidence", self.confidence)
        if self.certify_share is not None:
            check_share("certify_share", self.certify_share)
        if self.method not in get_args(Method):
            raise InputError(f"unknown method {self.method!r}", remedy=f"known: {', '.join(get_args(Method))}")
        if self.method == "learned":
            needs_torch()  # said before any trace is read
        if self.scope not in get_args(Scope):
            raise InputError(f"unknown scope {self.scope!r}", remedy=f"known: {', '.join(get_args(Scope))}")
        for name in ("accepted_per_prompt", "attempts_per_prompt"):
            number = getattr(self, name)
            if number is not None and not 1 <= number <= MOST_ATTEMPTS:
                raise InputError(f"{name} = {number} must be from 1 to {MOST_ATTEMPTS}")
        if self.accepted_per_prompt is not None and self.scope == "these prompts":
            raise InputError(
                "a quota reads the history of prompts, which cannot be where the scope is these prompts",
                where="accepted_per_prompt",
                remedy="fit without a quota, or certify for new prompts",
            )
        wanted, most = self.wanted
        if self.accepted_per_prompt is not None and wanted > most:
            what = f"{wanted} accepted samples of each prompt from at most {most} attempts"
            raise InputError(what, where="accepted_per_prompt", remedy="ask for no more than there are attempts")
        if self.accepted_per_prompt is not None and not self.history:
            raise InputError("a quota needs the history", where="accepted_per_prompt", remedy="leave history on")
        if self.exits and self.accepted_per_prompt is not None:
            raise InputError(
                "a quota reads the history of prompts, which policies that exit do not",
                where="exits",
                remedy="fit without a quota, or without exits",
            )
        if not 0 <= self.exit_prefill_price < math.inf:
            raise InputError(f"exit_prefill_price = {self.exit_prefill_price} must be finite and not negative")
        if self.seed < 0:
            raise InputError(f"seed = {self.seed} must not be negative")


class FitChanges(TypedDict, total=False):
    """The fields of `FitOptions`, by keyword: for functions that take changes of options."""

    max_false_reject: float
    confidence: float
    certify_share: float | None
    method: Method
    pretrained: str | None
    network: NetworkOptions
    certify_alone: int
    weigh: Weigh
    scope: Scope
    certify_groups: bool
    randomise: bool
    history: bool
    skip_prompts: bool
    accepted_per_prompt: int | None
    attempts_per_prompt: int | None
    exits: bool
    exit_prefill_price: float
    seed: int


def check_share(name: str, share: float) -> None:
    """Raise `InputError` unless `share` lies inside (0, 1)."""
    if not 0 < share < 1:
        percent = share / 100
        raise InputError(
            f"{name} = {share:g} must lie strictly between 0 and 1",
            remedy=f"did you mean {percent:g}?" if 0 < percent < 1 else "",
        )
