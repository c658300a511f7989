"""A network under a new head."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mentor.torchvision_models import classifier
from mentor.transfer import replaceable_head, with_head
from mentor_mentee.errors import UserError
from mentor_mentee.recipe import build

RECIPE = {"_target_": "mentor.networks.ResidualNet", "in_channels": 1, "num_classes": 7, "widths": [2, 4]}


def test_the_new_head_reads_what_the_old_one_read() -> None:
    recipe = {"_target_": "mentor.transfer.with_head", "network": RECIPE, "head": "head", "num_classes": 3}
    network = build(recipe, "a test").eval()
    x = torch.randn(2, 1, 8, 8)
    embedding_BD = network.stages(network.stem(x)).mean((2, 3))
    torch.testing.assert_close(network(x), F.linear(embedding_BD, network.head.weight, network.head.bias))
    assert network(x).shape == (2, 3)


def test_a_head_inside_a_container_is_replaced_in_its_place() -> None:
    recipe: dict[str, Any] = {"_target_": "mentor.torchvision_models.classifier", "name": "mobilenet_v3_small"}
    network = with_head(recipe, "classifier.3", 4)
    assert isinstance(network.classifier[3], nn.Linear)
    assert network.eval()(torch.randn(1, 3, 32, 32)).shape == (1, 4)
    assert replaceable_head(network, torch.randn(1, 3, 32, 32)) == "classifier.3"


def test_only_a_linear_layer_is_a_head() -> None:
    with pytest.raises(UserError, match=r"'stem\.1' of ResidualNet is a BatchNorm2d; expected the nn\.Linear"):
        with_head(RECIPE, "stem.1", 3)
    with pytest.raises(UserError, match="no layer 'heat' in ResidualNet; did you mean 'head'"):
        with_head(RECIPE, "heat", 3)


def test_a_head_that_is_a_convolution_is_replaced_by_one_for_other_classes() -> None:
    x = torch.randn(2, 3, 32, 32)
    assert replaceable_head(classifier("squeezenet1_1", 5), x) == "classifier.1"
    network = {"_target_": "torchvision.models.squeezenet1_1", "num_classes": 5}
    made = with_head(network, "classifier.1", 7).eval()
    assert made(x).shape == (2, 7)
    assert made.get_submodule("classifier.1").weight.shape == (7, 512, 1, 1)


def test_a_network_whose_logits_no_layer_makes_says_what_to_do() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = 2 * self.head(x)
            return logits

    with pytest.raises(UserError, match=r"no linear layer of Doubled .*mentor\.transfer.*ends in an nn\.Linear, or tr"):
        replaceable_head(Doubled(), torch.randn(1, 4))
