"""Finished prompts in the order of their run, by the accounts of attempts, which come in the order of their endings.

A prompt that loses good samples must come neither sooner nor later for it: so whoever decides by finished prompts is
told of them in this order, and of the attempts at one by their numbers.
"""

from collections.abc import Iterator

from msifr_integrations.generation.turns import Goal
from msifr_policy.errors import InputError
from msifr_policy.records.ledger import NO_ATTEMPTS, AtPrompt, Entry


class InOrder:
    """Gives back finished prompts in the order of the run, by the places of entries or by first appearance.

    goal: says when a prompt is finished. where: of what is wrong with entries.
    """

    def __init__(self, goal: Goal, where: str = "ledger") -> None:
        self.by_place: bool | None = None
        """Whether entries have places; None before any."""
        self._goal = goal
        self._where = where
        self._open: dict[int, tuple[AtPrompt, list[Entry]]] = {}
        self._numbers: dict[str, int] = {}  # of prompts that are open, where entries have no places
        self._next = self._seen = 0

    def add(self, entry: Entry) -> Iterator[tuple[int, list[Entry]]]:
        """Take an entry; yield the place and the entries of each prompt whose turn has come.

        Raises `InputError` where the entries are of no run.
        """
        if self.by_place is None:
            self.by_place = entry.place is not None
        place = entry.place if self.by_place else self._numbered(entry.prompt_id)
        if place is None:
            raise InputError(f"attempt {entry.id!r} has no place in the run", where=self._where)
        at, entries = self._open.get(place, (NO_ATTEMPTS, []))
        entries.append(entry)
        if entries[0].prompt_id != entry.prompt_id or place < self._next:
            raise InputError(
                f"several prompts are number {place} of the run, {entry.prompt_id!r} is one of them",
                where=self._where,
                remedy="merged shards were watched each for itself: name the output or ledger of one shard",
            )
        self._open[place] = at.after(entry), entries
        while (ready := self._open.get(self._next)) is not None and self._goal.met(ready[0]):
            del self._open[self._next]
            entries = sorted(ready[1], key=lambda each: (len(each.id), each.id))  # ids end in the attempts' numbers
            self._numbers.pop(entries[0].prompt_id, None)
            self._next += 1
            yield self._next - 1, entries

    def _numbered(self, prompt_id: str) -> int:
        if prompt_id not in self._numbers:
            self._numbers[prompt_id] = self._seen
            self._seen += 1
        return self._numbers[prompt_id]

    @property
    def waiting(self) -> int:
        """Prompts that are begun, and whose turn has not come."""
        return len(self._open)
