"""What tokens look like as text, and for which tokenizers that does not depend on the tokens before.

Tokenizers of bytes write the bytes of their tokens one after the other, and so do those that fall back to bytes for
what they have no token for. A token that completes characters there, and begins none that it does not complete, adds
the same text after any other complete text. Others put spaces between words, or change what is at a word's end.
"""

import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

_REMEMBERED: WeakKeyDictionary[Any, dict[int, str] | None] = WeakKeyDictionary()
_JOINING = re.compile("ByteLevel|(Replace )*(ByteFallback )?Fuse( Strip)?")
_TRIALS = 64


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the text of tokens, without special ones."""
    text: str = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def remembered(tokenizer: Any) -> dict[int, str] | None:
    """Return what is known by now of the texts that tokens add after complete text, to be added to.

    None if that depends on what stands before, or if nobody can tell.
    """
    try:
        return _REMEMBERED[tokenizer]
    except KeyError:
        _REMEMBERED[tokenizer] = {} if _joins(tokenizer) else None
        return _REMEMBERED[tokenizer]
    except TypeError:  # it cannot be a key, or not be referred to weakly
        return None


def _joins(tokenizer: Any) -> bool:
    """Return whether the tokenizer's decoder is one that joins bytes; a trial shows whether all else lets it."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    if decoder is None:
        return False
    state = json.loads(decoder.__getstate__())
    parts = " ".join(_kind(part) for part in state.get("decoders", [state]))
    return _JOINING.fullmatch(parts) is not None and _as_before(tokenizer, backend.get_vocab_size())


def _kind(part: dict[str, Any]) -> str:
    """Return the kind of a part of a decoder; "" if it may change how texts are joined, but at the very beginning."""
    kind: str = part["type"]
    inside = kind != "Replace" or len(part["pattern"].get("String", "")) == 1  # more might lie across two tokens
    at_beginning = kind != "Strip" or (part["start"] <= 1 and not part["stop"])
    return kind if inside and at_beginning else ""


def _as_before(tokenizer: Any, size: int) -> bool:
    """Return whether tokens drawn at random add the same text after two others that are drawn at random."""
    draw = Random(0)  # noqa: S311 - no secret
    for _ in range(_TRIALS):
        token, *others = (draw.randrange(size) for _ in range(5))
        texts = set[str]()
        for context in (others[:2], others[2:]):
            before, whole = decoded(tokenizer, context), decoded(tokenizer, [*context, token])
            if before and "\ufffd" not in before + whole:
                texts.add(whole.removeprefix(before))
        if len(texts) > 1:
            return False
    return True
