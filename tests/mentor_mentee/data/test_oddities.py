"""Likely mistakes in a data set are said, or refused where a class could not be learnt."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from mentor_mentee.data.load import load_data
from mentor_mentee.data.oddities import oddities, require_taught
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.errors import UserError
from mentor_mentee.progress import reporting

HERE = "tests.mentor_mentee.data.test_oddities"


def split(labels: Sequence[int], first: int = 0, names: tuple[str, ...] = ()) -> Split:
    """Each sample's pixels are a number of its own, from `first` on."""
    images = torch.arange(first, first + len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    owners = torch.zeros(len(labels), dtype=torch.int64) if names else None
    return Split(images, torch.tensor(labels), owners=owners, owner_names=names)


def plain() -> Splits:
    return Splits(split([0, 1, 2] * 2), split([0, 1, 2], 10), split([0, 1, 2], 20), ("a", "b", "c"), "some")


def copied() -> Splits:
    return replace(plain(), test=split([0, 1, 2], 4))


def test_nothing_is_said_of_a_plain_data_set() -> None:
    assert list(oddities(plain())) == []


@pytest.mark.parametrize(
    ("part", "labels", "said"),
    [
        ("val", [0, 2, 2], "1 of 3 classes (b) of some have no sample in val: an export refuses that"),
        ("test", [1, 1], "2 of 3 classes (a, c) of some have no sample in test: what the mentee does with"),
    ],
)
def test_a_class_that_a_split_lacks(part: str, labels: list[int], said: str) -> None:
    (line,) = oddities(replace(plain(), **{part: split(labels, 30)}))  # type: ignore[arg-type]
    assert line.startswith(f"warning: {said}")


def test_a_class_that_nobody_shows() -> None:
    lines = list(oddities(replace(plain(), classes=("a", "b", "c", "d"))))
    assert [line.partition(" of some have no sample in ")[2].partition(":")[0] for line in lines] == [
        "train",
        "val",
        "test",
    ]


def test_a_class_to_be_judged_that_nothing_teaches_is_refused() -> None:
    splits = replace(plain(), train=split([0, 1, 0, -1]))
    with pytest.raises(
        UserError, match=r"1 of 3 classes \(c\) of some have samples in val but no labelled one in train"
    ):
        require_taught(splits)
    require_taught(replace(plain(), train=split([-1] * 4)))  # under the mentor alone


def test_copies_in_two_splits_are_counted() -> None:
    (line,) = oddities(copied())
    assert line.startswith("warning: 2 of 3 test samples of some are copies of samples in train")


def test_copies_under_another_label_are_counted() -> None:
    train = Split(torch.tensor([1, 1, 1, 2, 3], dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor([0, 1, -1, 1, 2]))
    other = [Split(torch.full((3, 1, 1, 1), level, dtype=torch.uint8), torch.tensor([0, 1, 2])) for level in (8, 9)]
    (line,) = oddities(Splits(train, other[0], other[1], ("a", "b", "c"), "some"))
    assert line == "warning: 1 training samples of some are copies of others that have another label"


@pytest.mark.parametrize("names", [("Cat", "cat", "dog"), ("a cat", "a  cat", "dog"), ("x ", "x", "y")])
def test_names_that_differ_in_case_or_blanks(names: tuple[str, ...]) -> None:
    (line,) = oddities(replace(plain(), classes=names))
    assert line.startswith(f"warning: classes {names[0]!r}, {names[1]!r} differ in case or blanks only")
    owned = [split([0, 1, 2], first, ("Anna", "anna ")) for first in (0, 10, 20)]
    (line,) = oddities(Splits(owned[0], owned[1], owned[2], ("a", "b", "c"), "some"))
    assert line.startswith("warning: owners 'Anna', 'anna ' differ")


def test_loading_says_it_to_whoever_listens() -> None:
    said: list[str] = []
    load_data({"_target_": f"{HERE}.copied"})
    with reporting(said.append):
        for _ in range(2):
            load_data({"_target_": f"{HERE}.copied"})
    assert len(said) == 1


def test_pixels_that_were_fractions_before_they_became_whole_numbers() -> None:
    splits = plain()
    dim = {
        part: Split(getattr(splits, part).images.clamp(max=1), getattr(splits, part).labels)
        for part in ("train", "val", "test")
    }
    assert any("no pixel of some is above 1, where uint8 runs" in line for line in oddities(replace(splits, **dim)))
