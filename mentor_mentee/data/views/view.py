"""One network's view of a source image: its size, its channels, its normalisation.

Axes: B samples of a batch, C channels, H height, W width. Mean and std are per channel: of uint8 pixels on the scale
0 .. 1, of float32 sources on their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mentor_mentee.data.splits import Split
from mentor_mentee.data.store.images import StoredImages
from mentor_mentee.errors import UserError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision turn colour into gray


@dataclass(frozen=True)
class View:
    shape: tuple[int, int, int]  # C, H, W
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str = "uint8"  # of the source images: "uint8" or "float32"

    @classmethod
    def restored(cls, about: Mapping[str, Any]) -> "View":
        """The view of which `asdict`, and JSON after it, made `about`; one that says no dtype is of uint8."""
        known = {key: value for key, value in about.items() if key != "photo"}  # of a manifest: how its source was made
        fields: dict[str, Any] = {key: value if key == "dtype" else tuple(value) for key, value in known.items()}
        return cls(**fields)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise UserError(f"a view of shape {self.shape}; expected (channels, height, width), each 1 or more")
        if self.dtype not in ("uint8", "float32"):
            raise UserError(f"a view of {self.dtype!r} sources; expected 'uint8' or 'float32'")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.shape[0]:
                raise UserError(
                    f"{name} {values} of a view of shape {self.shape} has {len(values)} values; "
                    f"expected {self.shape[0]}: give one for each channel"
                )
        if not all(value > 0 for value in self.std):
            raise UserError(f"std {self.std} of a view has a value that is not above 0; use 1 to leave a channel as is")

    def pixels(self, image_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] of the view's dtype and any size -> [B, *shape] of that dtype; the same tensor if it already fits.

        1 channel becomes 3 by repetition; 3 become 1 (gray) only as uint8, since float32 channels need not be colours.
        uint8 is rounded back to uint8 on purpose: these are the very pixels that are stored and sent to a device, so
        training must not see finer ones. float32 is stored as float32, and nothing is rounded.
        """
        if str(image_BCHW.dtype) != f"torch.{self.dtype}" or image_BCHW.ndim != 4:
            raise UserError(
                f"a view of {self.dtype} sources was given {image_BCHW.dtype} of shape {tuple(image_BCHW.shape)}; "
                f"expected torch.{self.dtype} [B, C, H, W]: pass source images as in the data, not normalised ones"
            )
        channels, *size = self.shape
        given = image_BCHW.shape[1]
        mixes = ((1, 3), (3, 1)) if self.dtype == "uint8" else ((1, 3),)
        if given != channels and (given, channels) not in mixes:
            raise UserError(
                f"images of {given} channels for a view of {channels}; only 1 and 3 channels convert into each other"
                f"{'' if self.dtype == 'uint8' else ', and float32 only from 1 to 3'}: "
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
            if self.dtype == "uint8":
                exact_BCHW = exact_BCHW.round_().clamp_(0, 255).to(torch.uint8)
            image_BCHW = exact_BCHW
        return image_BCHW.repeat(1, 3, 1, 1) if given == 1 and channels == 3 else image_BCHW

    def __call__(self, image_BCHW: Tensor) -> Tensor:
        """Source images -> float32 [B, *shape]: `(pixels / 255 - mean) / std` of uint8, `(pixels - mean) / std` of float32."""
        mean_C11, std_C11 = _constants(self.mean, self.std, image_BCHW.device)
        pixels_BCHW = self.pixels(image_BCHW)
        if self.dtype == "uint8":
            return pixels_BCHW.float().div_(255).sub_(mean_C11).div_(std_C11)
        return pixels_BCHW.sub(mean_C11).div_(std_C11)  # the first must not write: it may be the data set itself


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
    """(mean, std) of every channel over all samples of a split, as a view of its dtype takes them; std is that of the
    population. On disk they come from the records of the images."""
    if isinstance(split.images, StoredImages):
        return _stored_moments(split.images)
    pixels_NCHW = split.images[:]
    moments = _histogram_moments if pixels_NCHW.dtype == torch.uint8 else _moments
    mean, std = [], []
    for c in range(pixels_NCHW.shape[1]):
        channel = pixels_NCHW[:, c]
        if channel.min() == channel.max():
            raise _constant(c, channel.min().item())
        of_channel = moments(channel)
        mean.append(of_channel[0])
        std.append(of_channel[1])
    return tuple(mean), tuple(std)


def _stored_moments(images: StoredImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean_C, std_C = images.moments()
    for c, deviation in enumerate(std_C.tolist()):
        if deviation == 0:
            raise _constant(c, float(mean_C[c]))
    unit = 255 if images.dtype == torch.uint8 else 1
    return tuple((mean_C / unit).tolist()), tuple((std_C / unit).tolist())


def _constant(channel: int, value: float) -> UserError:
    return UserError(
        f"channel {channel} of the images is {value:g} everywhere; expected at least two values "
        "to normalise by: check the data, or set mean and std yourself"
    )


def _histogram_moments(channel_NHW: Tensor) -> tuple[float, float]:
    # Exact, and no float copy of the data set.
    level = torch.arange(256, dtype=torch.float64) / 255
    count = torch.bincount(channel_NHW.flatten(), minlength=256).double()
    mean = float((count * level).sum() / count.sum())
    return mean, float(((count * (level - mean).square()).sum() / count.sum()).sqrt())


def _moments(channel_NHW: Tensor) -> tuple[float, float]:
    # Two passes in float64, a stretch at a time: a double copy of everything may not fit.
    parts = [channel_NHW[start : start + 4096] for start in range(0, len(channel_NHW), 4096)]
    mean = sum(float(part.double().sum()) for part in parts) / channel_NHW.numel()
    squares = sum(float((part.double() - mean).square().sum()) for part in parts)
    return mean, (squares / channel_NHW.numel()) ** 0.5
