"""Small made-up traces and tables with known structure, for tests of everything that is fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from msifr_calibration.held_out import HeldOut
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import EveryUnits, Schedule
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import Trace
from msifr_policy.validators import Hidden, Words, default_validators
from msifr_policy.validators.words import BUCKETS
from msifr_policy.weights import remember, to_bytes


def make_traces(
    n_prompts: int,
    *,
    attempts: int = 1,
    seed: int = 0,
    accept: float = 0.5,
    loop: float = 0.6,
    slip: float = 0.05,
) -> list[Trace]:
    """Attempts whose bad ones fall into a loop with probability `loop`; good ones show a false equation with `slip`.

    Group "even" or "odd" by prompt; tokens are recorded as one per character plus an end token.
    """
    rng = np.random.default_rng(seed)
    traces = []
    for p in range(n_prompts):
        for a in range(attempts):
            good = bool(rng.random() < accept)
            lines = []
            for _ in range(int(rng.integers(3, 8))):
                x, y = (int(v) for v in rng.integers(2, 90, 2))
                wrong = rng.random() < (slip / 5 if good else 0.15)
                lines.append(f"She has {x} and gets {y}: {x}+{y}={x + y + int(wrong)}.\n")
            text = "".join(lines)
            if not good and rng.random() < loop:
                text += "and so on, " * int(rng.integers(20, 60))
            text += "#### 5"
            traces.append(
                Trace(
                    id=f"p{p}/{a}",
                    prompt_id=f"p{p}",
                    prompt="How many?",
                    group="even" if p % 2 == 0 else "odd",
                    text=text,
                    accepted=good,
                    tokens=len(text) + 1,
                    token_ends=[*range(1, len(text) + 1), len(text)],
                )
            )
    return traces


def make_table(n_prompts: int, *, schedule: Schedule | None = None, **options: float) -> EvidenceTable:
    """The evidence table of `make_traces`."""
    traces = make_traces(n_prompts, **options)  # type: ignore[arg-type]
    return build_evidence(traces, schedule or EveryUnits(20, "characters"), default_validators())


def some_words(seed: int = 0) -> Words:
    """The validator of words with weights drawn by `seed`."""
    weights = np.random.default_rng(seed).integers(-900, 900, (2, BUCKETS)).astype(np.int16)
    return Words(
        remember(to_bytes({"words.text": weights[0], "words.prompt": weights[1], "words.scale": np.asarray(1e-3)}))
    )


def some_probe(width: int = 4, seed: int = 0, layer: int = 0, model: str = "") -> Hidden:
    """The validator of hidden states with weights drawn by `seed`."""
    weights = np.random.default_rng(seed).normal(size=(width, 3)).astype(np.float32)
    tensors = {"hidden.weights": weights, "hidden.bias": np.asarray([0.5, 0, 0], dtype=np.float32)}
    return Hidden(remember(to_bytes(tensors)), layer, model)


def held_out(prompt, accepted, key="k", weigh="prompts", group=None):
    """Attempts at prompts named by number."""
    ids = [str(p) for p in np.unique(prompt)]
    table = make_table(2)
    n = len(prompt)
    made = replace(
        table,
        prompt_ids=tuple(ids),
        prompt=np.unique(prompt, return_inverse=True)[1],
        attempt_ids=tuple(map(str, range(n))),
        accepted=np.asarray(accepted, dtype=bool),
        groups=tuple([""] * n if group is None else group),
    )
    return HeldOut.of([made], key, weigh, by_group=group is not None)
