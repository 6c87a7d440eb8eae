"""GSM8K: the solutions of models that were published with it, and its own questions with their solutions."""

from collections.abc import Iterator
from typing import Final

from msifr_integrations.formats.importing.attempts import (
    ForeignAttempt,
    Format,
    Lost,
    OutcomeReader,
    Record,
    as_word,
    named,
)

_MARK: Final = "####"


def _is_of_models(record: Record) -> bool:
    return {"question", "ground_truth"} <= record.keys() and any(_is_solution(value) for value in record.values())


def _is_solution(value: object) -> bool:
    return isinstance(value, dict) and {"solution", "is_correct"} <= value.keys()


def _of_models(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    for name, told in record.items():
        if not _is_solution(told):
            continue
        if not isinstance(told["solution"], str) or not told["solution"]:
            yield Lost("no text")
            continue
        yield ForeignAttempt(
            text=told["solution"],
            prompt=str(record["question"]),
            outcome=reading.outcome(told["is_correct"], "is_correct", where),
            gold=as_word(record["ground_truth"]),
            dataset="gsm8k",
            model=name,
        )


def _is_benchmark(record: Record) -> bool:
    return {"question", "answer"} <= record.keys() and isinstance(record["answer"], str) and _MARK in record["answer"]


def _benchmark(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    del reading, where
    gold = record["answer"].rpartition(_MARK)[2].strip()
    yield ForeignAttempt(
        text=record["answer"], prompt=str(record["question"]), gold=gold, dataset="gsm8k", model="reference"
    )


GSM8K_MODELS: Final = Format(
    "solutions of models to GSM8K",
    _is_of_models,
    _of_models,
    named("question ground_truth 6B_finetuning 6B_verification 175B_finetuning 175B_verification"),
)
GSM8K: Final = Format(
    "GSM8K: questions and their reference solutions",
    _is_benchmark,
    _benchmark,
    frozenset(("question", "answer")),
    note="reference solutions are all right, and no attempts of a model: nothing can be learned of what goes wrong; "
    "make attempts at the questions with msifr generate",
)
