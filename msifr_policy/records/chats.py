"""Chats as people keep them: a list of messages with who says each and what, under one of the usual names."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

_SPEAKERS: Final = {"human": "user"} | dict.fromkeys(("gpt", "model", "chatgpt", "bard"), "assistant")


def messages_of(value: Any) -> list[tuple[str, str]] | None:
    """Return the messages (role, content) of a chat, None if the value is none.

    Read are `role` and `content`, and ShareGPT's `from` and `value`; a content in parts is what its texts say together,
    and reasoning that is kept apart stands in front, as `<think>…</think>` and a line's end.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
        return None
    found = []
    for message in value:
        if not isinstance(message, Mapping):
            return None
        role, content = message.get("role", message.get("from")), message.get("content", message.get("value"))
        if not isinstance(role, str) or (text := text_of(content)) is None:
            return None
        found.append((_SPEAKERS.get(role, role), _with_reasoning(message, text)))
    return found


def text_of(content: Any) -> str | None:
    """Return the text of a message's content: a text, parts with texts, or nothing (as beside a tool call)."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, Sequence) or not all(isinstance(part, Mapping | str) for part in content):
        return None
    return "".join(_part(part) for part in content)


def _part(part: Mapping[str, Any] | str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(reasoning := part.get("reasoning"), str):
        return f"<think>{reasoning}</think>\n"
    return text if isinstance(text := part.get("text"), str) else ""


def _with_reasoning(message: Mapping[str, Any], text: str) -> str:
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    return f"<think>{reasoning}</think>\n{text}" if isinstance(reasoning, str) else text


def asked(value: Any) -> str | None:
    """Return the prompt that a value is: a text, or of a chat what the user says last (else the last message)."""
    if isinstance(value, str):
        return value
    messages = messages_of(value)
    if messages is None:
        return None
    said = [content for role, content in messages if role == "user"]
    return said[-1] if said else messages[-1][1]


def context_of(value: Any) -> str:
    """Return all that was said up to the user's last turn, as one text that tells one context from another."""
    messages = messages_of(value)
    if messages is None:
        return value if isinstance(value, str) else ""
    last = max((i for i, (role, _) in enumerate(messages) if role == "user"), default=len(messages) - 1)
    only = messages[0][1] if last == 0 else None
    return repr(messages[: last + 1]) if only is None else only


def answered(value: Any) -> str | None:
    """Return the output that a value is: a text, or of a chat all that the assistant says after the user."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = [{"role": "assistant", **value}]
    messages = messages_of(value)
    if messages is None:
        return None
    last = max((i for i, (role, _) in enumerate(messages) if role == "user"), default=-1)
    said = [content for role, content in messages[last + 1 :] if role == "assistant"]
    return "".join(said) if said else None
