"""What a page is made of: sections with sentences, a plot and tables."""

from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """A table of texts; the first cell of each row names it. `folded`: to be opened by whoever wants the numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


class Section(NamedTuple):
    """A part of the page. `terms` are words of it that the glossary explains."""

    name: str
    title: str
    sentences: Sequence[str] = ()
    svg: str = ""
    tables: Sequence[Table] = ()
    terms: Sequence[str] = ()
