"""Server-sent events: from bytes, cut anywhere, to the data of events, in linear time."""

from msifr_integrations.servers.faults import BrokenStream

LONGEST_EVENT = 1 << 20
"""Bytes; the chunk of one token with its log-probability has some hundred."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventLines:
    """Reads a stream of events. Lines end in LF, CR LF or CR; comments and fields other than `data` are skipped."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of a line whose end has not come
        self._data: list[bytes] = []  # lines of an event whose end has not come
        self._held = 0  # bytes in both
        self._after_cr = False
        self._begun = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that end in `data`. Raises `BrokenStream` for one that is too long."""
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in data:
            self._hold(self._pieces, data)
            return []
        head, _, data = data.partition(b"\n")
        lines = [b"".join((*self._pieces, head)), *data.split(b"\n")]
        self._held -= sum(map(len, self._pieces))
        self._pieces = []
        if not self._begun:
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
            self._begun = True
        rest = lines.pop()
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._hold(self._data, line[6:] if line.startswith(b"data: ") else line[5:])
            elif line == b"data":
                self._data.append(b"")
            elif not line and self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._held -= sum(map(len, self._data))
                self._data = []
        if rest:
            self._hold(self._pieces, rest)
        return events

    def _hold(self, where: list[bytes], data: bytes) -> None:
        self._held += len(data)
        if self._held > LONGEST_EVENT:
            raise BrokenStream(f"an event of more than {LONGEST_EVENT} bytes came")
        where.append(data)
