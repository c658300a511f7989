"""The uint8 pixels that normalised floats were made of: what a device is fed, where a loader yields what the network takes.

Axes: B samples, C channels, H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mentor_mentee.errors import UserError

FURTHEST = 0.05  # from a whole pixel value: float32, or half of it, rounds by far less


def whole_pixels(image_BCHW: Tensor, mean: Sequence[float], std: Sequence[float], where: str) -> Tensor:
    """float [B, C, H, W] = (pixels / 255 - mean) / std -> uint8 pixels. Raises `UserError` where that gives no whole numbers from
    0 to 255."""
    mean_C11, std_C11 = (torch.tensor(list(each), dtype=torch.float64).view(-1, 1, 1) for each in (mean, std))
    exact = (image_BCHW.detach().cpu().double() * std_C11 + mean_C11) * 255
    pixels = exact.round()
    if not float((exact - pixels).abs().max()) <= FURTHEST or float(pixels.min()) < 0 or float(pixels.max()) > 255:
        raise UserError(
            f"{where} is no uint8 image under mean={list(mean)}, std={list(std)}: undone, they give {float(exact.min()):.4g} to "
            f"{float(exact.max()):.4g} with fractions; give the mean and std that the loader subtracts and divides by, augment "
            'before images become floats, or feed the device floats: source="float32"'
        )
    return pixels.to(torch.uint8)
