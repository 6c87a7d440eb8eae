"""Models, a tokenizer and a policy small enough to test engines with, the same in every process."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from msifr_integrations.embedded import embedded_model_path
from msifr_integrations.generation.generate import GenerateOptions, generate
from msifr_integrations.generation.live import Task
from msifr_integrations.generation.turns import Portion, Turns
from msifr_policy.evidence.schedule import EveryUnits, Schedule
from msifr_policy.evidence.watch import Checkpoint, Watch
from msifr_policy.filters import Prompt
from msifr_policy.policy import Action, Decision
from msifr_policy.validators import Length, Validator

END = 0


@cache
def tokenizer() -> Any:
    """A token per byte, and an end-of-sequence token with id 0."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<eos>": END} | {letter: i for i, letter in enumerate(letters, 1)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<eos>"])
    end = "<eos>"
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end, clean_up_tokenization_spaces=False)


@cache
def llama(kv_heads: int = 2, vocabulary: int = 257, positions: int = 256) -> Any:
    """A random Llama with four heads; its weights are large enough for it to have opinions."""
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=kv_heads, max_position_embeddings=positions,
        initializer_range=0.2,
        bos_token_id=None, eos_token_id=END, pad_token_id=END,
    )  # fmt: skip
    torch.manual_seed(17)
    return LlamaForCausalLM(config).eval()


@cache
def embedded() -> tuple[Any, Any]:
    """The embedded model in float32, and its tokenizer."""
    folder = embedded_model_path()
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval(), AutoTokenizer.from_pretrained(folder)


class TextPolicy:
    """Discards at the first checkpoint where `unwanted(text since the last one)`; M_k is its length.

    It watches through validators as a fitted policy does, and remembers every decision by prompt.
    """

    fingerprint = "text policy"

    def __init__(
        self,
        unwanted: Callable[[str], bool],
        schedule: Schedule | None = None,
        validators: Sequence[Validator] = (Length(),),
    ) -> None:
        self.unwanted = unwanted
        self.schedule = schedule or EveryUnits(6, "tokens")
        self.validators = validators
        self.decisions: dict[str, list[list[Decision]]] = {}

    def start(self, prompt: str) -> TextRun:
        return TextRun(self, prompt)


class TextRun:
    def __init__(self, policy: TextPolicy, prompt: str) -> None:
        self.watch = Watch(policy.schedule, policy.validators, prompt)
        self.unwanted = policy.unwanted
        self.since = ""
        self.log: list[Decision] = []
        policy.decisions.setdefault(prompt, []).append(self.log)

    @property
    def failures(self) -> Counter[str]:
        return self.watch.failures

    def feed(self, text: str, tokens: int = 0, logprobs: Sequence[float] = ()) -> Decision | None:
        self.since += text
        decision = None
        for point in self.watch.feed(text, tokens, logprobs):
            decision = self.decide(point)
            self.log.append(decision)
            if decision.action is Action.DISCARD:
                break
        return decision

    def decide(self, point: Checkpoint) -> Decision:
        bad = self.unwanted(self.since) and point.row[0] == point.row[0]  # NaN: the validator has failed
        action, reason = (Action.DISCARD, "length") if bad else (Action.CONTINUE, "")
        self.since = ""
        return Decision(action, point.k, point.position, point.tokens, point.row[0], 1e9 if bad else 0.0, reason)


def unwanted(text: str) -> bool:
    """True for about one stretch of text in eight."""
    return sum(map(ord, text)) % 8 == 0


def even_length(prompt: Prompt, text: str) -> bool:
    """A final filter that may be told to take its time."""
    time.sleep(float(os.environ.get("TINY_FILTER_SECONDS", "0")))
    return (len(text) + len(prompt.prompt)) % 2 == 0


def prompts(count: int = 10) -> list[Prompt]:
    """Prompts of many lengths."""
    return [
        Prompt(prompt_id=f"p{i}", prompt="Say " + "so " * (7 * i % 11) + f"{i}\n", gold=str(i), group=f"g{i % 2}")
        for i in range(count)
    ]


def turns(tasks: Sequence[Task]) -> Turns:
    """These attempts, none of which waits for another."""
    portions = (Portion(place, (0,)) for place in range(len(tasks)))
    return Turns(partial(next, portions, None), lambda place, *_: tasks[place])


def run(
    out: Path | str,
    policy: Any = None,
    *,
    tasks: Sequence[Prompt] | None = None,
    tell: Any = lambda _: None,
    progress: Any = None,
    **options: Any,
) -> Any:
    """Run `generate` on the tiny Llama, a short run unless `options` say otherwise."""
    usual = {"attempts": 4, "slots": 8, "max_new_tokens": 40, "final_filter": even_length}
    return generate(
        llama(), prompts() if tasks is None else tasks, policy, out, GenerateOptions(**usual | options),
        tokenizer=tokenizer(), tell=tell, progress=progress,
    )  # fmt: skip
