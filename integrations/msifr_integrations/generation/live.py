"""One attempt while it is generated: its text so far, what ends it, and the policy that watches it.

Every token goes to the policy with the piece of text it completes, but for a last one that completes none (end of
sequence): the attempt is over then. A decision to stop counts whenever it falls. A replay that feeds
`text[token_ends[i - 1]:token_ends[i]]` with one token each, by the same rule, sees what the policy saw, so it decides
the same at the same checkpoints. That is why text which may be the beginning of a stop string is held back.

Before the first token, and before the attempt is given to an engine at all, the policy is asked at checkpoint 0, if it
has one: whoever is discarded there is over from the beginning.

Where discards are audited, one that the attempt's own draw lets pass is noted, and from then on no decision is obeyed.

**Fail open.** A policy that raises, or that discards on a posterior that is no number, is not asked again on this
attempt: the attempt runs to its end, and the failure is counted.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

from msifr_integrations.engine.base import Attempt, Event, Finish
from msifr_integrations.generation.text import Pieces, Stops
from msifr_policy.audit import Audit, Audited, audit_draw
from msifr_policy.errors import InputError
from msifr_policy.evidence.exits import ExitPlan
from msifr_policy.filters import Prompt
from msifr_policy.policy import Action, Decision, Policy, PolicyRun
from msifr_policy.records.exits import Exits
from msifr_policy.records.ledger import AtPrompt
from msifr_policy.validators import History, parameters_of


class Task(NamedTuple):
    """An attempt to be made, at which prompt, and what came of the attempts before it if the policy reads that.

    Of a run that is steered: the policy for this attempt, how its would-be discards are audited, its level on a path,
    and the place of the prompt in the run. Without a policy of its own it has what the run has for all.
    """

    prompt: Prompt
    attempt: Attempt
    history: AtPrompt | None = None
    policy: Policy | None = None
    audit: Audit | None = None
    level: int | None = None
    place: int | None = None


class Ends(NamedTuple):
    """What ends an attempt beside the engine, asked of each new piece of its text.

    stops: the stop strings. judged: takes new text and returns where (in characters) what the final filter judges ends,
    once that is certain, else None; None if nobody knows.
    """

    stops: Stops | None = None
    judged: Callable[[str], int | None] | None = None


class Point(NamedTuple):
    """A place in an attempt: checkpoint `k`, with so many `tokens` sampled and `position` characters of text."""

    k: int
    tokens: int
    position: int


class Live:
    """State of one attempt.

    token_ends, logprobs: one entry per sampled token, as in a trace; token_ids: those of the attempt, −1 where the
    engine does not tell them; sampled_logprobs: by the distribution that each was drawn from.
    text: so far, without characters whose last byte has not come, and without a stop string.
    wasted: tokens sampled after it was over for us.
    prompt_tokens: of its prompt, as a server counts them; 0 where it does not tell.
    finish: how the attempt ended by itself, "" if it has not.
    decision: the decision to discard it, None if there is none.
    audited: the discard that it was spared, since discards are audited by `audit` and the draw of its key said so.
    exited: where the policy has it exit, None if it does not; may_exit: whether answers can be forced in this run.
    points: where its answer is forced, at `exited`, or in shadow at the checkpoints of the plan `shadow`.
    read: tokens that were read to force its answer where it exited. exits: answers that were forced in shadow.

    Raises `InputError` if the policy asks for an early exit at checkpoint 0, or where it cannot be.
    """

    def __init__(
        self,
        prompt: Prompt,
        policy: Policy,
        tokenizer: Any,
        ends: Ends | None = None,
        history: AtPrompt | None = None,
        *,
        audit: Audit | None = None,
        key: bytes = b"",
        may_exit: bool = False,
        shadow: ExitPlan | None = None,
    ) -> None:
        self.token_ids: list[int] = []
        self.token_ends: list[int] = []
        self.logprobs: list[float] = []
        self.states: list[tuple[float, ...]] = []
        self.sampled_logprobs: list[float] = []
        self.wasted = 0
        self.prompt_tokens = 0
        self.finish: Finish = ""
        self.decision: Decision | None = None
        self.audited: Audited | None = None
        self.exited: Decision | None = None
        self.points: list[Point] = []
        self.read = 0
        self.exits: Exits | None = None
        self._may_exit = may_exit
        self._shadow = shadow
        self._clock = None if shadow is None else shadow.schedule.start()
        self._k = 0  # checkpoints of the shadow
        self._audit = audit
        self._key = key
        self._text: list[str] = []
        self._length = 0
        self._checkpoints: list[tuple[int, int]] = []  # k and the tokens sampled until then
        self._pieces = Pieces(tokenizer)
        self._ends = ends
        self._failures: Counter[str] = Counter()
        self._run: PolicyRun | None = None
        self._asked = True
        first: Decision | None = None
        try:
            self._run = _begin(policy, prompt, history)
            first = getattr(self._run, "begin", _no_checkpoint)()
        except Exception as error:  # fail open
            self._fail(type(error).__name__)
        if first is not None:
            self._obey(first._replace(k=0, position=0, tokens=0), f"an attempt at prompt {prompt.prompt_id!r}")

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    @property
    def tokens(self) -> int:
        """Tokens sampled."""
        return len(self.token_ends)

    @property
    def skipped(self) -> bool:
        """Whether it is discarded at checkpoint 0, and never made."""
        return self.decision is not None and self.decision.k == 0 and not self._checkpoints

    @property
    def over(self) -> bool:
        """Whether no further token of it is wanted."""
        return bool(self.finish) or self.decision is not None or self.exited is not None

    @property
    def stages(self) -> tuple[int, ...]:
        """Tokens sampled in stage 1, 2, …; they sum to `tokens`.

        An attempt that ended by itself has one stage more than it passed checkpoints, though perhaps of 0 tokens; the
        last of one that exited is its forced answer.
        """
        stages: list[int] = []
        before = 0
        for k, tokens in self._checkpoints:
            stages += [0] * (k - 1 - len(stages))  # checkpoints that the same token passed
            stages.append(tokens - before)
            before = tokens
        over = self.finish and self.decision is None
        return (*stages, self.tokens - before) if over or self.tokens > before else tuple(stages)

    @property
    def failures(self) -> Mapping[str, int]:
        """Failures of validators, and of the policy itself, by `name: error type`."""
        return self._failures + Counter({} if self._run is None else dict(self._run.failures))

    @property
    def watched(self) -> dict[str, Any]:
        """What the ledger keeps of it in a run that is watched, by the field of `Entry`."""
        first = getattr(self._run, "first", None)
        if self._audit is None and first is None:
            return {}
        told = getattr(self._run, "posteriors", ())
        sound = self._asked and not any(map(math.isnan, told))
        return {
            "audited": self.audited,
            "posteriors": tuple(round(M, 5) for M in told) if sound else (),
            "first": first,
            "bins": getattr(self._run, "bins", ""),
        }

    @property
    def forced(self) -> dict[str, int]:
        """What the ledger keeps of forced answers, by the field of `Entry`."""
        if self.exited is not None:
            return {"exited": self.exited.k}
        if self.exits is None:
            return {}
        answers = self.exits.answers
        return {"forced": sum(a.tokens for a in answers), "forced_prompts": sum(a.prompt_tokens for a in answers)}

    def take(self, event: Event) -> bool:
        """Take a sampled token, or the news that there is none; return whether the attempt must be stopped now.

        Raises `InputError` if the policy asks for an early exit where it cannot be.
        """
        self.prompt_tokens = event.prompt_tokens or self.prompt_tokens
        if self.over:
            self.wasted += event.tokens
            self._count(event)
            return False
        piece = self._pieces.push(event.token, last=bool(event.finish)) if event.text is None else event.text
        self.finish = event.finish
        if self._ends is not None:
            piece = self._up_to_its_end(piece, self._ends)
        self._text.append(piece)
        self._length += len(piece)
        self._count(event)
        if self._clock is not None:
            self._note_points(piece, event)
        decision = self._ask(piece, event)
        if decision is not None:
            self._checkpoints.append((decision.k, self.tokens))
            self._obey(decision, f"attempt {event.id!r}")
        return self.over and not event.finish

    def _obey(self, decision: Decision, where: str) -> None:
        if decision.action is Action.CONTINUE or self.audited is not None:
            return
        if decision.action is Action.EXIT and not (self._may_exit and decision.k):
            raise InputError(
                f"the policy asks for an early exit at checkpoint {decision.k}",
                where=where,
                remedy="say how answers are asked for, by its exit_plan; or use one that continues or discards",
            )
        if math.isnan(decision.posterior):
            self._fail("posterior is not a number")
        elif decision.action is Action.EXIT:
            if not self.finish:  # what has ended has given its answer
                self.exited = decision
                self.points = [Point(decision.k, self.tokens, self._length)]
        elif not self._spared(decision):
            self.decision = decision

    def _note_points(self, piece: str, event: Event) -> None:
        """Note where answers are to be forced in shadow: at checkpoints of the plan that are not its end."""
        if self._clock is None or self._shadow is None or (self.finish and not piece):
            return
        for _ in self._clock.feed(piece, event.tokens):
            self._k += 1
            if self._shadow.is_at(self._k) and not self.finish:
                self.points.append(Point(self._k, self.tokens, self._length))

    def answered(self, asked: str, text: str, ends: Sequence[int], logprobs: Sequence[float]) -> None:
        """Take the answer that was forced where it exited, and end there: what `asked` for it, and its tokens."""
        behind = self._length + len(asked)
        self._text += [asked, text]
        self._length = behind + len(text)
        self.token_ends += [behind + end for end in ends]
        self.logprobs += logprobs
        self.finish = "exit"

    def _spared(self, decision: Decision) -> bool:
        """Return whether a would-be discard is audited, and note it."""
        probability = 0.0 if self._audit is None else self._audit.probability(decision.posterior)
        if audit_draw(self._key) >= probability:
            return False
        self.audited = Audited(probability, decision.k, decision.posterior, decision.reason)
        return True

    def _up_to_its_end(self, piece: str, ends: Ends) -> str:
        """Return what of a piece belongs to the attempt, and note whether that ends it."""
        if ends.stops is not None:
            piece, stopped = ends.stops.push(piece, last=bool(self.finish))
            self.finish = "stop" if stopped else self.finish
        if ends.judged is None or not piece:
            return piece
        try:
            end = ends.judged(piece)
        except Exception as error:  # fail open: the attempt goes on to its own end
            self._failures[f"reader of the final filter: {type(error).__name__}"] += 1
            self._ends = ends._replace(judged=None)
            return piece
        if end is None:
            return piece
        self.finish = self.finish or "decided"
        return piece[: max(end - self._length, 0)]

    def _count(self, event: Event) -> None:
        if event.tokens:
            self.token_ends.append(self._length)
            self.token_ids.append(event.token)
            self.logprobs.append(event.logprob)
            if event.state:
                self.states.append(event.state)
            self.sampled_logprobs.append(event.sampled_logprob)
        elif self.token_ends:  # text that was held back belongs to the last token
            self.token_ends[-1] = self._length

    def _ask(self, piece: str, event: Event) -> Decision | None:
        if self._run is None or not self._asked or (self.finish and not piece):
            return None
        try:
            logprobs = (event.logprob,) if event.tokens else ()
            if event.state:  # only in a run whose policy reads them
                reading: Any = self._run
                decision: Decision | None = reading.feed(piece, event.tokens, logprobs, (event.state,))
                return decision
            return self._run.feed(piece, event.tokens, logprobs)
        except Exception as error:  # fail open, see the module docstring
            self._fail(type(error).__name__)
            return None

    def _fail(self, what: str) -> None:
        self._failures[f"policy: {what}"] += 1
        self._asked = False


def _no_checkpoint() -> None:
    """Stand in for `begin` of a policy's run that has none."""


def _begin(policy: Policy, prompt: Prompt, history: AtPrompt | None) -> PolicyRun:
    """Start the policy, with what prompt and history give to validators if it takes that: a simple one reads texts."""
    parameters = parameters_of(prompt)
    if history is not None:
        counts = {"accepted": history.accepted, "rejected": history.rejected}
        parameters = {**parameters, History.name: counts}
    if parameters and len(signature(policy.start).parameters) > 1:
        return policy.start(prompt.prompt, parameters)
    return policy.start(prompt.prompt)
