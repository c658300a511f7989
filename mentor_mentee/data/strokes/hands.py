"""Hands: how one person draws. Whatever a person keeps to is a hand's; what differs from drawing to drawing is in `drawing`.

Only `Generator.random` is drawn from, and nothing but + − × / done to it: the same hands on every machine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Hand:
    """Habits of one person. Lengths are in units of the drawing's box, angles in radians; a spread is a standard deviation."""

    number: int
    slant: float  # columns that a row moves for each row from the middle
    turn: float  # clockwise
    width: float  # factor on horizontal lengths
    warp: tuple[float, ...]  # of x by x², xy, y², then of y: proportions that no other has
    spread: float  # of where a stroke goes, and how long it gets
    unsteady: float  # how far a line strays, slowly
    tremor: float  # how far a point strays on its own
    haste: float  # 0 to 1: corners become round, points few, ends light
    overshoot: float  # by which a stroke goes on at its ends; below 0 it stops short
    pressure: float  # the pen's, in the middle
    taper: float  # how much lighter a stroke ends than it begins
    seed: int  # of the form of a glyph that the hand is used to


def hand(number: int, seed: int = 0) -> Hand:
    """The `number`-th hand of `seed`: each is independent of how many there are."""
    random = np.random.default_rng([seed, 0, number])

    def between(low: float, high: float) -> float:
        return float(low + (high - low) * random.random())

    return Hand(
        number=number,
        slant=0.14 * float(bell(random, 1)[0]) + 0.06,
        turn=0.07 * float(bell(random, 1)[0]),
        width=between(0.78, 1.25),
        warp=tuple((0.11 * bell(random, 6)).tolist()),
        spread=between(0.015, 0.05),
        unsteady=between(0.012, 0.035),
        tremor=between(0.002, 0.012),
        haste=random.random(),
        overshoot=0.025 * float(bell(random, 1)[0]),
        pressure=between(0.2, 0.85),
        taper=between(-0.15, 0.45),
        seed=int(random.random() * 2**32),
    )


def bell(random: np.random.Generator, *shape: int) -> Floats:
    """Numbers of mean 0 and standard deviation 1: sums of four uniform ones, within ±3.5."""
    u = random.random((4, *shape))
    return np.asarray((u[0] + u[1] + u[2] + u[3] - 2) * 1.7320508075688772)
