"""Blocks world: the plan a text lists is carried out, step by step, in the world the prompt describes.

The world is blocks on a table and a hand that holds at most one. Two dialects speak of it:

| step | possible if | plain words | mystery words |
| --- | --- | --- | --- |
| take a block from the table | it is clear and on the table, the hand is empty | pick up | attack |
| take a block from another | it is clear and on that block, the hand is empty | unstack | feast |
| put the block on the table | it is in the hand | put down | succumb |
| put the block on another | it is in the hand, the other is clear | stack | overcome |

A block is *clear* if it is not in the hand and nothing stands on it. A step is a line that begins, marks of lists
and emphasis aside, with such words and a block of the problem. A step that is not possible *breaks* the plan; it
is left out and the rest goes on. A step told twice in a row is one.

Texts list a plan more than once. One begins again at a step numbered 1 or the first after a heading, unless that
step is possible where the plan stands but not at the beginning; and at a step that is not possible once the goal
is reached.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence
from msifr_policy.validators.readers.lines import cut_lines

MOST_BLOCKS = 64
"""A problem with more blocks is none that is replayed: each step costs time in proportion to them."""


class BlocksPlan(Rule, frozen=True):
    """Replays plans for blocks-world problems.

    The verdict is UNKNOWN, since a text may list a better plan; with `first_plan_counts` it is DEAD from the first
    broken plan on, for tasks that allow one plan.
    """

    name = "blocks_plan"
    columns = ("steps", "broken", "broken_plans", "reached", "reached_ever")
    """`steps`: steps of the current plan; `broken`: 1 if one of them was not possible, else 0; `broken_plans`: plans
    so far of which that holds; `reached`: 1 if the current plan is not broken and its goal holds now, else 0;
    `reached_ever`: 1 if that was so after any step so far, else 0. All NaN if the prompt states no such problem.
    """
    first_plan_counts: bool = False

    def _state(self, prompt: str) -> TextState:
        problem = _problem(prompt)
        return _BlocksPlanState(self, problem) if problem else Silence(self.columns)


class World(NamedTuple):
    """Where each block stands (`_TABLE` or another block), and the one in the hand, which stands nowhere."""

    below: Mapping[str, str]
    hand: str | None = None

    def clear(self, block: str | None) -> bool:
        """Return whether a known block has nothing on it."""
        return block in self.below and block not in self.below.values()


class _BlocksProblem(NamedTuple):
    """The world at first, and what must stand on what in the end."""

    world: World
    goal: tuple[tuple[str, str], ...]


class _PlanStep(NamedTuple):
    """A deed in plain words, the block it moves and the other block it names, if any; `first` if numbered 1."""

    deed: str
    block: str
    other: str | None
    first: bool


_TABLE = ""
_BLOCK = r"(?:the (\w{1,32}) block|(?:block|object) (\w{1,32}))"
_ON = re.compile(rf"{_BLOCK} (?:is on top of|craves) {_BLOCK}")
_ON_TABLE = re.compile(rf"{_BLOCK} is on the table|planet object (\w{{1,32}})")


def _problem(prompt: str) -> _BlocksProblem | None:
    """Return the last problem of a prompt, or None if it states none or one that cannot be."""
    start = prompt.rfind("initial conditions")
    middle = prompt.find("goal", start)
    if start < 0 or middle < 0:
        return None
    given = _on(prompt[start:middle])
    goal = _on(prompt[middle:].split("\n", 1)[0])
    tabled = ["".join(names).lower() for names in _ON_TABLE.findall(prompt, start, middle)]
    below = dict(given) | dict.fromkeys(tabled, _TABLE)
    standing = [other for other in below.values() if other]
    possible = (
        0 < len(below) == len(given) + len(tabled) <= MOST_BLOCKS  # each block stands in one place
        and len(set(standing)) == len(standing)  # and bears at most one
        and {*standing, *(block for pair in goal for block in pair)} <= below.keys()
    )
    return _BlocksProblem(World(below), goal) if goal and possible else None


def _on(text: str) -> tuple[tuple[str, str], ...]:
    """Return which block `text` says to be on which other."""
    return tuple(((a + b).lower(), (c + d).lower()) for a, b, c, d in _ON.findall(text))


_PLAIN_WORDS = {"attack": "pick", "feast": "unstack", "succumb": "put", "overcome": "stack"}
_STEP = re.compile(
    r"""
    [\W_]{0,16}+
    (?: (?: step | action ) \b [\W_]{0,6}+ )?
    (?: ([0-9]{1,3}) [\W_]{1,8}+ )?
    (pick (?=[ -]?up\b) | put (?=[ -]?down\b) | unstack\b | stack\b | attack\b | feast\b | succumb\b | overcome\b )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_WORD = re.compile(r"\w+")
