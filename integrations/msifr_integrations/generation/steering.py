"""A run that is steered: whether and how its policy discards is decided anew for every block of prompts.

What steers is a **pilot**: it is told of finished prompts, in the order of the run, and says for each block of so many
prompts what its attempts run under. For block b it knows the prompts of the blocks before b − 1, all of them and no
others: no attempt of block b begins before these are finished, while those of block b − 1 are made. So what is decided
depends on neither slots, nor timing, nor interruptions, and a run that is started again tells its pilot the same.

What changes is written in the ledger (`Steer`); a resumed run that would decide otherwise is refused.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from msifr_integrations.generation.in_order import InOrder
from msifr_integrations.generation.journal import AttemptRecord
from msifr_integrations.generation.run import Sink
from msifr_integrations.generation.turns import Goal, Portion
from msifr_policy.audit import Audit
from msifr_policy.errors import InputError
from msifr_policy.policy import Policy
from msifr_policy.records.ledger import Entry, Session, Steer

_LAG = 2
"""A block is decided by the blocks this many before it: the one between keeps the engine busy."""
_SLOTS = 4
_LEAST = 8


class Under(NamedTuple):
    """What attempts of a block run under: a policy, how its would-be discards are audited, its level on a path."""

    policy: Policy
    audit: Audit | None = None
    level: int | None = None


class Steerer(Protocol):
    """Decides by finished prompts."""

    def begin(self) -> Steer:
        """Return what the first blocks run under."""

    def add(self, prompt_id: str, entries: Sequence[Entry]) -> None:
        """Take note of a finished prompt; entries in the order of the attempts' numbers."""

    def steer(self, block: int) -> Steer:
        """Return what `block` runs under, when all before the last block are known."""

    def under(self, steer: Steer) -> Under:
        """Return the policy that a decision means."""

    @property
    def said(self) -> str:
        """Where the run is, in a few words; "" if there is nothing to say."""


def block_size(slots: int, attempts: int) -> int:
    """Return how many prompts a block has: attempts for each slot four times, so that stragglers hold up little."""
    return max(_LEAST, -(-_SLOTS * slots // attempts))


class Blocks:
    """Gives out the portions of a run block by block, and what their attempts run under.

    n_prompts: of the run. goal: what is made at each. write: keeps a decision that changes something. known: decisions
    that earlier sessions wrote, in order.
    """

    def __init__(
        self,
        pilot: Steerer,
        n_prompts: int,
        goal: Goal,
        size: int,
        *,
        write: Callable[[Steer], None],
        known: Iterable[Steer] = (),
    ) -> None:
        self._pilot = pilot
        self._n_prompts = n_prompts
        self._order = InOrder(goal)
        self._size = size
        self._write = write
        self._known = deque(known)
        self._decided = 0  # blocks that may begin
        self._last: Steer | None = None  # what the last of them runs under
        self._under: list[tuple[int, Under]] = []  # from which block on
        self._waiting: Portion | None = None
        self._portions: Iterator[Portion] = iter(())

    @property
    def said(self) -> str:
        """Where the run is, in the words of its pilot."""
        return self._pilot.said

    def begin(self, accounts: Iterable[Entry | Session | Steer], portions: Iterator[Portion]) -> None:
        """Tell the pilot what earlier sessions came to, and be ready to give out what is not done.

        Raises `InputError` where the ledger says that it was steered otherwise.
        """
        for _ in range(_LAG):
            self._decide(self._pilot.begin())
        for account in accounts:
            if isinstance(account, Entry):
                self.end(account)
        self._portions = portions

    def more(self) -> Portion | None:
        """Return the next portion, None if there is none, or not before others are finished."""
        portion, self._waiting = self._waiting or next(self._portions, None), None
        if portion is not None and portion.place // self._size >= self._decided:
            self._waiting, portion = portion, None
        return portion

    def under(self, place: int) -> Under:
        """Return what attempts at the prompt of this place run under."""
        block = place // self._size
        return next(under for start, under in reversed(self._under) if start <= block)

    def end(self, entry: Entry) -> None:
        """Take note of an attempt that was written down; whole prompts are told to the pilot in their order."""
        for place, entries in self._order.add(entry):
            self._pilot.add(entries[0].prompt_id, entries)
            if (place + 1) % self._size == 0 and self._decided * self._size < self._n_prompts:
                self._decide(self._pilot.steer(self._decided))

    def _decide(self, steer: Steer) -> None:
        """Keep what the next block runs under."""
        block, before = self._decided, self._last
        self._decided, self._last = block + 1, steer
        if before is not None and _same(before, steer):
            return
        self._under.append((block, self._pilot.under(steer)))
        if not self._known:
            self._write(steer)
        elif _what(known := self._known.popleft()) != _what(steer):
            raise InputError(
                f"was steered otherwise: {_in_words(known)}, and now {_in_words(steer)}",
                where="ledger",
                remedy="resume with the release and the files that the run was begun with",
            )


def _same(before: Steer, after: Steer) -> bool:
    return (before.phase, before.level, before.path) == (after.phase, after.level, after.path)


def _what(steer: Steer) -> tuple[int, str, int | None, str]:
    """Return what is decided: why is told in other words by another release."""
    return steer.block, steer.phase, steer.level, steer.path


def _in_words(steer: Steer) -> str:
    level = "" if steer.level is None else f" at level {steer.level}"
    return f"{steer.phase}{level} from block {steer.block} on"


class SteeredSink:
    """Has attempts kept by `sink`, and tells `blocks` of them."""

    def __init__(self, sink: Sink, blocks: Blocks) -> None:
        self._sink, self._blocks = sink, blocks

    def write(self, record: AttemptRecord, entry: Entry) -> None:
        """Keep an attempt."""
        self._sink.write(record, entry)
        self._blocks.end(entry)

    def end_session(self, session: Session) -> None:
        """Keep what was spent beside attempts."""
        self._sink.end_session(session)
