"""Blocks world: the plan a text lists is carried out, step by step, in the world the prompt describes.

The world is blocks on a table and a hand that holds at most one. Two dialects speak of it:

| step | possible if | plain words | mystery words |
| --- | --- | --- | --- |
| take a block from the table | it is clear and on the table, the hand is empty | pick up | attack |
| take a block from another | it is clear and on that block, the hand is empty | unstack | feast |
| put the block on the table | it is in the hand | put down | succumb |
| put the block on another | it is in the hand, the other is clear | stack | overcome |

A block is *clear* if it is not in the hand and nothing stands on it. A step begins a line, marks of lists and emphasis
aside, or follows another one in it, with such words and a block of the problem; usual other words ("place red on the
table", "take red off blue", "move red onto blue") stand for these. A step that is not possible *breaks* the plan; it
is left out and the rest goes on. A step told twice in a row is one.

What else is said of such deeds may have been a step. It changes nothing as long as the steps that follow are possible;
from one that is not, where things stand is not known, and the plan is not called broken.

Where steps are orders, what "we" or "I" do tells them again; a text without orders tells its plan so.

Texts list a plan more than once. One begins again at a step numbered 1 or the first after a heading, unless that
step is possible where the plan stands but not at the beginning; and at a step that is not possible once the goal
is reached.
"""

import math
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from msifr_policy.reading.thinking import marks
from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence
from msifr_policy.validators.readers.lines import LIMIT, cut_lines

MOST_BLOCKS = 64
"""A problem with more blocks is none that is replayed: each step costs time in proportion to them."""


class BlocksPlan(Rule, frozen=True):
    """Replays plans for blocks-world problems.

    The verdict is UNKNOWN, since a text may list a better plan; with `first_plan_counts` it is DEAD from the first
    broken plan on that is not told in thought, for tasks that allow one plan.
    """

    name = "blocks_plan"
    version = "2"
    columns = ("steps", "broken", "broken_plans", "reached", "reached_ever")
    """`steps`: steps of the current plan; `broken`: 1 if one of them was not possible, else 0; `broken_plans`: plans
    so far of which that holds; `reached`: 1 if the current plan is not broken and its goal holds now, else 0, NaN if
    it is not known how things stand; `reached_ever`: 1 if that was so after any step so far, else 0. All NaN if
    the prompt states no such problem.
    """
    first_plan_counts: bool = False

    def _state(self, prompt: str) -> TextState:
        problem = _problem(prompt)
        return _BlocksPlanState(self, problem) if problem else Silence(self.columns)


class World(NamedTuple):
    """Where each block stands (`_TABLE` or another block), and the one in the hand, which stands nowhere."""

    below: Mapping[str, str]
    hand: str | None = None

    def clear(self, block: str) -> bool:
        """Return whether this is a block of the world, not in the hand, that has nothing on it."""
        return block in self.below and block not in self.below.values()


class _BlocksProblem(NamedTuple):
    """The world at first, what must stand on what in the end, and whether it is told in mystery words."""

    world: World
    goal: tuple[tuple[str, str], ...]
    mystery: bool


class _PlanStep(NamedTuple):
    """A deed in plain words, the block it moves, None for the one in the hand, and the other block it names, if any, or
    the table; `first` if numbered 1 or after the name of a plan.
    """

    deed: Literal["pick", "unstack", "put", "stack", "move"]
    block: str | None
    other: str | None
    first: bool


_TABLE = ""
_BLOCK = r"(?:the (\w{1,32}) block|(?:block|object) (\w{1,32}))"
_ON = re.compile(rf"{_BLOCK} (?:is on top of|craves) {_BLOCK}")
_ON_TABLE = re.compile(rf"{_BLOCK} is on the table|planet object (\w{{1,32}})")
_PDDL_ON = re.compile(r"\(on (\w{1,32}) (\w{1,32})\)")
_PDDL_ON_TABLE = re.compile(r"\(on-?table (\w{1,32})\)")


def _problem(prompt: str) -> _BlocksProblem | None:
    """Return the last problem of a prompt, or None if it states none or one that cannot be."""
    start = prompt.rfind("initial conditions")
    pddl = prompt.rfind("(:init")
    if start < pddl:
        return _possible(*_pddl(prompt[pddl:]), mystery=False)
    middle = prompt.find("goal", start)
    if start < 0 or middle < 0:
        return None
    given = _on(prompt[start:middle])
    goal = _on(prompt[middle:].split("\n", 1)[0])
    tabled = ["".join(names).lower() for names in _ON_TABLE.findall(prompt, start, middle)]
    return _possible(given, goal, tabled, mystery=" craves " in prompt[start:])


