"""Checksums of many rows at once. Axes: B rows, W words of four bytes in a row.

Σ word · weight + row · weight + salt modulo 2^64, of which the upper 32 bits count: vector multiply-shift, by which two rows that
differ are taken for one once in 2^31 at most (Thorup, arXiv 1504.06804, section 3.5). zlib's crc32 has to be called for each
row, which took longer than all else that a cached answer costs.
"""

import numpy as np
from numpy.typing import NDArray

SEED = 20261130  # of the weights: PCG64's numbers are the same in every version of numpy


def weights_of(row_bytes: int) -> NDArray[np.uint64]:
    """[W + 2]: one for each word of a row, and two for its number."""
    weights: NDArray[np.uint64] = np.random.PCG64(SEED).random_raw(-(-row_bytes // 4) + 2)
    return weights


def checksums(
    rows_B: NDArray[np.int64], parts: tuple[NDArray[np.generic], ...], weights: NDArray[np.uint64], salt: int
) -> NDArray[np.uint32]:
    """uint32 [B], none of them 0, of the rows of this number: `parts` [B, ...] are what each has in it."""
    bytes_BN = np.zeros((len(rows_B), 4 * len(weights)), np.uint8)
    start = 0
    for part in (*parts, rows_B.astype(np.int64)):
        if part.size:
            content = np.ascontiguousarray(part).view(np.uint8).reshape(len(rows_B), -1)
            bytes_BN[:, start : start + content.shape[1]] = content
            start += content.shape[1]
    sum_B = bytes_BN.view(np.uint32).astype(np.uint64) @ weights + np.uint64(salt)
    found_B: NDArray[np.uint32] = np.maximum(sum_B >> np.uint64(32), np.uint64(1)).astype(np.uint32)
    return found_B
