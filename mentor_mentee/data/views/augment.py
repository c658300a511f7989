"""Augmented views of source images. A view is a pure function of (seed, position of the sample, number of the view), so
what a mentor said of it can be cached and the very same view drawn again.

Axes: B samples, C channels, H W space, P random numbers a view takes, 2 the coordinates x and y.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError

KNOTS = 4  # the elastic field is 4x4 random vectors, interpolated
NUMBERS = 8 + 2 * KNOTS**2


def augment(image_BCHW: Tensor, index_B: Tensor, view_B: Tensor, how: Augmentation, seed: int) -> Tensor:
    """uint8 or float32 source images -> the same dtype and shape; what comes in from outside the image is 0.

    Sample `index_B` in its version `view_B`. Raises `UserError` for a rotation, shear or scale of signals (H = 1).
    """
    if not how.active():
        return image_BCHW
    height, width = image_BCHW.shape[2:]
    if height == 1 and (how.rotate or how.shear or how.scale):
        raise UserError("signals cannot be rotated, sheared or scaled; use augment.shift, .elastic, .flip and .erase")
    unit_BP = torch.from_numpy(uniform(seed, index_B.cpu().numpy(), view_B.cpu().numpy(), NUMBERS)).to(
        image_BCHW.device
    )
    pixels = image_BCHW.float()
    if how.rotate or how.shear or how.scale or how.shift or how.elastic or how.flip:
        grid_BHW2 = sources(unit_BP, height, width, how)
        pixels = F.grid_sample(pixels, grid_BHW2, mode="bilinear", padding_mode="zeros", align_corners=False)
    if how.erase:
        pixels = erased(pixels, unit_BP[:, 6:8], how.erase)
    return pixels.round_().to(torch.uint8) if image_BCHW.dtype == torch.uint8 else pixels


def sources(unit_BP: Tensor, height: int, width: int, how: Augmentation) -> Tensor:
    """[B, H, W, 2]: where each pixel of the view comes from, in grid_sample's coordinates.

    Everything that moves a pixel is linear in its place and in the elastic field's basis, so it is one matrix product.
    """
    either_BP = 2 * unit_BP - 1
    angle_B, slant_B = (math.radians(most) * either_BP[:, i] for i, most in enumerate((how.rotate, how.shear)))
    zoom_B = 1 / (1 + how.scale * either_BP[:, 2])
    mirror_B = torch.where(unit_BP[:, 5] < 0.5, -1.0, 1.0) if how.flip else torch.ones_like(zoom_B)
    cos_B, sin_B = angle_B.cos() * zoom_B, angle_B.sin() * zoom_B
    turn_B22 = torch.stack(
        [cos_B * mirror_B, cos_B * slant_B.tan() - sin_B, sin_B * mirror_B, sin_B * slant_B.tan() + cos_B], 1
    ).view(-1, 2, 2)
    size_2 = torch.tensor([width, height], dtype=torch.float32, device=unit_BP.device)
    moves_2 = torch.tensor([2.0, 2.0 * (height > 1)], device=unit_BP.device)  # a signal moves along its length only
    shift_B21 = (how.shift * either_BP[:, 3:5] * moves_2).unsqueeze(2)
    knots_B2P = how.elastic * either_BP[:, 8:].view(-1, 2, KNOTS**2) * moves_2.view(2, 1)
    weights = torch.cat([2 * turn_B22 / size_2.view(2, 1), shift_B21, knots_B2P], 2)
    place_B2HW = (weights @ basis(height, width).to(unit_BP.device)).view(-1, 2, height, width)
    return place_B2HW.permute(0, 2, 3, 1)


@lru_cache(maxsize=8)
def basis(height: int, width: int) -> Tensor:
    """[3 + 16, H·W]: x and y of each pixel from the centre, 1, and the bicubic weight that each knot has there."""
    with torch.inference_mode(False):
        x_W = torch.arange(width) - (width - 1) / 2
        y_H = torch.arange(height) - (height - 1) / 2
        y_HW, x_HW = torch.meshgrid(y_H, x_W, indexing="ij")
        knots = torch.eye(KNOTS**2).view(-1, 1, KNOTS, KNOTS)
        field = F.interpolate(knots, size=(height, width), mode="bicubic", align_corners=True)
        return torch.cat([torch.stack([x_HW, y_HW, torch.ones_like(x_HW)]).flatten(1), field.view(KNOTS**2, -1)])


def erased(pixels: Tensor, centre_B2: Tensor, side: float) -> Tensor:
    """A square of `side` times the shorter side set to 0, centred anywhere, cut off at the border."""
    height, width = pixels.shape[2:]
    half = side * (min(height, width) if height > 1 else width) / 2
    y_H = torch.arange(height, device=pixels.device) + 0.5
    x_W = torch.arange(width, device=pixels.device) + 0.5
    down_BH = (y_H - centre_B2[:, :1] * height).abs() < (half if height > 1 else math.inf)
    across_BW = (x_W - centre_B2[:, 1:] * width).abs() < half
    return pixels.masked_fill((down_BH.unsqueeze(2) & across_BW.unsqueeze(1)).unsqueeze(1), 0.0)


def uniform(seed: int, index_B: np.ndarray, view_B: np.ndarray, numbers: int) -> np.ndarray:
    """float32 [B, numbers] in [0, 1): a hash (splitmix64, Steele et al. 2014) of its arguments instead of a generator's
    next numbers, so that any view of any sample can be had without those before it."""
    key_B = mixed(np.array([seed], dtype=np.uint64)) ^ index_B.astype(np.uint64)
    key_B = mixed(key_B) ^ view_B.astype(np.uint64)
    key_BP = mixed(mixed(key_B)[:, None] ^ np.arange(numbers, dtype=np.uint64)[None])
    return ((key_BP >> np.uint64(40)) * np.float32(2**-24)).astype(np.float32)


def mixed(key: np.ndarray) -> np.ndarray:
    key = key + np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))  # type: ignore[no-any-return]
