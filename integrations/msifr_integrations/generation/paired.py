"""Two runs with the same seeds, with and without a policy, compared attempt by attempt.

The coupling contract makes this exact in an engine of this process: the run without the policy shows what every
discarded attempt would have become, so the realised saving and false-reject rate need no estimate of either. A server
promises less: an attempt's seed is the same, but its text may still depend on who shares the batch; `changed` counts.
"""

import os
from dataclasses import dataclass

import numpy as np

from msifr_integrations.generation.inputs import read_records
from msifr_integrations.generation.journal import AttemptRecord, ledger_path
from msifr_policy.errors import InputError
from msifr_policy.records.ledger import read_ledger
from msifr_sim.outcomes import Outcomes


def read_attempts(path: str | os.PathLike[str]) -> dict[str, AttemptRecord]:
    """Return the attempts of an output file of `generate` by id. Raises `InputError` for any other file."""
    return {record.id: record for record in read_records(path, AttemptRecord, "name an output of generate")}


@dataclass(frozen=True, slots=True)
class Paired:
    """A run with a policy beside the same run without.

    outcomes: cost in tokens and outcome of every attempt that failed in neither. survivors: attempts it did not
    discard; changed: those of them whose text or tokens differ from the run without policy; not_prefix: discarded
    attempts that are not a prefix of what the full run generated. Both are 0 where the coupling contract holds, but for
    draws that lie within rounding of a boundary (see `engine.sampling`).
    """

    outcomes: Outcomes
    survivors: int
    changed: int
    not_prefix: int


def pair_runs(full: str | os.PathLike[str], with_policy: str | os.PathLike[str]) -> Paired:
    """Pair the outputs of two runs; the ledger of the one with a policy must lie beside it.

    Raises `InputError` if they do not hold the same attempts, as under a quota, or if the first discarded any.
    """
    complete, partial = read_attempts(full), read_attempts(with_policy)
    if complete.keys() != partial.keys() or not complete:
        raise InputError(
            f"{len(complete.keys() ^ partial.keys())} attempts are in one run only",
            where=f"{os.fspath(full)} and {os.fspath(with_policy)}",
            remedy="compare finished runs of the same prompts, seeds and attempts, without a quota",
        )
    entries = {entry.id: entry for entry in read_ledger(ledger_path(with_policy)).entries}
    pairs = []
    for name, a in complete.items():
        if "failed" in (a.status, partial[name].status):
            continue
        if a.correct is None:
            raise InputError(f"attempt {name!r} was discarded", where=os.fspath(full), remedy="name the full run first")
        if name not in entries:
            raise InputError(f"attempt {name!r} is not in the ledger", where=os.fspath(ledger_path(with_policy)))
        pairs.append((a, partial[name]))
    if not pairs:
        raise InputError("all attempts failed in one of the runs", where=os.fspath(full))
    prompts = {prompt: i for i, prompt in enumerate(dict.fromkeys(a.prompt_id for a, _ in pairs))}
    stop_k = np.asarray([b.k or 0 for _, b in pairs], dtype=np.int64)
    # The last stage of a survivor ends with the attempt, at no checkpoint.
    passed = np.asarray([len(entries[b.id].stages) - 1 for _, b in pairs], dtype=np.int64)
    discarded = np.asarray([b.status == "discarded" for _, b in pairs])
    same = [(a.text, a.token_ends, a.correct) == (b.text, b.token_ends, b.correct) for a, b in pairs]
    prefix = [a.token_ends[: b.tokens] == b.token_ends and a.text.startswith(b.text) for a, b in pairs]
    outcomes = Outcomes(
        unit="tokens",
        cost_full=np.asarray([a.tokens for a, _ in pairs], dtype=np.float64),
        cost_policy=np.asarray([b.tokens for _, b in pairs], dtype=np.float64),
        accepted=np.asarray([a.correct for a, _ in pairs], dtype=np.bool_),
        discarded=discarded,
        prompt=np.asarray([prompts[a.prompt_id] for a, _ in pairs], dtype=np.int64),
        stop_k=stop_k,
        reached=np.where(discarded, stop_k, passed),
        reason=tuple(b.reason or "" for _, b in pairs),
    )
    return Paired(
        outcomes,
        survivors=int((~discarded).sum()),
        changed=int((~discarded & ~np.asarray(same)).sum()),
        not_prefix=int((discarded & ~np.asarray(prefix)).sum()),
    )
