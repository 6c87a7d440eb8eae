"""What is asked of which server: the fields of a request, those a server refuses, and its counter of tokens.

**Nothing may cut the distribution unasked.** Servers have defaults: llama.cpp's top_k 40, top_p 0.95 and min_p 0.05, or
what vLLM and SGLang read from a model's `generation_config`. All that shapes the distribution is sent, each field with
the value that does nothing; what a server refuses is left out, and said.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from msifr_integrations.engine.base import Attempt, Sampling
from msifr_integrations.servers.options import ServerApi
from msifr_policy.errors import InputError
from msifr_policy.filters import Message

ServerKind = Literal["vllm", "sglang", "llama.cpp", "transformers", "openai", "other"]
"""What is behind the address, as far as it lets itself be known."""

COUNTERS: dict[ServerKind, str] = {
    "vllm": "vllm:generation_tokens_total",
    "sglang": "sglang:generation_tokens_total",
    "llama.cpp": "llamacpp:tokens_predicted_total",
}
"""The counter at `/metrics` of all tokens ever generated."""

RUNNING: dict[ServerKind, str] = {
    "vllm": "vllm:num_requests_running",
    "sglang": "sglang:num_running_reqs",
    "llama.cpp": "llamacpp:requests_processing",
}
"""The number at `/metrics` of requests that run now; llama.cpp counts the tokens of one when it stops."""

MOST_STOPS = 4
"""Stop strings that every server takes."""

_NEUTRAL: dict[ServerKind, dict[str, Any]] = {
    "vllm": {"min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"min_p": 0.0, "repetition_penalty": 1.0},
    "llama.cpp": {
        "min_p": 0.0,
        "typical_p": 1.0,
        "top_n_sigma": -1.0,
        "xtc_probability": 0.0,
        "dynatemp_range": 0.0,
        "mirostat": 0,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "dry_multiplier": 0.0,
    },
    "transformers": {"min_p": 0.0},
    "openai": {},
    "other": {"min_p": 0.0},
}
_USAGE: dict[str, Any] = {"include_usage": True}
_USAGE_OFTEN = {**_USAGE, "continuous_usage_stats": True}
_DISTRIBUTION = frozenset({"temperature", "top_p", "top_k"}.union(*_NEUTRAL.values()))


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """What each request holds beside the prompt, the seed and the limit of tokens.

    left_out: what the server refuses, in the order found. seeded: whether a seed is sent. limit: how the limit of
    tokens is called.
    """

    kind: ServerKind
    api: ServerApi
    fields: Mapping[str, Any]
    left_out: tuple[str, ...] = ()
    seeded: bool = True
    limit: str = "max_tokens"

    @property
    def path(self) -> str:
        """The endpoint below `/v1`."""
        return "completions" if self.api == "completions" else "chat/completions"

    @property
    def shaping(self) -> dict[str, Any]:
        """The fields that shape the distribution."""
        return {name: value for name, value in self.fields.items() if name in _DISTRIBUTION or name == "stop"}

    def body(self, attempt: Attempt, name: str) -> dict[str, Any]:
        """Return the request for an attempt; `name` is its try's own."""
        body = {**self.fields, **prompt_fields(attempt, self.api), self.limit: attempt.max_new_tokens}
        if self.seeded:
            body["seed"] = seed(attempt.key)
        if self.kind == "sglang":
            body["rid"] = name
        return body


def plan_request(kind: ServerKind, api: ServerApi, model: str, sampling: Sampling, stop: Sequence[str]) -> RequestPlan:
    """Return what to ask a server of this kind at first."""
    fields: dict[str, Any] = {"model": model, "stream": True, "temperature": sampling.temperature}
    fields["top_p"] = sampling.top_p
    if sampling.top_k or kind != "openai":
        fields["top_k"] = -1 if not sampling.top_k and kind in ("vllm", "sglang") else sampling.top_k
    fields |= _NEUTRAL[kind]
    fields["logprobs"] = 1 if api == "completions" else True
    if api == "chat" and kind == "llama.cpp":
        fields["top_logprobs"] = 1  # 0 gives none there, and silence twenty
    fields["stream_options"] = _USAGE_OFTEN if kind in ("vllm", "sglang") else _USAGE
    if kind == "llama.cpp":
        fields["timings_per_token"] = True
    if stop:
        fields["stop"] = list(stop[:MOST_STOPS])
    return RequestPlan(
        kind=kind,
        api=api,
        fields=fields,
        left_out=("min_p", "top_k")[: 1 if sampling.top_k else 2] if kind == "openai" else (),
        limit="max_completion_tokens" if kind == "openai" and api == "chat" else "max_tokens",
    )


