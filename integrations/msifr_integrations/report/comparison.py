"""What a report shows of a policy and of a run with it beside the same run without."""

import numpy as np

from msifr_calibration import Fit
from msifr_integrations.report.page import Figure, Table
from msifr_integrations.report.plots import frontier_plot, reliability_plot, simulated_plot, stops_plot
from msifr_policy.policy_file import Certificate
from msifr_sim import Outcomes, Summary


def comparison_figures(
    fit: Fit, predicted: Summary, realised: Summary, outcomes: Outcomes, *, checkpoints: str
) -> list[Figure]:
    """Return four figures of the policy of `fit`: its path, where it stops, its posterior, and what came true.

    predicted: by replay of held-out attempts, before the run; realised: of `outcomes`, those of the two runs.
    checkpoints: says in words where they are.
    """
    certificate, held_out = fit.file.certificate, fit.certifying
    reasons = np.asarray(outcomes.reason)
    stops = {name: np.bincount(outcomes.stop_k[reasons == name]) for name in realised.discards_by_reason}
    M, _ = fit.file.policy().worth(held_out)
    middle = held_out.start[:-1] + (np.diff(held_out.start) - 1) // 2
    usable = held_out.is_checkpoint[middle]
    return [
        Figure(
            "Savings against false rejects",
            frontier_plot(
                fit.file.frontier,
                chosen=_point(predicted) if certificate.certified else None,
                realised=_point(realised),
                max_false_reject=certificate.max_false_reject,
            ),
            "Every point is a policy of the path. Above the dashed line a policy makes accepted samples cheaper; "
            "left of the dotted line lies the budget that was certified.",
        ),
        Figure(
            "Where attempts stop, and why",
            stops_plot(stops),
            f"Discards on fresh prompts by checkpoint ({checkpoints}) and by the validator that "
            "spoke most against the attempt.",
        ),
        Figure(
            "Reliability of the posterior",
            reliability_plot(M[middle[usable]], held_out.accepted[usable]),
            "The posterior half way through each attempt on held-out prompts, against the share accepted in the end.",
        ),
        Figure(
            "Simulated against realised",
            simulated_plot(predicted, realised),
            "Predicted from held-out attempts before the run, and measured on fresh prompts. 95 % intervals, "
            "bootstrap by prompt.",
        ),
    ]


def groups_table(certificate: Certificate) -> Table:
    """Return what was lost of each group of prompts, on those held out to certify on."""
    return Table(
        "Good samples lost, by group",
        ("group", "accepted (held out)", "lost", f"upper bound at {certificate.confidence:.0%}"),
        [(g, str(b.n_accepted), str(b.false_rejects), f"{b.upper:.1%}") for g, b in certificate.groups.items()],
    )


def _point(summary: Summary) -> tuple[float, float]:
    return summary.false_reject_rate or 0.0, summary.saving_rate or 0.0
