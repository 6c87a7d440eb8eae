"""A filter that compares answers as mathematics, by the library math-verify."""

import logging
from functools import lru_cache
from itertools import product
from typing import Any, Final

from msifr_policy.errors import InputError
from msifr_policy.filters.base import Judgement, Prompt
from msifr_policy.filters.decided import FORMULA_END, AnswerEnd, box_end
from msifr_policy.filters.worker import Answerer, AsksWorker, Worker, require

_SET_OFF = ("$", "\\(", "\\[", "\\boxed")
_BOX: Final = "\\boxed{"
_REACH: Final = 1000
"""Characters within which a box, and the line or formula that it is in, must end for a reader to see it."""


class MathVerify(AsksWorker):
    r"""Accepts a text whose final answer equals the prompt's `gold` as mathematics: `\frac{1}{2}` is `0.5`.

    math-verify finds the answer (in a box, after "final answer is", the last formula or number) and decides equality
    with sympy, which may take for ever and evaluates what it reads. So it runs in a `Worker`: a process of its own,
    killed after `seconds` on one text, with `memory` bytes of address space. A text that is not judged within these
    limits is not accepted and counts as a failure. A `gold` may be a bare formula, a formula set off by `$` or
    `\boxed`, or a solution that ends in `####` and the answer.

    Of a text only the last `tail` characters are read, from the beginning of a line if there is one: what stands
    before is not the final answer, and math-verify takes more than linear time in texts that repeat themselves.

    Raises `InputError` if math-verify is not installed, or an option is not positive.
    """

    def __init__(self, *, tail: int = 4000, seconds: float = 5.0, memory: int = 2 << 30) -> None:
        if tail < 1:
            raise InputError(f"tail = {tail} characters must be at least 1", where="math filter")
        packages = ("math-verify", "latex2sympy2-extended", "sympy")
        versions = ", ".join(f"{package} {require(package, 'math')}" for package in packages)
        self._tail = tail
        self.worker = Worker(__name__, seconds=seconds, memory=memory)
        self.name = f"math[{versions}, last {tail} characters, {seconds:g} s, {memory} bytes]"
        """`math`, with the versions that decide and the options."""

    def reader(self, prompt: Prompt) -> AnswerEnd:
        r"""Return a reader that ends an attempt after its first answer in a box; see `msifr_policy.filters.decided`.

        That is not exact: the first line with a `\boxed{}` in a formula becomes the answer. A box that is empty, a
        `\phantom`, or the same as one in the prompt, is none.
        """

        def given(inside: str) -> bool:
            empty = not inside.strip() or "\\phantom" in inside
            return not empty and f"{_BOX}{inside}}}" not in prompt.prompt

        def ends(answer: str) -> int | None:
            # Outside a formula math-verify sees no box.
            end = box_end(answer, given)
            return end if end and FORMULA_END.search(answer, answer.rindex("}", 0, end), end) else None

        return AnswerEnd([(_BOX, ends)], reach=_REACH)

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the prompt has no gold answer, or one that cannot be read within the limits."""
        where = f"prompt {prompt.prompt_id!r}, field gold"
        if prompt.gold is None:
            raise InputError("no gold answer", where=where, remedy="add one")
        understood = self.worker.ask({"gold": prompt.gold})
        if not understood:
            why = f"cannot be read: {understood.failure}" if isinstance(understood, Judgement) else "is not mathematics"
            raise InputError(f"gold answer {prompt.gold!r} {why}", where=where, remedy="or use the exact filter")

    def __call__(self, prompt: Prompt, text: str) -> bool | Judgement:
        """Compare the answers."""
        text = _last(text, self._tail)
        return prompt.gold is not None and self.worker.ask({"gold": prompt.gold, "text": text})


def _last(text: str, size: int) -> str:
    """Return at most the last `size` characters, from the beginning of a line if one is in the first half of them."""
    text = text[-size:]
    line = text.find("\n", 0, size // 2) + 1 if len(text) == size else 0
    return text[line:]


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
