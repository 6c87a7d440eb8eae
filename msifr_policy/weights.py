"""Learned weights by content: a SHA-256 names the bytes of one safetensors file.

A validator or posterior that was learned keeps the hash in its parameters, never a path. The bytes are remembered when
they are learned or when a policy file is loaded, so the same name always gives the same numbers, wherever the file is.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError

MAX_WEIGHTS_BYTES = 256 * 2**20

Arrays = Mapping[str, NDArray[Any]]

_KNOWN: dict[str, tuple[bytes, Arrays]] = {}


def to_bytes(arrays: Arrays) -> bytes:
    """Return `arrays` in the safetensors format."""
    from safetensors.numpy import save

    raw: bytes = save({name: np.asarray(a, order="C") for name, a in sorted(arrays.items())})
    return raw


def remember(raw: bytes, *, where: str = "weights") -> str:
    """Keep the content of a safetensors file and return its SHA-256.

    Raises `InputError`, naming `where`, if it is too large or not in the safetensors format.
    """
    if len(raw) > MAX_WEIGHTS_BYTES:
        raise InputError(f"larger than {MAX_WEIGHTS_BYTES} bytes", where=where)
    sha256 = hashlib.sha256(raw).hexdigest()
    if sha256 not in _KNOWN:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(raw)
        except (SafetensorError, ValueError, KeyError) as error:
            raise InputError(f"not a safetensors file: {error}", where=where) from None
        for array in arrays.values():
            array.flags.writeable = False
        _KNOWN[sha256] = raw, MappingProxyType(arrays)
    return sha256


def recall(sha256: str) -> Arrays:
    """Return the arrays of remembered weights. Raises `InputError` if they are not known."""
    return _known(sha256)[1]


def weights_bytes(sha256: str) -> bytes:
    """Return the bytes of remembered weights. Raises `InputError` if they are not known."""
    return _known(sha256)[0]


def _known(sha256: str) -> tuple[bytes, Arrays]:
    if sha256 not in _KNOWN:
        raise InputError(
            f"learned weights {sha256[:12] or '(unnamed)'} are not known",
            remedy="load the policy file that lies beside them",
        )
    return _KNOWN[sha256]
