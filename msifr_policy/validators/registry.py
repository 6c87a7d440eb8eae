"""Names to validators: the built-in ones and those other packages offer as entry points.

A policy file holds validators as (name, version, parameters), never as code. A package adds its own by an
entry point in the group `msifr_policy.validators` whose object is a validator class (a frozen
`msgspec.Struct` that follows `base.Validator`).
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any, cast

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.validators.answer import AnswerMarker
from msifr_policy.validators.arithmetic import Arithmetic
from msifr_policy.validators.base import Validator
from msifr_policy.validators.length import Length
from msifr_policy.validators.numbers import Numbers
from msifr_policy.validators.repetition import Repetition

__all__ = ["ValidatorSpec", "default_validator", "default_validators", "describe", "make_validator", "validator_names"]

_GROUP = "msifr_policy.validators"
_BUILT_IN: tuple[type[Any], ...] = (Arithmetic, Repetition, Length, AnswerMarker, Numbers)


class ValidatorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A validator as data: what a policy file stores."""

    name: str
    version: str
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


@cache
def _classes() -> dict[str, type[Any]]:
    found = {cls().name: cls for cls in _BUILT_IN}
    for point in entry_points(group=_GROUP):
        cls = point.load()
        name = cls().name
        if name in found:
            raise InputError(f"two validators are named {name!r}", where=f"entry point {point.value}")
        found[name] = cls
    return found


def validator_names() -> tuple[str, ...]:
    """Return the names of all validators that can be made, sorted."""
    return tuple(sorted(_classes()))


def default_validators() -> tuple[Validator, ...]:
    """Return the built-in rule validators with their default parameters."""
    return tuple(cast(Validator, cls()) for cls in _BUILT_IN)


def default_validator(name: str) -> Validator:
    """Return the validator of that name, built-in or plugged in, with default parameters.

    Raises `InputError` for an unknown name.
    """
    return cast(Validator, _class(name)())


def _class(name: str) -> type[Any]:
    cls = _classes().get(name)
    if cls is None:
        raise InputError(
            f"unknown validator {name!r}", remedy=f"known: {', '.join(validator_names())}; a plug-in may be missing"
        )
    return cls


def make_validator(spec: ValidatorSpec) -> Validator:
    """Make the validator a spec names.

    Raises `InputError` for an unknown name, parameters that do not fit, or another version than the
    installed one: evidence of another version is not what was certified.
    """
    try:
        validator = msgspec.convert(spec.parameters, _class(spec.name))
    except msgspec.ValidationError as error:
        raise InputError(str(error), where=f"parameters of validator {spec.name!r}") from None
    if validator.version != spec.version:
        raise InputError(
            f"validator {spec.name!r} is version {validator.version} here but {spec.version} in the policy",
            remedy="fit the policy again with this version",
        )
    return cast(Validator, validator)


def describe(validator: Validator) -> ValidatorSpec:
    """Return the spec that makes `validator` again."""
    # Through JSON, so that a spec equals what is read back from a file.
    parameters = msgspec.json.decode(msgspec.json.encode(validator))
    return ValidatorSpec(validator.name, validator.version, parameters)
