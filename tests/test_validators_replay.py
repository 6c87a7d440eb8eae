"""Rules that carry out what a text claims: plans, countdown games, bracket stacks, sorted words.

Each is held to an independent account of its domain, and to the contract of `validators.base` with prompts that
make it work.
"""

from __future__ import annotations

import math
import re
import time
import types
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from msifr_policy.testing.validators import LONG, check_chunking, check_cost, check_memory, check_validator
from msifr_policy.validators import (
    Evidence,
    Validator,
    ValidatorState,
    Verdict,
    blocks_plan,
    brackets,
    countdown,
    word_order,
)
from msifr_policy.validators.blocks_plan import MOST_BLOCKS, BlocksPlan
from msifr_policy.validators.brackets import Brackets
from msifr_policy.validators.countdown import MOST_NUMBERS, MOST_SEARCHES, Countdown
from msifr_policy.validators.readers.number_games import read_game
from msifr_policy.validators.word_order import WordOrder

SEEDS = st.integers(0, 2**32)

PLAIN = """[STATEMENT]
As initial conditions I have that, the red block is clear, the blue block is clear, the hand is empty, the blue block is
 on top of the orange block, the red block is on the table and the orange block is on the table.
My goal is to have that the orange block is on top of the blue block.

My plan is as follows:
""".replace("is\n on", "is on")
MYSTERY = """As initial conditions I have that, object a craves object b, harmony, planet object b, planet object c,
 province object a and province object c.
My goal is to have that object c craves object a.
""".replace(",\n p", ", p")
GAME = "Use numbers and basic arithmetic operations (+ - * /) to obtain 24.\nInput: 4 9 10 13\n"
SIX = (
    "Using the numbers [3, 6, 25, 50, 75, 100], create an equation that equals 952. You can use basic arithmetic "
    "operations (+, -, *, /) and each number can only be used once."
)
WORDS = "Sort the following words alphabetically: List: cow bat cat ant ox-eye"
SEQUENCE = "Complete the rest of the sequence. Input: [ { ( ) } ("

CASES: list[tuple[Validator, str]] = [
    (BlocksPlan(), PLAIN),
    (BlocksPlan(first_plan_counts=True), MYSTERY),
    (Countdown(), GAME),
    (Countdown(first_try_counts=True), GAME),
    (Countdown(use_all=False), SIX),
    (Brackets(), SEQUENCE),
    (Brackets(first_wrong_counts=True), SEQUENCE),
    (WordOrder(), WORDS),
    (WordOrder(first_false_counts=True), WORDS),
]
each = pytest.mark.parametrize(("validator", "prompt"), CASES, ids=lambda case: repr(case)[:50])

LINES = """1. Unstack the blue block from on top of the orange block|2. **Put down the blue block**|pick up red
stack the red block on top of the blue block|(unstack blue orange)|   - Action: `put down the blue block`|[PLAN]
[PLAN END]|### Plan:|- Feast a from b|**Succumb a**|3. Overcome(c, a)|Step 2: attack object c|stack red on the table
4 + 9 = 13 (left: 10 13 13)|13 - 9 = 4 (left: 4 4 10)|10 - 4 = 6 (left: 4 6)|4 * 6 = 24 (left: 24)|4 / 9 = 0.444
13 - 9 = 5|Step 1: 100 + 3 = 103|25 * 7 = 175|175 - 50 = 125 (remaining numbers: 3, 6, 125)|-5 - 3 = -8|9/3 = 3
1: [ ; stack: [|{ ; stack: [ {|3: ( ; stack: [ { (|) ; stack: [ {|} ; stack: [|6: ( ; stack: [ (|[ ; stack: empty
(1) "ant" < (2) ["bat" < "cow"]|"cow" < "cat"|["cat" ? "cow"] < "ox|" <|"ant|"bat"."""
FRAGMENTS = st.sampled_from([*LINES.replace("\n", "|").split("|"), "\n", "\n\n", " ", "-", "1.", "x" * 450])
TEXTS = st.one_of(
    st.lists(FRAGMENTS, max_size=40).map("\n".join),
    st.lists(st.one_of(FRAGMENTS, st.characters(), st.text(max_size=6)), max_size=30).map("".join),
)


def scores(validator: Validator, prompt: str, text: str) -> dict[str, float]:
    return dict(zip(validator.columns, validator.start(prompt).feed(text).scores, strict=True))


def seeded(seed: int) -> Random:
    """A random source that replays."""
    return Random(seed)  # noqa: S311 (not for secrets)


@each
@given(text=TEXTS)
@example(text=LINES.replace("|", "\n") + "\n")
@settings(max_examples=100)
def test_chunking_does_not_matter(validator: Validator, prompt: str, text: str) -> None:
    """However a text is cut, the evidence is that of one piece, and its scores fit the columns."""
    check_chunking(validator, text, prompt=prompt, seed=len(text))


