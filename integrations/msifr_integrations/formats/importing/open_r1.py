"""Rows as Open R1 publishes them: a problem, its generations, and for each what verifiers say of it."""

from collections.abc import Iterator
from typing import Any, Final

from msifr_integrations.formats.importing.attempts import Attempt, Format, Lost, Reading, Record
from msifr_integrations.formats.importing.rows import Rows

_VERIFIERS: Final = ("correctness_math_verify", "correctness_llama", "correctness")

_ROWS: Final = Rows(
    prompts=("problem", "question", "prompt"),
    texts=("generations",),
    verdicts=_VERIFIERS,
    golds=("answer", "gold", "solution"),
    prompt_ids=("uuid", "problem_id"),
    groups=("problem_type", "source", "group"),
    datasets=("dataset",),
)


def _attempts(record: Record, reading: Reading, where: str) -> Iterator[Attempt | Lost]:
    """Yield the attempts of a row; where the first verifier says nothing of any of them, the next one is asked."""
    said = {name: value for name, value in record.items() if name not in _VERIFIERS or _says_something(value)}
    return _ROWS.attempts(said, reading, where)


def _says_something(values: Any) -> bool:
    return any(value is not None for value in values) if isinstance(values, list) else values is not None


def _fits(record: Record) -> bool:
    return "generations" in record and any(name in record for name in (*_VERIFIERS, "is_reasoning_complete"))


OPEN_R1: Final = Format(
    "rows as Open R1 has them",
    _fits,
    _attempts,
    _ROWS.used | {"is_reasoning_complete", "correctness_count", "finish_reasons", "messages", "question_type"},
)
