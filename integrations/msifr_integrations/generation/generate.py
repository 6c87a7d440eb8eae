"""Generate attempts at prompts under a policy, and account for every token.

`generate` is one **run**: it reads prompts, runs a number of attempts at each in an engine, asks the policy
between two steps, puts finished attempts to the final filter, and writes `out.jsonl` with its ledger beside
it. A killed run goes on where it stopped when it is started again with the same settings; attempts that were
in flight begin anew and come out the same, since each has its own random stream.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from msifr_integrations.engine.base import Attempt, EngineKind, Sampling, end_tokens
from msifr_integrations.generation.inputs import (
    check_prompts,
    encode_prompt,
    fingerprint,
    load_model,
    read_prompts,
    weights_fingerprint,
)
from msifr_integrations.generation.journal import Journal, ledger_path
from msifr_integrations.generation.run import FILTER_FAILURE, Progress, Run, Task
from msifr_policy import filters
from msifr_policy.errors import InputError
from msifr_policy.filters import FinalFilter, Judgement, Prompt
from msifr_policy.policy import NEVER_DISCARD, NeverDiscard, Policy
from msifr_policy.records.ledger import Totals, read_ledger, total

__all__ = ["Progress", "Result", "conversion_efficiency", "describe_policy", "generate"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to, over all its sessions.

    `tokens` were sampled; `tokens_per_accepted` is None when nothing was accepted; `seconds` is wall time
    from the first step on, without loading the model. `conversion_efficiency`, only present in a comparison,
    is (1 - time/time_full) / (1 - tokens/tokens_full), None when both runs sampled equally many tokens.
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
    *,
    tokenizer: Any = None,
    attempts: int = 1,
    seed: int = 0,
    slots: int = 16,
    max_new_tokens: int = 512,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    final_filter: str | FinalFilter | Callable[[Prompt, str], bool | Judgement] = "numeric",
    engine: EngineKind = "auto",
    device: str = "auto",
    dtype: str = "auto",
    chat: bool = False,
    logprobs: bool = False,
    compare: str | os.PathLike[str] | None = None,
    model_name: str | None = None,
    policy_name: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Result:
    """Make `attempts` attempts at every prompt under `policy` (None: never discard) and return the account.

    model: a folder or name for transformers (safetensors only), or a loaded model in eval mode with its
        `tokenizer`.
    prompts: a JSON-lines file (plain or gzip) with `prompt_id`, `prompt` and, where the filter or the reports
        need them, `gold`, `tests`, `schema` and `group`; or records.
    out: `….jsonl`, appended to; its ledger is `….ledger.jsonl`. If the files exist the run is resumed.
    seed: with the prompt id and the attempt's number it fixes the attempt's tokens, whoever shares the batch.
    max_new_tokens: tokens; temperature 0 is greedy; top_k = 0 and top_p = 1 leave nothing out.
    final_filter: "numeric", "exact", "math", "json-schema", "tests", a filter or a function of (prompt, text). What it
        cannot judge is not accepted, counted in the ledger, and remarked at the end.
    engine: "slots", "static", or "auto": slots if the model can run in them.
    device, dtype: as torch names them, for a model that is loaded here; "auto" is float32 on a CPU, and
        bfloat16 on a GPU, if there is one.
    chat: wrap the prompt as a user's message in the tokenizer's chat template.
    logprobs: also write each token's log-probability (the last digits may differ between equal runs).
    compare: output of a run with the same settings, one of the two without a policy; gives
        `conversion_efficiency`.
    model_name, policy_name: what the files call them; by default the model's path and
        `describe_policy(policy)`.
    progress: called about five times a second. tell: given remarks, by default printed to standard error.

    Raises `InputError` for bad input (before a token is spent where possible), for a resume or a comparison
    with other settings, and for a policy that asks for early exits.
    """
    say = tell or (lambda remark: print(remark, file=sys.stderr))
    accept = filters.final_filter(final_filter)
    todo = check_prompts(read_prompts(prompts) if isinstance(prompts, str | os.PathLike) else prompts, accept)
    if attempts < 1:
        raise InputError(f"attempts = {attempts} must be at least 1", where="generate")
    if not os.fspath(out).endswith(".jsonl"):
        raise InputError("the output's name must end in .jsonl", where=os.fspath(out))

    # Only now: importing torch takes seconds.
    from msifr_integrations.engine.probe import make_engine
    from msifr_integrations.engine.sampling import stream_key

    sampling = Sampling(temperature, top_k, top_p)
    if isinstance(model, str | os.PathLike):
        model_name = model_name or os.fspath(model)
        model, tokenizer = load_model(model, device=device, dtype=dtype)
    elif tokenizer is None:
        raise InputError("a loaded model needs its tokenizer", where="generate", remedy="give tokenizer=")
    model_name = model_name or getattr(model.config, "name_or_path", "") or type(model).__name__
    runner, why = make_engine(model, kind=engine, slots=slots, sampling=sampling, end=end_tokens(model, tokenizer))
    try:
        if why and engine == "auto":
            say(f"the model cannot run in slots ({why}): generate() saves tokens, but hardly time")
        settings: dict[str, Any] = {
            "prompts": fingerprint(map(msgspec.json.encode, todo)),
            "prompt_count": len(todo),
            "attempts": attempts,
            "seed": seed,
            "model": model_name,
            "weights": weights_fingerprint(model),
            "chat": chat,
            "temperature": float(temperature),
            "top_k": top_k,
            "top_p": float(top_p),
            "max_new_tokens": max_new_tokens,
            "engine": runner.name,
            "slots": slots,
            "device": model.device.type,
            "dtype": str(model.dtype).removeprefix("torch."),
            "logprobs": logprobs,
            "filter": accept.name,
            "policy": policy_name or describe_policy(policy),
        }
        other = None if compare is None else _reference(compare, settings)
        encoded = [encode_prompt(tokenizer, prompt.prompt, chat) for prompt in todo]
        with Journal(out, settings) as journal:
            done = journal.done
            tasks: dict[str, Task] = {}
            for prompt, ids in zip(todo, encoded, strict=True):
                for number in range(attempts):
                    name = f"{prompt.prompt_id}/{seed}/{number}"
                    if name not in done:
                        tasks[name] = Task(prompt, len(ids))
                        runner.submit(Attempt(name, ids, stream_key(seed, prompt.prompt_id, number), max_new_tokens))
            run = Run(
                runner, tasks, policy or NEVER_DISCARD, accept, tokenizer, journal,
                seed=seed, model_name=model_name, logprobs=logprobs, progress=progress,
            )  # fmt: skip
            run.drain()
            totals = total(journal.entries)
    finally:
        runner.close()
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
        if other is None
        else conversion_efficiency(*((totals, other) if settings["policy"] != "none" else (other, totals))),
    )


def describe_policy(policy: Policy | None) -> str:
    """Return what a run's settings call a policy: "none", its `fingerprint`, or else its type and content."""
    if policy is None or isinstance(policy, NeverDiscard):
        return "none"
    own = getattr(policy, "fingerprint", None)
    if isinstance(own, str) and own:
        return own
    try:
        content = msgspec.json.encode(getattr(policy, "file", policy))  # what a fitted policy was loaded from
        return f"{type(policy).__qualname__} {fingerprint([content])}"
    except (TypeError, msgspec.ValidationError):
        return type(policy).__qualname__


