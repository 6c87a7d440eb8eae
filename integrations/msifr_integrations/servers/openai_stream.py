"""The streaming client of OpenAI-compatible servers: vLLM, SGLang, llama.cpp, transformers serve, and others.

One request per attempt, with its own seed and, for each try, its own name. **Discarding closes the stream**: vLLM and
llama.cpp then stop within a token or two; SGLang goes on, so it is also asked to abort, by a name as long as any other
since it compares beginnings. **A broken stream is tried again** after a pause in which its attempt keeps its place:
what came of it is lost, and the caller is told with `Again`.
"""

import asyncio
import itertools
import math
import os
import random
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec

from msifr_integrations.engine.base import Again, Attempt, Event, Failed, Notice, PromptInput, Sampling
from msifr_integrations.servers.async_engine import AsyncEngine, beside
from msifr_integrations.servers.chunks import ChunkReader
from msifr_integrations.servers.connection import PAGE_SECONDS, Connection, get, parse_url, read_page
from msifr_integrations.servers.detect import ServerFacts, count_tokens, detect
from msifr_integrations.servers.dialects import (
    MOST_STOPS,
    RequestPlan,
    leave_out,
    plan_request,
    prompt_fields,
    what_is_left_out,
)
from msifr_integrations.servers.faults import (
    BrokenStream,
    RefusedClient,
    RefusedRequest,
    error_message,
    fault,
    one_line,
    seconds_asked,
    seconds_to_wait,
)
from msifr_integrations.servers.options import ServerOptions
from msifr_integrations.servers.sse import EventLines
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.filters import Message
from msifr_policy.records.ledger import Session

PROBE_TOKENS = 4
"""Tokens of a request that asks what a server can."""

MOST_PROBES = 16
"""Requests that may be needed to find out what a server refuses."""

MOST_SILENT = 3
"""Answers without text after which it is believed what is said of servers of this kind."""

FEWEST_FAILURES = 8
"""Prompts that must fail, and none succeed meanwhile, before a run stops; more if there are more streams."""

LINGER_SECONDS = 1.0
"""Seconds that the end of a response may take after the end of its answer."""

SETTLE_SECONDS = 10.0
"""Seconds that the server may take to notice that the last streams were closed, before its tokens are counted."""

ABORT_SECONDS = 5.0
"""Seconds that a call to abort may take."""


