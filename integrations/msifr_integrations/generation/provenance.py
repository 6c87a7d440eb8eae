"""Where the attempts of a run come from, told by its settings: what a policy's certificate is compared with."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from msifr_integrations.generation.journal import ledger_path
from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy import Policy
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
    if more := settings.get("generation_config"):
        yield f"generation settings {', '.join(f'{name} {more[name]}' for name in sorted(more))}"
    if settings.get("finish_when_decided"):
        yield "finished when decided"


def differences(policy: Policy | None, settings: Mapping[str, Any], prompts: Iterable[int]) -> list[str]:
    """Return in words how the attempts of a run with these settings differ from those its policy was certified on.

    prompts: the hashes of those of the run, looked at only where the certificate is about given prompts.
    """
    certified: Provenance = getattr(policy, "provenance", Provenance())
    here = provenance_of(settings)
    if certified.prompts:
        here = msgspec.structs.replace(here, prompts=np.fromiter(prompts, dtype="<u8").tobytes())
    found = certified.differences(here)
    if isinstance(policy, FittedPolicy) and (policy.quota or len(policy.thresholds)):
        made_here = quota_in_words(settings.get("accepted_per_prompt"), settings["attempts"])
        made_there = quota_in_words(*(policy.quota.accepted, policy.quota.attempts) if policy.quota else (None, 0))
        found += [f"quota: {made_here} here, {made_there} there"] * (made_here != made_there)
    return found


def quota_in_words(quota: int | None, attempts: int) -> str:
    """Return what is to be made at each prompt, as far as a certificate is about that."""
    return "none" if quota is None else f"{quota} accepted of at most {attempts} attempts per prompt"


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
