"""Sample the embedded model and record its generations: `python -m msifr_integrations.embedded.record`.

A plain batched sampler for training and recording, without a policy. Attempt number a of a prompt draws
from its own random stream, a function of (seed, prompt id, a), so its text does not depend on the other
attempts of the batch beyond floating-point rounding of the logits.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from msifr_integrations.embedded import embedded_model_path, embedded_samples_path
from msifr_integrations.embedded.problems import Problem, problems

if TYPE_CHECKING:
    import torch

__all__ = ["DATASET", "MAX_NEW_TOKENS", "MODEL", "Sample", "is_correct", "record", "sample"]

DATASET: Final = "embedded"
MODEL: Final = "msifr-embedded-1m"

MAX_NEW_TOKENS: Final = 200
"""Cap on sampled tokens, about twice the longest correct solution."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One generation.

    text: the decoded tokens without special tokens.
    token_ends: characters of `text` after each sampled token, shape (tokens,), not decreasing; the
        end-of-sequence token repeats the last value.
    tokens: number of sampled tokens, the end-of-sequence token included.
    prompt_tokens: number of tokens of the prompt.
    finished: whether the end-of-sequence token was sampled before the cap.
    """

    problem: Problem
    attempt: int
    text: str
    token_ends: tuple[int, ...]
    tokens: int
    prompt_tokens: int
    finished: bool

    @property
    def correct(self) -> bool:
        """Whether the number after the last "####" is the problem's answer."""
        return is_correct(self.text, self.problem.gold)


def is_correct(text: str, gold: str) -> bool:
    """Return whether what follows the last "####" of `text`, up to the line's end, is `gold`."""
    _, mark, tail = text.rpartition("####")
    return bool(mark) and tail.partition("\n")[0].strip() == gold


