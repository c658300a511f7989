"""Answers over spare classes, which the mentor has no opinion on. Axes: N samples, K classes."""

import numpy as np
from numpy.typing import NDArray

LARGEST_HALF = 65504.0


def with_spare(
    mentor_NK: NDArray[np.float32], base_NK: NDArray[np.float32], spare: int, temperature: float
) -> NDArray[np.float32]:
    """The mentor's logits, the last `spare` such that at `temperature` its softmax gives them the share that the base's does, as
    a bundle's pack has them: a mentor that excluded them would unteach the owner's classes."""
    mentor, base = mentor_NK.astype(np.float64) / temperature, base_NK.astype(np.float64) / temperature
    known = slice(0, mentor.shape[1] - spare)
    shift = logsumexp(mentor[:, known]) - logsumexp(base[:, known])
    whole = np.concatenate([mentor[:, known], base[:, mentor.shape[1] - spare :] + shift], axis=1) * temperature
    return np.clip(whole, -LARGEST_HALF, LARGEST_HALF).astype(np.float32)


def logsumexp(values_NK: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, 1]."""
    highest = values_NK.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(values_NK - highest).sum(axis=1, keepdims=True)) + highest)
