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
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from msifr_policy.errors import InputError
from msifr_policy.filters import Prompt

__all__ = ["LARGEST", "MAX_STEPS", "MIN_STEPS", "Problem", "Split", "problem", "problems", "split_of"]

Split = Literal["train", "fresh"]

LARGEST: Final = 999
"""The largest number in any problem or solution."""

MIN_STEPS: Final = 2
MAX_STEPS: Final = 6

_HE: Final = ("Tom", "Ben", "Max", "Leo", "Sam", "Ali", "Ivan", "Omar", "Finn", "Hugo")
_SHE: Final = ("Mia", "Ana", "Eva", "Zoe", "Lily", "Nora", "Ruth", "Sara", "Ines", "Yuki")
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
    he: str
    his: str
    friends: list[str]
    item: str
    start: int
    now: int
    sentences: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def subject(self) -> str:
        return self.he.capitalize()

    def tell(self, *ways: str) -> None:
        """Add a sentence, one of several ways to say it."""
        self.sentences.append(self.rng.choice(ways))

    def work_out(self, label: str, left: int, sign: str, right: int) -> int:
        """Write the solution's line of an operation and return its result."""
        result = _OPERATIONS[sign](left, right)
        self.lines.append(f"{label}: {left}{sign}{right}={result}.")
        return result

    def step(self, label: str, sign: str, operand: int) -> None:
        """Apply an operation to the running count and write its line."""
        self.now = self.work_out(label, self.now, sign, operand)


def _more(story: _Story) -> int:
    """Return a count that can be added, or 0."""
    return story.rng.randint(3, min(400, LARGEST - story.now)) if story.now <= LARGEST - 5 else 0


def _fewer(story: _Story) -> int:
    """Return a count that can be taken away, or 0."""
    return story.rng.randint(3, story.now - 5) if story.now >= 12 else 0


# Each event returns False and leaves the story as it was when it cannot happen at the present count.
def _buys(story: _Story) -> bool:
    if count := _more(story):
        story.tell(f"{story.subject} buys {count} more {story.item}.", f"Then {story.he} buys {count} more.")
        story.step(f"{story.subject} buys {count}", "+", count)
    return count > 0


def _finds(story: _Story) -> bool:
    if count := _more(story):
        story.tell(f"{story.subject} finds {count} {story.item}.", f"After that {story.he} finds {count} more.")
        story.step(f"{story.subject} finds {count}", "+", count)
    return count > 0


def _sells(story: _Story) -> bool:
    if count := _fewer(story):
        story.tell(f"{story.subject} sells {count} of them.", f"Then {story.he} sells {count} {story.item}.")
        story.step(f"{story.subject} sells {count}", "-", count)
    return count > 0


def _gives(story: _Story) -> bool:
    if count := _fewer(story):
        friend = story.friends.pop()
        taken = f"{friend} takes {count} of {story.his} {story.item}."
        story.tell(f"{story.subject} gives {count} to {friend}.", taken)
        story.step(f"{friend} gets {count}", "-", count)
    return count > 0


def _boxes(story: _Story) -> bool:
    number = story.rng.randint(2, 9)
    room = (LARGEST - story.now) // number
    if room < 3:
        return False
    size = story.rng.randint(3, min(60, room))
    first = f"{story.subject} gets {number} boxes with {size} {story.item} each."
    story.tell(first, f"Then {story.he} gets {number} boxes of {size}.")
    inside = story.work_out(f"{number} boxes of {size}", number, "*", size)
    story.step(f"{story.subject} adds them", "+", inside)
    return True


def _friend_brings(story: _Story) -> bool:
    sign, word = ("-", "fewer") if story.rng.random() < 0.5 else ("+", "more")
    if story.now < 12 or story.now > LARGEST // 2 - 10:
        return False
    gap = story.rng.randint(2, min(story.now - 5 if sign == "-" else LARGEST - 2 * story.now, 90))
    friend, him = story.friends.pop(), "him" if story.he == "he" else "her"
    story.tell(f"{friend} has {gap} {word} than {story.he} has now and gives {him} all of them.")
    brought = story.work_out(f"{friend} has {gap} {word}", story.now, sign, gap)
    story.step(f"{story.subject} gets them", "+", brought)
    return True


def _multiplies(story: _Story) -> bool:
    factor = story.rng.choice((2, 2, 3))
    if story.now * factor > LARGEST:
        return False
    word = _FACTORS[factor]
    story.tell(f"{story.subject} {word} what {story.he} has.", f"Then {story.he} {word} {story.his} {story.item}.")
    story.step(f"{story.subject} {word} it", "*", factor)
    return True


def _keeps(story: _Story) -> bool:
    divisor = story.rng.choice((2, 2, 3, 4, 5))
    if story.now % divisor or story.now // divisor < 5:
        return False
    word = _FRACTIONS[divisor]
    story.tell(f"{story.subject} keeps only {word} of them.", f"Then {story.he} keeps {word}.")
    story.step(f"{story.subject} keeps {word}", "/", divisor)
    return True


def _as_start(story: _Story) -> bool:
    if not story.lines or story.now + story.start > LARGEST:
        return False
    again = f"{story.subject} buys as many again as {story.he} had at the start."
    story.tell(again, f"Then {story.he} finds as many as at the start.")
    story.step(f"As many as at the start, {story.start}", "+", story.start)
    return True


_ONE_STEP: Final = (_buys, _finds, _sells, _sells, _gives, _multiplies, _keeps, _keeps, _as_start)
_TWO_STEPS: Final = (_boxes, _boxes, _friend_brings)


def _distract(story: _Story) -> None:
    """Add a sentence whose number plays no part."""
    rng, owner = story.rng, story.his.capitalize()
    other = rng.choice([item for item in _ITEMS if item != story.item])
    story.tell(
        f"{story.subject} also has {rng.randint(3, 99)} {other}.",
        f"{owner} walk home takes {rng.randint(3, 99)} minutes.",
        f"{owner} friend {rng.choice(story.friends)} is {rng.randint(3, 99)} years old.",
    )


def _draw(rng: random.Random) -> Problem:
    names, he, his = (_HE, "he", "his") if rng.random() < 0.5 else (_SHE, "she", "her")
    name = rng.choice(names)
    friends = [other for other in (*_HE, *_SHE) if other != name]
    rng.shuffle(friends)
    start = rng.randint(11, 400)
    story = _Story(rng, he, his, friends=friends, item=rng.choice(_ITEMS), start=start, now=start)
    story.tell(f"{name} has {start} {story.item}.", f"{name} starts with {start} {story.item}.")
    steps = rng.randint(MIN_STEPS, MAX_STEPS)
    while len(story.lines) < steps:
        two = steps - len(story.lines) >= 2 and rng.random() < 0.25
        if rng.choice(_TWO_STEPS if two else _ONE_STEP)(story) and rng.random() < _DISTRACTOR_SHARE:
            _distract(story)
    story.tell(f"How many {story.item} does {story.he} have now?", f"How many {story.item} does {name} have?")
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
