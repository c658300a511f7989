"""The gradient of a depthwise convolution's kernel, from products of rows of its map with rows of the output's gradient.

Axes: C channels, N samples, H W of a map, P places of the kernel, I places of some rows of the map, O of some rows of the output.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from export.rewrites.differentiable import Array
from export.stock.rules.windows import Windows
from export.stock.tape import Tape

Rows = tuple[int, int]  # the first and the end
ALL, BUT_FIRST, BUT_LAST = (0, 1 << 31), (1, 1 << 31), (0, -1)  # tiles of a map
BLOCK = 16 * 16  # I·O of a tile, at most
WHOLE = 64 * 64  # I·O of a map so small that all its places may be taken at once


@dataclass(frozen=True)
class Tiles:
    """How a map is cut: `many` tiles of `rows` rows of the output, which lie over `rows` · stride of the map's. A tile's output
    also sees `above` rows of the tile before and `below` of the one behind."""

    rows: int
    many: int
    stride: int
    above: int
    below: int

    @classmethod
    def of(cls, windows: Windows, rows: int) -> "Tiles | None":
        """None where the tiles do not come out even."""
        (out, _), (size, _), (stride, _) = windows.out, windows.map, windows.strides
        reach = windows.dilations[0] * (windows.kernel[0] - 1) + 1
        above, below = windows.before[0], max(reach - windows.before[0] - stride, 0)
        if rows == out:
            return cls(rows, 1, stride, 0, 0)
        if out % rows or size != out * stride or max(above, below) > rows * stride or above < 0:
            return None
        return cls(rows, out // rows, stride, above, below)


def chosen(windows: Windows) -> Tiles | None:
    """The largest tiles of at most `BLOCK`; the whole of a small map."""
    height, size = windows.out[0], windows.out[1] * windows.map[1] * windows.strides[0]
    sizes = [rows for rows in range(height, 0, -1) if rows * rows * size <= BLOCK]
    if prod(windows.map) * prod(windows.out) <= WHOLE:
        sizes.append(height)
    return next((tiles for rows in sizes if (tiles := Tiles.of(windows, rows)) is not None), None)


def meets(windows: Windows, axis: int, inside: Rows, out: Rows) -> Array:
    """[places of the kernel, rows of the map, rows of the output]: 1 where they meet, along an axis."""
    stride, dilation, before = windows.strides[axis], windows.dilations[axis], windows.before[axis]
    i = np.arange(*inside)[:, None]
    o = np.arange(*out)[None, :]
    every = [i == o * stride + place * dilation - before for place in range(windows.kernel[axis])]
    return np.stack(every).astype(np.float32)


def spread(t: Tape, windows: Windows, inside: Rows, out: Rows, backwards: bool = False) -> str:
    """[P, I·O] of 0 and 1: which places of these rows of the map and of the output meet at which place of the kernel,
    `backwards` its last first. Small constants that a runtime multiplies once, when it opens the graph."""
    order = slice(None, None, -1 if backwards else 1)
    rows = meets(windows, 0, inside, out)[order]
    columns = meets(windows, 1, (0, windows.map[1]), (0, windows.out[1]))[order]
    (kh, *down), (kw, *across) = rows.shape, columns.shape
    whole = t(
        "Mul",
        t.constant(rows.reshape(kh, 1, down[0], 1, down[1], 1)),
        t.constant(columns.reshape(1, kw, 1, across[0], 1, across[1])),
    )
    return t("Reshape", whole, [kh * kw, rows[0].size * columns[0].size])


def kernel_gradient(t: Tape, x_CNHW: str, g_CNHW: str, windows: Windows, channels: int, tiles: Tiles) -> str:
    """[C, P]: of each tile, products of its places with those of its gradient; then those of the rows around the tiles."""
    width, out_width, rows = windows.map[1], windows.out[1], tiles.rows
    tall = windows.map[0] // tiles.many
    x = t("Reshape", x_CNHW, [channels, -1, tiles.many, tall * width])
    g = t("Reshape", g_CNHW, [channels, -1, tiles.many, rows * out_width])

    def met(inside: Rows, out: Rows, away: int = 0) -> str:
        """Products of rows `inside` of the tiles that stand `away` from those of the output, and rows `out` of these."""
        one, other = {0: (ALL, ALL), -1: (BUT_LAST, BUT_FIRST), 1: (BUT_FIRST, BUT_LAST)}[away]
        places, outs = (inside[1] - inside[0]) * width, (out[1] - out[0]) * out_width
        x_CMI = t("Reshape", cut(t, x, one, inside, tall, width), [channels, -1, places])
        g_CMO = t("Reshape", cut(t, g, other, out, rows, out_width), [channels, -1, outs])
        product = t("Reshape", t("MatMul", t("Transpose", x_CMI, perm=[0, 2, 1]), g_CMO), [channels, places * outs])
        seen = (inside[0] + away * tall, inside[1] + away * tall)
        return t("Gemm", product, spread(t, windows, seen, out), transB=1)

    parts = [met((0, tall), (0, rows))]
    if tiles.above:
        parts.append(met((tall - tiles.above, tall), (0, min(rows, -(-tiles.above // tiles.stride))), -1))
    if tiles.below:
        parts.append(met((0, tiles.below), (max(0, rows + -tiles.below // tiles.stride), rows), 1))
    return t("Sum", *parts) if len(parts) > 1 else parts[0]


def cut(t: Tape, value: str, tiles: tuple[int, int], rows: Rows, every: int, width: int) -> str:
    """Some rows of some tiles of [C, N, tiles, every · width]."""
    sliced = [(*tiles, 2)] * (tiles != ALL) + [(rows[0] * width, rows[1] * width, 3)] * (rows != (0, every))
    return t("Slice", value, *(list(each) for each in zip(*sliced, strict=True))) if sliced else value
