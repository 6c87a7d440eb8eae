"""One run: an engine's events go to the policy; what leaves goes to the final filter and into the files.

An attempt is given to the engine when its turn has come (`turns`) and the policy has not discarded it at checkpoint 0.
One discarded there is written down at once: the engine never hears of it, and computes nothing, not even its prompt.

When a goal of the run is reached (`goals`), nothing else begins, and what is in flight is cancelled at once: its tokens
are in the account of the session. The N-th accepted attempt is then the last in the files. No more tokens are sampled
than are allowed, but for those of the step in which that is seen, at most one of each slot (a server's chunks may have
several), and what is computed ahead, or by a server until it sees that streams are closed; with prices likewise.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from msifr_integrations.engine.base import Again, Engine, Event, Failed, NoRoomError, Notice
from msifr_integrations.generation.forcing import Forced, Forcing
from msifr_integrations.generation.found import Watcher
from msifr_integrations.generation.goals import NO_GOALS, Reached, RunGoals
from msifr_integrations.generation.journal import AttemptRecord, Elapsed, entry_of, prompt_tokens_of, record_of
from msifr_integrations.generation.live import Ends, Live, Task
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.progress import Progress, RunCount
from msifr_integrations.generation.rejections import Rejections
from msifr_integrations.generation.text import Stops
from msifr_integrations.generation.turns import Turns
from msifr_policy.audit import Audit
from msifr_policy.dead_prefixes import DeadPrefix
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.filters import FinalFilter, Judgement, Prompt
from msifr_policy.filters.decided import reader_of
from msifr_policy.policy import Policy
from msifr_policy.records.ledger import Entry, Session, Totals

_AHEAD = 64
"""Attempts that wait for a slot, beside as many as there are slots, in an engine whose queue need not be full."""

_QUEUE = 256
"""Attempts that an engine of this process is given ahead: among so many `generate()` finds prompts of one length."""

_SKIPS = 64
"""Attempts discarded at checkpoint 0 between two looks at the engine, whose streams would wait meanwhile."""

_UNJUDGED = 16
"""Attempts that may wait for the final filter, or as many as there are slots: a killed run loses them."""


class Sink(Protocol):
    """Where attempts go that have left: the journal of the run, or another process that has it."""

    def write(self, record: AttemptRecord, entry: Entry) -> None:
        """Keep an attempt."""

    def end_session(self, session: Session) -> None:
        """Keep what was spent beside attempts."""


class _Leaving(NamedTuple):
    """An attempt that has left, while the final filter judges it."""

    task: Task
    live: Live
    spent: Elapsed
    judgement: Future[list[Judgement]] | None
    answers: tuple[Forced, ...] = ()  # forced in shadow; theirs follow the attempt's own judgement


@dataclass
class Run:
    """Takes the notices of `engine` for the attempts of `turns`, those that are not done yet, until all have left.

    An attempt that is stopped is written down one step after the decision: a token that an engine should sample in
    between is counted as wasted. While an asynchronous engine runs, the final filter judges in a thread of its own, so
    that streams are read on meanwhile. `before` is what earlier sessions came to; there are `expected` attempts in all,
    or fewer if turns spare some. `tokenizer` decodes events without text. `say` is given remarks while it runs. `audit`
    says how would-be discards are audited. `goals` end the run before. `forcing` says how answers are forced: in shadow
    once an attempt is over, so that it runs as if nothing were asked, or where the policy exits. `steered` says where a
    run is that is steered. `rejections` is told what came of each attempt, before the next at its prompt begins.
    """

    engine: Engine
    turns: Turns
    policy: Policy
    accept: FinalFilter
    tokenizer: Any
    sink: Sink
    options: GenerateOptions
    before: Totals
    expected: int
    progress: Callable[[Progress], None] | None = None
    say: Callable[[str], None] | None = None
    audit: Audit | None = None
    goals: RunGoals = NO_GOALS
    forcing: Forcing | None = None
    steered: Callable[[], str] = str
    rejections: Rejections | None = None

    def __post_init__(self) -> None:
        slots, elsewhere = self.engine.slots, self.engine.asynchronous
        # Where attempts wait for others, those given ahead would be of prompts that should wait. Those given ahead of
        # what is judged meanwhile might begin after the last that is wanted.
        limited = self.turns.limited or (elsewhere and self.goals.accepted is not None)
        self._most = slots if limited else 2 * slots + _AHEAD if elsewhere else slots + _QUEUE
        self._reached: Reached | None = None
        self._given = 0  # to the engine since it last ran dry
        self._left: dict[str, Task] = {}  # submitted, and not yet gone
        self._running: dict[str, Live] = {}
        self._stopped: list[str] = []  # in the last step
        self._lost: Counter[str] = Counter()  # tokens of broken tries, by attempt
        self._asking: dict[str, list[Forced]] = {}  # answers that are forced, by the attempt that waits for them
        self._forced: dict[str, tuple[str, Forced]] = {}  # those in the engine, by their own id, and whose they are
        self._leaving: deque[_Leaving] = deque()
        self._judge_thread: ThreadPoolExecutor | None = None
        self._tally = RunCount(self.before, self.expected, self.progress, self.goals, self.steered)
        self._watcher = Watcher(self.accept, self.say, self.before)
        self._tally.started = time.perf_counter() - self.before.seconds
        self._cpu_started = time.process_time() - self.before.cpu_seconds

    def drain(self) -> None:
        """Run the engine dry."""
        finished = False
        try:
            with ThreadPoolExecutor(1) as thread:
                self._judge_thread = thread if self.engine.asynchronous else None
                self._submit()
                while self._given:
                    self.engine.drain(self._take)
                    self._given = 0
                    self._take(())  # those stopped in the very last step
                    self._write_down(wait_for=0)
                    self._submit()  # what waited for these
                for leaving in self._leaving:  # more than was wanted: nobody waits for what the filter says
                    if leaving.judgement is not None:
                        leaving.judgement.cancel()
            finished = True
        finally:
            if not finished:
                with suppress(MsifrError):
                    self._write_down(wait_for=0)  # all that are over are judged by now, and were paid for
            lives = [*self._running.values(), *(leaving.live for leaving in self._leaving)]
            unfinished = sum(live.tokens for live in lives) + sum(self._lost.values())
            forced = [*self._asking.values(), *(leaving.answers for leaving in self._leaving)]
            unfinished += sum(answer.tokens for answers in forced for answer in answers)
            prompts = round(self._tally.prompts(self._in_flight()) - self._tally.prompts())
            session = replace(self.engine.spent(), unfinished=unfinished, unfinished_prompts=prompts)
            # On the way out of an error there may be no room for it, and the error says more.
            with suppress(*() if finished else (MsifrError,)):
                self.sink.end_session(session)
        self._tally.show(self.engine.waiting, 0, self.engine.slots, at_once=True)

    def _submit(self) -> None:
        """Give the engine what its slots may soon take."""
        skips = 0
        # Those that were stopped in this step are out of the engine already.
        while len(self._left) - len(self._stopped) < self._most and not (skips >= _SKIPS and self._left):
            if not self._may_begin() or (task := self.turns.take()) is None:
                return
            live = self._begin(task)
            if live.over:
                self._write(task, live, None, entry_of(task, live, None, self._spent()))
                skips += 1
            else:
                self._left[task.attempt.id] = task
                self._running[task.attempt.id] = live
                self.engine.submit(task.attempt)
                self._given += 1

    def _take(self, notices: Sequence[Notice]) -> None:
        leaving, self._stopped = self._stopped, []
        for notice in notices:
            if notice.id not in self._left and notice.id not in self._forced:
                raise MsifrError(f"the engine sampled a token of attempt {notice.id!r} after it was cancelled")
            if self._reached:  # it came when nothing was wanted any more
                self._lost[notice.id] += notice.tokens if isinstance(notice, Event) else 0
                continue
            if notice.id in self._forced:
                self._take_forced(notice)
                continue
            if isinstance(notice, Again):
                self._lost[notice.id] += self._running[notice.id].tokens
                self._running[notice.id] = live = self._begin(self._left[notice.id])
                if live.over:
                    self.engine.cancel(notice.id)
                    self._stopped.append(notice.id)
            elif isinstance(notice, Failed):
                self._give_up(notice)
            else:
                live = self._running[notice.id]
                over = live.over
                self._tally.tokens += notice.tokens
                if live.take(notice):
                    self.engine.cancel(notice.id)
                    self._stopped.append(notice.id)
                elif live.finish and not over:
                    self._leave(notice.id)
        for attempt_id in leaving:
            self._leave(attempt_id)
        self._write_down(wait_for=max(self.engine.slots, _UNJUDGED))
        self._look_at_goals()
        self._submit()
        at_work = min(len(self._running), self.engine.slots)
        self._tally.show(self.engine.waiting, at_work, self.engine.slots, in_flight=self._in_flight)

    def _may_begin(self) -> bool:
        """Return whether another attempt may: not while those that wait for the filter may be all that is wanted."""
        if self._reached is not None or self.goals.accepted is None:
            return self._reached is None
        unjudged = sum(leaving.judgement is not None for leaving in self._leaving)
        return self._tally.accepted + unjudged < self.goals.accepted

    def _look_at_goals(self) -> None:
        """Stop all that is in flight, if a goal is reached."""
        priced = self.goals.max_cost is not None and self.goals.prices.price_in > 0
        if self._reached is None and self.goals:
            self._reached = self.goals.reached(self._tally.spent(self._in_flight() if priced else ()))
            if self._reached is not None:
                for attempt_id in (*self._left, *self._forced):
                    self.engine.cancel(attempt_id)

    def _in_flight(self) -> list[int]:
        """Return of each attempt that has begun and is not written down the tokens of its prompt, 0 if not told."""
        begun = [(self._left[name], live) for name, live in self._running.items() if live.tokens]
        begun += [(leaving.task, leaving.live) for leaving in self._leaving]
        return [prompt_tokens_of(task, live) for task, live in begun]

    def _begin(self, task: Task) -> Live:
        reader = reader_of(self.accept, task.prompt) if self.options.finish_when_decided else None
        stops = Stops(self.options.stop) if self.options.stop else None
        neither = stops is None and reader is None
        ends = None if neither else Ends(stops, None if reader is None else reader.feed)
        policy, audit = (self.policy, self.audit) if task.policy is None else (task.policy, task.audit)
        forcing = self.forcing
        return Live(
            task.prompt,
            policy,
            self.tokenizer,
            ends,
            task.history,
            audit=audit,
            key=task.attempt.key,
            may_exit=forcing is not None and not forcing.shadow,
            shadow=forcing.plan if forcing is not None and forcing.shadow else None,
        )

    def _leave(self, attempt_id: str) -> None:
        """Have the attempt judged if it is finished; it is written down when that is known.

        Where answers are to be forced in it, it waits for them before.
        """
        if attempt_id in self._forced:
            self._answered(attempt_id)
            return
        live, task = self._running[attempt_id], self._left[attempt_id]
        if live.points and attempt_id not in self._asking:
            if self._reached is None:  # else nothing is wanted any more
                self._force(task, live)
            return
        del self._running[attempt_id], self._left[attempt_id]
        answers = tuple(self._asking.pop(attempt_id, ()))
        if live.exited is not None:
            (answer,), answers = answers, ()
            answer.join(live)
        judgement: Future[list[Judgement]] | None = None
        if live.decision is None:
            texts = [live.text, *(live.text[: a.point.position] + a.asked + a.text for a in answers)]
            if self._judge_thread is not None:
                judgement = self._judge_thread.submit(self._judge_all, task.prompt, texts)
            else:
                judgement = Future()
                judgement.set_result(self._judge_all(task.prompt, texts))
        self._leaving.append(_Leaving(task, live, self._spent(), judgement, answers))

    def _force(self, task: Task, live: Live) -> None:
        """Have the engine force the answers of an attempt that is over."""
        assert self.forcing is not None  # noqa: S101 - only then there are points
        own = task.attempt.id
        answers = self._asking[own] = [self.forcing.begin(task, live, point) for point in live.points]
        for answer in answers:
            try:
                self.engine.submit(answer.attempt)
            except NoRoomError:  # memory is short: what an attempt says must not hang on that
                raise
            except InputError:  # no room in the context: nothing is said
                answer.finish = "length"
            else:
                self._forced[answer.attempt.id] = own, answer
                self._given += 1
        if all(answer.finish for answer in answers):
            self._leave(own)

    def _take_forced(self, notice: Notice) -> None:
        """Take what an engine says of an answer that is forced."""
        own, answer = self._forced[notice.id]
        if own not in self._asking:  # its attempt was given up
            self._lost[notice.id] += notice.tokens if isinstance(notice, Event) else 0
        elif isinstance(notice, Failed):
            self._give_up(notice._replace(id=own))
        elif isinstance(notice, Again):
            assert self.forcing is not None  # noqa: S101
            self._lost[own] += answer.tokens
            anew = self.forcing.begin(self._left[own], self._running[own], answer.point)
            self._asking[own][self._asking[own].index(answer)] = anew
            self._forced[notice.id] = own, anew
        else:
            over = bool(answer.finish)
            self._tally.tokens += notice.tokens
            if answer.take(notice):
                self.engine.cancel(notice.id)
                self._stopped.append(notice.id)
            elif answer.finish and not over:
                self._answered(notice.id)

    def _answered(self, name: str) -> None:
        """Take note that a forced answer is complete; its attempt leaves with the last of them."""
        own, _ = self._forced.pop(name)
        if own in self._asking and not any(answer.attempt.id in self._forced for answer in self._asking[own]):
            self._leave(own)

    def _write_down(self, *, wait_for: int) -> None:
        """Write what was judged, in the order of leaving; wait for the filter while more than so many wait for it."""
        while self._leaving and not self._enough():
            task, live, spent, future, answers = self._leaving[0]
            if future is not None and not future.done() and len(self._leaving) <= wait_for:
                return
            judgement, *forced = [None] if future is None else future.result()
            self._leaving.popleft()
            if self.forcing is not None and self.forcing.shadow and judgement is not None:
                live.exits = self.forcing.plan.recorded(
                    [answer.answer(bool(of)) for answer, of in zip(answers, forced, strict=True)]
                )
            entry = entry_of(task, live, judgement, spent, lost=self._lost.pop(task.attempt.id, 0))
            self._write(task, live, judgement, entry)
            self._watcher.add(judgement, cut=live.finish == "length")

    def _enough(self) -> bool:
        """Return whether as many are accepted as are wanted: what is over and not written down then is not."""
        return self.goals.accepted is not None and self._tally.accepted >= self.goals.accepted

    def _give_up(self, notice: Failed) -> None:
        """Write down an attempt that cannot be made."""
        task, live = self._left.pop(notice.id), self._running.pop(notice.id)
        lost = self._lost.pop(notice.id, 0) + live.tokens
        for answer in self._asking.pop(notice.id, ()):
            lost += answer.tokens
            if answer.attempt.id in self._forced and answer.attempt.id not in self._stopped:
                self.engine.cancel(answer.attempt.id)
                self._stopped.append(answer.attempt.id)  # nobody waits for it, but its last token may be on its way
        self._write(
            task, None, None, entry_of(task, None, None, self._spent(), lost=lost, error=notice.why), notice.why
        )

    def _write(self, task: Task, live: Live | None, judgement: Judgement | None, entry: Entry, error: str = "") -> None:
        """Write down an attempt; from then on those that waited for it may begin."""
        dead: DeadPrefix | None = None
        if self.rejections is not None and live is not None:
            dead, failures = self.rejections.learn(task, live, judgement)
            if failures:
                entry = replace(entry, failures=dict(failures + Counter(entry.failures)))
        self.sink.write(record_of(task, live, judgement, self.options, error, dead), entry)
        self._tally.add(entry)
        self._tally.spare(self.turns.end(entry))

    def _spent(self) -> Elapsed:
        return Elapsed(time.perf_counter() - self._tally.started, time.process_time() - self._cpu_started)

    def _judge_all(self, prompt: Prompt, texts: Sequence[str]) -> list[Judgement]:
        return [self._judge(prompt, text) for text in texts]

    def _judge(self, prompt: Prompt, text: str) -> Judgement:
        try:
            verdict = self.accept(prompt, text)
            return verdict if isinstance(verdict, Judgement) else Judgement(accepted=bool(verdict))
        except Exception as error:
            # Unlike a validator, the filter defines what is kept: without it there is nothing to go on with.
            raise MsifrError(
                f"the final filter {self.accept.name} failed on an attempt at prompt {prompt.prompt_id!r}: "
                f"{type(error).__name__}: {error} (mend it and start the run again: it goes on from here)"
            ) from error
