"""What a run is given: prompts from a file, a model from a folder, and fingerprints of both."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import IO, Any

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.filters import FinalFilter, Prompt

__all__ = [
    "check_prompts",
    "encode_prompt",
    "fingerprint",
    "load_model",
    "read_prompts",
    "weights_fingerprint",
]

_decoder = msgspec.json.Decoder(Prompt)


def read_prompts(path: str | os.PathLike[str]) -> Iterator[Prompt]:
    """Yield the prompts of a JSON-lines file, plain or gzip; empty lines and unknown keys are ignored.

    Raises `InputError` with file, line, field and remedy for a line that is no prompt.
    """
    number = 0
    try:
        with open(path, "rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            stream: IO[bytes] = gzip.GzipFile(fileobj=plain) if packed else plain  # type: ignore[assignment]
            for number, line in enumerate(stream, 1):
                if line.isspace():
                    continue
                try:
                    yield _decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise InputError(
                        str(error),
                        where=f"{os.fspath(path)}, line {number}",
                        remedy='a prompt is {"prompt_id": "…", "prompt": "…", "gold": "…", "group": "…"}; '
                        "the last two may be left out",
                    ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read: {error}", where=f"{os.fspath(path)}, line {number + 1}") from error


def check_prompts(prompts: Iterable[Prompt], accept: FinalFilter) -> list[Prompt]:
    """Return the prompts; raises `InputError` for none, one id twice, or one the filter cannot judge."""
    checked: dict[str, Prompt] = {}
    for prompt in prompts:
        if prompt.prompt_id in checked:
            raise InputError(f"prompt_id {prompt.prompt_id!r} occurs twice", remedy="give every prompt its own id")
        accept.check(prompt)
        checked[prompt.prompt_id] = prompt
    if not checked:
        raise InputError("there are no prompts", remedy="give at least one")
    return list(checked.values())


def encode_prompt(tokenizer: Any, prompt: str, chat: bool) -> tuple[int, ...]:
    """Return the token ids of a prompt, as it is or as a user's message in the chat template.

    Raises `InputError` if the tokenizer has no chat template.
    """
    if not chat:
        return tuple(tokenizer.encode(prompt))
    if not tokenizer.chat_template:
        raise InputError("the tokenizer has no chat template", remedy="leave chat off")
    message = [{"role": "user", "content": prompt}]
    encoded = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=True)
    return tuple(encoded["input_ids"])


def load_model(name: str | os.PathLike[str], *, device: str = "auto", dtype: str = "auto") -> tuple[Any, Any]:
    """Load a model in eval mode and its tokenizer, from a folder or by name; safetensors only, no code.

    Device "auto" is the GPU if there is one; dtype "auto" is float32 on a CPU and bfloat16 on a GPU.
    Raises `InputError` if there is no such model, device or dtype.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    if dtype not in ("float32", "bfloat16", "float16"):
        raise InputError(f"unknown dtype {dtype!r}", remedy="known: auto, float32, bfloat16, float16")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=getattr(torch, dtype), use_safetensors=True)
        return model.eval().to(device), tokenizer
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"cannot be loaded: {error}", where=f"model {os.fspath(name)!r}") from error


def fingerprint(parts: Iterable[bytes]) -> str:
    """Return 16 hexadecimal digits that tell these byte strings, in this order, from others."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def weights_fingerprint(model: Any) -> str:
    """Return a fingerprint of name, shape and first numbers of every weight: another training run shows."""
    return fingerprint(
        f"{name} {tuple(weight.shape)} {weight.detach().flatten()[:8].float().tolist()}".encode()
        for name, weight in model.named_parameters()
    )
