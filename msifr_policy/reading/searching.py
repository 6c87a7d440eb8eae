"""Searching hostile texts by RE2: in linear time, whatever the pattern."""

import re
from typing import Final

import re2

_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")


def as_utf8(text: str) -> str:
    """Return `text` with halves of surrogate pairs, which RE2 does not take, replaced: character by character."""
    return text if text.isascii() else _HALF_PAIR.sub("\ufffd", text)


def quietly(pattern: str) -> "re2._Regexp[str]":
    """Return the compiled pattern; raises `re2.error` for one that is none, which RE2 does not log."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def whatever_case(pattern: str) -> "re2._Regexp[str]":
    """Return the compiled pattern, for which upper and lower case are alike."""
    options = re2.Options()
    options.case_sensitive = False
    return re2.compile(pattern, options)
