"""JSON that no completion can make valid; and what became of the documents of a text that may hold several.

Valid is what RFC 8259 says: no control characters in strings, no `NaN`, no trailing commas or comments; half surrogate
pairs in escapes and numbers of any size are valid. See `msifr_policy.reading.json_syntax`, which reads it in time
linear in the text.
"""

import math

from msifr_policy.reading.json_documents import Documents, Place
from msifr_policy.validators.base import Evidence, Rule, TextState, Verdict


class JsonText(Rule, frozen=True):
    """Follows the JSON documents of the text, outside thinking.

    place: where they are. "whole", "fence" and "object" are those of the final filter `json-schema`; see
        `msifr_policy.reading.json_find`. "auto" takes a text that begins with JSON for one document, until an object
        begins a later line, and any other text for one with documents in fenced blocks.

    The verdict is DEAD once no continuation makes the text a document: where it is one from its beginning. With "whole"
    that is also so once anything but white space follows the document; with "auto" what follows it is not judged.
    Where a later document may replace a broken one, as with "fence" and "object", nothing is DEAD. The verdict is ALIVE
    in and after a document that is not broken, else UNKNOWN, as it is for a document nested deeper than
    `json_syntax.MAX_DEPTH`.

    So "auto" calls DEAD, until a later line takes it back, what a filter that searches for documents may accept in the
    end: give the validator the place of such a filter.
    """

    name = "json_text"
    version = "3"
    columns = ("state", "depth", "since", "broken")
    """`state`: 0 before a document begins, 1 in the last one that began, 2 after it, -1 if it is broken, NaN if it is
    nested too deep; `depth`: brackets open, NaN unless in a document; `since`: characters after it, 0 before its end
    and if it is broken; `broken`: documents so far that are broken.
    """
    place: Place = "auto"

    def _state(self, _: str) -> TextState:
        return _JsonTextState(Documents(self.place), strict=self.place == "whole")


class _JsonTextState(TextState):
    def __init__(self, documents: Documents, *, strict: bool) -> None:
        self._documents = documents
        self._strict = strict  # nothing may follow the document
        self._state = ""  # of the last document that began
        self._depth = math.nan
        self._characters = 0
        self._end = 0  # of the document so far
        self._broken = 0

    def _read(self, text: str) -> Evidence:
        self._characters += len(text)
        for part in self._documents.feed(text):
            if part.document is None:  # all this was thinking
                self._state, self._broken = "", 0
            else:
                self._state, self._depth, self._end = part.document.state, float(len(part.document.open)), part.end
                self._broken += self._state == "broken"
        if self._strict and self._documents.followed:
            self._state, self._broken = "broken", 1
        verdict, state = _SAYS.get(self._state, (Verdict.ALIVE, 1.0))
        if self._state == "broken" and self._documents.sole:
            verdict = Verdict.DEAD
        depth = self._depth if state == 1 else math.nan
        since = self._characters - self._end if state == 2 else 0
        return Evidence(verdict, (state, depth, float(since), float(self._broken)))


_SAYS = {
    "": (Verdict.UNKNOWN, 0.0),
    "whole": (Verdict.ALIVE, 2.0),
    "broken": (Verdict.UNKNOWN, -1.0),
    "too deep": (Verdict.UNKNOWN, math.nan),
}
"""The verdict where a later document may count, and the score, of a state; of all others: in a document."""
