"""What an object is that is no record of the kind asked for: a line of another tool, or of another of our files."""

import shlex
from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Other(NamedTuple):
    """What an object seems to be, and what to do with it."""

    what: str
    remedy: str


_FILE: Final = "FILE"
_MAKE: Final = "msifr convert FILE -o traces.jsonl.gz makes traces of it"
_JUDGE: Final = "msifr convert FILE --filter numeric -o traces.jsonl.gz makes traces of it, by that final filter"
_BATCH: Final = (
    "msifr convert FILE --prompts REQUESTS --prompts GOLD --filter numeric -o traces.jsonl.gz makes traces of it, with "
    "the request file and one that has the gold answers"
)
_NOTHING: Final = "it has no outcome; make prompts of it, and attempts at them with msifr generate"
_PROMPT: Final = "a prompt, at which no attempt was made"
_OF_ATTEMPTS: Final = frozenset(("text", "correct", "tokens", "logprobs"))
_KNOWN: Final[tuple[tuple[frozenset[str], Other], ...]] = tuple(
    (frozenset(names.split()), Other(what, remedy))
    for names, what, remedy in (
        ("kind settings version", "the ledger of a run", "name the run's output, without .ledger"),
        ("kind outcome seconds", "the ledger of a run", "name the run's output, without .ledger"),
        ("schema_version", "a policy file", "POLICY comes before TRACES"),
        ("doc_id resps", "a sample that lm-evaluation-harness logged", _MAKE),
        ("custom_id response", "a line of OpenAI's Batch API", _BATCH),
        ("custom_id result", "a line of Anthropic's Message Batches API", _BATCH),
        ("custom_id body", "a request for OpenAI's Batch API", "make a prompt of it: prompt_id is custom_id"),
        ("eval samples", "a log of inspect_ai", _MAKE),
        ("question options answer pred", "a result of MMLU-Pro", _MAKE),
        ("problem steps final_answer_correct", "a solution of ProcessBench", _MAKE),
        ("problem generations correctness_math_verify", "a row as Open R1 has them (generations)", _MAKE),
        ("question label", "a solution of PRM800K", _MAKE),
        ("generation distilabel_metadata", "a row of distilabel (generation)", _JUDGE),
        ("instruction generation", "a row of distilabel (generation)", _JUDGE),
        ("instruction generations", "a row of distilabel (generations)", _JUDGE),
        ("prompt outputs", "an output of vLLM (outputs)", _JUDGE),
        ("prompt completions rewards", "a prompt with its completions and rewards, as TRL has them", _MAKE),
        ("prompt completion reward", "a prompt with its completion and reward, as TRL has them", _MAKE),
        ("prompt completions", "a prompt with its completions", _JUDGE),
        ("prompt completion", "a prompt with its completion", _JUDGE),
        ("input output score", "a rollout of verl", f"{_MAKE}; with --reward-threshold if scores are not 0 or 1"),
        ("instruction output", "a record of training data (Alpaca: instruction, output)", _JUDGE),
        ("conversations", "a chat as ShareGPT has them (conversations)", _JUDGE),
        ("prompt chosen rejected", "a pair of training data (chosen, rejected)", _NOTHING),
        ("prompt_id prompt", _PROMPT, "make attempts with msifr generate --prompts"),
        ("prompt_id messages", _PROMPT, "make attempts with msifr generate --prompts"),
        ("messages", "a chat (messages)", _JUDGE),
        ("question answer", "a record of a benchmark (question, answer)", _NOTHING),
    )
)


def known_as(record: Mapping[str, Any], where: str = "") -> Other | None:
    """Return what an object is by the names of its members, the first that fits; None if they tell nothing.

    What to do is told with the name of its file, if `where` begins with one: "FILE, line 1".
    """
    found = next((other for names, other in _KNOWN if names <= record.keys()), None)
    if found is not None and found.what == _PROMPT and not _OF_ATTEMPTS.isdisjoint(record):
        found = None
    file, comma, _ = where.rpartition(", ")
    if found is None or not comma:
        return found
    return found._replace(remedy=found.remedy.replace(_FILE, shlex.quote(file)))
