"""Costs against what is counted by hand. Axes: B samples, C channels, H W space."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mentee.budget import Budget
from mentee.cost import measure, widest_within
from mentee.networks import InvertedResidualCNN, PlainCNN, ResidualCNN
from mentor_mentee.errors import UserError

FLOAT, INDEX = 4, 8  # bytes


def test_a_plain_network_is_counted_as_by_hand() -> None:
    cost = measure(PlainCNN(2, 5, widths=(3, 4)), torch.randn(6, 2, 8, 8))
    assert cost.parameters == (9 * 2 * 3 + 2 * 3) + (9 * 3 * 4 + 2 * 4) + (4 * 5 + 5)
    assert cost.bytes == 4 * cost.parameters
    assert cost.macs == 8 * 8 * 9 * 2 * 3 + 4 * 4 * 9 * 3 * 4 + 4 * 5
    first = 3 * 8 * 8 * (1 + 1)  # conv's output for BatchNorm's gradient, ReLU's for its own and for the pool's
    pooled = 3 * 4 * 4  # for the second convolution
    second = 4 * 4 * 4 * (1 + 1)
    floats = 2 * 8 * 8 + first + pooled + second + 4
    assert cost.activation_bytes == 6 * (FLOAT * floats + INDEX * 3 * 4 * 4)


def test_without_batch_norm_a_convolutions_output_need_not_be_kept() -> None:
    cost = measure(PlainCNN(2, 5, widths=(3, 4), batch_norm=False), torch.randn(6, 2, 8, 8))
    assert cost.parameters == (9 * 2 * 3 + 3) + (9 * 3 * 4 + 4) + (4 * 5 + 5)
    floats = 2 * 8 * 8 + 3 * 8 * 8 + 3 * 4 * 4 + 4 * 4 * 4 + 4
    assert cost.activation_bytes == 6 * (FLOAT * floats + INDEX * 3 * 4 * 4)


def test_a_depthwise_convolution_multiplies_each_channel_by_its_own_kernel_alone() -> None:
    net = InvertedResidualCNN(1, 3, widths=(2,), blocks=1, expansion=3, batch_norm=False)
    at_half = 4 * 4
    expected = 8 * 8 * 9 * 2 + at_half * (2 * 6 + 9 * 6 + 6 * 2 + 2 * 6) + 6 * 3
    assert measure(net, torch.randn(5, 1, 8, 8)).macs == expected


class Functional(nn.Module):
    """Its convolution is no module, runs twice, and its parameter is shared."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(2, 2, 3, 3))
        self.alias = self.kernel
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = nn.functional.conv2d(x, self.kernel, padding=1)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def test_what_is_no_module_is_counted_as_well_and_what_is_shared_once() -> None:
    cost = measure(Functional(), torch.randn(4, 2, 5, 5))
    assert cost.parameters == 36 + 9
    assert cost.macs == 2 * 5 * 5 * 36 + 6
    assert cost.activation_bytes == 4 * FLOAT * (2 * 2 * 25 + 2)


def test_measuring_leaves_the_network_as_it_was() -> None:
    net = ResidualCNN(1, 4, widths=(2, 3)).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    measure(net, torch.randn(1, 1, 4, 4))
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


RECIPE = {"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 10, "batch_norm": False}


@pytest.mark.parametrize(
    "budget",
    [
        Budget(parameters=2_000),
        Budget(macs=1_000_000),
        Budget(bytes=100_000),
        Budget(activation_bytes=30_000, batch=1),
        Budget(parameters=20_000, macs=50_000),
    ],
)
def test_the_widest_that_fits_is_found_and_the_next_does_not(budget: Budget) -> None:
    state = torch.random.get_rng_state()
    recipe, cost = widest_within(RECIPE, budget, (1, 12, 12), "here")
    assert torch.equal(torch.random.get_rng_state(), state)  # the network of the run starts from the seed's weights

    def cost_of(width: float) -> dict[str, int]:
        net = PlainCNN(1, 10, batch_norm=False, width=width)
        return vars(measure(net, torch.zeros(budget.batch, 1, 12, 12)))

    assert cost is not None
    assert vars(cost) == cost_of(recipe["width"])
    assert all(vars(cost)[name] <= limit for name, limit in budget.limits().items())
    wider = cost_of(recipe["width"] + 0.01)
    assert any(wider[name] > limit for name, limit in budget.limits().items())
    assert {**RECIPE, "width": recipe["width"]} == recipe


def test_without_a_limit_nothing_is_searched() -> None:
    assert widest_within({"_target_": "no.such"}, Budget(batch=3), (1, 8, 8), "here") == ({"_target_": "no.such"}, None)


class Failing(PlainCNN):
    """A network as torchvision's ResNet: seems to take any option, and fails on a width."""

    def __init__(self, **options: Any) -> None:
        super().__init__(in_channels=2, width=1, **options)


class Deaf(PlainCNN):
    """A network as torchvision's MobileNetV3: takes any option, and makes nothing of a width."""

    def __init__(self, **options: Any) -> None:
        super().__init__(2, options["num_classes"], options["widths"])


class Forwarding(PlainCNN):
    def __init__(self, **options: Any) -> None:
        super().__init__(in_channels=1, **options)


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [
        ({"_target_": f"{__name__}.Functional"}, 36 + 9),
        *(
            (
                {"_target_": f"{__name__}.{name}", "num_classes": 5, "widths": [3, 4]},
                (9 * 2 * 3 + 2 * 3) + (9 * 3 * 4 + 2 * 4) + (4 * 5 + 5),
            )
            for name in ("Failing", "Deaf")
        ),
        (
            {**RECIPE, "in_channels": 2, "widths": [3, 4], "width": 2},
            (9 * 2 * 6 + 6) + (9 * 6 * 8 + 8) + (8 * 10 + 10),
        ),
    ],
)
def test_without_an_open_knob_the_network_is_measured_as_it_is(recipe: dict[str, Any], parameters: int) -> None:
    state = torch.random.get_rng_state()
    found, cost = widest_within(recipe, Budget(parameters=parameters), (2, 5, 5), "here")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found == recipe
    assert cost is not None
    assert (cost.parameters, cost.bytes) == (parameters, 4 * parameters)
    message = rf"^here: {recipe['_target_']} is above .* parameters {parameters}, 1 above the limit of {parameters - 1}; raise"
    with pytest.raises(UserError, match=message):
        widest_within(recipe, Budget(parameters=parameters - 1), (2, 5, 5), "here")


def test_a_width_that_only_trying_shows_is_searched() -> None:
    recipe = {"_target_": f"{__name__}.Forwarding", "num_classes": 10, "batch_norm": False}
    found, cost = widest_within(recipe, Budget(parameters=2_000), (1, 12, 12), "here")
    plain, same = widest_within(RECIPE, Budget(parameters=2_000), (1, 12, 12), "here")
    assert (found["width"], cost) == (plain["width"], same)


def test_a_network_that_cannot_take_the_samples_is_one_line() -> None:
    with pytest.raises(
        UserError, match=r"^here: mentee.networks.PlainCNN fails on an input of \[1, 2, 2\]: ."
    ) as error:
        widest_within(RECIPE, Budget(macs=10**9), (1, 2, 2), "here")
    assert "\n" not in str(error.value)
