"""Two runs with the same seeds, with and without a policy, compared attempt by attempt.

The coupling contract makes this exact: the run without the policy shows what every discarded attempt would have
become, so the realised saving and false-reject rate need no estimate of either.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec
import numpy as np

from msifr_integrations.generation.journal import AttemptRecord
from msifr_policy.errors import InputError
from msifr_sim.outcomes import Outcomes

__all__ = ["Paired", "pair_runs", "read_attempts"]


def read_attempts(path: str | os.PathLike[str]) -> dict[str, AttemptRecord]:
    """Return the attempts of an output file of `generate` by id. Raises `InputError` for any other file."""
    decoder = msgspec.json.Decoder(AttemptRecord)
    attempts: dict[str, AttemptRecord] = {}
    try:
        with open(path, "rb") as lines:
            for line in lines:
                attempt = decoder.decode(line)
                attempts[attempt.id] = attempt
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"not an output of generate: {error}", where=f"{os.fspath(path)}, line {len(attempts) + 1}"
        ) from error
    return attempts


@dataclass(frozen=True, slots=True)
class Paired:
    """A run with a policy beside the same run without.

    outcomes: cost in tokens and outcome of every attempt. survivors: attempts the policy kept; changed: those of
    them whose text or tokens differ from the run without policy (0, or the coupling contract is broken);
    not_prefix: discarded attempts that are not a prefix of what the full run generated.
    """

    outcomes: Outcomes
    survivors: int
    changed: int
    not_prefix: int


def pair_runs(full: str | os.PathLike[str], with_policy: str | os.PathLike[str]) -> Paired:
    """Pair the outputs of two runs. Raises `InputError` if they do not hold the same attempts."""
    complete, partial = read_attempts(full), read_attempts(with_policy)
    if complete.keys() != partial.keys() or not complete:
        raise InputError(
            f"{len(complete.keys() ^ partial.keys())} attempts are in one run only",
            where=f"{os.fspath(full)} and {os.fspath(with_policy)}",
            remedy="compare finished runs of the same prompts, seeds and attempts",
        )
    prompts: dict[str, int] = {}
    rows = []
    survivors = changed = not_prefix = 0
    for name, a in complete.items():
        b = partial[name]
        if a.correct is None:
            raise InputError(f"attempt {name!r} was discarded", where=os.fspath(full), remedy="name the full run first")
        discarded = b.status == "discarded"
        if discarded:
            not_prefix += a.token_ends[: b.tokens] != b.token_ends or not a.text.startswith(b.text)
        else:
            survivors += 1
            changed += (a.text, a.token_ends, a.correct) != (b.text, b.token_ends, b.correct)
        prompt = prompts.setdefault(a.prompt_id, len(prompts))
        rows.append((a.tokens, b.tokens, a.correct, discarded, prompt, b.k or 0))
    cost_full, cost_policy, accepted, gone, prompt_index, k = map(np.asarray, zip(*rows, strict=True))
    return Paired(
        Outcomes(
            unit="tokens",
            cost_full=cost_full.astype(np.float64),
            cost_policy=cost_policy.astype(np.float64),
            accepted=accepted.astype(bool),
            discarded=gone.astype(bool),
            prompt=prompt_index.astype(np.int64),
            stop_k=k.astype(np.int64),
            reached=k.astype(np.int64),
            reason=tuple(partial[name].reason or "" for name in complete),
        ),
        survivors,
        changed,
        not_prefix,
    )
