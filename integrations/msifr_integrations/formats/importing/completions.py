"""Prompts and completions in a row: what vLLM, TRL and verl write, Alpaca's data, and tables with such names."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from msifr_integrations.formats.importing.attempts import ForeignAttempt, Format, Lost, OutcomeReader, Record
from msifr_integrations.formats.importing.rows import PROMPT_IDS, VERDICTS, Rows, tokens_of_outputs
from msifr_policy.errors import InputError

_VLLM: Final = Rows(prompts=("prompt", "messages"), texts=("outputs",), tokens=tokens_of_outputs)
_COMPLETIONS: Final = Rows(prompts=("prompt", "prompts", "messages"), texts=("completions", "completion"))
_VERL: Final = Rows(prompts=("input",), texts=("output",), verdicts=("score", "reward", "acc"))
_ALPACA: Final = Rows(prompts=("instruction",), texts=("outputs", "output"))
_TABLE: Final = Rows(
    prompts=("prompt", "question", "problem", "query", "instruction", "input"),
    texts=(
        "completions", "completion", "responses", "response", "generations", "generation", "outputs", "output",
        "model_outputs", "model_output", "generated_text", "model_answer", "prediction", "text",
    ),
    ids=("id",),
)  # fmt: skip

_OF_TRAINING: Final = frozenset(("step", "advantage", "advantages", "epoch", "images", "image", "index", "id"))
"""What trainers write beside completions that is no reward."""


def _completions(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    """Yield the attempts of a row of TRL, whose rewards are under the names of the functions that gave them."""
    if not reading.metric and not any(record.get(name) is not None for name in VERDICTS) and "step" in record:
        known = _COMPLETIONS.used | _OF_TRAINING
        rewards = [name for name, value in record.items() if name not in known and _is_reward(value)]
        if len(rewards) > 1:
            remedy = f"name one of {', '.join(rewards)} with --metric, or judge with --filter"
            raise InputError("several rewards", where=where, remedy=remedy)
        if rewards:
            reading = replace(reading, metric=rewards[0])
    return _COMPLETIONS.attempts(record, reading, where)


def _is_reward(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _alpaca(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    if isinstance(more := record.get("input"), str) and more.strip() and isinstance(record.get("instruction"), str):
        record = record | {"instruction": f"{record['instruction']}\n\n{more}"}
    return _ALPACA.attempts(record, reading, where)


def _outputs_have_text(record: Record) -> bool:
    outputs = record.get("outputs")
    return isinstance(outputs, list) and bool(outputs) and isinstance(outputs[0], dict) and "text" in outputs[0]


def _is_table(record: Record) -> bool:
    texts = [name for name in _TABLE.texts if record.get(name) is not None]
    prompts = [name for name in (*_TABLE.prompts, *PROMPT_IDS) if record.get(name) is not None]
    return bool(texts and set(prompts) - set(texts))


VLLM: Final = Format(
    "outputs of vLLM",
    lambda record: "prompt" in record and _outputs_have_text(record),
    _VLLM.attempts,
    _VLLM.used | {"request_id", "prompt_token_ids", "finished", "prompt_logprobs", "metrics"},
)
COMPLETIONS: Final = Format(
    "prompts and completions (TRL and others)",
    lambda record: (
        not {"prompt", "prompts"}.isdisjoint(record) and not {"completion", "completions"}.isdisjoint(record)
    ),
    _completions,
    _COMPLETIONS.used,
)
VERL: Final = Format(
    "rollouts of verl",
    lambda record: {"input", "output", "score"} <= record.keys(),
    _VERL.attempts,
    _VERL.used | {"step"},
)
ALPACA: Final = Format(
    "training data as Alpaca has it",
    lambda record: {"instruction", "output"} <= record.keys(),
    _alpaca,
    _ALPACA.used | {"input"},
)
TABLE: Final = Format("prompts and outputs, told by their names", _is_table, _TABLE.attempts, _TABLE.used)
