"""Sources that images are decoded from: files of images, rows of an array, items of a data set.

Axes: N images, C channels, H height, W width.
"""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

MEMORY_MB = 256  # decoded images up to here are held in memory, above on disk
CACHE = ".cache/images"  # in this folder


class Decoded(NamedTuple):
    pixels_NCHW: NDArray[Any]  # C-contiguous, uint8 or float32
    mark_N: list[int]  # of each image 0, or bits that the source gives a meaning; `block.BROKEN`: not decoded
    label_N: list[int]  # -1: none, or known elsewhere


class Source(Protocol):
    """Must be fit for a `DataLoader`'s workers: they decode."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def options(self) -> str:
        """All that the pixels depend on besides what `identity` says of each image."""
        ...

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """For messages."""
        ...

    def identity(self, row: int) -> str:
        """Tells an image from others and from itself changed, without decoding it."""
        ...

    def prepare(self, folder: Path) -> None:
        """Called in the process that begins a build, before any image is decoded: what that needs may be put into `folder`."""
        ...

    def finish(self) -> None:
        """Called in the same process once all are decoded, or decoding failed."""
        ...

    def decoded(self, start: int, stop: int) -> Decoded:
        """Images start .. stop - 1. Raises `UserError` for what no option passes over."""
        ...

    def reason(self, row: int) -> str:
        """Why an image is marked as broken, and what to do."""
        ...


def fault(reason: str) -> str:
    """`Source.reason` without what to do."""
    return reason.rpartition("; ")[0] or reason


def sample_bytes(source: Source) -> int:
    return int(np.prod(source.shape)) * source.dtype.itemsize


def total_bytes(source: Source) -> int:
    return len(source) * sample_bytes(source)
