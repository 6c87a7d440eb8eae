"""Forcing answers [T8]: an attempt stops, and another goes on behind its text so far and what asks for the answer.

No engine has to know of it: the continuation is an attempt like any other, whose prompt is the prompt, the text so far
and the question. Its key is made from the attempt's own, so that a resumed run forces the same answer, and an answer
forced at a checkpoint by a policy is the one that was recorded there in shadow. What the model reads for it is counted
among the tokens of prompts.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from msifr_integrations.engine.base import Attempt, Event, Finish
from msifr_integrations.generation.live import Live, Point, Task
from msifr_integrations.generation.text import Pieces, Stops
from msifr_policy.errors import InputError
from msifr_policy.evidence.exits import ExitPlan
from msifr_policy.records.exits import ForcedAnswer

_TAIL = 64
"""Tokens at the end of a prompt among which an open mark of thinking is looked for: templates end with theirs."""


@dataclass(frozen=True, slots=True)
class Forcing:
    """How answers are forced in a run: by which plan, in `shadow` at all its checkpoints, or where a policy exits.

    tokenizer: of an engine that takes token ids. stop: strings that end a forced answer, as they end an attempt.
    """

    plan: ExitPlan
    shadow: bool
    tokenizer: Any = None
    stop: tuple[str, ...] = ()

    def begin(self, task: Task, live: Live, point: Point) -> "Forced":
        """Return the answer of an attempt that is forced at a point of it, and not yet there.

        Raises `InputError` for a prompt that is a chat: what an assistant began to say cannot be gone on with there.
        """
        prompt, text = task.attempt.prompt, live.text[: point.position]
        if isinstance(prompt, str):
            asked = self.plan.asked(prompt, text)
            behind: Any = prompt + text + asked
        elif prompt and all(isinstance(part, int) for part in prompt):
            asked = self.plan.asked(self.tokenizer.decode(list(prompt[-_TAIL:])), text)
            question = self.tokenizer.encode(asked, add_special_tokens=False)
            behind = (*prompt, *live.token_ids[: point.tokens], *question)
        else:
            raise refused_chat()
        name, key = f"{task.attempt.id} exit {point.k}", exit_key(task.attempt.key, point.k)
        pieces = Pieces(self.tokenizer)
        stops = Stops(self.stop) if self.stop else None
        return Forced(Attempt(name, behind, key, self.plan.tokens), point, asked, pieces, stops)


def refused_chat() -> InputError:
    """Return the error of answers to be forced where prompts are chats."""
    return InputError(
        "answers cannot be forced in chats: a server's chat cannot go on with what the assistant began to say",
        where="exits",
        remedy="use an engine of this process, or a server's completions (--api completions)",
    )


def exit_key(key: bytes, k: int) -> bytes:
    """Return the key of the answer forced at checkpoint `k` of the attempt with `key`."""
    return blake2b(b"exit %d" % k, key=key, digest_size=16, person=b"msifr-stream").digest()


@dataclass(slots=True, eq=False)
class Forced:
    """An answer while it is forced: one line, which ends before the first newline that follows anything.

    token_ends, logprobs: one entry per sampled token, offsets in `text`. wasted: tokens sampled after its end.
    """

    attempt: Attempt
    point: Point
    asked: str
    _pieces: Pieces
    _stops: Stops | None = None
    text: str = ""
    token_ends: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    wasted: int = 0
    prompt_tokens: int = 0
    finish: Finish = ""

    def __post_init__(self) -> None:
        if not isinstance(self.attempt.prompt, str):
            self.prompt_tokens = len(self.attempt.prompt)

    @property
    def tokens(self) -> int:
        """Tokens sampled."""
        return len(self.token_ends)

    def take(self, event: Event) -> bool:
        """Take a sampled token, or the news that there is none; return whether it must be stopped now."""
        self.prompt_tokens = event.prompt_tokens or self.prompt_tokens
        if self.finish:
            self.wasted += event.tokens
            self._count(event)
            return False
        piece = self._pieces.push(event.token, last=bool(event.finish)) if event.text is None else event.text
        self.finish = event.finish
        if self._stops is not None:
            piece, stopped = self._stops.push(piece, last=bool(self.finish))
            self.finish = "stop" if stopped else self.finish
        line = (self.text + piece).lstrip()
        if "\n" in line:
            begins = len(self.text + piece) - len(line)
            self.text, self.finish = (self.text + piece)[: begins + line.index("\n")], self.finish or "line"
        else:
            self.text += piece
        self._count(event)
        return bool(self.finish) and not event.finish

    def _count(self, event: Event) -> None:
        if event.tokens:
            self.token_ends.append(len(self.text))
            self.logprobs.append(event.logprob)
        elif self.token_ends:  # text that was held back belongs to the last token
            self.token_ends[-1] = len(self.text)

    def join(self, live: Live) -> None:
        """Give the attempt the answer that was forced where it exited."""
        live.answered(self.asked, self.text, self.token_ends, self.logprobs)
        live.wasted += self.wasted
        live.read += self.prompt_tokens

    def answer(self, accepted: bool) -> ForcedAnswer:
        """Return what a trace keeps of it."""
        return ForcedAnswer(
            k=self.point.k,
            position=self.point.position,
            asked=self.asked,
            text=self.text,
            tokens=self.tokens,
            prompt_tokens=self.prompt_tokens,
            accepted=accepted,
        )