@pytest.mark.parametrize(
    ("module", "reader", "forgetful"),
    [(module, "cut_lines", lambda _, text: (text.split("\n"), "")) for module in (blocks_plan, countdown, brackets)]
    + [(word_order, "unfinished_word", lambda *_: "")],
)
def test_the_chunking_property_can_fail(
    module: types.ModuleType, reader: str, forgetful: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that forgets the unfinished line or word is caught."""
    monkeypatch.setattr(module, reader, forgetful)
    validator, prompt = next(case for case in CASES if type(case[0]).__module__ == module.__name__)
    with pytest.raises(AssertionError, match="chunking"):
        check_chunking(validator, LINES.replace("|", "\n") + "\n", prompt=prompt)


@each
def test_the_contract_is_kept_where_there_is_something_to_say(validator: Validator, prompt: str) -> None:
    check_validator(validator, prompts=[prompt], texts=LINES.replace("\n", "|").split("|"))


@each
@given(text=TEXTS)
@settings(max_examples=40)
def test_nothing_is_known_without_a_problem(validator: Validator, prompt: str, text: str) -> None:
    del prompt
    without = validator.start("How many apples?").feed(text)
    assert without.verdict is Verdict.UNKNOWN
    assert all(map(math.isnan, without.scores))


HOSTILE = [
    *[
        "\n",
        "*",
        "-",
        "1. ",
        "step ",
        "(",
        ":",
        "9",
        "9.",
        "9/",
        "= ",
        "; ",
        "unstack ",
        "stack red ",
        " " * 17,
        "\ud800\n",
    ],
    *[f"{line}\n" for line in LINES.replace("\n", "|").split("|")],
    *[
        "3 + 7 = 10\n",
        "pick up the red block\nput down the red block\n",
        "[plan]\nattack c\n",
        "9 + 4 = 13 left: ",
        "([{<",
    ],
]


@pytest.mark.parametrize("unit", HOSTILE, ids=ascii)
def test_hostile_text_takes_linear_time_and_little_memory(unit: str) -> None:
    """No text takes 30 µs per character."""
    for validator, prompt in CASES:
        check_cost(validator, unit, prompt=prompt, seconds=30e-6 * LONG)
        check_memory(validator, unit, prompt=prompt, characters=2 * LONG, most=200_000)


def test_hostile_prompts_take_linear_time() -> None:
    """A prompt is read once."""
    for unit in (
        *("initial conditions", "the red block ", "equals 1", "Input: 1 ", "1 ", "[ ", "numbers: 1,", "goal"),
        *("numbers are the of ", "make the target 2", "use 1 and ", "each number ", "game of 24 ", "some of "),
    ):
        for validator in (BlocksPlan(), Countdown(), Brackets(), WordOrder()):
            start = time.process_time()
            validator.start("arithmetic operations initial conditions " + unit * 20_000)
            assert time.process_time() - start < 0.5, (validator, unit)


# Blocks world: facts and preconditions as the planning literature writes them.

Deed = tuple[str, str, str]
Facts = frozenset[tuple[str, ...]]
NAMES = ["red", "blue", "orange", "yellow", "white"]
REQUIRES: dict[str, Callable[[str, str], set[tuple[str, ...]]]] = {
    "pick-up": lambda x, _: {("clear", x), ("ontable", x), ("handempty",)},
    "put-down": lambda x, _: {("holding", x)},
    "unstack": lambda x, y: {("on", x, y), ("clear", x), ("handempty",)},
    "stack": lambda x, y: {("holding", x), ("clear", y)},
}
ADDS: dict[str, Callable[[str, str], set[tuple[str, ...]]]] = {
    "pick-up": lambda x, _: {("holding", x)},
    "put-down": lambda x, _: {("clear", x), ("ontable", x), ("handempty",)},
    "unstack": lambda x, y: {("holding", x), ("clear", y)},
    "stack": lambda x, y: {("on", x, y), ("clear", x), ("handempty",)},
}


def possible(facts: Facts, deed: Deed) -> bool:
    return REQUIRES[deed[0]](*deed[1:]) <= facts


def perform(facts: Facts, deed: Deed) -> Facts:
    """Return the facts after a deed: of these domains the preconditions are what it deletes."""
    return (facts - REQUIRES[deed[0]](*deed[1:])) | ADDS[deed[0]](*deed[1:])


def deeds(blocks: list[str]) -> Iterator[Deed]:
    for x in blocks:
        yield from (("pick-up", x, ""), ("put-down", x, ""))
        for y in blocks:
            if x != y:
                yield from (("unstack", x, y), ("stack", x, y))


def random_facts(blocks: list[str], draw: Random) -> Facts:
    """Blocks in random towers."""
    facts: set[tuple[str, ...]] = {("handempty",)}
    tops: list[str] = []
    for block in draw.sample(blocks, len(blocks)):
        if tops and draw.random() < 0.5:
            facts.add(("on", block, tops.pop(draw.randrange(len(tops)))))
        else:
            facts.add(("ontable", block))
        tops.append(block)
    return frozenset(facts | {("clear", top) for top in tops})


def state_problem(facts: Facts, goal: list[tuple[str, ...]], mystery: bool) -> str:
    """The prompt of a problem, in plain words or those of the mystery."""
    if mystery:
        words = {"clear": "province object {}", "ontable": "planet object {}", "on": "object {} craves object {}"}
    else:
        words = {
            "clear": "the {} block is clear",
            "ontable": "the {} block is on the table",
            "on": "the {} block is on top of the {} block",
        }
    told = ", ".join(words[kind].format(*names) for kind, *names in sorted(facts) if kind in words)
    wanted = " and ".join(words[kind].format(*names) for kind, *names in goal)
    return (
        f"[STATEMENT]\nAs initial conditions I have that, {told}.\nMy goal is to have that {wanted}.\n\nMy plan is:\n"
    )


STYLES: dict[bool, list[dict[str, str]]] = {
    False: [
        {
            "pick-up": "pick up the {} block",
            "put-down": "put down the {} block",
            "unstack": "unstack the {} block from on top of the {} block",
            "stack": "stack the {} block on top of the {} block",
        },
        {
            "pick-up": "**Pick up {}**: it is clear",
            "put-down": "- Put down {} on the table.",
            "unstack": "* `Unstack {} from {}`",
            "stack": "   - Stack the {} block on {}.",
        },
        {
            "pick-up": "(pick-up {})",
            "put-down": "(put-down {})",
            "unstack": "(unstack {} {})",
            "stack": "(stack {} {})",
        },
    ],
    True: [
        {
            "pick-up": "Attack {}",
            "put-down": "- **Succumb object {}**",
            "unstack": "Feast object {} from object {}",
            "stack": "Overcome({}, {})",
        }
    ],
}


def told(plan: list[Deed], draw: Random, mystery: bool) -> str:
    """The plan as a list, with talk between its lines."""
    style = draw.choice(STYLES[mystery])
    numbered = draw.random() < 0.5
    lines = []
    for i, (kind, *names) in enumerate(plan, 1):
        lines.append((f"{i}. " if numbered else "") + style[kind].format(*names))
        if draw.random() < 0.3:
            lines.append(draw.choice(["   - Now the hand is full.", "", "This step is needed, the plan says."]))
    return "\n".join(lines) + "\n"


def random_walk(facts: Facts, blocks: list[str], steps: int, draw: Random) -> tuple[list[Deed], Facts]:
    walk: list[Deed] = []
    for _ in range(steps):
        deed = draw.choice([deed for deed in deeds(blocks) if possible(facts, deed)])
        walk.append(deed)
        facts = perform(facts, deed)
    return walk, facts


def random_world(draw: Random) -> tuple[list[str], Facts, bool]:
    mystery = draw.random() < 0.3
    blocks = ["a", "b", "c", "d", "e"] if mystery else list(NAMES)
    blocks = blocks[: draw.randint(2, 5)]
    return blocks, random_facts(blocks, draw), mystery


def legal_plans_hold(seed: int) -> bool:
    """Say whether a random walk is never broken, and known to reach the goal exactly where it does."""
    draw = seeded(seed)
    blocks, facts, mystery = random_world(draw)
    walk, end = random_walk(facts, blocks, draw.randint(1, 12), draw)
    goal = [fact for fact in end if fact[0] == "on"] or [("on", blocks[0], blocks[1])]
    prompt = state_problem(facts, goal, mystery)
    seen = scores(BlocksPlan(), prompt, told(walk, draw, mystery))
    reached = []
    for deed in walk:
        facts = perform(facts, deed)
        reached.append(facts.issuperset(goal))
    return seen == {
        "steps": len(walk),
        "broken": 0,
        "broken_plans": 0,
        "reached": reached[-1],
        "reached_ever": any(reached),
    }


def illegal_steps_are_found(seed: int) -> bool:
    """Say whether a plan with one impossible step is broken there, and not before."""
    draw = seeded(seed)
    blocks, facts, mystery = random_world(draw)
    walk, end = random_walk(facts, blocks, draw.randint(0, 10), draw)
    wrong = draw.choice([deed for deed in deeds(blocks) if not possible(end, deed) and deed not in walk[-1:]])
    # A goal that cannot be: the plan has no reason to begin again.
    a, b = blocks[:2]
    prompt = state_problem(facts, [("on", a, b), ("on", b, a)], mystery)
    state = BlocksPlan().start(prompt)
    _, broken, broken_plans, *_ = state.feed(told(walk, draw, mystery)).scores if walk else state.feed("").scores
    line = STYLES[mystery][0][wrong[0]].format(*wrong[1:])
    return (broken, broken_plans, *state.feed(f"{line}\n").scores[:3]) == (0, 0, len(walk) + 1, 1, 1)


@given(seed=SEEDS)
@settings(max_examples=300)
def test_a_legal_plan_is_never_broken(seed: int) -> None:
    assert legal_plans_hold(seed)


@given(seed=SEEDS)
@settings(max_examples=300)
def test_an_illegal_step_breaks_the_plan_where_it_stands(seed: int) -> None:
    assert illegal_steps_are_found(seed)


def test_the_properties_of_plans_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world in which every block is clear misses illegal steps, one in which none is breaks legal plans."""
    for clear, holds in ((True, illegal_steps_are_found), (False, legal_plans_hold)):
        monkeypatch.setattr(blocks_plan.World, "clear", lambda _, block, clear=clear: clear and block is not None)
        assert not all(holds(seed) for seed in range(50))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unstack blue from orange\nput down blue\npick up orange\nstack orange on blue\n", (4, 0, 0, 1, 1)),
        # the same plan again, after a heading, numbered, or simply again
        ("pick up orange\n[PLAN]\nunstack blue from orange\n", (1, 0, 1, 0, 0)),
        ("pick up orange\n1. unstack blue from orange\n", (1, 0, 1, 0, 0)),
        ("[PLAN]\nunstack blue from orange\n[PLAN END]\nput down blue\n", (2, 0, 0, 0, 0)),
        (
            "1. unstack blue\n2. put down blue\n### Next steps\n1. pick up orange\n2. stack orange on blue\n",
            (4, 0, 0, 1, 1),
        ),
        ("unstack blue\nput down blue\npick up orange\nstack orange on blue\nunstack blue\n", (1, 0, 0, 0, 1)),
        # one step told twice, one denied, one aside, one of prose
        ("1. **Unstack blue from orange**\n   - Action: `unstack blue from orange`\n", (1, 0, 0, 0, 0)),
        ("unstack blue\nput down blue\npick up orange\n" + "stack orange on blue\n" * 2, (4, 0, 0, 1, 1)),
        ("pick up orange is not possible\nunstack blue\n", (1, 0, 0, 0, 0)),
        ("unstack blue (with red on the table) from orange\n", (1, 0, 0, 0, 0)),
        ("They pick up orange.\nIt stacks blocks.\nPut down nothing.\n", (0, 0, 0, 0, 0)),
        ("pick up orange\npick up blue\n", (2, 1, 1, 0, 0)),
        ("pick up the red block and stack it", (0, 0, 0, 0, 0)),  # unfinished
    ],
)
def test_how_texts_tell_plans(text: str, expected: tuple[float, ...]) -> None:
    assert BlocksPlan().start(PLAIN).feed(text).scores == expected


