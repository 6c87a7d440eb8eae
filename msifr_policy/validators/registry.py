"""Names to validators: the built-in ones, those other packages offer as entry points, and classes in no package.

A policy file holds validators as (name, version, parameters), never as code. A package adds its own by an
entry point in the group `msifr_policy.validators`: its name is that of the validator, its object a validator class
(a frozen `msgspec.Struct` that follows `base.Validator`). It is loaded when it is asked for, not before. Of a class
that no entry point offers, a policy file also holds where it is defined, as MODULE:CLASS.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from msifr_policy import validators as rules
from msifr_policy.errors import InputError
from msifr_policy.validators.base import Rule, Validator
from msifr_policy.validators.own import imported, imported_class, name_of

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_DEFAULT: tuple[type[Rule], ...] = (
    rules.Arithmetic, rules.Repetition, rules.Length, rules.AnswerMarker, rules.Numbers,
)  # fmt: skip
_ALL: tuple[type[Rule], ...] = (
    *_DEFAULT, rules.Magnitude, rules.Phrases, rules.Language, rules.Logprobs, rules.Question, rules.JsonText,
    rules.BlocksPlan, rules.Countdown, rules.Brackets, rules.WordOrder,
)  # fmt: skip
_TOLD: tuple[type[Rule], ...] = (
    rules.JsonSchemaPrefix, rules.Regular, rules.Grammar, rules.Program, rules.Words, rules.Hidden, rules.History,
)  # fmt: skip
"""Rules that say nothing until the policy, the prompt, or whoever starts the attempt tells them something."""
_BUILT_IN = {rule.name: rule for rule in (*_ALL, *_TOLD)}


class ValidatorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A validator as data: what a policy file stores.

    defined_in: MODULE:CLASS of a validator that is neither built in nor offered by a package, else left out.
    """

    name: str
    version: str
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    defined_in: str | UnsetType = UNSET


@cache
def plug_ins() -> dict[str, EntryPoint]:
    """Return the entry points of other packages by name; they are looked for once.

    Raises `InputError` for one that has the name of another, or of a built-in validator.
    """
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group="msifr_policy.validators"):
        if point.name in found or point.name in _BUILT_IN:
            raise InputError(f"two validators are named {point.name!r}", where=f"entry point {point.value}")
        found[point.name] = point
    return found


def validator_names() -> tuple[str, ...]:
    """Return the names of all validators that can be made, sorted."""
    return tuple(sorted({*_BUILT_IN, *plug_ins()}))


def default_validators() -> tuple[Validator, ...]:
    """Return the rules that any text can be read by: arithmetic, repetition, length, answer markers, numbers."""
    return tuple(rule() for rule in _DEFAULT)


def built_in_validators() -> tuple[Validator, ...]:
    """Return all built-in validators that need not be told what is asked for, with default parameters."""
    return tuple(rule() for rule in _ALL)


def default_validator(name: str) -> Validator:
    """Return the validator of that name, built-in or plugged in, with default parameters.

    One whose default is None speaks of prompts that bring the parameter. Raises `InputError` for an unknown name, or a
    validator that needs a parameter.
    """
    if needed := _needed(_class(name)):
        raise InputError(
            f"validator {name!r} has no default for {', '.join(needed)}",
            remedy="give the validator with its parameters",
        )
    return validator_with(name, {})


def _needed(cls: type[Any]) -> list[str]:
    """Return the names of the parameters that have no default."""
    return [field.name for field in msgspec.structs.fields(cls) if field.required]


def _class(name: str) -> type[Any]:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    point = plug_ins().get(name)
    if point is None:
        raise InputError(
            f"unknown validator {name!r}", remedy=f"known: {', '.join(validator_names())}; a plug-in may be missing"
        )
    where = f"entry point {point.value}"
    try:
        return _checked(point.load(), where)
    except (ImportError, AttributeError) as error:
        raise InputError(f"cannot be loaded: {error}", where=where) from error


def _checked(cls: Any, where: str) -> type[Any]:
    if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct)):
        raise InputError("is no class of msgspec.Struct", where=where, remedy="see validators.base.Validator")
    return cls


def own_validator(named: str, parameters: dict[str, Any] | None = None) -> Validator:
    """Return the validator of the class MODULE:CLASS with these parameters, the rest at their defaults.

    Raises `InputError` for a class that is not there, is no validator, or has the name of another, and for parameters
    that do not fit.
    """
    where = f"validator {named}"
    cls = _checked(imported(named, where=where), where)
    if not parameters and (needed := _needed(cls)):
        raise InputError(f"has no default for {', '.join(needed)}", where=where, remedy="give it with its parameters")
    validator = _made(cls, parameters or {}, where)
    if validator.name in _BUILT_IN:
        raise InputError(f"a built-in validator is named {validator.name!r}", where=where, remedy="rename it")
    return validator


def _made(cls: type[Any], parameters: dict[str, Any], where: str) -> Validator:
    try:
        validator = msgspec.convert(parameters, cls)
    except msgspec.ValidationError as error:
        raise InputError(str(error), where=f"parameters of {where}") from None
    if not isinstance(validator, Validator):
        raise InputError("lacks one of name, version, columns, start", where=where)
    return validator


def validator_with(name: str, parameters: dict[str, Any]) -> Validator:
    """Return the validator of that name with these parameters, the rest at their defaults.

    Raises `InputError` for an unknown name or parameters that do not fit.
    """
    validator = _made(_class(name), parameters, f"validator {name!r}")
    if validator.name != name:
        raise InputError(
            f"entry point {name!r} offers a validator named {validator.name!r}", remedy="give both one name"
        )
    return validator


def make_validator(spec: ValidatorSpec) -> Validator:
    """Make the validator a spec names.

    Raises `InputError` for an unknown name, a class that is not where it was, parameters that do not fit, or another
    version than the installed one: evidence of another version is not what was certified.
    """
    if spec.defined_in is UNSET:
        validator = validator_with(spec.name, spec.parameters)
    else:
        where = f"validator {spec.name!r} of {spec.defined_in}"
        validator = _made(_checked(imported_class(spec.defined_in, where=where), where), spec.parameters, where)
        if validator.name != spec.name:
            raise InputError(f"is named {validator.name!r} now", where=where, remedy="fit the policy again")
    if validator.version != spec.version:
        raise InputError(
            f"validator {spec.name!r} is version {validator.version} here but {spec.version} in the policy",
            remedy="fit the policy again with this version",
        )
    return validator


def describe(validator: Validator) -> ValidatorSpec:
    """Return the spec that makes `validator` again. Raises `InputError` for a class with the name of a built-in one."""
    # Through JSON, so that a spec equals what is read back from a file.
    parameters = msgspec.json.decode(msgspec.json.encode(validator))
    cls = type(validator)
    if _BUILT_IN.get(validator.name) is cls or _plugged_in(validator.name, cls):
        return ValidatorSpec(validator.name, validator.version, parameters)
    if validator.name in _BUILT_IN:
        raise InputError(f"a built-in validator is named {validator.name!r}", where=name_of(cls), remedy="rename it")
    return ValidatorSpec(validator.name, validator.version, parameters, name_of(cls))


def _plugged_in(name: str, cls: type[Any]) -> bool:
    """Say whether an entry point of that name offers this class."""
    point = plug_ins().get(name)
    return point is not None and point.load() is cls
