"""What can go wrong between a client and a server, and what is then to be done about it."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from msifr_policy.errors import MsifrError

LONGEST_MESSAGE = 300
"""Characters of a server's message that are passed on."""

LONGEST_WAIT = 60.0
"""Seconds between two tries, unless the server asks for more."""

LONGEST_WAIT_ASKED = 300.0
"""Seconds between two tries, whatever the server asks for."""

_TRY_AGAIN = frozenset({408, 425, 429})


class BrokenStream(MsifrError):  # noqa: N818 what happened, in the past tense
    """A try failed; another may succeed. `after`: the seconds that the server asks to wait, 0 if it does not ask."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


class RefusedRequest(MsifrError):  # noqa: N818 what happened, in the past tense
    """The server does not take this request, now or later."""


class RefusedClient(MsifrError):  # noqa: N818 what happened, in the past tense
    """The server takes no request of ours: the key, the model or the address is wrong."""


NULL = msgspec.Raw(b"null")


class ServerError(msgspec.Struct, frozen=True):
    """What servers say went wrong: as `{"error": {…}}`, `{"error": "…"}`, flat, or, by some frameworks, `detail`."""

    message: str = ""
    code: int | str | None = None
    error: msgspec.Raw = NULL
    detail: msgspec.Raw = NULL


_DECODER = msgspec.json.Decoder(ServerError)


def error_message(body: bytes) -> tuple[str, int]:
    """Return what the body of an error says, in one line, and the status it names (0 if none)."""
    for _ in range(2):
        try:
            told = _DECODER.decode(body)
        except (ValueError, RecursionError):  # words, a page of a proxy's, or half a document
            break
        code = str(told.code)
        if told.message:
            return one_line(told.message), int(code) if code.isdecimal() and len(code) == 3 else 0
        body = next((bytes(raw) for raw in (told.error, told.detail) if not is_null(raw)), body)
    return one_line(body[: 8 * LONGEST_MESSAGE].decode("utf-8", "replace").strip('"')), 0


def is_null(raw: msgspec.Raw) -> bool:
    """Return whether a part of a document is missing or null."""
    return raw is NULL or bytes(raw) == b"null"


def one_line(text: str) -> str:
    """Return the text on one line, without control characters, cut after `LONGEST_MESSAGE` characters."""
    # Only so much is looked at as may be shown: blanks in front of it all are no reason to read a book.
    shown = (character if character.isprintable() else " " for character in text[: 8 * LONGEST_MESSAGE])
    line = " ".join("".join(shown).split())
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"


def fault(status: int, message: str, after: float = 0.0) -> MsifrError:
    """Return what an answer of this HTTP status means; `after` are the seconds that the server asks to wait."""
    what = f"HTTP {status}: {message}" if message else f"HTTP {status}"
    if status in _TRY_AGAIN or status >= 500:
        return BrokenStream(what, after)
    if status in (401, 403, 404) or status < 400:
        return RefusedClient(what)
    return RefusedRequest(what)


def seconds_asked(header: str | None, now: datetime) -> float:
    """Return the seconds that a Retry-After header asks for: a number or a date; 0 for anything else."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    return min(max(seconds, 0.0), LONGEST_WAIT_ASKED) if math.isfinite(seconds) else 0.0


def seconds_to_wait(tried: int, after: float, draw: float) -> float:
    """Return how long to wait after `tried` ≥ 1 tries: below 1, 2, 4, … seconds, by a `draw` from [0, 1).

    Never less than the server asked for; what is drawn comes on top, so that not all come back at once.
    """
    return after + draw * min(2.0 ** min(tried - 1, 16), LONGEST_WAIT)
