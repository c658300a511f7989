"""Figures show what a reader needs: the names of confused classes, and curves that lie on one another."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from distill.report.figures import (
    CONFUSIONS,
    KNOB_COLOURS,
    draw_confusions,
    draw_knobs,
    draw_matrix,
    draw_most_confused,
    most_confused,
)
from distill.schedules import constant


def matrix(classes: int) -> torch.Tensor:
    torch.manual_seed(classes)
    return torch.randint(0, 5, (classes, classes)) + 40 * torch.eye(classes, dtype=torch.int64)


def test_equal_weights_are_seen_as_three_lines(tmp_path: Path) -> None:
    draw_knobs(constant(1, 1, 1, 4), 20, tmp_path / "knobs.png")
    with Image.open(tmp_path / "knobs.png") as drawn:
        pixels_HW3 = np.asarray(drawn.convert("RGB")) / 255
    above_the_legend = pixels_HW3[: len(pixels_HW3) // 4, 120:-40]
    for colour in KNOB_COLOURS[:3]:
        near = np.abs(above_the_legend - to_rgb(colour)).max(2) < 0.1
        assert near.any(0).sum() > 200  # along the line, not in one spot


@pytest.mark.parametrize("classes", [2, 13, 30])
def test_each_class_of_a_matrix_has_its_name(classes: int) -> None:
    names = [f"name {i}" for i in range(classes)]
    axes = Figure().subplots()
    draw_matrix(axes, matrix(classes), names)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == names


@pytest.mark.parametrize("classes", [31, 100])
def test_of_many_classes_the_most_frequent_confusions_are_named(classes: int) -> None:
    counts_KK = matrix(classes)
    counts_KK[7, 3], counts_KK[0, 9] = 30, 20
    axes = Figure().subplots()
    draw_most_confused(axes, counts_KK, [f"n{i}" for i in range(classes)])
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[:2] == ["n7 → n3", "n0 → n9"]
    assert len(labels) == CONFUSIONS
    assert [bar.get_width() for bar in axes.patches] == sorted((bar.get_width() for bar in axes.patches), reverse=True)  # type: ignore[attr-defined]


def test_the_most_frequent_confusions_against_a_count_by_hand() -> None:
    counts_KK = matrix(6)
    pairs = [(int(counts_KK[i, j]), i, j) for i, j in product(range(6), repeat=2) if i != j and counts_KK[i, j]]
    expected = sorted((count for count, _, _ in pairs), reverse=True)[:CONFUSIONS]
    found = most_confused(counts_KK)
    assert [count for _, _, count in found] == expected
    assert all(int(counts_KK[i, j]) == count and i != j for i, j, count in found)
    assert most_confused(torch.eye(4, dtype=torch.int64)) == []


@pytest.mark.parametrize("classes", [10, 40])
def test_both_kinds_are_eight_hundred_pixels_wide(classes: int, tmp_path: Path) -> None:
    names = [f"a class with a long name {i}" for i in range(classes)]
    draw_confusions({"mentor": matrix(classes), "mentee": matrix(classes) * 0}, names, tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as drawn:
        assert drawn.width == 800
