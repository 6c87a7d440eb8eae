"""Where the attempts of a run come from, told by its settings: what a policy's certificate is compared with."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from msifr_integrations.generation.journal import ledger_path
from msifr_policy.records.ledger import Header
from msifr_policy.records.provenance import Provenance

_LONGEST_HEADER = 2**20


def provenance_of(settings: Mapping[str, Any]) -> Provenance:
    """Return the provenance that the settings of a run tell; what they do not hold is not known."""
    sampling = [f"{name} {settings[name]:g}" for name in ("temperature", "top_k", "top_p") if name in settings]
    return Provenance(
        models=(settings["model"],) if settings.get("model") else (),
        filter=str(settings.get("filter") or ""),
        sampling=", ".join([*sampling, *_ways(settings)]),
    )


def _ways(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield in words what else shapes the attempts: how prompts are put, and what ends attempts."""
    if settings.get("chat") is True:
        yield "chat template"
    if settings.get("template"):
        yield f"template {settings['template']!r}"
    if settings.get("stop"):
        yield f"stop {', '.join(map(repr, settings['stop']))}"
    if settings.get("finish_when_decided"):
        yield "finished when decided"


def recorded_provenance(paths: Iterable[str | os.PathLike[str]], tokenizer: str = "") -> Provenance:
    """Return filter and sampling of trace files that `generate` wrote, from the ledgers beside them.

    They are known only if all files tell the same. `tokenizer` is what costs are counted with, if one was named.
    """
    found = {_of_file(Path(path)) for path in paths}
    one = found.pop() if len(found) == 1 else Provenance()
    return msgspec.structs.replace(one, models=(), tokenizer=tokenizer)


def _of_file(path: Path) -> Provenance:
    try:
        with open(ledger_path(path), "rb") as file:
            header = msgspec.json.decode(file.readline(_LONGEST_HEADER), type=Header)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return Provenance()
    return provenance_of(header.settings)
