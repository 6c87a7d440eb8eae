"""Chats: ShareGPT's `conversations`, and `messages`. The last answer of the assistant is the attempt."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from msifr_integrations.formats.importing.attempts import ForeignAttempt, Format, Lost, OutcomeReader, Record
from msifr_integrations.formats.importing.rows import Rows
from msifr_policy.records.chats import messages_of


def _rows(name: str) -> Rows:
    return Rows(
        prompts=(name,),
        texts=(name,),
        ids=("id", "uuid"),
        groups=("group", "category", "subject", "topic", "source"),
    )


def _format(what: str, name: str) -> Format:
    def fits(record: Record) -> bool:
        return messages_of(_chat(record.get(name))) is not None

    def attempts(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
        return rows.attempts(record | {name: _chat(record[name])}, reading, where)

    rows = _rows(name)
    return Format(what, fits, attempts, rows.used)


def _chat(value: Any) -> Any:
    """Return the messages of a chat, which tables hold as their JSON."""
    if isinstance(value, str) and value.startswith("[{"):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


SHARE_GPT: Final = _format("chats as ShareGPT has them (conversations)", "conversations")
MESSAGES: Final = _format("chats (messages)", "messages")
