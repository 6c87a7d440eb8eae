"""Final filters: what makes a finished attempt acceptable.

A **final filter** sees the prompt's record and the finished text and says whether the attempt is **accepted**
(A = 1). The built-in ones compare an answer with the prompt's `gold`, as numbers (`NumericMatch`), letter by letter
(`ExactMatch`) or as mathematics (`MathVerify`), validate a document (`JsonSchema`), run a program with its tests
(`UnitTests`), or compare a score with a threshold (`ScoreThreshold`); any function of (prompt, text) will do instead.

A text is hostile. What runs in our process evaluates nothing, in time linear in the text; what needs more runs in a
process of its own, within limits. A filter fails closed: a text that it cannot judge is not accepted, and the
`Judgement` says why.
"""

from msifr_policy.filters.answers import MARKERS, REACH, ExactMatch, NumericMatch, parse_number
from msifr_policy.filters.base import FinalFilter, Judgement, Prompt
from msifr_policy.filters.function import FunctionFilter
from msifr_policy.filters.json_schema import JsonSchema
from msifr_policy.filters.mathematics import MathVerify
from msifr_policy.filters.names import final_filter
from msifr_policy.filters.score import ScoreThreshold
from msifr_policy.filters.unit_tests import UnitTests

__all__ = [
    "MARKERS",
    "REACH",
    "ExactMatch",
    "FinalFilter",
    "FunctionFilter",
    "JsonSchema",
    "Judgement",
    "MathVerify",
    "NumericMatch",
    "Prompt",
    "ScoreThreshold",
    "UnitTests",
    "final_filter",
    "parse_number",
]
