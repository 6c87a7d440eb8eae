"""A path of nested policies as a file, and as one policy that runs at a level of it and tells of all others [T13].

**Level** j is a policy of the path, 0 the most conservative; no level is the policy that never discards. Every level
discards what those before it do, no later. So of a finished attempt one number says what each would have done: the
**first** level that discards it. That is told whatever level is in force, as long as the attempt is finished: where
nothing is in force, or where it is audited.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from msifr_policy.beliefs import Beliefs
from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Schedule
from msifr_policy.evidence.table import Costing
from msifr_policy.evidence.watch import Checkpoint
from msifr_policy.fitted_policy import FittedPolicy, WatchedRun
from msifr_policy.policy import NO_PARAMETERS, Decision, Parameters
from msifr_policy.policy_file import Fingerprint, LengthCap, Share
from msifr_policy.records.provenance import Provenance
from msifr_policy.saved import load_record, load_weights, save_record
from msifr_policy.validators import ValidatorSpec, make_validator

SCHEMA_VERSION = 1

NonNegative = Annotated[float, Meta(ge=0)]


class LevelEstimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a level does, as the attempts that the path was fitted on tell: estimates, of which nothing is certified.

    false_reject_rate f, saving_rate s, and what accepted samples cost in its `net_cost_factor`. growth: of the
    log wealth per prompt when f ≤ α is tested, for each of the bets, in nats [T13]. mean_root: E[√M_τ] over what it
    discards, None if that is nothing.
    """

    price: NonNegative
    false_reject_rate: Share
    saving_rate: float
    net_cost_factor: NonNegative
    growth: tuple[float, ...]
    mean_root: Share | None = None


class PathFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A path of policies as data: what they share, and per level its thresholds `[J][K + 1]` and estimates `[J]`.

    No threshold of a level is below the same one of the level before. `length_cap` is the plain one to compare with,
    `fitted_on` which attempts the path was fitted on, and `provenance` where they are from. Raises `InputError` where
    levels do not fit together.
    """

    schema_version: Literal[1] = 1
    costing: Costing
    schedule: Schedule
    validators: list[ValidatorSpec]
    beliefs: Beliefs
    thresholds: list[list[Share]]
    levels: list[LevelEstimate]
    length_cap: LengthCap
    fitted_on: Fingerprint
    provenance: Provenance
    created_by: str

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.thresholds) or len({len(each) for each in self.thresholds}) > 1:
            raise InputError("levels differ in their number of thresholds", where="path of policies")
        if len(self.thresholds) and not self.thresholds[0]:
            raise InputError("levels have no thresholds", where="path of policies")
        pairs = zip(self.thresholds, self.thresholds[1:], strict=False)
        if any(low > high for before, after in pairs for low, high in zip(before, after, strict=True)):
            raise InputError("a level has a lower threshold than the level before", where="path of policies")

    @property
    def n_levels(self) -> int:
        """Number of levels J."""
        return len(self.thresholds)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, and before it the learned weights it names; each whole or not at all."""
        save_record(self, path, self.beliefs.weights)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PathFile:
        """Read a path file and its weights, and make its policies: what it names must be there and must fit.

        Raises `InputError` with the field and the reason.
        """
        made = "a run with an autopilot writes it"
        file = load_record(
            path, cls, version=SCHEMA_VERSION, what="a path of policies", remedy=made, again="start the run anew"
        )
        load_weights(path, file.beliefs.weights, both="a path with learned beliefs is two files: copy both")
        try:
            file.policy(None)
        except InputError as error:
            raise InputError(error.what, where=f"{path}, {error.where}".rstrip(", "), remedy=error.remedy) from None
        return file

    def policy(self, level: int | None) -> PathPolicy:
        """Return the policy that acts by a level, or never discards.

        Raises `InputError` for a level that the path does not have, for a validator that is missing or of another
        version, and for weights that are not known or do not fit.
        """
        if level is not None and not 0 <= level < self.n_levels:
            raise InputError(f"level {level} is none of the {self.n_levels} of the path", where="path of policies")
        thresholds = np.asarray(self.thresholds or np.zeros((0, 1)), dtype=np.float64)
        digest = blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()
        acting = FittedPolicy(
            self.schedule,
            tuple(make_validator(spec) for spec in self.validators),
            self.beliefs,
            np.zeros(0) if level is None else thresholds[level],
            f"PathPolicy {digest} level {level}",
            self.provenance,
            unit=self.costing.unit,
        )
        return PathPolicy(acting, thresholds)


@dataclass(frozen=True, eq=False)
class PathPolicy:
    """Decides as `acting`, the policy of one level, and knows the `thresholds` `[J, K + 1]` of all.

    Raises `InputError` where the policy reads the history of a prompt: each level would make its own.
    """

    acting: FittedPolicy
    thresholds: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.acting.reads_history:
            raise InputError(
                "policies that read the history of prompts are not nested",
                where="path of policies",
                remedy="leave out the validator history",
            )

    @property
    def fingerprint(self) -> str:
        """What the settings of a run call it."""
        return self.acting.fingerprint

    @cached_property
    def columns(self) -> list[list[float]]:
        """`[K + 1][J]` thresholds, those of one checkpoint side by side."""
        columns: list[list[float]] = self.thresholds.T.tolist()
        return columns

    def first(self, k: int, worth: float) -> int:
        """Return the first level that discards at checkpoint `k` at this worth ω_k, J if none does."""
        if not len(self.thresholds):
            return 0
        return bisect_right(self.columns[min(k, len(self.columns) - 1)], worth)

    def start(self, prompt: str, parameters: Parameters = NO_PARAMETERS) -> PathRun:
        """Return the run of a fresh attempt at `prompt`; its `parameters` take the place of those of validators."""
        return PathRun(self, prompt, parameters)


class PathRun(WatchedRun):
    """A path of policies along one attempt; `first` is the first level that would have discarded it so far, J if none.

    All checkpoints are looked at, after a would-be discard too, so that `first` is that of the whole attempt where it
    is finished.
    """

    def __init__(self, policy: PathPolicy, prompt: str, parameters: Parameters) -> None:
        super().__init__(policy.acting.schedule, policy.acting.validators, prompt, parameters)
        self.first = len(policy.thresholds)
        self._policy = policy

    def _decide(self, checkpoint: Checkpoint) -> Decision:
        here = self._policy.acting.decide(checkpoint)
        self.posteriors.append(here.posterior)
        self.first = min(self.first, self._policy.first(here.k, here.worth))
        return here
