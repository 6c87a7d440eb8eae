"""A small server with the dialects and the faults of real ones, for what no real one does on demand.

Texts are the same for the same prompt and seed. What goes wrong is written in the prompt, as `<fault tries tokens>`: in
the first so many tries at this prompt, after so many tokens. `python fake_server.py '{"kind": "vllm"}'` runs one in a
process of its own and prints its address; `FakeServer` runs one in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

import msgspec

WORDS = [b" the", b" a", b" one", b" fox", b" red", b" runs", b" over", b" old", b" tree", b" and", b" then", b" sees"]
FOX = "🦊".encode()
TOKENS = [
    *WORDS * 4,
    b"\n",
    "é".encode(),
    *(FOX[i : i + 1] for i in range(4)),
    b".",
    b",",
    b" #",
    b" \xe2",
    b"\x9c\x93",
]
"""Texts of tokens: a few are parts of a character, which only ever stand in their order."""

CHARACTERS = [*[[i] for i in range(50)], [50, 51, 52, 53], [54], [55], [56], [57, 58]]
"""Tokens that belong together."""

FAULT = re.compile(r"<(\S+) (\d+) (\d+)>")


class Behaviour(msgspec.Struct, kw_only=True):
    """How the server is.

    length: tokens of an answer, its end included, 0 for as many as are asked for. per_chunk: tokens in a chunk.
    usage: "often", "end" or "never". logprobs: whether there are any. refuses: fields that it does not know.
    key: without it, no answer. longest: characters of a prompt. pause: seconds between chunks. late: tokens that it
    makes after a stream was closed. slice: bytes that are written at once, 0 for all. done: whether `[DONE]` is said.
    models: what it lists. down: every request gets this HTTP status.
    """

    kind: str = "vllm"
    length: int = 0
    per_chunk: int = 1
    usage: str = "often"
    logprobs: bool = True
    refuses: tuple[str, ...] = ()
    key: str = ""
    longest: int = 10_000
    pause: float = 0.0
    late: int = 0
    slice: int = 0
    done: bool = True
    models: tuple[str, ...] = ("fake",)
    down: int = 0
    streams: bool = True
    reasoning: int = 0
    retry_after: str = ""


class Request(msgspec.Struct):
    """What became of a request: tokens made, tokens sent, and whether the client closed before the end."""

    name: str
    body: dict[str, Any]
    authorization: str
    made: int = 0
    sent: int = 0
    closed: bool = False
    aborted: bool = False
    over: bool = False


def tokens_of(prompt: str, seed: int, count: int) -> list[int]:
    """Return the tokens of the answer: `count` of them, with characters whole but for the last."""
    tokens: list[int] = []
    block = 0
    while len(tokens) < count:
        for byte in blake2b(f"{seed} {block} {prompt}".encode()).digest():
            tokens += CHARACTERS[byte % len(CHARACTERS)]
        block += 1
    return tokens[:count]


def text_of(prompt: str, seed: int, count: int) -> str:
    """Return the text of the same: a last character that is not whole is left out."""
    return b"".join(TOKENS[token] for token in tokens_of(prompt, seed, count)).decode(errors="ignore")


def logprob_of(token: int) -> float:
    """Return the log-probability of a token."""
    return -0.25 * (token % 16 + 1)


class Stream:
    """One answer: its chunks as bytes of JSON."""

    def __init__(self, behaviour: Behaviour, body: dict[str, Any], api: str, prompt: str) -> None:
        limit = body.get("max_tokens", body.get("max_completion_tokens", 16))
        self.behaviour, self.body, self.api = behaviour, body, api
        self.count = min(limit, behaviour.length or limit)
        self.tokens = tokens_of(prompt, body.get("seed", 0), self.count)
        self.ends = behaviour.length and behaviour.length <= limit  # the last token is the end of sequence
        self.made = 0
        self.held = b""

    @property
    def over(self) -> bool:
        return self.made >= self.count

    def chunk(self) -> bytes:
        """Make the next chunk: empty if there is nothing to send."""
        new = self.tokens[self.made : self.made + self.behaviour.per_chunk]
        first = self.made
        self.made += len(new)
        end = self.over and self.ends
        texts = [b"" if end and i == len(new) - 1 else TOKENS[token] for i, token in enumerate(new)]
        data = self.held + b"".join(texts)
        text = data.decode(errors="ignore") if self.over else _whole(data)
        self.held = data[len(text.encode()) :]
        if not text and not self.over and self.behaviour.kind == "llama.cpp":
            return b""
        return self.document(text, list(zip(new, texts, strict=True)), self.finish() if self.over else None, first)

    def finish(self) -> str:
        return "stop" if self.ends else "length"

    def document(self, text: str, tokens: list[tuple[int, bytes]], finish: str | None, first: int) -> bytes:
        behaviour = self.behaviour
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
        if self.api == "completions":
            choice["text"] = text
        else:
            choice["delta"] = {"reasoning_content" if first < behaviour.reasoning else "content": text}
        if behaviour.logprobs and self.body.get("logprobs") and tokens:
            choice["logprobs"] = self.logprobs(tokens, text)
        if behaviour.kind == "vllm":
            choice["stop_reason"] = None
        chunk: dict[str, Any] = {"id": "x", "object": "chunk", "model": "fake", "choices": [choice]}
        if behaviour.usage == "often":
            if behaviour.kind == "llama.cpp":
                chunk["timings"] = {"predicted_n": self.made, "predicted_ms": 1.5}
            else:
                chunk["usage"] = {"prompt_tokens": 3, "completion_tokens": self.made, "total_tokens": 3 + self.made}
        return msgspec.json.encode(chunk)

    def logprobs(self, tokens: list[tuple[int, bytes]], text: str) -> dict[str, Any] | None:
        kind = self.behaviour.kind
        if kind == "llama.cpp":  # one entry for each piece of text
            if not text:
                return None
            token = tokens[-1][0]
            entry = {"id": token, "token": text, "bytes": list(text.encode()), "logprob": logprob_of(token)}
            return {"content": [entry | {"top_logprobs": [entry]}]}
        if self.api == "completions":
            return {
                "tokens": [part.decode(errors="replace") for _, part in tokens],
                "token_logprobs": [logprob_of(token) for token, _ in tokens],
                "top_logprobs": [{}],
                "text_offset": [0 for _ in tokens],
            }
        return {
            "content": [
                {"token": part.decode(errors="replace"), "bytes": list(part), "logprob": logprob_of(token)}
                for token, part in tokens
            ]
        }

    def usage(self) -> bytes:
        usage = {"prompt_tokens": 3, "completion_tokens": self.made, "total_tokens": 3 + self.made}
        return msgspec.json.encode({"id": "x", "choices": [], "usage": usage})


def _whole(data: bytes) -> str:
    """Return the text of the characters that are whole."""
    for cut in range(min(4, len(data) + 1)):
        with contextlib.suppress(UnicodeDecodeError):
            return data[: len(data) - cut].decode()
    return data.decode(errors="replace")


class Talk(asyncio.Protocol):
    """One connection: requests one after the other, kept alive."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.data = b""
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.talks.add(self)
        self.server.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.lost = True
        self.server.talks.discard(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.task is None or self.task.done():
            head, found, rest = self.data.partition(b"\r\n\r\n")
            if not found:
                return
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            size = int(headers.get("content-length", 0))
            if len(rest) < size:
                return
            self.data = rest[size:]
            method, target, _ = lines[0].split(" ")
            self.task = asyncio.create_task(self.answer(method, urlsplit(target).path, headers, rest[:size]))

    def write(self, data: bytes) -> None:
        if not self.lost:
            self.transport.write(data)

    def reply(self, status: int, content: Any, *headers: str) -> None:
        body = content.encode() if isinstance(content, str) else msgspec.json.encode(content)
        kind = "text/plain" if isinstance(content, str) else "application/json"
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers, "", ""]
        self.write("\r\n".join(lines).encode() + body)

    def refuse(self, status: int, message: str, *headers: str) -> None:
        self.reply(status, {"error": {"message": message, "type": "BadRequestError", "code": status}}, *headers)

    async def answer(self, method: str, path: str, headers: dict[str, str], data: bytes) -> None:
        server, behaviour = self.server, self.server.behaviour
        server.paths[path] += 1
        if path == "/behaviour":
            server.behaviour = msgspec.json.decode(data, type=Behaviour)
            self.reply(200, {})
        elif path == "/requests":
            self.reply(200, {"made": server.made, "connections": server.connections, "requests": server.requests})
        elif behaviour.down:
            retry = [f"Retry-After: {behaviour.retry_after}"] if behaviour.retry_after else []
            self.refuse(behaviour.down, "down", *retry)
        elif behaviour.key and headers.get("authorization") != f"Bearer {behaviour.key}":
            self.refuse(401, f"wrong key {headers.get('authorization', '')}")
        elif method == "GET":
            self.page(path)
        elif path == "/abort_request":
            rid = msgspec.json.decode(data)["rid"]
            for request in server.requests:
                request.aborted |= request.name.startswith(rid)
            self.reply(200, {})
        elif path in ("/v1/completions", "/v1/chat/completions"):
            body = msgspec.json.decode(data)
            name = body["rid"] if behaviour.kind == "sglang" else headers.get("x-request-id", "")
            request = Request(name, body, headers.get("authorization", ""))
            if server.keeps:
                server.requests.append(request)
            await self.generate(request, "chat" if "chat" in path else "completions")
        else:
            self.refuse(404, "Not Found")

    def page(self, path: str) -> None:
        server, behaviour = self.server, self.server.behaviour
        owner = {"llama.cpp": "llamacpp", "vllm": "vllm", "sglang": "sglang"}.get(behaviour.kind, "somebody")
        pages: dict[str, Any] = {
            "/v1/models": {"object": "list", "data": [{"id": name, "owned_by": owner} for name in behaviour.models]},
        }
        if behaviour.kind != "no health":
            pages["/health"] = {"status": "ok"}
        counter = {"vllm": "vllm:generation_tokens_total", "llama.cpp": "llamacpp:tokens_predicted_total"}
        running = {"vllm": "vllm:num_requests_running", "llama.cpp": "llamacpp:requests_processing"}
        if behaviour.kind in counter:
            name = counter[behaviour.kind]
            labels = '{engine="0",model_name="a b"}' if behaviour.kind == "vllm" else ""
            pages["/metrics"] = f"# HELP {name} Tokens.\n# TYPE {name} counter\n{name}{labels} {float(server.made)}\n"
            pages["/metrics"] += f"{running[behaviour.kind]}{labels} {float(server.running)}\n"
        pages |= {
            "vllm": {"/version": {"version": "0.99.0"}},
            "sglang": {"/get_server_info": {"version": "0.9.9", "port": 1}},
            "llama.cpp": {"/props": {"build_info": "b99", "total_slots": 4}},
            "transformers": {"/openapi.json": {"paths": {"/load_model": {}}}},
        }.get(behaviour.kind, {})
        if path in server.broken_pages:
            self.refuse(500, "broken page")
        elif path in pages:
            self.reply(200, pages[path])
        else:
            self.refuse(404, "Not Found")

    async def generate(self, request: Request, api: str) -> None:
        server, behaviour = self.server, self.server.behaviour
        body = request.body
        prompt = str(body["prompt"]) if api == "completions" else body["messages"][-1]["content"]
        tries = server.tries[prompt] = server.tries[prompt] + 1
        fault, after = "", 0
        for name, times, tokens in FAULT.findall(prompt):
            if not fault and tries <= int(times):
                fault, after = name, int(tokens)
            else:
                tries -= int(times)
        if named := [name for name in behaviour.refuses if name in body or name in body.get("stream_options", {})]:
            self.refuse(400, f"Unrecognized request argument supplied: {named[0]}")
        elif body["model"] not in behaviour.models:
            self.refuse(404, f"The model `{body['model']}` does not exist.")
        elif len(prompt) > behaviour.longest:
            self.refuse(400, f"This model's maximum context length is {behaviour.longest} characters.")
        elif fault.isdigit():
            retry = behaviour.retry_after
            self.refuse(int(fault), "a fault", *([f"Retry-After: {retry}"] if retry else []))
        elif not behaviour.streams:
            self.reply(200, {"choices": [{"text": "no stream"}]})
        else:
            if fault == "long":
                body["max_tokens"] = body["max_tokens"] + after
            server.running += 1
            try:
                await self.stream(request, Stream(behaviour, body, api, prompt), fault, after)
            finally:
                server.running -= 1

    async def stream(self, request: Request, stream: Stream, fault: str, after: int) -> None:
        server, behaviour = self.server, self.server.behaviour
        self.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not stream.over:
            if fault not in ("", "long", "cut") and stream.made >= after:
                await self.fail(request, fault)
                return
            before = stream.made
            data = stream.chunk()
            server.made += stream.made - before
            request.made = stream.made
            if self.lost:
                break
            if data:
                await self.send(b"data: " + data + b"\n\n")
            request.sent = stream.made
            await asyncio.sleep(behaviour.pause)
        request.closed = self.lost
        if request.closed:
            for _ in range(min(behaviour.late, stream.count - stream.made)):
                if request.aborted:
                    break
                request.made += 1
                server.made += 1
                await asyncio.sleep(behaviour.pause)
            request.over = True
            return
        if fault == "cut":  # the answer is whole, its stream is not
            self.transport.close()
            request.over = True
            return
        tail = b""
        if behaviour.usage != "never" and request.body.get("stream_options"):
            tail += b"data: " + stream.usage() + b"\n\n"
        if behaviour.done:
            tail += b"data: [DONE]\n\n"
        request.over = True
        await self.send(tail)
        await asyncio.sleep(behaviour.pause)
        self.write(b"0\r\n\r\n")

    async def fail(self, request: Request, fault: str) -> None:
        if fault == "half":
            self.transport.close()
        elif fault == "short":
            self.write(b"0\r\n\r\n")
        elif fault == "garbage":
            await self.send(b'data: {"choices": [{"text": "a\n\n')
        elif fault == "error":
            await self.send(b'data: {"error": {"message": "engine dead", "code": 500}}\n\n')
        elif fault == "wrong":
            await self.send(b'data: {"object": "error", "message": "bad bad prompt", "code": 400}\n\n')
        elif fault == "tool":
            await self.send(b'data: {"choices": [{"delta": {"tool_calls": [{"id": "1"}]}}]}\n\n')
        elif fault == "big":
            for _ in range(20):
                await self.send(b"data: " + b"x" * 100_000)
        elif fault == "silence":
            while not self.lost:
                await asyncio.sleep(0.005)
            request.closed = True
        else:
            raise AssertionError(fault)
        request.over = True

    async def send(self, data: bytes) -> None:
        """Write as one HTTP chunk, or in slices of it that go out one by one."""
        if not data:
            return
        size = self.server.behaviour.slice
        if not size:
            self.write(b"%x\r\n%b\r\n" % (len(data), data))
            return
        for i in range(0, len(data), size):
            part = data[i : i + size]
            self.write(b"%x\r\n%b\r\n" % (len(part), part))
            await asyncio.sleep(0)


