"""How a summary is said: every number with its interval and its meaning, and the certificate beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import UnsetType

from msifr_integrations.cli.console import explained, prose
from msifr_integrations.report.said import broken_promise, certified_on
from msifr_policy.policy_file import PolicyFile

if TYPE_CHECKING:
    from msifr_sim import DifficultyGroup, Summary


def _percent(value: float | None, ci: tuple[float, float] | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.1%}" + (f" [{ci[0]:.1%}, {ci[1]:.1%}]" if ci else "")


def _factor(value: float | None, ci: tuple[float, float] | None = None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" + (f" [{ci[0]:.3f}, {ci[1]:.3f}]" if ci else "")


def rates_line(summary: Summary) -> str:
    """Return the three rates with their intervals, for where they stand beside others."""
    return (
        f"s = {_percent(summary.saving_rate, summary.saving_rate_ci)}, "
        f"f = {_percent(summary.false_reject_rate, summary.false_reject_rate_ci)}, "
        f"net cost factor = {_factor(summary.net_cost_factor, summary.net_cost_factor_ci)}"
    )


def summary_lines(summary: Summary, *, capped: bool = True) -> list[str]:
    """Return the lines of a summary; not `capped`: no length cap is known to compare with."""
    none = "none" if isinstance(summary.n_exited, int) else "none, the policy never fired"
    reasons = ", ".join(f"{name} {n}" for name, n in summary.discards_by_reason.items())
    cap = (
        f"plain length cap     = {_factor(summary.length_cap_factor)}: the same factor of stopping every attempt at "
        "one length instead, the best one that loses no more than is allowed"
    )
    fewest, most = summary.attempts_per_prompt
    equally = f", {summary.weigh} weighing equally" if fewest < most else ""
    as_of = (
        "" if summary.n_effective is None else f"; that of f exact, as of {summary.n_effective:.0f} independent samples"
    )
    return [
        f"{summary.n_attempts} attempts at {summary.n_prompts} prompts, {summary.n_accepted} accepted (good)",
        f"saving rate        s = {_percent(summary.saving_rate, summary.saving_rate_ci)}: "
        f"share of all {summary.unit} that is not spent, because attempts are stopped early",
        f"false-reject rate  f = {_percent(summary.false_reject_rate, summary.false_reject_rate_ci)}: "
        f"share of the good samples that is lost by it{equally}",
        f"net cost factor      = {_factor(summary.net_cost_factor, summary.net_cost_factor_ci)}: "
        "what an accepted sample costs with the policy, over what it costs without; it pays below 1",
        *([cap] if capped else []),
        f"accepted cost share  = {_factor(summary.accepted_cost_share)}: the same factor if exactly the attempts that "
        "are not accepted never began; no policy without losses gets below",
        f"([in brackets]: {summary.ci_level:.0%} intervals, by resampling prompts{as_of})",
        f"discarded, by what spoke most against them: {reasons or none}",
        *_exit_lines(summary),
        *_difficulty_lines(summary.by_difficulty),
    ]


def _exit_lines(summary: Summary) -> list[str]:
    if isinstance(summary.n_exited, UnsetType):
        return []
    return [
        f"exited with a forced answer: {summary.n_exited}; {summary.n_gained} of them are accepted by it and would not "
        "have been at their end, and good ones whose forced answer is not accepted are lost and count in f"
    ]


def _difficulty_lines(groups: Sequence[DifficultyGroup]) -> list[str]:
    if len(groups) < 2:
        return []
    told = "; ".join(
        f"{one.name} ({one.range_in_words}) {_percent(one.false_reject_rate, one.false_reject_rate_ci)}"
        for one in groups
    )
    share = "share of attempts accepted" if groups[0].observed else "share accepted, as believed before the first token"
    return [f"f by difficulty of the prompt, a third of the good samples each ({share}): {told}"]


def certificate_lines(file: PolicyFile, summary: Summary) -> list[str]:
    """Return the certificate, and where these numbers contradict it, that they do."""
    certificate = file.certificate
    if not certificate.certified:
        return [certificate.message]
    on = f"on {certified_on(certificate)}"
    broken = broken_promise(certificate, summary)
    return [f"certified {on}, but {broken}" if broken else f"certified {on}: {certificate.message}"]


def say_summary(summary: Summary, file: PolicyFile | None, *, as_json: bool) -> None:
    """Print a summary for people, with the certificate."""
    prose(
        *summary_lines(summary, capped=file is not None),
        *(certificate_lines(file, summary) if file else []),
        explained("s", "f", "factor", *(["certificate"] if file else [])),
        json=as_json,
    )
