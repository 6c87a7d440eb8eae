"""History: how earlier attempts at the same prompt ended, which is known before the first token of the next one.

Nothing of it is in the text. Whoever starts the attempts counts, and gives the counts as parameters of the one attempt
that begins: a run in flight (`generate`) or the replay of recorded ones (`evidence.history`).
"""

from typing import Annotated

from msgspec import Meta

from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence

Earlier = Annotated[int, Meta(ge=0, le=2**31)] | None


class History(Rule, frozen=True):
    """Counts earlier attempts at the prompt: `accepted`, and `rejected`, those that were discarded among them.

    Attempts that were not even begun, or failed, tell nothing and are not counted. None: not known, it says nothing.
    """

    name = "history"
    columns = ("accepted", "rejected")
    accepted: Earlier = None
    rejected: Earlier = None

    def _state(self, _: str) -> TextState:
        if self.accepted is None or self.rejected is None:
            return Silence(self.columns)
        return _HistoryState(self.accepted, self.rejected)


class _HistoryState(TextState):
    def __init__(self, accepted: int, rejected: int) -> None:
        self._evidence = evidence(accepted, rejected)

    def _read(self, _: str) -> Evidence:
        return self._evidence
