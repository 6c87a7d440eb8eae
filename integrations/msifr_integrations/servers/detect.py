"""Who is behind an address: asked of the pages that servers of each kind have beside the common endpoints."""

from dataclasses import dataclass

import aiohttp
import msgspec

from msifr_integrations.servers.connection import Connection, ServerUrl, get
from msifr_integrations.servers.dialects import COUNTERS, RUNNING, ServerKind, read_counter
from msifr_integrations.servers.faults import one_line
from msifr_policy.errors import InputError

_OWNERS: dict[str, ServerKind] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}


class ListedModel(msgspec.Struct, frozen=True):
    """A model that a server lists."""

    id: str
    owned_by: str | None = None


class ListedModels(msgspec.Struct, frozen=True):
    """The page `/v1/models`."""

    data: list[ListedModel] = msgspec.field(default_factory=list)


class ServerPage(msgspec.Struct, frozen=True):
    """What the pages `/version`, `/props` and `/get_server_info` say, each some of it."""

    version: str = ""
    build_info: str = ""
    total_slots: int = 0


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What is known of a server. parallel: streams that it makes side by side, 0 if it does not say."""

    kind: ServerKind
    version: str
    models: tuple[str, ...]
    parallel: int


async def detect(session: aiohttp.ClientSession, connection: Connection) -> ServerFacts:
    """Ask a server who it is. Raises `InputError` if nothing answers, or does not take the key."""
    url = connection.url
    try:
        status, page = await get(session, url.v1 + "/models")
    except (aiohttp.ClientError, OSError) as error:
        raise InputError(
            f"no server answers: {one_line(str(error)) or type(error).__name__}",
            where=url.root,
            remedy="start it, or correct the URL",
        ) from None
    if status in (401, 403):
        raise InputError(
            f"the server refuses the key: HTTP {status}: {connection.message(page)}",
            where=url.root,
            remedy=f"put the right one in the environment variable {connection.key_env}",
        )
    if status in (502, 503, 504):  # 500 is what transformers serve says without a folder of models
        raise InputError(f"the server is not ready: HTTP {status}: {connection.message(page)}", where=url.root)
    if 300 <= status < 400:
        raise InputError(f"the server is elsewhere: HTTP {status}", where=url.root, remedy="correct the URL")
    try:
        listed = msgspec.json.decode(page, type=ListedModels).data if status == 200 else []
    except (ValueError, RecursionError):
        listed = []
    kind = _kind(url, [model.owned_by or "" for model in listed])
    if kind == "other":
        status, page = await _page(session, url.root + "/openapi.json")
        if status == 200 and b'"/load_model"' in page:
            kind = "transformers"
    facts = ServerPage()
    for path in {"vllm": ["/version"], "sglang": ["/get_server_info"], "llama.cpp": ["/props"]}.get(kind, []):
        status, page = await _page(session, url.root + path)
        try:
            facts = msgspec.json.decode(page, type=ServerPage) if status == 200 else facts
        except (ValueError, RecursionError):
            continue
    return ServerFacts(
        kind=kind,
        version=one_line(facts.version or facts.build_info),
        models=tuple(model.id for model in listed),
        parallel=facts.total_slots,
    )


async def count_tokens(session: aiohttp.ClientSession, url: ServerUrl, kind: ServerKind) -> tuple[int | None, int]:
    """Return the server's counter of all tokens it ever generated, None if it has none, and how many requests run."""
    if kind not in COUNTERS:
        return None, 0
    status, page = await _page(session, url.root + "/metrics")
    if status != 200:
        return None, 0
    metrics = page.decode("utf-8", "replace")
    return read_counter(metrics, COUNTERS[kind]), read_counter(metrics, RUNNING[kind]) or 0


def _kind(url: ServerUrl, owners: list[str]) -> ServerKind:
    for owner in owners:
        if owner in _OWNERS:
            return _OWNERS[owner]
    return "openai" if url.host.endswith(".openai.com") else "other"


async def _page(session: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
    try:
        return await get(session, url)
    except (aiohttp.ClientError, OSError):
        return 0, b""
