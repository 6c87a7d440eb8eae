"""Rows of a prompt and what was generated for it, one text or several, under the names that tools use.

Most formats are of this kind: vLLM, TRL, verl, distilabel, OpenR1, Alpaca, tables. They differ in names, and in what
they say of a text: a reward, a verdict, tokens.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from msifr_integrations.formats.importing.attempts import (
    ForeignAttempt,
    Lost,
    OutcomeReader,
    Record,
    as_count,
    as_word,
    first_of,
    in_place,
)
from msifr_policy.errors import InputError
from msifr_policy.records.chats import answered, asked, context_of

Names = tuple[str, ...]

VERDICTS: Final = (
    "correct", "is_correct", "correctness", "accepted", "passed", "success", "reward", "rewards", "score", "scores",
    "label",
)  # fmt: skip
GOLDS: Final = (
    "gold", "answer", "ground_truth", "target", "reference", "expected", "expected_answer", "reference_answer",
    "gold_answer", "gts", "solution",
)  # fmt: skip
PROMPT_IDS: Final = ("prompt_id", "question_id", "problem_id", "task_id", "uid")


@dataclass(frozen=True, slots=True)
class Rows:
    """The names under which a format has what, the first that has a value; see `ForeignAttempt` for what each is.

    `verdicts` are truth values or rewards, one or a list of one for each text. `tokens` gives how many tokens the text
    in a place has.
    """

    prompts: Names
    texts: Names
    verdicts: Names = VERDICTS
    golds: Names = GOLDS
    ids: Names = ()
    prompt_ids: Names = PROMPT_IDS
    models: Names = ("model", "model_name")
    groups: Names = ("group", "category", "subject", "topic", "level")
    datasets: Names = ("dataset",)
    tokens: Callable[[Record, int], int | None] | None = None

    @property
    def used(self) -> frozenset[str]:
        """All names."""
        every = (
            self.prompts, self.texts, self.verdicts, self.golds, self.ids, self.prompt_ids, self.models, self.groups,
            self.datasets,
        )  # fmt: skip
        return frozenset(name for names in every for name in names)

    def attempts(self, record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
        """Yield the attempts of a row."""
        told = first_of(record, self.prompts)
        texts = texts_of(first_of(record, self.texts))
        verdicts = self._verdicts(record, reading, where)
        models = first_of(record, self.models)
        shared: dict[str, Any] = {
            "prompt": asked(told) or "",
            "asked": context_of(told),
            "prompt_id": as_word(first_of(record, self.prompt_ids)) or "",
            "id": (as_word(first_of(record, self.ids)) or "") if len(texts) == 1 else "",
            "gold": as_word(first_of(record, self.golds)),
            "group": as_word(first_of(record, self.groups)),
            "dataset": as_word(first_of(record, self.datasets)),
        }
        for place, text in enumerate(texts or [""]):
            if not text:
                yield Lost("no text")
                continue
            outcomes = (reading.outcome(in_place(values, place), name, where) for name, values in verdicts)
            yield ForeignAttempt(
                text=text,
                outcome=next((outcome for outcome in outcomes if outcome is not None), None),
                model=as_word(in_place(models, place)),
                tokens=None if self.tokens is None else self.tokens(record, place),
                **shared,
            )

    def _verdicts(self, record: Record, reading: OutcomeReader, where: str) -> list[tuple[str, Any]]:
        """Return what the row says of its texts, under the name asked for, or under those known, by rank."""
        if reading.metric:
            if reading.metric not in record:
                raise InputError(
                    f"no column {reading.metric!r}", where=where, remedy="--metric names one that is there"
                )
            return [(reading.metric, record[reading.metric])]
        return [(name, record[name]) for name in self.verdicts if record.get(name) is not None]


def texts_of(value: Any) -> list[str]:
    """Return the texts that were generated: one text or chat, a list of them, or of objects that hold one."""
    if value is None:
        return []
    one = _text(value)
    if one is not None:
        return [one]
    return [_text(each) or "" for each in value] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = first_of(value, ("text", "message", "content", "generated_text"))
    return answered(value)


def tokens_of_outputs(record: Mapping[str, Any], place: int) -> int | None:
    """Return how many token ids an output of vLLM has."""
    outputs = record.get("outputs")
    output = in_place(outputs, place) if isinstance(outputs, list) else None
    ids = output.get("token_ids") if isinstance(output, Mapping) else None
    return len(ids) if isinstance(ids, list) else as_count(in_place(record.get("tokens"), place))
