"""Measures of a candidate on the golden set, and its limits: pure functions on logits.

Axes: N samples of the golden set, K classes, B bins of confidence, R resamples.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.guard.answers import softmax
from mentee_device.guard.chance import UNLIKELY, binomial_tail, loss_beyond

BINS = 15  # of the calibration error, as in arXiv 1706.04599
RESAMPLES = 400  # of the golden set, for what chance leaves open of a calibration error
MOST = 2.0  # a loss of this many times its limit is refused whatever chance says
SLACK = 1e-9  # a fall of exactly the limit must not hang on rounding


@dataclass(frozen=True)
class Limits:
    """Limits on how far a candidate may move from the base, on the golden set; None leaves that unwatched.

    `golden_drop`: points of accuracy, as a fraction, that may be lost. `class_drop`: the same for each class by itself.
    `agreement_least`: share of samples that must get the base's answer. `ece_rise`: growth of the calibration error. Each is
    broken by a change that is beyond it by more than chance leaves open (95 %), and by one of twice the limit at all.
    The default holds accuracy alone: an owner wants other answers, and 0.02 is what replay costs at worst.
    """

    golden_drop: float = 0.02
    class_drop: float | None = None
    agreement_least: float | None = None
    ece_rise: float | None = None


@dataclass(frozen=True)
class Measured:
    """A mentee on the golden set; `per_class` [K], NaN for a class that has no sample there. Against the base, by class [K]: of
    `samples`, it alone is wrong on `lost` and it alone right on `won`. `ece_rise`: what its calibration error is at least above
    the base's (95 %)."""

    accuracy: float
    ece: float
    agreement: float
    per_class: tuple[float, ...]
    samples: tuple[int, ...]
    lost: tuple[int, ...]
    won: tuple[int, ...]
    ece_rise: float

    def as_json(self) -> dict[str, Any]:
        """NaN becomes None."""
        return {**asdict(self), "per_class": [None if np.isnan(value) else value for value in self.per_class]}


def measure(
    logits_NK: NDArray[Any], labels_N: NDArray[np.int64], base_logits_NK: NDArray[Any], resample: bool = True
) -> Measured:
    """Accuracy, expected calibration error, share of answers equal to the base's, accuracy by class, changes; N ≥ 1. Without
    `resample` the rise of the calibration error is that of these samples, not what it is at least."""
    hits_N = logits_NK.argmax(axis=1) == labels_N
    base_N = base_logits_NK.argmax(axis=1) == labels_N
    classes = logits_NK.shape[1]
    samples_K, right_K, lost_K, won_K = (
        np.bincount(labels_N[rows], minlength=classes)
        for rows in (np.ones(len(labels_N), bool), hits_N, base_N & ~hits_N, hits_N & ~base_N)
    )
    per_class = tuple(float(right / of) if of else float("nan") for right, of in zip(right_K, samples_K, strict=True))
    ece = calibration_error(logits_NK, labels_N)
    rise = least_rise if resample else lambda *_: ece - calibration_error(base_logits_NK, labels_N)
    return Measured(
        accuracy=float(hits_N.mean()),
        ece=ece,
        agreement=float(np.mean(logits_NK.argmax(axis=1) == base_logits_NK.argmax(axis=1))),
        per_class=per_class,
        samples=tuple(samples_K.tolist()),
        lost=tuple(lost_K.tolist()),
        won=tuple(won_K.tolist()),
        ece_rise=rise(logits_NK, labels_N, base_logits_NK),
    )


def calibration_error(logits_NK: NDArray[Any], labels_N: NDArray[np.int64], bins: int = BINS) -> float:
    """Σ over bins of (share of samples) · |accuracy − mean confidence|, bins of equal width in confidence (1706.04599)."""
    return float(np.abs(_gaps(logits_NK, labels_N, bins).sum(axis=0)).sum() / len(labels_N))


