"""Images of a split: a tensor in memory, or rows of a store on disk that are read where they are asked for.

Axes: N images, B images of a batch, C channels, H height, W width.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor_mentee.data.store.block import sample_digest
from mentor_mentee.data.store.store import Store


class Images(Protocol):
    """The common side of a `Tensor` [N, C, H, W] and `StoredImages`; `images[:]` is a tensor of all, which may not fit."""

    @property
    def shape(self) -> torch.Size: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def ndim(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Tensor: ...


class StoredImages:
    """Rows of a store in any order. A choice of them copies no pixels."""

    ndim = 4

    def __init__(self, store: Store, rows_N: Tensor | None = None) -> None:
        self.store = store
        self.rows_N = torch.arange(len(store)) if rows_N is None else rows_N

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self.rows_N), *self.store.shape])

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8 if self.store.dtype == np.uint8 else torch.float32

    def __len__(self) -> int:
        return len(self.rows_N)

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        """[B, C, H, W], of one number [C, H, W]. Raises `UserError` where a damaged block cannot be decoded again."""
        picked = self.rows_N[rows]
        return torch.from_numpy(self.store.read(picked.reshape(-1).numpy())).view(*picked.shape, *self.store.shape)

    def at(self, rows: Tensor) -> "StoredImages":
        return StoredImages(self.store, self.rows_N[rows])

    def column(self, name: str) -> NDArray[Any]:
        """A field of the images' records, see `block.record`."""
        found: NDArray[Any] = self.store.table[name][self.rows_N.numpy()]
        return found

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation (of the population) of each channel over all pixels, from the records."""
        mean_NC, squares_NC = self.column("mean"), self.column("squares")
        mean_C = mean_NC.mean(0)
        pixels = int(np.prod(self.store.shape[1:]))
        squares_C = squares_NC.sum(0) + pixels * np.square(mean_NC - mean_C).sum(0)
        return mean_C, np.sqrt(squares_C / (pixels * len(self)))


def picked(images: Images, rows: Tensor) -> Images:
    """Those at `rows`: a copy in memory, on disk only their numbers."""
    return images.at(rows) if isinstance(images, StoredImages) else images[rows]


def section(images: Images, start: int, stop: int) -> Images:
    """Those from `start` to `stop` - 1, without a copy."""
    return images.at(torch.arange(start, stop)) if isinstance(images, StoredImages) else images[start:stop]


def in_parts(images: Images, size: int) -> Iterator[Tensor]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def contents(images: Images) -> memoryview:
    """Bytes to hash for an identity: the pixels, or of a store each image's digest of them."""
    if isinstance(images, StoredImages):
        return memoryview(images.column("digest").tobytes())
    return images[:].contiguous().numpy().data


def digests(images: Images) -> NDArray[Any]:
    """A digest of each image's pixels, [N] bytes; equal images have equal ones, in memory and on disk."""
    if isinstance(images, StoredImages):
        return images.column("digest").view("S16").reshape(-1)
    return np.array([sample_digest(sample) for sample in images[:].numpy()], "S16")


def highest(images: Images) -> float:
    return float(images.column("highest").max() if isinstance(images, StoredImages) else images[:].max())


def joined(first: Images, second: Images) -> Images:
    """The images of both, in this order; of one store no pixels are copied."""
    if isinstance(first, StoredImages) and isinstance(second, StoredImages) and first.store is second.store:
        return StoredImages(first.store, torch.cat([first.rows_N, second.rows_N]))
    return torch.cat([first[:], second[:]])
