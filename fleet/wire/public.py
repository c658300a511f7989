"""The public set: the replay samples that every device's bundle has, known by a digest; which of them a round asks about.

Axes: N samples, C H W of one.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def digest_of(input_NCHW: NDArray[Any], classes: Sequence[str]) -> str:
    """Tells two public sets apart: the samples in their order, and the classes that logits stand for."""
    found = hashlib.sha256(repr((input_NCHW.shape, str(input_NCHW.dtype), list(classes))).encode())
    found.update(np.ascontiguousarray(input_NCHW).data)
    return found.hexdigest()


def rows_of(samples: int, ask: int, seed: int, server_round: int) -> NDArray[np.int64]:
    """Rows of the public set that are asked about in a round: `ask` of `samples`, in order. By hashes, since no generator
    promises the same draw on every version of every machine."""

    def rank(row: int) -> bytes:
        return hashlib.sha256(f"{seed} {server_round} {row}".encode()).digest()

    return np.array(sorted(sorted(range(samples), key=rank)[:ask]), np.int64)