TWO_TOWERS = (
    "As initial conditions I have that, the red block is clear, the blue block is clear, the hand is empty, the red "
    "block is on top of the green block, the green block is on the table and the blue block is on the table.\n"
    "My goal is to have that the green block is on top of the blue block.\n"
)
CARRIED_OUT = [
    "Unstack the red block from the green block, then put down the red block.\n"
    "Pick up the green block, then stack the green block on the blue block.\n",
    "(unstack red green) (put-down red) (pick-up green) (stack green blue)\n",
    "unstack(red, green), putdown(red), pickup(green), stack(green, blue)\n",
    "['unstack red green', 'put-down red', 'pick-up green', 'stack green blue']\n",
    "Action 1: unstack(red,green)\nAction 2: put_down(red)\nAction 3: pick_up(green)\nAction 4: stack(green,blue)\n",
    "1. UNSTACK RED FROM GREEN\n2. PUT DOWN RED\n3. PICK UP GREEN\n4. STACK GREEN ON BLUE\n",
    "UNSTACK red green\nPUTDOWN red\nPICKUP green\nSTACK green blue\n",
    "(unstack red_block green_block)\n(put-down red_block)\n(pick-up block_green)\n(stack green_block blue_block)\n",
    "0.000: (unstack red green) [1]\n1.000: (put-down red)\n2.000: (pick-up green)\n3.000: (stack green blue)\n",
    "I unstack the red block from the green block.\nThen we put it down.\n"
    "Next, we pick up green.\nWe will stack it on blue.\n",
    "1. Unstack red from green 2. Put down red 3. Pick up green 4. Stack green on blue\n",
    "unstack red from green -> put red down -> pick green up -> stack green on blue\n",
    "Unstack red (from green).\nPut down red (on the table).\nPick up green.\nStack green (on blue).\n",
    "- unstack: red, green\n- put-down: red\n- pick-up: green\n- stack: green, blue\n",
    "Plan: unstack red from green, put down red, pick up green, stack green on blue.\n",
    "Here's the final plan: (unstack red green), (put-down red), (pick-up green), (stack green blue).\n",
    "<answer>(unstack red green)(put-down red)(pick-up green)(stack green blue)</answer>\n",
    '{"plan": ["unstack red green", "put-down red", "pick-up green", "stack green blue"]}\n',
    '{"action": "unstack", "block": "red", "from": "green"}\n{"action": "put-down", "block": "red"}\n'
    '{"action": "pick-up", "block": "green"}\n{"action": "stack", "block": "green", "on": "blue"}\n',
    "Pick up green is impossible.\nUnstack red.\nPlan: unstack red, put down red, pick up green, stack green on blue\n",
    "First, unstack the red block from on top of the green block. Next, put it down on the table. "
    "Then pick up the green block. Finally, stack it on top of the blue block.\n",
    "1) Take the red block off the green block\n2) Place the red block on the table\n3) Grab the green block\n"
    "4) Place the green block on top of the blue block\n",
    "Remove red from green.\nPut red on the table.\nLift green from the table.\nPut green on blue.\n",
    "unstack block red from block green\nput down block red\npick up block green\nstack block green on block blue\n",
    "- Unstack the red block (it is clear) from the green block and put down the red block.\n"
    "- Then, pick up the green block; stack it on the blue block.\n",
    "| 1 | unstack | red | green |\n| 2 | put-down | red | |\n| 3 | pick-up | green |\n| 4 | stack | green | blue |\n",
    "<think>\n1. pick up green\nNo, green is not clear.\n</think>\n"
    "Unstack red from green\nPut down red\nPick up green\nStack green on blue\n",
    "◁think▷\n1. pick up green\nNo, green is not clear.\n◁/think▷\n"
    "Unstack red from green\nPut down red\nPick up green\nStack green on blue\n",
]


