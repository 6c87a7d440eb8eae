"""Validators: incremental rules that read partial text, and the registry a policy file names them from."""

from msifr_policy.validators.answer import AnswerMarker
from msifr_policy.validators.arithmetic import Arithmetic
from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Validator, ValidatorState, Verdict
from msifr_policy.validators.grammar import Grammar
from msifr_policy.validators.json_schema import JsonSchema
from msifr_policy.validators.json_text import JsonText
from msifr_policy.validators.language import Language
from msifr_policy.validators.length import Length
from msifr_policy.validators.logprobs import Logprobs
from msifr_policy.validators.magnitude import Magnitude
from msifr_policy.validators.numbers import Numbers
from msifr_policy.validators.phrases import Phrases
from msifr_policy.validators.question import Question
from msifr_policy.validators.registry import (
    ValidatorSpec,
    built_in_validators,
    default_validator,
    default_validators,
    describe,
    make_validator,
    validator_names,
)
from msifr_policy.validators.regular import Regular
from msifr_policy.validators.repetition import Repetition

__all__ = [
    "NO_TOKENS",
    "AnswerMarker",
    "Arithmetic",
    "Evidence",
    "Grammar",
    "JsonSchema",
    "JsonText",
    "Language",
    "Length",
    "Logprobs",
    "Magnitude",
    "Numbers",
    "Phrases",
    "Question",
    "Regular",
    "Repetition",
    "Tokens",
    "Validator",
    "ValidatorSpec",
    "ValidatorState",
    "Verdict",
    "built_in_validators",
    "default_validator",
    "default_validators",
    "describe",
    "make_validator",
    "validator_names",
]
