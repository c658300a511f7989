"""Networks of other packages in a run: the number of classes is filled in, what was chosen is printed, and it trains."""

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from rich.console import Console

from distill import distill
from distill.from_overrides import compose
from distill.machine import Machine
from distill.mentors.find import FoundMentor, find_mentor
from distill.networks.build import complete, new_mentee
from distill.schema import FitConfig, MenteeConfig, MentorConfig, TransferConfig, ViewConfig
from mentor.restore import restore_mentor
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from tests.distill.conftest import MakeConfig

VIEW = View((1, 8, 8), (0.3,), (0.4,))
SOURCE = """
from torch import nn

def net(width=4, **more):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, more.get("num_classes", 7)))

def strict(**more):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, **more))
"""


def test_the_number_of_classes_goes_through_kwargs_where_they_take_it(own_module: Callable[[str], str]) -> None:
    splits, name = digits(), own_module(SOURCE)
    state = torch.get_rng_state()
    for recipe, expected in (
        ({"_target_": "torchvision.models.squeezenet1_1"}, {"num_classes": 10}),
        ({"_target_": "torchvision.models.squeezenet1_1", "num_classes": 3}, {"num_classes": 3}),
        ({"_target_": f"{name}.net"}, {"num_classes": 10}),
        ({"_target_": f"{name}.strict"}, {}),
    ):
        assert complete(recipe, "mentee.network", splits, VIEW) == recipe | expected
    assert torch.equal(state, torch.get_rng_state())


def test_a_mentee_of_torchvisions_by_name_is_told_and_trains(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    shipped = compose(["mentee=torchvision", "mentee.network.name=squeezenet1_1"]).mentee
    assert shipped.view.channels == 3
    console = Console(file=io.StringIO(), width=200)
    # the smallest that any of torchvision's takes; its own head is no linear layer
    mentee = replace(shipped, view=ViewConfig(size=24, channels=3))
    config = make_config(
        tmp_path, mentee=mentee, probes={}, trainer=FitConfig(max_epochs=1, steps_per_epoch=1, batch=8)
    )
    result = distill(config, replace(machine, console=console), mentor=mentor)
    count = sum(value.numel() for value in result.checkpoint.network().parameters())
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"mentee: torchvision's squeezenet1_1, {count:,} parameters, 10 classes, input 3×24×24" in printed
    assert result.checkpoint.recipe["num_classes"] == 10
    with pytest.raises(UserError, match="torchvision has no classifier 'squeezenet1_2'; did you mean 'squeezenet1_1'"):
        new_mentee(replace(mentee, network={**mentee.network, "name": "squeezenet1_2"}), digits(), machine)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("labels", [10, 3])
def test_a_mentor_of_transformers_from_a_folder_answers_as_there_or_gets_a_new_head(
    labels: int, machine: Machine, tmp_path: Path
) -> None:
    transformers: ModuleType = pytest.importorskip(
        "transformers", reason="needs pip install 'mentor-mentee[transformers]'"
    )
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic", "num_channels": 1}
    theirs = transformers.AutoModelForImageClassification.from_config(
        transformers.ResNetConfig(**sizes, num_labels=labels)
    )
    theirs.eval().save_pretrained(tmp_path / "theirs")
    config: Any = MentorConfig(
        network={"_target_": "mentor_mentee.zoo.transformers_models.classifier", "name": str(tmp_path / "theirs")},
        weights="pretrained",
        least_accuracy=0.0,
        transfer=TransferConfig(epochs=1, least_steps=0),
    )
    config = config if labels == 3 else replace(config, transfer=TransferConfig())
    found = find_mentor(config, digits(), tmp_path / "cache", machine)
    image = digits().test.images[:4]
    about = {"network": found.recipe, "weights": str(found.weights), "view": vars(found.view)}
    answer = restore_mentor(about, ()).answer(image).logits
    assert answer.shape == (4, 10)
    if labels == 10:
        with torch.no_grad():
            torch.testing.assert_close(answer, theirs(found.view(image)).logits)
        assert "under the weights that transformers has of" in found.origin
    else:
        with pytest.raises(UserError, match="are for 3 classes, digits has 10"):
            find_mentor(replace(config, transfer=TransferConfig()), digits(), tmp_path / "cache", machine)


def test_a_mentee_of_timms_by_name_trains_on_gray_images(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    if "timm" not in sys.modules:
        pytest.importorskip("timm", reason="needs pip install 'mentor-mentee[timm]'")
    shipped = compose(["mentee=timm", "mentee.network.name=test_resnet"]).mentee
    assert isinstance(shipped, MenteeConfig)
    config = make_config(
        tmp_path, mentee=shipped, probes={}, trainer=FitConfig(max_epochs=1, steps_per_epoch=2, batch=8)
    )
    result = distill(config, machine, mentor=mentor)
    assert result.checkpoint.network()(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
