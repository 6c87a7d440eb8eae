"""A filter that compares answers as mathematics, by the library math-verify."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from msifr_policy.errors import InputError
from msifr_policy.filters.base import Judgement, Prompt
from msifr_policy.filters.worker import NoAnswerError, Worker, require

__all__ = ["MathVerify"]


class MathVerify:
    r"""Accepts a text whose final answer equals the prompt's `gold` as mathematics: `\frac{1}{2}` is `0.5`.

    math-verify finds the answer (in a box, after "final answer is", the last formula or number) and decides equality
    with sympy, which may take for ever and evaluates what it reads. So it runs in a `Worker`: a process of its own,
    killed after `seconds` on one text, with `memory` bytes of address space. A text that is not judged within these
    limits is not accepted and counts as a failure. A `gold` may be a bare formula, a formula set off by `$` or
    `\boxed`, or a solution that ends in `####` and the answer.

    Of a text only the last `tail` characters are read, from the beginning of a line if there is one: what stands
    before is not the final answer, and math-verify takes more than linear time in texts that repeat themselves.

    The process is started by the first use (about a second). Use the filter as a context, or `close` it, to end the
    process at once; otherwise it ends when the filter is no longer used.

    Raises `InputError` if math-verify is not installed, or an option is not positive.
    """

    def __init__(self, *, tail: int = 4000, seconds: float = 5.0, memory: int = 2 << 30) -> None:
        if tail < 1:
            raise InputError(f"tail = {tail} characters must be at least 1", where="math filter")
        packages = ("math-verify", "latex2sympy2-extended", "sympy")
        versions = ", ".join(f"{package} {require(package, 'math')}" for package in packages)
        self._tail = tail
        self._worker = Worker("msifr_policy.filters.math_worker", seconds=seconds, memory=memory)
        self.name = f"math[{versions}, last {tail} characters, {seconds:g} s, {memory} bytes]"
        """`math`, with the versions that decide and the options."""

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the prompt has no gold answer, or one that cannot be read within the limits."""
        where = f"prompt {prompt.prompt_id!r}, field gold"
        if prompt.gold is None:
            raise InputError("no gold answer", where=where, remedy="add one")
        try:
            understood = self._worker.ask({"gold": prompt.gold})
        except NoAnswerError as why:
            raise InputError(f"gold answer {prompt.gold!r} cannot be read: {why}", where=where) from why
        if not understood:
            raise InputError(
                f"gold answer {prompt.gold!r} is not mathematics", where=where, remedy="or use the exact filter"
            )

    def __call__(self, prompt: Prompt, text: str) -> bool | Judgement:
        """Compare the answers."""
        text = _last(text, self._tail)
        return prompt.gold is not None and self._worker.judge({"gold": prompt.gold, "text": text})

    def close(self) -> None:
        """End the worker process."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _last(text: str, size: int) -> str:
    """Return at most the last `size` characters, from the beginning of a line if one is in the first half of them."""
    text = text[-size:] if len(text) > size else text
    line = text.find("\n", 0, size // 2) + 1 if len(text) == size else 0
    return text[line:]
