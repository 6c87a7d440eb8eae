"""What a run can be told, and what it does by default: for the library, the command line and the demo alike."""

import os
from collections.abc import Callable
from typing import get_args

import msgspec

from msifr_integrations.engine.base import EngineKind, Sampling
from msifr_policy.errors import InputError
from msifr_policy.filters import FinalFilter, Judgement, Prompt

DTYPES = ("auto", "float32", "bfloat16", "float16")


class GenerateOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `generate`.

    attempts: at every prompt. slots: attempts generated side by side.
    seed: with the prompt id and the attempt's number it fixes the attempt's tokens, whoever shares the batch.
    max_new_tokens: of an attempt; temperature 0 is greedy; top_k = 0 and top_p = 1 leave nothing out.
    final_filter: "numeric", "exact", "math", "json-schema", "tests", a filter or a function of (prompt, text). What it
        cannot judge is not accepted, counted in the ledger, and remarked at the end.
    engine: "slots", "static", or "auto": slots if the model can run in them.
    device, dtype: as torch names them, for a model that `generate` loads; "auto" is a GPU if there is one, and float32
        on a CPU, bfloat16 on a GPU.
    chat: wrap the prompt as a user's message in the tokenizer's chat template.
    logprobs: also write each token's log-probability (the last digits may differ between equal runs).
    compare: output of a run with the same settings, one of the two without a policy; gives `conversion_efficiency`.
    model_name: what the files call the model; "" is its path, or the name that a loaded model knows itself by.

    Raises `InputError` for a value that no run can have.
    """

    attempts: int = 4
    seed: int = 0
    slots: int = 16
    max_new_tokens: int = 512
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    final_filter: str | FinalFilter | Callable[[Prompt, str], bool | Judgement] = "numeric"
    engine: EngineKind = "auto"
    device: str = "auto"
    dtype: str = "auto"
    chat: bool = False
    logprobs: bool = False
    compare: str | os.PathLike[str] | None = None
    model_name: str = ""

    def __post_init__(self) -> None:
        for name, least in (("attempts", 1), ("seed", 0), ("slots", 1), ("max_new_tokens", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} = {getattr(self, name)} must be at least {least}", where="generate")
        for name, known in (("engine", get_args(EngineKind)), ("dtype", DTYPES)):
            if getattr(self, name) not in known:
                raise InputError(f"unknown {name} {getattr(self, name)!r}", remedy=f"known: {', '.join(known)}")
        if self.compare is not None and not os.fspath(self.compare):
            raise InputError("no file is named to compare with", where="compare", remedy="name the output of a run")
        _ = self.sampling

    @property
    def sampling(self) -> Sampling:
        """What tokens are drawn from. Raises `InputError` for values that say nothing."""
        return Sampling(float(self.temperature), self.top_k, float(self.top_p))


DEFAULTS = GenerateOptions()
