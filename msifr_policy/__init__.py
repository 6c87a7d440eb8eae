"""msifr_policy: the decision core of multi-stage in-flight rejection, and the records everyone shares.

The mathematics: finite stage processes (`process`, `hazard`, `gaussian`, `tree`; `belief`, `prices`), their exact
evaluation (`evaluate`), the optimum and the frontier (`optimum`, `quota`), what the martingale does and does not
promise (`martingale`), exact unbiasedness (`roulette`), and property tests for your own policies (`testing`). The
records: traces, schedules, validators, evidence, posteriors, policy files, the ledger. Everything here needs numpy and
scipy only.

The names below can be imported from here; each is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msifr_policy.errors import InputError, MsifrError
    from msifr_policy.evaluate import Evaluation, StagePolicy, never_discard
    from msifr_policy.evidence import EvidenceTable, build_evidence
    from msifr_policy.gaussian import GaussianModel, gaussian_process, sprt
    from msifr_policy.hazard import HazardModel, hazard_process, hazard_rates
    from msifr_policy.optimum import Optimum, frontier, keep_checkpoints, solve, solve_budget
    from msifr_policy.policy import NEVER_DISCARD, Action, Decision, Policy
    from msifr_policy.policy_file import Certificate, FittedPolicy, PolicyFile
    from msifr_policy.prices import Prices, charge_checkpoints
    from msifr_policy.process import StageProcess, markov_chain, mixture, prospects, random_lengths
    from msifr_policy.schedule import EveryUnits, Geometric, NewlineSteps
    from msifr_policy.traces import Trace, read_traces, write_traces
    from msifr_policy.validators import default_validators

__all__ = [
    "NEVER_DISCARD",
    "Action",
    "Certificate",
    "Decision",
    "Evaluation",
    "EveryUnits",
    "EvidenceTable",
    "FittedPolicy",
    "GaussianModel",
    "Geometric",
    "HazardModel",
    "InputError",
    "MsifrError",
    "NewlineSteps",
    "Optimum",
    "Policy",
    "PolicyFile",
    "Prices",
    "StagePolicy",
    "StageProcess",
    "Trace",
    "build_evidence",
    "charge_checkpoints",
    "default_validators",
    "frontier",
    "gaussian_process",
    "hazard_process",
    "hazard_rates",
    "keep_checkpoints",
    "markov_chain",
    "mixture",
    "never_discard",
    "prospects",
    "random_lengths",
    "read_traces",
    "solve",
    "solve_budget",
    "sprt",
    "write_traces",
]

_HOME = {
    "errors": ("InputError", "MsifrError"),
    "evaluate": ("Evaluation", "StagePolicy", "never_discard"),
    "evidence": ("EvidenceTable", "build_evidence"),
    "gaussian": ("GaussianModel", "gaussian_process", "sprt"),
    "hazard": ("HazardModel", "hazard_process", "hazard_rates"),
    "optimum": ("Optimum", "frontier", "keep_checkpoints", "solve", "solve_budget"),
    "policy": ("NEVER_DISCARD", "Action", "Decision", "Policy"),
    "policy_file": ("Certificate", "FittedPolicy", "PolicyFile"),
    "prices": ("Prices", "charge_checkpoints"),
    "process": ("StageProcess", "markov_chain", "mixture", "prospects", "random_lengths"),
    "schedule": ("EveryUnits", "Geometric", "NewlineSteps"),
    "traces": ("Trace", "read_traces", "write_traces"),
    "validators": ("default_validators",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