_ASIDE = re.compile(r" \([^()]*\)")
_DENIED = frozenset({"not", "cannot", "impossible", "invalid"})
_HEADINGS = frozenset({"plan", "steps", "actions", "sequence", "solution", "summary"})
_EMPHASIS = " \t\r*_"


def _is_heading(line: str) -> bool:
    """Say whether a line announces a plan: `[PLAN]`, `### Plan`, `**Summary**`, "so the steps are:"."""
    bare = line.strip(_EMPHASIS)
    if not (bare.startswith(("#", "[")) or bare.endswith(":") or line.startswith("**")):
        return False
    words = frozenset(_WORD.findall(bare.lower()))
    return not words.isdisjoint(_HEADINGS) and "end" not in words


def _step(line: str, blocks: Mapping[str, str]) -> _PlanStep | None:
    """Return the step that `line` is, if it is one."""
    match = _STEP.match(line)
    if match is None:
        return None
    words = _WORD.findall(_ASIDE.sub("", line[match.end() :]).lower())
    named = [word for word in words if word in blocks]
    # "Stack a on b is not possible" talks of a step and takes none.
    if not named or not _DENIED.isdisjoint(words):
        return None
    deed = match[2].lower()
    deed = _PLAIN_WORDS.get(deed, deed)
    other = named[1] if len(named) > 1 else None
    if deed == "stack" and other is None and "table" in words:
        deed = "put"
    return _PlanStep(deed, named[0], other, match[1] is not None and int(match[1]) == 1)


def _after(world: World, step: _PlanStep) -> World | None:
    """Return the world after a step, None if it is not possible."""
    below, hand = world
    deed, block, other, _ = step
    if deed in ("put", "stack"):
        onto = _TABLE if deed == "put" else other
        free = onto == _TABLE or world.clear(onto)
        return World({**below, block: onto}) if hand == block and onto is not None and free else None
    under = below.get(block)
    right = under == _TABLE if deed == "pick" else under != _TABLE and other in (None, under)
    if hand is not None or not right or not world.clear(block):
        return None
    return World({b: u for b, u in below.items() if b != block}, block)


class _Plan(NamedTuple):
    """How far a plan has come: its world, its steps, whether one of them was not possible, and the last of them."""

    world: World
    steps: int = 0
    broken: bool = False
    last: _PlanStep | None = None

    def solves(self, problem: _BlocksProblem) -> bool:
        return not self.broken and all(self.world.below.get(block) == other for block, other in problem.goal)


class _BlocksPlanState(TextState):
    def __init__(self, rule: BlocksPlan, problem: _BlocksProblem) -> None:
        self._rule = rule
        self._problem = problem
        self._line = ""
        self._heading = False  # since the last step
        self._plan = _Plan(problem.world)
        self._broken_plans = 0
        self._reached_ever = False

    def _read(self, text: str) -> Evidence:
        problem = self._problem
        lines, self._line = cut_lines(self._line, text)
        for line in lines:
            if step := _step(line, problem.world.below):
                self._plan = self._carry_out(self._plan, step)
                self._reached_ever |= self._plan.solves(problem)
                self._heading = False
            elif _is_heading(line):
                self._heading = True
        _, steps, broken, _ = self._plan
        reached = self._plan.solves(problem)
        dead = self._rule.first_plan_counts and self._broken_plans > 0
        return evidence(steps, broken, self._broken_plans, reached, self._reached_ever, dead=dead)

    def _carry_out(self, plan: _Plan, step: _PlanStep) -> _Plan:
        begins = self._heading or step.first
        if plan.last is not None and step[:3] == plan.last[:3] and not begins:
            return plan
        world = _after(plan.world, step)
        if begins or (world is None and plan.solves(self._problem)):
            anew = _after(self._problem.world, step)
            if anew is not None or world is None:
                plan, world = _Plan(self._problem.world), anew
        if world is None:
            self._broken_plans += not plan.broken
            return _Plan(plan.world, plan.steps + 1, broken=True, last=step)
        return _Plan(world, plan.steps + 1, plan.broken, step)
