"""A check of your own validator: the contract of `validators.base`, in one line of a test.

    def test_my_validator():
        check_validator(MyValidator, prompts=["a prompt it works on"], texts=["a text it has something to say about"])

What does not hold raises an `AssertionError` that names the check, the text that shows it and what to do. The checks,
in this order:

* **declaration**: name, version and columns belong to the class; parameters cannot change and survive a policy file;
* **scores**: a `Verdict` and one finite float (or NaN) per column, on any text, also after an empty piece;
* **independence**: attempts that go on side by side do not see each other's text;
* **chunking**: the evidence does not depend on how the text is cut;
* **cost**: time in proportion to the length of the text, whatever it says.

A verdict may come back from DEAD: a loop may end. What must hold is that the final filter never accepts an attempt that
was called DEAD, and that is for traces to show.
"""

import gc
import math
import re
import sys
import time
from collections.abc import Sequence
from itertools import pairwise, zip_longest
from random import Random
from types import FunctionType, ModuleType
from typing import Any, NoReturn

import msgspec

from msifr_policy.validators import Evidence, Tokens, Validator, ValidatorSpec, ValidatorState, Verdict, describe

LONG = 20_000
"""Characters of a long text."""

_PIECE = 64
"""Characters of the pieces a long text is fed in: so many that reading all of it again each time shows."""
_TIMES = 8
"""A text of four times the length may take so many times as long: four and a margin; a quadratic cost takes 16."""
_TOO_SHORT = 0.01
"""Seconds that tell nothing."""
_HOSTILE = (
    "a", "A", " ", "\n", "\r\n", "\x00", "\ud800", "é", "字", "٣", "🙂", "0", "9", "1,234", "1.", "-", "_", "(", "[[",
    "{", "}", "[{(", '"', '{"', '{"a":[1,', "\\", "\\n", "\\u12", "\\frac{", "\\boxed{", "=", "1=", "1+", "1+1=3\n",
    "9/7*", "%", "#", "**", "...", ". ", "? ", ", ", "and ", "the answer is ", "I cannot ", "step 12: ",
    "a loop of text. ", "#### 1e9999\n", "1e-9999=10^9999\n",
)  # fmt: skip


def check_validator(
    validator: Validator | type[Any],
    *,
    prompts: Sequence[str] = ("", "Ann has 12 apples and gives 5 to Bob. How many are left?"),
    texts: Sequence[str] = (),
    seconds: float = 1.0,
) -> None:
    """Check a validator, or a class of validators with default parameters.

    `prompts` and `texts` are what it has something to say about, beside hostile ones; `seconds` of the processor are
    what a text of `LONG` characters may take.
    """
    validator = _declared(validator)
    prompts = prompts or ("",)
    units = tuple(filter(None, dict.fromkeys((*texts, *_HOSTILE))))
    draw = _seeded(len(units))
    mixtures = ["".join(draw.choices(units, k=draw.randint(1, 40))) for _ in range(40)]
    for prompt in prompts:
        for text in ("", *units):  # the plainest first, so that these are blamed
            _Attempt(validator, prompt, text)
        for one, other in pairwise(mixtures):
            _check_independence(validator, one, other, prompt)
        for seed, text in enumerate(("", *texts, *(unit * 40 for unit in _HOSTILE), *mixtures)):
            check_chunking(validator, text, prompt=prompt, seed=seed)
    for unit in units:
        check_cost(validator, unit, prompt=prompts[-1], seconds=seconds)


