"""The report on a policy that was fitted, certified and then run, beside the same run without it."""

from pathlib import Path

from msifr_calibration import Fit
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.paired import Paired
from msifr_integrations.report.given import read_run
from msifr_integrations.report.make import Material
from msifr_policy.evidence.table import EvidenceTable
from msifr_sim import Summary


def material_of_pair(
    fit: Fit,
    paired: Paired,
    *,
    full: Path,
    with_policy: Path,
    full_table: EvidenceTable,
    predicted: Summary,
    seed: int = 0,
) -> Material:
    """Return what the report is made of.

    paired: the outputs `full` and `with_policy`, compared. full_table: evidence on the former, by the policy's
    validators. predicted: what a replay of the attempts held out to certify on said before. Reads the ledger of the run
    with the policy, and raises `InputError` as `read_run`.
    """
    ledger = ledger_path(with_policy)
    return Material(
        made_of=[
            "policy.json, the policy",
            f"{with_policy.name}, the run with it",
            f"{full.name}, the same run without it",
            f"{ledger.name}, the ledger of the run",
        ],
        policy=fit.file,
        policy_name="policy.json",
        run=with_policy,
        ledger=read_run(ledger, fit.file),
        traces=[full],
        table=full_table,
        paired=paired,
        simulated=(predicted, f"{fit.certifying.n_attempts:,} attempts at the prompts it was certified on"),
        seed=seed,
    )
