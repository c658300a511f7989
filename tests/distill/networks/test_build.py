"""Building a network for a data set, and what is said of one that does not fit it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.evaluate.evaluation import evaluate
from distill.networks.build import build_network, complete, view_for
from distill.schema import ViewConfig
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.recipe import build


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


STRANGE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.head, self.aux = nn.Linear(4, num_classes), nn.Linear(4, num_classes)

    def features(self, x):
        return self.drop(self.norm(self.conv(x)).mean((2, 3)))

    def forward(self, x):
        return self.head(self.features(x))

class Auxiliary(Net):
    def forward(self, x):
        y = self.features(x)
        return (self.head(y), self.aux(y)) if self.training else self.head(y)

class NormEval(Net):
    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self

class Softmax(Net):
    def forward(self, x):
        return super().forward(x).softmax(1)

class Squeezed(Net):
    def forward(self, x):
        return super().forward(x).squeeze()

class Raising(Net):
    def __init__(self, error, while_training=False):
        super().__init__()
        self.error, self.while_training = error, while_training

    def forward(self, x):
        if self.training or not self.while_training:
            raise {kind.__name__: kind for kind in (*Exception.__subclasses__(), IndexError, KeyError,
                NotImplementedError, ZeroDivisionError, RecursionError)}[self.error]("their words")
        return super().forward(x)

def mixed():
    net = Net().eval()
    net.drop.train()
    net.norm.train()
    return net

def half():
    return Net().half()
"""


@pytest.fixture
def strange(own_module: Callable[[str], str]) -> str:
    return own_module(STRANGE)


@pytest.mark.parametrize("while_training", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        *("ValueError", "TypeError", "RuntimeError", "IndexError", "KeyError", "AttributeError", "AssertionError"),
        *("ZeroDivisionError", "NotImplementedError", "OSError", "MemoryError", "ImportError", "StopIteration"),
        *("RecursionError", "EOFError", "NameError", "LookupError", "ArithmeticError", "BufferError"),
    ],
)
def test_whatever_a_strangers_forward_raises_is_one_line(
    strange: str, splits: Splits, error: str, while_training: bool
) -> None:
    recipe = {"_target_": f"{strange}.Raising", "error": error, "while_training": while_training}
    mode = " in training mode" if while_training else ""
    with pytest.raises(UserError, match=rf"Raising fails{mode} on an input of \[1, 8, 8\].*their words") as found:
        build_network(recipe, "mentee.network", splits, view_for(ViewConfig(), splits))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("target", ["Net", "NormEval", "mixed", "Auxiliary"])
def test_a_network_is_left_as_it_was_built(strange: str, splits: Splits, target: str) -> None:
    """Its modes, its statistics and torch's random numbers: trying it must not be seen."""
    recipe = {"_target_": f"{strange}.{target}"}
    torch.manual_seed(1)
    expected = build(recipe, "here", torch.nn.Module)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    found = build_network(recipe, "mentee.network", splits, view_for(ViewConfig(), splits))
    assert torch.equal(torch.rand(3), drawn)
    assert [module.training for module in found.modules()] == [module.training for module in expected.modules()]
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in found.state_dict().items())


def test_what_is_done_about_its_outputs_is_said_before_anything_is_trained(strange: str, splits: Splits) -> None:
    view, said = view_for(ViewConfig(), splits), []  # type: ignore[var-annotated]
    build_network({"_target_": f"{strange}.Auxiliary"}, "mentee.network", splits, view, said.append)
    build_network({"_target_": f"{strange}.half"}, "mentor.network", splits, view, said.append)
    build_network({"_target_": f"{strange}.Auxiliary"}, "mentor.network", splits, view, said.append, learns=False)
    build_network({"_target_": f"{strange}.Net"}, "mentee.network", splits, view, said.append)
    build_network({"_target_": f"{strange}.Softmax"}, "mentee.network", splits, view, said.append)
    assert len(said) == 3
    assert "Softmax puts out numbers above 0 that sum to 1, as behind a softmax; they are taken as logits" in said[2]
    assert "puts out tuple ([2, 10], [2, 10]) while it trains: it learns through its logits, its auxiliary" in said[0]
    assert said[1] == "mentor.network: Net has float16 weights; it answers and learns in float32"
    with pytest.raises(UserError, match=r"puts out \[10\] for a batch of one image, \[2, 10\] for two.*squeeze"):
        build_network({"_target_": f"{strange}.Squeezed"}, "mentee.network", splits, view)


@pytest.mark.parametrize(
    ("recipe", "advice"),
    [
        (
            {"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 9},
            r"set mentor\.network\.num_classes=10",
        ),
        ({"_target_": "torch.nn.Flatten"}, "no option for that"),
    ],
)
def test_the_option_for_the_number_of_classes_is_named(splits: Splits, recipe: dict[str, Any], advice: str) -> None:
    with pytest.raises(
        UserError, match=rf"one logit for each class of digits: .*{advice}.*or mentor\.transfer\.epochs=10"
    ):
        build_network(recipe, "mentor.network", splits, view_for(ViewConfig(), splits))
