"""Where the math filter and recorded outcomes disagree: each such attempt was looked at, and says why.

`results/filters_math_disagreements.json` holds them by id, with the beginning of the gold answer and of the answer that
was read. Another benchmark asks `explained` about the disagreements that it finds: what is not in the list, or was read
differently when it was looked at, needs a look.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

SHOWN = 80
"""Characters of an answer in the list."""

_LIST = Path(__file__).parent / "results" / "filters_math_disagreements.json"


class Review(msgspec.Struct, frozen=True):
    """One attempt: the gold answer, what was read (None: no answer), the recorded outcome, why the filter differs."""

    gold: str
    found: str | None
    recorded: bool
    why: str

    @property
    def label(self) -> bool:
        """Whether the recorded outcome is wrong, or holds for other rules than those of mathematics."""
        return not self.why.startswith(_NOT_THE_LABEL)


_NOT_THE_LABEL = ("no answer is announced", "the text breaks off", "what is announced")


def reviews(path: Path = _LIST) -> dict[str, Review]:
    """Return the list, by the ids of attempts."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Review])


def explained(differ: Iterable[tuple[str, str | None]], path: Path = _LIST) -> tuple[dict[str, Review], list[str]]:
    """Return the reviews of the disagreements `(id, found)` by id, and the ids that need a look."""
    known = reviews(path)
    seen, unseen = dict[str, Review](), list[str]()
    for attempt, found in differ:
        review = known.get(attempt)
        if review is not None and review.found == (found and found[:SHOWN]):
            seen[attempt] = review
        else:
            unseen.append(attempt)
    return seen, unseen
