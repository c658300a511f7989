"""Small networks that ONNX Runtime can differentiate.

Each takes `width`, a factor on the listed widths: the knob that `mentee.budget` turns. Without BatchNorm a convolution has a
bias instead. Global pooling is a mean, since ONNX Runtime Training 1.19.2 crashes on the gradient of AveragePool.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mentor_mentee.errors import UserError, did_you_mean


class Block(nn.Sequential):
    """A sequence that is one layer to who looks for layers to probe: its inside is not a stage of the network."""


class PlainCNN(nn.Module):
    """Convolution blocks (3×3 conv, BatchNorm, ReLU) with a 2×2 max pool between two of them, then global average pooling
    and a linear head. Block i is `features.<i>`.

    pool="after": a block puts out what is after ReLU and before its pool. pool="before": the pool stands between
    convolution and BatchNorm, as where the authors of arXiv 1604.08220 tap (pool, BatchNorm, ReLU), and a block puts out the
    pooled map; BatchNorm and ReLU then see a quarter of the values.

    pools: which blocks are followed by a pool (with "before": have one in them), counted from 0; null: all but the last.
    [1, 3] of six blocks is two convolutions at each of three resolutions.

    flatten=28, the height and width of the input, gives the head every place of the last map instead of its mean: better
    with few labels and things that are always in the middle.

    - `widths`: channels of each block
    - `batch_norm`: BatchNorm after each convolution; false: a bias instead
    - `width`: factor on `widths`
    - `pool`: after (a block ends before its pool) or before (the pool stands before BatchNorm)
    - `flatten`: height and width of the input: the head sees every place of the last map; null: its mean
    - `pools`: blocks with a pool, counted from 0; null: all but the last
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (8, 16, 32),
        batch_norm: bool = True,
        pool: str = "after",
        width: float = 1.0,
        flatten: int | None = None,
        pools: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if pool not in ("after", "before"):
            raise UserError(
                f"PlainCNN has no pool '{pool}'{did_you_mean(pool, ('after', 'before'))}; expected after or before"
            )
        self.features = nn.Sequential()
        channels = in_channels
        scaled = scaled_widths(widths, width)
        poolable = range(len(scaled) - (0 if pool == "before" else 1))  # what is after the last block is the head's
        pooled = range(len(scaled) - 1) if pools is None else pools
        if not isinstance(pooled, Sequence) or not all(i in poolable for i in pooled):
            raise UserError(
                f"PlainCNN has pools={pools} with pool={pool} and {len(scaled)} widths; expected a list of blocks, any of "
                f"{list(poolable)}"
            )
        for i, out_channels in enumerate(scaled):
            entering = [nn.MaxPool2d(2)] if i - 1 in pooled and pool == "after" else []
            within = [nn.MaxPool2d(2)] if i in pooled and pool == "before" else []
            conv = convolution(channels, out_channels, 3, batch_norm, then=within)
            self.features.append(Block(*entering, *conv, nn.ReLU()))
            channels = out_channels
        self.flatten = flatten is not None
        side = 1 if flatten is None else flatten >> len(set(pooled))
        if side < 1:
            raise UserError(
                f"PlainCNN has flatten={flatten} and halves its input {len(set(pooled))} times, which leaves nothing; expected "
                "the height and width of the input, or fewer pools"
            )
        self.head = nn.Linear(channels * side**2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, K]."""
        map_BCHW = self.features(x)
        return self.head(map_BCHW.flatten(1) if self.flatten else map_BCHW.mean((2, 3)))  # type: ignore[no-any-return]


class ResidualCNN(nn.Module):
    """A cheap stem (3×3 conv, 2×2 max pool, BatchNorm, ReLU), then stages of basic residual blocks (He et al., arXiv
    1512.03385), each but the first entered through a 2×2 max pool: no block runs at full resolution. Global average pooling
    and a linear head. Layers to probe: `stem`, `stages.<i>`.

    - `widths`: channels of each stage
    - `blocks`: residual blocks in each stage
    - `batch_norm`: BatchNorm after each convolution; false: a bias instead
    - `width`: factor on `widths`
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        batch_norm: bool = True,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        scaled = scaled_widths(widths, width)
        channels = scaled[0]
        self.stem = Block(*convolution(in_channels, channels, 3, batch_norm, then=[nn.MaxPool2d(2)]), nn.ReLU())
        self.stages = nn.Sequential()
        for i, out_channels in enumerate(scaled):
            stage = nn.Sequential(nn.MaxPool2d(2)) if i else nn.Sequential()
            for _ in range(blocks):
                stage.append(Residual(channels, out_channels, batch_norm))
                channels = out_channels
            self.stages.append(stage)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, K]."""
        return self.head(self.stages(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


class Residual(nn.Module):
    def __init__(self, in_channels: int, channels: int, batch_norm: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *convolution(in_channels, channels, 3, batch_norm),
            nn.ReLU(),
            *convolution(channels, channels, 3, batch_norm),
        )
        same = in_channels == channels
        self.shortcut = nn.Sequential(*([] if same else convolution(in_channels, channels, 1, batch_norm)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class InvertedResidualCNN(nn.Module):
    """Depthwise-separable inverted residuals with linear bottlenecks and ReLU6 (MobileNetV2, Sandler et al., arXiv
    1801.04381, section 3) for small images: the stem of `ResidualCNN`, one stage per width, each but the first entered by
    a depthwise convolution of stride 2, a 1×1 convolution to `expansion` × the last width, global average pooling and a
    linear head. Layers to probe: `stem`, `stages.<i>` (linear), `last` (after ReLU6).

    - `widths`: channels of each stage
    - `blocks`: inverted residuals in each stage
    - `expansion`: factor on the channels inside a block
    - `batch_norm`: BatchNorm after each convolution; false: a bias instead
    - `width`: factor on `widths`
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (16, 24, 32),
        blocks: int = 2,
        expansion: int = 4,
        batch_norm: bool = True,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        scaled = scaled_widths(widths, width)
        channels = scaled[0]
        self.stem = Block(*convolution(in_channels, channels, 3, batch_norm, then=[nn.MaxPool2d(2)]), nn.ReLU6())
        self.stages = nn.Sequential()
        for i, out_channels in enumerate(scaled):
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if i and not block else 1
                stage.append(InvertedResidual(channels, out_channels, expansion, stride, batch_norm))
                channels = out_channels
            self.stages.append(stage)
        self.last = Block(*convolution(channels, channels * expansion, 1, batch_norm), nn.ReLU6())
        self.head = nn.Linear(channels * expansion, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> logits [B, K]."""
        return self.head(self.last(self.stages(self.stem(x))).mean((2, 3)))  # type: ignore[no-any-return]


class InvertedResidual(nn.Module):
    def __init__(self, in_channels: int, channels: int, expansion: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.body = nn.Sequential(
            *convolution(in_channels, inner, 1, batch_norm),
            nn.ReLU6(),
            *convolution(inner, inner, 3, batch_norm, stride, groups=inner),
            nn.ReLU6(),
            *convolution(inner, channels, 1, batch_norm),
        )
        self.residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class SignalCNN(nn.Module):
    """`PlainCNN` with its pool before BatchNorm for signals of L values in C channels, [B, C, 1, L]: every kernel is
    (1, `kernel`) and every pool (1, 2), so only L shrinks. `stride` is the first convolution's, for long signals. Block i is
    `features.<i>`.

    - `widths`: channels of each block
    - `kernel`: length of every kernel, odd
    - `stride`: of the first convolution
    - `batch_norm`: BatchNorm after each convolution; false: a bias instead
    - `width`: factor on `widths`
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        widths: Sequence[int] = (16, 32, 64),
        kernel: int = 5,
        stride: int = 1,
        batch_norm: bool = True,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UserError(f"SignalCNN has kernel={kernel}; expected an odd number, so that it has a middle")
        self.features = nn.Sequential()
        channels = in_channels
        scaled = scaled_widths(widths, width)
        for i, out_channels in enumerate(scaled):
            pool = [nn.MaxPool2d((1, 2))] if i + 1 < len(scaled) else []
            step = (1, stride if i == 0 else 1)
            conv = convolution(channels, out_channels, (1, kernel), batch_norm, step, then=pool)
            self.features.append(Block(*conv, nn.ReLU()))
            channels = out_channels
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, 1, L] -> logits [B, K]."""
        return self.head(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


def convolution(
    in_channels: int,
    channels: int,
    kernel: int | tuple[int, int],
    batch_norm: bool,
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    then: Sequence[nn.Module] = (),
) -> list[nn.Module]:
    """Convolution, `then`, BatchNorm; an odd kernel with stride 1 keeps height and width."""
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    conv = nn.Conv2d(
        in_channels, channels, size, stride, (size[0] // 2, size[1] // 2), groups=groups, bias=not batch_norm
    )
    return [conv, *then, *([nn.BatchNorm2d(channels)] if batch_norm else [])]


def scaled_widths(widths: Sequence[int], width: float) -> list[int]:
    """Each of `widths` times `width`, rounded half up, at least 1."""
    if not isinstance(width, int | float) or not 0 < width < math.inf:
        raise UserError(f"width={width}; expected a factor on the widths {list(widths)}, finite and above 0")
    return [max(1, math.floor(size * width + 0.5)) for size in widths]


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
