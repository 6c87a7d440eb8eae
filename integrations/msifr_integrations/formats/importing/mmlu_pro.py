"""Result files of MMLU-Pro: a question, its options, the answer's letter, the output, and the letter in it."""

from collections.abc import Iterator
from typing import Final

from msifr_integrations.formats.importing.attempts import (
    ForeignAttempt,
    Format,
    Lost,
    OutcomeReader,
    Record,
    as_word,
    first_of,
)

_OUTPUTS: Final = ("model_outputs", "model_output", "generated_text", "response")


def _fits(record: Record) -> bool:
    known = {"question", "options", "answer"} <= record.keys() and isinstance(record["options"], list)
    return known and any(isinstance(record.get(name), str) for name in _OUTPUTS)


def _attempts(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    del reading, where
    text, gold = first_of(record, _OUTPUTS), as_word(record["answer"])
    if not isinstance(text, str) or not text:
        yield Lost("no text")
        return
    options = [f"({chr(ord('A') + i)}) {option}" for i, option in enumerate(record["options"][:26])]
    number = as_word(record.get("question_id"))
    yield ForeignAttempt(
        text=text,
        prompt="\n".join((str(record["question"]), *options)),
        prompt_id=f"mmlu-pro/{number}" if number else "",
        # An output in which no letter was found has none that is right.
        outcome=record["pred"] == gold if "pred" in record and gold is not None else None,
        gold=gold,
        group=as_word(record.get("category")),
        dataset="mmlu-pro",
    )


MMLU_PRO: Final = Format(
    "results of MMLU-Pro",
    _fits,
    _attempts,
    frozenset(
        ["question_id", "question", "options", "answer", "answer_index", "category", "pred", "cot_content", "src"]
    )
    | set(_OUTPUTS),
)
