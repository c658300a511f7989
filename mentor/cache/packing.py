"""Packs an answer's numbers. Axes: B samples, C channels, the first axis of a sample where it has several, H W space.

A map [C, H, W] is packed as [H, W, C], channels last, which is how a mentee's maps lie in memory: two that lie in different
orders take several times as long to compare.
"""

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGEST = {"float16": 1.0, "int8": 127.0}  # what the largest number of a scale becomes


class Packed(NamedTuple):
    values: NDArray[np.generic]  # [B, *stored]
    scales: NDArray[np.float32]  # [B, one for each scale]


@dataclass(frozen=True)
class Packing:
    """float32 is exact. float16 are multiples of a sample's largest number, off by at most 2^-12 of it; int8 those of a
    channel's, off by at most 1/254 of it. A scale that holds a number that is not finite comes back as NaN."""

    shape: tuple[int, ...]  # of a sample
    precision: str

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of a packed sample."""
        return (*self.shape[1:], self.shape[0]) if self.is_map else self.shape

    @property
    def is_map(self) -> bool:
        return len(self.shape) == 3

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return np.dtype(self.precision)

    @property
    def scales(self) -> int:
        if self.precision == "float32":
            return 0
        return self.shape[0] if self.precision == "int8" and len(self.shape) > 1 else 1

    @property
    def bytes(self) -> int:
        """Size of one packed sample."""
        return prod(self.shape) * self.dtype.itemsize + 4 * self.scales

    def empty(self, count: int) -> Packed:
        """Room for so many samples."""
        return Packed(np.empty((count, *self.stored), self.dtype), np.empty((count, self.scales), np.float32))

    def pack(self, value: Tensor) -> Packed:
        """float [B, *shape], anywhere."""
        value = value.detach().cpu().float()
        value = (value.permute(0, 2, 3, 1) if self.is_map else value).contiguous()
        if self.precision == "float32":
            return Packed(value.numpy(), np.empty((len(value), 0), np.float32))
        grouped = value.view(len(value), *((-1, self.scales) if self.is_map else (self.scales, -1)))
        scale = grouped.abs().amax(1 if self.is_map else 2, keepdim=True) / LARGEST[self.precision]
        whole = torch.where(scale > 0, grouped / scale, 0.0)
        if self.precision == "int8":
            whole = whole.round_().nan_to_num_(0.0)
        packed = whole.to(getattr(torch, self.precision)).view(value.shape)
        scales = scale.view(len(value), self.scales)
        return Packed(packed.numpy(), scales.where(scales.isfinite(), torch.nan).numpy())

    def unpack(self, packed: Packed) -> Tensor:
        """float32 [B, *shape]; a map's channels lie last in memory."""
        value = torch.from_numpy(packed.values)
        if self.precision != "float32":
            beside = (1, 1, self.scales) if self.is_map else (self.scales, *(1,) * (len(self.shape) - 1))
            value = value.float().mul_(torch.from_numpy(packed.scales.reshape(len(value), *beside)))
        return value.permute(0, 3, 1, 2) if self.is_map else value
