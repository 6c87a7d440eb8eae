"""Parameters that a prompt brings along: the pattern, the schema or the name that this one prompt asks for.

A policy is one for all prompts, and so are its validators. A prompt may give any of their parameters another value, for
attempts at it alone; a parameter whose default is None stands for "the prompt's", and a rule that lacks it is silent.
The trace of an attempt keeps what its prompt gave, so that a replay sees what ran.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.policy import ANY, Parameters

if TYPE_CHECKING:
    from msifr_policy.filters.base import Prompt
    from msifr_policy.records.traces import Trace
    from msifr_policy.validators.base import Validator


def parameters_of(asked: Prompt | Trace) -> Parameters:
    """Return what a prompt gives to validators, or what the prompt of a trace gave.

    Its `schema` is for each validator that leaves a parameter `schema` open; one that a policy fixes for all prompts
    stays, as the final filter's does.
    """
    if asked.schema is None:
        return asked.parameters
    return {**asked.parameters, ANY: {"schema": asked.schema, **asked.parameters.get(ANY, {})}}


def for_prompt(validator: Validator, parameters: Parameters) -> Validator:
    """Return the validator for attempts at a prompt that gives these parameters, itself if there are none for it.

    Raises `InputError` for a parameter that it does not have or that does not fit.
    """
    if not parameters:
        return validator
    names: dict[str, str] = dict(zip(*_fields(type(validator)), strict=True))
    given = {
        name: value
        for name, value in parameters.get(ANY, {}).items()
        if name in names and getattr(validator, names[name]) is None
    }
    given |= parameters.get(validator.name, {})
    if not given:
        return validator
    where = f"parameters of validator {validator.name!r}"
    if unknown := sorted(given.keys() - names.keys()):
        known = ", ".join(names) or "none"
        raise InputError(f"there is no {', '.join(map(repr, unknown))}", where=where, remedy=f"known: {known}")
    try:
        made = _made(type(validator), msgspec.json.encode(validator), msgspec.json.encode(given))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(str(error), where=where) from error
    if (made.name, made.columns) != (validator.name, validator.columns):
        raise InputError("they change its name or columns", where=where, remedy="these are one for all prompts")
    return made


def check_parameters(validators: Iterable[Validator], prompt: Prompt) -> None:
    """Raise `InputError` if a prompt gives one of the validators a parameter that it lacks, or that does not fit it.

    Called before any token is spent; in flight that validator would only be silent. What is for validators that are
    not among these is left alone, and so is the prompt's `schema`: it belongs to the final filter, which checks it,
    and may be more than a validator can read.
    """
    for validator in validators:
        if validator.name in prompt.parameters:
            try:
                for_prompt(validator, {validator.name: prompt.parameters[validator.name]})
            except InputError as error:
                where = f"prompt {prompt.prompt_id!r}, {error.where}"
                raise InputError(error.what, where=where, remedy=error.remedy) from error


def _fields(cls: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of a record's fields in a file and in Python; a class that is no record has none."""
    return getattr(cls, "__struct_encode_fields__", ()), getattr(cls, "__struct_fields__", ())


# Attempts at one prompt come together. By JSON, since a validator that holds a schema cannot be hashed.
@lru_cache(256)
def _made(cls: type[Validator], own: bytes, given: bytes) -> Validator:
    return msgspec.convert({**msgspec.json.decode(own), **msgspec.json.decode(given)}, cls)
