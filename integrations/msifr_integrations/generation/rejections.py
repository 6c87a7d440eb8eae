"""What a run remembers of rejections, prompt by prompt, so that what is proven dead is not drawn again [T16].

Two things prove that a prefix of tokens is dead. An attempt that is over and that the final filter did not accept:
whoever samples its tokens ends where it ended, with its text, and is judged as it was. And a validator of which the
user says that its DEAD is certain: then the shortest prefix whose text it calls DEAD, whatever ended the attempt. That
a policy discards proves nothing: what it believes is no proof. Nor does a judgement that failed, or a forced answer.

Attempts at a prompt follow each other, so that each sees what came of all before it, and which these were depends on
neither slots nor interruptions; attempts at other prompts run beside them. A resume reads the dead prefixes of prompts
that are under way from the output.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from msifr_integrations.generation.journal import whole_lines
from msifr_integrations.generation.live import Live, Task
from msifr_integrations.generation.turns import Goal, Portion
from msifr_policy.dead_prefixes import DeadPrefix, DeadPrefixes
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.watch import Watch
from msifr_policy.filters import Judgement, Prompt
from msifr_policy.records.ledger import AtPrompt, Entry, Session, Steer
from msifr_policy.validators import Validator, Verdict, parameters_of

UNCERTAIN = "rejection memory: "
"""What the ledger's name of a failure begins with if a validator called DEAD what the final filter accepted."""


class RejectionMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's memory of rejections came to.

    mass: the mean over the attempts made of the share of attempts that was proven dead when each began. Of attempts
    that a run without memory would have drawn until it had these: attempts_avoided on what was proven dead, and the
    tokens that they would have taken until they were dead, tokens_avoided; in expectation.
    """

    mass: float
    attempts_avoided: float
    tokens_avoided: float


def memory_report(accounts: Iterable[Entry | Session | Steer]) -> RejectionMemory:
    """Return what the memory came to by the ledger."""
    made, mass, attempts, tokens = 0, 0.0, 0.0, 0.0
    for entry in accounts:
        if isinstance(entry, Entry) and not entry.skipped and entry.outcome != "failed":
            made += 1
            if entry.avoided is not None:
                mass += entry.avoided.mass
                attempts += entry.avoided.attempts
                tokens += entry.avoided.tokens
    return RejectionMemory(mass=mass / made if made else 0.0, attempts_avoided=attempts, tokens_avoided=tokens)


class Learned(NamedTuple):
    """What is learned of an attempt: what is remembered of it, None if nothing is, and failures for the ledger.

    These are of validators that raised, and of those that called an accepted attempt DEAD, which are not certain then.
    """

    dead: DeadPrefix | None
    failures: Counter[str]


class Rejections:
    """The memory of a run: of the prompts under way, what is proven dead.

    certain: validators whose DEAD is a proof. known: by prompt id what earlier sessions proved, in their order; it is
    handed on to each prompt when it is begun. Memory: that of `DeadPrefixes`, for each prompt under way.
    """

    def __init__(self, certain: Sequence[Validator], known: dict[str, list[DeadPrefix]]) -> None:
        self._certain = certain
        self._known = known
        self._at: dict[int, DeadPrefixes] = {}  # by the place of the prompt

    def told(self, task: Callable[[int, int, AtPrompt | None], Task]) -> Callable[[int, int, AtPrompt | None], Task]:
        """Return what makes attempts as `task` does, each with what is proven dead at its prompt."""

        def made(which: int, number: int, _: AtPrompt | None) -> Task:
            plain = task(which, number, None)
            memory = self._at.get(which)
            if memory is None:
                memory = self._at[which] = DeadPrefixes()
                for dead in self._known.pop(plain.prompt.prompt_id, ()):
                    _add(memory, dead)
            return plain._replace(attempt=replace(plain.attempt, memory=memory))

        return made

    def forget(self, portion: Portion) -> None:
        """Forget a prompt whose attempts are all over."""
        self._at.pop(portion.place, None)

    def learn(self, task: Task, live: Live, judgement: Judgement | None) -> Learned:
        """Take an attempt that is over."""
        called, failures = self._called_dead(task.prompt, live)
        if judgement is not None and judgement.accepted:
            return Learned(None, failures + Counter(UNCERTAIN + name for name in called))
        proof = self._proof(called, live, judgement)
        if proof is None or task.attempt.memory is None:
            return Learned(None, failures)
        dead = DeadPrefix(live.token_ids[:proof], live.sampled_logprobs[:proof])
        return Learned(dead if _add(task.attempt.memory, dead) else None, failures)

    def _proof(self, called: Mapping[str, int], live: Live, judgement: Judgement | None) -> int | None:
        """Return how many of the attempt's tokens are proven dead, None if they are not."""
        if live.exited is not None:
            return None
        if called:
            return min(called.values())
        rejected = judgement is not None and not judgement.accepted and not judgement.failure
        return live.tokens - live.wasted if rejected else None

    def _called_dead(self, prompt: Prompt, live: Live) -> tuple[dict[str, int], Counter[str]]:
        """Return at which token, 1, 2, …, each validator of those that are certain first calls the attempt DEAD.

        And their failures, by `name: error type`.
        """
        found: dict[str, int] = {}
        if not self._certain:
            return found, Counter()
        ends = live.token_ends[: live.tokens - live.wasted]
        each = EveryUnits(1, "tokens", max_checkpoints=len(ends) + 1)
        watch = Watch(each, self._certain, prompt.prompt, parameters_of(prompt))
        text = live.text
        for start, end in pairwise([0, *ends]):
            for checkpoint in watch.feed(text[start:end], 1):
                for validator, verdict in zip(self._certain, checkpoint.verdicts, strict=True):
                    if verdict == Verdict.DEAD:
                        found.setdefault(validator.name, checkpoint.k)
        return found, watch.failures


def _add(memory: DeadPrefixes, dead: DeadPrefix) -> bool:
    return memory.add(dead.token_ids, [math.exp(logprob) for logprob in dead.logprobs])


class _Remembered(msgspec.Struct):
    """What is read of a line of the output to go on remembering."""

    prompt_id: str
    dead: DeadPrefix | None = None


def remembered(out: str | os.PathLike[str], at: Callable[[str], AtPrompt], goal: Goal) -> dict[str, list[DeadPrefix]]:
    """Return what an output tells of dead prefixes at the prompts to which more attempts are to come, by prompt id."""
    known: dict[str, list[DeadPrefix]] = {}
    for line in whole_lines(Path(out)):
        record = msgspec.json.decode(line, type=_Remembered)
        if record.dead is not None and not goal.met(at(record.prompt_id)):
            known.setdefault(record.prompt_id, []).append(record.dead)
    return known
