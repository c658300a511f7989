"""The 28×28 image of pen strokes: the one rule that a page's canvas and the generated data share.

1. A stroke is a list of points (x, y) or (x, y, pressure), y downwards, on any scale. Pressure is 0 to 1, .5 where there is
   none; beyond it is clipped.
2. The box around all points of all strokes is centred, and its longer side becomes 20 pixels:
   `u = (x − (x0 + x1) / 2) · scale + 14`, `v` likewise, `scale = 20 / max(x1 − x0, y1 − y0)`, 0 where all points are one.
3. At a point the pen has the radius `.6 + 1.2 · pressure` pixels, whatever the size of the drawing.
4. From each point a to the next one b of a stroke, and at a point that is alone, the pen covers of the pixel with the centre
   q = (column + .5, row + .5): `clamp(r − d + .5, 0, 1)`, where `t = clamp((q − a)·(b − a) / |b − a|², 0, 1)` (0 where a = b),
   `d = |q − (a + t·(b − a))|` and `r = ra + t·(rb − ra)`.
5. A pixel's value is `floor(255 · c + .5)`, c the largest cover of any of them: the order of strokes does not matter.

All in float64, with nothing but + − × / and square roots: the same bits on every machine.
Axes: P points of a stroke, S segments, N images.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mentor_mentee.errors import UserError

SIDE = 28  # pixels of the image
BOX = 20.0  # pixels of the longer side of a drawing
THINNEST, THICKER = 0.6, 1.2  # the pen's radius in pixels, and what full pressure adds
MEDIUM = 0.5  # pressure where there is none
WINDOWS = (8, 12, 16, SIDE)  # sides of the squares in which a segment's pixels are looked at
AT_ONCE = 1 << 15  # pixels of such squares: what stays in a processor's cache

Floats = NDArray[np.float64]


def image_of(strokes: Sequence[ArrayLike]) -> NDArray[np.uint8]:
    """[28, 28]: the drawing of `strokes`, each [P, 2] or [P, 3], white on black. Raises `UserError` for what are no strokes."""
    points = [_checked(stroke, place) for place, stroke in enumerate(strokes)]
    if not points:
        raise UserError("a drawing of no strokes; expected at least one, with at least one point")
    sizes = np.array([len(stroke) for stroke in points])
    point_P3 = np.concatenate(points)
    placed_P2 = normalised(point_P3[None, :, :2])[0]
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    starts = np.setdiff1d(np.arange(len(point_P3)), np.cumsum(sizes) - 1)
    alone = first[sizes == 1]
    a, b = np.concatenate([starts, alone]), np.concatenate([starts + 1, alone])
    radius_P = radius(point_P3[:, 2])
    segments = np.column_stack([placed_P2[a], placed_P2[b], radius_P[a], radius_P[b]])
    image: NDArray[np.uint8] = rasterised(segments, np.zeros(len(a), np.int64), 1)[0]
    return image


def normalised(point_NP2: Floats) -> Floats:
    """[N, P, 2] -> [N, P, 2] in pixels: step 2, for each drawing. Raises `UserError` for sizes beyond float64."""
    low_N12, high_N12 = point_NP2.min(axis=1, keepdims=True), point_NP2.max(axis=1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        side_N11 = (high_N12 - low_N12).max(axis=2, keepdims=True)
        scale_N11 = np.where(side_N11 > 0, BOX / side_N11, 0.0)
        placed_NP2 = (point_NP2 - (low_N12 + high_N12) / 2) * scale_N11 + SIDE / 2
    if not (np.isfinite(placed_NP2).all() and np.isfinite(side_N11).all()):
        raise UserError(
            "points of a drawing lie too far apart, or too close, to be scaled; expected pixels of a canvas"
        )
    return np.asarray(placed_NP2)


def radius(pressure: Floats) -> Floats:
    """Step 3, in pixels."""
    return np.asarray(THINNEST + THICKER * np.clip(pressure, 0.0, 1.0))


def rasterised(segment_S6: Floats, image_S: NDArray[np.int64], images: int) -> NDArray[np.uint8]:
    """[N, 28, 28] of segments in pixels, (ax, ay, bx, by, ra, rb) each, and the image that each belongs to: steps 4 and 5."""
    flat = np.zeros(images * SIDE * SIDE, np.uint8)
    ax, ay, bx, by, ra, rb = np.ascontiguousarray(segment_S6.T)
    reach = np.maximum(ra, rb) + 0.5
    left, top = np.floor(np.minimum(ax, bx) - reach), np.floor(np.minimum(ay, by) - reach)
    wide = np.maximum(np.maximum(ax, bx) + reach - left, np.maximum(ay, by) + reach - top)
    below = -np.inf
    for window in WINDOWS:
        rows = np.flatnonzero((wide > below) & ((wide <= window) | (window == SIDE)))
        below = window
        for part in np.array_split(rows, max(1, -(-len(rows) * window**2 // AT_ONCE))):
            x0, y0 = (np.clip(edge[part], 0, SIDE - window)[:, None, None] for edge in (left, top))
            column_W, row_W = np.arange(window), np.arange(window)[:, None]
            ends = segment_S6[part].T[:, :, None, None]
            cover = _cover(ends, x0 + column_W + 0.5, y0 + row_W + 0.5)
            value = np.floor(255 * cover + 0.5).astype(np.uint8)
            corner = image_S[part, None, None] * SIDE**2 + (y0 * SIDE + x0).astype(np.int64)
            place = corner + (row_W * SIDE + column_W)
            seen = value > 0
            np.maximum.at(flat, place[seen], value[seen])
    return flat.reshape(images, SIDE, SIDE)


def _cover(ends: Floats, x: Floats, y: Floats) -> Floats:
    """Step 4. `ends` is [6, S, 1, 1], `x` [S, 1, W], `y` [S, W, 1]."""
    ax, ay, bx, by, ra, rb = ends
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    qx, qy = x - ax, y - ay
    t = np.clip((qx * dx + qy * dy) / np.where(length > 0, length, 1.0), 0.0, 1.0)
    ox, oy = qx - t * dx, qy - t * dy
    return np.asarray(np.clip(ra + t * (rb - ra) - np.sqrt(ox * ox + oy * oy) + 0.5, 0.0, 1.0))


def _checked(stroke: ArrayLike, place: int) -> Floats:
    """[P, 3]. Raises `UserError`."""
    try:
        point_PC = np.asarray(stroke, np.float64)
    except (TypeError, ValueError):
        point_PC = np.zeros(0)
    if point_PC.ndim != 2 or not len(point_PC) or point_PC.shape[1] not in (2, 3):
        shape = list(point_PC.shape)
        raise UserError(
            f"stroke {place} is no list of points {shape}; expected one or more of (x, y) or (x, y, pressure)"
        )
    if not np.isfinite(point_PC).all():
        raise UserError(f"stroke {place} has a point that is NaN or infinite; expected finite numbers")
    if point_PC.shape[1] == 2:
        point_PC = np.column_stack([point_PC, np.full(len(point_PC), MEDIUM)])
    return point_PC
