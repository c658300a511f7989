"""Networks of images of 8 × 8 that convolve nothing, small enough to export in a second."""

import torch
from torch import Tensor, nn


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
    """The halves of an image's rows, one after the other: more places than a shader of WebGPU may write at once."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.halves = nn.GRU(4, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.halves(x.reshape(-1, 16, 4))[0][:, -1])  # type: ignore[no-any-return]
