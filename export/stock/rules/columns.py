"""Columns: all that each place of a kernel sees of a map, gathered by constant indices in one copy and one node.

Axes: N samples, C channels, H W of a map, P places of the kernel, O of the output, M = N·O.
"""

import numpy as np

from export.rewrites.differentiable import Array
from export.stock.rules.windows import Windows
from export.stock.tape import Tape


def columns(t: Tape, x_NCHW: str, windows: Windows, channels: int, backwards: bool = False) -> str:
    """[M, P·C], `backwards` the last place of the kernel first."""
    x_NHC = t("Transpose", t("Reshape", x_NCHW, [0, channels, -1]), perm=[0, 2, 1])
    seen = places(windows)[:, ::-1] if backwards else places(windows)
    if windows.pointwise:
        return t("Reshape", x_NHC, [-1, channels])
    size = windows.map[0] * windows.map[1]
    if (seen == size).any():
        x_NHC = t("Pad", x_NHC, [0, 0, 0, 0, 1, 0])
    gathered = t("Gather", x_NHC, t.constant(seen.reshape(-1)), axis=1)
    return t("Reshape", gathered, [-1, seen.shape[1] * channels])


def places(windows: Windows) -> Array:
    """[O, P]: the place of the map that each place of the kernel sees; outside of it the one behind the last."""
    (rows, row_in), (across, column_in) = (along(windows, axis) for axis in (0, 1))
    found = rows[:, None, :, None] * windows.map[1] + across[None, :, None, :]
    inside = row_in[:, None, :, None] & column_in[None, :, None, :]
    outs, kernel = windows.out[0] * windows.out[1], windows.kernel[0] * windows.kernel[1]
    return np.where(inside, found, windows.map[0] * windows.map[1]).reshape(outs, kernel)


def along(windows: Windows, axis: int) -> tuple[Array, Array]:
    """[outputs, places of the kernel] along an axis: what is seen, and whether it lies in the map."""
    starts = np.arange(windows.out[axis])[:, None] * windows.strides[axis] - windows.before[axis]
    found = starts + np.arange(windows.kernel[axis])[None, :] * windows.dilations[axis]
    return found, (found >= 0) & (found < windows.map[axis])