@pytest.mark.parametrize("text", CARRIED_OUT)
def test_plans_in_the_usual_wordings_are_read(text: str) -> None:
    """Four steps reach the goal, and nothing is left unread: a fifth that is not possible breaks the plan."""
    state = BlocksPlan(first_plan_counts=True).start(TWO_TOWERS)
    evidence = state.feed(text)
    assert evidence.verdict is Verdict.UNKNOWN
    assert (evidence.scores[0], evidence.scores[1], evidence.scores[3]) == (4, 0, 1)
    assert state.feed("pick up green\n").verdict is Verdict.DEAD


def test_blocks_may_be_moved_in_one_step() -> None:
    text = "Move the red block from the green block to the table.\nMove green onto blue.\n"
    assert BlocksPlan().start(TWO_TOWERS).feed(text).scores == (2, 0, 0, 1, 1)
    assert BlocksPlan().start(TWO_TOWERS).feed("Move green onto blue.\n").scores == (1, 1, 1, 0, 0)
    assert BlocksPlan().start(TWO_TOWERS).feed("unstack red\nmove red onto blue\n").scores == (2, 0, 0, 0, 0)
    text = "Move the red block from the green block to the table.\nMove the green block from the table onto blue.\n"
    assert BlocksPlan().start(TWO_TOWERS).feed(text).scores == (2, 0, 0, 1, 1)


def test_what_we_do_tells_the_steps_of_a_list_again() -> None:
    """Told after or before the orders, it is no plan of its own; a text without orders is judged by it."""
    plan = "unstack red from green\nput down red\npick up green\nstack green on blue\n"
    why = "1. We begin with red.\n2. We pick up the green block.\n3. We stack it on the blue block.\n"
    story = "We unstack red from green.\nWe put down red.\n"
    for text in (plan + why, story + plan, story + plan + why):
        evidence = BlocksPlan(first_plan_counts=True).start(TWO_TOWERS).feed(text)
        assert evidence.verdict is Verdict.UNKNOWN
        assert evidence.scores == (4, 0, 0, 1, 1)
    evidence = BlocksPlan(first_plan_counts=True).start(TWO_TOWERS).feed("We pick up the green block.\n")
    assert evidence.verdict is Verdict.DEAD


def test_a_problem_may_be_told_in_pddl() -> None:
    prompt = (
        "(define (problem two) (:domain blocksworld) (:objects red green blue)\n(:init (handempty) (on red green)"
        " (ontable green) (on-table blue) (clear red) (clear blue))\n(:goal (and (on green blue))))\nPlan:"
    )
    plan = "(unstack red green)\n(put-down red)\n(pick-up green)\n(stack green blue)\n"
    assert BlocksPlan().start(prompt).feed(plan).scores == (4, 0, 0, 1, 1)
    assert BlocksPlan().start(prompt).feed("(pick-up green)\n").scores == (1, 1, 1, 0, 0)
    assert math.isnan(scores(BlocksPlan(), prompt.replace("(ontable green)", ""), plan)["steps"])


@pytest.mark.parametrize(
    "text",
    [
        "We start by unstacking red.\nput down red\n",
        "unstack red\nStack red.\npick up red\n",
        "The wrong plan: unstack red\nput down red\n",
        "The hand takes red from green.\nput down red\n",
        "Clear green by moving red to the table.\npick up green\n",
        "Unstack the upper block and put it down.\npick up green\n",
        "Take away what is on green and lay it aside.\npick up green\n",
        "With the arm we can do much. " + "x " * 250 + "unstack red\nput down red\n",
        "Unstack red from green. " + "Now see. " * 60 + "Put down red.\npick up green\n",
    ],
)
def test_a_deed_that_was_not_read_is_not_held_against_the_next(text: str) -> None:
    """Then it is not known how things stand, until the plan begins again."""
    evidence = BlocksPlan(first_plan_counts=True).start(TWO_TOWERS).feed(text)
    assert evidence.verdict is Verdict.UNKNOWN
    assert evidence.scores[1:3] == (0, 0)
    assert math.isnan(evidence.scores[3])
    again = text + "Plan:\npick up green\n"
    assert BlocksPlan(first_plan_counts=True).start(TWO_TOWERS).feed(again).verdict is Verdict.DEAD


def test_the_first_plan_may_be_the_only_one() -> None:
    text = "pick up orange\n[PLAN]\nunstack blue\n"
    assert BlocksPlan().start(PLAIN).feed(text).verdict is Verdict.UNKNOWN
    assert BlocksPlan(first_plan_counts=True).start(PLAIN).feed(text).verdict is Verdict.DEAD
    assert BlocksPlan(first_plan_counts=True).start(PLAIN).feed("unstack blue\n").verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "told",
    [
        "the red block is on the table, the red block is on top of the blue block and the blue block is on the table",
        "the red block is on top of the blue block",
        "the red block is on top of the blue block, "
        "the white block is on top of the blue block, the blue block is on the table",
        ", ".join(f"the b{i} block is on the table" for i in range(MOST_BLOCKS + 1)),
        "nothing",
    ],
)
def test_problems_that_cannot_be_are_none(told: str) -> None:
    goal = "the red block is on top of the blue block"
    prompt = f"As initial conditions I have that, {told}.\nMy goal is to have that {goal}."
    assert math.isnan(scores(BlocksPlan(), prompt, "")["steps"])


# Countdown: all ways to combine two numbers, until one is left.


def brute_force(numbers: list[Fraction], target: Fraction) -> bool:
    if len(numbers) == 1:
        return numbers[0] == target
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            if i != j:
                rest = [x for k, x in enumerate(numbers) if k not in (i, j)]
                results = [a + b, a - b, a * b] + ([a / b] if b else [])
                if any(brute_force([*rest, result], target) for result in results):
                    return True
    return False


def game(numbers: list[int], target: int) -> str:
    given = " ".join(map(str, numbers))
    return f"Use numbers and basic arithmetic operations to obtain {target}.\nInput: {given}\nSteps:\n"


