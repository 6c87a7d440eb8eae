"""Results of SkyThought: by the problem's id, with a response for each sample, or for each temperature."""

from collections.abc import Iterator
from typing import Any, Final

from msifr_integrations.formats.importing.attempts import (
    ForeignAttempt,
    Format,
    Lost,
    OutcomeReader,
    Record,
    as_count,
    as_word,
    first_of,
    in_place,
)
from msifr_policy.records.chats import context_of

_PROBLEMS: Final = ("prompt", "problem", "question", "Question")
_GOLDS: Final = ("answer", "Answer", "solution")


def _fits(record: Record) -> bool:
    return "_id" in record and isinstance(record.get("responses"), dict | list)


def _attempts(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    told = record["responses"]
    keyed = told.items() if isinstance(told, dict) else [("", told)]
    for key, responses in keyed:
        usages = record.get("token_usages")
        usages = usages.get(key) if isinstance(usages, dict) else usages
        for place, response in enumerate(responses if isinstance(responses, list) else [responses]):
            yield _attempt(record, response, in_place(usages, place), reading, where)


def _attempt(record: Record, response: Any, usage: Any, reading: OutcomeReader, where: str) -> ForeignAttempt | Lost:
    text = response.get("content") if isinstance(response, dict) else None
    if not isinstance(text, str) or not text:
        return Lost("no text")
    usage = usage if isinstance(usage, dict) else {}
    prompt = first_of(record, _PROBLEMS)
    return ForeignAttempt(
        text=text,
        prompt=prompt if isinstance(prompt, str) else "",
        asked=context_of(record.get("input_conversation")),
        prompt_id=as_word(record["_id"]) or "",
        outcome=reading.outcome(response.get("correctness"), "correctness", where),
        gold=as_word(first_of(record, _GOLDS)),
        group=as_word(first_of(record, ("subject", "level", "difficulty"))),
        tokens=as_count(usage.get("completion_tokens")),
        prompt_tokens=as_count(usage.get("prompt_tokens")),
    )


SKYTHOUGHT: Final = Format(
    "results of SkyThought",
    _fits,
    _attempts,
    frozenset(("_id", "responses", "token_usages", "input_conversation", "subject", "level", "difficulty"))
    | set(_PROBLEMS)
    | set(_GOLDS),
)
