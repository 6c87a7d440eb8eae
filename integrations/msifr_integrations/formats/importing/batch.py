"""What batch APIs give back, OpenAI's and those like it, and Anthropic's: a line for each request, by `custom_id`."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final

from msifr_integrations.formats.importing.attempts import (
    ForeignAttempt,
    Format,
    Lost,
    OutcomeReader,
    Record,
    as_count,
    as_word,
)
from msifr_policy.records.chats import answered

_MOST: Final = 1e6
"""What is farther from 0 is no log-probability; servers say -9999 for those they do not tell."""


def _fits(record: Record) -> bool:
    return "custom_id" in record and not {"response", "result", "error"}.isdisjoint(record)


def _attempts(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    del reading, where
    response, result = record.get("response"), record.get("result")
    body = response.get("body") if isinstance(response, dict) else None
    if isinstance(result, dict) and isinstance(message := result.get("message"), dict):
        body = message | {"choices": [{"message": {"content": message.get("content")}}]}  # of Anthropic
    if not isinstance(body, dict):
        yield Lost("the request failed")
        return
    choices = body.get("choices")
    if not isinstance(choices, list):
        choices = [{"message": {"content": _said(body.get("output"))}}] if "output" in body else []
    if not choices:
        yield Lost("the request failed")
    request_id = as_word(record.get("custom_id")) or ""
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        text = answered([{"role": "assistant", **message}]) if isinstance(message, dict) else None
        text = text or (choice.get("text") if isinstance(choice, dict) else None)
        if not isinstance(text, str) or not text:
            yield Lost("a choice without text")
            continue
        ends, logprobs = _tokens(choice, text)
        usage = body.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        # Of several choices it is not told how many tokens each has.
        tokens = as_count(usage.get("completion_tokens", usage.get("output_tokens"))) if len(choices) == 1 else None
        yield ForeignAttempt(
            text=text,
            request_id=request_id,
            model=as_word(body.get("model")),
            tokens=tokens if ends is None else len(ends),
            prompt_tokens=as_count(usage.get("prompt_tokens", usage.get("input_tokens"))),
            token_ends=ends,
            logprobs=logprobs,
        )


def _said(output: Any) -> Any:
    """Return the text of an answer of the Responses API: what its messages say."""
    if not isinstance(output, list):
        return output
    parts = [item.get("content") for item in output if isinstance(item, dict) and item.get("type") == "message"]
    return [part for content in parts if isinstance(content, list) for part in content]


def _tokens(choice: Record, text: str) -> tuple[list[int] | None, list[float] | None]:
    """Return the ends of the tokens in the text and their log-probabilities, where they are told and make the text."""
    told = choice.get("logprobs")
    content = told.get("content") if isinstance(told, dict) else None
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        return None, None
    tokens, logprobs = [each.get("token") for each in content], [each.get("logprob") for each in content]
    if not all(isinstance(token, str) for token in tokens) or "".join(tokens) != text:
        return None, None
    known = all(isinstance(logprob, int | float) and abs(logprob) <= _MOST for logprob in logprobs)
    return list(accumulate(map(len, tokens))), [float(each) for each in logprobs] if known else None


BATCH: Final = Format(
    "the output of a batch API (OpenAI and others)",
    _fits,
    _attempts,
    frozenset(("id", "custom_id", "response", "result", "error")),
)
