"""Where in a text its JSON begins, the same however the text arrives.

Models write JSON alone, in a fence of Markdown, or after some prose, and prose is full of braces that are none
of it. So the place is a parameter:

* `auto`: the text begins with an object or an array of strings or objects, or has a fence marked `json`;
  other text has no JSON;
* `whole`: the text is JSON from its first character to its last;
* `anywhere`: at the first brace before a quotation mark, wherever that is.
"""

import re
from typing import Literal

Place = Literal["auto", "whole", "anywhere"]

_MAX_BLANKS = 64
_BEGINNING = re.compile(rf'\s{{0,{_MAX_BLANKS}}}+(?P<json>\{{\s{{0,{_MAX_BLANKS}}}+"|\[\s{{0,{_MAX_BLANKS}}}+["{{])')
_FENCE = re.compile(r"```[jJ][sS][oO][nN]\s(?P<json>)")
_OBJECT = re.compile(rf'(?P<json>\{{\s{{0,{_MAX_BLANKS}}}+")')
_REACH = 3 * _MAX_BLANKS
"""More characters than any of the patterns can span."""


class JsonPlace:
    """Lets nothing through before JSON begins, and everything after."""

    def __init__(self, place: Place) -> None:
        self.found = place == "whole"
        self._place = place
        self._pending = ""  # the last characters, or all of a text shorter than `_REACH`
        self._beginning = place == "auto"  # _pending is the whole text so far

    def feed(self, text: str) -> str:
        """Return what is JSON of the text: the part that `text` adds, and what a mark at its start spans."""
        if self.found:
            return text
        text = self._pending + text
        inside = _OBJECT if self._place == "anywhere" else _FENCE
        if match := (_BEGINNING.match(text) if self._beginning else None) or inside.search(text):
            self.found, self._pending = True, ""
            return text[match.start("json") :]
        self._beginning = self._beginning and len(text) <= _REACH
        self._pending = text[-_REACH:]
        return ""
