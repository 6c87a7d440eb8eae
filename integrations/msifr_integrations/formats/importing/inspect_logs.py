"""Logs of inspect_ai: `.eval`, which are zip archives, and `.json`. A sample of an epoch is an attempt."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msifr_integrations.formats.importing.attempts import (
    ForeignAttempt,
    Format,
    Lost,
    OutcomeReader,
    Record,
    as_count,
    as_word,
    named,
)
from msifr_policy.errors import InputError
from msifr_policy.files import LONGEST_LINE
from msifr_policy.records.chats import answered, asked, context_of
from msifr_policy.records.lines import object_of

_REMEDY: Final = "inspect log convert writes whole logs"
_HEADERS: Final = ("header.json", "_journal/start.json")
"""What is told of all samples; a log of a run that was cut short has only the second."""

_GRADES: Final = {"C": True, "I": False, "P": False, "N": False}
"""Correct, incorrect, partially correct, no answer: only the first is accepted."""


def read_eval(path: Path) -> Iterator[tuple[str, Record | InputError]]:
    """Yield the samples of an `.eval` log, each with what the log says of all as `eval`.

    Raises `InputError` for another archive, and one that cannot be read. Memory: one sample, of a bounded size.
    """
    if sys.version_info >= (3, 14):
        import zipfile
    else:  # members may be compressed by Zstandard
        from backports.zstd import zipfile

    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), remedy="the file may be cut short") from error
    with archive:
        names = archive.namelist()
        samples = [name for name in names if name.startswith("samples/") and name.endswith(".json")]
        header = next((name for name in _HEADERS if name in names), None)
        if header is None:
            raise InputError("is a zip archive", where=str(path), remedy="unpack it, and name the files in it")
        about = _member(archive, header, path)
        for name in samples:
            where = f"{path}, {name}"
            try:
                yield where, {"eval": about.get("eval")} | _member(archive, name, path)
            except InputError as error:
                yield where, error


def _member(archive: Any, name: str, path: Path) -> Record:
    where = f"{path}, {name}"
    try:
        with archive.open(name) as file:
            # The size that the archive tells is not to be trusted.
            return object_of(file.read(LONGEST_LINE + 1), where, _REMEDY)
    except InputError:
        raise
    except Exception as error:  # whatever an unpacker finds wrong with hostile bytes
        raise InputError(f"cannot be read: {error}", where=where, remedy="the file may be cut short") from error


def _fits(record: Record) -> bool:
    return {"eval", "input", "output"} <= record.keys() and isinstance(record["output"], dict)


def _attempts(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    if record.get("error"):
        yield Lost("the sample ended in an error")
        return
    about = record["eval"] if isinstance(record["eval"], dict) else {}
    choices = record["output"].get("choices")
    message = (
        choices[0].get("message") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    )
    text = answered([message]) if isinstance(message, dict) else None
    if not text:
        yield Lost("no text was generated")
        return
    usage = record["output"].get("usage")
    usage = usage if isinstance(usage, dict) else {}
    target = record.get("target")
    prompt = asked(record["input"]) or ""
    dataset = about.get("dataset")
    yield ForeignAttempt(
        text=text,
        prompt=_with_choices(prompt, record.get("choices")),
        asked=context_of(record["input"]),
        outcome=_outcome(record.get("scores"), reading, where),
        gold=as_word(target[0] if isinstance(target, list) and target else target),
        group=as_word(about.get("task")),
        dataset=as_word(dataset.get("name") if isinstance(dataset, dict) else None),
        model=as_word(about.get("model")),
        tokens=as_count(usage.get("output_tokens")),
        prompt_tokens=as_count(usage.get("input_tokens")),
    )


def _with_choices(prompt: str, choices: Any) -> str:
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, str) for choice in choices):
        return prompt
    return "\n".join((prompt, *(f"{chr(ord('A') + i)}) {choice}" for i, choice in enumerate(choices[:26]))))


def _outcome(scores: Any, reading: OutcomeReader, where: str) -> bool | None:
    """Return the verdict of the scorer that was named, or of the only one."""
    if not isinstance(scores, dict) or not scores:
        return None
    if reading.metric and reading.metric not in scores:
        remedy = f"known here: {', '.join(map(str, scores))}"
        raise InputError(f"no scorer {reading.metric!r}", where=where, remedy=f"--metric: {remedy}")
    if not reading.metric and len({repr(_value(score)) for score in scores.values()}) > 1:
        remedy = f"name one of {', '.join(map(str, scores))} with --metric"
        raise InputError("several scorers, which disagree", where=where, remedy=remedy)
    name = reading.metric or next(iter(scores))
    value = _value(scores[name])
    return _GRADES[value] if isinstance(value, str) and value in _GRADES else reading.outcome(value, name, where)


def _value(score: Any) -> Any:
    return score.get("value") if isinstance(score, dict) else None


INSPECT: Final = Format(
    "a log of inspect_ai",
    _fits,
    _attempts,
    named(
        "eval id epoch input choices target output scores messages error attachments store events events_data "
        "model_usage role_usage started_at completed_at total_time working_time uuid error_retries turn_count"
    ),
)
