"""Augmentation against an affine map written out; a view depends on seed, position and number alone."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mentor_mentee.data.views.augment import augment, uniform
from mentor_mentee.data.views.augmentation import LIMITS, Augmentation
from mentor_mentee.errors import UserError

GEOMETRY = {"rotate": 25.0, "shear": 15.0, "scale": 0.3, "shift": 0.2, "elastic": 0.1, "flip": True}


def pictures(samples: int, channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (samples, channels, height, width), generator=generator).to(torch.uint8)


def rows(samples: int, view: int = 0) -> tuple[Tensor, Tensor]:
    return torch.arange(samples), torch.full((samples,), view)


def test_a_view_depends_on_seed_position_and_number_alone() -> None:
    images, how = pictures(20, 3, 9, 7), Augmentation(**GEOMETRY, erase=0.3)
    index, view = rows(20, 4)
    whole = augment(images, index, view, how, 5)
    assert whole.shape == images.shape
    assert whole.dtype == torch.uint8
    picked = torch.tensor([17, 2, 2])
    torch.manual_seed(1)
    assert torch.equal(augment(images[picked], index[picked], view[picked], how, 5), whole[picked])
    for other in ((index, view + 1, 5), (index + 1, view, 5), (index, view, 6)):
        changed = (augment(images, other[0], other[1], how, other[2]) != whole).flatten(1).any(1)
        assert changed.all()


def test_nothing_asked_is_nothing_done() -> None:
    images = pictures(4, 1, 5, 5)
    assert augment(images, *rows(4), Augmentation(), 0) is images


def test_the_place_of_every_pixel_against_an_affine_map_written_out() -> None:
    """An image whose value is a linear function of its place shows where each pixel came from."""
    height, width, samples = 11, 15, 12
    how = Augmentation(rotate=20, shear=10, scale=0.2, shift=0.1, flip=True)
    y, x = torch.meshgrid(torch.arange(height) - 5.0, torch.arange(width) - 7.0, indexing="ij")
    ramps = torch.stack([x, y]).repeat(samples, 1, 1, 1) + 100
    found = augment(ramps, *rows(samples, 2), how, 9) - 100
    numbers = uniform(9, np.arange(samples), np.full(samples, 2), 40).astype(np.float64)
    checked = 0
    for i in range(samples):
        turn, slant = (math.radians(most) * (2 * numbers[i, j] - 1) for j, most in enumerate((20, 10)))
        zoom = 1 / (1 + 0.2 * (2 * numbers[i, 2] - 1))
        right, down = 0.1 * width * (2 * numbers[i, 3] - 1), 0.1 * height * (2 * numbers[i, 4] - 1)
        mirror = -1 if numbers[i, 5] < 0.5 else 1
        for row in range(2, 9):
            for column in range(3, 12):
                across, up = mirror * (column - 7) + math.tan(slant) * (row - 5), row - 5
                from_x = zoom * (math.cos(turn) * across - math.sin(turn) * up) + right
                from_y = zoom * (math.sin(turn) * across + math.cos(turn) * up) + down
                if abs(from_x) < 6.9 and abs(from_y) < 4.9:  # comes from inside
                    assert float(found[i, 0, row, column]) == pytest.approx(from_x, abs=1e-3)
                    assert float(found[i, 1, row, column]) == pytest.approx(from_y, abs=1e-3)
                    checked += 1
    assert checked > 500


def test_a_flip_is_an_exact_mirror_of_about_half() -> None:
    images = pictures(400, 1, 6, 8)
    found = augment(images, *rows(400), Augmentation(flip=True), 0)
    mirrored = (found == images.flip(3)).flatten(1).all(1)
    same = (found == images).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert 150 < int(mirrored.sum()) < 250


def test_erasing_blanks_one_square() -> None:
    images = torch.full((200, 2, 12, 16), 9, dtype=torch.uint8)
    found = augment(images, *rows(200), Augmentation(erase=0.5), 0)
    assert torch.equal(found[:, 0], found[:, 1])
    for picture in found[:, 0]:
        ys, xs = torch.nonzero(picture == 0, as_tuple=True)
        area = (int(ys.max()) - int(ys.min()) + 1) * (int(xs.max()) - int(xs.min()) + 1)
        assert len(ys) == area <= 36


def test_an_elastic_field_moves_pixels_by_no_more_than_asked() -> None:
    x = torch.arange(28.0).expand(64, 1, 28, 28) + 50
    moved = (augment(x, *rows(64), Augmentation(elastic=0.05), 1) - x)[:, :, 4:-4, 4:-4].abs()
    assert 0.5 < float(moved.max()) < 0.05 * 28 * 1.6  # bicubic interpolation overshoots its knots


def test_signals_move_along_their_length_only() -> None:
    signal = pictures(30, 3, 1, 40).float()
    found = augment(signal, *rows(30), Augmentation(shift=0.2, elastic=0.05), 0)
    assert found.dtype == torch.float32
    assert found.shape == signal.shape
    assert not torch.equal(found, signal)
    constant = augment(torch.ones(30, 1, 1, 40), *rows(30), Augmentation(shift=0.2), 0)
    assert (constant[:, :, :, 10:30] == 1).all()
    with pytest.raises(UserError, match="signals cannot be rotated"):
        augment(signal, *rows(30), Augmentation(rotate=5), 0)


def test_the_numbers_are_uniform_and_uncorrelated() -> None:
    index, view = (grid.ravel() for grid in np.meshgrid(np.arange(200), np.arange(200)))
    numbers = uniform(3, index, view, 8)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for column in numbers.T:
        counts = np.bincount((column * 16).astype(int), minlength=16)
        assert ((counts - 2500) ** 2 / 2500).sum() < 45  # chi-square, 15 degrees of freedom, p about 1e-4
    correlation = np.corrcoef(numbers.T) - np.eye(8)
    assert np.abs(correlation).max() < 0.025
    in_turn = numbers[:, 0].reshape(200, 200)
    assert abs(np.corrcoef(in_turn[:, 1:].ravel(), in_turn[:, :-1].ravel())[0, 1]) < 0.025


@pytest.mark.parametrize("name", [*LIMITS, "views"])
def test_amounts_that_make_no_sense(name: str) -> None:
    with pytest.raises(UserError, match=f"here.{name}=-1"):
        Augmentation(**{name: -1}).check("here")