def conversion_efficiency(with_policy: Totals, full: Totals) -> float | None:
    """Return the share of the token saving that became a time saving; None if no token was saved or added."""
    if with_policy.tokens == full.tokens or full.tokens == 0 or full.seconds == 0:
        return None
    return (1 - with_policy.seconds / full.seconds) / (1 - with_policy.tokens / full.tokens)


def _reference(path: str | os.PathLike[str], settings: Mapping[str, Any]) -> Totals:
    """Return the totals of the run to compare with; raises `InputError` if the two are not comparable."""
    where = os.fspath(path)
    ledger = read_ledger(ledger_path(path))
    for name, value in settings.items():
        if name not in ("policy", "filter", "logprobs") and ledger.settings.get(name) != value:
            raise InputError(
                f"has {name} = {ledger.settings.get(name)!r}, this run {value!r}",
                where=where,
                remedy="compare runs that differ in their policy alone",
            )
    if [settings["policy"], ledger.settings.get("policy")].count("none") != 1:
        raise InputError(
            f"has policy {ledger.settings.get('policy')}, this run {settings['policy']}",
            where=where,
            remedy="one of the two must be the run without a policy, which shows the full cost",
        )
    expected = settings["prompt_count"] * settings["attempts"]
    if len(ledger.entries) != expected:
        raise InputError(
            f"is not finished: {len(ledger.entries)} of {expected} attempts",
            where=where,
            remedy="resume it first",
        )
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
