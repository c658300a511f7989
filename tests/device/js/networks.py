"""Networks of images of 8 × 8, small enough to export in a second, whose gradients have no jumps.

At a ReLU's kink or where two numbers of a max pool nearly tie, a last digit decides which way a gradient goes. Over 50 steps
it does, on one processor or another, and two right runs part by more than rounding.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mentee.networks import InvertedResidualCNN, PlainCNN, ResidualCNN


def plain(**settings: Any) -> nn.Module:
    return smooth(PlainCNN(**settings))


def residual(**settings: Any) -> nn.Module:
    return smooth(ResidualCNN(**settings))


def depthwise(**settings: Any) -> nn.Module:
    return smooth(InvertedResidualCNN(**settings))


def smooth(network: nn.Module) -> nn.Module:
    """The same with SiLU for ReLU and ReLU6, and average pools for max pools."""
    for module in network.modules():
        for name, part in module.named_children():
            if isinstance(part, nn.ReLU | nn.ReLU6):
                setattr(module, name, nn.SiLU())
            elif isinstance(part, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(part.kernel_size))
    return network


class SmallTransformer(nn.Module):
    """Patches of 4 × 4, one layer of attention over the four of them."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.places = nn.Parameter(torch.randn(1, 4, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.patches(x).flatten(2).transpose(1, 2) + self.places).mean(1))  # type: ignore[no-any-return]


class SmallGRU(nn.Module):
    """The rows of an image, one after the other."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.rows = nn.GRU(8, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rows(x.squeeze(1))[0][:, -1])  # type: ignore[no-any-return]
