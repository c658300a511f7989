"""Mixes samples of a batch as torchvision's MixUp and CutMix do, of two given batches, so that processes and resumed runs agree
on the pairs. Axes: B samples, C channels, H W space.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mentor_mentee.data.views.augmentation import Mix
from mentor_mentee.data.views.replayed import replayed

OF_A_BATCH = -1  # stands where a view has the position of its sample


class Mixing(NamedTuple):
    """`share`: what is left of each sample; `box`: x1, y1, x2, y2 of the pixels that come from the other, None for a blend."""

    share: float
    box: tuple[int, int, int, int] | None


def mixing(mix: Mix, shape: Sequence[int], seed: int, step: int) -> Mixing:
    """The numbers of a batch of `shape`, a pure function of (seed, step)."""
    with replayed() as seeded:
        seeded(seed, OF_A_BATCH, step)
        blend = mix.mixup > 0 and (mix.cutmix == 0 or float(torch.rand(1)) < 0.5)
        return drawn(mix.mixup if blend else mix.cutmix, None if blend else (shape[-2], shape[-1]))


def drawn(alpha: float, size: tuple[int, int] | None) -> Mixing:
    """Draws as torchvision does, in its order. A box in a signal (height 1) has its share of the length."""
    share = float(torch.distributions.Beta(torch.tensor([alpha]), torch.tensor([alpha])).sample())
    if size is None:
        return Mixing(share, None)
    height, width = size
    x, y = int(torch.randint(width, (1,))), int(torch.randint(height, (1,)))
    half = 0.5 * ((1 - share) if height == 1 else math.sqrt(1 - share))
    across, down = int(half * width), int(half * height)
    x1, x2 = max(x - across, 0), min(x + across, width)
    y1, y2 = (0, 1) if height == 1 else (max(y - down, 0), min(y + down, height))
    return Mixing(1 - (x2 - x1) * (y2 - y1) / (width * height), (x1, y1, x2, y2))


def mixed(image_BCHW: Tensor, other_BCHW: Tensor, how: Mixing) -> Tensor:
    """Mixes two batches into one of the same dtype: pixels are rounded to whole ones."""
    if how.box is not None:
        x1, y1, x2, y2 = how.box
        made = image_BCHW.clone()
        made[..., y1:y2, x1:x2] = other_BCHW[..., y1:y2, x1:x2]
        return made
    made = other_BCHW.float() * (1 - how.share) + image_BCHW.float() * how.share
    return made.round_().to(torch.uint8) if image_BCHW.dtype == torch.uint8 else made
