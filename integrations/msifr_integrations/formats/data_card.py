"""The data card of exported samples: what is in them, what was dropped, what is certified of that, and what is not.

Its words are in `data_card.md.jinja`, beside this file.
"""

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from msifr_integrations.formats.accepted import SampleCounts
from msifr_integrations.formats.preference import PairCounts, PairOptions
from msifr_integrations.formats.written import GroupCounts, RunFacts
from msifr_integrations.generation.provenance import provenance_of

if TYPE_CHECKING:
    import jinja2

TAG: Final = "msifr-policy"
"""The package, and the tag in a card's header by which an earlier export is known as one."""

_OUTCOMES: Final = {
    "accepted": "these samples",
    "unaccepted": "finished, and not accepted by the final filter",
    "discarded": "stopped in flight by the policy",
    "failed": "could not be made",
}
_MOST_GROUPS: Final = 50
_LONGEST: Final = 1000  # characters of a name, a sampling, a sentence
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>|#!&~])")


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a card tells of: the samples, the pairs if there are any, the run, and how it differs from the certified."""

    samples: SampleCounts
    pairs: PairCounts | None
    pair_options: PairOptions
    facts: RunFacts
    differences: Sequence[str]


def data_card(card: Card) -> str:
    """Return the card, Markdown with the YAML header that the Hugging Face Hub and `datasets` read."""
    facts, totals = card.facts, card.facts.totals
    pairs = card.pairs if card.pairs is not None and card.pairs.pairs else None
    certificate = None if facts.policy is None else facts.policy.certificate
    groups, more = _groups(facts)
    reasons = [] if totals is None else sorted(totals.by_reason.items(), key=lambda one: (-one[1].attempts, one[0]))
    return _template().render(
        configs={"default": "data"} | ({} if pairs is None else {"preference": "preference"}),
        tags=(TAG, "synthetic", "rejection-sampling"),
        here=provenance_of(facts.settings),
        samples=card.samples,
        pairs=pairs,
        one_per_prompt=card.pair_options.pairs == "one-per-prompt",
        totals=totals,
        outcomes=_OUTCOMES,
        reasons=reasons,
        no_policy=facts.settings.get("policy") == "none",
        autopilot=facts.settings.get("autopilot"),
        audited=0 if totals is None else totals.audited,
        has_quota=facts.settings.get("accepted_per_prompt") is not None,
        certificate=certificate,
        policy_name=facts.policy_name,
        differences=card.differences,
        groups=groups,
        more_groups=more,
        made=_made(facts),
        version=version(TAG),
    )


def _groups(facts: RunFacts) -> tuple[list[tuple[str, GroupCounts, Any]], int]:
    """Return the largest groups, with what the run made of each and its bound, and how many more there are."""
    bounds = {} if facts.policy is None else facts.policy.certificate.groups
    here = {name: counts for name, counts in facts.groups.items() if name}
    rows = [(name, here.get(name, GroupCounts()), bounds.get(name)) for name in sorted(bounds.keys() | here.keys())]
    rows.sort(key=lambda row: -row[1].attempts)
    return rows[:_MOST_GROUPS], max(0, len(rows) - _MOST_GROUPS)


def _made(facts: RunFacts) -> list[tuple[str, Any]]:
    settings, here = facts.settings, provenance_of(facts.settings)
    return [
        ("model", ", ".join(here.models)),
        ("sampling", here.sampling),
        ("longest attempt, in tokens", settings.get("max_new_tokens")),
        ("attempts per prompt, at most", settings.get("attempts")),
        ("accepted samples per prompt, at most", settings.get("accepted_per_prompt")),
        ("prompts", settings.get("prompt_count")),
        ("seed", settings.get("seed")),
        ("engine", settings.get("engine")),
        ("final filter", here.filter),
        ("policy", facts.under),
        ("policy made by", "" if facts.policy is None else facts.policy.created_by),
        ("run last written", facts.day),
        ("exported by", f"{TAG} {version(TAG)}"),
    ]


def _template() -> "jinja2.Template":
    import jinja2

    # Whatever a card shows is plain, unless a filter made it: names of groups and models are others' words.
    environment = jinja2.Environment(  # noqa: S701 - Markdown; `finalize` escapes
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_plain,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "n": "{:,}".format,
        "short": "{:.3g}".format,
        "tenth": "{:,.1f}".format,
        "share": _share,
        "percent": "{:.1%}".format,
    }
    return environment.from_string(Path(__file__).with_name("data_card.md.jinja").read_text(encoding="utf-8"))


def _plain(value: Any) -> Any:
    """Return a text as it reads: one line, not too long, with nothing that Markdown, HTML or YAML obeys."""
    if not isinstance(value, str):
        return value
    line = " ".join(_CONTROLS.sub(" ", value).split())
    return _MARKUP.sub(r"\\\1", line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "undefined"
