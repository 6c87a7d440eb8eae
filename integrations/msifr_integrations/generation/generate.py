"""Generate attempts at prompts under a policy, and account for every token.

`generate` is one **run**: it reads prompts, runs a number of attempts at each in an engine, asks the policy between two
steps, puts finished attempts to the final filter, and writes `out.jsonl` with its ledger beside it. A killed run goes
on where it stopped when it is started again with the same settings; attempts that were in flight begin anew and come
out the same, since each has its own random stream.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import msgspec

from msifr_integrations.engine.base import Attempt, Engine, end_tokens, stream_key
from msifr_integrations.generation.inputs import (
    check_prompts,
    encode_prompt,
    fingerprint,
    in_one_line,
    load_model,
    read_prompts,
    weights_fingerprint,
)
from msifr_integrations.generation.journal import FILTER_FAILURE, Journal, ledger_path
from msifr_integrations.generation.live import Task
from msifr_integrations.generation.options import DEFAULTS, GenerateOptions
from msifr_integrations.generation.provenance import provenance_of
from msifr_integrations.generation.run import Progress, Run
from msifr_policy import filters
from msifr_policy.errors import InputError
from msifr_policy.filters import Prompt
from msifr_policy.policy import NEVER_DISCARD, NeverDiscard, Policy
from msifr_policy.records.ledger import Totals, read_ledger, total
from msifr_policy.records.provenance import Provenance

_SETTINGS = (
    *("attempts", "seed", "chat", "temperature", "top_k", "top_p", "max_new_tokens"),
    *("engine", "slots", "dtype", "logprobs"),
)
"""Options that the ledger keeps as they are."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to, over all its sessions.

    `tokens` were sampled; `tokens_per_accepted` is None when nothing was accepted; `seconds` is wall time from the
    first step on, without loading the model. `conversion_efficiency`, only present in a comparison, is
    (1 - time/time_full) / (1 - tokens/tokens_full), None when both runs sampled equally many tokens.
    """

    attempts: int
    accepted: int
    discarded: int
    tokens: int
    tokens_wasted_after_decision: int
    tokens_per_accepted: float | None
    seconds: float
    conversion_efficiency: float | msgspec.UnsetType | None = msgspec.UNSET


def generate(
    model: Any,
    prompts: str | os.PathLike[str] | Iterable[Prompt],
    policy: Policy | None,
    out: str | os.PathLike[str],
    options: GenerateOptions = DEFAULTS,
    *,
    tokenizer: Any = None,
    progress: Callable[[Progress], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Result:
    """Make attempts at every prompt under `policy` (None: never discard) and return the account.

    model: a folder or name for transformers (safetensors only), or a loaded model in eval mode with its `tokenizer`.
    prompts: a JSON-lines file with `prompt_id`, `prompt` and, where the filter or the reports need them, `gold`,
        `tests`, `schema` and `group`; or records.
    out: `….jsonl`, appended to; its ledger is `….ledger.jsonl`. If the files exist the run is resumed; a run that is
        finished is returned as it is, without loading the model.
    progress: called about five times a second. tell: given remarks, by default printed to standard error.

    Raises `InputError` for bad input (before the model is loaded where possible, else before a token is spent), for a
    resume or a comparison with other settings, for a full disk, and for a policy that asks for early exits. After any
    error or interrupt the run can be resumed.
    """
    say = tell or (lambda remark: print(remark, file=sys.stderr))
    accept = filters.final_filter(options.final_filter)
    todo = check_prompts(read_prompts(prompts) if isinstance(prompts, str | os.PathLike) else prompts, accept)
    if not os.fspath(out).endswith(".jsonl"):
        raise InputError("the output's name must end in .jsonl", where=os.fspath(out))
    loaded = not isinstance(model, str | os.PathLike)
    if loaded and tokenizer is None:
        raise InputError("a loaded model needs its tokenizer", where="generate", remedy="give tokenizer=")
    name = (getattr(model.config, "name_or_path", "") or type(model).__name__) if loaded else os.fspath(model)
    options = msgspec.structs.replace(options, model_name=options.model_name or name)
    settings = _settings(todo, options) | {"filter": accept.name, "policy": describe_policy(policy)}
    if loaded:
        settings |= _model_settings(model)
    with Journal(out) as journal:
        known = {name: value for name, value in settings.items() if value != "auto"}
        journal.check(known)
        full = _reference(options.compare, known)
        certified: Provenance = getattr(policy, "provenance", Provenance())
        for difference in certified.differences(provenance_of(settings)):
            say(f"the policy was certified on other attempts: {difference}")
        if journal.settings is not None and len(journal.entries) == len(todo) * options.attempts:
            say(f"{os.fspath(out)} is already finished: nothing was generated, and no model was loaded")
            settings = journal.settings
        else:
            try:
                with _engine_for(model, tokenizer, options, say) as (engine, model, tokenizer):
                    settings |= _model_settings(model) | {"engine": engine.name}
                    full = _reference(options.compare, settings)
                    tasks = _tasks(todo, tokenizer, options)
                    journal.begin(settings)
                    Run(engine, tasks, policy or NEVER_DISCARD, accept, tokenizer, journal, options, progress).drain()
            except KeyboardInterrupt:
                done = f"{len(journal.entries)} of {len(todo) * options.attempts} attempts are done"
                say(f"interrupted: {done} and kept in {os.fspath(out)}; start again with the same command to go on")
                raise
        totals = total(journal.entries)
    _remark(totals, settings["policy"], say)
    return Result(
        attempts=totals.attempts,
        accepted=totals.accepted,
        discarded=totals.discarded,
        tokens=totals.tokens,
        tokens_wasted_after_decision=totals.tokens_wasted_after_decision,
        tokens_per_accepted=totals.tokens / totals.accepted if totals.accepted else None,
        seconds=totals.seconds,
        conversion_efficiency=msgspec.UNSET
        if full is None
        else conversion_efficiency(*((totals, full) if settings["policy"] != "none" else (full, totals))),
    )


@contextmanager
def _engine_for(
    model: Any, tokenizer: Any, options: GenerateOptions, say: Callable[[str], None]
) -> Iterator[tuple[Engine, Any, Any]]:
    """Load the model if it is not yet; give an engine that runs it, the model and its tokenizer."""
    with in_one_line("cannot be imported", "engine"):
        # Only now: importing torch takes seconds.
        from msifr_integrations.engine.probe import make_engine
    if isinstance(model, str | os.PathLike):
        model, tokenizer = load_model(model, device=options.device, dtype=options.dtype)
    end, sampling = end_tokens(model, tokenizer), options.sampling
    engine, why_static = make_engine(model, kind=options.engine, slots=options.slots, sampling=sampling, end=end)
    if why_static and options.engine == "auto":
        say(f"the model cannot run in slots ({why_static}): generate() saves tokens, but hardly time")
    with closing(engine):
        yield engine, model, tokenizer


def _settings(prompts: list[Prompt], options: GenerateOptions) -> dict[str, Any]:
    """Return the settings that a run shares with its resumes, as far as they are known before the model is loaded."""
    chosen = {name: getattr(options, name) for name in _SETTINGS}
    return chosen | {
        "prompts": fingerprint(map(msgspec.json.encode, prompts)),
        "prompt_count": len(prompts),
        "model": options.model_name,
        "device": options.device.partition(":")[0],
    }


def _model_settings(model: Any) -> dict[str, Any]:
    return {
        "weights": weights_fingerprint(model),
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def _tasks(prompts: list[Prompt], tokenizer: Any, options: GenerateOptions) -> list[Task]:
    return [
        Task(
            prompt,
            Attempt(
                id=f"{prompt.prompt_id}/{options.seed}/{number}",
                prompt=ids,
                key=stream_key(options.seed, prompt.prompt_id, number),
                max_new_tokens=options.max_new_tokens,
            ),
        )
        for prompt in prompts
        for ids in [encode_prompt(tokenizer, prompt.prompt, options.chat)]
        for number in range(options.attempts)
    ]


def describe_policy(policy: Policy | None) -> str:
    """Return what a run's settings call a policy: "none", its `fingerprint`, or else its type and content."""
    if policy is None or isinstance(policy, NeverDiscard):
        return "none"
    name = getattr(policy, "fingerprint", None)
    if isinstance(name, str) and name:
        return name
    try:
        return f"{type(policy).__qualname__} {fingerprint([msgspec.json.encode(policy)])}"
    except (TypeError, msgspec.ValidationError):
        return type(policy).__qualname__


