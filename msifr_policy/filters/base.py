"""What a final filter is given, and what it says."""

from typing import Any, Protocol

import msgspec


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt as read from a file, with what its final filter compares an answer with.

    `gold` is the reference answer, `tests` Python code that a program must pass, `schema` the JSON schema (Draft
    2020-12) that a document must satisfy; `group` is the prompt's topic or difficulty.
    """

    prompt_id: str
    prompt: str
    gold: str | None = None
    group: str | None = None
    tests: str | None = None
    schema: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.prompt_id or not self.prompt:
            raise ValueError("`prompt_id` and `prompt` must not be empty")


class Judgement(msgspec.Struct, frozen=True):
    """What a filter says when yes or no is not all; it is true where the text is accepted.

    `score` is what a score was compared with its threshold; `failure` is why the text could not be judged, in a few
    words that do not depend on the text. Filters fail closed: what could not be judged is not accepted, and a run
    counts and reports it. Raises ValueError for a failure that is accepted.
    """

    accepted: bool
    score: float | None = None
    failure: str = ""

    def __post_init__(self) -> None:
        if self.failure and self.accepted:
            raise ValueError("what could not be judged is not accepted")

    def __bool__(self) -> bool:
        return self.accepted


class FinalFilter(Protocol):
    """What defines acceptance."""

    @property
    def name(self) -> str:
        """A name that changes whenever the filter may decide otherwise."""

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if this prompt can never be judged (before any token is spent)."""

    def __call__(self, prompt: Prompt, text: str) -> bool | Judgement:
        """Return whether the finished `text` is accepted."""
