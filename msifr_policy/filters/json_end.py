"""Where the first JSON document of a text ends."""

from typing import Final

from msifr_policy.reading.blocks import BlockReader
from msifr_policy.reading.json_documents import Documents
from msifr_policy.reading.json_find import KIN, is_json


class JsonEnd:
    """Ends after the object or array that is the first document outside thinking.

    anywhere: a document is what a `bracket` begins that has content, wherever it stands; what is broken is passed over.
        A filter that reads the last such document would read a later one. Otherwise the document is the whole text:
        ending where it breaks is exact, but ending where it is whole makes an answer of what more text would have made
        none. A document that is a string, a number or a word is whole at the end of the text only.
    """

    exact: Final = False

    def __init__(self, *, anywhere: bool, bracket: str = "{") -> None:
        self._documents = Documents("object" if anywhere else "whole", bracket)
        self._ends = {"whole"} if anywhere else {"whole", "broken"}
        self._end: int | None = None

    def feed(self, text: str) -> int | None:
        """See `DecidedReader`."""
        if self._end is None:
            for part in self._documents.feed(text):
                if part.document is not None and part.document.state in self._ends:
                    self._end = part.end
                    break
        return self._end


class JsonBlockEnd:
    """Ends with the fence that closes the first block, thinking aside, that is fenced as json.

    Or as nothing or a kin of JSON, if it begins with a bracket. A filter that reads the last block would read a later
    one.
    """

    exact: Final = False

    def __init__(self) -> None:
        self._reader = BlockReader()
        self._begins = ""  # the first character of the block
        self._end: int | None = None

    def feed(self, text: str) -> int | None:
        """See `DecidedReader`."""
        if self._end is None:
            for part in self._reader.feed(text):
                if part.kind == "opens":
                    self._begins = ""
                elif part.kind == "holds":
                    self._begins = self._begins or part.line.lstrip()[:1]
                elif part.kind == "closes" and part.fence is not None and not self._reader.thinking:
                    language = part.fence.language
                    if is_json(language) or (language in KIN and self._begins in ("{", "[")):
                        self._end = part.end
                        break
        return self._end
