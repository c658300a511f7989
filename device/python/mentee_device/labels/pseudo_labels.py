"""Labels where the owner gave none: guessed by the mentor, by the mentee itself, or by what stood next to it in a stream.

A guess is always a hard label and always weaker than the owner's word: it says where it comes from, how sure its source
was, and weighs a quarter, unless it comes from clusters. The owner's own labels are never touched. Axes: N samples, in a
stream oldest first, K classes.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import UNLABELLED, SampleError
from mentee_device.state.about import MENTOR_ONLINE

OWNER, MENTOR, NEAR_MISS, STREAM, CLUSTER, PSEUDO = "owner", "mentor", "near_miss", "stream", "cluster", "pseudo"
GUESSED = (MENTOR, MENTOR_ONLINE, NEAR_MISS, STREAM, CLUSTER, PSEUDO)
GUESS_WEIGHT = 0.25  # against 1 for a label of the owner, as for a replayed sample
CLUSTER_WEIGHT = 1.0  # of those by clusters, as measured on spoken digits of strangers
LOWEST_THRESHOLD = 0.5  # of an adaptive threshold: below it more speaks against a label than for it

Mentor = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Guesses:
    """N samples and their labels: `labels` int64 (−1: none), `confidence` float32 (the source's probability of that label, 0
    where there is none), `source` ("" where there is none), `weight` float32 for the loss, and `before`, int64: the label that
    stood there before a neighbour's was put in its place, −1 for none."""

    labels: NDArray[np.int64]
    confidence: NDArray[np.float32]
    source: NDArray[np.str_]
    weight: NDArray[np.float32]
    before: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def guessed(self) -> NDArray[np.bool_]:
        """[N], True where the label is a guess and not the owner's."""
        return np.isin(self.source, GUESSED)

    def undo(self, sources: Collection[str] = GUESSED) -> "Guesses":
        """The evidence without the guesses of these sources: such samples are unlabelled again, also where another guess stood
        before.

        A frame that a neighbour overruled was doubtful. Raises SampleError for the owner's labels and unknown names.
        """
        unknown = [name for name in sources if name not in GUESSED]
        if unknown:
            raise SampleError(f"guesses of {unknown} cannot be undone: expected some of {list(GUESSED)}")
        return self._with(np.isin(self.source, list(sources)), UNLABELLED, 0.0, "")

    def _with(
        self,
        rows: NDArray[np.bool_],
        label: Any,
        confidence: Any,
        source: str,
        before: Any = -1,
        weight: float = GUESS_WEIGHT,
    ) -> "Guesses":
        return replace(
            self,
            labels=np.where(rows, label, self.labels),
            confidence=np.where(rows, confidence, self.confidence).astype(np.float32),
            source=np.where(rows, source, self.source),
            weight=np.where(rows, weight if source else 0.0, self.weight).astype(np.float32),
            before=np.where(rows, before, self.before),
        )


def owners(labels_N: NDArray[np.int64]) -> Guesses:
    """The owner's labels, −1 for none: where every guessing starts."""
    said = labels_N >= 0
    return Guesses(
        labels_N.astype(np.int64),
        said.astype(np.float32),
        np.where(said, OWNER, "").astype(f"<U{max(map(len, GUESSED))}"),
        said.astype(np.float32),
        np.full(len(labels_N), UNLABELLED, np.int64),
    )


def mentors(known: Guesses, logits_NK: NDArray[Any], threshold: float = 0.0, source: str = MENTOR) -> Guesses:
    """The mentor's class for each unlabelled sample, from its logits; a row of NaN is a sample that it was not asked.

    `threshold` is the least probability that counts as an answer. Raises SampleError.
    """
    asked = ~np.isnan(np.atleast_2d(logits_NK)).all(axis=1)
    probability_NK = probabilities(np.where(asked[:, None], logits_NK, 0.0), len(known))
    free = (known.labels < 0) & asked & (probability_NK.max(axis=1) >= _share(threshold, "threshold"))
    return known._with(free, probability_NK.argmax(axis=1), probability_NK.max(axis=1), source)


