"""Passes of a few samples each. A step's memory is its activations', and a phone has little: the gradient of many samples is the
sum of what passes over a few of them leave.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.inputs import Batch
from mentee_device.bundle.manifest import Manifest

EVALUATION_BATCH = 8  # answers do not depend on it beyond rounding; 64 at once saved a twentieth of the time
PASS_BYTES = 2 * 2**20  # of activations
LEAST = 4  # samples a pass; fewer cost more time than they save memory


def passes(manifest: Manifest, batch: Batch) -> Iterator[tuple[Batch, dict[str, float]]]:
    """`batch` of one step in parts whose gradients add up to the whole's, and of each loss term the part's share in it.

    A weighted mean over B samples is the sum over the parts of (their weight / all weight) times theirs, so each part gets α
    and γ times that share. One part where that does not hold: a loss that relates samples or takes a root over them (probes
    with β above 0, a softmax loss other than KL), BatchNorm on the statistics of the batch, Dropout's masks.
    """
    B = len(batch.input)
    size = pass_size(manifest)
    if size >= B or not separable(manifest, float(batch.beta[0])):
        yield batch, dict.fromkeys(manifest.terms, 1.0)
        return
    for start in range(0, B, size):
        part = batch.rows(start, start + size)
        labels = _share(part.labelled, batch.labelled)
        answers = _share(part.supervised, batch.supervised)
        part = part._replace(alpha=batch.alpha * labels, gamma=batch.gamma * answers)
        yield part, {name: float(labels if name == "ce" else answers) for name in manifest.terms}


def pass_size(manifest: Manifest) -> int:
    """Samples of one pass of the training graph."""
    per_sample = manifest.activation_bytes
    return max(LEAST, int(PASS_BYTES / per_sample)) if per_sample else EVALUATION_BATCH


def separable(manifest: Manifest, beta: float) -> bool:
    """Whether the loss of a batch is a weighted sum of its parts'."""
    return (
        manifest.terms[-1] == "kl"
        and (not manifest.probes or beta == 0)
        and manifest.batch_norm != "batch"
        and manifest.dropout == "off"
    )


def added(total: Mapping[str, float], part: Mapping[str, float], share: Mapping[str, float]) -> dict[str, float]:
    """The loss and its terms over the parts so far; `loss` has its shares in α and γ already."""
    return {name: total.get(name, 0.0) + share.get(name, 1.0) * value for name, value in part.items()}


def _share(part_B: NDArray[np.float32], all_B: NDArray[np.float32]) -> np.float32:
    whole = all_B.sum(dtype=np.float64)
    return np.float32(part_B.sum(dtype=np.float64) / whole) if whole else np.float32(0)
