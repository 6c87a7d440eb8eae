"""What commands print under `--json`: one document each, whose JSON Schema is in the package (`msifr schema`).

Names and meanings are a contract with programs that read them. Fields may be added.
"""

from typing import Any, Literal

import msgspec

from msifr_integrations.cli.money import Money
from msifr_integrations.generation.result import Result
from msifr_policy.evidence.schedule import Schedule, Unit
from msifr_policy.evidence.table import Costing
from msifr_policy.policy_file import Certificate, LengthCap
from msifr_sim import Agreement, Summary


class ScoreDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `msifr score` prints: the size of the evidence table, and what the rules call DEAD in it."""

    n_attempts: int
    n_prompts: int
    n_accepted: int
    n_skipped: int
    unit: Unit
    costing: Costing
    schedule: Schedule
    columns: tuple[str, ...]
    validator_failures: dict[str, int]
    n_dead: int
    n_dead_by_validator: dict[str, int]


class PosteriorReport(msgspec.Struct, frozen=True, kw_only=True):
    """How beliefs were fitted, and how well they foresee outcomes of prompts they were not learned from.

    Losses are in nats per checkpoint: log_loss of the beliefs taken, base_loss of always saying the acceptance rate,
    tried: of every way of fitting that was tried.
    """

    method: str
    log_loss: float
    base_loss: float
    tried: dict[str, float]


class Savings(Summary, frozen=True, kw_only=True):
    """A summary, and `on` which prompts: "certification", which also chose the policy, or "holdout", which did not."""

    on: Literal["certification", "holdout"]


class FitDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `msifr fit` prints: the policy file it wrote, what was certified, and what it saves."""

    policy: str
    n_attempts: int
    n_prompts: int
    n_accepted: int
    n_skipped: int
    unit: Unit
    schedule: Schedule
    posterior: PosteriorReport
    thresholds: list[float]
    price: float | None
    length_cap: LengthCap
    certificate: Certificate
    savings: Savings | None


class FitTogetherDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `msifr fit --together` prints: by family its policy file, its certificate and what it saves."""

    policies: dict[str, str]
    certificates: dict[str, Certificate]
    savings: dict[str, Savings | None]


class EvaluateDocument(Summary, frozen=True, kw_only=True):
    """What `msifr evaluate` prints: the summary of the traces, replayed, and the certificate of the policy."""

    certificate: Certificate


class ReplayRates(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of the policy on the traces themselves."""

    n_attempts: int
    n_prompts: int
    saving_rate: float | None
    saving_rate_ci: tuple[float, float] | None
    false_reject_rate: float | None
    false_reject_rate_ci: tuple[float, float] | None
    net_cost_factor: float | None
    net_cost_factor_ci: tuple[float, float] | None


class SimulateDocument(Summary, frozen=True, kw_only=True):
    """What `msifr simulate` prints: the summary of the attempts that were drawn, and the same exactly.

    model: what they were drawn from. replay and certificate: only with POLICY and TRACES.
    """

    model: Literal["hazard", "chain over ranges of the worth"]
    exact: Agreement
    replay: ReplayRates | msgspec.UnsetType = msgspec.UNSET
    certificate: Certificate | None


class GenerateDocument(Result, frozen=True, kw_only=True):
    """What `msifr generate` prints: the account of the run over all its sessions, and with prices what it cost."""

    money: Money | msgspec.UnsetType = msgspec.UNSET


def document(kind: Any, *parts: Any, **more: Any) -> Any:
    """Return a document of a kind with the fields of records that have the same names, and with `more` besides."""
    fields: dict[str, Any] = {}
    for part in parts:
        fields |= {name: getattr(part, name) for name in part.__struct_fields__}
    return kind(**{name: value for name, value in (fields | more).items() if name in kind.__struct_fields__})
