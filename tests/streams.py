"""What is read of a server's streams by the client, under the Engine protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msifr_integrations.engine.base import Again, Attempt, Event, Failed, Notice
from msifr_integrations.servers.openai_stream import ServerEngine


@dataclass
class Read:
    events: list[Event] = field(default_factory=list)
    lost: list[list[Event]] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    failed: str = ""

    @property
    def text(self) -> str:
        return "".join(event.text or "" for event in self.events)

    @property
    def tokens(self) -> int:
        return sum(event.tokens for event in self.events)

    @property
    def finish(self) -> str:
        return self.events[-1].finish if self.events else ""


def drain(
    client: ServerEngine, asked: Sequence[Attempt], enough: Callable[[str, Read], bool] = lambda *_: False
) -> dict[str, Read]:
    """Run the attempts; one that is `enough` is cancelled."""
    reads = {attempt.id: Read() for attempt in asked}
    cancelled: set[str] = set()

    def take(notices: Sequence[Notice]) -> None:
        for notice in notices:
            read = reads[notice.id]
            assert not read.failed
            if isinstance(notice, Again):
                assert read.events
                read.lost.append(read.events)
                read.events = []
                read.why.append(notice.why)
            elif isinstance(notice, Failed):
                read.failed = notice.why
            else:
                assert not read.finish
                read.events.append(notice)
            if notice.id not in cancelled and enough(notice.id, read):
                cancelled.add(notice.id)
                client.cancel(notice.id)

    for attempt in asked:
        client.submit(attempt)
    client.drain(take)
    client.close()
    assert client.waiting == 0
    return reads
