"""What one network sees of a source image: its size, its channels, its normalisation.

Axes: B samples of a batch, C channels, H height, W width. Mean and std are per channel on the scale 0 .. 1.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data.errors import UserError
from data.splits import Split

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision turn colour into gray


@dataclass(frozen=True)
class View:
    shape: tuple[int, int, int]  # C, H, W
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise UserError(f"a view of shape {self.shape}; expected (channels, height, width), each 1 or more")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.shape[0]:
                raise UserError(
                    f"{name} {values} of a view of shape {self.shape} has {len(values)} values; "
                    f"expected {self.shape[0]}: give one for each channel"
                )
        if not all(value > 0 for value in self.std):
            raise UserError(f"std {self.std} of a view has a value that is not above 0; use 1 to leave a channel as is")

    def pixels(self, image_BCHW: Tensor) -> Tensor:
        """uint8 [B, C, H, W] of any size, 1 or 3 channels -> uint8 [B, *shape]; the same tensor if it already fits.

        Rounded back to uint8 on purpose: these are the very pixels that are stored and sent to a device, so training
        must not see finer ones.
        """
        if image_BCHW.dtype != torch.uint8 or image_BCHW.ndim != 4:
            raise UserError(
                f"a view was given {image_BCHW.dtype} of shape {tuple(image_BCHW.shape)}; "
                "expected torch.uint8 [B, C, H, W]: pass source images, not normalised ones"
            )
        channels, *size = self.shape
        given = image_BCHW.shape[1]
        if given != channels and {given, channels} != {1, 3}:
            raise UserError(
                f"images of {given} channels for a view of {channels}; only 1 and 3 channels convert into each other: "
                f"use a view of shape ({given}, {size[0]}, {size[1]})"
            )
        resized = list(image_BCHW.shape[2:]) != size
        to_gray = given == 3 and channels == 1
        if resized or to_gray:
            exact_BCHW = image_BCHW.float()
            if to_gray:
                exact_BCHW = _gray(exact_BCHW)
            if resized:
                exact_BCHW = interpolate(exact_BCHW, size=size, mode="bilinear", align_corners=False, antialias=True)
            image_BCHW = exact_BCHW.round_().clamp_(0, 255).to(torch.uint8)
        return image_BCHW.repeat(1, 3, 1, 1) if given == 1 and channels == 3 else image_BCHW

    def __call__(self, image_BCHW: Tensor) -> Tensor:
        """uint8 source images -> float32 [B, *shape], `(pixels / 255 - mean) / std`."""
        mean_C11, std_C11 = _constants(self.mean, self.std, image_BCHW.device)
        return self.pixels(image_BCHW).float().div_(255).sub_(mean_C11).div_(std_C11)


def _gray(image_B3HW: Tensor) -> Tensor:
    red, green, blue = image_B3HW.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(1)


@lru_cache(maxsize=32)
def _constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept per device: building them at every batch is a host-to-device copy, a GPU sync, per step. Not as inference
    # tensors, which a first call by the mentor would make and which autograd then refuses.
    with torch.inference_mode(False):
        mean_C11 = torch.tensor(mean, dtype=torch.float32, device=device).view(-1, 1, 1)
        std_C11 = torch.tensor(std, dtype=torch.float32, device=device).view(-1, 1, 1)
    return mean_C11, std_C11


def normalisation(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of every channel over all pixels of a split on the scale 0 .. 1; std is that of the population."""
    mean, std = [], []
    level = torch.arange(256, dtype=torch.float64) / 255
    for c in range(split.images.shape[1]):
        # From the histogram: exact, and no float copy of the data set.
        count = torch.bincount(split.images[:, c].flatten(), minlength=256).double()
        mean.append(float((count * level).sum() / count.sum()))
        std.append(float(((count * (level - mean[-1]).square()).sum() / count.sum()).sqrt()))
        if std[-1] == 0:
            raise UserError(
                f"channel {c} of the images is {mean[-1] * 255:g} everywhere; expected at least two values "
                "to normalise by: check the data, or set mean and std yourself"
            )
    return tuple(mean), tuple(std)
