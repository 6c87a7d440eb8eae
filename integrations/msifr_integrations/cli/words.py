"""What words of the command line stand for: schedules, validators, final filters."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, get_args

import msgspec

from msifr_integrations.cli.options import gathered
from msifr_policy.errors import InputError
from msifr_policy.evidence.exits import ASKED, ExitPlan
from msifr_policy.evidence.schedule import EveryUnits, Geometric, NewlineSteps, Schedule, Unit
from msifr_policy.filters import FinalFilter, FunctionFilter, JsonSchema, MathVerify, ScoreThreshold, UnitTests
from msifr_policy.filters import final_filter as usual_filter
from msifr_policy.filters.unit_tests import FindProgram
from msifr_policy.reading.json_find import Find
from msifr_policy.testing import check_validator
from msifr_policy.validators import (
    Validator,
    built_in_validators,
    default_validator,
    default_validators,
    imported,
    own_validator,
    validator_names,
    validator_with,
)

T = TypeVar("T")

SCHEDULES = "every:N[:UNIT], geometric:FIRST:RATIO[:UNIT] or newline[:MIN_CHARACTERS]; UNIT is characters or tokens"
FILTERS = (
    "numeric, choice, exact, math[:SECONDS], json-schema[:FILE][:whole|fence|object], "
    "tests[:fence|whole][:SECONDS][:unconfined], score:MODULE:FUNCTION:THRESHOLD or function:MODULE:FUNCTION"
)


def parse_schedule(text: str, option: str = "--schedule") -> Schedule:
    """Return the schedule a word stands for. Raises `InputError` with the forms known."""
    kind, *rest = text.split(":")
    try:
        if kind == "every" and 1 <= len(rest) <= 2:
            return EveryUnits(int(rest[0]), _unit(rest[1:]))
        if kind == "geometric" and 2 <= len(rest) <= 3:
            return Geometric(int(rest[0]), float(rest[1]), _unit(rest[2:]))
        if kind == "newline" and len(rest) <= 1:
            return NewlineSteps(*map(int, rest))
    except InputError:
        raise
    except ValueError:
        pass
    raise InputError(
        f"unknown schedule {text!r}", where=option, remedy=f"{'auto, ' * (option == '--schedule')}{SCHEDULES}"
    )


def _unit(words: list[str]) -> Unit:
    if not words:
        return "characters"
    if words[0] in ("tokens", "characters"):
        return words[0]  # type: ignore[return-value]
    raise InputError(f"unknown unit {words[0]!r}", where="--schedule", remedy="tokens or characters")


def parse_validators(text: str) -> tuple[Validator, ...]:
    """Return the validators that words separated by commas stand for.

    `default` and `all` are the usual rules and all that need no parameter; names stand for validators with default
    parameters; MODULE:CLASS for one of the user's own, which is imported and checked; `FILE.json` holds a list of
    {"name": …, "parameters": {…}}, names as before. Built-in ones and plug-ins come in their usual order, then the
    user's own. Raises `InputError` for an unknown name, a validator named twice, one that breaks the contract of
    validators, or a file or parameters that do not fit.
    """
    if text.endswith(".json"):
        named = _read_json(text, list[_Named], "list of validators")
        return _distinct([_named_validator(each.name, each.parameters) for each in named])
    words = [word.strip() for word in text.split(",") if word.strip()]
    own = [_named_validator(word, {}) for word in words if ":" in word]
    names = {name for word in words if ":" not in word for name in _names(word)}
    unknown = names - set(validator_names())
    if unknown or not words:
        raise InputError(
            f"unknown validators {', '.join(sorted(unknown)) or repr(text)}",
            where="--validators",
            remedy=f"known: default, all, MODULE:CLASS of your own, {', '.join(validator_names())}",
        )
    usual = {rule.name: rule for rule in built_in_validators()}
    ordered = [*(name for name in usual if name in names), *sorted(names - set(usual))]
    return _distinct([*map(default_validator, ordered), *own])


def _names(word: str) -> list[str]:
    rules = {"default": default_validators, "all": built_in_validators}.get(word)
    return [word] if rules is None else [rule.name for rule in rules()]


def _named_validator(name: str, parameters: dict[str, Any]) -> Validator:
    """Return a validator by its name, or one of the user's own by MODULE:CLASS, checked."""
    if ":" not in name:
        return validator_with(name, parameters)
    validator = own_validator(name, parameters)
    try:
        check_validator(validator)
    except AssertionError as error:
        raise InputError(str(error), where=f"--validators {name}") from error
    return validator