def reachability_is_exact(numbers: list[int], target: int) -> bool:
    expected = brute_force([Fraction(x) for x in numbers], Fraction(target))
    return scores(Countdown(), game(numbers, target), "")["reachable"] == expected


@given(numbers=st.lists(st.integers(0, 13), min_size=2, max_size=4), target=st.integers(-3, 40))
@example(numbers=[1, 5, 5, 5], target=24)
@example(numbers=[3, 3, 8, 8], target=24)
@example(numbers=[0, 0, 0, 0], target=0)
@example(numbers=[0, 0, 0, 0], target=1)
@example(numbers=[0, 7, 0, 13], target=0)
@settings(max_examples=60)
def test_reachability_is_exact(numbers: list[int], target: int) -> None:
    """As exhaustive search says, fractions on the way included."""
    assert reachability_is_exact(numbers, target)


@pytest.mark.parametrize(
    ("numbers", "target"), [([1, 1, 1, 1, 1], 7), ([2, 3, 7, 11, 13], 997), ([25, 50, 3, 7, 1], 952)]
)
def test_reachability_of_five_numbers(numbers: list[int], target: int) -> None:
    assert reachability_is_exact(numbers, target)


def test_reachability_can_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that never divides misses 24 = 5·(5 − 1/5)."""
    monkeypatch.setattr(countdown, "partners", lambda a, target: {target - a, a - target, target + a, target * a})
    countdown.reachable.cache_clear()
    assert not reachability_is_exact([1, 5, 5, 5], 24)
    monkeypatch.undo()
    countdown.reachable.cache_clear()
    assert reachability_is_exact([1, 5, 5, 5], 24)


def steps_are_followed(seed: int) -> bool:
    """Say whether random steps are right until one is made false, and what is left is known."""
    draw = seeded(seed)
    given = [draw.randint(1, 13) for _ in range(draw.randint(2, 6))]
    numbers = [Fraction(x) for x in given]
    state = Countdown().start(game(given, 24))
    for k in range(1, len(given)):
        a, b = (numbers.pop(draw.randrange(len(numbers))) for _ in range(2))
        operator = draw.choice("+-*/" if b else "+-*")
        result = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else a}[operator]
        # Another result, or operands of which there are not enough, neither from the beginning.
        if draw.random() < 0.2:
            there = [*numbers, a, b]
            line = draw.choice([f"{a} {operator} {b} = {result + 7}", "999983 + 1 = 999984"])
            seen = state.feed(f"{line}\n").scores
            return seen[:3] == (k, 1, len(there)) and seen[4] == 1
        numbers.append(result)
        left = " ".join(map(str, draw.sample(numbers, len(numbers))))
        line = f"{a} {operator} {b} = {result}"
        seen = state.feed(line + draw.choice(["\n", f" (left: {left})\n"])).scores
        if seen[:3] != (k, 0, len(numbers)):
            return False
        if len(numbers) < 5 and seen[3] != brute_force(numbers, Fraction(24)):
            return False
    return True


@given(seed=SEEDS)
@settings(max_examples=60)
def test_steps_are_followed(seed: int) -> None:
    assert steps_are_followed(seed)


def test_following_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that believes every result is caught."""
    monkeypatch.setattr(countdown, "stands_for", lambda *_: True)
    assert not all(steps_are_followed(seed) for seed in range(20))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, 4, 1, 0)),
        ("13 - 9 = 4 (left: 4 4 10)\n10 - 4 = 6 (left: 4 6)\n4 * 6 = 24 (left: 24)\n", (3, 0, 1, 1, 0)),
        ("4 + 9 = 13 (left: 10 13 13)\n", (1, 0, 3, 0, 1)),
        ("4 + 9 = 13 (left: 9 10 13)\n", (1, 1, 4, 1, 1)),
        ("4 + 9 = 13 (left: 10 13)\n", (1, 0, 3, 0, 1)),  # beside the result
        ("4 + 9 = 14\n4 + 4 = 8\n", (2, 2, 4, 1, 1)),
        ("4 / 9 = 0.44\n0.44 * 9 = 4\n", (2, 1, 3, 0, 1)),
        ("4 / 9 = 0.44\n0.44 * 13 = 5.78\n", (2, 0, 2, 0, 1)),
        ("10 - 4 = 6\n13 - 9 = 4\n6 * 4 = 24\nAnswer: (10 - 4) * (13 - 9) = 24\n", (3, 0, 1, 1, 0)),
        ("4 + 9 = 13\n13 + 13 = 26\n26 - 10 = 16\nTry again:\n13 - 9 = 4 (left: 4 4 10)\n", (1, 0, 3, 1, 1)),
        ("- **10 − 4 = 6**\n2. 13-9=4\nStep 3: 6 × 4 = 24", (2, 0, 2, 1, 0)),
        ("so 10 - 4 = 6\n", (1, 0, 3, 1, 0)),
        ("4 / 0 = 0\n", (1, 1, 4, 1, 1)),
        ("(13 - 9) * (10 - 4) = 24\n", (1, 0, 1, 1, 0)),
        ("10 + 9 + 4 = 23 (left: 13 23)\n", (1, 0, 2, 0, 1)),
        ("13 - 9 = 4\n10 + 4 = 14\n10 - 4 = 6\n4 * 6 = 24\n", (3, 0, 1, 1, 1)),  # back to 4 4 10
    ],
)
def test_how_texts_count_down(text: str, expected: tuple[float, ...]) -> None:
    assert Countdown().start(GAME).feed(text).scores == expected


