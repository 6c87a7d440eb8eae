"""Solutions whose steps people labelled: PRM800K and ProcessBench."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from msifr_integrations.formats.importing.attempts import (
    ForeignAttempt,
    Format,
    Lost,
    OutcomeReader,
    Record,
    as_word,
    named,
)

_BETWEEN: Final = "\n"


def labels_until_error(ratings: Sequence[int | None]) -> list[int]:
    """Return the labels of steps: 1 before the first error, -1 at it, 0 after it and for a step that was not rated."""
    first = next((i for i, rating in enumerate(ratings) if rating == -1), len(ratings))
    return [-1 if i == first else int(i < first and rating is not None) for i, rating in enumerate(ratings)]


def _of_steps(steps: Sequence[str]) -> tuple[str, list[int]]:
    """Return the text of steps and where each ends, in characters; a line's end stands between two."""
    ends = accumulate(len(step) + len(_BETWEEN) for step in steps)
    return _BETWEEN.join(steps), [end - len(_BETWEEN) for end in ends]


def _is_process_bench(record: Record) -> bool:
    return {"problem", "steps", "label", "final_answer_correct"} <= record.keys() and isinstance(record["steps"], list)


def _process_bench(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    steps, label = record["steps"], record["label"]
    if not steps or not all(isinstance(step, str) for step in steps) or not isinstance(label, int):
        yield Lost("no steps with a label")
        return
    text, stages = _of_steps(steps)
    yield ForeignAttempt(
        text=text,
        prompt=str(record["problem"]),
        id=as_word(record.get("id")) or "",
        outcome=reading.outcome(record["final_answer_correct"], "final_answer_correct", where),
        model=as_word(record.get("generator")),
        dataset="processbench",
        group=(as_word(record.get("id")) or "").rpartition("-")[0] or None,
        stages=stages,
        step_labels=labels_until_error([-1 if place == label else 1 for place in range(len(steps))]),
    )


def _is_prm800k(record: Record) -> bool:
    question, label = record.get("question"), record.get("label")
    return isinstance(question, dict) and "problem" in question and isinstance(label, dict) and "steps" in label


def _prm800k(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    del reading, where
    if record.get("is_quality_control_question") or record.get("is_initial_screening_question"):
        yield Lost("asked again, for quality control")
        return
    question, labelled = record["question"], record["label"].get("steps")
    rated = [_rated(step) for step in labelled if isinstance(step, dict)] if isinstance(labelled, list) else []
    given = question.get("pre_generated_steps")
    steps = [text for text, _ in rated]
    if isinstance(given, list) and given and all(isinstance(step, str) for step in given):
        steps = given  # labels end at the first error, the model's solution goes on
    elif not all(steps):
        yield Lost("steps that people wrote, or that lead nowhere, are no attempt of the model")
        return
    if not steps:
        yield Lost("no steps")
        return
    text, stages = _of_steps(steps)
    ratings = [rating for _, rating in rated][: len(steps)]
    gold, answer = as_word(question.get("ground_truth_answer")), as_word(question.get("pre_generated_answer"))
    yield ForeignAttempt(
        text=text,
        prompt=str(question["problem"]),
        outcome=None if gold is None or answer is None else _plain(answer) == _plain(gold),
        gold=gold,
        dataset="prm800k",
        stages=stages,
        step_labels=labels_until_error([*ratings, *[None] * (len(steps) - len(ratings))]),
    )


def _rated(step: dict[str, Any]) -> tuple[str, int | None]:
    """Return the completion of a step that was chosen, or the only one, and its rating; "" where there is none."""
    completions = step.get("completions")
    completions = [c for c in completions if isinstance(c, dict)] if isinstance(completions, list) else []
    chosen = step.get("chosen_completion")
    if not isinstance(chosen, int):
        chosen = 0 if len(completions) == 1 else -1
    if not 0 <= chosen < len(completions):
        return "", None
    text, rating = completions[chosen].get("text"), completions[chosen].get("rating")
    return text if isinstance(text, str) else "", rating if rating in (-1, 0, 1) else None


def _plain(answer: str) -> str:
    return "".join(answer.replace("$", "").split()).removesuffix(".")


PROCESS_BENCH: Final = Format(
    "ProcessBench: solutions with the first step in error",
    _is_process_bench,
    _process_bench,
    named("id generator problem steps label final_answer_correct"),
)
PRM800K: Final = Format(
    "PRM800K: solutions with labelled steps",
    _is_prm800k,
    _prm800k,
    named("question label is_quality_control_question is_initial_screening_question"),
    note="outcomes are answers that equal the gold answer letter by letter; --filter math compares them as mathematics",
)
