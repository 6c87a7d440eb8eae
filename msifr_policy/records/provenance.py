"""Provenance: where attempts come from. A certificate says something about attempts made in the same way only."""

from __future__ import annotations

import msgspec
import numpy as np


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where attempts come from, as far as it is known; empty is not known.

    models, datasets: as the traces name them. tokenizer: what costs were counted with, if the user named one. filter:
    the final filter; sampling: temperature and what truncates the distribution, in words. prompts: hashes of prompts,
    uint64 little-endian, where a certificate is about attempts at these only.
    """

    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    tokenizer: str = ""
    filter: str = ""
    sampling: str = ""
    prompts: bytes = b""

    def differences(self, other: Provenance) -> list[str]:
        """Return a sentence for everything known of both that differs: `other` is not what this one was made with."""
        found = []
        for field in self.__struct_fields__[:-1]:  # prompts, the last, are counted
            ours, theirs = getattr(self, field), getattr(other, field)
            if ours and theirs and (not set(theirs) <= set(ours) if isinstance(ours, tuple) else ours != theirs):
                found.append(f"{field}: {_words(theirs)} here, {_words(ours)} there")
        if self.prompts and other.prompts:
            known, here = (np.frombuffer(each, dtype="<u8") for each in (self.prompts, other.prompts))
            others = int((~np.isin(here, known)).sum())
            if others:
                found.append(f"prompts: {others} of {len(here)} here are others than the {len(known)} there")
        return found


def _words(value: tuple[str, ...] | str) -> str:
    return value if isinstance(value, str) else ", ".join(value)
