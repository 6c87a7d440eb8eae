"""A connection to a server: where it is, with which key, and pages read from it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from msifr_integrations.servers.faults import error_message, one_line
from msifr_policy.errors import InputError

LONGEST_PAGE = 1 << 22
"""Bytes of a page that are read."""

PAGE_SECONDS = 20.0
"""Seconds that a page, or a connection, may take to come."""

IDLE_SECONDS = 3.0
"""Seconds that a connection is kept for the next attempt; servers close idle ones after 5."""

_LOCAL = "localhost", "::1"


class ServerUrl(NamedTuple):
    """Where a server is: root is the address without `/v1`; host without port; local: on this machine."""

    root: str
    host: str

    @property
    def v1(self) -> str:
        """The address of the common endpoints."""
        return self.root + "/v1"

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return self.host in _LOCAL or self.host.startswith("127.")

    @property
    def plain(self) -> bool:
        """Whether what is sent there can be read on the way."""
        return self.root.startswith("http:")

    @property
    def proxy(self) -> str | None:
        """The proxy that the environment names for it; none reaches this machine."""
        if self.local or proxy_bypass(self.host):
            return None
        return getproxies().get(self.root.partition(":")[0])


def parse_url(url: str) -> ServerUrl:
    """Return where the server is. Raises `InputError` for what is no address of one."""
    where, remedy = "server", "http://HOST:PORT"
    url = url.strip()
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise InputError("the URL has no host or no such port", where=where, remedy=remedy) from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        remedy = "the key belongs in the environment"
        raise InputError("the URL holds a user, a password or a query", where=where, remedy=remedy)
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or " " in url or not url.isprintable():
        raise InputError(f"{one_line(url)!r} is no URL of a server", where=where, remedy=remedy)
    path = parts.path.rstrip("/").removesuffix("/v1")
    return ServerUrl(f"{parts.scheme}://{parts.netloc}{path}", host)


@dataclass(frozen=True, slots=True)
class Connection:
    """How a server is reached. The key is shown nowhere."""

    url: ServerUrl
    key: str = field(repr=False)
    key_env: str
    retries: int
    patience: float

    @asynccontextmanager
    async def session(self, connections: int) -> AsyncIterator[aiohttp.ClientSession]:
        """Hold a session of so many connections."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "msifr"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        async with aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=PAGE_SECONDS, sock_read=self.patience),
            proxy=self.url.proxy,
        ) as session:
            yield session

    def hide(self, text: str) -> str:
        """Return the text without the key: some servers repeat it."""
        return text.replace(self.key, "…") if self.key else text

    def message(self, body: bytes) -> str:
        """Return what the body of an error says, in one line."""
        return self.hide(error_message(body)[0])


async def get(session: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
    """Return status and body of a page. Raises `aiohttp.ClientError`, `OSError` or `TimeoutError` where none comes."""
    timeout = aiohttp.ClientTimeout(total=PAGE_SECONDS)
    async with session.get(url, timeout=timeout, allow_redirects=False) as response:
        return response.status, await read_page(response)


async def read_page(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of a response, cut after `LONGEST_PAGE` bytes."""
    page = bytearray()
    async for part in response.content.iter_any():
        page += part
        if len(page) > LONGEST_PAGE:
            response.close()
            break
    return bytes(page[:LONGEST_PAGE])