SOLVED = [
    "13 - 9 = 4 (left: 4, 4 and 10)\n10 - 4 = 6 (left: 4 and 6).\n4 * 6 = 24.\n",
    "13 - 9 = 4 (remaining: 4, 4, and 10)\n10 - 4 = 6. Remaining numbers: 4, 6.\n4 × 6 = 24. Done!\n",
    "Step 1: 13 − 9 = 4 (Left: 4 4 10).\nStep 2: 10 − 4 = 6 (Left: 4 6).\nStep 3: 4 · 6 = 24 (Left: 24).\n",
    "Step one: 13 - 9 = 4\nStep two - 10 - 4 = 6\nOperation 3) 4 * 6 = 24\n",
    "\\[13 - 9 = 4\\]\n\\(10 - 4 = 6\\)\n$4 \\times 6 = \\boxed{24}$\n",
    "\\begin{align*}\n13 - 9 &= 4 \\\\\n10 - 4 &= 6 \\\\\n4 \\cdot 6 &= 24\n\\end{align*}\n",
    "$13 - 9 = 4$, $10 - 4 = 6$, $4 \\times 6 = 24$.\n",
    "First, 13 - 9 = 4. Then, 10 - 4 = 6. Finally, 4 * 6 = 24.\n",
    "13 - 9 = 4 → 10 - 4 = 6 → 4 * 6 = 24\n",
    "Subtract 9 from 13: 13 - 9 = 4.\nSubtracting 4 from 10: 10 - 4 = 6.\nMultiply these: 4 * 6 = 24.\n",
    "<think>13 - 9 = 4\n10 - 4 = 6\n4 * 6 = 24\n</think>\n",
    "13 - 9 -> 4\n10 - 4 => 6\n4 x 6 → 24\n",
    "a) 13-9=4\n(b) 10-4=6\n(3) 4*6=24\n",
    "• 13 minus 9 = 4\n• 10 minus 4 equals 6\n✓ 4 times 6 is 24\n",
    "- **13 - 9 = 4**\n- 10 - 4 = **6**\n- *4 * 6 = 24*\n",
    "13 - 9 = 4, leaving 4, 4, and 10.\r\n10 - 4 = 6, leaving 4 and 6.\r\n4 * 6 = 24.\r\n",
    '{"operation": "13 - 9 = 4", "numbers_left": [4, 4, 10]}\n{"operation": "10 - 4 = 6"}\n"4 * 6 = 24"\n',
    "1. Subtract 9 from 13:\n   13 - 9 = 4\n2. Subtract 4 from 10 to get 6:\n   10 - 4 = 6\n3. Now:\n   6 × 4 = 24\n",
    "We have to reach 24 with 4, 9, 10 and 13.\n13 - 9 = 4\n10 - 4 = 6\n4 * 6 = 24\nAnswer: (13 - 9) * (10 - 4) = 24\n",
    "13 * 4 = 52, 52 - 10 = 42, 42 - 9 = 33, no.\n13 - 9 = 4 (left: 4, 4, 10)\n10 - 4 = 6\n4 * 6 = 24\n",
]


@pytest.mark.parametrize("text", SOLVED)
def test_steps_in_the_usual_wordings_are_read(text: str) -> None:
    """Three right steps, whatever marks, signs and words go with them; with a wrong result, one of them is wrong."""
    assert Countdown().start(GAME).feed(text).scores == (3, 0, 1, 1, 0)
    false = text.replace("= 6", "= 7").replace("> 6", "> 7").replace("equals 6", "equals 7").replace("*6*", "*7*")
    seen = scores(Countdown(), GAME, false.replace("= **6", "= **7").replace("&= 6", "&= 7").replace("-4=6", "-4=7"))
    assert seen["wrong"] >= 1


@pytest.mark.parametrize(
    "text",
    [
        "Subtract 9 from 13 to get 4.\n10 - 4 = 6\n4 + 4 = 8\n",
        "1. Subtract 9 from 13 to get 4.\n2. Subtract 4 from 10 to get 6.\n3. 6 * 4 = 24\n",
        "If 13 - 9 = 4 then we need 6.\n4 * 4 = 16\n",
        "10 - 4 = 6 = 24 / 4\n6 * 4 = 24\n",
        "24 = 6 * 4\n6 + 4 = 10\n",
        "13 - 9 = 4\n4 + 4 = 8 (too small)\n8 * 10 = 80\n",
        "The difference of 13 and 9 is 4. " + "So it goes. " * 40 + "\n4 * 4 = 16\n",
        "We add and subtract. " * 30 + "13 - 9 = 4\n4 * 4 = 16\n",
        "There are 13 and 9. " + "So it goes. " * 40 + "13 - 9 = 4\n4 * 4 = 16\n",
    ],
)
def test_what_may_have_been_a_step_is_not_held_against_the_next(text: str) -> None:
    """After arithmetic that was not read it is not known which numbers are left."""
    evidence = Countdown(first_try_counts=True).start(GAME).feed(text)
    assert evidence.verdict is Verdict.UNKNOWN
    assert evidence.scores[1] == 0
    assert all(map(math.isnan, evidence.scores[2:4]))


def test_numbers_are_known_again() -> None:
    """Once a step shows them, or the text begins anew; a false equation is wrong whatever the numbers are."""
    unread = "Subtract 9 from 13 to get 4.\n10 - 4 = 6"
    assert math.isnan(scores(Countdown(), GAME, f"{unread}\n")["left"])
    assert Countdown().start(GAME).feed(f"{unread} (left: 4 6)\n6 * 4 = 24\n").scores == (2, 0, 1, 1, 0)
    assert Countdown().start(GAME).feed(f"{unread}\nLet's try again.\n13 + 9 = 22\n").scores == (1, 0, 3, 0, 1)
    assert Countdown().start(GAME).feed(f"{unread}\n6 * 4 = 25\n").scores[:2] == (2, 1)


@pytest.mark.parametrize(
    ("prompt", "numbers", "target"),
    [
        ("Using the numbers 2, 3, 5, and 12, make 24 with basic arithmetic operations.", "2 3 5 12", 24),
        ("Use basic arithmetic operations to reach 24. Numbers: 3 5 6 9.", "3 5 6 9", 24),
        ("Use the numbers 3, 5 and 7 and basic arithmetic operations to make 36.", "3 5 7", 36),
        ("use 20,20,2,15 and basic arithmetic operations (+-*/) to obtain 24", "2 15 20 20", 24),
        ("Solve this Game of 24: 7, 6, 2, 1.\n\nUse every number exactly once.", "1 2 6 7", 24),
        ("Play the 24 game with 4, 7, 8 & 8.", "4 7 8 8", 24),
        ("Find a way to make 139 using some or all of these numbers: 36, 29, 95, 32.", "29 32 36 95", 139),
        ("Calculate 139 using the numbers 36, 29, 95. Each number may be used at most once.", "29 36 95", 139),
        ("Using the numbers 36, 29, 95, create an expression that equals 139.", "29 36 95", 139),
        ("Numbers: [3, 5, 7, 11]\nTarget number: **24**\nUse all numbers exactly once.", "3 5 7 11", 24),
        ("Target = 24. Given numbers: {3, 5, 7, 11}. Find an expression that equals it.", "3 5 7 11", 24),
        ("Combine 4, 9, 10 and 13 to get exactly 24. Each number must be used once.", "4 9 10 13", 24),
        ("Make 24 from 4 9 10 13, using each number once.", "4 9 10 13", 24),
        ("Use these numbers exactly once: 4, 6, 8, 8. The result should be 24.", "4 6 8 8", 24),
        ("Use $4$, $6$, $8$ and $8$ to make $24$. Each number must be used once.", "4 6 8 8", 24),
        ("Can you use 4, 6, 8, and 8, each exactly once, to make 24?", "4 6 8 8", 24),
        ("Use these cards: 4, 6, 8, 8. The result must equal 24 and each card is used once.", "4 6 8 8", 24),
        ("用4、6、8、8四个数字通过加减乘除算出24，每个数字只能用一次。", "4 6 8 8", 24),
        ("给定四个数字：3，3，8，8。请使用四则运算使结果等于24。", "3 3 8 8", 24),
        ("用数字3、3、8、8算24点。", "3 3 8 8", 24),
        ("Benutze die Zahlen 4, 6, 8 und 8 genau einmal, um 24 zu erhalten.", "4 6 8 8", 24),
        ("Utilise les nombres 4, 6, 8 et 8 une seule fois pour obtenir 24.", "4 6 8 8", 24),
        ("Usa los números 4, 6, 8 y 8 una sola vez para obtener 24.", "4 6 8 8", 24),
        ("The numbers are 4, 9, 10, 13. The target is 24. All numbers must be used.", "4 9 10 13", 24),
        ("Given 1,2,3,4 I get 24 with arithmetic operations: (1+2+3)*4 = 24\nNow get to 24 with 4, 6, 8, 1.",
         "1 4 6 8", 24),
        ("Countdown: with the cards 75, 50, 2, 3, 8, 7 reach 812. Take at most 5 steps, make 3 tries.",
         "2 3 7 8 50 75", 812),
    ],
)  # fmt: skip
def test_prompts_in_the_usual_wordings_are_read(prompt: str, numbers: str, target: int) -> None:
    game = read_game(prompt, MOST_NUMBERS)
    assert game is not None
    assert (" ".join(map(str, game.numbers)), game.target) == (numbers, target)
    assert game.some == any(word in prompt for word in ("some or", "at most once"))


