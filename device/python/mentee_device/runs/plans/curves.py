"""A knob's value over a run: a number, or a curve that is straight between its points and flat outside them.

Position is the fraction of the run, 0 at the first step and 1 at its end, as in the server's schedules.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mentee_device.bundle.fields import fits_float32

Curve = float | Sequence[Sequence[float]]


def check_curve(name: str, curve: Any) -> Curve:
    """`curve` if it is one of the knob `name`. Raises ValueError in one line."""
    points = [[0.0, curve]] if isinstance(curve, int | float) and not isinstance(curve, bool) else curve
    expected = "a number, or points [[fraction of the run, value], …]"
    if not isinstance(points, list | tuple) or not points:
        raise ValueError(f"{name} is {curve!r}, expected {expected}")
    for point in points:
        if not isinstance(point, list | tuple) or len(point) != 2:
            raise ValueError(f"{name} has the point {point!r}, expected {expected}")
        if not all(fits_float32(number) for number in point):
            raise ValueError(
                f"{name} is {curve!r}, expected a finite number above 0 or equal to it, or a curve of such"
            )
        above = point[1] > 0 if name == "temperature" else point[1] >= 0
        if not above:
            more = "above" if name == "temperature" else "of at least"
            raise ValueError(f"{name} is {point[1]}, expected a finite number {more} 0")
    positions = [point[0] for point in points]
    if positions != sorted(positions) or not 0 <= positions[0] <= positions[-1] <= 1:
        raise ValueError(f"{name}: positions {positions} must rise and lie between 0 and 1")
    return points if curve is points else float(curve)


def value_at(curve: Curve, position: float) -> float:
    """The knob at this fraction of the run; at a jump (one position twice) the later value."""
    if isinstance(curve, int | float):
        return float(curve)
    positions, values = ([float(point[axis]) for point in curve] for axis in (0, 1))
    after = int(np.searchsorted(positions, position, side="right"))
    if after == 0 or after == len(positions):
        return values[0 if after == 0 else -1]
    share = (position - positions[after - 1]) / (positions[after] - positions[after - 1])
    return values[after - 1] + share * (values[after] - values[after - 1])


def highest(curve: Curve) -> float:
    """The largest value it takes."""
    return float(curve) if isinstance(curve, int | float) else max(float(point[1]) for point in curve)
