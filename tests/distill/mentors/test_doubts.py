"""Warnings about a mentor that knows less than its mentee, or has seen what it is judged by; and steps enough for a new head."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn

from distill.machine import Machine
from distill.mentors.doubts import outdone, too_sure
from distill.mentors.find import find_mentor
from distill.mentors.train import enough_steps
from distill.schema import DistillConfig, FitConfig, TransferConfig
from mentor.mentor import Mentor
from mentor.networks import ResidualNet
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.data.views.view import View

MakeConfig = Callable[..., DistillConfig]


@pytest.fixture(scope="module")
def splits() -> Splits:
    return digits()


class Knowing(nn.Module):
    """Knows the label of every image that it has seen, with this confidence."""

    def __init__(self, seen: list[Split], view: View, margin: float) -> None:
        super().__init__()
        pairs = [(view(split.images), split.labels) for split in seen]
        self.x = torch.cat([x.flatten(1) for x, _ in pairs])
        self.label_N, self.margin = torch.cat([label for _, label in pairs]), margin

    def forward(self, x: Tensor) -> Tensor:
        nearest = torch.cdist(x.flatten(1), self.x).argmin(1)
        return self.margin * torch.nn.functional.one_hot(self.label_N[nearest], 10).float()


@pytest.mark.parametrize("margin", [2.0, 20.0])
@pytest.mark.parametrize("given", [True, False])
def test_a_mentor_that_is_right_on_every_validation_sample(splits: Splits, margin: float, given: bool) -> None:
    view = View((1, 8, 8), (0.3,), (0.3,))
    mentor = Mentor(Knowing([splits.train, splits.val], view, margin), view)
    said = too_sure(mentor, splits, given)
    sure = float(torch.softmax(torch.tensor([margin] + [0.0] * 9), 0)[0])  # by hand: of one class against nine
    assert f"a probability of {sure:.3f} in the mean" in said
    assert said.startswith(f"the mentor is right on all {len(splits.val)} validation samples: ")
    assert ("most likely trained on them" in said) == given
    assert ("little more than the labels" in said) == (margin == 20)
    few = replace(splits, val=splits.val.subset(range(59)))
    assert too_sure(mentor, few, given) == ""


@pytest.mark.parametrize(
    ("mentor", "mentee", "samples", "said"),
    [
        (0.42, 0.60, 300, True),
        (0.42, 0.60, 20, False),  # chance
        (0.90, 0.90, 10_000, False),
        (0.95, 0.90, 10_000, False),
        (0.90, 0.92, 10_000, True),
        (0.5, float("nan"), 100, False),
        (0.0, 1.0, 0, False),
    ],
)
def test_a_mentor_that_its_mentee_outdoes(mentor: float, mentee: float, samples: int, said: bool) -> None:
    line = outdone(mentor, mentee, samples)
    assert bool(line) == (said or samples == 0)
    if said:
        assert f"right on {mentor:.1%} of the validation samples, its own mentee on {mentee:.1%}" in line


def test_few_samples_get_longer_epochs_for_a_new_head(splits: Splits) -> None:
    few = replace(splits, train=splits.train.subset(range(130)))
    assert enough_steps(FitConfig(max_epochs=10, batch=64), few, 0, 400) == 40  # a pass has three batches
    assert enough_steps(FitConfig(max_epochs=3, batch=64), few, 0, 400) == 134
    assert enough_steps(FitConfig(max_epochs=200, batch=64), few, 0, 400) is None  # 600
    assert enough_steps(FitConfig(max_epochs=10, batch=64), few, 0, 0) is None
    assert enough_steps(FitConfig(max_epochs=10, batch=64, steps_per_epoch=2), few, 0, 400) == 2  # who counted


def test_a_new_head_on_few_images_takes_the_steps_that_it_needs(
    make_config: MakeConfig, splits: Splits, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save_file(ResidualNet(1, 7, widths=(4, 8)).state_dict(), tmp_path / "seven.safetensors")
    few = replace(splits, train=splits.train.subset(range(64)), val=splits.val.subset(range(40)))
    config = replace(
        make_config(Path()).mentor,
        weights=str(tmp_path / "seven.safetensors"),
        fit=FitConfig(batch=64),
        least_accuracy=0.0,
        transfer=TransferConfig(epochs=2, all_epochs=1, least_steps=11),
    )
    said = io.StringIO()
    find_mentor(config, few, tmp_path, Machine("cpu", 1, Console(file=said, width=300)))
    assert "mentor's new head: 6 steps in each of its 2 epochs, for mentor.transfer.least_steps=11" in said.getvalue()
    assert "mentor under its new head: 11 steps in each of its 1 epochs" in said.getvalue()
