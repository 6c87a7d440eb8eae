"""Validators: incremental rules that read partial text, and the registry a policy file names them from."""

from msifr_policy.validators.answer import AnswerMarker
from msifr_policy.validators.arithmetic import Arithmetic
from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Validator, ValidatorState, Verdict
from msifr_policy.validators.brackets import Brackets
from msifr_policy.validators.countdown import Countdown
from msifr_policy.validators.grammar import Grammar
from msifr_policy.validators.json_schema import JsonSchema
from msifr_policy.validators.json_text import JsonText
from msifr_policy.validators.language import Language
from msifr_policy.validators.length import Length
from msifr_policy.validators.logprobs import Logprobs
from msifr_policy.validators.magnitude import Magnitude
from msifr_policy.validators.numbers import Numbers
from msifr_policy.validators.phrases import Phrases
from msifr_policy.validators.plans import BlocksPlan
from msifr_policy.validators.question import Question
from msifr_policy.validators.registry import (
    ValidatorSpec,
    built_in_validators,
    default_validator,
    default_validators,
    describe,
    make_validator,
    validator_names,
    validator_with,
)
from msifr_policy.validators.regular import Regular
from msifr_policy.validators.repetition import Repetition
from msifr_policy.validators.word_order import WordOrder
from msifr_policy.validators.words import Words

__all__ = [
    "NO_TOKENS",
    "AnswerMarker",
    "Arithmetic",
    "BlocksPlan",
    "Brackets",
    "Countdown",
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
    "WordOrder",
    "Words",
    "built_in_validators",
    "default_validator",
    "default_validators",
    "describe",
    "make_validator",
    "validator_names",
    "validator_with",
]
