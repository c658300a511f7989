"""Building a network for a data set, and what is said of one that does not fit it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from distill.evaluate.evaluation import evaluate
from distill.schema import ViewConfig
from distill.training.networks import build_network, complete, view_for
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.data.view import View
from mentor_mentee.errors import UserError


@pytest.fixture(scope="module")
def splits() -> Splits:
    return digits()


def test_an_open_view_takes_size_channels_and_statistics_of_the_training_split(splits: Splits) -> None:
    view = view_for(ViewConfig(), splits)
    pixels = splits.train.images.double() / 255
    assert view.shape == (1, 8, 8)
    assert (*view.mean, *view.std) == pytest.approx((float(pixels.mean()), float(pixels.std(correction=0))))


def test_what_is_given_of_a_view_stays(splits: Splits) -> None:
    assert view_for(ViewConfig(size=16, channels=3, mean=[0.1, 0.2, 0.3], std=[1, 2, 3]), splits) == View(
        (3, 16, 16), (0.1, 0.2, 0.3), (1, 2, 3)
    )
    gray_in_colour = view_for(ViewConfig(channels=3), splits)
    assert gray_in_colour.mean == view_for(ViewConfig(), splits).mean * 3
    assert len(gray_in_colour.std) == 3


def test_a_view_of_float32_signals_is_on_their_own_scale_and_their_size_is_a_length(splits: Splits) -> None:
    parts = (splits.train, splits.val, splits.test)
    signal = [Split(9.81 + part.images.float().view(-1, 2, 1, 32), part.labels) for part in parts]
    motion = Splits(*signal, splits.classes, "motion")
    exact = signal[0].images.double()
    whole = view_for(ViewConfig(), motion)
    assert (whole.shape, whole.dtype) == ((2, 1, 32), "float32")
    assert whole.mean == pytest.approx(exact.mean((0, 2, 3)).tolist())
    assert whole.std == pytest.approx(exact.std((0, 2, 3), correction=0).tolist())
    by_hand = view_for(ViewConfig(size=20, mean=[1.0, 2.0], std=[3.0, 4.0]), motion)
    assert by_hand == View((2, 1, 20), (1.0, 2.0), (3.0, 4.0), "float32")
    recipe = {"_target_": "mentee.networks.PlainCNN", "in_channels": 2, "num_classes": 10, "widths": [2]}
    build_network(recipe, "mentee.network", motion, by_hand)


@pytest.mark.parametrize("given", [{"mean": [0.5]}, {"std": [0.5]}])
def test_a_mean_without_std_is_an_error(splits: Splits, given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="give both, or neither"):
        view_for(ViewConfig(**given), splits)


def test_the_data_fills_in_classes_and_channels(splits: Splits) -> None:
    recipe = {"_target_": "mentee.networks.PlainCNN", "widths": [2]}
    view = view_for(ViewConfig(channels=3), splits)
    full = complete(recipe, "mentee.network", splits, view)
    assert full == recipe | {"num_classes": 10, "in_channels": 3}
    network = build_network(full, "mentee.network", splits, view)
    assert all(m.training for m in network.modules())
    assert int(network.features[0][1].num_batches_tracked) == 0  # trying it out left no trace


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 9},
            r"puts out \[2, 9\].*expected \[2, 10\]",
        ),
        (
            {"_target_": "mentee.networks.PlainCNN", "in_channels": 3, "num_classes": 10},
            r"fails on an input of \[1, 8, 8\]",
        ),
        ({"_target_": "torch.nn.Flatten"}, r"puts out \[2, 64\]"),
        ({"_target_": "torch.nn.MaxPool2d", "kernel_size": 2, "return_indices": True}, r"puts out \[2, 1, 4, 4\]"),
        (
            {"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 10, "widths": [2] * 6},
            r"fails on an input of \[1, 8, 8\]",
        ),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_an_error(splits: Splits, recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"mentee\.network: .*{message}"):
        build_network(recipe, "mentee.network", splits, view_for(ViewConfig(), splits))


def test_evaluation_counts_labelled_samples_and_fills_the_confusion_matrix(tmp_path: Path) -> None:
    labels = torch.tensor([0, 1, 2, 2, -1, 1, 0])
    answers = torch.tensor([0, 2, 2, 0, 0, 1, 0])
    images = torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1)
    seen = evaluate(lambda image: torch.eye(3)[answers[image.flatten().long()]], Split(images, labels), 3, batch=2)
    assert seen.confusion_KK.tolist() == [[2, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert seen.samples == 6
    assert seen.accuracy == pytest.approx(4 / 6)
    assert seen.predictions_N.tolist() == answers.tolist()
