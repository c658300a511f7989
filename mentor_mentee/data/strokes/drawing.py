"""Drawings of a glyph by hands: its strokes, as each hand has them, varied anew for every drawing.

Axes: N drawings of one form, T points of all its strokes, S strokes.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mentor_mentee.data.strokes.glyphs import Stroke, cosine_sine, forms
from mentor_mentee.data.strokes.hands import Hand, bell
from mentor_mentee.data.strokes.raster import SIDE, normalised, radius, rasterised

Floats = NDArray[np.float64]
LOYAL = 0.9  # of its drawings a hand makes in the form that it is used to
KNOTS = 6  # along a stroke, at which it strays; between them evenly


def drawn(name: str, hands: Sequence[Hand], each: int, *seed: int) -> NDArray[np.uint8]:
    """[H · each, 28, 28]: `each` images of glyph `name` by every hand, hand after hand; the same for the same seed."""
    random = np.random.default_rng([*seed, crc32(name.encode())])
    known = forms(name)
    hand_N = np.repeat(np.arange(len(hands)), each)
    used_H = np.array([np.random.default_rng([hand.seed, crc32(name.encode())]).random() for hand in hands])
    chosen_N = np.where(random.random(len(hand_N)) < LOYAL, used_H[hand_N], random.random(len(hand_N)))
    form_N = (chosen_N * len(known)).astype(np.int64)
    images = np.zeros((len(hand_N), SIDE, SIDE), np.uint8)
    for form, strokes in enumerate(known):
        rows = np.flatnonzero(form_N == form)
        if len(rows):
            images[rows] = _images(*points(strokes, [hands[hand] for hand in hand_N[rows]], random), strokes)
    return images


def points(strokes: Sequence[Stroke], hands: Sequence[Hand], random: np.random.Generator) -> tuple[Floats, Floats]:
    """Raw points [N, T, 2], of any size and place, and pressures [N, T]: one drawing by each of `hands`."""
    point_T2 = np.concatenate(strokes)
    stroke_T = np.repeat(np.arange(len(strokes)), [len(stroke) for stroke in strokes])
    along_T = np.concatenate([np.linspace(0, 1, len(stroke)) for stroke in strokes])
    drawings = len(hands)
    spread, unsteady, tremor, haste, overshoot = (
        np.array([getattr(hand, name) for hand in hands])
        for name in ("spread", "unsteady", "tremor", "haste", "overshoot")
    )
    # each stroke goes elsewhere, and becomes longer or shorter
    middle_S2 = np.stack([(stroke.min(axis=0) + stroke.max(axis=0)) / 2 for stroke in strokes])
    shift_NS2 = spread[:, None, None] * bell(random, drawings, len(strokes), 2)
    stretch_NS2 = 1 + 1.2 * spread[:, None, None] * bell(random, drawings, len(strokes), 2)
    middle_T2 = middle_S2[stroke_T]
    point_NT2 = middle_T2 + shift_NS2[:, stroke_T] + (point_T2 - middle_T2) * stretch_NS2[:, stroke_T]
    # a line strays slowly, and trembles
    knot_NSK2 = unsteady[:, None, None, None] * bell(random, drawings, len(strokes), KNOTS, 2)
    at_T = along_T * (KNOTS - 1)
    left_T = np.minimum(at_T.astype(np.int64), KNOTS - 2)
    share_T1 = (at_T - left_T)[:, None]
    point_NT2 += knot_NSK2[:, stroke_T, left_T] * (1 - share_T1) + knot_NSK2[:, stroke_T, left_T + 1] * share_T1
    point_NT2 += tremor[:, None, None] * 3.5 * (random.random(point_NT2.shape) - 0.5)
    haste_N = np.minimum(haste * (0.6 + 0.8 * random.random(drawings)), 1.0)
    _round_corners(point_NT2, stroke_T, 0.8 * haste_N[:, None, None])
    _move_ends(point_NT2, stroke_T, overshoot[:, None, None] + 0.025 * bell(random, drawings, len(strokes), 2))
    return _placed(point_NT2, hands, random), _pressure(along_T, hands, haste_N, random)


def _round_corners(point_NT2: Floats, stroke_T: NDArray[np.int64], share_N11: Floats) -> None:
    """Moves each inner point towards the middle of its neighbours, in place, three times."""
    inner = np.flatnonzero((stroke_T[1:-1] == stroke_T[:-2]) & (stroke_T[1:-1] == stroke_T[2:])) + 1
    for _ in range(3):
        point_NT2[:, inner] += share_N11 * (
            (point_NT2[:, inner - 1] + point_NT2[:, inner + 1]) / 2 - point_NT2[:, inner]
        )


def _move_ends(point_NT2: Floats, stroke_T: NDArray[np.int64], by_NS2: Floats) -> None:
    """Moves the first and last point of each stroke along its line, in place, by a length beyond or, below 0, short of it."""
    for stroke in range(stroke_T[-1] + 1):
        rows = np.flatnonzero(stroke_T == stroke)
        if len(rows) < 3:
            continue
        for end, inner, by_N in ((rows[0], rows[2], by_NS2[:, stroke, 0]), (rows[-1], rows[-3], by_NS2[:, stroke, 1])):
            line_N2 = point_NT2[:, end] - point_NT2[:, inner]
            length_N = np.sqrt(line_N2[:, 0] * line_N2[:, 0] + line_N2[:, 1] * line_N2[:, 1])
            point_NT2[:, end] += line_N2 * (by_N / np.maximum(length_N, 1e-6))[:, None]


def _placed(point_NT2: Floats, hands: Sequence[Hand], random: np.random.Generator) -> Floats:
    """Proportions, slant, direction, size and place of each drawing."""
    drawings = len(hands)
    warp_6N1 = np.array([hand.warp for hand in hands]).T[:, :, None] + 0.05 * bell(random, 6, drawings, 1)
    width, slant, turn = (
        np.array([getattr(hand, name) for hand in hands])[:, None] + spread * bell(random, drawings, 1)
        for name, spread in (("width", 0.05), ("slant", 0.05), ("turn", 0.05))
    )
    x, y = point_NT2[:, :, 0], point_NT2[:, :, 1]
    xx, xy, yy = x * x, x * y, y * y
    x, y = (
        x + warp_6N1[0] * xx + warp_6N1[1] * xy + warp_6N1[2] * yy,
        y + warp_6N1[3] * xx + warp_6N1[4] * xy + warp_6N1[5] * yy,
    )
    x = width * x - slant * y
    cosine, sine = cosine_sine(turn)
    size = 60 + 200 * random.random((drawings, 1))  # pixels of a canvas
    left, top = 20 + 100 * random.random((2, drawings, 1))
    return np.stack([left + size * (x * cosine - y * sine), top + size * (x * sine + y * cosine)], axis=2)


def _pressure(along_T: Floats, hands: Sequence[Hand], haste_N: Floats, random: np.random.Generator) -> Floats:
    """The pen's, by the hand, lighter in haste and towards the end of a stroke."""
    pressure, taper = (np.array([getattr(hand, name) for hand in hands])[:, None] for name in ("pressure", "taper"))
    drawing_N1 = 0.07 * bell(random, len(hands), 1) - 0.1 * (haste_N[:, None] - 0.5)
    return np.asarray(np.clip(pressure + drawing_N1 - taper * (along_T - 0.4), 0.05, 1.0))


def _images(point_NT2: Floats, pressure_NT: Floats, strokes: Sequence[Stroke]) -> NDArray[np.uint8]:
    """[N, 28, 28]: what `raster.image_of` makes of each drawing."""
    starts = np.setdiff1d(
        np.arange(point_NT2.shape[1]), np.cumsum([len(stroke) for stroke in strokes]) - 1
    )  # of segments: every point but a stroke's last
    placed_NT2, radius_NT1 = normalised(point_NT2), radius(pressure_NT)[:, :, None]
    segment_NS6 = np.concatenate(
        [placed_NT2[:, starts], placed_NT2[:, starts + 1], radius_NT1[:, starts], radius_NT1[:, starts + 1]], axis=2
    )
    drawings = len(point_NT2)
    return rasterised(segment_NS6.reshape(-1, 6), np.repeat(np.arange(drawings), len(starts)), drawings)
