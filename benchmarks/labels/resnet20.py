"""ResNet-20 for CIFAR-10 as the published weights name its layers (He et al., arXiv 1512.03385, section 4.2, option A)."""

from torch import Tensor, nn
from torch.nn import functional as F


class ResNet20(nn.Module):
    """Three stages of three basic blocks at 16, 32 and 64 channels; 0.27 M parameters."""

    def __init__(self, in_channels: int = 3, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = stage(16, 16), stage(16, 32), stage(32, 64)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, 32, 32] -> logits [B, K]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


class BasicBlock(nn.Module):
    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.grown = out_channels - channels
        self.conv1 = nn.Conv2d(channels, out_channels, 3, 2 if self.grown else 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.grown:  # option A: every other pixel, zeros for the new channels
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.grown // 2, self.grown // 2))
        return F.relu(y + x)


def stage(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(channels, out_channels), *(BasicBlock(out_channels, out_channels) for _ in range(2))
    )
