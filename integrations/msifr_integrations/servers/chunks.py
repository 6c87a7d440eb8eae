"""What servers stream: from chunks, in three dialects, to one event per token.

**Chunks are not tokens.** A chunk may hold several (speculative decoding, characters of several tokens), or none. How
many it holds is told by `usage` or `timings` where the server sends them with every chunk, else by its
log-probabilities, else it counts as one; the usage at the end decides, and what it counts beyond is appended.

**Text.** Each event has its own token's text where the dialect tells it and where the texts of a chunk's tokens make
up the chunk's; else the last token of the chunk has it all. A character is never cut: servers hold back its first
bytes, and tokens whose bytes end within one pass them on to the next. Text that a server sends apart from its answer
as reasoning was generated like the rest: it stands in front, as `<think>…</think>` and a line's end.
"""

import codecs
import math
from collections.abc import Sequence

import msgspec

from msifr_integrations.engine.base import Event
from msifr_integrations.servers.faults import NULL, BrokenStream, RefusedRequest, error_message, fault, is_null

MOST_CHARACTERS = 1 << 10
"""Characters per token that an attempt may have on average: what has more does not come from a model."""

SPARE_TOKENS = 16
"""Tokens beyond its limit that an attempt may have before its server counts as one that ignores limits."""


class ChunkUsage(msgspec.Struct, frozen=True, gc=False):
    """Tokens generated so far, and those of the prompt."""

    completion_tokens: int | None = None
    prompt_tokens: int | None = None


class ChunkTimings(msgspec.Struct, frozen=True, gc=False):
    """Tokens generated so far, in llama.cpp's words."""

    predicted_n: int | None = None


class TokenEntry(msgspec.Struct, frozen=True):
    """One token, as chats tell it."""

    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None
    id: int = -1


class ChunkLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities as chats tell them (llama.cpp's completions too), or as completions do."""

    content: list[TokenEntry] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None


class ChunkDelta(msgspec.Struct, frozen=True):
    """What a chat's chunk adds to the message."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: msgspec.Raw = NULL


class ChunkChoice(msgspec.Struct, frozen=True):
    """A chunk's part of one answer; `stop_reason` and `matched_stop` are a stop string or the id of a token."""

    index: int = 0
    text: str | None = None
    delta: ChunkDelta | None = None
    logprobs: ChunkLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    matched_stop: str | int | None = None


class StreamedChunk(msgspec.Struct, frozen=True):
    """One event of a stream."""

    choices: Sequence[ChunkChoice] = ()
    usage: ChunkUsage | None = None
    timings: ChunkTimings | None = None
    error: msgspec.Raw = NULL
    object: str | None = None


_DECODER = msgspec.json.Decoder(StreamedChunk)


def token_texts(tokens: Sequence[tuple[str, Sequence[int] | None]], text: str, before: bytes = b"") -> list[str]:
    """Return the text that each token completes, from the texts and bytes that the server tells of them.

    before: the bytes of a character that earlier tokens began. The texts always make up `text`: where what is told does
    not, the last token has it all.
    """
    alone = [""] * (len(tokens) - 1) + [text]
    if len(tokens) < 2:
        return alone[: len(tokens)]
    if all(told is not None for _, told in tokens):
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            decoder.decode(before)
            texts = [decoder.decode(bytes(told or ())) for _, told in tokens]
        except ValueError:  # no UTF-8, or no bytes
            texts = alone
    else:
        texts = [token for token, _ in tokens]
    return texts if "".join(texts) == text else alone


def begun(data: bytes) -> bytes:
    """Return the bytes at the end of `data` that begin a character and do not end it."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[-back:] if back < size else b""
    return b""


class ChunkReader:
    """Reads the chunks of one try at the attempt `attempt_id`, of at most `limit` tokens.

    counted: tokens so far; prompt_tokens: of the prompt, 0 until it is told. finish: the attempt's, "" while it goes
    on. done: the server said that nothing follows.
    overcounted: tokens counted from chunks that the server's usage denies in the end.
    """

    def __init__(self, attempt_id: str, limit: int) -> None:
        self._id = attempt_id
        self._limit = limit + SPARE_TOKENS
        self._characters = 0
        self._held = ""  # text that came without a token
        self._begun = b""  # bytes of a character whose last have not come
        self._thinking = False
        self._last: list[Event] = []  # of the chunk with the finish: usage may follow
        self._told = 0
        self.counted = 0
        self.prompt_tokens = 0
        self.finish = ""
        self.done = False

    @property
    def overcounted(self) -> int:
        """See the class."""
        return max(self.counted - self._told, 0) if self._told else 0

    def read(self, payload: bytes) -> list[Event]:
        """Return the events of a chunk, none if it may be the last.

        Raises `BrokenStream` for a chunk that is none or tells of a failure, `RefusedRequest` for one that tells that
        the request was wrong, calls a tool, or goes on and on.
        """
        if payload == b"[DONE]":
            self.done = True
        if self.done:
            return []
        try:
            chunk = _DECODER.decode(payload)
        except (ValueError, RecursionError) as error:
            raise BrokenStream(f"a chunk is no chunk: {error}") from None
        if not is_null(chunk.error) or chunk.object == "error":
            message, status = error_message(payload)
            raise fault(status, message) if status >= 400 else BrokenStream(f"the server says: {message}")
        choice = next((choice for choice in chunk.choices if choice.index == 0), None)
        text = "" if choice is None else self._text(choice)
        told = None
        if chunk.usage is not None:
            told = chunk.usage.completion_tokens
            self.prompt_tokens = max(chunk.usage.prompt_tokens or 0, self.prompt_tokens)
        if told is None and chunk.timings is not None:
            told = chunk.timings.predicted_n
        events = self._tokens(choice.logprobs if choice is not None else None, text, told)
        self._characters += len(text)
        if self._characters > MOST_CHARACTERS * self._limit:
            raise RefusedRequest("the server sends more text than max_tokens can hold")
        if choice is not None and choice.finish_reason and not self.finish:
            self.finish = _finish(choice)
        if not self.finish:
            return events
        self._last += events
        return []

    def end(self) -> list[Event]:
        """Return the last events, at the end of the stream. Raises `BrokenStream` if it came too early."""
        if not (self.finish or self.done):
            raise BrokenStream("the stream ended before the answer did")
        finish = self.finish or "done"
        if not self._last:
            return [Event(self._id, -1, math.nan, math.nan, finish, self._held, 0, self.prompt_tokens)]
        last = self._last[-1]._replace(prompt_tokens=self.prompt_tokens)
        return [*self._last[:-1], last._replace(finish=finish, text=(last.text or "") + self._held)]

    def _text(self, choice: ChunkChoice) -> str:
        delta = choice.delta
        if delta is None:
            return choice.text or ""
        if not is_null(delta.tool_calls) and bytes(delta.tool_calls) != b"[]":
            raise RefusedRequest("the model calls a tool; tools are not supported")
        text = ""
        if reasoning := delta.reasoning_content or delta.reasoning:
            text = reasoning if self._thinking else "<think>" + reasoning
            self._thinking = True
        if delta.content:
            text += "</think>\n" + delta.content if self._thinking else delta.content
            self._thinking = False
        return text

    def _tokens(self, logprobs: ChunkLogprobs | None, text: str, told: int | None) -> list[Event]:
        entries = _entries(logprobs) if logprobs is not None else []
        if told is not None and told > 0:  # some servers send 0 until they know
            self._told = told
            new = max(told - self.counted, len(entries))
        else:
            new = len(entries) or (1 if text else 0)
        if not new:
            self._held += text
            return []
        if self.counted + new > self._limit:
            raise RefusedRequest("the server goes on beyond max_tokens")
        self.counted += new
        if self._held:
            text = self._held + text
            self._held = ""
        if new == 1 and entries:
            _, data, logprob, token = entries[0]
            if data and (data[-1] >= 0x80 or self._begun):
                self._begun = _begun_by(self._begun, entries)
            return [Event(self._id, token, logprob, math.nan, "", text, 1, self.prompt_tokens)]
        events = [
            Event(self._id, -1, math.nan, math.nan, "", "", 1, self.prompt_tokens) for _ in range(new - len(entries))
        ]
        if not entries:
            events[-1] = events[-1]._replace(text=text)
            return events
        texts = token_texts([entry[:2] for entry in entries], text, self._begun)
        self._begun = _begun_by(self._begun, entries)
        for (_, _, logprob, token), piece in zip(entries, texts, strict=True):
            events.append(Event(self._id, token, logprob, math.nan, "", piece, 1, self.prompt_tokens))
        return events


def _begun_by(before: bytes, entries: Sequence[tuple[str, Sequence[int] | None, float, int]]) -> bytes:
    """Return the bytes of a character begun when these tokens are read, after `before`."""
    try:
        return begun(before + b"".join(bytes(data or ()) for _, data, _, _ in entries))
    except ValueError:
        return b""


def _entries(logprobs: ChunkLogprobs) -> list[tuple[str, Sequence[int] | None, float, int]]:
    """Return text, bytes, log-probability (NaN: not known) and id (−1: not known) of each token."""
    if logprobs.content:
        return [
            (entry.token, entry.bytes, math.nan if entry.logprob is None else entry.logprob, entry.id)
            for entry in logprobs.content
        ]
    if not logprobs.token_logprobs:
        return []
    tokens = logprobs.tokens or []
    return [
        (tokens[i] if i < len(tokens) else "", None, math.nan if value is None else value, -1)
        for i, value in enumerate(logprobs.token_logprobs)
    ]


def _finish(choice: ChunkChoice) -> str:
    reason = choice.finish_reason or ""
    if reason == "error":
        raise BrokenStream("the server ended the answer with an error")
    if reason in ("tool_calls", "function_call"):
        raise RefusedRequest("the model calls a tool; tools are not supported")
    if reason == "stop":
        matched = isinstance(choice.stop_reason, str) or isinstance(choice.matched_stop, str)
        return "stop" if matched else "end"
    return reason
