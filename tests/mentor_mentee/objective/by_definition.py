"""Slicing, pooling and interpolation by definition, an output element at a time."""

import numpy as np
import torch
from torch import Tensor


def window(i: int, whole: int, part: int) -> range:
    """Input range of output cell i of adaptive pooling: from ⌊i·whole/part⌋ to ⌈(i+1)·whole/part⌉."""
    return range(i * whole // part, -(-(i + 1) * whole // part))


def between_cells(i: int, whole: int, part: int) -> list[tuple[int, float]]:
    """Bilinear along one axis, corners not aligned: the cell's centre (i + ½)·whole/part − ½ lies between two cells."""
    centre = max((i + 0.5) * whole / part - 0.5, 0)
    low = int(centre)
    return [(low, 1 - (centre - low)), (min(low + 1, whole - 1), centre - low)]


def weights(i: int, whole: int, part: int) -> list[tuple[int, float]]:
    if whole >= part:
        cells = window(i, whole, part)
        return [(cell, 1 / len(cells)) for cell in cells]
    return between_cells(i, whole, part)


def grid(activation: np.ndarray) -> np.ndarray:
    """Tokens [B, L, D] as a map, read row by row after the class token."""
    tokens = activation.shape[1]
    side = int(np.sqrt(tokens))
    out = np.zeros((len(activation), activation.shape[2], side, side))
    for b, d, i, j in np.ndindex(out.shape):
        out[b, d, i, j] = activation[b, tokens - side**2 + i * side + j, d]
    return out


def adapted(activation: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Slice, pool and interpolate by definition, an output element at a time."""
    if activation.shape[1:] == shape:
        return activation
    activation = grid(activation) if activation.ndim == 3 else activation
    out = np.zeros((len(activation), *shape))
    for b in range(len(activation)):
        if activation.ndim == 4 and len(shape) == 3:
            _, height, width = activation.shape[1:]
            for c, i, j in np.ndindex(shape):
                out[b, c, i, j] = sum(
                    down * across * activation[b, c, y, x]
                    for y, down in weights(i, height, shape[1])
                    for x, across in weights(j, width, shape[2])
                )
        elif activation.ndim == 4:
            for c in range(shape[0]):
                out[b, c] = sum(activation[b, c].ravel()) / activation[b, c].size
        else:
            out[b] = [activation[b, c] for c in range(shape[0])]
    return out


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
