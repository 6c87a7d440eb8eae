"""What a run came to: its result, beside the run it is compared with, and what is said aloud of it."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from msifr_integrations.generation.autopilot import AutopilotReport
from msifr_integrations.generation.forecast import Forecast
from msifr_integrations.generation.found import missing, places
from msifr_integrations.generation.goals import GoalsReport
from msifr_integrations.generation.journal import FILTER_FAILURE, ledger_path, other_content
from msifr_integrations.generation.paired import pair_runs
from msifr_integrations.generation.rejections import UNCERTAIN, RejectionMemory
from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Header, RunningTotals, Totals, scan_ledger
from msifr_sim import Summary, summarise

_OF_POLICY = "policy", "audit", "audit_by", "block"
"""Settings in which runs that are compared may differ."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to, over all its sessions.

    `skipped` of the discarded attempts were discarded at checkpoint 0, before the first token: they were never made.
    `exited` of the others ended by a forced answer, and are accepted or not by that.
    `tokens` are those of its attempts, of which `tokens_wasted_after_decision` came when they were over;
    `tokens_beside` were spent besides: by probes, broken tries, attempts in flight at an interrupt, and a server that
    goes on for a moment. `tokens_per_accepted` is None when nothing was accepted. `tokens_saved_estimate` are those
    that discarded attempts were expected still to take, by the policy's cost to go; None if it does not say.
    `prompt_tokens` are those of the prompts of `prompts_counted` attempts: some engines do not tell them.
    `prompt_tokens_beside` are those of attempts in flight at an interrupt, or when a goal was reached. `seconds` is
    wall time from the first step on, without loading the model; `cpu_seconds` is the processor time of this process in
    it (that of a server, or of vLLM's own processes, is not). `audited` attempts were finished although the policy
    would have discarded them; by their weights the accepted ones tell as much as `n_effective` of equal weight
    (Kish's (ΣW)²/ΣW²).

    Only with a quota: `prompts_filled` have it, `prompts_given_up` have not, and their last attempts were discarded at
    checkpoint 0, and `prompts_exhausted` have not although all their attempts were made.

    Only with goals of the whole run: `goals`, what was asked for and what was reached. Only in a preview: `forecast`,
    what the whole run will come to.

    Only with an autopilot: `autopilot`, how far it came, and the policy that it leaves.

    Only with a memory of rejections: `rejection_memory`, what it came to.

    Only in a comparison: `conversion_efficiency` is (1 − time/time_full) / (1 − tokens/tokens_full), by the wall, and
    `conversion_efficiency_cpu` the same in processor time; None when both runs sampled equally many tokens.
    `survivors` were not discarded, and `survivors_changed` of them have another text than in the run without a policy.
    `compared` is what the policy saved and lost, measured beside that run, prompts weighing equally.
    """

    attempts: int
    accepted: int
    discarded: int
    skipped: int
    exited: int
    failed: int
    tokens: int
    tokens_wasted_after_decision: int
    tokens_beside: int
    tokens_per_accepted: float | None
    tokens_saved_estimate: int | None
    prompt_tokens: int
    prompt_tokens_beside: int
    prompts_counted: int
    seconds: float
    cpu_seconds: float
    audited: int
    n_effective: float
    prompts_filled: int | msgspec.UnsetType = msgspec.UNSET
    prompts_given_up: int | msgspec.UnsetType = msgspec.UNSET
    prompts_exhausted: int | msgspec.UnsetType = msgspec.UNSET
    goals: GoalsReport | msgspec.UnsetType = msgspec.UNSET
    forecast: Forecast | msgspec.UnsetType = msgspec.UNSET
    autopilot: AutopilotReport | msgspec.UnsetType = msgspec.UNSET
    rejection_memory: RejectionMemory | msgspec.UnsetType = msgspec.UNSET
    conversion_efficiency: float | msgspec.UnsetType | None = msgspec.UNSET
    conversion_efficiency_cpu: float | msgspec.UnsetType | None = msgspec.UNSET
    survivors: int | msgspec.UnsetType = msgspec.UNSET
    survivors_changed: int | msgspec.UnsetType = msgspec.UNSET
    compared: Summary | msgspec.UnsetType = msgspec.UNSET


def result_of(
    totals: Totals,
    full: Totals | None,
    compare: str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    with_policy: bool,
) -> Result:
    """Return what a run came to by its totals; beside the `full` one, `compare`, if there is one."""
    result = Result(
        attempts=totals.attempts,
        accepted=totals.accepted,
        discarded=totals.discarded,
        skipped=totals.skipped,
        exited=totals.exited,
        failed=totals.failed,
        tokens=totals.tokens,
        tokens_wasted_after_decision=totals.tokens_wasted_after_decision,
        tokens_beside=totals.tokens_beside,
        tokens_per_accepted=totals.tokens / totals.accepted if totals.accepted else None,
        tokens_saved_estimate=totals.tokens_ahead,
        prompt_tokens=totals.prompt_tokens,
        prompt_tokens_beside=totals.prompt_tokens_beside,
        prompts_counted=totals.prompts_counted,
        seconds=totals.seconds,
        cpu_seconds=totals.cpu_seconds,
        audited=totals.audited,
        n_effective=totals.effective,
    )
    if full is None or compare is None:
        return result
    paired = pair_runs(*((compare, out) if with_policy else (out, compare)))
    some, whole = (totals, full) if with_policy else (full, totals)
    return msgspec.structs.replace(
        result,
        conversion_efficiency=conversion_efficiency(some, whole),
        conversion_efficiency_cpu=conversion_efficiency(some, whole, cpu=True),
        survivors=paired.survivors,
        survivors_changed=paired.changed,
        compared=summarise(paired.outcomes),
    )


def conversion_efficiency(with_policy: Totals, full: Totals, *, cpu: bool = False) -> float | None:
    """Return the share of the token saving that became a saving of wall time, or of processor time.

    None if no token was saved or added, or no such time was recorded.
    """
    time, time_full = (each.cpu_seconds if cpu else each.seconds for each in (with_policy, full))
    if with_policy.tokens == full.tokens or full.tokens == 0 or time_full == 0:
        return None
    return (1 - time / time_full) / (1 - with_policy.tokens / full.tokens)


def reference(path: str | os.PathLike[str] | None, settings: Mapping[str, Any], expected: int) -> Totals | None:
    """Return the totals of the run to compare with, if any; raises `InputError` if the two are not comparable."""
    if path is None:
        return None

    def refused(what: str, remedy: str) -> InputError:
        return InputError(what, where=os.fspath(path), remedy=remedy)

    header, running = dict[str, Any](), RunningTotals()
    for record, _ in scan_ledger(ledger_path(path)):
        if isinstance(record, Header):
            header = record.settings
        else:
            running.add(record)
    totals = running.totals
    for name, value in settings.items():
        other = header.get(name)
        if name not in (*_OF_POLICY, "filter", "logprobs", "record_exits") and other != value:
            remedy = "compare runs that differ in their policy alone"
            told = other_content(name, header, settings)
            raise refused(f"has {told or f'{name} = {other!r}, this run {value!r}'}", remedy)
    policy, other = settings["policy"], header.get("policy")
    if [policy, other].count("none") != 1:
        remedy = "one of the two must be the run without a policy, which shows the full cost"
        raise refused("has no policy either" if policy == other == "none" else "was made under a policy, too", remedy)
    if totals.attempts != expected:
        raise refused(f"is not finished: {totals.attempts} of {expected} attempts", "resume it first")
    return totals


def remark(totals: Totals, policy: str, filter_name: str, say: Callable[[str], None]) -> None:
    """Say aloud what a table of numbers would hide."""
    if policy not in ("none", "autopilot") and totals.discarded == 0:  # an autopilot says itself why it has not
        say(f"the policy never discarded any of {totals.attempts} attempts: this run saved nothing")
    meanings = {
        "": "failures that counted as no evidence",
        FILTER_FAILURE: "attempts that the final filter could not judge, and that were therefore not accepted",
        UNCERTAIN: "accepted attempts that were called DEAD by validators that the rejection memory took for certain, "
        "so that what is accepted is not distributed as it would be without",
    }
    failed: dict[str, list[str]] = {}
    for name, n in totals.failures.items():
        kind = next((start for start in (FILTER_FAILURE, UNCERTAIN) if name.startswith(start)), "")
        failed.setdefault(kind, []).append(f"{name.removeprefix(kind)} ({n}×)")
    for kind, meaning in meanings.items():
        if kind in failed:
            say(f"{meaning}: {', '.join(failed[kind])}")
    found = {place: spent.attempts for place, spent in totals.by_found.items()}
    if found:
        say(f"answers were found {places(found)}")
    if (remark := missing(found, totals.cut_unanswered, filter_name)) is not None:
        say(f"of {sum(found.values())} finished attempts {remark}")
    if totals.tokens_wasted_after_decision:
        say(f"{totals.tokens_wasted_after_decision} tokens arrived after their attempt was over")
    if totals.failed:
        say(f"{totals.failed} of {totals.attempts} attempts could not be made; the output says why (status: failed)")
    if totals.accepted == 0:
        say(f"none of {totals.attempts} attempts was accepted")
