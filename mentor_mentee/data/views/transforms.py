"""Builds the transforms of a configuration for samples of one shape and applies them. Axes: C channels, H height, W width."""

from collections.abc import Callable, Sequence
from functools import partial
from inspect import isclass
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from mentor_mentee.data.views.transform_names import HOLDERS, OF_THE_SAMPLE, WORDS, Named, named
from mentor_mentee.errors import UserError
from mentor_mentee.targets import imported, split_target

Transform = Callable[[Tensor], Tensor]
ENUMS: dict[str, Any] = {"interpolation": v2.InterpolationMode, "policy": v2.AutoAugmentPolicy}
PIXELS = {  # whose arithmetic ends at the brightest pixel
    *("ColorJitter", "RandomPhotometricDistort", "RandomAdjustSharpness", "RandomAutocontrast", "RandomEqualize"),
    *("RandomInvert", "RandomPosterize", "RandomSolarize", "JPEG", "AugMix", "AutoAugment", "RandAugment"),
    "TrivialAugmentWide",
}
ALONG = {
    *HOLDERS,
    "Identity",
    "RandomHorizontalFlip",
    "GaussianNoise",
    "RandomCrop",
    "RandomAffine",
    "RandomChannelPermutation",
}
FOR_SIGNALS = (
    "take RandomCrop with padding, RandomAffine with degrees=0 and translate=[0.1,0], RandomHorizontalFlip, GaussianNoise, or a "
    "callable of your own"
)


class Transforms:
    """Applies them in turn. Raises `UserError` where one fails, or where an image has another shape or type at the end."""

    def __init__(self, given: Sequence[Any], shape: Sequence[int], dtype: torch.dtype, where: str) -> None:
        self.shape, self.dtype = tuple(shape), dtype
        self.steps = [
            (
                f"{where}[{i}] ({named(one, where).name})",
                built(named(one, f"{where}[{i}]"), shape, dtype, f"{where}[{i}]"),
            )
            for i, one in enumerate(given)
        ]

    def __call__(self, image_CHW: Tensor) -> Tensor:
        changed = ""
        for place, transform in self.steps:
            before = tuple(image_CHW.shape)
            try:
                made: Any = transform(image_CHW)
            except UserError:
                raise
            except Exception as error:
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                raise UserError(f"{place} failed on a {self.dtype} sample {list(before)}: {reason}") from error
            if not isinstance(made, Tensor) or made.dtype != self.dtype:
                got = made.dtype if isinstance(made, Tensor) else f"a {type(made).__name__}"
                raise UserError(f"{place} made {got} of a sample; expected a tensor of {self.dtype} as it was given")
            image_CHW = made
            if tuple(image_CHW.shape) != before:
                changed = place
        if tuple(image_CHW.shape) != self.shape:
            raise UserError(
                f"{changed} leaves a sample as {list(image_CHW.shape)}; expected {list(self.shape)} at the end, as it came: "
                "crop or resize it to that"
            )
        return image_CHW


def built(one: Named, shape: Sequence[int], dtype: torch.dtype, where: str) -> Transform:
    """The transform of one entry, filled in by what the samples are. Raises `UserError` for one that cannot serve them."""
    if one.own:
        target = imported(*split_target({"_target_": one.name}, where), where)
        return made(target, one, where) if isclass(target) else partial(target, **one.options)
    options = {name: ENUMS[name](value) if name in WORDS else value for name, value in one.options.items()}
    if one.name in HOLDERS:
        inner = [
            built(named(each, where), shape, dtype, f"{where}.transforms[{i}]")
            for i, each in enumerate(options["transforms"])
        ]
        options["transforms"] = (
            torch.nn.ModuleList(as_module(each) for each in inner) if one.name == "RandomApply" else inner
        )
    if one.name in OF_THE_SAMPLE:
        options.setdefault("size", list(shape[1:]))
    if dtype != torch.uint8:
        if one.name in PIXELS:
            raise UserError(
                f"{where}: {one.name} is for pixels (uint8), and these are numbers on a scale of their own; take a transform "
                "of place, GaussianNoise, or a callable of your own"
            )
        if one.name == "GaussianNoise":
            options.setdefault("clip", False)
    if shape[1] == 1:
        options |= along_the_length(one.name, options, where)
    return made(getattr(v2, one.name), one._replace(options=options), where)


def made(target: Callable[..., Any], one: Named, where: str) -> Transform:
    try:
        transform: Transform = target(**one.options)
    except Exception as error:
        raise UserError(f"{where}: {one.name} failed with {one.options}: {' '.join(str(error).split())}") from error
    if not callable(transform):
        raise UserError(
            f"{where}: {one.name} makes a {type(transform).__name__}; expected what can be called with an image"
        )
    return transform


def along_the_length(name: str, options: dict[str, Any], where: str) -> dict[str, Any]:
    """Options of a transform of signals, which have a length and no height. Raises `UserError` for what needs both."""
    turned = name == "RandomAffine" and (
        any(options.get(option) for option in ("degrees", "scale", "shear")) or (options.get("translate") or [0, 0])[1]
    )
    if name not in ALONG or turned:
        raise UserError(f"{where}: {name} needs a height, and signals have a length alone; {FOR_SIGNALS}")
    padding = options.get("padding") if name == "RandomCrop" else None
    if not padding:
        return {}
    sides = [padding] if isinstance(padding, int) else list(padding)
    return {"padding": [sides[0], 0, sides[2] if len(sides) == 4 else sides[0], 0]}


class Called(torch.nn.Module):
    """A callable where torch wants a module."""

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, image_CHW: Tensor) -> Tensor:
        return self.transform(image_CHW)


def as_module(transform: Transform) -> torch.nn.Module:
    return transform if isinstance(transform, torch.nn.Module) else Called(transform)
