"""Generated drawings: who draws what, and that they are images by the rule, the same everywhere."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from mentor_mentee.data.strokes.drawing import _images, points
from mentor_mentee.data.strokes.generated import strokes
from mentor_mentee.data.strokes.glyphs import ALIKE, DIGITS, GLYPHS, LETTERS, SHAPES, cosine_sine, forms
from mentor_mentee.data.strokes.hands import hand
from mentor_mentee.data.strokes.raster import image_of
from mentor_mentee.errors import UserError

SMALL = {"samples": 9, "val": 2, "test": 3, "hands": 10}
PINNED = ["38df1e257b350de4", "c3027851bc2cc381", "b0491e703669437c"]


def test_a_hand_is_in_one_split_and_draws_every_class() -> None:
    splits = strokes(classes=["heart", "7", "star"], held_out=["star"], **SMALL)
    assert (splits.classes, splits.shape, splits.dtype) == (("heart", "7"), (1, 28, 28), "uint8")
    owners = []
    for split, size in ((splits.train, 9), (splits.val, 2), (splits.test, 3)):
        assert split.owners is not None
        assert Counter(split.labels.tolist()) == {0: size, 1: size}
        owners.append({split.owner_names[owner] for owner in split.owners})
    assert [len(some) for some in owners] == [8, 1, 1]
    assert len(set.union(*owners)) == 10


def test_the_same_seed_gives_the_same_bits_on_every_machine() -> None:
    splits = strokes(classes=["heart", "bicycle", "8"], **SMALL)
    assert [part.fingerprint()[:16] for part in (splits.train, splits.val, splits.test)] == PINNED
    assert strokes(classes=["heart", "8"], seed=1, **SMALL).train.fingerprint()[:16] != PINNED[0]


def test_what_a_class_looks_like_does_not_hang_on_the_others() -> None:
    """Shapes that a base never saw are then drawn by leaving them in."""
    alone, among = strokes(classes=["moon", "8"], **SMALL), strokes(classes=["key", "moon", "9"], **SMALL)
    moons = [splits.test.images[:][splits.test.labels == splits.classes.index("moon")] for splits in (alone, among)]
    assert torch.equal(*moons)


def test_a_drawing_is_what_the_rule_makes_of_its_points() -> None:
    for name in ("cat", "equals", "tree"):
        form = forms(name)[0]
        point_NT2, pressure_NT = points(form, [hand(1), hand(2)], np.random.default_rng(0))
        edges = [0, *np.cumsum([len(stroke) for stroke in form])]
        for image, point_T2, pressure_T in zip(
            _images(point_NT2, pressure_NT, form), point_NT2, pressure_NT, strict=True
        ):
            whole = np.column_stack([point_T2, pressure_T])
            np.testing.assert_array_equal(image, image_of([whole[a:b] for a, b in pairwise(edges)]))


def test_every_glyph_can_be_drawn() -> None:
    assert (len(SHAPES) >= 40, len(DIGITS), len(LETTERS)) == (True, 10, 26)
    assert {*ALIKE, *ALIKE.values()} <= set(GLYPHS)
    for name in GLYPHS:
        for form in forms(name):
            assert image_of(form).max() == 255
            gaps = [np.abs(np.diff(stroke, axis=0)).max() for stroke in form]
            assert max(gaps) < 0.15


def test_the_series_are_cosine_and_sine() -> None:
    angle = np.linspace(-9, 9, 101)
    np.testing.assert_allclose(cosine_sine(angle), [np.cos(angle), np.sin(angle)], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["haert", "star"]}, r"data\.classes: nothing is drawn as 'haert'; did you mean 'heart'"),
        ({"held_out": ["sun", "mon"]}, r"data\.held_out: nothing is drawn as 'mon'"),
        ({"classes": ["sun", "star", "sun"]}, r"data\.classes names sun more than once"),
        ({"classes": ["sun", "star"], "held_out": ["sun"]}, r"leave \['star'\]; expected two"),
        ({"samples": 0}, r"data\.samples=0; expected 1 or more"),
        ({"hands": 9}, r"data\.hands=9; expected 10 or more"),
        ({"seed": -1}, r"data\.seed=-1; expected 0 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        strokes(**options)
