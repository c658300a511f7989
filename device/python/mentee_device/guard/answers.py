"""Answers from logits, behind the rails that an owner may set.

Axes: N samples, K classes, D embedding.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DONT_KNOW = -1


@dataclass(frozen=True)
class Answers:
    """`classes` [N] int64, −1 for "don't know", their `probability` [N], and what they come from: `logits` [N, K] and
    `embedding` [N, D]."""

    classes: NDArray[np.int64]
    probability: NDArray[np.float64]
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]


def answer(
    logits_NK: NDArray[Any], blocked: Collection[int] = (), confidence_floor: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Class [N], −1 for "don't know", and its probability [N].

    A blocked class is never answered; the best of the others is. Its probability stays that among *all* classes, so what
    looks like a blocked class is unlikely to be anything else and falls under the floor.
    """
    probability_NK = softmax(logits_NK)
    open_NK = probability_NK.copy()
    open_NK[:, list(blocked)] = -1
    class_N = open_NK.argmax(axis=1)
    probability_N = probability_NK[np.arange(len(class_N)), class_N]
    allowed_N = (probability_N >= confidence_floor) & (open_NK.max(axis=1) >= 0)
    return np.where(allowed_N, class_N, DONT_KNOW), probability_N


def softmax(logits_NK: NDArray[Any]) -> NDArray[np.float64]:
    """Rows that sum to 1, in float64."""
    shifted_NK = np.exp(logits_NK.astype(np.float64) - logits_NK.max(axis=1, keepdims=True))
    normal_NK: NDArray[np.float64] = shifted_NK / shifted_NK.sum(axis=1, keepdims=True)
    return normal_NK