def _stream(seed: int, prompt_id: str, attempt: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{prompt_id}:{attempt}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _draw(logits: torch.Tensor, temperature: float, uniforms: np.ndarray) -> np.ndarray:
    """Sample one token a row by inverse CDF: logits (rows, vocabulary), uniforms (rows,) in [0, 1)."""
    if temperature == 0.0:
        return logits.argmax(-1).cpu().numpy()
    scaled = logits.double().cpu().numpy() / temperature
    scaled -= scaled.max(-1, keepdims=True)
    cumulative = np.exp(scaled).cumsum(-1)
    drawn = (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(-1)
    return np.minimum(drawn, logits.shape[-1] - 1)


def _decoded(tokenizer: Any, ids: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """Return the text of sampled tokens and the characters of it that stand after each token."""
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    ends: list[int] = []
    for count in range(1, len(ids) + 1):
        prefix: str = tokenizer.decode(ids[:count], skip_special_tokens=True)
        # An unfinished character decodes to a mark that later tokens replace: it is not text yet.
        settled = len(text) if prefix == text else len(prefix.rstrip("\ufffd"))
        ends.append(max(settled, ends[-1] if ends else 0))
    return text, tuple(ends)


def _generate(
    model: Any,
    prompts: list[list[int]],
    temperature: float,
    streams: list[np.random.Generator],
    cap: int,
) -> list[list[int]]:
    """Return the sampled token ids of each prompt, up to and including the end-of-sequence token."""
    import torch

    end, device = model.config.eos_token_id, model.device
    width = max(map(len, prompts))
    # Prompts are padded on the right: every padded position still sees real tokens, so no attention row is
    # empty, and the mask hides the padding from all later tokens.
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), width + cap, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
        mask[row, : len(prompt)] = 1
        mask[row, width:] = 1
    mask = mask.to(device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    out = model(input_ids=ids.to(device), attention_mask=mask[:, :width], use_cache=True)
    logits = out.logits[torch.arange(len(prompts), device=device), lengths - 1].float()
    sampled: list[list[int]] = [[] for _ in prompts]
    running = np.ones(len(prompts), dtype=bool)
    for step in range(cap):
        uniforms = np.array([stream.random() for stream in streams])
        tokens = _draw(logits, temperature, uniforms)
        for row in np.flatnonzero(running).tolist():
            sampled[row].append(int(tokens[row]))
        running &= tokens != end
        if step == cap - 1 or not running.any():
            break
        out = model(
            input_ids=torch.as_tensor(tokens, dtype=torch.long, device=device)[:, None],
            attention_mask=mask[:, : width + step + 1],
            position_ids=(lengths + step)[:, None],
            past_key_values=out.past_key_values,
            use_cache=True,
        )
        logits = out.logits[:, -1].float()
    return sampled


def sample(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Problem],
    *,
    attempts: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = 64,
) -> Iterator[Sample]:
    """Yield `attempts` generations of each problem, problems in order of prompt length.

    model, tokenizer: as loaded by AutoModelForCausalLM and AutoTokenizer.
    temperature: 0 is greedy; otherwise the full softmax is sampled, without top-k or top-p.
    """
    import torch

    encoded = [(tokenizer.encode(task.prompt), task) for task in tasks]
    encoded.sort(key=lambda pair: len(pair[0]))
    rows = [(ids, task, attempt) for ids, task in encoded for attempt in range(attempts)]
    for first in range(0, len(rows), batch_size):
        batch = rows[first : first + batch_size]
        streams = [_stream(seed, task.prompt_id, attempt) for _, task, attempt in batch]
        with torch.inference_mode():
            generated = _generate(model, [ids for ids, _, _ in batch], temperature, streams, max_new_tokens)
        for (prompt, task, attempt), ids in zip(batch, generated, strict=True):
            text, ends = _decoded(tokenizer, ids)
            finished = ids[-1] == model.config.eos_token_id
            yield Sample(task, attempt, text, ends, len(ids), len(prompt), finished)


def record(drawn: Sample) -> dict[str, Any]:
    """Return one sample as a record of the trace format, ready for JSON."""
    digest = drawn.problem.prompt_id.removeprefix("embedded:")
    return {
        "id": f"{DATASET}/{MODEL}/{digest}/{drawn.attempt}",
        "dataset": DATASET,
        "model": MODEL,
        "prompt_id": drawn.problem.prompt_id,
        "prompt": drawn.problem.prompt,
        "text": drawn.text,
        "correct": drawn.correct,
        "gold": drawn.problem.gold,
        "group": drawn.problem.group,
        "tokens": drawn.tokens,
        "prompt_tokens": drawn.prompt_tokens,
        "token_ends": list(drawn.token_ends),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Record generations of the embedded model on fresh problems at temperature 1."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=embedded_model_path(), help="folder of the model")
    parser.add_argument("--out", type=Path, default=embedded_samples_path(), help="gzip JSON-lines to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the fresh problems and of the sampling")
    parser.add_argument("--problems", type=int, default=600, help="number of fresh problems")
    parser.add_argument("--attempts", type=int, default=4, help="generations of each problem")
    options = parser.parse_args(arguments)
    if options.problems < 1 or options.attempts < 1:
        parser.error("--problems and --attempts count from 1")

    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype="float32").eval()
    tasks = list({task.prompt_id: task for task in problems(options.seed, options.problems)}.values())
    drawn, started, shown = [], time.monotonic(), 0.0
    for one in sample(model, tokenizer, tasks, attempts=options.attempts, seed=options.seed):
        drawn.append(one)
        if time.monotonic() - shown > 3.0:
            shown = time.monotonic()
            total = len(tasks) * options.attempts
            print(f"{len(drawn)}/{total} generations, {shown - started:.0f} s", flush=True)
    order = {task.prompt_id: position for position, task in enumerate(tasks)}
    drawn.sort(key=lambda one: (order[one.problem.prompt_id], one.attempt))
    lines = [json.dumps(record(one), ensure_ascii=False, separators=(",", ":")) + "\n" for one in drawn]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    # mtime=0: the same generations give the same bytes.
    options.out.write_bytes(gzip.compress("".join(lines).encode(), compresslevel=9, mtime=0))
    accuracy, size = np.mean([one.correct for one in drawn]), options.out.stat().st_size
    print(f"{len(drawn)} generations, {accuracy:.1%} correct, {size:,} bytes: {options.out}")


if __name__ == "__main__":
    main()
