"""Rows as Open R1 publishes them: a problem, its generations, and for each what verifiers say of it."""

from typing import Final

from msifr_integrations.formats.importing.attempts import Format, Record
from msifr_integrations.formats.importing.rows import Rows

_VERIFIERS: Final = ("correctness_math_verify", "correctness_llama", "correctness")
"""The next one is asked where one says nothing."""

_ROWS: Final = Rows(
    prompts=("problem", "question", "prompt"),
    texts=("generations",),
    verdicts=_VERIFIERS,
    golds=("answer", "gold", "solution"),
    prompt_ids=("uuid", "problem_id"),
    groups=("problem_type", "source", "group"),
    datasets=("dataset",),
)


def _fits(record: Record) -> bool:
    return "generations" in record and any(name in record for name in (*_VERIFIERS, "is_reasoning_complete"))


OPEN_R1: Final = Format(
    "rows as Open R1 has them",
    _fits,
    _ROWS.attempts,
    _ROWS.used | {"is_reasoning_complete", "correctness_count", "finish_reasons", "messages", "question_type"},
)
