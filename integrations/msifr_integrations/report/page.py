"""The page of a report: one HTML file that needs nothing else, and may ask nothing else of a browser.

Its policy for contents (CSP) allows no request, and no script or style but its own, by their hashes. Texts of models
are data: escaped JSON, which the script shows as text.
"""

import os
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from msifr_integrations.report.attempts import Shown
from msifr_integrations.report.deciding import FALSE
from msifr_integrations.report.numbers import ReportNumbers
from msifr_integrations.report.parts import Section
from msifr_integrations.report.sections import definitions, headlines, sections
from msifr_integrations.terms import TERMS, Term, find
from msifr_policy.files import replacing

_ALWAYS = ("saving rate", "false-reject rate", "net cost factor", "certificate", "confidence", "policy", "attempt",
           "accepted cost share", "length cap", "interval", "posterior", "threshold", "worth", "validator",
           "evidence")  # fmt: skip
"""Words that every report has in it somewhere."""


def write_page(
    path: str | os.PathLike[str],
    title: str,
    numbers: ReportNumbers,
    shown: Sequence[Shown] = (),
    *,
    notes: Sequence[str] = (),
    more: Sequence[Section] = (),
) -> int:
    """Write the page, whole or not at all, and return its size in bytes. Raises `InputError` as `files.replacing`.

    `notes` are sentences that stand below the first, `more` are sections that follow those of every report.
    """
    html = page(title, numbers, shown, notes, more).encode("utf-8", "replace")
    with replacing(path) as temporary:
        temporary.write_bytes(html)
    return len(html)


def page(
    title: str,
    numbers: ReportNumbers,
    shown: Sequence[Shown] = (),
    notes: Sequence[str] = (),
    more: Sequence[Section] = (),
) -> str:
    """Return the page as HTML."""
    import jinja2
    from markupsafe import Markup, escape

    style, script = _file("page.css"), _file("viewer.js")
    parts = [*sections(numbers), *more]
    named = [*_ALWAYS, *(word for section in parts for word in section.terms)]
    glossary = {term.name: term for term in map(_term, named) if term is not None}
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )

    def linked(words: str) -> str:
        term = _term(words)
        if term is None or term.name not in glossary:
            return words
        return Markup('<a href="#{}">{}</a>').format(_anchor(term), words)

    def coded(words: str) -> str:
        pieces = (
            f"<code>{escape(piece)}</code>" if i % 2 else escape(piece) for i, piece in enumerate(words.split("`"))
        )
        return Markup("").join(map(Markup, pieces))

    environment.filters |= {"linked": linked, "anchor": _anchor, "coded": coded}
    return environment.from_string(_file("page.html")).render(
        title=title,
        numbers=numbers,
        notes=notes,
        headlines=headlines(numbers.measured),
        definitions=definitions(numbers),
        sections=parts,
        shown=bool(shown),
        shown_words=[*_shown_words(numbers), *_story(shown)],
        glossary=[term for term in TERMS.values() if term.name in glossary],
        footer=f"Made by msifr report on {numbers.made_on}. All is in this file; it asks nothing of any network.",
        data=_data(shown),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _data(shown: Sequence[Shown]) -> str:
    """Return attempts as JSON in which nothing can end a script element, whatever they say."""
    return msgspec.json.encode(shown).decode().replace("<", "\\u003c").replace(">", "\\u003e")


def _term(words: str) -> Term | None:
    """Return the term that words name, with its symbol behind it or without."""
    for word in (words, re.sub(r" \w$", "", words)):
        try:
            return find(word)
        except KeyError:
            continue
    return None


def _anchor(term: Term) -> str:
    return "term-" + re.sub(r"[^a-z0-9]+", "-", term.name.casefold())


def _shown_words(numbers: ReportNumbers) -> Iterator[str]:
    words = _COUNTED | ({"discarded": "rightly discarded"} if numbers.measured else {})
    counts = ", ".join(f"{n:,} {words[kind]}" for kind, n in numbers.attempts.items())
    total = sum(numbers.attempts.values())
    if numbers.attempts_shown >= total:
        yield f"All {total:,} attempts: {counts}."
        return
    lost = numbers.attempts.get("lost", 0)
    first = "all lost ones, and " if lost and lost < numbers.attempts_shown else ""
    yield (
        f"{numbers.attempts_shown:,} of {total:,} attempts ({counts}): {first}some of each kind, chosen by their ids. "
        "Long texts are cut, with a remark."
    )


def _story(shown: Sequence[Shown]) -> Iterator[str]:
    """Yield what lost good samples have in common, where it is the oldest story: a slip that did no harm in the end."""
    lost = [one for one in shown if one.kind == "lost"]
    slipped = sum(any(part.note.startswith(FALSE) for part in one.parts) for one in lost)
    if slipped:
        yield (
            f"Of the {len(lost):,} lost ones shown here {slipped:,} hold a false equation where they were stopped, and "
            "would have come to an accepted answer nevertheless."
        )


_COUNTED: dict[str, str] = {
    "lost": "lost", "discarded": "discarded", "unaccepted": "finished and not accepted",
    "kept": "kept and accepted", "failed": "never made",
}  # fmt: skip
