"""What the real model is asked, and what is accepted: one main task, and four smaller ones beside it."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.real_model.subjects import subjects
from msifr_policy.filters import Prompt

QUIZ_PATTERN = r"\s*1\. .*\?\s*\n\s*2\. .*\?\s*\n\s*3\. .*\?\s*"
"""What a text must be for `quiz3_ok` to accept it, but for the questions being different."""


class Task(NamedTuple):
    """Prompts, how many attempts at each, and the final filter as `generate` names it."""

    prompts: Sequence[Prompt]
    attempts: int
    final_filter: str


def quiz3_prompts(*, unseen: bool) -> list[Prompt]:
    """Return the prompts to fit on, or the unseen ones: every fourth subject, so that both have every family."""
    return [
        Prompt(
            prompt_id=f"quiz3-{number}",
            prompt=f"Write three different quiz questions about {subject}, numbered 1. to 3., one per line.",
        )
        for number, subject in enumerate(subjects())
        if (number % 4 == 3) == unseen
    ]


def quiz3_ok(prompt: Prompt, text: str) -> bool:
    """Accept three different questions, one per line, numbered 1. to 3., and nothing else."""
    del prompt
    return _numbered_lines(text, 3, r"(\d)\. (.*\?)")


def list10_ok(prompt: Prompt, text: str) -> bool:
    """Accept ten different short items, one per line, numbered 1. to 10., and nothing else."""
    del prompt
    return _numbered_lines(text, 10, r"(\d+)\. (.{2,60})")


def sentences_ok(prompt: Prompt, text: str) -> bool:
    """Accept exactly two sentences in which every word of the prompt's `gold` begins a word."""
    text = text.strip()
    sentences = [one for one in re.split(r"(?<=[.!?])[\"”']?\s+", text) if one]
    words = (prompt.gold or "").split()
    named = all(re.search(rf"\b{re.escape(word)}", text, re.IGNORECASE) for word in words)
    return len(sentences) == 2 and named and text[-1] in '.!?"”'


