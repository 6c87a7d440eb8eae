"""Record generations of the embedded model: `python -m msifr_integrations.embedded.record`.

What is recorded is a run without a policy, so attempt number a of a prompt draws from its own random stream, and its
text does not depend on the other attempts of the batch. The samples that travel with the package were drawn by an
earlier sampler, from other random streams: recording again, with whatever seed, gives other samples of the same law.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path, embedded_samples_path
from msifr_integrations.embedded.word_problems import Problem, problems
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.inputs import load_model
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.progress import Progress
from msifr_policy.errors import InputError
from msifr_policy.records.traces import Trace, read_traces, write_traces

DATASET: Final = "embedded"

MAX_NEW_TOKENS: Final = 200
"""Cap on sampled tokens, about twice the longest correct solution."""


def is_correct(text: str, gold: str) -> bool:
    """Return whether what follows the last "####" of `text`, up to the line's end, is `gold`."""
    _, mark, tail = text.rpartition("####")
    return bool(mark) and tail.partition("\n")[0].strip() == gold


def record(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Problem],
    options: GenerateOptions,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> list[Trace]:
    """Return the traces of a run at `tasks` without a policy, in order; a problem that occurs twice counts once."""
    prompts = {task.prompt_id: task.as_prompt() for task in tasks}
    options = msgspec.structs.replace(
        options, model_name=EMBEDDED_MODEL, final_filter=lambda prompt, text: is_correct(text, prompt.gold or "")
    )
    with TemporaryDirectory() as folder:
        out = Path(folder) / "attempts.jsonl"
        generate(
            model, prompts.values(), None, out, options, tokenizer=tokenizer, progress=progress, tell=lambda _: None
        )
        drawn = {trace.id: trace for trace in read_traces(out)}
    return [
        msgspec.structs.replace(
            drawn[f"{prompt_id}/{options.seed}/{number}"],
            id=f"{DATASET}/{EMBEDDED_MODEL}/{prompt_id.removeprefix('embedded:')}/{number}",
            dataset=DATASET,
        )
        for prompt_id in prompts
        for number in range(options.attempts)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Record generations of the embedded model on fresh problems at temperature 1."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=embedded_model_path(), help="folder of the model")
    parser.add_argument("--out", type=Path, default=embedded_samples_path(), help="traces to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the fresh problems and of the sampling")
    parser.add_argument("--problems", type=int, default=600, help="number of fresh problems")
    parser.add_argument("--attempts", type=int, default=4, help="generations of each problem")
    given = parser.parse_args(arguments)
    if given.problems < 1:
        parser.error("--problems counts from 1")
    try:
        options = GenerateOptions(attempts=given.attempts, seed=given.seed, slots=64, max_new_tokens=MAX_NEW_TOKENS)
    except InputError as error:
        parser.error(str(error))

    def tell(progress: Progress) -> None:
        print(f"\r{progress.done}/{progress.attempts} generations, {progress.seconds:.0f} s", end="", flush=True)

    tasks = list(problems(given.seed, given.problems))
    traces = record(*load_model(given.model, dtype="float32"), tasks, options, progress=tell)
    write_traces(given.out, traces)
    accuracy = sum(trace.accepted for trace in traces) / len(traces)
    print(f"\n{len(traces)} generations, {accuracy:.1%} correct, {given.out.stat().st_size:,} bytes: {given.out}")


if __name__ == "__main__":
    main()
