"""Every family against the same layers run by hand. Axes: B samples, C channels, H W space, L signal length."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mentee.networks import (
    InvertedResidualCNN,
    PlainCNN,
    ResidualCNN,
    SignalCNN,
    parameter_count,
    scaled_widths,
)
from mentor_mentee.errors import UserError
from mentor_mentee.pairing.stages import stages

Layer = Callable[..., Tensor]


def by_hand(net: nn.Module) -> tuple[Layer, Layer]:
    """(conv, norm): each takes a map and the path of its weights. BatchNorm gets statistics and weights of its own, half of
    the scales negative."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    state = net.eval().state_dict()

    def conv(x: Tensor, path: str, **options: int) -> Tensor:
        weight = state[f"{path}.weight"]
        return F.conv2d(x, weight, state.get(f"{path}.bias"), padding=weight.shape[-1] // 2, **options)

    def norm(x: Tensor, path: str) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{path}.{name}"].view(1, -1, 1, 1) for name in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    return conv, norm


def close(seen: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_blocks_are_conv_norm_relu_with_a_pool_between_and_the_mean_before_the_head(batch_norm: bool) -> None:
    torch.manual_seed(0)
    net = PlainCNN(2, 5, widths=(3, 4, 6), batch_norm=batch_norm).eval()
    x = torch.randn(2, 2, 12, 12)
    maps = x
    for i in range(3):
        maps = F.max_pool2d(maps, 2) if i else maps
        weight, bias = net.state_dict()[f"features.{i}.{int(i > 0)}.weight"], None
        if not batch_norm:
            bias = net.state_dict()[f"features.{i}.{int(i > 0)}.bias"]
        maps = F.conv2d(maps, weight, bias, padding=1)
        if batch_norm:
            maps = maps / (1 + 1e-5) ** 0.5  # fresh statistics: mean 0, variance 1
        maps = maps.clamp(min=0)
    torch.testing.assert_close(net.features(x), maps, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(net(x), maps.mean((2, 3)) @ net.head.weight.T + net.head.bias, rtol=1e-4, atol=1e-6)


def test_parameters_are_counted() -> None:
    with_norm = (9 * 1 * 8 + 16) + (9 * 8 * 16 + 32) + (16 * 10 + 10)
    assert parameter_count(PlainCNN(1, 10, widths=(8, 16))) == with_norm
    without = (9 * 1 * 8 + 8) + (9 * 8 * 16 + 16) + (16 * 10 + 10)
    assert parameter_count(PlainCNN(1, 10, widths=(8, 16), batch_norm=False)) == without


def test_with_the_pool_before_batch_norm_blocks_put_out_the_pooled_map_and_the_last_has_no_pool() -> None:
    torch.manual_seed(0)
    net = PlainCNN(2, 5, widths=(3, 4), pool="before")
    conv, norm = by_hand(net)
    x = torch.randn(2, 2, 9, 9)
    first = norm(F.max_pool2d(conv(x, "features.0.0"), 2), "features.0.2").relu()
    second = norm(conv(first, "features.1.0"), "features.1.1").relu()
    assert first.shape == (2, 3, 4, 4)
    close(net.features[0](x), first)
    close(net.features(x), second)
    close(net(x), second.mean((2, 3)) @ net.head.weight.T + net.head.bias)


@pytest.mark.parametrize("pool", ["before", "after"])
def test_pools_stand_where_they_are_asked_for(pool: str) -> None:
    torch.manual_seed(0)
    pools = [1, 3] if pool == "before" else [0, 2]
    net = PlainCNN(2, 5, widths=(3, 4, 6, 5), pool=pool, pools=pools, flatten=9)
    conv, norm = by_hand(net)
    x = y = torch.randn(2, 2, 9, 9)
    for i in range(4):
        inside = iter(range(4))
        if pool == "after" and i in (1, 3):
            y = F.max_pool2d(y, 2)
            next(inside)
        y = conv(y, f"features.{i}.{next(inside)}")
        if pool == "before" and i in (1, 3):
            y = F.max_pool2d(y, 2)
            next(inside)
        y = norm(y, f"features.{i}.{next(inside)}").relu()
        close(net.features[: i + 1](x), y)
    assert net.head.in_features == 5 * 2 * 2  # 9, 4, 2
    close(net(x), y.flatten(1) @ net.head.weight.T + net.head.bias)


@pytest.mark.parametrize(
    ("pool", "pools", "blocks"),
    [("after", [0, 2], r"\[0, 1\]"), ("before", [3], r"\[0, 1, 2\]"), ("before", [-1], r"\["), ("after", 1, r"\[")],
)
def test_pools_of_blocks_that_are_not_there(pool: str, pools: Any, blocks: str) -> None:
    with pytest.raises(
        UserError, match=rf"pools=.* with pool={pool} and 3 widths; expected .* blocks, any of {blocks}"
    ):
        PlainCNN(1, 10, pool=pool, pools=pools)


def test_a_pool_of_another_name_is_an_error() -> None:
    with pytest.raises(UserError, match="no pool 'befor'; did you mean 'before'"):
        PlainCNN(1, 10, pool="befor")


def test_residual_blocks_add_what_came_in_and_stages_are_entered_through_a_pool() -> None:
    torch.manual_seed(0)
    net = ResidualCNN(2, 5, widths=(3, 4), blocks=2)
    conv, norm = by_hand(net)
    x = torch.randn(2, 2, 9, 9)
    y = norm(F.max_pool2d(conv(x, "stem.0"), 2), "stem.2").relu()
    close(net.stem(x), y)
    for path in ("stages.0.0", "stages.0.1", "stages.1.1", "stages.1.2"):
        y = F.max_pool2d(y, 2) if path == "stages.1.1" else y
        inner = norm(conv(y, f"{path}.body.0"), f"{path}.body.1").relu()
        came_in = norm(conv(y, f"{path}.shortcut.0"), f"{path}.shortcut.1") if path == "stages.1.1" else y
        y = (norm(conv(inner, f"{path}.body.3"), f"{path}.body.4") + came_in).relu()
    close(net.stages(net.stem(x)), y)
    close(net(x), y.mean((2, 3)) @ net.head.weight.T + net.head.bias)


def test_inverted_residuals_expand_filter_each_channel_and_project_without_a_relu() -> None:
    torch.manual_seed(0)
    net = InvertedResidualCNN(2, 5, widths=(3, 4), blocks=2, expansion=2)
    conv, norm = by_hand(net)
    x = 4 * torch.randn(2, 2, 9, 9)
    y = norm(F.max_pool2d(conv(x, "stem.0"), 2), "stem.2").clamp(0, 6)
    for path in ("stages.0.0", "stages.0.1", "stages.1.0", "stages.1.1"):
        inner = norm(conv(y, f"{path}.body.0"), f"{path}.body.1").clamp(0, 6)
        stride = 2 if path == "stages.1.0" else 1
        inner = norm(conv(inner, f"{path}.body.3", groups=inner.shape[1], stride=stride), f"{path}.body.4").clamp(0, 6)
        out = norm(conv(inner, f"{path}.body.6"), f"{path}.body.7")
        y = out if path == "stages.1.0" else y + out
    close(net.stages(net.stem(x)), y)
    y = norm(conv(y, "last.0"), "last.1").clamp(0, 6)
    assert y.shape == (2, 8, 2, 2)
    close(net(x), y.mean((2, 3)) @ net.head.weight.T + net.head.bias)


def test_a_signal_is_convolved_along_its_length_alone() -> None:
    torch.manual_seed(0)
    net = SignalCNN(2, 5, widths=(3, 4), kernel=5, stride=3, batch_norm=False).eval()
    x = torch.randn(2, 2, 1, 31)
    state = net.state_dict()
    y = F.conv1d(x[:, :, 0], state["features.0.0.weight"][:, :, 0], state["features.0.0.bias"], stride=3, padding=2)
    y = F.max_pool1d(y, 2).relu()
    assert y.shape == (2, 3, 5)
    close(net.features[0](x)[:, :, 0], y)
    y = F.conv1d(y, state["features.1.0.weight"][:, :, 0], state["features.1.0.bias"], padding=2).relu()
    close(net(x), y.mean(2) @ net.head.weight.T + net.head.bias)
    with pytest.raises(UserError, match="kernel=4; expected an odd number"):
        SignalCNN(2, 5, kernel=4)


def test_widths_are_scaled_and_rounded_half_up_but_never_to_nothing() -> None:
    assert scaled_widths((8, 16, 33), 0.5) == [4, 8, 17]
    assert scaled_widths((8, 16, 33), 0.01) == [1, 1, 1]
    assert scaled_widths((5, 7), 1) == [5, 7]
    wrong: Any
    for wrong in (0, -1, float("inf"), float("nan"), [3], "2"):  # `width=[3]` was meant to be `widths=[3]`
        with pytest.raises(UserError, match=r"expected a factor on the widths \[8\]"):
            scaled_widths((8,), wrong)


@pytest.mark.parametrize("family", [PlainCNN, ResidualCNN, InvertedResidualCNN, SignalCNN])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_half_the_width_is_the_network_of_half_the_widths(family: type[nn.Module], batch_norm: bool) -> None:
    half, listed = (
        family(3, 7, **options, batch_norm=batch_norm)
        for options in ({"widths": (8, 12), "width": 0.5}, {"widths": (4, 6)})
    )
    assert {key: value.shape for key, value in half.state_dict().items()} == {
        key: value.shape for key, value in listed.state_dict().items()
    }
    assert any(isinstance(module, nn.BatchNorm2d) for module in half.modules()) is batch_norm
    assert all((module.bias is None) is batch_norm for module in half.modules() if isinstance(module, nn.Conv2d))


def test_the_inside_of_a_block_is_no_stage_to_probe() -> None:
    x = torch.randn(2, 1, 16, 16)
    assert [stage.path for stage in stages(PlainCNN(1, 10, pool="before"), x)] == ["features.0", "features.2"]
    assert [stage.path for stage in stages(ResidualCNN(1, 10), x)] == ["stages.0", "stages.1", "stages.2"]
    assert [stage.path for stage in stages(InvertedResidualCNN(1, 10), x)] == ["stages.0", "stages.1", "last"]


def test_a_flattened_head_sees_every_place() -> None:
    torch.manual_seed(0)
    net = PlainCNN(2, 5, widths=(3, 4, 6), flatten=9).eval()  # 9, 4, 2
    assert net.head.in_features == 6 * 2 * 2
    x = torch.randn(3, 2, 9, 9)
    with torch.no_grad():
        map_BCHW = net.features(x)
        expected = torch.einsum("bchw,kchw->bk", map_BCHW, net.head.weight.view(5, 6, 2, 2)) + net.head.bias
        torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("flatten", [0, 3, -28])
def test_an_input_that_pooling_leaves_nothing_of(flatten: int) -> None:
    with pytest.raises(UserError, match=f"PlainCNN has flatten={flatten} and halves its input 2 times"):
        PlainCNN(1, 10, widths=(3, 4, 6), flatten=flatten)
