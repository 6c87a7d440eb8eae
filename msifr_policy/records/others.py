"""What an object is that is no record of the kind asked for: a line of another tool, or of another of our files."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Other(NamedTuple):
    """What an object seems to be, and what to do with it."""

    what: str
    remedy: str


_TRAINING: Final = "has no outcome; make prompts of it, and attempts at them with msifr generate"
_KNOWN: Final[tuple[tuple[frozenset[str], Other], ...]] = tuple(
    (frozenset(names.split()), Other(what, remedy))
    for names, what, remedy in (
        ("kind settings version", "the ledger of a run", "name the run's output, without .ledger"),
        ("kind outcome seconds", "the ledger of a run", "name the run's output, without .ledger"),
        ("schema_version", "a policy file", "POLICY comes before TRACES"),
        (
            "doc_id resps",
            "a sample that lm-evaluation-harness logged",
            "make a trace of each response: prompt_id is doc_id, text one of resps, gold the target, correct whether "
            "the metric is 1",
        ),
        (
            "custom_id response",
            "a line of OpenAI's Batch API",
            "make a trace of each choice: prompt_id is custom_id, text the message's content, correct what your own "
            "filter says of it",
        ),
        ("custom_id body", "a request for OpenAI's Batch API", "make a prompt of it: prompt_id is custom_id"),
        ("instruction output", "a record of training data (Alpaca: instruction, output)", f"it {_TRAINING}"),
        ("conversations", "a record of training data (ShareGPT: conversations)", f"it {_TRAINING}"),
        ("prompt chosen rejected", "a pair of training data (chosen, rejected)", f"it {_TRAINING}"),
        ("prompt_id prompt", "a prompt, at which no attempt was made", "make attempts with msifr generate --prompts"),
        ("prompt_id messages", "a prompt, at which no attempt was made", "make attempts with msifr generate --prompts"),
        ("messages", "a chat (messages)", f"a chat {_TRAINING}"),
        ("question answer", "a record of a benchmark (question, answer)", f"it {_TRAINING}"),
    )
)


def known_as(record: Mapping[str, Any]) -> Other | None:
    """Return what an object is by the names of its members, the first that fits; None if they tell nothing."""
    return next((other for names, other in _KNOWN if names <= record.keys()), None)