def _pddl(text: str) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...], list[str]]:
    """Return what stands on what at first, what must in the end, and the blocks on the table, of a problem in PDDL."""
    given, _, goal = text.lower().partition("(:goal")
    pairs = [tuple((a, b) for a, b in _PDDL_ON.findall(part)) for part in (given, goal)]
    return pairs[0], pairs[1], _PDDL_ON_TABLE.findall(given)


def _possible(
    given: tuple[tuple[str, str], ...], goal: tuple[tuple[str, str], ...], tabled: list[str], *, mystery: bool
) -> _BlocksProblem | None:
    """Return the problem, None if it asks for nothing or cannot be."""
    below = dict(given) | dict.fromkeys(tabled, _TABLE)
    standing = [other for other in below.values() if other]
    possible = (
        0 < len(below) == len(given) + len(tabled) <= MOST_BLOCKS  # each block stands in one place
        and len(set(standing)) == len(standing)  # and bears at most one
        and {*standing, *(block for pair in goal for block in pair)} <= below.keys()
    )
    return _BlocksProblem(World(below), goal, mystery) if goal and possible else None


def _on(text: str) -> tuple[tuple[str, str], ...]:
    """Return which block `text` says to be on which other."""
    return tuple(((a + b).lower(), (c + d).lower()) for a, b, c, d in _ON.findall(text))


