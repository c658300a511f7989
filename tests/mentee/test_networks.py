"""PlainCNN against the same layers run by hand. Axes: B samples, C channels, H W space."""

import pytest
import torch
from torch.nn import functional as F

from mentee.networks import PlainCNN, parameter_count


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