def least_rise(logits_NK: NDArray[Any], labels_N: NDArray[np.int64], base_logits_NK: NDArray[Any]) -> float:
    """Lower bound of the rise in calibration error: the 5 % quantile over `RESAMPLES` resamples, the same for both mentees
    (bootstrap, seeded: the same samples give the same bound)."""
    size = len(labels_N)
    now_NB, before_NB = (_gaps(one, labels_N, BINS) for one in (logits_NK, base_logits_NK))
    count_RN = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), RESAMPLES)
    rise_R = (np.abs(count_RN @ now_NB) - np.abs(count_RN @ before_NB)).sum(axis=1) / size
    return float(np.quantile(rise_R, UNLIKELY))


def _gaps(logits_NK: NDArray[Any], labels_N: NDArray[np.int64], bins: int) -> NDArray[np.float64]:
    """[N, B]: hit − confidence of each sample, in the bin of its confidence."""
    confidence_N = softmax(logits_NK).max(axis=1)
    hits_N = logits_NK.argmax(axis=1) == labels_N
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    gaps_NB = np.zeros((len(labels_N), bins))
    gaps_NB[np.arange(len(labels_N)), bin_N] = hits_N - confidence_N
    return gaps_NB


def judge(
    candidate: Measured, base: Measured, limits: Limits, names: tuple[str, ...], gained: bool = False
) -> list[str]:
    """Why `candidate` must not become current, a line each; empty where it may. A limit is met at equality.

    `gained`: the owner's held-out labels say that it is better for them, beyond chance. Then `golden_drop` is broken only by
    twice as much.
    """
    reasons = []
    lost, won, samples = sum(candidate.lost), sum(candidate.won), sum(candidate.samples)
    if beyond := _beyond(lost, won, samples, limits.golden_drop, 0.0 if gained else UNLIKELY):
        reasons.append(
            f"golden accuracy {candidate.accuracy:.4f} is more than {limits.golden_drop:g} below the base's "
            f"{base.accuracy:.4f}, {beyond}"
        )
    if limits.agreement_least is not None:
        others, most = round((1 - candidate.agreement) * samples), 1 - limits.agreement_least
        by_chance = binomial_tail(others, samples, most) >= UNLIKELY
        if others > most * samples + SLACK and not (by_chance and others <= MOST * most * samples + SLACK):
            reasons.append(
                f"agrees with the base on {candidate.agreement:.4f}, at least {limits.agreement_least:g} is wanted: "
                f"{others} of {samples} golden samples get another answer, {_how(by_chance)}"
            )
    if limits.ece_rise is not None:
        rise, by_chance = candidate.ece - base.ece, candidate.ece_rise <= limits.ece_rise
        if rise > limits.ece_rise + SLACK and not (by_chance and rise <= MOST * limits.ece_rise + SLACK):
            reasons.append(
                f"calibration error {candidate.ece:.4f} is more than {limits.ece_rise:g} above the base's {base.ece:.4f}, "
                f"{_how(by_chance)}"
            )
    return reasons + _class_reasons(candidate, base, limits, names)


def _class_reasons(candidate: Measured, base: Measured, limits: Limits, names: tuple[str, ...]) -> list[str]:
    """As many tests as classes with samples, so each leaves chance less (Bonferroni)."""
    if limits.class_drop is None:
        return []
    reasons, tests = [], max(1, sum(of > 0 for of in candidate.samples))
    rows = zip(
        names, candidate.per_class, base.per_class, candidate.lost, candidate.won, candidate.samples, strict=True
    )
    for name, now, before, lost, won, of in rows:
        if beyond := _beyond(lost, won, of, limits.class_drop, UNLIKELY / tests):
            reasons.append(
                f"class {name!r}: {now:.4f} is more than {limits.class_drop:g} below the base's {before:.4f}, {beyond}"
            )
    return reasons


def _beyond(lost: int, won: int, samples: int, limit: float, unlikely: float = UNLIKELY) -> str:
    """How a loss breaks `limit`, in words; "" where it does not."""
    loss = lost - won
    if loss <= limit * samples + SLACK:
        return ""
    by_chance = not loss_beyond(lost, won, samples, limit, unlikely)
    if by_chance and loss <= MOST * limit * samples + SLACK:
        return ""
    return f"{_how(by_chance)}: of {samples} samples {lost} are newly wrong, {won} newly right"


def _how(by_chance: bool) -> str:
    return f"and more than {MOST:g} times as much" if by_chance else "beyond chance"
