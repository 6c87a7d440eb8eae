"""What is known of prompts beside the outputs, by their id or by what they ask: requests of a batch, gold answers."""

from collections.abc import Iterable, Mapping
from itertools import starmap
from typing import Any, Final

import msgspec

from msifr_integrations.formats.importing.attempts import ForeignAttempt, Record, as_word, first_of
from msifr_integrations.formats.importing.rows import GOLDS
from msifr_integrations.formats.importing.sources import find_inputs, foreign_records
from msifr_policy.errors import InputError
from msifr_policy.filters import Message
from msifr_policy.records.chats import asked, context_of, messages_of
from msifr_policy.records.ids import id_of_prompt
from msifr_policy.records.lines import as_objects

_IDS: Final = ("prompt_id", "custom_id", "question_id", "task_id", "id", "uuid")
_ASKED: Final = ("prompt", "messages", "question", "problem", "instruction", "input")
_GROUPS: Final = ("group", "category", "subject", "topic", "level")


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of one prompt; as in `ForeignAttempt`, and the messages of a chat."""

    prompt: str = ""
    asked: str = ""
    gold: str | None = None
    group: str | None = None
    tests: str | None = None
    schema: dict[str, Any] | None = None
    parameters: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    messages: tuple[Message, ...] | None = None


def read_asked(paths: Iterable[str]) -> dict[str, Asked]:
    """Return what files tell of prompts, by id and by what is asked (`keys_of`).

    What several tell of one is put together, the first told counts. Raises `InputError` for a record that tells neither
    an id nor what is asked. Memory: all prompts.
    """
    known: dict[str, dict[str, Any]] = {}
    for path in find_inputs(paths) if paths else []:
        for where, record in foreign_records(path):
            if isinstance(record, InputError):
                raise record
            told = _told(record, where)
            keys = [key for key in (as_word(first_of(record, _IDS)), *keys_of(told.get("asked", ""))) if key]
            if not keys:
                remedy = f"give each an id, under one of {', '.join(_IDS)}, or what is asked, under one of "
                raise InputError("neither an id nor a prompt", where=where, remedy=remedy + ", ".join(_ASKED))
            for key in keys:
                known[key] = told | known.get(key, {})
    return {prompt_id: Asked(**told) for prompt_id, told in known.items()}


def keys_of(said: str) -> tuple[str, ...]:
    """Return the ids under which a prompt is known by what it asks: as it is, and whatever blanks are in it."""
    words = " ".join(said.split())
    return tuple(dict.fromkeys(map(id_of_prompt, (said, words)))) if words else ()


def _told(record: Record, where: str) -> dict[str, Any]:
    body = record.get("body")
    source: Mapping[str, Any] = body if isinstance(body, dict) else record
    said = first_of(source, _ASKED)
    told = {
        "prompt": asked(said),
        "asked": context_of(said),
        "messages": tuple(starmap(Message, messages_of(source.get("messages")) or ())),
        "gold": as_word(first_of(record, GOLDS)),
        "group": as_word(first_of(record, _GROUPS)),
        **{name: record.get(name) for name in ("tests", "schema", "parameters")},
    }
    told = as_objects({name: value for name, value in told.items() if value}, ("schema", "parameters"))
    try:
        msgspec.convert(told, Asked)
    except msgspec.ValidationError as error:
        raise InputError(str(error), where=where, remedy="mend the prompt") from None
    return told


def with_asked(attempt: ForeignAttempt, known: Mapping[str, Asked]) -> ForeignAttempt:
    """Return an attempt with what is known of its prompt, where it does not tell itself.

    It is known by the prompt's id, else by all that was asked, else by what was asked last: a benchmark knows its
    questions, and not what a run says before them.
    """
    if not known:
        return attempt
    attempt = _filled(attempt, known.get(attempt.prompt_id or attempt.request_id))
    for key in (*keys_of(attempt.asked), *keys_of(attempt.prompt)):
        attempt = _filled(attempt, known.get(key))
    return attempt


def _filled(attempt: ForeignAttempt, found: Asked | None) -> ForeignAttempt:
    if found is None:
        return attempt
    names = (name for name in ForeignAttempt.__struct_fields__ if not getattr(attempt, name))
    told = {name: value for name in names if (value := getattr(found, name, None))}
    return msgspec.structs.replace(attempt, **told) if told else attempt
