"""`msifr plan`: how many samples a certificate takes, before any is collected."""

import click

from msifr_calibration.sample_size import ENOUGH_PROMPTS, PlanOptions, SamplePlan, plan_samples
from msifr_integrations.cli.console import emit, examples, explained, prose
from msifr_integrations.cli.options import gathered, json_option


@click.command(
    epilog=examples(
        "msifr plan",
        "msifr plan --max-false-reject 0.1 --confidence 0.95 --acceptance 0.3 --attempts-per-prompt 4",
    )
)
@gathered(
    PlanOptions,
    "options",
    max_false_reject="Largest share of good samples that may be lost.",
    confidence="Confidence of the certificate.",
    hoped_for={
        "type": float,
        "show_default": "two fifths of --max-false-reject",
        "help": "Share of good samples that the policy is hoped to lose really.",
    },
    power="Probability with which such a policy is to be certified.",
    acceptance="Share of the attempts that you expect to be accepted.",
    attempts_per_prompt="Attempts at each prompt.",
    correlation="Correlation of losses among good samples of one prompt; 0: independent, 1: one fate.",
    certify_share="Share of the prompts to certify on; the policy is fitted on the others.",
)
@json_option
def plan(options: PlanOptions, as_json: bool) -> None:
    """Say how many accepted samples, prompts and attempts a certificate takes, before collecting any."""
    found = plan_samples(options)
    prose(*plan_lines(options, found), explained("certificate", "confidence", "power", "accepted"), json=as_json)
    if as_json:
        emit(found)


def plan_lines(options: PlanOptions, found: SamplePlan) -> list[str]:
    """Return the plan in words."""
    m, power = options.attempts_per_prompt, _percent(options.power)
    least, *more = found.critical_numbers
    allowed = ", ".join(f"{n} ({losses} lost)" for losses, n in enumerate(more, 1))
    lines = [
        f"to certify that at most {_percent(options.max_false_reject)} of the good samples are discarded, with "
        f"confidence {options.confidence:g}: at least {least} accepted samples, none of them lost",
        f"more allow losses: {allowed}, …",
        f"if the policy really loses {_percent(options.hoped)}: {found.n_accepted} accepted samples, one per prompt, "
        f"certify it with probability {found.power:.1%} ({_up_to(found.losses_allowed)} of them may be lost), and "
        f"every larger number with {power} or more",
    ]
    if found.n_accepted_lucky < found.n_accepted:
        lines.append(
            f"  {found.n_accepted_lucky} reach {power} already, but some numbers above fall short of it: where a "
            "number allows no further loss, more samples only have more losses"
        )
    lines.append(
        f"where {_percent(options.acceptance)} of the attempts are accepted, {found.prompts_to_certify} prompts to "
        f"certify on bring about so many with probability {_percent(ENOUGH_PROMPTS)} or more"
    )
    if m > 1:
        lines.append(
            f"  one attempt of each is counted for that; if all {m} are, {_as_of(found.design_effect)}, and "
            f"{found.prompts_at_best} prompts are the fewest that could do"
        )
    lines.append(
        f"in all {found.prompts} prompts, {found.attempts} attempts: {_percent(options.certify_share)} of the prompts "
        "certify, on the others the policy is fitted"
    )
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.6g}%"


def _up_to(losses: int) -> str:
    return f"up to {losses}" if losses else "none"


def _as_of(design_effect: float) -> str:
    if design_effect == 1:
        return "each accepted one says as much as a prompt of its own"
    return f"{design_effect:.3g} accepted ones say as much as one at a prompt of its own"
