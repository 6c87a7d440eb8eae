"""Watching one attempt: schedule and validators together give a row of evidence at each checkpoint.

The one code path from text to evidence. Replaying a trace and running in flight both feed a `Watch`,
so what was certified is what runs. Pieces are kept until a checkpoint needs them and then fed
joined, so a validator sees each character once. A prompt may bring parameters of its own for some of the
validators; the columns are the same for all prompts.

**Fail open.** A validator that raises, or returns a wrong number of scores, is UNKNOWN for the
rest of the attempt: its scores are NaN, and the failure is counted. It never discards. The same holds for one
that the prompt's parameters do not fit.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Schedule
from msifr_policy.policy import NO_PARAMETERS, Parameters
from msifr_policy.validators.base import Evidence, Tokens, Validator, ValidatorState, Verdict
from msifr_policy.validators.parameters import for_prompt


class Checkpoint(NamedTuple):
    """Evidence at checkpoint `k` (0, 1, …): text[:position] characters and `tokens` tokens were seen.

    `row` has one value per name in `column_names(validators)`; NaN means not known. `verdicts` has one
    per validator.
    """

    k: int
    position: int
    tokens: int
    row: tuple[float, ...]
    verdicts: tuple[Verdict, ...]


def column_names(validators: Sequence[Validator]) -> tuple[str, ...]:
    """Return the evidence columns of `validators`, as `name.score`.

    Raises `InputError` if two validators share a name.
    """
    names = [validator.name for validator in validators]
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(f"validator {name!r} is listed {count} times", remedy="name each validator once")
    return tuple(f"{v.name}.{column}" for v in validators for column in v.columns)


class Watch:
    """State of one attempt under a schedule and validators."""

    def __init__(
        self,
        schedule: Schedule,
        validators: Sequence[Validator],
        prompt: str = "",
        parameters: Parameters = NO_PARAMETERS,
    ) -> None:
        self.failures: Counter[str] = Counter()
        """Validator failures by `name: error type`; these never discard."""
        self._clock = schedule.start()
        self._validators = tuple(validators)
        self._states: list[ValidatorState | None] = []
        for validator in self._validators:
            try:
                self._states.append(for_prompt(validator, parameters).start(prompt))
            except Exception as error:  # fail open: a validator must not stop a run
                self._fail(validator, error)
                self._states.append(None)
        self._k = 0
        self._position = 0
        self._stage = 0  # where the text of the pending pieces begins
        self._tokens = 0
        self._pending: list[str] = []
        self._pending_tokens = 0
        self._pending_logprobs: list[float] = []
        self._pending_states: list[tuple[float, ...]] = []
        self._pending_spans: list[tuple[int, int]] = []

    def begin(self) -> Checkpoint:
        """Return checkpoint 0, before the first token; asked once and before any text, or not at all."""
        return self._checkpoint()

    def feed(
        self,
        text: str,
        tokens: int = 0,
        logprobs: Sequence[float] = (),
        states: Sequence[tuple[float, ...]] = (),
    ) -> list[Checkpoint]:
        """Take new text, completed by `tokens` new tokens; return the checkpoints it reaches, in order.

        A checkpoint inside the piece counts all tokens of the piece: they have been paid for.
        """
        reached: list[Checkpoint] = []
        self._tokens += tokens
        self._pending_logprobs += logprobs
        self._pending_tokens += tokens
        start = 0
        ticks = self._clock.feed(text, tokens)
        if states:
            begins = self._position - self._stage
            ends = begins + (ticks[0].offset if ticks else len(text))
            self._pending_states += states
            self._pending_spans += [(begins, ends)] * len(states)
        for tick in ticks:
            self._pending.append(text[start : tick.offset])
            self._position += tick.offset - start
            start = tick.offset
            self._k += 1
            reached.append(self._checkpoint())
        self._pending.append(text[start:])
        self._position += len(text) - start
        return reached

    def finish(self) -> Checkpoint:
        """Return the evidence at the end of the attempt, as one more row (k counts on; no decision is due)."""
        self._k += 1
        return self._checkpoint()

    def _checkpoint(self) -> Checkpoint:
        text = "".join(self._pending)
        seen = Tokens(
            self._pending_tokens,
            tuple(self._pending_logprobs),
            tuple(self._pending_states),
            tuple(self._pending_spans),
        )
        self._pending, self._pending_tokens, self._pending_logprobs = [], 0, []
        self._pending_states, self._pending_spans, self._stage = [], [], self._position
        row: list[float] = []
        verdicts: list[Verdict] = []
        for i, validator in enumerate(self._validators):
            evidence = self._evidence(i, validator, text, seen)
            row += evidence.scores
            verdicts.append(evidence.verdict)
        return Checkpoint(self._k, self._position, self._tokens, tuple(row), tuple(verdicts))

    def _evidence(self, i: int, validator: Validator, text: str, seen: Tokens) -> Evidence:
        width = len(validator.columns)
        state = self._states[i]
        if state is not None:
            try:
                verdict, scores = state.feed(text, seen)
                if len(scores) != width:
                    raise ValueError(f"{len(scores)} scores for {width} columns")
                known = verdict if type(verdict) is Verdict else Verdict(verdict)
                return Evidence(known, tuple(map(float, scores)))
            except Exception as error:  # fail open, see the module docstring
                self._fail(validator, error)
                self._states[i] = None
        return Evidence(Verdict.UNKNOWN, (math.nan,) * width)

    def _fail(self, validator: Validator, error: Exception) -> None:
        self.failures[f"{validator.name}: {type(error).__name__}"] += 1
