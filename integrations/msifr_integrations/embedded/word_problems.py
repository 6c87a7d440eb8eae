"""Procedural word problems with worked steps: the embedded model's training data and its fresh tasks.

A problem starts with a count and changes it by events: bought, sold, boxes, doubling, keeping a fraction, a friend's
gift, as many again as at the start. Some sentences carry a number that does not matter. The worked solution has one
line per step, and its last line is the answer:

    Tom has 41 apples. He sells 10 of them. His walk home takes 25 minutes. Then he doubles what he has.
    How many apples does he have now?

    He sells 10: 41-10=31.
    He doubles it: 31*2=62.
    #### 62

Every number is a whole number from 1 to `LARGEST`.

Two guarantees. A problem is a function of (split, seed, index) alone, so one case replays without the ones before it.
And the splits "train" and "fresh" never share a prompt, whatever the seeds: a prompt belongs to one split by a hash of
its text, and drawing for a split repeats until the hash agrees.
"""

import hashlib
import operator
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from msifr_policy.errors import InputError
from msifr_policy.filters import Prompt

Split = Literal["train", "fresh"]

LARGEST: Final = 999
"""The largest number in any problem or solution."""

MIN_STEPS: Final = 2
MAX_STEPS: Final = 6

_HE: Final = ("Tom", "Ben", "Max", "Leo", "Sam", "Ali", "Ivan", "Omar", "Finn", "Hugo")
_SHE: Final = ("Mia", "Ana", "Eva", "Zoe", "Lily", "Nora", "Ruth", "Sara", "Ines", "Yuki")
_HIS_WORDS: Final = {"he": "he", "his": "his", "him": "him", "He": "He", "His": "His"}
_HER_WORDS: Final = {"he": "she", "his": "her", "him": "her", "He": "She", "His": "Her"}
_ITEMS: Final = (
    "apples", "pears", "plums", "eggs", "books", "cards", "coins", "stamps", "shells", "pens",
    "beads", "stones", "nails", "cups", "tiles", "seeds",
)  # fmt: skip
_FRACTIONS: Final = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}
_FACTORS: Final = {2: "doubles", 3: "triples"}
_OPERATIONS: Final = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}
_DISTRACTOR_SHARE: Final = 0.15  # chance of a sentence that does not matter, after each event


@dataclass(frozen=True, slots=True)
class Problem:
    """One word problem.

    prompt_id: "embedded:" and 12 hexadecimal digits of the prompt's SHA-256; equal prompts share it.
    prompt: the question, ending in one newline; exactly what the model is given.
    solution: the worked steps and the last line "#### <gold>", without a final newline.
    gold: the answer in decimal digits.
    group: the number of steps, "2-step" to "6-step".
    """

    prompt_id: str
    prompt: str
    solution: str
    gold: str
    group: str

    def as_prompt(self) -> Prompt:
        """Return the problem as `generate` is given it."""
        return Prompt(prompt_id=self.prompt_id, prompt=self.prompt, gold=self.gold, group=self.group)


@dataclass(slots=True)
class _Story:
    """A problem while it is written: the count now and at the start, sentences and solution lines."""

    rng: random.Random
    words: dict[str, str]
    friends: list[str]
    start: int
    now: int
    sentences: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def tell(self, *ways: str, **words: object) -> None:
        """Add a sentence, one of several ways to say it."""
        self.sentences.append(self.rng.choice(ways).format(**self.words | words))

    def work_out(self, label: str, left: int, sign: str, right: int) -> int:
        """Write the solution's line of an operation and return its result."""
        result = _OPERATIONS[sign](left, right)
        self.lines.append(f"{label}: {left}{sign}{right}={result}.")
        return result


# What can be done to the count now, drawn at random; 0 if nothing can.
def _more(story: _Story) -> int:
    return story.rng.randint(3, min(400, LARGEST - story.now)) if story.now <= LARGEST - 5 else 0


def _fewer(story: _Story) -> int:
    return story.rng.randint(3, story.now - 5) if story.now >= 12 else 0


def _factor(story: _Story) -> int:
    factor = story.rng.choice((2, 2, 3))
    return factor if story.now * factor <= LARGEST else 0


def _divisor(story: _Story) -> int:
    divisor = story.rng.choice((2, 2, 3, 4, 5))
    return divisor if story.now % divisor == 0 and story.now // divisor >= 5 else 0


def _start(story: _Story) -> int:
    return story.start if story.lines and story.now + story.start <= LARGEST else 0


class _Event(NamedTuple):
    """One step: what the count is changed by, two ways to tell it, and the label of its line."""

    operand: Callable[[_Story], int]
    sign: str
    way: str
    other_way: str
    label: str

    def happen(self, story: _Story) -> bool:
        """Return False, and leave the story as it was, if the event cannot happen at the present count."""
        n = self.operand(story)
        if n:
            word = _FACTORS[n] if self.sign == "*" else _FRACTIONS[n] if self.sign == "/" else ""
            words = story.words | {"n": str(n), "word": word, "friend": story.friends[-1]}
            if "{friend}" in self.way:
                story.friends.pop()
            story.tell(self.way, self.other_way, **words)
            story.now = story.work_out(self.label.format(**words), story.now, self.sign, n)
        return n > 0


