"""The owner's samples, grouped around the classes as the mentee sees them now: clusters.py on a learner. Axes: N samples, K
classes, D embedding.
"""

import numpy as np
from numpy.typing import NDArray

from mentee_device.core.learner import Learner
from mentee_device.runs.clusters import clusters


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
    if len(known) < 2:
        return None
    place_K = np.full(len(mean_KD) + 1, -1)  # the last for −1
    place_K[known] = np.arange(len(known))
    share_NK = np.zeros((len(embedding_ND), len(mean_KD)))
    share_NK[:, known] = clusters(embedding_ND, mean_KD[known], place_K[labels_N])
    return share_NK


def _means(learner: Learner, embedding_ND: NDArray[np.float32], labels_N: NDArray[np.int64]) -> NDArray[np.float32]:
    """[K, D], NaN for a class without a sample."""
    replayed = learner.supervision.samples
    everybody = replayed.take(np.flatnonzero(replayed.labels >= 0))
    seen_ND = learner.predict(everybody.input).embedding if len(everybody) else embedding_ND[:0]
    mean_KD = np.full((len(learner.bundle.manifest.classes), embedding_ND.shape[1]), np.nan, np.float32)
    for labels, embedding in ((labels_N, embedding_ND), (everybody.labels, seen_ND)):
        for label in np.unique(labels[labels >= 0]):
            mean_KD[label] = embedding[labels == label].mean(axis=0)
    return mean_KD
