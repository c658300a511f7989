"""Mentees of the tests here that a recipe can name."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Chequered(nn.Module):
    """BatchNorm where it folds and where it cannot, a depthwise layer, and a first layer that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1).requires_grad_(False)
        self.norm = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, 2, padding=1, groups=6, bias=False)
        self.folded = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(torch.relu(self.stem(x)))
        return self.head(torch.relu(self.folded(self.depthwise(y))).mean((2, 3)))  # type: ignore[no-any-return]


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1) * 2 if x.sum() > 0 else x.flatten(1))  # type: ignore[no-any-return]


class Cyclic(nn.Module):
    """Trains with stock graphs alone: ONNX Runtime Training has no gradient of an atan."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(1, 4, 3, 2), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).atan().mean((2, 3)))  # type: ignore[no-any-return]


class Folding(Cyclic):
    """Trains with none: neither has a gradient of the Col2Im that a fold becomes."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.fold(F.unfold(self.first(x).atan(), 3), (3, 3), 3)
        return self.head(y.mean((2, 3)))  # type: ignore[no-any-return]
