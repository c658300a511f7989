"""The demo's simulated owner, against pictures that are drawn by hand."""

import torch

from demo.owner import meet, slant, thicken
from mentor_mentee.data.datasets import mnist5k


def test_the_owner_and_everybody_share_no_sample() -> None:
    test = mnist5k().test
    people = meet(test, 10)
    parts = (people.learn, people.held_out, people.everybody)
    assert [len(part) for part in parts] == [100, 400, 1000]
    assert sorted(torch.cat([part.positions for part in parts]).tolist()) == sorted(test.positions.tolist())
    assert people.learn.labels.bincount().tolist() == [10] * 10
    assert meet(test, 10).held_out.fingerprint() == people.held_out.fingerprint()


def test_only_the_owners_digits_are_in_another_hand() -> None:
    test = mnist5k().test
    people = meet(test, 10)
    row = {int(position): i for i, position in enumerate(test.positions)}
    for part, same in ((people.everybody, True), (people.learn, False), (people.held_out, False)):
        as_they_were = test.images[torch.tensor([row[int(position)] for position in part.positions])]
        equal = (part.images == as_they_were).flatten(1).all(1)
        assert bool(equal.all() if same else ~equal.any())


def test_slant_moves_rows_by_their_distance_from_the_middle() -> None:
    image = torch.zeros(1, 1, 5, 9, dtype=torch.uint8)
    image[..., 4] = 200  # an upright stroke
    slanted = slant(image, 1.0)[0, 0]
    assert slanted.dtype == torch.uint8
    assert slanted.argmax(1).tolist() == [6, 5, 4, 3, 2]  # it leans to the right, as handwriting does
    assert int(slanted.sum()) == int(image.sum())


def test_thicken_takes_the_brightest_neighbour() -> None:
    image_NCHW = torch.randint(0, 256, (2, 1, 6, 7), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    thick_NCHW = thicken(image_NCHW, 3)
    for n, row, column in ((n, i, j) for n in range(2) for i in range(6) for j in range(7)):
        around = image_NCHW[n, 0, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        assert thick_NCHW[n, 0, row, column] == around.max()
