"""States of recorded attempts at their checkpoints: what a probe is learned from, in a file that a model's pass writes.

Of an attempt three states are kept of each layer that may be read: that of its last token so far, the mean of those of
its step so far, and that of its first token, which is what the model makes of the prompt (`validators.hidden`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Schedule
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.files import replacing

REMEDY = "make one with msifr score --states MODEL"
_PARTS = ("last", "step", "first")


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the states are of: the checkpoints of `schedule`, and the model by the fingerprint of its weights."""

    schedule: Schedule
    model: str
    dtype: str


@dataclass(frozen=True, slots=True)
class StateFeatures:
    """States of N attempts at their R checkpoints from 1 on, and at their ends.

    by_layer: by number of a decoder layer, from 0, `[R, d]` last, `[R, d]` step and `[N, d]` first. attempt_ids: in
    order; start: `[N + 1]` row offsets; position: `[R]` characters so far. An attempt without tokens has NaN.
    """

    origin: Origin
    by_layer: Mapping[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
    attempt_ids: tuple[str, ...]
    start: NDArray[np.int64]
    position: NDArray[np.int64]

    def rows(self, table: EvidenceTable, layer: int) -> NDArray[np.float32]:
        """Return `[R, 3·d]` last, step and first at each row of `table`, NaN at checkpoint 0.

        Raises `InputError` if an attempt is not here, or has other checkpoints.
        """
        place = {attempt: i for i, attempt in enumerate(self.attempt_ids)}
        at = np.asarray([place.get(attempt, -1) for attempt in table.attempt_ids], dtype=np.int64)
        if (at < 0).any():
            missing = table.attempt_ids[int(np.argmin(at))]
            raise InputError(f"there are no states of attempt {missing!r}", where="hidden states", remedy=REMEDY)
        known = table.k > 0
        of_attempt = at[table.attempt[known]]
        source = self.start[of_attempt] + table.k[known] - 1
        fits = source < self.start[of_attempt + 1]
        if not fits.all() or not np.array_equal(self.position[source], table.position[known]):
            what = "the states are at other checkpoints than the evidence"
            raise InputError(what, where="hidden states", remedy="score and fit with one schedule (--schedule)")
        if layer not in self.by_layer:
            what = f"there are states of layers {', '.join(map(str, self.by_layer))}, none of layer {layer}"
            raise InputError(what, where="hidden states", remedy=REMEDY)
        last, step, first = self.by_layer[layer]
        rows = np.full((len(table.k), 3 * last.shape[1]), np.nan, dtype=np.float32)
        rows[known] = np.concatenate([last[source], step[source], first[of_attempt]], axis=1)
        return rows

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all."""
        from safetensors.numpy import save_file

        arrays = {
            f"{part}.{layer}": np.ascontiguousarray(array)
            for layer, arrays in self.by_layer.items()
            for part, array in zip(_PARTS, arrays, strict=True)
        }
        told = {
            "origin": msgspec.json.encode(self.origin).decode(),
            "attempts": msgspec.json.encode(self.attempt_ids).decode(),
        }
        with replacing(path) as temporary:
            save_file({**arrays, "start": self.start, "position": self.position}, temporary, metadata=told)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> StateFeatures:
        """Read what `write` wrote. Raises `InputError` for any other file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                told = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            layers = sorted(int(name.partition(".")[2]) for name in arrays if name.startswith("last."))
            return cls(
                msgspec.json.decode(told["origin"], type=Origin),
                {n: (arrays[f"last.{n}"], arrays[f"step.{n}"], arrays[f"first.{n}"]) for n in layers},
                msgspec.json.decode(told["attempts"], type=tuple[str, ...]),
                arrays["start"],
                arrays["position"],
            )
        except (OSError, KeyError, ValueError, SafetensorError, msgspec.MsgspecError) as error:
            raise InputError(f"holds no states: {error}", where=os.fspath(path), remedy=REMEDY) from error
