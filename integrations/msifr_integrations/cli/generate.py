"""`msifr generate`: a run under a policy."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec

from msifr_integrations.cli.autopilot import PILOT_HELP, PilotWords, pilot_lines
from msifr_integrations.cli.console import emit, examples, explained, prose, stderr
from msifr_integrations.cli.export import export_shown, exported_lines
from msifr_integrations.cli.foretold import forecast_lines
from msifr_integrations.cli.live_view import ViewOptions, watching
from msifr_integrations.cli.money import TokenPrices, spent_by
from msifr_integrations.cli.options import gathered, json_option
from msifr_integrations.cli.summary import rates_line
from msifr_integrations.cli.tables import load_policy
from msifr_integrations.cli.words import FILTERS, SCHEDULES, ExitOptions, parse_filter, parse_validators
from msifr_integrations.cluster.options import ONE_WORKER, RayOptions
from msifr_integrations.formats.export import ExportForm, ExportOptions, check_export
from msifr_integrations.generation.forecast import Forecast
from msifr_integrations.generation.goals import FEWEST_PROMPTS
from msifr_integrations.generation.inputs import PROMPT_HELP
from msifr_integrations.generation.options import DTYPES, EngineName, GenerateOptions
from msifr_integrations.servers.options import ServerApi, ServerOptions
from msifr_policy.audit import AuditBy
from msifr_policy.errors import InputError
from msifr_policy.filters.extract import PLACES
from msifr_policy.validators import Validator
from msifr_sim import Summary

if TYPE_CHECKING:
    from msifr_integrations.generation.result import Result

_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


def _unescaped(_: Any, __: Any, given: Any) -> Any:
    """Return texts of the command line with what \\n, \\t and \\\\ stand for."""
    if isinstance(given, tuple):
        return tuple(_unescaped(_, __, text) for text in given)
    return re.sub(r"\\([nt\\])", lambda found: _ESCAPES[found[1]], given)


_ON_RAY = "msifr.ray"
_LONGEST_SHARD = 20  # characters


def _engine(context: click.Context, _: Any, name: str) -> str:
    """Return the engine that a process runs; whether that is a worker of a cluster is noted in the context."""
    context.meta[_ON_RAY] = name == "ray"
    return "auto" if name == "ray" else name


def _json_object(_: Any, __: Any, text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise click.BadParameter(f"no JSON object: {error}") from None


def _proofs(_: Any, __: Any, text: str | None) -> tuple[Validator, ...] | None:
    """Return the validators that are proofs beside the final filter's rejections; None if nothing is remembered."""
    if text is None:
        return None
    first, *others = text.split(",")
    if first.strip() != "filter":
        raise click.BadParameter(f"{text!r} does not begin with the word filter: filter,json_schema for example")
    try:
        return parse_validators(",".join(others)) if others else ()
    except InputError as error:
        raise click.BadParameter(str(error).replace("--validators", "--rejection-memory")) from None


