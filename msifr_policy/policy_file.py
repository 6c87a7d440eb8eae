"""The policy file: one validated JSON with everything a fitted policy is, and the policy it runs as.

Schedule, validators (names, versions, parameters), posterior, thresholds, certificate, and fingerprints of the
data it was fitted and certified on. Learned weights lie beside it in a safetensors file whose name is that of the
policy file and the first digits of its SHA-256. No pickle, no code. A file that does not validate is refused with the
reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from msifr_policy.beliefs.blend import AnyCostToGo, AnyPosterior, BlendedPosterior, predict_both
from msifr_policy.beliefs.linear import worth_index
from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Schedule
from msifr_policy.evidence.table import Costing, EvidenceTable
from msifr_policy.evidence.watch import Checkpoint, Watch, column_names
from msifr_policy.files import replacing
from msifr_policy.policy import Action, Decision
from msifr_policy.validators import Validator, ValidatorSpec, Verdict, make_validator
from msifr_policy.weights import MAX_WEIGHTS_BYTES, remember, weights_bytes

__all__ = [
    "SCHEMA_VERSION",
    "Certificate",
    "Fingerprint",
    "FittedPolicy",
    "FrontierPoint",
    "GroupBound",
    "LengthCap",
    "PolicyFile",
    "first_rows",
]

SCHEMA_VERSION = 1
MAX_FILE_BYTES = 64 * 2**20

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]


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
    `bias_bound` in total variation. `certified` False means nothing could be: the policy never discards.
    `unit_of_independence` is what was taken as independent; "prompt" weighs prompts as sampled.
    `accepted_needed` is the number of accepted certification samples from which a certificate is possible at all.
    `pool` names the families of traces that were certified together: the statement then holds for their mixture as
    sampled, not for each; counts are of the pool. `groups` are of this family alone.
    """

    certified: bool
    max_false_reject: Share
    confidence: Share
    method: Literal["exact binomial", "betting by prompt", "none"]
    unit_of_independence: Literal["prompt"]
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


class LengthCap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The best plain length cap with the same false-reject budget on the policy's own fitting data.

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
    """Which data: SHA-256 over ids, prompts, texts and outcomes, with its size."""

    sha256: str
    n_attempts: Count
    n_prompts: Count
    n_accepted: Count


class PolicyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fitted discard policy as data.

    `thresholds[k - 1]` is compared with the worth index ω_k: discard iff ω_k < threshold; checkpoints beyond the list
    use the last. `price` is the total price Λ = λ + μ (cost units one accepted sample is worth) [T8, T9].
    An empty `thresholds` is the policy that never discards.
    """

    schema_version: Literal[1]
    costing: Costing
    schedule: Schedule
    validators: list[ValidatorSpec]
    posterior: AnyPosterior
    cost_to_go: AnyCostToGo
    thresholds: list[Share]
    price: Annotated[float, Meta(ge=0)] | None
    certificate: Certificate
    length_cap: LengthCap
    frontier: list[FrontierPoint]
    fitted_on: Fingerprint
    certified_on: Fingerprint
    seed: int
    created_by: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, and before it the learned weights it names; each whole or not at all."""
        path = Path(path)
        if self.weights is not None:
            with replacing(_weights_path(path, self.weights)) as temporary:
                temporary.write_bytes(weights_bytes(self.weights))
        with replacing(path) as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PolicyFile:
        """Read and validate a policy file and its weights. Raises `InputError` with the field and the reason."""
        path = Path(path)
        raw = _read(path, MAX_FILE_BYTES)
        try:
            version = msgspec.json.decode(raw, type=_Versioned).schema_version
            if version != SCHEMA_VERSION:
                raise InputError(
                    f"schema version {version}, this release reads {SCHEMA_VERSION}",
                    where=str(path),
                    remedy="fit again, or use the release that wrote the file",
                )
            file = msgspec.json.decode(raw, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(
                f"not a policy file: {error}", where=str(path), remedy="make one with `msifr fit`"
            ) from None
        if file.weights is not None:
            beside = _weights_path(path, file.weights)
            if remember(_read(beside, MAX_WEIGHTS_BYTES), where=str(beside)) != file.weights:
                raise InputError("not the weights the policy file names", where=str(beside), remedy="copy both files")
        return file

    @property
    def weights(self) -> str | None:
        """SHA-256 of the learned weights, None if nothing in the policy is learned by a network."""
        return self.posterior.weights if isinstance(self.posterior, BlendedPosterior) else None

    @property
    def never_discards(self) -> bool:
        """True if no threshold can ever fire."""
        return not any(self.thresholds)

    def policy(self) -> FittedPolicy:
        """Return the policy that runs. Raises `InputError` if a validator is missing or of another version."""
        return FittedPolicy(self)


def _weights_path(path: Path, sha256: str) -> Path:
    return path.with_name(f"{path.stem}.{sha256[:12]}.safetensors")


def _read(path: Path, most: int) -> bytes:
    try:
        if os.path.getsize(path) > most:
            raise InputError(f"larger than {most} bytes", where=str(path))
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path)) from error


class _Versioned(msgspec.Struct):
    schema_version: int


