r"""Programs: does the function that was asked for stand in the text, or another?

A task for a program names the function that its tests call, and a program that defines another one fails them all,
however right it is; that shows within the first line of code.

The name is the parameter `function`, or it is found in the prompt: "a function add_all(numbers)", "def add_all(",
"the function `add_all`", "a function called add_all". A prompt that names several is ambiguous.

A name is *defined* by a line without indentation: `def name`, `async def name`, `class name` or `name =`. Other
functions may help the one asked for, so they count against a text only while it is missing. Blocks are those in which
the final filter `tests` looks for the program: closed, and marked as Python or not marked; one that is not marked
counts where it defines a function or class. What stands in the thinking does not count, nor does anything before.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from keyword import iskeyword
from typing import NamedTuple

from msifr_policy.filters.programs import DEFINED, is_python
from msifr_policy.reading.blocks import BlockReader, Part
from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence

LONGEST = 64
"""Characters of a function's name."""
REACH = 20_000
"""Characters of a prompt that are searched, from its end."""


class Program(Rule, frozen=True):
    """Looks for the definition of a function called `function`; None is the one that the prompt names.

    The verdict is always UNKNOWN: what counts may be a block that is still to come. Raises `InputError` for what
    cannot be a name.
    """

    name = "program"
    version = "3"
    columns = ("other_name", "closed_without", "blocks")
    """`other_name`: 1 if functions are defined, but not the one asked for, 0 once it is, NaN before any is;
    `closed_without`: 1 if no closed block defines it, 0 if one does, NaN before one is closed; `blocks`: closed blocks.
    All NaN if no name is asked for.
    """
    function: str | None = None

    def __post_init__(self) -> None:
        name = self.function
        self._check(
            "function",
            name is None or (len(name) <= LONGEST and name.isidentifier() and not iskeyword(name)),
            f"be a name of up to {LONGEST} characters",
        )

    def _state(self, prompt: str) -> TextState:
        name = self.function or asked_for(prompt)
        return Silence(self.columns) if name is None else _ProgramState(name)


_NAME = rf"[^\W\d]\w{{0,{LONGEST - 1}}}+(?!\w)"
_ASKED = re.compile(
    rf"""
    \b(?: function | def )\s{{1,4}}+ (?: ({_NAME})\( | `({_NAME})[`(] )
    | \bfunction\s{{1,4}}+ (?: called | named )\s{{1,4}}+ ['"*`]{{0,2}}+
      (?!(?: after|at|by|from|on|once|to|when )\b) ({_NAME})
    | \b(?: called | named )\s{{1,4}}+ (?: ({_NAME})\( | `({_NAME})[`(] )
    """,
    re.VERBOSE | re.IGNORECASE,
)


# Attempts at one prompt come together; the prompt is searched once.
@lru_cache(256)
def asked_for(prompt: str) -> str | None:
    """Return the name of the function that a prompt asks for, None if it names none or several."""
    found = {"".join(groups) for groups in _ASKED.findall(prompt, max(0, len(prompt) - REACH))}
    names = [name for name in found if not iskeyword(name)]
    return names[0] if len(names) == 1 else None


class _Code(NamedTuple):
    """What the text so far comes to.

    Whether it is `thinking`; whether the name is `defined` anywhere, and `other` functions are; `blocks` closed, and
    whether one `kept` the name; of the open block, whether it `holds` the name, and any `code`.
    """

    thinking: bool = False
    defined: bool = False
    other: bool = False
    blocks: int = 0
    kept: bool = False
    holds: bool = False
    code: bool = False


def _after(code: _Code, part: Part, asked: str, *, finished: bool) -> _Code:
    """Return what the text comes to with one more part; an unfinished one may begin a name that it will be."""
    if part.kind in ("thinks", "answers"):
        return _Code(thinking=part.kind == "thinks")
    if code.thinking:
        return code
    if part.kind == "closes" and part.fence is not None:
        language = part.fence.language
        if is_python(language) or (language == "" and code.code):
            return code._replace(blocks=code.blocks + 1, kept=code.kept or code.holds)
    if part.kind == "opens":
        return code._replace(holds=False, code=False)
    match = DEFINED.match(part.line)
    if match is None:
        return code
    kind, name, assigned = match.groups()
    if not finished and match.end() == len(part.line) and name and asked.startswith(name):
        return code
    if asked in (name, assigned):
        return code._replace(defined=True, holds=True, code=True)
    return code._replace(other=code.other or kind == "def", code=code.code or name is not None)


class _ProgramState(TextState):
    def __init__(self, asked: str) -> None:
        self._asked = asked
        self._reader = BlockReader()
        self._code = _Code()

    def _read(self, text: str) -> Evidence:
        for part in self._reader.feed(text):
            self._code = _after(self._code, part, self._asked, finished=True)
        code = self._code
        for part in self._reader.rest():
            code = _after(code, part, self._asked, finished=False)
        other = 0.0 if code.defined else 1.0 if code.other else math.nan
        without = float(not code.kept) if code.blocks else math.nan
        return evidence(other, without, code.blocks)