@pytest.mark.parametrize(
    "prompt",
    [
        "Ann has 3, 5 and 7 apples. How many does she make?",
        "What is the sum of the numbers 3, 5 and 7?",
        "Make the permutation, which holds each number exactly once, sorted.\nInput: nums = [2, 1, 4], target = 3",
        "Numbers: 3, 5, 7.5. Use arithmetic operations to make 24.",
        "Using the numbers 1, 2, 3, 4, 5, 6, 7, make 24 with arithmetic operations.",
        "Use the numbers 3 + 5, make 24 with arithmetic operations.",
        "小明有4、6、8、8四个盒子，一共24个苹果，等于多少？",
        "计算4、6、8、8的平均数，并用四则运算写出过程。",
        "Die Zahlen 4, 6, 8 und 8 ergeben 26. Wie groß ist der Mittelwert?",
    ],
)
def test_other_prompts_are_no_games(prompt: str) -> None:
    assert read_game(prompt, MOST_NUMBERS) is None


def test_a_prompt_may_say_that_some_numbers_are_enough() -> None:
    some = "Find a way to make 24 using some or all of these numbers: 4, 6, 11."
    assert scores(Countdown(), some, "")["reachable"] == 1
    assert scores(Countdown(), some.replace("some or all", "all"), "")["reachable"] == 0


def test_the_first_try_may_be_the_only_one() -> None:
    for text, verdict in (("13 - 9 = 4\n", Verdict.UNKNOWN), ("4 + 9 = 13\n", Verdict.DEAD)):
        assert Countdown(first_try_counts=True).start(GAME).feed(text).verdict is verdict
        assert Countdown().start(GAME).feed(text).verdict is Verdict.UNKNOWN


def test_not_all_numbers_need_be_used() -> None:
    prompt = game([4, 6, 11], 24)
    assert scores(Countdown(), prompt, "")["reachable"] == 0
    assert scores(Countdown(use_all=False), prompt, "")["reachable"] == 1


def test_games_are_read_from_prompts() -> None:
    """Six numbers are too many to search before the first step; more are no game, nor is a prompt without a target."""
    seen = scores(Countdown(use_all=False), SIX, "100 + 6 = 106\n")
    assert seen == {"steps": 1, "wrong": 0, "left": 5, "reachable": 1, "failed": 0}
    assert math.isnan(scores(Countdown(), SIX, "")["reachable"])
    for prompt in (game([1, 2, 3, 4, 5, 6, 7], 24), game([1], 24), game([1, 2], 24).replace("obtain", "enjoy")):
        assert math.isnan(scores(Countdown(), prompt, "")["steps"])
    few = game([1, 1], 24) + "1 + 1 = 2 (left: 2)\nInput: 12 2\n"
    assert scores(Countdown(), few, "12 * 2 = 24\n")["reachable"] == 1


def test_searches_are_bounded() -> None:
    """A text that tries forever is not searched for forever: later it is not known what can be reached."""
    text = "".join(f"{a} + {b} = {a + b}\n" for a in (3, 6, 25, 50) for b in (75, 100)) * MOST_SEARCHES
    assert math.isnan(scores(Countdown(), SIX, text)["reachable"])
    assert scores(Countdown(), SIX, text)["wrong"] == 0


# Brackets: a list as the stack.

PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}


def stacks_are_compared(seed: int) -> bool:
    """Say whether a right account is never wrong, and one made wrong at a step is wrong there."""
    draw = seeded(seed)
    symbols: list[str] = []
    accounts: list[list[str]] = []
    stack: list[str] = []
    for _ in range(draw.randint(1, 30)):
        if stack and draw.random() < 0.5:
            symbols.append(PAIRS[stack.pop()])
        else:
            symbols.append(draw.choice(list(PAIRS)))
            stack.append(symbols[-1])
        accounts.append(list(stack))
    fault = draw.randrange(2 * len(symbols))
    numbered = draw.random() < 0.5
    lines = ["0: empty stack" if numbered else "stack: empty"]
    for k, (symbol, right) in enumerate(zip(symbols, accounts, strict=True)):
        account = ([*right, "("] if draw.random() < 0.5 else right[:-1] or ["<"] * 40) if k == fault else right
        lines.append(f"{f'{k + 1}: ' if numbered else ''}{symbol} ; stack: {' '.join(account) or 'empty'}")
    prompt = draw.choice(["", "Close the brackets. Input: "]) + " ".join(symbols)
    n = len(symbols)
    expected = (n, fault < n, fault + 1 if fault < n else math.nan, 0)
    return repr(tuple(map(float, expected))) == repr(Brackets().start(prompt).feed("\n".join([*lines, ""])).scores)


@given(seed=SEEDS)
@settings(max_examples=200)
def test_stacks_are_compared(seed: int) -> None:
    assert stacks_are_compared(seed)


