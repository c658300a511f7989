"""Whitening: embeddings on axes along which samples of one class spread alike. Axes: N samples, D embedding."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDEST = 512  # above it nothing is whitened: D^3 multiplications, and D^2 numbers to store


def whitening(vector_ND: NDArray[Any], labels_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """[D, D], W for W @ vector: the inverse of L, where L @ L.T is the covariance of samples around their class's mean, shrunk
    towards the same spread in every direction as if that had been seen on D samples more. The identity where nothing spreads,
    and above WIDEST."""
    D = vector_ND.shape[1]
    off_ND, classes = np.zeros(vector_ND.shape), np.unique(labels_N)
    for label in classes:
        off_ND[labels_N == label] = vector_ND[labels_N == label] - vector_ND[labels_N == label].mean(axis=0)
    spread = (off_ND**2).sum() / D  # of one direction, on average, as a sum over samples
    if D > WIDEST or spread == 0:
        return np.eye(D)
    seen = len(vector_ND) - len(classes)
    covariance_DD = (off_ND.T @ off_ND + D * spread / max(seen, 1) * np.eye(D)) / (max(seen, 1) + D)
    return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance_DD)), np.float64)


def length_one(vector_PD: NDArray[Any]) -> NDArray[np.float64]:
    """Rows of length 1; the centre itself, which is like nothing, stays 0."""
    length_P1 = np.linalg.norm(vector_PD, axis=1, keepdims=True)
    return np.asarray(vector_PD / np.where(length_P1 == 0, 1, length_P1), np.float64)