def check_chunking(validator: Validator, text: str, *, prompt: str = "", seed: int = 0) -> None:
    """Check scores, and that `text` in random pieces gives the evidence of one piece, at the end and half-way."""
    pieces = _cut(text, _seeded(seed))
    for part in (pieces[: len(pieces) // 2], pieces):
        cut, whole = _Attempt(validator, prompt, "", *part, ""), _Attempt(validator, prompt, "".join(part))
        if not same_evidence(cut.last, whole.last):
            what = f"pieces {_short(part)} give {cut.last}, their text as one piece {whole.last}"
            _fail(validator, "chunking", what, "keep what a later piece may still complete")


def same_evidence(one: Evidence, other: Evidence) -> bool:
    """Say whether two pieces of evidence are the same, NaN being the same as NaN."""
    return one.verdict == other.verdict and all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(one.scores, other.scores, strict=True)
    )


def check_cost(validator: Validator, unit: str, *, prompt: str = "", seconds: float = 1.0) -> None:
    """Check what `LONG` characters of the repeated `unit` cost: at most `seconds`, and four times a quarter of them."""
    text = (unit * (LONG // len(unit) + 1))[:LONG]
    short = long = math.inf
    for _ in range(5):  # other work on the machine only adds to it
        short = min(short, _seconds(validator, text[: LONG // 4], prompt))
        long = min(long, _seconds(validator, text, prompt))
        if long <= min(seconds, _TIMES * short + _TOO_SHORT):
            return
    what = f"{LONG} characters of {_short(unit)} take {long:.3g} s, a quarter of them {short:.3g} s"
    _fail(validator, "cost", what, "read each character once, and nothing of the text again")


def check_memory(
    validator: Validator, unit: str, *, prompt: str = "", characters: int = 50 * LONG, most: int = 1_500_000
) -> None:
    """Check that after so many `characters` of the repeated `unit` the state takes no more than `most` bytes.

    No part of `check_validator`, since it takes a long text to tell a memory that is bounded from one that is not.
    """
    state = validator.start(prompt)
    piece = (unit * (LONG // len(unit) + 1))[:LONG]
    for _ in range(characters // LONG):
        state.feed(piece, _tokens(piece))
    if (size := state_size(state)) > most:
        what = f"after {characters} characters of {_short(unit)} the state takes {size} bytes, more than {most}"
        _fail(validator, "memory", what, "forget what no later text depends on")


def state_size(state: object) -> int:
    """Return the bytes of a state and all it refers to, classes, functions and modules apart."""
    seen: set[int] = set()
    left, size = [state], 0
    while left:
        item = left.pop()
        if id(item) not in seen and not isinstance(item, type | ModuleType | FunctionType):
            seen.add(id(item))
            size += sys.getsizeof(item)
            left += gc.get_referents(item)
    return size


def _check_independence(validator: Validator, one: str, other: str, prompt: str) -> None:
    pieces = [[text[i : i + 7] for i in range(0, len(text), 7)] for text in (one, other)]
    alone = [_Attempt(validator, prompt, *row) for row in pieces]
    beside = _Attempt(validator, prompt), _Attempt(validator, prompt)
    for pair in zip_longest(*pieces):
        for attempt, piece in zip(beside, pair, strict=True):
            if piece is not None:
                attempt.feed(piece)
    for a, b in zip(alone, beside, strict=True):
        if not same_evidence(a.last, b.last):
            what = f"text {_short(a.text)} gives {a.last}, beside another attempt {b.last}"
            _fail(validator, "independence", what, "keep what a state has seen in that state alone")


class _Attempt:
    """A state that is fed, and its last evidence."""

    def __init__(self, validator: Validator, prompt: str, *pieces: str) -> None:
        self._validator = validator
        self.text = ""
        try:
            self._state: ValidatorState = validator.start(prompt)
        except Exception as error:
            self._refuse(f"start({_short(prompt)}) raises {error!r}", error)
        for piece in pieces:
            self.feed(piece)

    def feed(self, piece: str) -> None:
        self.text += piece
        try:
            evidence = self._state.feed(piece, _tokens(piece))
        except Exception as error:
            self._refuse(f"feed raises {error!r}", error)
        self.last = evidence
        columns = self._validator.columns
        if not (isinstance(evidence, Evidence) and isinstance(evidence.verdict, Verdict)):
            self._refuse(f"feed returns {evidence!r}, not Evidence with a Verdict")
        if not isinstance(evidence.scores, tuple) or len(evidence.scores) != len(columns):
            self._refuse(f"the scores {evidence.scores!r} are not one for each of {columns}")
        for column, score in zip(columns, evidence.scores, strict=True):
            if not isinstance(score, float) or math.isinf(score):
                self._refuse(f"{column} is {score!r}, not a finite float")

    def _refuse(self, what: str, cause: Exception | None = None) -> NoReturn:
        remedy = "take any text, and give NaN for what is not known"
        _fail(self._validator, "scores", f"after the text {_short(self.text)}: {what}", remedy, cause)


def _declared(validator: Validator | type[Any]) -> Validator:
    """Check what a validator says of itself; return it, or what its class makes."""
    try:
        made: Validator = validator() if isinstance(validator, type) else validator
    except TypeError as error:
        _fail(validator, "declaration", str(error), "pass one with its parameters", error)

    def require(fine: bool, what: str, remedy: str) -> None:
        if not fine:
            _fail(made, "declaration", what, remedy)

    whole = isinstance(made, Validator)
    require(whole, "it lacks one of name, version, columns, start", "see validators.base.Validator")
    config = getattr(made, "__struct_config__", None)
    require(config is not None and config.frozen, "it can be changed", "make it a msgspec.Struct with frozen=True")
    own = {"name", "version", "columns"} & set(getattr(made, "__struct_fields__", ()))
    require(not own, f"{', '.join(sorted(own))} can be set", "declare them as ClassVar, or without a type")
    name, version, columns = made.name, made.version, made.columns
    require(isinstance(name, str) and bool(re.fullmatch("[a-z_]+", name)), f"name is {name!r}", "use a-z and _")
    require(isinstance(version, str) and version != "", f"version is {version!r}", 'use a text such as "1"')
    named = isinstance(columns, tuple) and all(isinstance(column, str) and column for column in columns)
    distinct = named and 0 < len(set(columns)) == len(columns)
    require(distinct, f"columns are {columns!r}", "use a tuple of one or more different names")
    try:
        spec = msgspec.json.decode(msgspec.json.encode(describe(made)), type=ValidatorSpec)
        again = msgspec.convert(spec.parameters, type(made))
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        _fail(made, "declaration", f"a policy file loses its parameters: {error}", "use plain types", error)
    require(again == made, f"a policy file makes {again!r} of {made!r}", "use plain types")
    return made


def _fail(validator: Any, check: str, what: str, remedy: str, cause: Exception | None = None) -> NoReturn:
    named = validator.__name__ if isinstance(validator, type) else type(validator).__name__
    raise AssertionError(f"{named}, {check}: {what} ({remedy})") from cause


def _seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 (not for secrets)


def _cut(text: str, draw: Random) -> list[str]:
    """Cut a text at random, into empty pieces and single characters among others."""
    most = draw.choice([1, 2, 5, 40, 200])
    pieces, at = [], 0
    while at < len(text):
        size = draw.randint(0, most)
        pieces.append(text[at : at + size])
        at += size
    return pieces


def _tokens(piece: str) -> Tokens:
    """Return one token for each character, whose log-probability and state depend on it alone."""
    logprobs = tuple(-(ord(character) % 32) / 16 for character in piece)
    states = tuple((number, number / 2, number + 1) for number in logprobs)
    return Tokens(len(piece), logprobs, states, tuple((i, i + 1) for i in range(len(piece))))


def _seconds(validator: Validator, text: str, prompt: str) -> float:
    fed = [(piece, _tokens(piece)) for i in range(0, len(text), _PIECE) if (piece := text[i : i + _PIECE])]
    state = validator.start(prompt)
    start = time.process_time()
    for piece, tokens in fed:
        state.feed(piece, tokens)
    return time.process_time() - start


def _short(thing: object) -> str:
    shown = ascii(thing)
    return shown if len(shown) <= 300 else f"{shown[:200]} … {shown[-80:]}"
