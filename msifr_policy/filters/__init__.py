"""Final filters: what makes a finished attempt acceptable.

A **final filter** sees the prompt's record and the finished text and says whether the attempt is **accepted**
(A = 1). The built-in ones compare an answer with the prompt's `gold`, as numbers (`NumericMatch`), letter by letter
(`ExactMatch`) or as mathematics (`MathVerify`), validate a document (`JsonSchema`), run a program with its tests
(`UnitTests`), or compare a score with a threshold (`ScoreThreshold`); any function of (prompt, text) will do instead.

A text is hostile. What runs in our process evaluates nothing, in time linear in the text; what needs more runs in a
process of its own, within limits. A filter fails closed: a text that it cannot judge is not accepted, and the
`Judgement` says why.
"""

from msifr_policy.filters.answers import MARKERS as MARKERS
from msifr_policy.filters.answers import REACH as REACH
from msifr_policy.filters.answers import ExactMatch as ExactMatch
from msifr_policy.filters.answers import NumericMatch as NumericMatch
from msifr_policy.filters.answers import parse_number as parse_number
from msifr_policy.filters.base import FinalFilter as FinalFilter
from msifr_policy.filters.base import Judgement as Judgement
from msifr_policy.filters.base import Prompt as Prompt
from msifr_policy.filters.functions import FunctionFilter as FunctionFilter
from msifr_policy.filters.functions import ScoreThreshold as ScoreThreshold
from msifr_policy.filters.json_schema import JsonSchema as JsonSchema
from msifr_policy.filters.mathematics import MathVerify as MathVerify
from msifr_policy.filters.names import final_filter as final_filter
from msifr_policy.filters.unit_tests import UnitTests as UnitTests