def test_comparing_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that is never popped is caught."""
    monkeypatch.setattr(brackets, "push", lambda stack, symbol: stack + symbol)
    assert not all(stacks_are_compared(seed) for seed in range(20))


def test_wrong_symbols_and_steps_too_many_are_wrong() -> None:
    assert Brackets().start("( [").feed("[ ; stack: (\n[ ; stack: ( [\n] ; stack: (\n").scores == (3, 2, 1, 0)
    assert Brackets().start("( [").feed("[ ; stack: (\n").verdict is Verdict.UNKNOWN
    assert Brackets(first_wrong_counts=True).start("( [").feed("[ ; stack: (\n").verdict is Verdict.DEAD
    assert Brackets(first_wrong_counts=True).start("( [").feed("( ; stack: (\n").verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "{a} ; stack: {b}\n{c} ; stack: {d}\n{e} ; stack: {f}\n",
        "1: {a} ; stack: {b}\n2: {c} ; stack: {d}\n3: {e} ; stack: {f}\n",
        "0: {a} ; stack: {b}\n1: {c} ; stack: {d}\n2: {e} ; stack: {f}\n",
        "Step 1: {a}, Stack: {b}.\nStep 2: {c}, Stack: {d}.\nStep 3: {e}, Stack: {f}.\n",
        "- Read `{a}`; the stack is now {b}\n- Read `{c}`; the stack is now {d}\n- Read `{e}`; the stack is now {f}\n",
        '1) Push "{a}" -> stack = {b}\n2) Push "{c}" -> stack = {d}\n3) Pop "{e}" -> stack = {f}\n',
        "1. {a} | stack: {b}\n(2) {c} → stack: {d}\n3: {e} ; stack: {f}\n",
        "- **1**: `{a}` → stack: `{b}`\n- **2**: `{c}` → stack: `{d}`\n- **3**: `{e}` → stack: `{f}`\n",
        "1. {a} - stack: {b}\n2. {c} — stack: {d}\n3. {e} – stack: {f}\n",
        "| 1 | {a} | stack: {b} |\n| 2 | {c} | stack: {d} |\n| 3 | {e} | stack: {f} |\n",
        "After reading {a}, the stack is {b}.\nAfter reading {c}, the stack is {d}.\nAfter {e}, the stack is {f}.\n",
        "Read '{a}', push. Stack: {b}\nRead '{c}', push it. Stack: {d}\nRead '{e}', pop '['. Stack: {f}\n",
    ],
)
@pytest.mark.parametrize("form", [" ".join, "".join, ", ".join, lambda stack: f"[{', '.join(map(repr, stack))}]"])
def test_stacks_in_the_usual_wordings_are_read(text: str, form: Callable[[list[str]], str]) -> None:
    told = {"a": "(", "b": form(["("]), "c": "[", "d": form(["(", "["]), "e": "]", "f": form(["("])}
    assert Brackets().start("( [ ] )").feed(text.format(**told)).scores[::3] == (3, 1)
    assert scores(Brackets(), "( [ ] )", text.format(**told))["wrong"] == 0
    assert scores(Brackets(), "( [ ] )", text.format(**told | {"f": form(["["])}))["first_wrong"] == 3


def test_a_line_that_was_not_read_is_not_held_against_the_next() -> None:
    """Then the next symbol is not known until a step has a number."""
    unread = "( ; stack: (\nAfter [ comes the stack ( [ as it should.\n"
    evidence = Brackets(first_wrong_counts=True).start("( [ ] )").feed(unread + "] ; stack: (\n")
    assert evidence.verdict is Verdict.UNKNOWN
    assert (evidence.scores[:2], math.isnan(evidence.scores[3])) == ((2, 0), True)
    state = Brackets(first_wrong_counts=True).start("( [ ] )")
    assert state.feed(unread + "3: ] ; stack: (\n").scores[::3] == (2, 1)
    assert state.feed("4: ) ; stack: (\n").verdict is Verdict.DEAD


@pytest.mark.parametrize("empty", ["empty", "", "(empty)", "[]", "[ ]", "none", "Empty."])
def test_an_empty_stack(empty: str) -> None:
    assert Brackets().start("( )").feed(f"( ; stack: (\n) ; stack: {empty}\n").scores[:2] == (2, 0)
    assert Brackets().start("( )").feed(f"( ; stack: {empty}\n").scores[:2] == (1, 1)


@pytest.mark.parametrize("prompt", ["", "( ]", "close ( [", "(" * 1001, "Input:"])
def test_prompts_without_a_sequence(prompt: str) -> None:
    assert all(map(math.isnan, Brackets().start(prompt).feed("( ; stack: (\n").scores))


# Word sorting: claims drawn from the list.


def claims_are_judged(seed: int, read_by: Callable[[ValidatorState], Any] = lambda state: state) -> bool:
    """Say whether a chain of words has the false claims it was made with."""
    draw = seeded(seed)
    words = sorted({"".join(draw.choices("abc", k=draw.randint(1, 4))) for _ in range(draw.randint(3, 9))} | {"d", "e"})
    chain = draw.sample(words, len(words))
    signs = draw.choices(["<", "?", ","], weights=[4, 1, 1], k=len(chain) - 1)
    text = f'[(1) "{chain[0]}"' + "".join(
        f' {sign} ({i}) ["{word}"]' for i, (sign, word) in enumerate(zip(signs, chain[1:], strict=True))
    )
    claims = [pair for pair, sign in zip(pairwise(chain), signs, strict=True) if sign == "<"]
    false = sum(words.index(a) > words.index(b) for a, b in claims)
    prompt = draw.choice(["", "Sort. List: "]) + " ".join(draw.sample(words, len(words)))
    return read_by(WordOrder().start(prompt)).feed(text).scores == (len(claims), false)


@given(seed=SEEDS)
@settings(max_examples=100)
def test_claims_are_judged(seed: int) -> None:
    assert claims_are_judged(seed)


class EveryPair(NamedTuple):
    """A rule that takes every two words for a claim."""

    state: ValidatorState

    def feed(self, text: str) -> Evidence:
        return self.state.feed(re.sub("[?,] ", "< ", text))


def test_judging_can_fail() -> None:
    assert not all(claims_are_judged(seed, read_by=EveryPair) for seed in range(20))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"cow" < "bat"', (1, 1)),
        ("“cow” < “bat”", (1, 1)),
        ("`bat` < `cow` < `ant`", (2, 1)),
        ('"cow": "c" (3). "bat"', (0, 0)),
        ('"cow". < "bat"', (0, 0)),
        ('"cow" < "zebra" < "bat"', (0, 0)),
        ('"cow" < "cow"', (1, 1)),
        ('"Bat" < "COW" < "cow', (1, 0)),
        ('"ox-eye" < "bat"', (0, 0)),  # where does the hyphen go?
    ],
)
def test_what_is_a_claim(text: str, expected: tuple[float, ...]) -> None:
    evidence = WordOrder(first_false_counts=True).start(WORDS).feed(text)
    assert evidence.scores == expected
    assert (evidence.verdict is Verdict.DEAD) == (expected[1] > 0)
    assert WordOrder().start(WORDS).feed(text).verdict is Verdict.UNKNOWN