def leave_out(plan: RequestPlan, message: str, sampling: Sampling) -> RequestPlan | None:
    """Return the plan without the fields that the refusal `message` names, None if it names none that can go.

    Raises `InputError` if the distribution asked for cannot be had without them.
    """
    fields = dict(plan.fields)
    other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}[plan.limit]
    if _names(message, plan.limit) and re.search(
        "support|recogni|unknown|unexpected|permitted", message, re.IGNORECASE
    ):
        return replace(plan, limit=other)
    if _names(message, "seed") and plan.seeded:
        return replace(plan, seeded=False, left_out=(*plan.left_out, "seed"))
    if fields.get("stream_options") == _USAGE_OFTEN and any(
        _names(message, name) for name in ("continuous_usage_stats", "stream_options")
    ):
        return replace(plan, fields={**fields, "stream_options": _USAGE})
    gone = [name for name in fields if name not in ("model", "stream") and _names(message, name)]
    for name, value, neutral in (
        ("temperature", sampling.temperature, 1.0),
        ("top_p", sampling.top_p, 1.0),
        ("top_k", sampling.top_k, 0),
    ):
        if name in gone and value != neutral:
            raise InputError(
                f"the server takes no {name} = {value}: {message}", where="server", remedy=f"ask for {neutral:g}"
            )
    if not gone:
        return None
    kept = {name: value for name, value in fields.items() if name not in gone}
    return replace(plan, fields=kept, left_out=(*plan.left_out, *gone))


def what_is_left_out(plan: RequestPlan) -> list[str]:
    """Return what the user must know about fields that the server refuses."""
    remarks = []
    if cut := [name for name in plan.left_out if name in _DISTRIBUTION]:
        remarks.append(f"the server takes no {', '.join(cut)}: its own defaults hold, and may cut the distribution")
    if "seed" in plan.left_out:
        remarks.append("the server takes no seed: attempts cannot be made again")
    if "stop" in plan.left_out:
        remarks.append("the server takes no stop strings: streams are closed when one has come")
    if plan.kind == "other":
        remarks.append(
            "what server this is cannot be told, nor whether it obeys top_k and min_p: defaults of its own may cut the "
            "distribution"
        )
    if plan.kind == "transformers":
        remarks.append(
            "transformers serve is greedy unless the model's generation_config.json says do_sample, and takes top_k "
            "from there"
        )
    return remarks


def prompt_fields(attempt: Attempt, api: ServerApi) -> dict[str, Any]:
    """Return an attempt's prompt as the endpoint takes it. Raises `InputError` for one that it does not take."""
    prompt = attempt.prompt
    where = f"attempt {attempt.id!r}"
    if not prompt:
        raise InputError("the prompt is empty", where=where)
    if api == "chat":
        if isinstance(prompt, str) or not all(isinstance(message, Message) for message in prompt):
            raise InputError("the endpoint for chats takes messages", where=where, remedy="ask for `completions`")
        return {"messages": prompt}
    if not isinstance(prompt, str) and not all(isinstance(token, int) for token in prompt):
        raise InputError("the endpoint for completions takes a text", where=where, remedy="ask for `chat`")
    return {"prompt": prompt}


def seed(key: bytes) -> int:
    """Return the seed of an attempt's stream: 31 bits of its key, which every server takes."""
    return int.from_bytes(key[:4], "big") & 0x7FFFFFFF


def read_counter(metrics: str, name: str) -> int | None:
    """Return the sum of a counter over its labels, from Prometheus' text form; None if it is not there."""
    values = []
    for line in metrics.splitlines():
        if line.startswith(name) and line[len(name) : len(name) + 1] in ("{", " "):
            try:
                values.append(float(line.rpartition("}")[2].split()[0] if "}" in line else line.split()[1]))
            except (ValueError, IndexError):
                return None
    return int(sum(values)) if values else None


_WORDS = frozenset({"model", "stop", "stream", "seed", "temperature", "logprobs"})


def _names(message: str, field: str) -> bool:
    """Return whether a message names a field; one that is a word of every day must stand in quotes or be announced."""
    name = rf"(?<![A-Za-z0-9_]){re.escape(field)}(?![A-Za-z0-9_])"
    if field in _WORDS:
        name = rf"""(?:['"`]{name}['"`]|(?:argument|parameter|field|key|input)s?\b[^.]{{0,40}}{name})"""
    return re.search(name, message) is not None
