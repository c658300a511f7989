"""Small networks that ONNX Runtime can differentiate."""

from collections.abc import Sequence

from torch import Tensor, nn


class PlainCNN(nn.Module):
    """Convolution blocks (3×3 conv, BatchNorm, ReLU), each but the last followed by a 2×2 max pool, then global average
    pooling and a linear head. Block i is `features.<i>`; what it puts out is after ReLU and before its pool.
    """

    def __init__(
        self, in_channels: int, num_classes: int, widths: Sequence[int] = (8, 16, 32), batch_norm: bool = True
    ) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels = in_channels
        for i, width in enumerate(widths):
            block: list[nn.Module] = [nn.MaxPool2d(2)] if i else []
            block.append(nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm))
            if batch_norm:
                block.append(nn.BatchNorm2d(width))
            self.features.append(nn.Sequential(*block, nn.ReLU()))
            channels = width
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, K]."""
        return self.head(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
