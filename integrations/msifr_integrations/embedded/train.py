"""Train the embedded model: `python -m msifr_integrations.embedded.train --out FOLDER`.

A Llama of hidden size 160, four layers, five heads and tied embeddings learns the solutions of "train" problems (loss
on the solution only) and bare equations (loss on the results only). It begins with equations alone, since the written
arithmetic is the slow part. Matrices are trained by Muon, embeddings and norms by AdamW; the learning rate is flat and
then falls along a cosine.

The model is meant to be wrong somewhat more often than right, and more training passes that point: a schedule of 3,600
steps ended at 81 % at temperature 1. So the schedule is shorter, and where training stops sets the accuracy: in the
last 30 % of the schedule the model answers problems of its own at temperature 1 every few steps, and training ends as
soon as it is right on a share of `--target`. The last check is no fair measure: it picked when to stop, its error is
some points either way, and between two checks the accuracy can pass the target. The accuracy is therefore measured
afterwards on "fresh" problems, which share no prompt with the training problems, and written to training.json beside
the weights. On one device a run repeats up to rounding.
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from msifr_integrations.embedded.record import MAX_NEW_TOKENS, record
from msifr_integrations.embedded.word_problems import LARGEST, Problem, problems
from msifr_integrations.generation.inputs import load_model
from msifr_integrations.generation.options import GenerateOptions

STEPS: Final = 2_400
CHECK_FROM: Final = 0.7  # share of the steps before the first check
CHECK_EVERY: Final = 30
CHECK_PROBLEMS: Final = 400
TARGET: Final = 0.39  # share of right answers in a check that ends training
TOKENS_PER_STEP: Final = 2_048
VOCABULARY: Final = 512
DRILL_START: Final = 0.15  # share of the steps, from the first, that are equations alone
DRILL_SHARE: Final = 0.2  # share of equation steps after that
FLAT: Final = 0.6  # share of the steps before the learning rate falls
MUON_RATE: Final = 6e-3
ADAM_RATE: Final = 3e-3
_IGNORED: Final = -100
_PAD, _END = "<pad>", "<eos>"
_CHECK_SEED: Final = -1  # training draws from seeds of 0 and more
_EVALUATION_SEED: Final = 1  # fresh problems of seed 0 are the recorded samples


def build_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of at most `VOCABULARY` tokens; every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[_PAD, _END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        eos_token=_END,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the untrained model, about 1.2 million weights, drawn from torch's global random stream."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=5,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    # The full softmax at temperature 1 by default; the library's own default would cut to 50 tokens.
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.set_attn_implementation("eager")  # the fastest for rows this short
    return model


def equations(rng: np.random.Generator, n: int) -> list[str]:
    """Return n true equations such as "41-10=31", with numbers from 1 to `LARGEST` as in the problems."""
    drawn = []
    for sign in rng.choice(list("++--**/"), size=n):
        if sign in "+-":
            total = rng.integers(2, LARGEST + 1)
            part = rng.integers(1, total)
            drawn.append(f"{total - part}+{part}={total}" if sign == "+" else f"{total}-{part}={total - part}")
            continue
        factor = rng.integers(2, 10 if sign == "*" else 6)
        # Factors from 4 only occur with boxes, which are small.
        other = rng.integers(1, min(LARGEST // factor, 100 if sign == "*" and factor > 3 else LARGEST) + 1)
        if sign == "/":
            drawn.append(f"{factor * other}/{factor}={other}")
        else:
            # Both orders occur: a doubled count has its factor last, boxes have it first.
            left, right = (factor, other) if rng.random() < 0.5 else (other, factor)
            drawn.append(f"{left}*{right}={factor * other}")
    return drawn


Batch = tuple[torch.Tensor, torch.Tensor]  # token ids and targets, shape (rows, length), not yet shifted


def _padded(rows: Sequence[tuple[list[int], int]], pad: int) -> Batch:
    """Stack rows of (ids, length of the prompt); prompts and padding carry no loss."""
    ids = [torch.tensor(tokens) for tokens, _ in rows]
    targets = [torch.tensor([_IGNORED] * skipped + tokens[skipped:]) for tokens, skipped in rows]
    return pad_sequence(ids, True, pad), pad_sequence(targets, True, _IGNORED)


def _problem_batches(tokenizer: Any, seed: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches of at most TOKENS_PER_STEP tokens without end, each problem once."""
    for epoch in itertools.count():
        drawn = list(problems(seed * 1_000_003 + epoch, 4_096, split="train"))
        prompts = tokenizer([task.prompt for task in drawn])["input_ids"]
        solutions = tokenizer([task.solution for task in drawn])["input_ids"]
        pairs = zip(prompts, solutions, strict=True)
        rows = [([*prompt, *solution, tokenizer.eos_token_id], len(prompt)) for prompt, solution in pairs]
        rows.sort(key=lambda row: len(row[0]))
        batches: list[list[tuple[list[int], int]]] = [[]]
        for row in rows:
            if (len(batches[-1]) + 1) * len(row[0]) > TOKENS_PER_STEP:
                batches.append([])
            batches[-1].append(row)
        for number in rng.permutation(len(batches)):
            yield _padded(batches[number], tokenizer.pad_token_id)


