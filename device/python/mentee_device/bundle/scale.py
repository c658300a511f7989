"""The scale of samples that a user hands over: an array that would be taken for another one in silence is asked about.

Axes: N samples, C channels, V different values of a channel.

A bundle of uint8 takes raw pixels, 0 … 255, and float32 that was preprocessed already. Pixels over 255, as most image libraries
give them, are float32 too: they would pass for preprocessed ones, and an owner of 20 % accuracy fell to 12 % by them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.manifest import Manifest, Preprocessing

AS_IT_IS = (
    "or, where it is meant as it is, say so: x.view(Preprocessed) of mentee_device, in a file the name `preprocessed` in the "
    "place of `input`"
)
NEARLY_BLACK = (
    "multiply by 255 if 1 is white; or, where nearly black samples are meant, say so: x.view(Raw) of mentee_device, in a "
    "file the name `raw` in the place of `input`"
)


MOST_VALUES = 1 << 16  # of a channel that are looked at
FEWEST_VALUES, FEWEST_STEPS, LEVELS = 12, 64, 256  # from which values count as steps of 8 bit
NEAR = 1.25  # a brightness that is off by less is no other scale
OFF_STEP = 0.1  # share of a step by which float32 may miss it


class SampleError(ValueError):
    """Samples or labels that do not fit the bundle; one line saying what was given and what was expected."""


class Raw(np.ndarray):
    """`x.view(Raw)`: raw samples, whatever their range."""


class Preprocessed(np.ndarray):
    """`x.view(Preprocessed)`: samples that were preprocessed for the bundle already, whatever their range."""


def clear(input: NDArray[Any], manifest: Manifest) -> NDArray[Any]:
    """`input` [N, C, H, W], marked as what it is, so that parts of it are not asked about again. Raises SampleError where it
    may be meant otherwise: as float32 all of it within 0 … 1, within −1 … 1 or −.5 … .5 from exactly the lowest on, or in steps
    of 8 bit that are not this bundle's; nothing above 1 as uint8."""
    require_array("input", input)
    rules = manifest.preprocessing
    _require_mark_fits(input, rules)
    if rules.dtype != "uint8" or not input.size or isinstance(input, Raw | Preprocessed):
        return input
    if input.shape[1:] != rules.shape or input.dtype not in (np.uint8, np.float32):
        return input  # `preprocess` says it
    lowest, highest = input.min(), input.max()
    if input.dtype == np.uint8:
        if highest == 1:
            raise SampleError(f"input is uint8 and has only 0 and 1, this bundle's pixels are 0 to 255: {NEARLY_BLACK}")
        return input.view(Raw)
    if _is_identity(rules):
        return input
    from_to = pixel_range(rules)
    found = _known_range(float(lowest), float(highest), from_to) or _other_steps(input, rules)
    if found:
        how, pixels = found
        raise SampleError(
            f"input is float32 and {how}; preprocessed pixels of this bundle go from {from_to[0]:.4g} to "
            f"{from_to[1]:.4g}: give raw uint8, {pixels}; {AS_IT_IS}"
        )
    return input.view(Preprocessed)


def _known_range(lowest: float, highest: float, from_to: tuple[float, float]) -> tuple[str, str] | None:
    """How it differs, and how pixels are made of it; None for another range."""
    if lowest >= 0 and highest <= 1:
        return "lies between 0 and 1, as pixels over 255 do", "(255 * x).round().astype('uint8')"
    for end, name, made, factor in ((1.0, "1", "over 127.5 less 1", "127.5"), (0.5, ".5", "over 255 less .5", "255")):
        if lowest == -end and highest <= end and abs(from_to[0] + end) > 1e-3:
            how = f"lies between −{name} and {name}, as pixels {made} do"
            return how, f"({factor} * x + 127.5).round().astype('uint8')"
    return None


def _other_steps(input_NCHW: NDArray[Any], rules: Preprocessing) -> tuple[str, str] | None:
    """The same of values that go in the even steps of 8-bit pixels, but not in those that this bundle's preprocessing makes of
    them; None where they are its own, or in no such steps (as after resizing)."""
    for channel, (mean, std) in enumerate(zip(rules.mean, rules.std, strict=True)):
        values = input_NCHW[:, channel].reshape(-1)
        values_V = np.unique(values[:: 1 + len(values) // MOST_VALUES]).astype(np.float64)
        if not FEWEST_VALUES <= len(values_V) <= LEVELS or not np.isfinite(values_V[[0, -1]]).all():
            continue
        pixels_V = 255 * (values_V * std + mean)  # what they were, if they are as they are taken
        within = pixels_V[0] > -LEVELS / 20 and pixels_V[-1] < LEVELS * 1.05
        if within and np.abs(pixels_V - pixels_V.round()).max() < OFF_STEP:
            continue
        step = _step(pixels_V)
        if step and not (within and 1 / NEAR < step < NEAR):
            how = f"goes in steps of {step / 255 / std:.4g}, as 8-bit pixels on another scale do"
            return how, "the pixels from 0 to 255"
    return None


def _step(pixels_V: NDArray[np.float64]) -> float:
    """The step that all of them are whole multiples of, above the lowest; 0 where they have none, or too few for 8 bit."""
    smallest = float(np.diff(pixels_V).min())
    for parts in (1, 2, 3):  # two neighbours may never differ by one
        steps_V = (pixels_V - pixels_V[0]) / (smallest / parts)
        if FEWEST_STEPS <= steps_V[-1] < LEVELS - 0.5 and np.abs(steps_V - steps_V.round()).max() < OFF_STEP:
            return smallest / parts
    return 0.0


def pixel_range(rules: Preprocessing) -> tuple[float, float]:
    """Lowest and highest value that a preprocessed pixel 0 … 255 has, over all channels."""
    pairs = list(zip(rules.mean, rules.std, strict=True))
    return min((0 - mean) / std for mean, std in pairs), max((1 - mean) / std for mean, std in pairs)


def require_array(name: str, given: Any) -> None:
    """Raises SampleError for what is no array."""
    if not isinstance(given, np.ndarray):
        raise SampleError(f"{name}: {type(given).__name__}, expected an array of numpy")
    if not given.ndim:
        raise SampleError(f"{name} is a single {given.dtype}, expected an array with an axis for the samples")
    if isinstance(given, np.ma.MaskedArray):
        raise SampleError(
            f"{name} is a masked array, and what its mask hides would be taken: give x.filled(…) or leave those out"
        )


def _require_mark_fits(input: NDArray[Any], rules: Preprocessing) -> None:
    if isinstance(input, Raw) and input.dtype != rules.dtype:
        raise SampleError(f"input is marked Raw and is {input.dtype}: raw samples of this bundle are {rules.dtype}")
    if isinstance(input, Preprocessed) and (rules.dtype != "uint8" or input.dtype != np.float32):
        expected = "float32" if rules.dtype == "uint8" else "raw float32, which the bundle preprocesses itself"
        raise SampleError(f"input is marked Preprocessed and is {input.dtype}: this bundle takes {expected}")


def _is_identity(rules: Preprocessing) -> bool:
    """Whether pixels over 255 are what the graphs take."""
    return all(mean == 0 for mean in rules.mean) and all(std == 1 for std in rules.std)
