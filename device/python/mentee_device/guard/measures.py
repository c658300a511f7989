"""Measures of a candidate on the golden set, and its limits: pure functions on logits.

Axes: N samples of the golden set, K classes.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.guard.answers import softmax

BINS = 15  # of the calibration error, as in arXiv 1706.04599


@dataclass(frozen=True)
class Limits:
    """Limits on how far a candidate may move from the base, on the golden set; None leaves that unwatched.

    `golden_drop`: points of accuracy, as a fraction, that may be lost. `class_drop`: the same for each class by itself.
    `agreement_least`: share of samples that must get the base's answer. `ece_rise`: growth of the calibration error.
    The default holds accuracy alone: an owner wants other answers, and 0.02 is what replay costs at worst.
    """

    golden_drop: float = 0.02
    class_drop: float | None = None
    agreement_least: float | None = None
    ece_rise: float | None = None


@dataclass(frozen=True)
class Measured:
    """A mentee on the golden set; `per_class` [K], NaN for a class that has no sample there."""

    accuracy: float
    ece: float
    agreement: float
    per_class: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """NaN becomes None."""
        return {**asdict(self), "per_class": [None if np.isnan(value) else value for value in self.per_class]}


def measure(logits_NK: NDArray[Any], labels_N: NDArray[np.int64], base_logits_NK: NDArray[Any]) -> Measured:
    """Accuracy, expected calibration error, share of answers equal to the base's, accuracy by class; N ≥ 1."""
    hits_N = logits_NK.argmax(axis=1) == labels_N
    classes = range(logits_NK.shape[1])
    per_class = tuple(
        float(hits_N[labels_N == label].mean()) if (labels_N == label).any() else float("nan") for label in classes
    )
    agreement = float(np.mean(logits_NK.argmax(axis=1) == base_logits_NK.argmax(axis=1)))
    return Measured(float(hits_N.mean()), calibration_error(logits_NK, labels_N), agreement, per_class)


def calibration_error(logits_NK: NDArray[Any], labels_N: NDArray[np.int64], bins: int = BINS) -> float:
    """Σ over bins of (share of samples) · |accuracy − mean confidence|, bins of equal width in confidence (1706.04599)."""
    confidence_N = softmax(logits_NK).max(axis=1)
    hits_N = logits_NK.argmax(axis=1) == labels_N
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    gaps = [abs(hits_N[bin_N == one].sum() - confidence_N[bin_N == one].sum()) for one in range(bins)]
    return float(sum(gaps) / len(labels_N))


def judge(candidate: Measured, base: Measured, limits: Limits, names: tuple[str, ...]) -> list[str]:
    """Why `candidate` must not become current, a line each; empty where it may. A limit is met at equality."""
    slack = 1e-9  # a fall of exactly the limit must not hang on rounding
    reasons = []
    if base.accuracy - candidate.accuracy > limits.golden_drop + slack:
        reasons.append(
            f"golden accuracy {candidate.accuracy:.4f} is more than {limits.golden_drop:g} below the base's {base.accuracy:.4f}"
        )
    if limits.agreement_least is not None and candidate.agreement < limits.agreement_least - slack:
        reasons.append(
            f"agrees with the base on {candidate.agreement:.4f}, at least {limits.agreement_least:g} is wanted"
        )
    if limits.ece_rise is not None and candidate.ece - base.ece > limits.ece_rise + slack:
        reasons.append(
            f"calibration error {candidate.ece:.4f} is more than {limits.ece_rise:g} above the base's {base.ece:.4f}"
        )
    if limits.class_drop is not None:
        for name, now, before in zip(names, candidate.per_class, base.per_class, strict=True):
            if before - now > limits.class_drop + slack:  # false for NaN
                reasons.append(
                    f"class {name!r}: {now:.4f} is more than {limits.class_drop:g} below the base's {before:.4f}"
                )
    return reasons