def _equation_batches(tokenizer: Any, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches of rows of 17 equations, one a line, with loss on the results only, without end."""
    while True:
        rows = tokenizer(["".join(f"{one}.\n" for one in equations(rng, 17)) for _ in range(16)])["input_ids"]
        ids, targets = _padded([(row, 0) for row in rows], tokenizer.pad_token_id)
        equals, stop = (tokenizer.convert_tokens_to_ids(mark) for mark in ("=", "."))
        # A position is in a result while more "=" than "." have come before it; the "." itself is learned.
        opened, closed = ((ids == mark).cumsum(1) - (ids == mark).long() for mark in (equals, stop))
        targets[opened <= closed] = _IGNORED
        yield ids, targets


def _rate(step: int, steps: int) -> float:
    """Return the learning rate's factor: a short rise, flat, then a cosine down to 1 %."""
    if step < FLAT * steps:
        return min(1.0, (step + 1) / 50)
    done = (step - FLAT * steps) / ((1 - FLAT) * steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def train(
    seed: int, steps: int, target: float = TARGET
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast, dict[str, Any]]:
    """Train from scratch and return the model (float32), its tokenizer and what was spent.

    steps: the length of the schedule; training ends before it when a check finds a share `target` of right answers.
    The GPU is used if there is one. Progress is printed every five seconds.
    """
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = build_tokenizer(task.prompt + task.solution for task in problems(seed, 5_000, split="train"))
    model: Any = build_model(tokenizer).train()
    model.to(device)
    inner = {name: p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name}
    outer = [p for name, p in model.named_parameters() if name not in inner]
    optimizers = [
        torch.optim.Muon(inner.values(), lr=MUON_RATE, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    rates = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: _rate(step, steps)) for one in optimizers]
    rng = np.random.default_rng(seed)
    word, bare = _problem_batches(tokenizer, seed, rng), _equation_batches(tokenizer, rng)
    checked = list(problems(_CHECK_SEED, CHECK_PROBLEMS, split="train"))
    losses: dict[str, float] = {}
    checks: dict[int, float] = {}
    tokens, started = 0, time.monotonic()
    shown = started
    for step in range(steps):
        drill = step < DRILL_START * steps or rng.random() < DRILL_SHARE
        ids, targets = (part.to(device) for part in next(bare if drill else word))
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = model(input_ids=ids, use_cache=False).logits
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            rate.step()
        tokens += ids.numel()
        kind = "equations" if drill else "problems"
        losses[kind] = 0.95 * losses.get(kind, loss.item()) + 0.05 * loss.item()
        now = time.monotonic()
        if now - shown > 5.0 or step == steps - 1:
            shown = now
            told = ", ".join(f"{kind} {value:.3f}" for kind, value in sorted(losses.items()))
            left = (now - started) / (step + 1) * (steps - step - 1)
            print(f"step {step + 1}/{steps}, loss {told}, {left:.0f} s left", flush=True)
        if step + 1 >= CHECK_FROM * steps and (step + 1) % CHECK_EVERY == 0:
            checks[step + 1] = _accuracy(model.eval(), tokenizer, checked, 1.0)
            model.train()
            print(f"step {step + 1}/{steps}, {checks[step + 1]:.1%} of {len(checked)} right", flush=True)
            if checks[step + 1] >= target:
                break
    spent = {
        "steps": step + 1,
        "seconds": round(time.monotonic() - started),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "tokens": tokens,
        "final_loss": {kind: round(value, 4) for kind, value in losses.items()},
        "checks": checks,
    }
    return model.eval(), tokenizer, spent


def _accuracy(model: Any, tokenizer: Any, tasks: Sequence[Problem], temperature: float) -> float:
    options = GenerateOptions(
        attempts=1, seed=_EVALUATION_SEED, slots=200, max_new_tokens=MAX_NEW_TOKENS, temperature=temperature
    )
    return float(np.mean([trace.accepted for trace in record(model, tokenizer, tasks, options)]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the embedded model, measure it on fresh problems and write it to a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of the data, the weights and the order")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of the schedule, {TOKENS_PER_STEP} tokens each")
    parser.add_argument(
        "--target",
        type=float,
        default=TARGET,
        help=f"share of right answers at temperature 1 that ends training, checked on {CHECK_PROBLEMS} problems every "
        f"{CHECK_EVERY} steps from {CHECK_FROM:.0%}% of the schedule on; never reached, it runs to its end",
    )
    parser.add_argument("--fresh", type=int, default=800, help="fresh problems that measure the accuracy")
    parser.add_argument("--out", type=Path, default=Path("embedded-model"), help="folder to write")
    given = parser.parse_args(arguments)
    if given.seed < 0 or given.steps < 1 or given.fresh < 1:
        parser.error("--seed counts from 0, --steps and --fresh from 1")
    if not 0 < given.target <= 1:
        parser.error("--target is a share, above 0 and at most 1")
    print(f"training on generated problems, seed {given.seed}, {given.steps} steps", flush=True)
    model, tokenizer, spent = train(given.seed, given.steps, given.target)
    model.cpu().half().save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)
    for file in given.out.iterdir():
        file.chmod(0o644)  # safetensors are written for their owner alone
    # What is measured is what was written: half-precision weights, run in float32.
    written = load_model(given.out, device="cpu", dtype="float32")
    tasks = list(problems(_EVALUATION_SEED, given.fresh))
    report = {
        "data": f"procedural word problems, split train, numbers up to {LARGEST}, and bare equations",
        "seed": given.seed,
        "schedule_steps": given.steps,
        "target": given.target,
        "weights": model.num_parameters(),
        **spent,
        "evaluation": {
            "data": f"split fresh, seed {_EVALUATION_SEED}, {given.fresh} problems, one generation each",
            "max_new_tokens": MAX_NEW_TOKENS,
            "accuracy_temperature_1": _accuracy(*written, tasks, 1.0),
            "accuracy_greedy": _accuracy(*written, tasks, 0.0),
        },
    }
    (given.out / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
