"""Mentees of the tests here that a recipe can name."""

import torch
from torch import Tensor, nn


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
