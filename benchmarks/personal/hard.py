"""Hard owners, simulated: one person's samples disturbed, with classes missing or uneven, or two people on one device.

On the device program's environment: numpy alone. Axes: N samples, C channels, H height (1 of a signal), W width or length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mentee_device import Samples
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Random = np.random.Generator
Disturb = Callable[[Floats, Random], Floats]


@dataclass(frozen=True)
class Draw:
    """Samples of one simulated owner: `labelled` and `unlabelled` (labels withheld) to learn from, `test` to judge by."""

    labelled: Samples
    unlabelled: Samples
    test: Samples


@dataclass(frozen=True)
class Kind:
    """`disturb` changes a person's samples; `missing`: this share of classes they never meet; `uneven`: class frequencies fall as
    1 / rank; `mixed`: half of the samples are another person's."""

    disturb: Disturb | None = None
    missing: float = 0.0
    uneven: bool = False
    mixed: bool = False


def interpolated(input_NCHW: Floats, place_W: Floats, axis: int) -> Floats:
    """Values at fractional places along `axis`; 0 beyond the ends."""
    moved = np.moveaxis(input_NCHW, axis, -1)
    low = np.floor(place_W).astype(int)
    part = place_W - low
    size = moved.shape[-1]
    padded = np.concatenate([np.zeros_like(moved[..., :1]), moved, np.zeros_like(moved[..., :2])], -1)
    left, right = (padded[..., np.clip(low + step, -1, size) + 1] for step in (0, 1))
    return np.moveaxis(left * (1 - part) + right * part, -1, axis)


def stretched(factor: float, axis: int) -> Disturb:
    """Longer by `factor` about the middle of `axis`."""

    def disturb(input: Floats, random: Random) -> Floats:
        middle = (input.shape[axis] - 1) / 2
        return interpolated(input, middle + (np.arange(input.shape[axis]) - middle) / factor, axis)

    return disturb


def shifted(steps: float, axis: int) -> Disturb:
    """Moved along `axis`, as a higher or lower voice moves along the mel bands."""
    return lambda input, random: interpolated(input, np.arange(input.shape[axis]) - steps, axis)


def hiss(decades: float) -> Disturb:
    """Noise of that power in every band of a log-mel signal."""

    def disturb(input: Floats, random: Random) -> Floats:
        noise = decades + random.normal(0, 0.2, input.shape)
        return np.log10(10 ** input.astype(np.float64) + 10**noise)

    return disturb


def muffled(decades: float) -> Disturb:
    """The highest band is weaker by that much, those below in proportion."""

    def disturb(input: Floats, random: Random) -> Floats:
        fall_C = np.linspace(0, decades, input.shape[1])
        return np.maximum(input - fall_C[:, None, None] * (input > 0), 0)

    return disturb


def noisy(deviation: float) -> Disturb:
    return lambda input, random: input + random.normal(0, deviation, input.shape)


def gained(factor: float) -> Disturb:
    return lambda input, random: input * factor


def slanted(shear: float) -> Disturb:
    """An image whose rows move sideways, those above and below the middle against one another."""

    def disturb(input: Floats, random: Random) -> Floats:
        height, width = input.shape[2:]
        rows = [
            interpolated(input[:, :, row], np.arange(width) - shear * (row - (height - 1) / 2), 2)
            for row in range(height)
        ]
        return np.stack(rows, axis=2)

    return disturb


def thick(input: Floats, random: Random) -> Floats:
    """A pen a pixel wider, right and down."""
    wide = np.maximum(input, np.roll(input, 1, -1))
    return np.maximum(wide, np.roll(wide, 1, -2))


def rotation(axis: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """[3, 3] about `axis` (Rodrigues)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    whole: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return whole


def turned(degrees: float) -> Disturb:
    """A motion sensor turned about an axis drawn anew for each owner; both triples of channels turn alike."""

    def disturb(input: Floats, random: Random) -> Floats:
        turn = rotation(random.normal(size=3), degrees)
        return np.concatenate(
            [np.einsum("ab,nbhw->nahw", turn, input[:, part]) for part in (slice(0, 3), slice(3, 6))], 1
        )

    return disturb


SHARED = {
    "plain": Kind(),
    "classes missing": Kind(missing=0.4),
    "uneven": Kind(uneven=True),
    "two mixed": Kind(mixed=True),
}
KINDS = {
    "speech": {
        **SHARED,
        "hiss": Kind(hiss(1.6)),
        "muffled": Kind(muffled(1.6)),
        "high voice": Kind(shifted(2.0, 1)),
        "slow": Kind(stretched(1.3, 3)),
    },
    "writing": {
        **{name: Kind(slanted(0.25), kind.missing, kind.uneven, kind.mixed) for name, kind in SHARED.items()},
        "slanted back": Kind(slanted(-0.35)),
        "thick": Kind(thick),
        "noise": Kind(noisy(0.3)),
        "narrow": Kind(stretched(0.7, 3)),
    },
    "motion": {
        **SHARED,
        "turned": Kind(turned(20.0)),
        "gain": Kind(gained(1.25)),
        "noise": Kind(noisy(0.15)),
        "slow": Kind(stretched(1.2, 3)),
    },
}


def draw_owner(mine: Samples, other: Samples, kind: Kind, k: int, seed: int, judged: int, most: int = 5) -> Draw:
    """`k` ≤ `most` labelled samples a class, the share `judged` to judge by and the rest unlabelled. The same seed has the same
    test and unlabelled samples for every k."""
    random = np.random.default_rng(seed)
    input: Floats = mine.input.astype(np.float64)
    labels = mine.labels
    if kind.mixed:
        input, labels = np.concatenate([input, other.input]), np.concatenate([labels, other.labels])
        half = random.permutation(len(labels))[: len(labels) // 2]
        input, labels = input[half], labels[half]
    if kind.disturb is not None:
        input = kind.disturb(input, random)
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    classes = random.permutation(np.unique(labels))
    classes = classes[round(kind.missing * len(classes)) :]
    for rank, label in enumerate(classes):
        rows = random.permutation(np.flatnonzero(labels == label))
        share = 2 / (2 + rank) if kind.uneven else 1.0
        test = round(judged * share * len(rows))
        rest = rows[test + most : test + most + max(2, round(share * (len(rows) - test - most)))]
        for part, some in zip(parts, (rows[test : test + k], rest, rows[:test]), strict=True):
            part.append(some)
    # the labelled ones last: how many they are must not change the order of the others
    test_rows, rest, labelled = (random.permutation(np.concatenate(part)) for part in reversed(parts))
    whole = Samples(input.astype(np.float32), labels)
    return Draw(whole.take(labelled), whole.take(rest), whole.take(test_rows))
