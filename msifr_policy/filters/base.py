"""What a final filter is given, and what it says."""

from typing import Any, Protocol

import msgspec


class Message(msgspec.Struct, frozen=True):
    """One message of a chat: who says it ("system", "user", "assistant" or another word of the template's), and what.

    Raises ValueError for a message that is nobody's.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        if not self.role:
            raise ValueError("`role` must not be empty")


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt as read from a file, with what its final filter compares an answer with.

    `prompt` is a text, `messages` are those of a chat; if only messages are given, `prompt` is what the user says last:
    what policies and reports read. `gold` is the reference answer, `tests` Python code that a program must pass,
    `schema` the JSON schema (Draft 2020-12) that a document must satisfy; `group` is the prompt's topic or difficulty.
    `parameters` are those of validators that differ from prompt to prompt: by validator's name, then by parameter's.

    Raises ValueError if it asks nothing.
    """

    prompt_id: str
    prompt: str = ""
    messages: tuple[Message, ...] | None = None
    gold: str | None = None
    group: str | None = None
    tests: str | None = None
    schema: dict[str, Any] | None = None
    parameters: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.messages and not self.prompt:
            asked = [message.content for message in self.messages if message.role == "user"]
            msgspec.structs.force_setattr(self, "prompt", asked[-1] if asked else self.messages[-1].content)
        if not self.prompt_id or not self.prompt:
            raise ValueError("`prompt_id` and `prompt` (or `messages`) must not be empty")


class Judgement(msgspec.Struct, frozen=True):
    """What a filter says when yes or no is not all; it is true where the text is accepted.

    `score` is what a score was compared with its threshold. `found` is the kind of place in which the answer was found,
    empty if the text shows none, and None if the filter looks for none. `failure` is why the text could not be judged,
    in a few words that do not depend on the text: filters fail closed, so that it is not accepted, and a run counts and
    reports it. Raises ValueError for a failure that is accepted.
    """

    accepted: bool
    score: float | None = None
    failure: str = ""
    found: str | None = None

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
