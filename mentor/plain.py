"""A plain network to be a mentor of small images: deeper and wider than what a phone would carry."""

from collections.abc import Sequence

from torch import Tensor, nn


class PlainNet(nn.Module):
    """A stem, then two 3×3 convolutions a width, the first of each pair with a 2×2 max pool before its BatchNorm, then the
    maximum over space and a linear head (after VGG, Simonyan and Zisserman, arXiv 1409.1556, configuration B without its
    hidden linear layers).

    - `widths`: channels of each resolution, two convolutions each
    - `stem`: channels of the first convolution
    """

    def __init__(
        self, in_channels: int, num_classes: int, widths: Sequence[int] = (64, 128, 256), stem: int = 16
    ) -> None:
        super().__init__()
        layers = convolution(in_channels, stem)
        channels = stem
        for width in widths:
            layers += [*convolution(channels, width, nn.MaxPool2d(2)), *convolution(width, width)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, K]."""
        return self.head(self.features(x).amax((2, 3)))  # type: ignore[no-any-return]


def convolution(in_channels: int, channels: int, *then: nn.Module) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    return [conv, *then, nn.BatchNorm2d(channels), nn.ReLU()]
