"""The process behind `MathVerify`; nothing else imports it."""

from __future__ import annotations

import logging
from functools import lru_cache
from itertools import product
from typing import Any

from msifr_policy.filters.serving import Answerer, serve

_SET_OFF = ("$", "\\(", "\\[", "\\boxed")


def load() -> Answerer:
    """Import math-verify and return what answers {gold, text}, or {gold} alone: can it be read at all?"""
    from math_verify import parse, verify

    logging.disable()  # it logs what it cannot read, text and all

    def read(text: str) -> list[Any]:
        try:
            # The caller's clock is the only one: signals would be a second.
            return list(parse(text, parsing_timeout=None, raise_on_error=True))
        except MemoryError:
            raise
        except Exception:
            return []

    @lru_cache(maxsize=4096)
    def reference(gold: str) -> list[Any]:
        # A bare formula is read as one; a worked solution may end in a marked answer.
        gold = gold.rpartition("####")[2].strip()
        return read(gold if any(mark in gold for mark in _SET_OFF) else f"${gold}$")

    def same(gold: Any, answer: Any) -> bool:
        try:
            return bool(verify(gold, answer, timeout_seconds=None, raise_on_error=True))
        except MemoryError:
            raise
        except Exception:
            return False

    def answer(request: dict[str, Any]) -> bool:
        golds = reference(request["gold"])
        if "text" not in request:
            return bool(golds)
        return any(same(gold, said) for gold, said in product(golds, read(request["text"])))

    return answer


if __name__ == "__main__":
    serve(load)
