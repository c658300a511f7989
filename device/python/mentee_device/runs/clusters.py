"""Groups of one owner's unlabelled samples: labels by where they lie together, not by one sample's softmax.

A mentee that confuses two words of a stranger often still keeps them apart in its embedding: the stranger's samples lie in
groups, next to where everybody else's class is. So the base's class means are moved onto the owner's groups, a few rounds
of soft k-means on the sphere. The number of samples of each class need not be known, nor equal. Axes: N samples, D
embedding, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import UNLABELLED, SampleError
from mentee_device.core.learner import Learner

SHARPNESS = 10.0  # of the softmax over cosines: softer than an answer, so that a wrong first mean is not final
ROUNDS = 6
HOLD = 2.0  # a base mean counts as this many samples
DRAWS = 4  # halvings that a label has to survive


def clusters(
    embedding_ND: NDArray[Any],
    means_KD: NDArray[Any],
    labels_N: NDArray[np.int64] | None = None,
    *,
    rounds: int = ROUNDS,
    sharpness: float = SHARPNESS,
    hold: float = HOLD,
    moving: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """The share [N, K] that each class has in each of the owner's samples; rows add up to 1.

    `means_KD` are the class means of the bundle's labelled replay samples, from the same parameters as `embedding_ND`;
    `labels_N` what the owner said, −1 where nothing: such samples stay whole in their class and pull it. Both are centred on
    the mean of `means_KD` and brought to length 1 (SimpleShot, arXiv 1911.04623); a round takes the softmax of `sharpness` ·
    cosine, and as new means the weighted sums, to which the base adds `hold` samples (soft k-means of Ren et al., arXiv
    1803.00676, section 3.1.1, on a sphere and with a prior). `moving`: rows of the samples that move the means, all by
    default. Raises SampleError.
    """
    if means_KD.ndim != 2 or embedding_ND.shape != (len(embedding_ND), means_KD.shape[1]):
        raise SampleError(
            f"embeddings have shape {list(embedding_ND.shape)} and class means {list(means_KD.shape)}; expected [N, D] and "
            "[K, D]"
        )
    said_N = np.full(len(embedding_ND), -1) if labels_N is None else labels_N
    if said_N.shape != (len(embedding_ND),) or (said_N >= len(means_KD)).any():
        raise SampleError(f"labels of shape {list(said_N.shape)} for {len(embedding_ND)} embeddings; expected one each")
    centre_D = means_KD.mean(axis=0, dtype=np.float64)
    sample_ND, base_KD = _unit(embedding_ND - centre_D), _unit(means_KD - centre_D)
    mean_KD, rows = base_KD, slice(None) if moving is None else moving
    for round in range(rounds + 1):
        shown_NK = np.exp(sharpness * (sample_ND @ mean_KD.T - 1))
        share_NK: NDArray[np.float64] = shown_NK / shown_NK.sum(axis=1, keepdims=True)
        share_NK[said_N >= 0] = np.eye(len(means_KD))[said_N[said_N >= 0]]
        if round < rounds:
            mean_KD = _unit(share_NK[rows].T @ sample_ND[rows] + hold * base_KD)
    return share_NK


def shares(
    learner: Learner, embedding_ND: NDArray[np.float32], labels_N: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """The share [N, K] that each class has in each sample; None where fewer than two classes have a sample to start from.

    `embedding_ND` is under `learner`'s present parameters, `labels_N` what the owner said, −1 where nothing. A class starts
    from its mean in the bundle's replay samples, or where they have none from the owner's labelled ones; one that has neither
    gets no share.
    """
    mean_KD = _means(learner, embedding_ND, labels_N)
    known = np.flatnonzero(~np.isnan(mean_KD).any(axis=1))
    return None if len(known) < 2 else _shares(embedding_ND, mean_KD, known, labels_N)


def steady_classes(
    learner: Learner, embedding_ND: NDArray[np.float32], labels_N: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """The class [N] with the largest of the `shares`, −1 where it hangs on the draw: where the groups of one random half of the
    samples without a label would give another class, in any of `DRAWS` halves and their other halves. None as `shares`.

    A group that is not there, or two that are one, are cut differently by other samples; so most wrong labels go.
    """
    mean_KD = _means(learner, embedding_ND, labels_N)
    known = np.flatnonzero(~np.isnan(mean_KD).any(axis=1))
    if len(known) < 2:
        return None
    class_N: NDArray[np.int64] = _shares(embedding_ND, mean_KD, known, labels_N).argmax(axis=1)
    said, open_ones = np.flatnonzero(labels_N >= 0), np.flatnonzero(labels_N < 0)
    for draw in range(DRAWS):
        mixed = np.random.default_rng(draw).permutation(open_ones)
        for half in np.array_split(mixed, 2):
            again_NK = _shares(embedding_ND, mean_KD, known, labels_N, np.concatenate([said, half]))
            class_N = np.where(again_NK.argmax(axis=1) == class_N, class_N, UNLABELLED)
    return class_N


def _shares(
    embedding_ND: NDArray[np.float32],
    mean_KD: NDArray[np.float32],
    known: NDArray[np.int64],
    labels_N: NDArray[np.int64],
    moving: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """`clusters` among the classes `known`, as shares [N, K] of all."""
    place_K = np.full(len(mean_KD) + 1, -1)  # the last for −1
    place_K[known] = np.arange(len(known))
    share_NK = np.zeros((len(embedding_ND), len(mean_KD)))
    share_NK[:, known] = clusters(embedding_ND, mean_KD[known], place_K[labels_N], moving=moving)
    return share_NK


def _means(learner: Learner, embedding_ND: NDArray[np.float32], labels_N: NDArray[np.int64]) -> NDArray[np.float32]:
    """[K, D], NaN for a class without a sample."""
    replayed = learner.supervision.samples
    everybody = replayed.take(np.flatnonzero(replayed.labels >= 0))
    seen_ND = learner.predict(everybody.input, checked=True).embedding if len(everybody) else embedding_ND[:0]
    mean_KD = np.full((len(learner.bundle.manifest.classes), embedding_ND.shape[1]), np.nan, np.float32)
    for labels, embedding in ((labels_N, embedding_ND), (everybody.labels, seen_ND)):
        for label in np.unique(labels[labels >= 0]):
            mean_KD[label] = embedding[labels == label].mean(axis=0)
    return mean_KD


def _unit(vectors_ND: NDArray[Any]) -> NDArray[np.float64]:
    length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return np.asarray(vectors_ND / np.maximum(length_N1, 1e-12), np.float64)
