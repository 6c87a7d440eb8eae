"""The policy file: one validated JSON with everything a fitted policy is, and the policy it runs as.

Schedule, validators (names, versions, parameters), beliefs, thresholds, certificate, and where the data are from that
it was fitted and certified on. Learned weights lie beside it in a safetensors file whose name is that of the policy
file and the first digits of its SHA-256. No pickle, no code. A file that does not validate, weights included, is
refused with the reason.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from msifr_policy.beliefs import Beliefs
from msifr_policy.errors import InputError
from msifr_policy.evidence.history import PromptQuota
from msifr_policy.evidence.schedule import Schedule
from msifr_policy.evidence.table import Costing, EvidenceTable
from msifr_policy.exit_rule import ExitRule
from msifr_policy.fitted_policy import Certified, FittedPolicy
from msifr_policy.records.provenance import Provenance
from msifr_policy.reference import Reference
from msifr_policy.saved import load_record, load_weights, save_record
from msifr_policy.validators import Hidden, ValidatorSpec, make_validator

SCHEMA_VERSION = 3

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]


Weigh = Literal["prompts", "attempts"]
"""What weighs equally in a false-reject rate: every prompt, whatever the number of its attempts, or every attempt."""

Scope = Literal["new prompts", "these prompts"]
"""What a certificate is about: prompts like those it was certified on, or further attempts at just these."""


class GroupBound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence on the false-reject rate f_G of one group, on the certification data [T6].

    `upper` is a one-sided upper confidence bound on f_G at the certificate's confidence, for this group
    alone: it is not simultaneous over groups.
    """

    n_accepted: Count
    false_rejects: Count
    upper: Share


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was certified on held-out prompts [T10], and the bias bound it implies [T6].

    With probability at least `confidence` over the certification data, the false-reject rate f of the policy
    is at most `max_false_reject`; then the retained accepted samples differ from all accepted samples by at most
    `bias_bound` in total variation (1, no bound, if the policy exits: forced answers are other texts). `certified`
    False means nothing could be: the policy never discards.
    `scope` is what it is about: f of new prompts like these, or of further attempts at these prompts, those of the
    file's `certified_on`. `unit_of_independence` is what was taken as independent: prompts, or the attempts of given
    prompts; `weigh` what weighs equally in f, prompts or attempts.
    `by_group`: f ≤ α of every group at once.
    `accepted_needed` is the number of accepted certification samples from which a certificate is possible at all.
    `pool` names the families of traces that were certified together: the statement then holds for their mixture as
    sampled, not for each; counts are of the pool. `groups` are of this family alone.
    """

    certified: bool
    max_false_reject: Share
    confidence: Share
    method: Literal[
        "exact binomial", "randomised exact binomial", "betting by prompt", "betting by prompt, at any time", "none"
    ]
    unit_of_independence: Literal["prompt", "attempt"]
    n_prompts: Count
    n_accepted: Count
    false_rejects: Count
    accepted_needed: Count
    p_value: Share
    bias_bound: Share
    tested: Count
    message: str
    groups: dict[str, GroupBound] = msgspec.field(default_factory=dict)
    pool: list[str] = msgspec.field(default_factory=list)
    weigh: Weigh = "prompts"
    by_group: bool = False
    scope: Scope = "new prompts"


class LengthCap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plain length cap of least cost with an observed f ≤ α on what the policy was fitted and certified on.

    An attempt is discarded once it has cost `cap` and is not finished; infinity (null) is no cap.
    """

    cap: float | None
    net_cost_factor: float
    false_reject_rate: Share


class FrontierPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy of the path on the certification data: its total price Λ, s and f there (not certified) [T9]."""

    price: Annotated[float, Meta(ge=0)]
    saving_rate: float
    false_reject_rate: Share


class Fingerprint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which data: SHA-256 over ids, prompts, texts and outcomes, their size, and a hash of every prompt.

    prompts: uint64 of each prompt, little-endian: strangers coincide with probability n_prompts/2⁶⁴.
    """

    sha256: str
    n_attempts: Count
    n_prompts: Count
    n_accepted: Count
    prompts: bytes

    @classmethod
    def of(cls, table: EvidenceTable) -> Fingerprint:
        """Return the fingerprint of a table."""
        prompts = np.unique(table.prompt_hash).astype("<u8").tobytes()
        return cls(table.fingerprint, table.n_attempts, table.n_prompts, table.n_accepted, prompts)

    def shares(self, table: EvidenceTable) -> NDArray[np.bool_]:
        """Return `[P]` which prompts of `table` are among these data."""
        return np.isin(table.prompt_hash, np.frombuffer(self.prompts, dtype="<u8"))


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fitted discard policy as data.

    `thresholds[k]` is compared with the worth ω_k, k = 0 before the first token: discard iff ω_k < threshold;
    checkpoints beyond the list use the last. `price` is the total price Λ = λ + μ (cost units one accepted sample is
    worth) [T8, T9]. An empty `thresholds` is the policy that never discards. `quota` is what it was fitted for, with
    when prompts are given up; `exit` says when answers are forced instead [T8], and a good sample whose forced answer
    is not accepted is then lost like a discarded one. `provenance` is of the attempts it was fitted and certified on.
    `reference` is what those it was certified on looked like, None if they were too few; `mean_root_posterior` is
    E[√M_τ] over what the policy discards of all of them, None if it discards nothing.
    """

    schema_version: Literal[3] = 3
    costing: Costing
    schedule: Schedule
    validators: list[ValidatorSpec]
    beliefs: Beliefs
    thresholds: list[Share]
    price: Annotated[float, Meta(ge=0)] | None
    certificate: Certificate
    length_cap: LengthCap
    frontier: list[FrontierPoint]
    fitted_on: Fingerprint
    certified_on: Fingerprint
    provenance: Provenance
    seed: int
    quota: PromptQuota | None = None
    exit: ExitRule | None = None
    reference: Reference | None = None
    mean_root_posterior: Share | None = None
    created_by: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, and before it the learned weights it names; each whole or not at all."""
        save_record(self, path, *self.weights)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PolicyFile:
        """Read a policy file and its weights, and make the policy: what it names must be there and must fit.

        Raises `InputError` with the field and the reason.
        """
        file = load_record(
            path,
            cls,
            version=SCHEMA_VERSION,
            what="a policy file",
            remedy="make one with `msifr fit`",
            again="fit again, or use the release that wrote the file; a path of an autopilot (OUT.path-1.json) is no "
            "policy, what a run leaves is OUT.policy.json",
        )
        for weights in file.weights:
            load_weights(path, weights, both="a learned policy is more than one file: copy all of its name")
        try:
            file.policy()
        except InputError as error:
            raise InputError(error.what, where=f"{path}, {error.where}".rstrip(", "), remedy=error.remedy) from None
        return file

    @property
    def weights(self) -> tuple[str, ...]:
        """SHA-256 of the learned weights it names: those of its beliefs, and of its probe of hidden states."""
        probes = [spec.parameters.get("weights") for spec in self.validators if spec.name == Hidden.name]
        return tuple(dict.fromkeys(named for named in (self.beliefs.weights, *probes) if named is not None))

    @property
    def never_discards(self) -> bool:
        """True if no threshold can ever fire, no prompt is ever given up, and nothing exits."""
        gives_up = self.quota is not None and any(map(any, self.quota.give_up))
        return not any(self.thresholds) and not gives_up and self.exit is None

    @property
    def certified_for(self) -> Provenance:
        """The provenance that attempts must have for the certificate to be about them."""
        of_these = self.certificate.certified and self.certificate.scope == "these prompts"
        return msgspec.structs.replace(self.provenance, prompts=self.certified_on.prompts if of_these else b"")

    def policy(self) -> FittedPolicy:
        """Return the policy that runs.

        Raises `InputError` if a validator is missing or of another version, or if weights are not known or do not fit.
        """
        told = self.certificate
        certified = Certified(told.max_false_reject, told.confidence) if told.certified else None
        return FittedPolicy(
            self.schedule,
            tuple(make_validator(spec) for spec in self.validators),
            self.beliefs,
            np.asarray(self.thresholds, dtype=np.float64),
            f"FittedPolicy {blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()}",
            self.certified_for,
            self.quota,
            self.costing.unit,
            self.exit,
            self.reference,
            self.mean_root_posterior,
            certified,
        )