def conversion_efficiency(with_policy: Totals, full: Totals) -> float | None:
    """Return the share of the token saving that became a time saving; None if no token was saved or added."""
    if with_policy.tokens == full.tokens or full.tokens == 0 or full.seconds == 0:
        return None
    return (1 - with_policy.seconds / full.seconds) / (1 - with_policy.tokens / full.tokens)


def _reference(path: str | os.PathLike[str] | None, settings: Mapping[str, Any]) -> Totals | None:
    """Return the totals of the run to compare with, if any; raises `InputError` if the two are not comparable."""
    if path is None:
        return None

    def refused(what: str, remedy: str) -> InputError:
        return InputError(what, where=os.fspath(path), remedy=remedy)

    ledger = read_ledger(ledger_path(path))
    for name, value in settings.items():
        other = ledger.settings.get(name)
        if name not in ("policy", "filter", "logprobs") and other != value:
            remedy = "compare runs that differ in their policy alone"
            raise refused(f"has {name} = {other!r}, this run {value!r}", remedy)
    policy, other = settings["policy"], ledger.settings.get("policy")
    if [policy, other].count("none") != 1:
        remedy = "one of the two must be the run without a policy, which shows the full cost"
        raise refused(f"has policy {other}, this run {policy}", remedy)
    done, expected = len(ledger.entries), settings["prompt_count"] * settings["attempts"]
    if done != expected:
        raise refused(f"is not finished: {done} of {expected} attempts", "resume it first")
    return total(ledger.entries)


def _remark(totals: Totals, policy: str, say: Callable[[str], None]) -> None:
    """Say aloud what a table of numbers would hide."""
    if policy != "none" and totals.discarded == 0:
        say(f"the policy never discarded any of {totals.attempts} attempts: this run saved nothing")
    for of_filter, meaning in (
        (False, "failures that counted as no evidence"),
        (True, "attempts that the final filter could not judge, and that were therefore not accepted"),
    ):
        failed = {name: n for name, n in totals.failures.items() if name.startswith(FILTER_FAILURE) == of_filter}
        if failed:
            worst = ", ".join(f"{name.removeprefix(FILTER_FAILURE)} ({n}×)" for name, n in failed.items())
            say(f"{meaning}: {worst}")
    if totals.tokens_wasted_after_decision:
        say(f"{totals.tokens_wasted_after_decision} tokens were sampled after a decision to discard")
    if totals.accepted == 0:
        say(f"none of {totals.attempts} attempts was accepted")
