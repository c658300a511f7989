"""Batches from samples: the owner's with their labels, replayed ones with the mentor's answers as well.

Samples without a label or without a mentor's answer go through the same graph as those with: a mask says what counts,
and what it hides is zeros. Axes: B samples of one batch, K classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.fields import fits_float32
from mentee_device.bundle.inputs import KNOBS, Batch
from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import OwnAnswers, SampleError, Samples, Supervision, check_labels, preprocess


def unanswered(manifest: Manifest, input: NDArray[Any], knobs: Mapping[str, float] | None = None) -> Batch:
    """`input` [B, C, H, W] alone, neither labels nor a mentor: logits and embedding are all that means something."""
    ready = preprocess(input, manifest)
    B, K = len(ready), len(manifest.classes)
    return Batch(
        input=ready,
        labels=np.zeros(B, np.int64),
        labelled=np.zeros(B, np.float32),
        mentor_logits=np.zeros((B, K), np.float32),
        supervised=np.zeros(B, np.float32),
        activations={name: np.zeros((B, *shape), np.float32) for name, shape in manifest.probes.items()},
        **_knobs(manifest, knobs or {}),
    )


def mixed(
    manifest: Manifest,
    samples: Samples,
    replay: Supervision | None,
    owner_weight: float,
    knobs: Mapping[str, float],
    weights: NDArray[np.float32] | None = None,
    answers: OwnAnswers | None = None,
) -> Batch:
    """The owner's samples, with the mentor's `answers` where there are any, then the replayed ones with theirs; `knobs` over the
    bundle's defaults.

    `labelled` is 1 for an owner's label (or its share `weights` [B], where it was guessed), 1/owner_weight for a replayed
    one and 0 where there is none: the graph takes weighted means. Raises SampleError for samples that do not fit the
    bundle, knobs and weights out of range.
    """
    if not 0 < owner_weight < float("inf"):
        raise SampleError(f"owner_weight is {owner_weight}, expected a finite number above 0")
    alone = unanswered(manifest, samples.input, knobs)
    labels = check_labels(samples.labels, len(samples.input), manifest, unlabelled=True)
    labelled = (labels >= 0).astype(np.float32)
    if weights is not None:
        if weights.shape != (len(samples),) or not np.isfinite(weights).all() or (weights < 0).any():
            raise SampleError(
                f"weights {weights.shape} do not fit {len(samples)} samples: expected finite ones of at least 0"
            )
        labelled *= weights
    owner = alone._replace(labels=labels, labelled=labelled)
    if answers is not None:
        owner = owner._replace(
            mentor_logits=answers.mentor_logits,
            supervised=answers.known.astype(np.float32),
            activations={name: value.astype(np.float32) for name, value in answers.activations.items()},
        )
    return owner if replay is None else _with_replay(manifest, owner, replay, owner_weight)


def _with_replay(manifest: Manifest, owner: Batch, replay: Supervision, owner_weight: float) -> Batch:
    labels = check_labels(replay.samples.labels, len(replay), manifest, unlabelled=True)
    labelled = (labels >= 0).astype(np.float32) / np.float32(owner_weight)
    return owner._replace(
        input=np.concatenate([owner.input, preprocess(replay.samples.input, manifest)]),
        labels=np.concatenate([owner.labels, labels]),
        labelled=np.concatenate([owner.labelled, labelled]),
        mentor_logits=np.concatenate([owner.mentor_logits, replay.mentor_logits.astype(np.float32)]),
        supervised=np.concatenate([owner.supervised, np.ones(len(replay), np.float32)]),
        activations={
            probe: np.concatenate([zeros, replay.activations[probe].astype(np.float32)])
            for probe, zeros in owner.activations.items()
        },
    )


def _knobs(manifest: Manifest, given: Mapping[str, float]) -> dict[str, NDArray[np.float32]]:
    knobs = {}
    for name in KNOBS:
        value = given.get(name, getattr(manifest.knobs, name))
        value = value.item() if isinstance(value, np.generic) else value
        if not fits_float32(value) or value < 0 or (name == "temperature" and value == 0):
            above = "above" if name == "temperature" else "of at least"
            raise SampleError(f"{name} is {repr(value)[:70]}, expected a finite number {above} 0")
        knobs[name] = np.array([value], np.float32)
    return knobs