_BUYS = _Event(_more, "+", "{He} buys {n} more {item}.", "Then {he} buys {n} more.", "{He} buys {n}")
_FINDS = _Event(_more, "+", "{He} finds {n} {item}.", "After that {he} finds {n} more.", "{He} finds {n}")
_SELLS = _Event(_fewer, "-", "{He} sells {n} of them.", "Then {he} sells {n} {item}.", "{He} sells {n}")
_GIVES = _Event(_fewer, "-", "{He} gives {n} to {friend}.", "{friend} takes {n} of {his} {item}.", "{friend} gets {n}")
_MULTIPLIES = _Event(_factor, "*", "{He} {word} what {he} has.", "Then {he} {word} {his} {item}.", "{He} {word} it")
_KEEPS = _Event(_divisor, "/", "{He} keeps only {word} of them.", "Then {he} keeps {word}.", "{He} keeps {word}")
_AS_START = _Event(
    _start, "+", "{He} buys as many again as {he} had at the start.", "Then {he} finds as many as at the start.",
    "As many as at the start, {n}",
)  # fmt: skip


def _boxes(story: _Story) -> bool:
    number = story.rng.randint(2, 9)
    room = (LARGEST - story.now) // number
    if room < 3:
        return False
    size, he = story.rng.randint(3, min(60, room)), story.words["He"]
    story.tell(f"{he} gets {number} boxes with {size} {{item}} each.", f"Then {{he}} gets {number} boxes of {size}.")
    inside = story.work_out(f"{number} boxes of {size}", number, "*", size)
    story.now = story.work_out(f"{he} adds them", story.now, "+", inside)
    return True


def _friend_brings(story: _Story) -> bool:
    sign, word = ("-", "fewer") if story.rng.random() < 0.5 else ("+", "more")
    if story.now < 12 or story.now > LARGEST // 2 - 10:
        return False
    gap = story.rng.randint(2, min(story.now - 5 if sign == "-" else LARGEST - 2 * story.now, 90))
    friend, he = story.friends.pop(), story.words["He"]
    story.tell(f"{friend} has {gap} {word} than {{he}} has now and gives {{him}} all of them.")
    brought = story.work_out(f"{friend} has {gap} {word}", story.now, sign, gap)
    story.now = story.work_out(f"{he} gets them", story.now, "+", brought)
    return True


# An event that stands twice is twice as likely.
_ONE_STEP: Final = (_BUYS, _FINDS, _SELLS, _SELLS, _GIVES, _MULTIPLIES, _KEEPS, _KEEPS, _AS_START)
_TWO_STEPS: Final = (_boxes, _boxes, _friend_brings)


def _distract(story: _Story) -> None:
    """Add a sentence whose number plays no part."""
    rng = story.rng
    other = rng.choice([item for item in _ITEMS if item != story.words["item"]])
    story.tell(
        f"{{He}} also has {rng.randint(3, 99)} {other}.",
        f"{{His}} walk home takes {rng.randint(3, 99)} minutes.",
        f"{{His}} friend {rng.choice(story.friends)} is {rng.randint(3, 99)} years old.",
    )


def _draw(rng: random.Random) -> Problem:
    names, words = (_HE, _HIS_WORDS) if rng.random() < 0.5 else (_SHE, _HER_WORDS)
    name = rng.choice(names)
    friends = [other for other in (*_HE, *_SHE) if other != name]
    rng.shuffle(friends)
    start = rng.randint(11, 400)
    story = _Story(rng, words | {"name": name, "item": rng.choice(_ITEMS)}, friends, start, start)
    story.tell("{name} has {start} {item}.", "{name} starts with {start} {item}.", start=start)
    steps = rng.randint(MIN_STEPS, MAX_STEPS)
    while len(story.lines) < steps:
        two = steps - len(story.lines) >= 2 and rng.random() < 0.25
        happened = rng.choice(_TWO_STEPS)(story) if two else rng.choice(_ONE_STEP).happen(story)
        if happened and rng.random() < _DISTRACTOR_SHARE:
            _distract(story)
    story.tell("How many {item} does {he} have now?", "How many {item} does {name} have?")
    prompt = " ".join(story.sentences) + "\n"
    return Problem(
        prompt_id=f"embedded:{_digest(prompt)[:12]}",
        prompt=prompt,
        solution="\n".join([*story.lines, f"#### {story.now}"]),
        gold=str(story.now),
        group=f"{steps}-step",
    )


def _digest(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


def split_of(prompt: str) -> Split:
    """Return the split that a prompt belongs to: "fresh" for one prompt in four, by a hash of its text."""
    return "fresh" if int(_digest(prompt)[-8:], 16) % 4 == 0 else "train"


def problem(seed: int, index: int, *, split: Split = "fresh") -> Problem:
    """Return problem number `index` (from 0) of a seed and split; it needs no other problem to be drawn.

    Raises InputError if `index` is negative or `split` is not "train" or "fresh".
    """
    if index < 0:
        raise InputError("a problem's index counts from 0", where=f"index {index}", remedy="give 0 or more")
    if split not in ("train", "fresh"):
        raise InputError("no such split", where=f"split {split!r}", remedy='give "train" or "fresh"')
    # A string seed goes through SHA-512, so neighbouring seeds and indices have unrelated streams.
    rng = random.Random(f"{split}:{seed}:{index}")  # noqa: S311
    while True:
        drawn = _draw(rng)
        if split_of(drawn.prompt) == split:
            return drawn


def problems(seed: int, n: int, *, split: Split = "fresh") -> Iterator[Problem]:
    """Yield problems 0 to n - 1 of a seed and split, as `problem` returns them."""
    return (problem(seed, index, split=split) for index in range(n))
