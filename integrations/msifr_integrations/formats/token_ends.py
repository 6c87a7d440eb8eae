"""Token ends of a text under a tokenizer the user names, for costs in tokens."""

from itertools import accumulate
from pathlib import Path
from typing import Any

from msifr_integrations.generation.inputs import in_one_line
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import TokenEnds


def load_token_ends(name: str) -> TokenEnds:
    """Return a function from text to the end offset in characters of each token.

    `name` is a tokenizer.json, a folder that holds one, or a model id that transformers can load. Raises `InputError`
    when it cannot be loaded or gives no offsets.
    """
    path = Path(name)
    path = path / "tokenizer.json" if path.is_dir() else path
    backend: Any
    with in_one_line("cannot be loaded", f"tokenizer {name!r}"):
        if path.is_file():
            from tokenizers import Tokenizer

            backend = Tokenizer.from_file(str(path))
        else:
            from transformers import AutoTokenizer

            backend = getattr(AutoTokenizer.from_pretrained(name), "backend_tokenizer", None)
    if backend is None:
        raise InputError("this tokenizer gives no character offsets", where=name, remedy="use a fast tokenizer")

    def ends(text: str) -> list[int]:
        # Offsets of byte-level tokens inside one character repeat; ends never decrease.
        return list(accumulate((end for _, end in backend.encode(text, add_special_tokens=False).offsets), max))

    return ends