class ServerEngine(AsyncEngine):
    """A server's streams.

    facts: who the server is. plan: what each request holds. settings: what shapes the distribution, for the record.
    remarks: what the user should know, in sentences.
    waiting: streams without a first token, those that wait to be tried again included.
    probe_tokens: made to find out what the server can. arrived: tokens of all streams that are over, of lost ones too.
    overcounted: tokens counted from chunks that the server's usage denied in the end.
    abort_errors: calls to abort that failed.
    """

    name = "server"

    def __init__(
        self,
        connection: Connection,
        facts: ServerFacts,
        plan: RequestPlan,
        *,
        slots: int,
        made_before: int | None = None,
    ) -> None:
        super().__init__(slots)
        self._connection = connection
        self.facts = facts
        self.plan = plan
        self._session: aiohttp.ClientSession | None = None
        self._made_before = made_before
        self._aborts: set[asyncio.Task[None]] = set()
        self._family = secrets.token_hex(8)
        self._names = itertools.count()
        self._failed: set[PromptInput] = set()  # prompts that failed since the last attempt that did not
        self._succeeded = False
        self.logprobs = False
        self.remarks: list[str] = []
        self.waiting = 0
        self.probe_tokens = 0
        self.arrived = 0
        self.overcounted = 0
        self.abort_errors = 0

    @property
    def settings(self) -> dict[str, Any]:
        """See the class."""
        return {
            "server": self.facts.kind,
            "version": self.facts.version,
            "model": self.plan.fields["model"],
            "api": self.plan.api,
            "sent": {**self.plan.shaping, "seed": "of the attempt"} if self.plan.seeded else self.plan.shaping,
            "left_out": sorted(self.plan.left_out),
            "tells_logprobs": self.logprobs,
        }

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt. Raises `InputError` for a prompt that the endpoint cannot take, or a limit of no token."""
        prompt_fields(attempt, self.plan.api)
        if attempt.max_new_tokens < 1:
            what = f"max_new_tokens = {attempt.max_new_tokens} must be at least 1"
            raise InputError(what, where=f"attempt {attempt.id!r}")
        super().submit(attempt)

    @property
    def counts_tokens(self) -> bool:
        """Whether the server has a counter of all tokens it made."""
        return self._made_before is not None

    def made(self) -> int | None:
        """Return the tokens that the server made since it was first asked, by its own counter; None if it has none.

        The probe's and everyone else's are among them.
        """
        if self._made_before is None:
            return None
        made = beside(asyncio.run, self._count())
        return None if made is None else max(made - self._made_before, 0)

    async def _count(self) -> int | None:
        # Others' requests may run on, so that there is an end to waiting.
        end = asyncio.get_running_loop().time() + SETTLE_SECONDS
        async with self._connection.session(1) as session:
            while True:
                made, running = await count_tokens(session, self._connection.url, self.facts.kind)
                if not running or asyncio.get_running_loop().time() > end:
                    return made
                await asyncio.sleep(0.05)

    def spent(self) -> Session:
        """Return the tokens of the probe, those that arrived, and those that the server says it made."""
        return Session(probe=self.probe_tokens, arrived=self.arrived, made=self.made())

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        async with self._connection.session(self.slots + 4) as session:
            self._session = session
            try:
                yield
            finally:
                await asyncio.gather(*self._aborts, return_exceptions=True)
                self._session = None

    async def _stream(self, attempt: Attempt) -> AsyncGenerator[Sequence[Notice], None]:
        self.waiting += 1
        waits = True  # for the first token of a try
        tried = 0
        try:
            while True:
                try:
                    async with aclosing(self._try(attempt)) as parts:
                        async for events in parts:
                            if waits:
                                self.waiting -= 1
                                waits = False
                            yield events
                    self._failed.clear()
                    self._succeeded = True
                    return
                except (GeneratorExit, asyncio.CancelledError):  # discarded
                    if not waits:
                        self._failed.clear()
                        self._succeeded = True
                    raise
                except BrokenStream as error:
                    why, after = self._connection.hide(str(error)), error.after
                except RefusedRequest as error:
                    why = self._connection.hide(str(error))
                    if not self._succeeded:  # later ones may be wrong by themselves, and many in a row
                        self._count_failure(attempt, why)
                    yield [Failed(attempt.id, why)]
                    return
                except RefusedClient as error:
                    raise self._stopped(f"refuses our requests: {self._connection.hide(str(error))}") from None
                tried += 1
                if tried > self._connection.retries:
                    await self._check_alive(why)
                    self._count_failure(attempt, why)
                    yield [Failed(attempt.id, f"{why} (tried {'once' if tried == 1 else f'{tried} times'})")]
                    return
                if not waits:
                    self.waiting += 1
                    waits = True
                    yield [Again(attempt.id, why)]
                await _pause(tried, after)
        finally:
            self.waiting -= waits

    async def _try(self, attempt: Attempt) -> AsyncGenerator[list[Event], None]:
        """Yield the events of one request. Raises `BrokenStream`, `RefusedRequest` or `RefusedClient`."""
        session = self._session
        if session is None:
            raise MsifrError("a stream was begun outside a drain")
        name = f"{self._family}{next(self._names):012x}"
        reader = ChunkReader(attempt.id, attempt.max_new_tokens)
        response: aiohttp.ClientResponse | None = None
        over = False  # on the server's side
        try:
            try:
                response = await session.post(
                    f"{self._connection.url.v1}/{self.plan.path}",
                    data=msgspec.json.encode(self.plan.body(attempt, name)),
                    headers={"Content-Type": "application/json", "X-Request-Id": name},
                    allow_redirects=False,
                )
                if response.status != 200:
                    over = True
                    raise await _fault(response)
                if response.content_type == "application/json":
                    raise RefusedRequest("the server does not stream: it answers with one document")
                lines = EventLines()
                while not reader.done and (data := await response.content.readany()):
                    events: list[Event] = []
                    try:
                        for payload in lines.feed(data):
                            events += reader.read(payload)
                    except MsifrError:
                        if events:  # they came: who counts tokens must know of them
                            yield events
                        raise
                    if events:
                        yield events
            except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
                if not reader.finish:
                    raise BrokenStream(one_line(str(error)) or type(error).__name__) from None
            events = reader.end()
            over = True
            self.overcounted += reader.overcounted
            if response is not None and reader.done:
                await _read_to_end(response)
            yield events
        finally:
            self.arrived += reader.counted
            if response is not None:
                response.close()  # one that was read to its end has left its connection to the next
            if not over and self.plan.kind == "sglang":
                task = asyncio.create_task(self._abort(session, name))
                self._aborts.add(task)
                task.add_done_callback(self._aborts.discard)

    async def _abort(self, session: aiohttp.ClientSession, name: str) -> None:
        url = self._connection.url.root + "/abort_request"
        timeout = aiohttp.ClientTimeout(total=ABORT_SECONDS)
        try:
            async with session.post(url, json={"rid": name}, timeout=timeout, allow_redirects=False) as response:
                self.abort_errors += response.status != 200
        except (aiohttp.ClientError, OSError):
            self.abort_errors += 1

    async def _check_alive(self, why: str) -> None:
        """Raise `MsifrError` if the server does not answer: it is dead, not this prompt bad."""
        if self._session is None:
            return
        try:
            status, _ = await get(self._session, self._connection.url.root + "/health")
            if status == 404:  # not every server has it
                status, _ = await get(self._session, self._connection.url.v1 + "/models")
        except (aiohttp.ClientError, OSError):
            status = 503
        if status >= 500:
            raise self._stopped(f"does not answer: {why}")

    def _count_failure(self, attempt: Attempt, why: str) -> None:
        """Raise `MsifrError` if this prompt is the last of so many that something else must be wrong."""
        self._failed.add(attempt.prompt)
        if len(self._failed) >= max(FEWEST_FAILURES, self.slots):
            raise self._stopped(f"failed at {len(self._failed)} prompts, and succeeded at none meanwhile: {why}")

    def _stopped(self, what: str) -> MsifrError:
        kept = "what is done is kept: start again with the same command"
        return MsifrError(f"the server at {self._connection.url.root} {what.rstrip('.')}; {kept}")

    async def ask(self, prompt: PromptInput, sampling: Sampling, tokens: int) -> None:
        """Find out what the server takes and gives. Raises `InputError` if it takes no request of ours."""
        async with self._connected():
            try:
                await self._ask([prompt, _small(prompt)], sampling, tokens)
            finally:
                self.probe_tokens, self.arrived = self.arrived, 0

    async def _ask(self, prompts: Sequence[PromptInput], sampling: Sampling, tokens: int) -> None:
        tried = answered = 0
        for number in range(MOST_PROBES):
            attempt = Attempt("probe", prompts[0], bytes([number]), tokens)
            events: list[Event] = []
            try:
                async with aclosing(self._try(attempt)) as parts:
                    async for some in parts:
                        events += some
            except BrokenStream as error:
                tried += 1
                if tried > self._connection.retries:
                    what = f"the server fails at a first request: {self._connection.hide(str(error))}"
                    raise InputError(what, where=self._connection.url.root, remedy="see what it says itself") from None
                await _pause(tried, error.after)
            except (RefusedRequest, RefusedClient) as error:
                plan = leave_out(self.plan, str(error), sampling)
                if plan is not None:
                    self.plan = plan
                elif isinstance(error, RefusedRequest) and len(prompts) > 1:
                    prompts = prompts[1:]  # the first prompt of a run may be a bad one
                else:
                    raise self._refused(self._connection.hide(str(error))) from None
            else:
                answered += 1
                self.logprobs = any(not math.isnan(event.logprob) for event in events)
                if self.logprobs or any(event.text for event in events):
                    return
                # What has no text has no log-probabilities, with llama.cpp: nothing is known yet.
                if answered == MOST_SILENT:
                    self.logprobs = "logprobs" in self.plan.fields and self.plan.kind in ("vllm", "sglang", "llama.cpp")
                    return
        raise self._refused("there is no end of what it refuses")

    def _refused(self, message: str) -> InputError:
        """Return the error of a server that takes no request of ours."""
        if message.startswith(("HTTP 401", "HTTP 403")):
            remedy = f"put the right key in the environment variable {self._connection.key_env}"
        elif "model" in message.lower() and self.facts.models:
            remedy = f"models there: {', '.join(self.facts.models[:5])}"
        else:
            remedy = f"ask for {'completions' if self.plan.api == 'chat' else 'chat'}, or see what the server says"
        return InputError(
            f"the server refuses a first request: {message}", where=self._connection.url.root, remedy=remedy
        )


def connect(
    options: ServerOptions,
    *,
    sampling: Sampling,
    slots: int,
    stop: Sequence[str] = (),
    probe: PromptInput,
    max_new_tokens: int,
) -> ServerEngine:
    """Return the streams of a server, after asking it who it is and for a few tokens at the prompt `probe`.

    Raises `InputError` if it does not answer, refuses the key, or takes no request of ours.
    """
    url = parse_url(options.url)
    key = os.environ.get(options.key_env, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError("the key has characters that no key has", where=f"environment variable {options.key_env}")
    if options.retries < 0 or not options.patience > 0:
        raise InputError("retries must not be negative, and patience above 0", where="server")
    connection = Connection(
        url=url, key=key, key_env=options.key_env, patience=options.patience, retries=options.retries
    )

    async def ask() -> ServerEngine:
        async with connection.session(1) as session:
            facts = await detect(session, connection)
            before, _ = await count_tokens(session, connection.url, facts.kind)
        if not (options.api_model or facts.models):
            remedy = "say which with --api-model"
            raise InputError("the server does not list its models", where=connection.url.root, remedy=remedy)
        plan = plan_request(facts.kind, options.api, options.api_model or facts.models[0], sampling, stop)
        engine = ServerEngine(connection, facts, plan, slots=slots, made_before=before)
        await engine.ask(probe, sampling, min(max_new_tokens, PROBE_TOKENS))
        engine.remarks += what_is_left_out(engine.plan) + _remarks(engine, facts, connection, sampling, stop)
        if not options.api_model:
            named = f"the model asked for is {facts.models[0]!r}"
            engine.remarks.append(f"{named}, the first of {len(facts.models)}" if len(facts.models) > 1 else named)
        elif facts.models and options.api_model not in facts.models:
            engine.remarks.append(f"the server does not list {options.api_model!r}: another model may answer")
        return engine

    return beside(asyncio.run, ask())


def _remarks(
    engine: ServerEngine, facts: ServerFacts, connection: Connection, sampling: Sampling, stop: Sequence[str]
) -> list[str]:
    """Return what the user should know before the run, in sentences."""
    url = connection.url
    remarks = []
    if connection.key and url.plain and not url.local:
        remarks.append(f"the key goes to {url.host} over plain http: everyone on the way can read it")
    if not engine.logprobs:
        remarks.append("the server gives no log-probabilities: validators that read them know nothing")
    elif facts.kind == "sglang" and sampling.temperature not in (0.0, 1.0):
        remarks.append(
            "SGLang takes log-probabilities after the temperature, unless it was started with "
            "SGLANG_RETURN_ORIGINAL_LOGPROB=1: validators that read them expect those before it"
        )
    if 0 < facts.parallel < engine.slots:
        waiting = engine.slots - facts.parallel
        remarks.append(
            f"the server makes {facts.parallel} streams at a time: {waiting} of {engine.slots} will wait there"
        )
    if len(stop) > MOST_STOPS:
        remarks.append(f"the first {MOST_STOPS} of {len(stop)} stop strings are sent; for others streams are closed")
    return remarks


def _small(prompt: PromptInput) -> PromptInput:
    """Return a short prompt of the same kind."""
    if isinstance(prompt, str):
        return "Hi"
    return tuple(Message("user", "Hi") for _ in prompt[:1]) if isinstance(prompt[0], Message) else prompt[:1]


async def _pause(tried: int, after: float) -> None:
    """Wait before the next try."""
    await asyncio.sleep(seconds_to_wait(tried, after, random.random()))  # noqa: S311 no secret


async def _fault(response: aiohttp.ClientResponse) -> MsifrError:
    """Return what a response that is no stream means."""
    async with asyncio.timeout(PAGE_SECONDS):
        message, _ = error_message(await read_page(response))
    return fault(response.status, message, seconds_asked(response.headers.get("Retry-After"), datetime.now(UTC)))


async def _read_to_end(response: aiohttp.ClientResponse) -> None:
    """Read what follows the answer, so that the connection serves the next; if it does not end, it is closed."""
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while await response.content.readany():
                pass
    except (aiohttp.ClientError, OSError):
        response.close()
