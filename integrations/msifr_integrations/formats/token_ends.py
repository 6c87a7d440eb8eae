"""Token ends of a text under a tokenizer the user names, for costs in tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msifr_policy.errors import InputError
from msifr_policy.evidence.table import TokenEnds

__all__ = ["load_token_ends"]


def load_token_ends(name: str) -> TokenEnds:
    """Return a function from text to the end offset in characters of each token.

    `name` is a tokenizer.json, a folder that holds one, or a model id that transformers can load. Raises `InputError`
    when it cannot be loaded or gives no offsets.
    """
    path = Path(name)
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        if path.is_file():
            from tokenizers import Tokenizer

            backend: Any = Tokenizer.from_file(str(path))
        else:
            from transformers import AutoTokenizer

            backend = getattr(AutoTokenizer.from_pretrained(name), "backend_tokenizer", None)
    except ImportError as error:
        raise InputError(
            f"reading a tokenizer needs {error.name}", remedy="pip install 'msifr-policy[transformers]'"
        ) from error
    except Exception as error:  # the tokenizers library raises bare Exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"tokenizer cannot be loaded: {reason}", where=name) from error
    if backend is None:
        raise InputError("this tokenizer gives no character offsets", where=name, remedy="use a fast tokenizer")

    def ends(text: str) -> list[int]:
        offsets = backend.encode(text, add_special_tokens=False).offsets
        result: list[int] = []
        for _, end in offsets:
            # Offsets of byte-level tokens inside one character repeat; ends never decrease.
            result.append(max(end, result[-1] if result else 0))
        return result

    return ends
