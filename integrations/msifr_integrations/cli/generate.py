"""`msifr generate`: a run under a policy."""

from typing import Any

import click
import msgspec

from msifr_integrations.cli.console import emit, prose, tracking
from msifr_integrations.cli.options import gathered, json_option
from msifr_integrations.cli.words import FILTERS, parse_filter
from msifr_integrations.generation.options import DTYPES, GenerateOptions
from msifr_policy.policy_file import PolicyFile


@click.command()
@click.option("--model", required=True, metavar="PATH_OR_ID", help="A transformers model, or the word: embedded.")
@click.option(
    "--prompts",
    required=True,
    type=click.Path(dir_okay=False),
    help="JSON lines: prompt_id, prompt, gold, tests, schema, group.",
)
@click.option("--policy", required=True, help="A policy file, or: none.")
@click.option("-o", "--out", required=True, type=click.Path(), help="Attempts, JSON lines; resumed if it exists.")
@gathered(
    GenerateOptions,
    "options",
    attempts={"type": click.IntRange(1, 1_000_000), "help": "Attempts per prompt."},
    slots={"type": click.IntRange(1), "help": "Attempts generated side by side."},
    max_new_tokens={"type": click.IntRange(1), "help": "Longest attempt, in tokens."},
    temperature={"type": click.FloatRange(0), "help": "Sampling temperature; 0 is greedy."},
    top_k={"type": click.IntRange(0), "help": "Sample from the k likeliest tokens; 0 is all."},
    top_p={"type": click.FloatRange(0, 1, min_open=True), "help": "Sample from this much probability."},
    final_filter={
        "flag": "--filter",
        "help": f"What makes an attempt acceptable: {FILTERS}. numeric and exact compare with the prompt's gold, math "
        "by math-verify; json-schema validates by FILE or the prompt's schema; tests runs the program with the "
        "prompt's tests; your own functions are called with prompt and text.",
    },
    engine={"type": click.Choice(["auto", "slots", "static"]), "help": "How tokens are generated."},
    device="As torch names it; auto is a GPU where there is one.",
    dtype={"type": click.Choice(DTYPES), "help": "As torch names it; auto is float32 on CPU, bfloat16 on a GPU."},
    chat={"is_flag": True, "help": "Wrap prompts in the tokenizer's chat template."},
    compare={"type": click.Path(), "help": "Output of the paired run; adds conversion_efficiency."},
    seed="Seed of every random choice.",
)
@json_option
def generate(model: str, prompts: str, policy: str, out: str, options: GenerateOptions, as_json: bool) -> None:
    """Generate attempts at prompts, discarding by POLICY in flight; accepted samples and every token are written.

    A run that was killed goes on where it stopped when started again with the same options.
    """
    from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path
    from msifr_integrations.generation.generate import generate as run

    name, where = (EMBEDDED_MODEL, str(embedded_model_path())) if model == "embedded" else (model, model)
    word: Any = options.final_filter
    options = msgspec.structs.replace(options, final_filter=parse_filter(word), model_name=name)
    fitted = None if policy == "none" else PolicyFile.load(policy).policy()
    with tracking("generating") as advance:
        result = run(
            where,
            prompts,
            fitted,
            out,
            options,
            progress=lambda p: advance(p.done, f"{p.accepted} accepted, {p.discarded} discarded", p.attempts),
            tell=lambda remark: prose(remark, json=True),
        )
    per_accepted = "-" if result.tokens_per_accepted is None else f"{result.tokens_per_accepted:.1f}"
    prose(
        f"{result.attempts} attempts, {result.accepted} accepted, {result.discarded} discarded",
        f"{result.tokens} tokens in {result.seconds:.1f} s, {per_accepted} tokens per accepted sample",
        json=as_json,
    )
    if result.conversion_efficiency not in (msgspec.UNSET, None):
        prose(f"conversion efficiency {result.conversion_efficiency:.2f} (time saved over tokens saved)", json=as_json)
    if as_json:
        emit(result)
