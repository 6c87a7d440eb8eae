"""Which server makes the tokens, and how patient its client is."""

from typing import Literal

import msgspec

ServerApi = Literal["completions", "chat"]
"""The endpoint asked: `/v1/completions` goes on with a text or token ids, `/v1/chat/completions` answers messages."""


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where an OpenAI-compatible server is, and how it is asked.

    url: `http://host:port`, or what other clients call the base URL, with `/v1` at its end.
    api_model: the model's name there, "" for the first that the server lists.
    key_env: the environment variable that holds the key; the key itself is never written or printed.
    retries: how often an attempt is tried again after a broken connection, 429 or 5xx.
    patience: seconds without a byte after which a stream counts as broken.
    """

    url: str = ""
    api: ServerApi = "chat"
    api_model: str = ""
    key_env: str = "OPENAI_API_KEY"
    retries: int = 6
    patience: float = 300.0
