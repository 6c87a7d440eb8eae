"""Filters that find a text's answer and compare it with the prompt's `gold`: as numbers, choices, or letter by letter.

They have two steps: where the answer is (`Extract`, the same for all, and for mathematics too), and whether it equals
the gold answer. They evaluate bounded arithmetic at most, in time linear in the text.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.filters.base import Judgement, Prompt
from msifr_policy.filters.decided import DecidedReader
from msifr_policy.filters.extract import Answer, Extract
from msifr_policy.reading.choices import choice_of, options_of
from msifr_policy.reading.number import parse_number, same_number

_NOBODY: Final = Prompt(prompt_id="-", prompt="-")


class AnswerFilter(msgspec.Struct, frozen=True):
    """What filters that compare an answer share: `answer` says where it is, in the words of `Extract.parse`.

    Raises `InputError` for a word that is none.
    """

    answer: str = "auto"

    def __post_init__(self) -> None:
        _ = self.extract

    @property
    def extract(self) -> Extract:
        """What finds the answer."""
        return _extract(self.answer)

    def reader(self, prompt: Prompt) -> DecidedReader | None:
        """Return a reader that ends an attempt after its first complete answer; see `Extract.reader`."""
        return self.extract.reader(prompt, self.complete)

    def reads(self, answer: str) -> bool:
        """Say whether an answer, as it is written, is of the kind that is compared."""
        del answer
        return True

    def complete(self, answer: str) -> bool:
        """Say whether an answer, as it is written, may be all of the answer."""
        raise NotImplementedError

    def same(self, prompt: Prompt, gold: str, answer: Answer) -> bool:
        """Say whether an answer equals the gold answer."""
        raise NotImplementedError

    def __call__(self, prompt: Prompt, text: str) -> Judgement:
        """Find the answer and compare it."""
        answer = self.extract(prompt, text, self.reads)
        if answer is None:
            return Judgement(accepted=False, found="")
        right = prompt.gold is not None and self.same(prompt, prompt.gold, answer)
        return Judgement(accepted=right, found=answer.place)


_extract: Callable[[str], Extract] = lru_cache(maxsize=256)(Extract.parse)


@lru_cache(maxsize=4096)
def gold_answer(gold: str) -> str:
    """Return the answer that a gold answer holds, which may be a worked solution that ends in one."""
    found = Extract()(_NOBODY, gold)
    return gold.strip() if found is None else found.text


def no_gold(prompt: Prompt) -> InputError:
    """Return the error of a prompt without a gold answer."""
    return InputError("no gold answer", where=f"prompt {prompt.prompt_id!r}, field gold", remedy="add one")


# What makes an answer more than a number alone: words, a unit too, since a heading begins so; what is to be computed.
_FORMULA = re.compile(r"\\(?:[()\[\],;:!$%]|(?:text|mathrm|mathbf|d?frac|tfrac|left|right|circ|cdot|times)\b)")
_MORE = re.compile(r"[^\W\d_]|[=*×^<>~≈!]|[\d)}]\s*[-−–+]|,\s*\Z")


class NumericMatch(AnswerFilter, frozen=True):
    """Accepts a text whose answer shows the same number as the gold answer, as exact rationals; see `same_number`."""

    @property
    def name(self) -> str:
        """`numeric`, with where the answer is."""
        return f"numeric[{self.extract.name}]"

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the prompt's gold answer is not a number."""
        if prompt.gold is None:
            raise no_gold(prompt)
        if parse_number(gold_answer(prompt.gold)) is None:
            where, remedy = f"prompt {prompt.prompt_id!r}, field gold", "give a number, or use the math or exact filter"
            raise InputError(f"gold answer {prompt.gold!r} is not a number", where=where, remedy=remedy)

    def reads(self, answer: str) -> bool:
        """See `AnswerFilter.reads`."""
        return parse_number(answer) is not None

    def complete(self, answer: str) -> bool:
        """See `AnswerFilter.complete`: a number alone."""
        return not _MORE.search(_FORMULA.sub(" ", answer)) and parse_number(answer) is not None

    def same(self, prompt: Prompt, gold: str, answer: Answer) -> bool:
        """See `AnswerFilter.same`."""
        del prompt
        return same_number(gold_answer(gold), answer.text, sentence=answer.place == "phrase")


class ChoiceMatch(AnswerFilter, frozen=True):
    """Accepts a text whose answer names the same choice as the gold answer, by its letter or by its own text.

    The options are those that the prompt lists, if it does.
    """

    @property
    def name(self) -> str:
        """`choice`, with where the answer is."""
        return f"choice[{self.extract.name}]"

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the prompt's gold answer names no choice."""
        if prompt.gold is None:
            raise no_gold(prompt)
        if choice_of(gold_answer(prompt.gold), options_of(prompt.prompt)) is None:
            where, remedy = f"prompt {prompt.prompt_id!r}, field gold", "give the letter of an option, such as B"
            raise InputError(f"gold answer {prompt.gold!r} names no choice", where=where, remedy=remedy)

    def complete(self, answer: str) -> bool:
        """See `AnswerFilter.complete`: it names a choice by its letter."""
        return choice_of(answer, {}) is not None

    def same(self, prompt: Prompt, gold: str, answer: Answer) -> bool:
        """See `AnswerFilter.same`."""
        options = options_of(prompt.prompt)
        named = choice_of(answer.text, options)
        return named is not None and named == choice_of(gold_answer(gold), options)


class ExactMatch(AnswerFilter, frozen=True):
    """Accepts a text whose answer equals the gold answer letter by letter, white space at both ends aside.

    By default the answer is the whole text (after its thinking).
    """

    answer: str = "whole"

    @property
    def name(self) -> str:
        """`exact`, with where the answer is."""
        return f"exact[{self.extract.name}]"

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the prompt has no gold answer."""
        if prompt.gold is None:
            raise no_gold(prompt)

    def complete(self, answer: str) -> bool:
        """See `AnswerFilter.complete`: whatever is announced."""
        return bool(answer)

    def same(self, prompt: Prompt, gold: str, answer: Answer) -> bool:
        """See `AnswerFilter.same`."""
        del prompt
        return answer.text.strip() == gold.strip()
