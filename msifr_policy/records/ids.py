"""Ids for attempts that come without: of a prompt by what it asks, of an attempt by its number; and what ids tell."""

import hashlib
from collections.abc import Mapping
from typing import Any

from msifr_policy.records.compact import IdMap


def id_of_prompt(*parts: str) -> str:
    """Return the id of a prompt that has none: the same for the same texts, in any file and on any day."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return f"prompt-{digest.hexdigest()[:16]}"


def group_of(prompt_id: str, group: str | None) -> str:
    """Return the group of a prompt: its own if it has one, else the middle of a `set:group:hash` id, else ""."""
    if group is not None:
        return group
    parts = prompt_id.split(":")
    return parts[1] if len(parts) > 2 else ""


class Numbering:
    """Counts the attempts at each prompt, in the order in which they come: an attempt's id is prompt/number.

    Memory: some 17 bytes for each prompt.
    """

    def __init__(self) -> None:
        self._made = IdMap(0)

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self._made)

    def next_id(self, prompt_id: str) -> str:
        """Return the id of the next attempt at a prompt."""
        number = self._made[prompt_id]
        self._made[prompt_id] = number + 1
        return f"{prompt_id}/{number}"

    def with_ids(self, attempt: Mapping[str, Any]) -> dict[str, Any]:
        """Return an attempt with a `prompt_id` and an `id`, where it has none and tells its `prompt`."""
        made: dict[str, Any] = {}
        if attempt.get("prompt_id") is None and isinstance(prompt := attempt.get("prompt"), str) and prompt:
            made["prompt_id"] = id_of_prompt(prompt)
        if attempt.get("id") is None and (known := made.get("prompt_id", attempt.get("prompt_id"))) is not None:
            made["id"] = self.next_id(str(known))
        return {**attempt, **made}
