"""Chats: ShareGPT's `conversations`, and `messages`. The last answer of the assistant is the attempt."""

from typing import Final

from msifr_integrations.formats.importing.attempts import Format, Record
from msifr_integrations.formats.importing.rows import Rows
from msifr_policy.records.chats import messages_of

_NOTE: Final = "of a chat with several turns the last answer is the attempt, and what comes before its prompt"


def _rows(name: str) -> Rows:
    return Rows(
        prompts=(name,),
        texts=(name,),
        ids=("id", "uuid"),
        groups=("group", "category", "subject", "topic", "source"),
    )


def _format(what: str, name: str) -> Format:
    def fits(record: Record) -> bool:
        return messages_of(record.get(name)) is not None

    rows = _rows(name)
    return Format(what, fits, rows.attempts, rows.used, note=_NOTE)


SHARE_GPT: Final = _format("chats as ShareGPT has them (conversations)", "conversations")
MESSAGES: Final = _format("chats (messages)", "messages")
