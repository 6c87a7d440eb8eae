"""A preview: the attempts at a few prompts, drawn by chance from those of a run, and what the whole run comes to."""

from collections.abc import Callable, Sequence

import msgspec

from msifr_integrations.generation.forecast import (
    Forecast,
    SpeedSeen,
    Sums,
    ToCome,
    by_prompt,
    forecast,
    in_flight,
)
from msifr_integrations.generation.goals import FEWEST_PROMPTS, spent_before
from msifr_integrations.generation.inputs import drawn
from msifr_integrations.generation.journal import Journal
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.progress import Progress
from msifr_integrations.generation.turns import Goal
from msifr_policy.errors import InputError
from msifr_policy.filters import Prompt
from msifr_policy.records.ledger import Entry
from msifr_sim.outcomes import CI_LEVEL


def previewed(prompts: Sequence[Prompt], count: int, seed: int) -> Sequence[int]:
    """Return the places of the prompts of a preview, as they are drawn. Raises `InputError` for too few."""
    if len(prompts) < FEWEST_PROMPTS:
        remedy = "run without a preview"
        raise InputError(f"there is nothing to foretell of {len(prompts)} prompts", where="preview", remedy=remedy)
    return drawn((prompt.prompt_id for prompt in prompts), count, seed, "preview")


def watching(seen: SpeedSeen, then: Callable[[Progress], None] | None) -> Callable[[Progress], None]:
    """Return what takes the progress of a run: it is seen, and passed on."""

    def take(progress: Progress) -> None:
        seen.see(progress.seconds, progress.tokens, progress.running, progress.slots)
        if then is not None:
            then(progress)

    return take


def foretell(
    journal: Journal,
    goal: Goal,
    prompts: int,
    shown: Sequence[Prompt],
    options: GenerateOptions,
    seen: SpeedSeen,
    say: Callable[[str], None],
) -> Forecast | msgspec.UnsetType:
    """Return what the run will come to, by the complete prompts among those `shown`; says why if that is not known.

    prompts: how many the run has. seen: how fast this session was; where it made nothing, the speed is that of all
    sessions.
    """
    complete = [prompt.prompt_id for prompt in shown if goal.met(journal.at(prompt.prompt_id))]
    if len(complete) < FEWEST_PROMPTS:
        say(f"{len(complete)} prompts of the preview are complete: they do not tell what the whole run will come to")
        return msgspec.UNSET
    ids = frozenset(complete)
    entries = [each for each in journal.accounts() if isinstance(each, Entry) and each.prompt_id in ids]
    totals = journal.totals()
    spent = spent_before(totals)
    open_ones = {at: n for at, n in journal.at_all(prompts).items() if not goal.met(at)}
    so_far = Sums(
        prompts=prompts - sum(open_ones.values()),
        attempts=totals.attempts,
        accepted=spent.accepted,
        tokens=spent.tokens,
        prompt_tokens=spent.prompt_tokens,
        seconds=totals.seconds,
    )
    begun = [entry for entry in entries if not (entry.skipped or entry.outcome == "failed")]
    told = [entry.prompt_tokens for entry in begun if entry.prompt_tokens]
    speed = seen.speed(spent.tokens, totals.seconds)
    under_way = in_flight(
        [entry.tokens for entry in begun], sum(told) / len(told) if told else 0.0, speed.slots or options.slots
    )
    to_come = ToCome(
        prompts=sum(n * (1 - at.attempts / goal.attempts) for at, n in open_ones.items()),
        attempts=sum(n * (goal.most(at) - at.attempts) for at, n in open_ones.items()),
        in_flight=under_way,
    )
    sample = by_prompt(entries, complete)
    return forecast(sample, so_far, to_come, options.goals, speed, level=CI_LEVEL)
