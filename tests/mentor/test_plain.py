"""The plain mentor against its layers applied by hand, and the configuration that trains it."""

import torch
from torch import nn
from torch.nn import functional as F

from distill.schema import DistillConfig
from mentor.plain import PlainNet
from mentor_mentee.config.compose import compose
from mentor_mentee.recipe import build, completed


def test_two_convolutions_a_width_the_first_pooled_and_the_maximum_over_space() -> None:
    torch.manual_seed(0)
    net = PlainNet(2, 5, widths=(4, 6), stem=3).eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight)  # negative ones too: pooling before and after BatchNorm then differ
            nn.init.normal_(layer.bias)
    state = net.state_dict()
    convolutions = iter(key for key, value in state.items() if value.dim() == 4)
    x = y = torch.randn(3, 2, 9, 9)
    with torch.no_grad():
        for pooled in (False, True, False, True, False):
            key = next(convolutions)
            y = F.conv2d(y, state[key], padding=1)
            y = F.max_pool2d(y, 2) if pooled else y
            norm = f"features.{int(key.split('.')[1]) + 1 + pooled}"
            y = y / (1 + 1e-5) ** 0.5 * state[f"{norm}.weight"].view(-1, 1, 1) + state[f"{norm}.bias"].view(-1, 1, 1)
            y = y.relu()
        assert next(convolutions, None) is None
        assert y.shape == (3, 6, 2, 2)
        expected = y.flatten(2).max(2).values @ state["head.weight"].T + state["head.bias"]
        torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5)


def test_its_configuration_makes_what_experiments_were_run_with() -> None:
    config = compose(
        "distill", DistillConfig, ["mentor=fashion_deep", "data=fashion_mnist", "data.root=unused", "run_dir=unused"]
    )
    network = build(completed(config.mentor.network, "mentor", num_classes=10, in_channels=1), "mentor")
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_156_538
    assert (config.mentor.fit.max_epochs, config.mentor.fit.augment.transforms[-1]["_target_"]) == (26, "RandomErasing")