def _numbered_lines(text: str, count: int, pattern: str) -> bool:
    """Whether `text` is lines 1 … count of `pattern` (number, item), whose items differ in letters or digits."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    items = [re.fullmatch(pattern, line) for line in lines[: count + 1]]
    found = [(int(item[1]), re.sub(r"\W", "", item[2].lower())) for item in items if item]
    numbers, contents = [number for number, _ in found], {content for _, content in found}
    return len(items) == len(contents) == count and numbers == list(range(1, count + 1))


_KINDS = (
    "animals that live in Africa", "kinds of fruit", "countries in Europe", "musical instruments", "sports",
    "things in a kitchen", "jobs in a hospital", "birds", "vegetables", "kinds of vehicles", "tools", "colours",
    "things in a school bag", "pieces of clothing", "big cities", "drinks", "kinds of furniture", "flowers", "insects",
    "things made of wood", "rivers of the world", "spices", "kinds of weather", "things at the beach",
    "school subjects",
    "kinds of shops", "animals on a farm", "things that are round", "parts of the body", "kinds of fish", "desserts",
    "things made of metal", "board games and card games", "languages", "kinds of trees", "things in a bathroom",
    "gifts for a child", "reasons to go for a walk", "things in the sky", "inventions",
)  # fmt: skip

_JOBS = (
    "nurse", "teacher", "farmer", "pilot", "baker", "programmer", "musician", "judge", "fisherman", "gardener",
    "chemist", "tailor", "dentist", "librarian", "plumber", "painter", "translator", "butcher", "mechanic", "waiter",
)  # fmt: skip

_PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "age": {"type": "integer", "minimum": 18, "maximum": 99},
        "city": {"type": "string", "minLength": 2},
        "hobbies": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 2,
            "maxItems": 4,
            "uniqueItems": True,
        },
    },
    "required": ["name", "age", "city", "hobbies"],
    "additionalProperties": False,
}

# Name and parameter, what it returns, and what it must pass.
_PROGRAMS = (
    ("add_all(numbers)", "the sum of a list of numbers", "add_all([1, 2, 3]) == 6", "add_all([]) == 0"),
    ("count_vowels(text)", "the number of vowels (a, e, i, o, u) in a lower-case string",
     "count_vowels('hello') == 2", "count_vowels('xyz') == 0"),
    ("reverse(text)", "the string reversed", "reverse('abc') == 'cba'", "reverse('') == ''"),
    ("largest(numbers)", "the largest number in a list", "largest([3, 9, 2]) == 9", "largest([-5, -2]) == -2"),
    ("is_even(n)", "True if the integer is even, otherwise False", "is_even(4) is True", "is_even(7) is False"),
    ("factorial(n)", "the factorial of n", "factorial(5) == 120", "factorial(0) == 1"),
    ("is_palindrome(text)", "True if the string reads the same backwards",
     "is_palindrome('level') is True", "is_palindrome('ab') is False"),
    ("double_all(numbers)", "a list with every number doubled", "double_all([1, 2]) == [2, 4]", "double_all([]) == []"),
    ("only_even(numbers)", "a list of the even numbers in the list",
     "only_even([1, 2, 4, 5]) == [2, 4]", "only_even([1]) == []"),
    ("mean(numbers)", "the mean of a list of numbers", "mean([2, 4]) == 3", "mean([5]) == 5"),
    ("count_words(text)", "the number of words in a string", "count_words('a b c') == 3", "count_words('one') == 1"),
    ("square_sum(numbers)", "the sum of the squares of the numbers",
     "square_sum([1, 2, 3]) == 14", "square_sum([]) == 0"),
    ("fib(n)", "the n-th Fibonacci number, where fib(0) = 0 and fib(1) = 1", "fib(10) == 55", "fib(0) == 0"),
    ("unique(items)", "a list without duplicates, in the order of first appearance",
     "unique([1, 2, 1, 3]) == [1, 2, 3]", "unique([]) == []"),
    ("is_prime(n)", "True if n is a prime number, otherwise False", "is_prime(7) is True", "is_prime(1) is False"),
    ("smallest(numbers)", "the smallest number in a list", "smallest([3, 9, 2]) == 2", "smallest([-5, -2]) == -5"),
    ("upper(text)", "the string in upper case", "upper('abC') == 'ABC'", "upper('') == ''"),
    ("power(base, exponent)", "base to the power of exponent", "power(2, 5) == 32", "power(7, 0) == 1"),
    ("last(items)", "the last element of a list", "last([1, 2, 3]) == 3", "last(['a']) == 'a'"),
    ("positive(numbers)", "a list of the numbers greater than zero",
     "positive([3, -1, 0, 2]) == [3, 2]", "positive([]) == []"),
)  # fmt: skip

_PAIRS = (
    "dog river", "king apple", "train letter", "cat mirror", "ship gold", "teacher key", "farmer wolf", "girl piano",
    "robot book", "doctor island", "horse bridge", "baker window", "child kite", "queen garden", "sailor storm",
    "painter cup", "thief clock", "nurse candle", "bird tower", "pilot map",
)  # fmt: skip


def small_tasks() -> dict[str, Task]:
    """Return the smaller tasks by name."""
    lists = [
        Prompt(
            prompt_id=f"list10-{number}",
            prompt=f"List ten different {kind}, numbered 1. to 10., one per line. Write only the list.",
        )
        for number, kind in enumerate(_KINDS)
    ]
    programs = [
        Prompt(
            prompt_id=f"program-{number}",
            prompt=f"Write a Python function {head} that returns {what}. Answer with one code block only.",
            tests="".join(f"assert {test}\n" for test in tests),
        )
        for number, (head, what, *tests) in enumerate(_PROGRAMS)
    ]
    people = [
        Prompt(
            prompt_id=f"person-{number}",
            prompt=f'Write a JSON object about an invented {job}. Keys: "name" (string), "age" (integer, 18 to 99), '
            '"city" (string), "hobbies" (array of 2 to 4 strings). No other keys.',
            schema=_PERSON,
        )
        for number, job in enumerate(_JOBS)
    ]
    sentences = [
        Prompt(
            prompt_id=f"sentences-{number}",
            prompt="Write two sentences about a {} and a {}.".format(*pair.split()),
            gold=pair,
        )
        for number, pair in enumerate(_PAIRS)
    ]
    return {
        "list10": Task(lists, 2, f"function:{__name__}:list10_ok"),
        "program": Task(programs, 3, "tests"),
        "person": Task(people, 3, "json-schema:object"),
        "sentences": Task(sentences, 3, f"function:{__name__}:sentences_ok"),
    }