class FakeServer:
    """A server in a thread.

    requests: those for answers, in the order they came, if it keeps them. made: tokens ever made. paths: requests by
    path. connections: how many were opened. running: requests in progress. broken_pages: paths that get a 500.
    """

    def __init__(self, keeps: bool = True, **behaviour: Any) -> None:
        self.behaviour = Behaviour(**behaviour)
        self.keeps = keeps
        self.requests: list[Request] = []
        self.made = 0
        self.connections = 0
        self.running = 0
        self.paths: Counter[str] = Counter()
        self.broken_pages: set[str] = set()
        self.tries: Counter[str] = Counter()
        self.talks: set[Talk] = set()
        self.port = 0
        self._listening: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on the port it had, if it had one."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: Talk(self), "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, and close all connections."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for talk in list(self.talks):
            talk.transport.abort()
            if talk.task is not None:
                talk.task.cancel()
        await asyncio.sleep(0)

    def up(self) -> None:
        self._do(self.start())

    def down(self) -> None:
        self._do(self.stop())

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def __enter__(self) -> FakeServer:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @contextlib.contextmanager
    def being(self, **behaviour: Any) -> Iterator[None]:
        """Be otherwise for a while."""
        before = self.behaviour
        self.behaviour = msgspec.structs.replace(before, **behaviour)
        try:
            yield
        finally:
            self.behaviour = before


async def _serve(behaviour: dict[str, Any]) -> None:
    server = FakeServer(keeps=False, **behaviour)
    await server.start()
    print(server.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(msgspec.json.decode(sys.argv[1] if len(sys.argv) > 1 else "{}")))