class FittedPolicy:
    """A policy file made ready: decides live (`start`) and on tables (`stops`), by the same arithmetic."""

    def __init__(self, file: PolicyFile) -> None:
        self.file = file
        self.validators: tuple[Validator, ...] = tuple(make_validator(spec) for spec in file.validators)
        columns = column_names(self.validators)
        if not columns == file.posterior.columns == file.cost_to_go.columns:
            raise InputError(
                "the columns of posterior and cost to go are not those of the validators",
                where="policy file",
                remedy=f"expected {', '.join(columns)}",
            )
        owner = [i for i, v in enumerate(self.validators) for _ in v.columns]
        self._owner = np.asarray(owner, dtype=np.int64)
        self._thresholds = np.asarray(file.thresholds, dtype=np.float64)

    def threshold(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return `[R]` the threshold at checkpoints `k` `[R]`; 0 where the policy never discards."""
        if not len(self._thresholds):
            return np.zeros(len(k))
        result: NDArray[np.float64] = self._thresholds[np.minimum(k, len(self._thresholds)) - 1]
        return result

    def decide(self, checkpoint: Checkpoint) -> Decision:
        """Return the decision at one checkpoint."""
        k = np.asarray([checkpoint.k], dtype=np.int64)
        values = np.asarray([checkpoint.row], dtype=np.float64)
        M, index = (float(x[0]) for x in self._predict(k, values))
        threshold = float(self.threshold(k)[0])
        action, reason = Action.CONTINUE, ""
        if threshold > index:
            verdicts = np.asarray([checkpoint.verdicts], dtype=np.int8)
            action, reason = Action.DISCARD, self.reasons(k, values, verdicts)[0]
        return Decision(action, checkpoint.k, checkpoint.position, checkpoint.tokens, M, threshold, reason, index)

    def reasons(self, k: NDArray[np.int64], values: NDArray[np.float64], verdicts: NDArray[np.int8]) -> list[str]:
        """Return `[R]` the validator that spoke most against each row.

        The first that says DEAD, else the one whose columns lower log(odds of M / r) most; one that knows nothing does
        not speak.
        """
        model, cost = self.file.posterior, self.file.cost_to_go
        by_validator = model.contributions(k, values, self._owner) - cost.contributions(k, values, self._owner)
        known = np.isfinite(values)
        for v in range(len(self.validators)):
            by_validator[~known[:, self._owner == v].any(axis=1), v] = np.inf
        dead = verdicts == Verdict.DEAD
        worst = np.where(dead.any(axis=1), dead.argmax(axis=1), by_validator.argmin(axis=1))
        return [self.validators[i].name for i in worst]

    def _predict(
        self, k: NDArray[np.int64], values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        M, r = predict_both(self.file.posterior, self.file.cost_to_go, k, values)
        return M, worth_index(M, r, self.file.cost_to_go.cost_per_accepted)

    def beliefs(self, table: EvidenceTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (M_k, ω_k), `[R]` each: posterior and worth index for every row of a table.

        Raises `InputError` if its evidence is of another kind.
        """
        if (table.columns, table.schedule, list(table.validators)) != (
            self.file.posterior.columns,
            self.file.schedule,
            self.file.validators,
        ):
            raise InputError(
                "the evidence table has other columns, schedule or validators than the policy",
                remedy="build the table with the policy's own (msifr evaluate does)",
            )
        return self._predict(table.k, table.values)

    def stops(self, table: EvidenceTable) -> NDArray[np.int64]:
        """Return `[N]` the row at which each attempt is discarded, -1 if it never is."""
        fires = (self.threshold(table.k) > self.beliefs(table)[1]) & table.is_checkpoint
        return first_rows(fires, table.start)

    def start(self, prompt: str) -> FittedRun:
        """Return the run of a fresh attempt."""
        return FittedRun(self, prompt)


class FittedRun:
    """A fitted policy along one attempt."""

    def __init__(self, policy: FittedPolicy, prompt: str) -> None:
        self._policy = policy
        self._watch = Watch(policy.file.schedule, policy.validators, prompt)

    @property
    def failures(self) -> Mapping[str, int]:
        """Validators that failed on this attempt, and how often."""
        return Counter(self._watch.failures)

    def feed(self, text: str, tokens: int = 0, logprobs: Sequence[float] = ()) -> Decision | None:
        """Take new text; return the first DISCARD it leads to, else the last CONTINUE, else None."""
        decision = None
        for checkpoint in self._watch.feed(text, tokens, logprobs):
            decision = self._policy.decide(checkpoint)
            if decision.action is not Action.CONTINUE:
                return decision
        return decision


def first_rows(fires: NDArray[np.bool_], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `[N]` the first row of each attempt where `fires` `[R]` is True, -1 if there is none.

    `start` `[N + 1]` are the row offsets of an evidence table.
    """
    rows = np.flatnonzero(fires)
    at = np.searchsorted(rows, start[:-1])
    found = np.append(rows, np.iinfo(np.int64).max)[at]
    result: NDArray[np.int64] = np.where(found < start[1:], found, -1)
    return result