def ask(mentor: Mentor, input: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """`mentor(input)` as logits [N, K], or rows of NaN where it cannot be reached now: where it raises an OSError, as
    every failure of a connection does, timeouts too. What else it raises passes through."""
    try:
        logits_NK = np.asarray(mentor(input), np.float64)
    except OSError:
        return np.full((len(input), classes), np.nan)
    if logits_NK.shape != (len(input), classes):
        raise SampleError(f"the mentor answered {list(logits_NK.shape)}, expected logits {[len(input), classes]}")
    return logits_NK


def pseudo(known: Guesses, probability_NK: NDArray[Any], threshold: float | NDArray[Any] = 0.95) -> Guesses:
    """The mentee's own class for each unlabelled sample it is sure of: max p ≥ threshold, one for all or [K] by class.

    Hard labels above a fixed threshold are FixMatch's, arXiv 2001.07685, equation 4. Raises SampleError.
    """
    _check_probabilities(probability_NK, len(known))
    threshold_K = np.broadcast_to(np.asarray(threshold, np.float64), (probability_NK.shape[1],))
    for value in threshold_K:
        _share(float(value), "threshold")
    best = probability_NK.argmax(axis=1)
    free = (known.labels < 0) & (probability_NK.max(axis=1) >= threshold_K[best])
    return known._with(free, best, probability_NK.max(axis=1), PSEUDO)


def clustered(known: Guesses, share_NK: NDArray[Any], weight: float = CLUSTER_WEIGHT) -> Guesses:
    """The class with the largest share in each unlabelled sample, by `clusters`, however large that is: the
    softmax of `clusters` is soft. Raises SampleError."""
    _check_probabilities(share_NK, len(known))
    if not 0 < weight < float("inf"):
        raise SampleError(f"weight is {weight}, expected a finite number above 0")
    return known._with(known.labels < 0, share_NK.argmax(axis=1), share_NK.max(axis=1), CLUSTER, weight=weight)


def adaptive_thresholds(probability_NK: NDArray[Any], threshold: float = 0.95) -> NDArray[np.float64]:
    """[K]: lower for classes that the mentee is seldom sure of, so that they are not left without labels.

    FlexMatch, arXiv 2110.08263, with its warm-up and its convex mapping: σ_c counts the samples surely of class c,
    β_c = σ_c / max(max σ, N − Σσ), the threshold is β/(2 − β)·τ. Never below LOWEST_THRESHOLD, which is ours. Raises
    SampleError.
    """
    _check_probabilities(probability_NK, len(probability_NK))
    K = probability_NK.shape[1]
    sure = probability_NK.max(axis=1) >= _share(threshold, "threshold")
    count_K = np.bincount(probability_NK.argmax(axis=1)[sure], minlength=K)
    share_K = count_K / max(count_K.max(), len(probability_NK) - count_K.sum(), 1)
    return np.asarray(np.maximum(share_K / (2 - share_K) * threshold, min(LOWEST_THRESHOLD, threshold)))


def near_misses(
    known: Guesses,
    probability_NK: NDArray[Any],
    threshold: float = 0.95,
    near: float = 0.35,
    classes: Collection[int] | None = None,
) -> Guesses:
    """Labels near-misses in a stream: a frame right before a hit, that nearly was one, takes the hit's class.

    A hit is a frame of a class with p ≥ `threshold`, or that the owner labelled so. The frame before it nearly was one if
    that class is its first or second and has `near` ≤ p < `threshold`. Somebody who is not understood repeats himself:
    the first try was meant the same way. `classes` are those that count as hits, all by default: leave out silence and the
    like. Raises SampleError.
    """
    _check_probabilities(probability_NK, len(known))
    if not 0 < _share(near, "near") <= _share(threshold, "threshold"):
        raise SampleError(f"near is {near}, expected above 0 and at most the threshold {threshold}")
    best = probability_NK.argmax(axis=1)
    hit = np.where(probability_NK.max(axis=1) >= threshold, best, UNLABELLED)
    hit = np.where(known.source == OWNER, known.labels, hit)
    if classes is not None:
        hit = np.where(np.isin(hit, list(classes)), hit, UNLABELLED)
    rows, found = np.zeros(len(known), bool), np.full(len(known), UNLABELLED)
    for frame in range(len(known) - 1):
        label = hit[frame + 1]
        if label < 0 or known.labels[frame] >= 0:
            continue
        p = probability_NK[frame, label]
        rows[frame] = near <= p < threshold and (probability_NK[frame] > p).sum() <= 1
        found[frame] = label
    return known._with(rows, found, probability_NK[np.arange(len(known)), found], NEAR_MISS)


def agreed(known: Guesses, window: int = 5) -> Guesses:
    """Smooths a stream: a frame whose guess differs from the majority of the window around it takes the majority's label.

    A majority is more than half of `window` frames, an odd number with the frame in its middle; the owner's labels vote
    and stay. The first and last frames lack neighbours on one side and stay as they are. All vote with what they had
    before. Frames without any label get one too if the majority has. A guess here is as sure as those it follows on average.
    Raises SampleError.
    """
    if window < 3 or window % 2 == 0:
        raise SampleError(f"window is {window}, expected an odd number of at least 3 frames")
    rows, label_N = np.zeros(len(known), bool), known.labels.copy()
    confidence_N = np.zeros(len(known))
    reach = window // 2
    for frame in range(reach, len(known) - reach):
        around = slice(frame - reach, frame + reach + 1)
        votes = known.labels[around]
        seen = np.bincount(votes[votes >= 0], minlength=1)
        winner = int(seen.argmax())
        if seen[winner] * 2 > window and winner != known.labels[frame] and known.source[frame] != OWNER:
            rows[frame], label_N[frame] = True, winner
            confidence_N[frame] = known.confidence[around][votes == winner].mean()
    return known._with(rows, label_N, confidence_N, STREAM, known.labels)


def probabilities(logits_NK: NDArray[Any], samples: int) -> NDArray[np.float64]:
    """Softmax in float64. Raises SampleError for another shape than [samples, K ≥ 2] and for NaN."""
    if logits_NK.ndim != 2 or len(logits_NK) != samples or logits_NK.shape[1] < 2:
        raise SampleError(
            f"logits have shape {list(logits_NK.shape)}, expected [{samples}, classes]: one row per sample"
        )
    if not np.isfinite(logits_NK).all():
        row = int(np.flatnonzero(~np.isfinite(logits_NK).all(axis=1))[0])
        raise SampleError(f"logits hold NaN or Inf, first for sample {row}: expected finite numbers")
    shifted_NK = np.exp(logits_NK.astype(np.float64) - logits_NK.max(axis=1, keepdims=True))
    return np.asarray(shifted_NK / shifted_NK.sum(axis=1, keepdims=True))


def _check_probabilities(probability_NK: NDArray[Any], samples: int) -> None:
    if probability_NK.ndim != 2 or len(probability_NK) != samples or probability_NK.shape[1] < 2:
        raise SampleError(f"probabilities have shape {list(probability_NK.shape)}, expected [{samples}, classes]")
    if not np.isfinite(probability_NK).all() or (probability_NK < 0).any() or (probability_NK > 1.0001).any():
        raise SampleError("probabilities must lie from 0 to 1: expected a softmax, not logits")


def _share(value: float, name: str) -> float:
    if not 0 <= value <= 1:
        raise SampleError(f"{name} is {value}, expected a probability from 0 to 1")
    return value