_FLAGS = re.VERBOSE | re.IGNORECASE | re.ASCII
_PLAIN_DEED = re.compile(
    r"""
    \b (?: (pick (?:[ _-]?up\b | (?=[ ][\w ]{1,30}[ ]up\b)) | grab\b | lift\b)
    | (unstack\b | remove\b | take\b)
    | (put (?:[ _-]?down\b | \b) | place\b | set\b | lay\b | drop\b | lower\b | stack\b)
    | (move\b) )
    """,
    _FLAGS,
)
"""Groups: takes a block, takes it off another, puts it down or on another, moves it."""
_MYSTERY_DEED = re.compile(r"\b (?: (attack) | (feast) | (succumb | overcome) | (?!) () ) \b", _FLAGS)
_PLAIN_TALK = re.compile(
    r"""
    \b (?: (?: pick | grab | lift | unstack | stack | put | drop | lower | set | lay ) (?: p?(?:ing|ed|s) | up | down )?
    | (?: remov | tak | plac | mov ) (?: e[ds]? | en | ing ) ) (?![a-z])
    """,
    _FLAGS,
)
_MYSTERY_TALK = re.compile(r"\b (?: attack | feast | succumb | overcom )", _FLAGS)
_STACKS = frozenset({"stack", "overcome"})
_LEAD = re.compile(
    r"""
    [\W_]{0,16}+
    (?: ( (?: (?: here | is | are | the | my | a | so | thus | final | complete | full | valid | correct | s )
        [ '’] ){0,4}+ (?: plan | answer | solution | sequence | actions ) (?: [ ](?:is|are) )? (?: [ ]as[ ]follows )? )
        ["'*_]{0,4} [:>=] [\W_]{0,8}+ )?
    (?: (?: step | action | move(?=\W{0,3}[0-9]) ) \b [\W_]{0,6}+ )?
    (?: ([0-9]{1,3}) (?: \.[0-9]{1,6} (?=:) )? (?![0-9]) [\W_]{0,8}+ )?
    (?: (?: step | action | first(?:ly)? | then | next | now | finally | last(?:ly)? | and | so | after[ ]that
        | second(?:ly)? | third(?:ly)? ) \b [\W_]{0,8}+ ){0,3}+
    (?: (i | we) [ ] (?: (?: will | then | first | next | now ) [ ] )? )?+
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_ARGUMENTS = frozenset({
    "the", "block", "object", "from", "on", "top", "of", "onto", "to", "off", "table", "down", "up", "it", "a",
    "another", "with",
})  # fmt: skip
_WORD = re.compile(r"\w+")
_ASIDE = re.compile(r" \([^()]*\)")
_DENIED = frozenset({"not", "cannot", "impossible", "invalid", "can", "t", "if", "unable"})
_HEADINGS = frozenset({"plan", "steps", "actions", "sequence", "solution", "summary"})
_EMPHASIS = " \t\r*_"


def _is_heading(line: str) -> bool:
    """Say whether a line announces a plan: `[PLAN]`, `### Plan`, `**Summary**`, "so the steps are:"."""
    bare = line.strip(_EMPHASIS)
    if not (bare.startswith(("#", "[")) or bare.endswith(":") or line.startswith("**")):
        return False
    words = frozenset(_WORD.findall(bare.lower()))
    return not words.isdisjoint(_HEADINGS) and "end" not in words


class _PlanLine(NamedTuple):
    """The steps of a line, whether it says more of deeds, and whether someone is said to take them ("we pick up")."""

    steps: tuple[_PlanStep, ...] = ()
    more: bool = False
    told: bool = False


def _read_line(line: str, problem: _BlocksProblem) -> _PlanLine:
    """Return what a line says of the blocks."""
    blocks = problem.world.below
    deed_words, talk = (_MYSTERY_DEED, _MYSTERY_TALK) if problem.mystery else (_PLAIN_DEED, _PLAIN_TALK)
    if talk.search(line) is None:
        return _PlanLine(more=len(line) >= LIMIT)
    steps: list[_PlanStep] = []
    at, more, told = 0, len(line) >= LIMIT, False
    deeds = list(deed_words.finditer(line))
    for deed, end in zip(deeds, [*(later.start() for later in deeds), len(line)][1:], strict=True):
        lead = _LEAD.match(line, at)
        if lead is None or lead.end() != deed.start():
            break
        first = lead[1] is not None or (lead[2] is not None and int(lead[2]) == 1)
        told |= lead[3] is not None
        arguments, at = _arguments(line, deed.end(), end, blocks)
        step = _step(deed, arguments, first, blocks)
        if step is None:
            more = True
            break
        steps.append(step)
    rest = _WORD.findall(line[at:].lower())
    # "Stack a on b is not possible" talks of a step and takes none.
    if steps and not _DENIED.isdisjoint(rest):
        steps.pop()
    talks = talk.search(_ASIDE.sub("", line[at:])) is not None and _DENIED.isdisjoint(rest)
    return _PlanLine(tuple(steps), more or talks, told)


def _arguments(line: str, start: int, end: int, blocks: Mapping[str, str]) -> tuple[list[str], int]:
    """Return the words that belong to a deed, asides left out, and where they end."""
    words: list[str] = []
    aside = 0
    at = start
    for match in _PIECE.finditer(line, start, end):
        piece = match[0].lower().removesuffix("_block").removeprefix("block_")
        if piece == "(" and words and not _PLACE.match(line, match.end()):
            aside += 1
        elif piece == ")":
            aside = max(0, aside - 1)
        elif piece == ":" and (not words or line[match.start() - 1] == '"'):  # "stack: a, b", or a key of JSON
            pass
        elif piece in ".;:→":
            break
        elif not aside and piece != "(":
            if piece not in blocks and piece not in _ARGUMENTS:
                break
            words.append(piece)
        at = match.end()
    return words, at


_PLACE = re.compile(r"(?:from|onto|on|off|to)\b", _FLAGS)
_PIECE = re.compile(r"\w+|[().;:→]")


def _step(deed: re.Match[str], words: list[str], first: bool, blocks: Mapping[str, str]) -> _PlanStep | None:
    """Return the step that these words tell, None if they tell none."""
    takes, takes_off, puts, _ = deed.groups()
    named = [word for word in words if word in blocks]
    in_hand = "it" in words and (not named or words.index("it") < words.index(named[0]))
    if not named and not in_hand:
        return None
    moved, *others = (None, *named) if in_hand else named
    other = others[0] if others else None
    if takes:
        informal = other is not None and takes.lower() in ("grab", "lift")
        return _PlanStep("unstack" if informal else "pick", moved, other, first)
    if takes_off:
        onto_table = other is None and "table" in words and deed[0].lower() != "unstack"
        return _PlanStep("pick" if onto_table else "unstack", moved, other, first)
    if puts:
        stacks = other is not None or (puts.lower() in _STACKS and "table" not in words)
        if stacks and other is None:
            return None
        return _PlanStep("stack" if stacks else "put", moved, other, first)
    return _PlanStep("move", moved, _destination(words, blocks), first)


def _destination(words: list[str], blocks: Mapping[str, str]) -> str:
    """Return where a block is moved: the last place named after "to" or "onto", if these are said, else after it."""
    ways = [i for i, word in enumerate(words) if word in ("to", "onto")]
    places = [word for word in words[ways[-1] if ways else 1 :] if word in blocks or word == "table"]
    on_table = not places or "table" in places or (not ways and sum(word in blocks for word in words) == 1)
    return _TABLE if on_table else places[-1]


def _after(world: World, step: _PlanStep) -> World | None:
    """Return the world after a step, None if it is not possible."""
    below, hand = world
    deed, block, other, _ = step
    if block is None:
        block = hand
    if block is None:
        return None
    if deed == "move":
        taken = world if hand == block else _taken(world, block, below.get(block))
        return taken and _put(taken, block, other)
    if deed in ("put", "stack"):
        return _put(world, block, _TABLE if deed == "put" else other)
    under = below.get(block)
    return _taken(world, block, _TABLE if deed == "pick" else under if other is None and under else other)


def _taken(world: World, block: str, under: str | None) -> World | None:
    """Return the world with a block in the hand that stood on another, or on the table; None if it cannot be taken."""
    if world.hand is not None or not world.clear(block) or world.below[block] != under:
        return None
    return World({b: u for b, u in world.below.items() if b != block}, block)


def _put(world: World, block: str, onto: str | None) -> World | None:
    """Return the world with the block in the hand put down; None if that is not possible."""
    if onto is None or world.hand != block or not (onto == _TABLE or world.clear(onto)):
        return None
    return World({**world.below, block: onto})


class _Plan(NamedTuple):
    """How far a plan has come: its world, its steps, whether one of them was not possible, the last of them, whether
    more was said of deeds, and whether its world is known.
    """

    world: World
    steps: int = 0
    broken: bool = False
    last: _PlanStep | None = None
    more: bool = False
    known: bool = True

    def solves(self, problem: _BlocksProblem) -> bool:
        holds = all(self.world.below.get(block) == other for block, other in problem.goal)
        return holds and self.known and not self.broken


class _BlocksPlanState(TextState):
    def __init__(self, rule: BlocksPlan, problem: _BlocksProblem) -> None:
        self._rule = rule
        self._problem = problem
        self._line = ""
        self._heading = False  # since the last step
        self._thinks = False
        self._ordered = False  # steps are told as orders: what "we" do is only talk of them
        self._plan = _Plan(problem.world)
        self._broken_plans = 0
        self._broken_answers = 0  # of these, not in thought
        self._reached_ever = False

    def _read(self, text: str) -> Evidence:
        lines, self._line = cut_lines(self._line, text)
        for line in lines:
            self._take(line)
        _, steps, broken, *_, known = self._plan
        reached = self._plan.solves(self._problem) if known or broken else math.nan
        dead = self._rule.first_plan_counts and self._broken_answers > 0
        return evidence(steps, broken, self._broken_plans, reached, self._reached_ever, dead=dead)

    def _take(self, line: str) -> None:
        problem = self._problem
        for mark in marks(line):
            self._thinks = mark["open"] is not None
            self._plan = _Plan(problem.world)
        said = _read_line(line, problem)
        if said.told and self._ordered:
            said = _PlanLine(more=True)
        elif said.steps and not said.told and not self._ordered:
            self._ordered, self._heading = True, self._heading or self._plan.steps > 0
        for step in said.steps:
            self._plan = self._carry_out(self._plan, step)
            self._reached_ever |= self._plan.solves(problem)
            self._heading = False
        if said.more:
            self._plan = self._plan._replace(more=True)
        if not said.steps and _is_heading(line):
            self._heading = True

    def _carry_out(self, plan: _Plan, step: _PlanStep) -> _Plan:
        begins = self._heading or step.first
        if plan.last is not None and step[:3] == plan.last[:3] and not begins:
            return plan
        world = _after(plan.world, step) if plan.known else None
        if begins or (world is None and plan.solves(self._problem)):
            anew = _after(self._problem.world, step)
            if anew is not None or world is None:
                plan, world = _Plan(self._problem.world), anew
        if world is not None:
            return plan._replace(world=world, steps=plan.steps + 1, last=step)
        if plan.more or not plan.known:
            return plan._replace(steps=plan.steps + 1, last=step, known=False)
        self._broken_plans += not plan.broken
        self._broken_answers += not plan.broken and not self._thinks
        return plan._replace(steps=plan.steps + 1, broken=True, last=step)
