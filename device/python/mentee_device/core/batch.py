"""The feeds of one call of the training or eval graph, by name.

Samples without a label or without a mentor's answer go through the same graph as those with: a mask says what counts,
and what it hides is zeros. Axes: B samples of one batch, K classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.manifest import KNOBS, Manifest
from mentee_device.bundle.samples import SampleError, Samples, Supervision, check_labels, preprocess

Feeds = dict[str, NDArray[Any]]


def unanswered(manifest: Manifest, input: NDArray[Any]) -> Feeds:
    """`input` [B, C, H, W] alone, neither labels nor a mentor: logits and embedding are all that means something."""
    ready = preprocess(input, manifest)
    B, K = len(ready), len(manifest.classes)
    return {
        "input": ready,
        "labels": np.zeros(B, np.int64),
        "labelled": np.zeros(B, np.float32),
        "mentor_logits": np.zeros((B, K), np.float32),
        "supervised": np.zeros(B, np.float32),
        **{f"mentor_{name}": np.zeros((B, *shape), np.float32) for name, shape in manifest.probes.items()},
        **_knobs(manifest, {}),
    }


def mixed(
    manifest: Manifest,
    samples: Samples,
    replay: Supervision | None,
    owner_weight: float,
    knobs: dict[str, float],
    weights: NDArray[np.float32] | None = None,
) -> Feeds:
    """The owner's samples, then the replayed ones with the mentor's answers; `knobs` over the bundle's defaults.

    `labelled` is 1 for an owner's label (or its share `weights` [B], where it was guessed), 1/owner_weight for a replayed
    one and 0 where there is none: the graph takes weighted means. Raises SampleError for samples that do not fit the
    bundle, knobs and weights out of range.
    """
    if not 0 < owner_weight < float("inf"):
        raise SampleError(f"owner_weight is {owner_weight}, expected a finite number above 0")
    owner = unanswered(manifest, samples.input)
    owner["labels"] = check_labels(samples.labels, len(samples.input), manifest, unlabelled=True)
    owner["labelled"] = (owner["labels"] >= 0).astype(np.float32)
    if weights is not None:
        if weights.shape != (len(samples),) or not np.isfinite(weights).all() or (weights < 0).any():
            raise SampleError(
                f"weights {weights.shape} do not fit {len(samples)} samples: expected finite ones of at least 0"
            )
        owner["labelled"] *= weights
    owner.update(_knobs(manifest, knobs))
    if replay is None:
        return owner
    labels = check_labels(replay.samples.labels, len(replay), manifest, unlabelled=True)
    answered = {
        "input": preprocess(replay.samples.input, manifest),
        "labels": labels,
        "labelled": (labels >= 0).astype(np.float32) / np.float32(owner_weight),
        "mentor_logits": replay.mentor_logits.astype(np.float32),
        "supervised": np.ones(len(replay), np.float32),
        **{f"mentor_{name}": replay.activations[name].astype(np.float32) for name in manifest.probes},
    }
    return {**owner, **{name: np.concatenate([owner[name], value]) for name, value in answered.items()}}


def _knobs(manifest: Manifest, given: dict[str, float]) -> Feeds:
    feeds: Feeds = {}
    for name in KNOBS:
        value = given.get(name, getattr(manifest.knobs, name))
        if not np.isfinite(value) or value < 0 or (name == "temperature" and value == 0):
            above = "above" if name == "temperature" else "of at least"
            raise SampleError(f"{name} is {value}, expected a finite number {above} 0")
        feeds[name] = np.array([value], np.float32)
    return feeds