def _shard(_: Any, __: Any, text: str) -> tuple[int, int]:
    share, slash, of = text.partition("/")
    if not (slash and share.isdecimal() and of.isdecimal() and len(text) < _LONGEST_SHARD):
        raise click.BadParameter(f"{text!r} is none: the third of eight shards is 3/8")
    return int(share), int(of)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What a run reads and writes, as the command line names it."""

    prompts: str = ""
    policy: str = ""
    out: str = ""
    accepted_out: str | None = None
    accepted_format: ExportForm = "chat"


@click.command(
    epilog=examples(
        "msifr generate --model embedded --prompts prompts.jsonl --policy none -o traces.jsonl",
        "msifr generate --model embedded --prompts prompts.jsonl --autopilot -o steered.jsonl",
        "msifr generate --server http://localhost:8000 --prompts prompts.jsonl --policy policy.json -o out.jsonl",
        "msifr generate --model embedded --prompts prompts.jsonl --policy none --price-out 0.6 -o priced.jsonl",
        "msifr generate --model embedded --prompts prompts.jsonl --policy none --preview 3 -o whole.jsonl",
        "msifr generate --model embedded --prompts prompts.jsonl --policy policy.json --accepted 5 -o enough.jsonl",
        "msifr generate --model embedded --prompts prompts.jsonl --policy none --record-exits newline -o exits.jsonl",
        before=PROMPT_HELP,
    )
)
@click.option("--model", metavar="PATH_OR_ID", help="A model for transformers or vLLM, or the word: embedded.")
@gathered(
    RunFiles,
    "files",
    prompts={
        "required": True,
        "type": click.Path(dir_okay=False),
        "help": "JSON lines: prompt_id, prompt or messages, gold, tests, schema, group, parameters; see below.",
    },
    policy={"help": "A policy file, or: none. Without one, see --autopilot."},
    out={
        "flag": ("-o", "--out"),
        "required": True,
        "type": click.Path(),
        "help": "Attempts, JSON lines; resumed if it exists.",
    },
    accepted_out={
        "type": click.Path(),
        "help": "Also export the accepted samples: a .jsonl or .parquet file, or a folder.",
    },
    accepted_format={
        "type": click.Choice(get_args(ExportForm)),
        "help": "How: as msifr export --form does.",
    },
)
@gathered(
    ServerOptions,
    "server",
    url={
        "flag": "--server",
        "metavar": "URL",
        "help": "An OpenAI-compatible server (vLLM, SGLang, llama.cpp, …) that makes the tokens.",
    },
    api={"type": click.Choice(get_args(ServerApi)), "help": "Which of the server's two interfaces."},
    api_model="What the server calls the model; by default the first that it lists.",
    key_env={"metavar": "NAME", "help": "Environment variable that holds the server's key, if it wants one."},
    retries={"type": click.IntRange(0), "help": "Tries again of an attempt that the server broke off or put off."},
    patience={"type": click.FloatRange(0, min_open=True), "help": "Seconds of silence after which a stream is broken."},
)
@gathered(
    GenerateOptions,
    "options",
    attempts={
        "type": click.IntRange(1, 1_000_000),
        "help": "Attempts per prompt; with --accepted-per-prompt, at most.",
    },
    accepted_per_prompt={
        "type": click.IntRange(1),
        "metavar": "N",
        "help": "Stop at N accepted samples per prompt; the attempts made are those that one after the other would be.",
    },
    accepted={
        "type": click.IntRange(1),
        "metavar": "N",
        "help": "End the whole run at N accepted samples; what is in flight then is given up.",
    },
    max_tokens={
        "type": click.IntRange(1),
        "metavar": "N",
        "help": "End the whole run at N sampled tokens, wasted ones included.",
    },
    preview={
        "type": click.IntRange(FEWEST_PROMPTS),
        "metavar": "N",
        "help": "Run N prompts, drawn by chance, and foretell the whole run: tokens, time, cost, accepted samples.",
    },
    slots={"type": click.IntRange(1), "help": "Attempts generated side by side: rows, or open streams."},
    kv_tokens={
        "type": click.IntRange(1),
        "metavar": "N",
        "help": "Positions of keys and values that all slots have together; attempts wait where they may need more "
        "(default: half of the free memory, three quarters on a GPU).",
    },
    max_new_tokens={"type": click.IntRange(1), "help": "Longest attempt, in tokens."},
    temperature={"type": click.FloatRange(0), "help": "0 is greedy; by default the model's own, else 1."},
    top_k={"type": click.IntRange(0), "help": "Sample from the k likeliest tokens; 0 is all. By default as above."},
    top_p={"type": click.FloatRange(0, 1, min_open=True), "help": "Sample from this much probability; likewise."},
    generation_config={
        "flag": "--generation-config/--no-generation-config",
        "help": "Follow the generation settings that a model of transformers comes with (sampling, penalties, "
        "forbidden words, stop strings), where options do not say otherwise.",
    },
    final_filter={
        "flag": "--filter",
        "help": f"What makes an attempt acceptable: {FILTERS}. The first four compare with the prompt's gold: as "
        "numbers, choices, letter by letter, by math-verify; json-schema validates by FILE or the prompt's schema; "
        "tests runs the program with the prompt's tests; your own functions are called with prompt and text.",
    },
    answer={
        "metavar": "PLACE",
        "help": f"Where these four find the answer: {PLACES}. By default auto: where the prompt asks for it, else "
        "where the text announces it; for exact the whole text.",
    },
    stop={
        "multiple": True,
        "metavar": "STRING",
        "callback": _unescaped,
        "help": "A string that ends an attempt (\\\\n is a new line); may be given several times.",
    },
    finish_when_decided={
        "is_flag": True,
        "help": "End an attempt when its answer is complete: a closed JSON document or program, a delimited answer.",
    },
    engine={
        "type": click.Choice([*get_args(EngineName), "ray"]),
        "callback": _engine,
        "help": "How this process makes tokens; ray: workers of a cluster make them.",
    },
    engine_args={"metavar": "JSON", "default": "{}", "callback": _json_object, "help": "vLLM's own arguments."},
    device="As torch names it; auto is a GPU where there is one.",
    dtype={"type": click.Choice(DTYPES), "help": "As torch names it; auto is float32 on CPU, bfloat16 on a GPU."},
    chat={
        "flag": "--chat/--no-chat",
        "help": "Put prompts into the model's chat template; by default where it has one.",
    },
    template={
        "metavar": "TEXT",
        "callback": _unescaped,
        "help": "Put prompts into this text instead, where it says {prompt}.",
    },
    logprobs={"is_flag": True, "help": "Also write each token's log-probability."},
    compare={
        "type": click.Path(),
        "help": "Output of the paired run; adds conversion_efficiency and survivors_changed.",
    },
    audit={
        "type": click.FloatRange(0, 1),
        "metavar": "SHARE",
        "help": "Finish this share of what would be discarded, to see what discarding loses; 0.05 is usual. The output "
        "then has weights, by which its accepted samples are unbiased.",
    },
    audit_by={
        "type": click.Choice(get_args(AuditBy)),
        "help": "What the share hangs on: more where the posterior is higher, or nothing.",
    },
    rejection_memory={
        "metavar": "PROOFS",
        "callback": _proofs,
        "help": "Do not draw again what is proven dead at a prompt; what is accepted keeps its distribution. PROOFS: "
        "the word filter, for what the final filter rejected; behind commas, validators whose DEAD is certain.",
    },
    shard={"metavar": "I/N", "default": "1/1", "callback": _shard, "help": "Make only share I of N; see msifr merge."},
    seed="Seed of every random choice.",
)
@gathered(
    ExitOptions,
    "exits",
    record_exits={
        "metavar": "SCHEDULE",
        "help": "With --policy none: once an attempt is over, also force its answer at each of these checkpoints, for "
        f"msifr fit --exits: {SCHEDULES}.",
    },
    exit_every={"type": click.IntRange(1), "metavar": "N", "help": "Force answers at every N-th of them only."},
    exit_prompt={
        "metavar": "TEXT",
        "callback": _unescaped,
        "help": "What asks for the answer, on a line of its own; an open thinking tag is closed before.",
    },
    exit_tokens={"type": click.IntRange(1), "help": "Most tokens of a forced answer, which is one line."},
)
@gathered(PilotWords, "pilot", **PILOT_HELP)
@gathered(
    RayOptions,
    "cluster",
    workers={"type": click.IntRange(1), "help": "With --engine ray: engines, each with its own slots."},
    address={
        "flag": "--ray-address",
        "metavar": "ADDRESS",
        "help": "Of a Ray cluster; without one it is RAY_ADDRESS's, or one started here for the run.",
    },
    cpus_per_worker="CPUs that each worker reserves; 0.5 is half of one.",
    gpus_per_worker="GPUs that each worker reserves, and then runs vLLM on unless there is a server.",
)
@gathered(
    ViewOptions,
    "view",
    live={
        "flag": "--live/--no-live",
        "show_default": "a view on a terminal, lines elsewhere, nothing with --json",
        "help": "Show how far the run is, what it saves, costs and when it will end.",
    },
    every={
        "flag": "--live-every",
        "metavar": "SECONDS",
        "help": "Where the output is no terminal: seconds between two lines.",
    },
)
@gathered(
    TokenPrices,
    "prices",
    price_in={"metavar": "PRICE", "help": "What a million tokens of prompts cost: says what the run costs."},
    price_out={"metavar": "PRICE", "help": "What a million generated tokens cost."},
    max_cost={
        "type": click.FloatRange(0, min_open=True),
        "metavar": "COST",
        "help": "End the whole run when it has cost so much, at these prices.",
    },
)
@json_option
def generate(
    model: str | None,
    files: RunFiles,
    options: GenerateOptions,
    server: ServerOptions,
    cluster: RayOptions,
    view: ViewOptions,
    prices: TokenPrices,
    *,
    exits: ExitOptions,
    pilot: PilotWords,
    as_json: bool,
) -> None:
    """Generate attempts at prompts, discarding by POLICY in flight; accepted samples and every token are written.

    A run that was killed goes on where it stopped when started again with the same options; one that reached its goal
    (--accepted, --max-tokens, --max-cost) when it is asked for more.
    """
    from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path
    from msifr_integrations.generation.generate import generate as in_this_process

    run: Callable[..., Result] = in_this_process
    if click.get_current_context().meta[_ON_RAY]:
        from msifr_integrations.cluster.on_ray import generate_on_ray

        run = partial(generate_on_ray, cluster=cluster)
        in_vllm = cluster.gpus_per_worker > 0 and not server.url
        options = msgspec.structs.replace(options, engine="vllm" if in_vllm else "auto")
    elif cluster != ONE_WORKER:
        raise InputError("workers are those of a cluster", where="msifr generate", remedy="add --engine ray")
    if (model is None) == (not server.url):
        raise InputError("needs --model or --server, and not both", where="msifr generate")
    if model is not None and model.startswith(("http://", "https://")):
        raise InputError("is the address of a server, not a model", where=f"--model {model}", remedy="use --server URL")
    if pilot.autopilot == bool(files.policy):
        remedy = "name a policy file or none, or let the run find a policy with --autopilot"
        raise InputError("needs --policy or --autopilot, and not both", where="msifr generate", remedy=remedy)
    without = files.policy.lower() in ("", "none")
    exporting = ExportOptions(form=files.accepted_format, policy=None if without else files.policy)
    if files.accepted_out is not None:
        check_export(files.out, files.accepted_out, exporting)
    name, where = (EMBEDDED_MODEL, str(embedded_model_path())) if model == "embedded" else (model or "", model)
    word: Any = options.final_filter
    accept = parse_filter(word, options.answer)
    options = msgspec.structs.replace(options, final_filter=accept, answer="", model_name=name, server=server)
    options = msgspec.structs.replace(options, prices=prices.prices, max_cost=prices.max_cost, record_exits=exits.plan)
    options = msgspec.structs.replace(options, autopilot=pilot.options)
    fitted = None if without else load_policy(files.policy).policy()
    with watching(stderr, view, prices or None, quiet=as_json) as progress:
        result = run(
            where,
            files.prompts,
            fitted,
            files.out,
            options,
            progress=progress,
            tell=lambda remark: prose(remark, json=True),
        )
    per_accepted = "-" if result.tokens_per_accepted is None else f"{result.tokens_per_accepted:.1f}"
    beside = f" (and {result.tokens_beside} beside)" if result.tokens_beside else ""
    failed = f", {result.failed} failed" if result.failed else ""
    skipped = f" ({result.skipped} of them before the first token)" if result.skipped else ""
    exited = f", {result.exited} exited with a forced answer" if result.exited else ""
    prose(
        f"{result.attempts} attempts, {result.accepted} accepted, {result.discarded} discarded{skipped}"
        f"{exited}{failed}",
        f"{result.tokens} tokens{beside} in {result.seconds:.1f} s ({result.cpu_seconds:.1f} CPU seconds of this "
        f"process), {per_accepted} tokens per accepted sample",
        *_saved(result, audited=bool(options.audit) or pilot.autopilot),
        *_audited(result),
        *_remembered(result),
        *([prices.line(spent_by(result))] if prices else []),
        json=as_json,
    )
    if isinstance(result.prompts_filled, int):
        prose(
            f"prompts: {result.prompts_filled} with their quota of accepted samples, {result.prompts_given_up} given "
            f"up before the first token of an attempt, {result.prompts_exhausted} out of attempts",
            json=as_json,
        )
    if not isinstance(result.autopilot, msgspec.UnsetType):
        prose(*pilot_lines(result.autopilot), json=as_json)
    if isinstance(result.forecast, Forecast):
        prose(*forecast_lines(result.forecast), json=as_json)
    if isinstance(result.compared, Summary):
        prose(
            f"measured beside the run without the policy: {rates_line(result.compared)}",
            f"{result.survivors_changed} of {result.survivors} survivors differ from the other run",
            json=as_json,
        )
    if isinstance(result.conversion_efficiency, float):
        cpu = result.conversion_efficiency_cpu
        ours = not server.url and options.engine != "vllm"  # else the work is done, and its time spent, elsewhere
        in_cpu = f", {cpu:.2f} in CPU time" if isinstance(cpu, float) and ours else ""
        prose(
            f"conversion efficiency {result.conversion_efficiency:.2f} by the wall{in_cpu} "
            "(time saved over tokens saved; runs of seconds tell nothing of it)",
            json=as_json,
        )
    if files.accepted_out is not None:
        exported = export_shown(files.out, files.accepted_out, exporting)
        prose(*exported_lines(exported, files.accepted_out), json=as_json)
    words = ["money"] if prices else []
    words += ["rejection memory"] * (options.rejection_memory is not None)
    words += ["goal"] * bool(options.goals) + ["forecast"] * (options.preview is not None)
    if isinstance(result.compared, Summary):
        words += ["s", "f", "factor", "survivors", "conversion efficiency"]
    prose(explained("accepted", "discarded", "estimated", *words), json=as_json)
    if as_json:
        from msifr_integrations.cli.documents import GenerateDocument, document

        money = prices.of(spent_by(result)) if prices else msgspec.UNSET
        emit(document(GenerateDocument, result, money=money))


def _audited(result: "Result") -> list[str]:
    """Return the line on what was finished although the policy would have discarded it."""
    if not result.audited:
        return []
    # Under a quota the accepted samples end prompts, and which these are hangs on what was audited.
    without_bias = "are unbiased, and " * isinstance(result.prompts_filled, msgspec.UnsetType)
    return [
        f"audited: {result.audited} attempts were finished although the policy would have discarded them; by their "
        f"weights the accepted samples {without_bias}tell as much as {result.n_effective:.1f} of equal weight"
    ]


def _remembered(result: "Result") -> list[str]:
    """Return the line on what a memory of rejections came to."""
    memory = result.rejection_memory
    if isinstance(memory, msgspec.UnsetType):
        return []
    return [
        f"rejection memory: of what attempts could come to {memory.mass:.1%} was proven dead on average, and not "
        f"drawn; without it the same would be expected to take {memory.attempts_avoided:.1f} more attempts and "
        f"{memory.tokens_avoided:.0f} more tokens"
    ]


def _saved(result: "Result", *, audited: bool) -> list[str]:
    """Return the line that says what was saved, as estimated; of what was lost only audits know in a run alone."""
    if not result.discarded or result.tokens_saved_estimate is None:
        return []
    saved, whole = result.tokens_saved_estimate, result.tokens + result.tokens_saved_estimate
    share = f" ({saved / whole:.0%} of all)" if whole else ""
    line = f"estimated saving: {saved} tokens{share} that the policy expected discarded attempts still to take"
    look = "msifr audit says" if audited else "to see"
    how = "" if audited else ", run the same with --policy none and --compare"
    return [line if isinstance(result.compared, Summary) else f"{line}; {look} what was lost{how}"]
