"""Cuts samples into parts that each have the classes in the proportions of the whole. Imports no torch.

Axes: N samples.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mentor_mentee.errors import UserError

Rows = NDArray[np.int64]


def stratified(labels_N: Rows, parts: Sequence[float], seed: int, names: Sequence[str] = ()) -> tuple[Rows, ...]:
    """The rows of each part, ascending: disjoint, and together all. `names` are those of the parts, for messages.

    `parts` are counts (all int, adding up to N) or fractions (adding up to 1). Sizes are exact. A class's share in the
    first part is less than one sample away from proportional; in the k-th part less than k. How many samples of a class
    are in a part does not depend on the seed.
    """
    counts = part_sizes(parts, len(labels_N), names)
    shuffled = generator(seed).permutation(len(labels_N))
    left = shuffled[np.argsort(labels_N[shuffled], kind="stable")]  # by class, at random within a class
    rows = []
    for count in counts:
        # `count` picks spread evenly over the line (as Bresenham draws one): every stretch of it, so every class,
        # gives its share rounded up or down, and the total is exact.
        picked = np.diff(np.arange(len(left) + 1) * count // len(left)) > 0
        rows.append(np.sort(left[picked]))
        left = left[~picked]
    return tuple(rows)


def generator(*seed: int) -> np.random.Generator:
    if min(seed) < 0:
        raise UserError(f"seed {min(seed)} is negative; expected 0 or more")
    return np.random.default_rng(seed)


def part_sizes(parts: Sequence[float], samples: int, names: Sequence[str] = ()) -> list[int]:
    given = f"parts {[round(part, 6) for part in parts]} of {samples} samples"
    if all(isinstance(part, int) for part in parts):
        counts = [int(part) for part in parts]
        if sum(counts) != samples:
            raise UserError(f"{given} add up to {sum(counts)}; expected counts that add up to {samples}")
    else:
        if abs(sum(parts) - 1) > 1e-6:
            raise UserError(f"{given} add up to {sum(parts):g}; expected fractions that add up to 1")
        edges = [round(samples * sum(parts[:i])) for i in range(len(parts) + 1)]
        counts = [right - left for left, right in pairwise(edges)]
    for i, count in enumerate(counts):
        if count < 1:
            part = names[i] if i < len(names) else f"part {i}"
            raise UserError(f"{given} leave {count} samples for {part}; expected at least 1: change its share")
    return counts
