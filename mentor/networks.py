"""The mentor of the embedded default; larger ones come from torchvision or from the user's own module."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class ResidualNet(nn.Module):
    """A residual network for small images (after He et al., arXiv 1512.03385, section 4.2): one stage per width, each
    but the first halving the resolution, then global average pooling and a linear head.

    - `widths`: channels of each stage
    - `blocks`: residual blocks in each stage
    """

    def __init__(self, in_channels: int, num_classes: int, widths: Sequence[int] = (32, 64), blocks: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        stages = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            strides = [2 if stage and block == 0 else 1 for block in range(blocks)]
            stages.append(
                nn.Sequential(
                    *(Block(channels if i == 0 else width, width, stride) for i, stride in enumerate(strides))
                )
            )
            channels = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, K]."""
        return self.head(self.stages(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))
