"""Validators: incremental rules that read partial text, and the registry a policy file names them from."""

from msifr_policy.validators.answer import AnswerMarker
from msifr_policy.validators.arithmetic import Arithmetic
from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Validator, ValidatorState, Verdict
from msifr_policy.validators.length import Length
from msifr_policy.validators.numbers import Numbers
from msifr_policy.validators.registry import (
    ValidatorSpec,
    default_validator,
    default_validators,
    describe,
    make_validator,
    validator_names,
)
from msifr_policy.validators.repetition import Repetition

__all__ = [
    "NO_TOKENS",
    "AnswerMarker",
    "Arithmetic",
    "Evidence",
    "Length",
    "Numbers",
    "Repetition",
    "Tokens",
    "Validator",
    "ValidatorSpec",
    "ValidatorState",
    "Verdict",
    "default_validator",
    "default_validators",
    "describe",
    "make_validator",
    "validator_names",
]
