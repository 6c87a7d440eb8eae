"""Samples that lm-evaluation-harness logs (`--log_samples`): one line for each document and filter."""

import json
from collections.abc import Iterator
from contextlib import suppress
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
from msifr_policy.errors import InputError
from msifr_policy.records.chats import asked

_VERDICTS: Final = ("exact_match", "acc", "acc_norm", "pass@1", "pass_at_1", "math_verify", "em")
"""Metrics that judge a response, in the order in which one is taken if a task has several."""

_LOOKED_AT: Final = 4
"""Texts of a document, the longest first, that are looked for in what the model was asked."""


def _fits(record: Record) -> bool:
    return {"doc_id", "resps"} <= record.keys() and isinstance(record["resps"], list)


def _attempts(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    metric, _, wanted = reading.metric.partition(",")
    wanted = reading.remembered.setdefault("filter", wanted or as_word(record.get("filter")) or "")
    if record.get("filter", wanted) != wanted:
        yield Lost(f"the same responses again, by another filter of the harness than {wanted} (--metric METRIC,FILTER)")
        return
    context = _context(record.get("arguments"))
    prompt = _question(context, record.get("doc"))
    responses = _responses(record["resps"])
    if not responses:
        yield Lost("no response is logged")
    # With several responses the metric is of what the harness's filter made of them together.
    outcome = _outcome(record, metric, reading, where) if len(responses) == 1 else None
    for response in responses:
        if not isinstance(response, str):
            yield Lost("nothing was generated: the task compares likelihoods")
        elif not response:
            yield Lost("no text")
        else:
            yield ForeignAttempt(text=response, prompt=prompt, outcome=outcome, gold=as_word(record.get("target")))


def _responses(resps: list[Any]) -> list[Any]:
    """Return the responses: for each request of the document a list of one for each time it was repeated."""
    return [response for request in resps for response in (request if isinstance(request, list) else [request])]


def _context(arguments: Any) -> str:
    """Return what the model was asked: the first argument of the first request, as versions of the harness log it."""
    if isinstance(arguments, dict):
        arguments = [list(each.values()) if isinstance(each, dict) else each for each in arguments.values()]
    first = arguments[0] if isinstance(arguments, list) and arguments else None
    while isinstance(first, list) and first and not isinstance(first[0], dict):
        first = first[0]
    if isinstance(first, str) and first.startswith('[{"'):
        with suppress(ValueError, RecursionError):  # the messages of a chat are logged as their JSON
            first = json.loads(first)
    return asked(first) or ""


def _question(context: str, doc: Any) -> str:
    """Return what is asked last, without the demonstrations before it: from where the document's own text begins."""
    texts = [text.strip() for text in doc.values() if isinstance(text, str)] if isinstance(doc, dict) else []
    begins = (context.rfind(text) for text in sorted(filter(None, texts), key=len, reverse=True)[:_LOOKED_AT])
    found = next((place for place in begins if place >= 0), 0)
    return context[context.rfind("\n", 0, found) + 1 :] or context


def _outcome(record: Record, metric: str, reading: OutcomeReader, where: str) -> bool | None:
    names = record.get("metrics")
    known = [name for name in names if isinstance(name, str)] if isinstance(names, list) else list(_VERDICTS)
    known = [name for name in known if name in record]
    if metric and metric not in known:
        raise InputError(f"no metric {metric!r}", where=where, remedy=f"--metric: known here: {', '.join(known)}")
    ranked = sorted(known, key=lambda name: _VERDICTS.index(name) if name in _VERDICTS else len(_VERDICTS))
    if not ranked:
        return None
    name = metric or ranked[0]
    return reading.outcome(record[name], name, where)


LM_EVAL: Final = Format(
    "samples that lm-evaluation-harness logged",
    _fits,
    _attempts,
    named("doc_id doc target arguments resps filtered_resps filter metrics doc_hash prompt_hash target_hash")
    | set(_VERDICTS),
)
