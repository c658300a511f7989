"""The image of strokes, against a reference that goes by the documented rule, pixel by pixel."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mentor_mentee.data.strokes.raster import image_of
from mentor_mentee.errors import UserError

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vectors.json").read_text())


def by_the_rule(strokes: list[list[list[float]]]) -> list[list[int]]:
    points = [(*point, 0.5)[:3] for stroke in strokes for point in stroke]
    (x0, x1), (y0, y1) = ((min(axis), max(axis)) for axis in list(zip(*points, strict=True))[:2])
    side = max(x1 - x0, y1 - y0)
    scale = 20 / side if side else 0.0
    segments = []
    for stroke in strokes:
        placed = [
            (
                (x - (x0 + x1) / 2) * scale + 14,
                (y - (y0 + y1) / 2) * scale + 14,
                0.6 + 1.2 * min(max(pressure, 0), 1),
            )
            for x, y, pressure in ((*point, 0.5)[:3] for point in stroke)
        ]
        segments += list(zip(placed, placed[1:] or placed, strict=False))
    image = []
    for row in range(28):
        image.append([0] * 28)
        for column in range(28):
            for (ax, ay, ra), (bx, by, rb) in segments:
                dx, dy, qx, qy = bx - ax, by - ay, column + 0.5 - ax, row + 0.5 - ay
                t = min(max((qx * dx + qy * dy) / (dx * dx + dy * dy), 0), 1) if dx or dy else 0
                cover = min(max(ra + t * (rb - ra) - math.hypot(qx - t * dx, qy - t * dy) + 0.5, 0), 1)
                image[row][column] = max(image[row][column], math.floor(255 * cover + 0.5))
    return image


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_an_image_is_what_the_rule_says_and_what_is_recorded(case: dict[str, Any]) -> None:
    image = image_of(case["strokes"])
    assert [bytes(row).hex() for row in image] == case["image"]
    assert np.abs(image.astype(int) - by_the_rule(case["strokes"])).max() <= 1  # math.hypot rounds otherwise


def test_neither_place_nor_size_nor_the_order_of_strokes_matters() -> None:
    strokes = [np.array(stroke) for stroke in CASES[-1]["strokes"]]
    moved = [np.column_stack([4 * stroke[:, :2] + [512, -64], stroke[:, 2]]) for stroke in reversed(strokes)]
    difference = image_of(strokes).astype(int) - image_of(moved)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        ([], r"no strokes; expected at least one"),
        ([[]], r"stroke 0 is no list of points \[0\]"),
        ([[[1, 2]], [[1, 2, 3, 4]]], r"stroke 1 is no list of points \[1, 4\]"),
        ([[["a", "b"]]], r"stroke 0 is no list of points"),
        ([[[1, math.nan]]], r"stroke 0 has a point that is NaN or infinite"),
        ([[[-1e308, 0], [1e308, 0]]], r"too far apart"),
    ],
)
def test_what_is_no_drawing_is_refused(strokes: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        image_of(strokes)