def _distinct(validators: list[Validator]) -> tuple[Validator, ...]:
    if twice := [name for name, times in Counter(each.name for each in validators).items() if times > 1]:
        raise InputError(f"two validators are named {', '.join(twice)}", where="--validators")
    return tuple(validators)


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


def _read_json(path: str, kind: type[T], what: str) -> T:
    """Return the JSON in a file. Raises `InputError`, saying that no `what` can be read, if it is of another kind."""
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"no {what} can be read: {error}", where=path) from error


@dataclass(frozen=True)
class EvidenceOptions:
    """Where and by what partial text is read, in words; checked when they are given."""

    schedule: str = "auto"
    validators: str = "default"

    def __post_init__(self) -> None:
        _ = self.checkpoints, self.rules

    @property
    def checkpoints(self) -> Schedule | None:
        """The schedule, None for the automatic one."""
        return None if self.schedule == "auto" else parse_schedule(self.schedule)

    @cached_property
    def rules(self) -> tuple[Validator, ...]:
        """The validators."""
        return parse_validators(self.validators)


evidence_options = gathered(
    EvidenceOptions,
    "evidence",
    schedule=f"Where checkpoints are: auto (geometric, scaled to the median length), {SCHEDULES}.",
    validators="What to read partial text by: default, all, names "
    f"({', '.join(validator_names())}) and MODULE:CLASS of your own, separated by commas, or FILE.json with a list of "
    "names and parameters.",
)


@dataclass(frozen=True)
class ExitOptions:
    """Where and how answers are forced in shadow, in words; checked when they are given."""

    record_exits: str | None = None
    exit_every: int = 1
    exit_prompt: str = ASKED
    exit_tokens: int = 32

    def __post_init__(self) -> None:
        if self.plan is None and (self.exit_every, self.exit_prompt, self.exit_tokens) != (1, ASKED, 32):
            raise InputError(
                "say how answers are forced, and none are",
                where="--exit-every, --exit-prompt and --exit-tokens",
                remedy="add --record-exits SCHEDULE",
            )

    @property
    def plan(self) -> ExitPlan | None:
        """The plan, None if no answers are forced."""
        if self.record_exits is None:
            return None
        schedule = parse_schedule(self.record_exits, "--record-exits")
        return ExitPlan(schedule=schedule, every=self.exit_every, prompt=self.exit_prompt, tokens=self.exit_tokens)


def parse_filter(text: str, answer: str = "") -> FinalFilter:
    """Return the final filter a word stands for; `answer` says where it finds the answer, "" where it usually does.

    Raises `InputError` with the forms known, and where the filter cannot work here.
    """
    kind, *words = text.split(":")
    try:
        if kind in ("numeric", "choice", "exact") and not words:
            return usual_filter(kind, answer)
        if kind == "math" and len(words) <= 1:
            place = answer or "auto"
            return MathVerify(answer=place, seconds=float(words[0])) if words else MathVerify(answer=place)
        if answer:
            return usual_filter(text, answer)  # which refuses it
        if kind == "json-schema":
            options = {"find": words.pop()} if words and words[-1] in get_args(Find) else {}
            return JsonSchema(_read_json(":".join(words), dict[str, Any], "schema") if words else None, **options)  # type: ignore[arg-type]
        if kind == "tests":
            return UnitTests(**dict(map(_tests_option, words)))
        if kind == "function" and len(words) == 2:
            return FunctionFilter(_function(*words), text)
        if kind == "score" and len(words) == 3:
            return ScoreThreshold(_function(*words[:2]), float(words[2]), ":".join(words[:2]))
    except InputError:
        raise
    except ValueError:
        pass
    raise InputError(f"unknown final filter {text!r}", where="--filter", remedy=FILTERS)


def _tests_option(word: str) -> tuple[str, Any]:
    """Return the option of the filter `tests` that a word stands for; raises ValueError for none."""
    if word in get_args(FindProgram):
        return "find", word
    return ("unconfined", True) if word == "unconfined" else ("seconds", float(word))


def _function(module: str, name: str) -> Callable[..., Any]:
    """Import a function of the user's, from the working folder too. Raises `InputError` if there is none."""
    where = f"--filter, {module}:{name}"
    function = imported(f"{module}:{name}", where=where)
    if not callable(function):
        raise InputError("is not a function", where=where)
    return function
