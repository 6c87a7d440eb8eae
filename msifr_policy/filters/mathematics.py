"""A filter that compares answers as mathematics, with the parser and the algebra of math-verify."""

import re
from functools import lru_cache
from typing import Final

from msifr_policy.errors import InputError
from msifr_policy.filters.answers import gold_answer, no_gold
from msifr_policy.filters.base import Judgement, Prompt
from msifr_policy.filters.decided import DecidedReader
from msifr_policy.filters.extract import Extract
from msifr_policy.filters.worker import AsksWorker, Worker, require
from msifr_policy.reading.number import parse_number

_COMPARISON: Final = "by kind and value 2"
"""What the comparison is called in the filter's name; to be changed whenever it may decide otherwise."""


class MathVerify(AsksWorker):
    r"""Accepts a text whose final answer equals the prompt's `gold` as mathematics: `\frac{1}{2}` is `0.5`.

    The answer is found as by the other filters (`answer` says where, in the words of `Extract.parse`), and compared as
    `filters.formulas.equal` says: both must be of one kind (a pair is no set), and equal in value. Formulas are read
    and compared with math-verify and sympy, which may take for ever and evaluate what they read. So that runs
    in a `Worker`: a process of its own, killed after `seconds` on one text, with `memory` bytes of address space. A
    text that is not judged within these limits is not accepted and counts as a failure. A `gold` may be a bare formula,
    a formula set off by `$` or `\boxed`, or a worked solution that ends in its answer.

    Raises `InputError` if math-verify is not installed, or an option is none.
    """

    def __init__(self, *, answer: str = "auto", seconds: float = 5.0, memory: int = 2 << 30) -> None:
        packages = ("math-verify", "latex2sympy2-extended", "sympy")
        versions = ", ".join(f"{package} {require(package, 'math')}" for package in packages)
        self.extract = Extract.parse(answer)
        """What finds the answer."""
        self.worker = Worker("msifr_policy.filters.formulas.equal", seconds=seconds, memory=memory)
        limits = f"{seconds:g} s, {memory} bytes"
        self.name = f"math[{self.extract.name}, {_COMPARISON}, {versions}, {limits}]"
        """`math`, with where the answer is, what compares it, and the limits."""

    def reader(self, prompt: Prompt) -> DecidedReader | None:
        """Return a reader that ends an attempt after its first answer that is no prose; see `Extract.reader`."""
        return self.extract.reader(prompt, _is_formula)

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the prompt has no gold answer, or one that cannot be read within the limits."""
        if prompt.gold is None:
            raise no_gold(prompt)
        understood = self.worker.ask({"gold": _gold_formula(prompt.gold)})
        if not understood:
            why = f"cannot be read: {understood.failure}" if isinstance(understood, Judgement) else "is not mathematics"
            where = f"prompt {prompt.prompt_id!r}, field gold"
            raise InputError(f"gold answer {prompt.gold!r} {why}", where=where, remedy="or use the exact filter")

    def __call__(self, prompt: Prompt, text: str) -> Judgement:
        """Find the answer and compare it."""
        gold = _gold_formula(prompt.gold or "")
        # Where words are no mathematics they cannot be the answer: "The answer is clearly marked".
        reads = None if _PROSE.search(gold) else _may_be_formula
        answer = self.extract(prompt, text, reads)
        if answer is None or prompt.gold is None:
            return Judgement(accepted=False, found=answer.place if answer else "")
        verdict = self.worker.ask({"gold": gold, "answer": answer.text})
        failure = verdict.failure if isinstance(verdict, Judgement) else ""
        return Judgement(accepted=bool(verdict), failure=failure, found=answer.place)


_SET_OFF = re.compile(r"\$([^$]+)\$|\\\(((?:[^\\]|\\(?!\)))+)\\\)|\\\[((?:[^\\]|\\(?!\]))+)\\\]")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_MOST_WORDS: Final = 3


@lru_cache(maxsize=4096)
def _gold_formula(gold: str) -> str:
    """Return the answer that a gold answer holds; of prose around a formula that is set off, the last such formula."""
    gold = gold_answer(gold)
    formulas = [next(filter(None, found)) for found in _SET_OFF.findall(gold)]
    return formulas[-1] if formulas and _PROSE.search(_SET_OFF.sub("", gold)) else gold


def _may_be_formula(said: str) -> bool:
    """Say whether what prose announces may be mathematics: not words alone, unless they say a number."""
    return not _PROSE.search(said) or _FORMAL.search(said) is not None or parse_number(said) is not None


_FORMAL = re.compile(r"[\\$^=+*/<>|(]|\d")


def _is_formula(answer: str) -> bool:
    r"""Say whether an answer may be the whole answer: something, and no prose; a `\phantom` is nothing."""
    return bool(answer.strip()) and "\\phantom" not in answer and len(_PROSE.findall(answer)) <= _MOST_WORDS
