"""The scale of samples that a user hands over: an array that would be taken for another one in silence is asked about.

A bundle of uint8 takes raw pixels, 0 … 255, and float32 that was preprocessed already. Pixels over 255, as most image libraries
give them, are float32 too: they would pass for preprocessed ones, and an owner of 20 % accuracy fell to 12 % by them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.manifest import Manifest, Preprocessing

ADVICE = (
    "give raw uint8, (255 * x).round().astype('uint8'); or, where it is meant as it is, say so: x.view(Preprocessed) of "
    "mentee_device, in a file the name `preprocessed` in the place of `input`"
)
NEARLY_BLACK = (
    "multiply by 255 if 1 is white; or, where nearly black samples are meant, say so: x.view(Raw) of mentee_device, in a "
    "file the name `raw` in the place of `input`"
)


class SampleError(ValueError):
    """Samples or labels that do not fit the bundle; one line saying what was given and what was expected."""


class Raw(np.ndarray):
    """`x.view(Raw)`: raw samples, whatever their range."""


class Preprocessed(np.ndarray):
    """`x.view(Preprocessed)`: samples that were preprocessed for the bundle already, whatever their range."""


def clear(input: NDArray[Any], manifest: Manifest) -> NDArray[Any]:
    """`input` [N, C, H, W], marked as what it is, so that parts of it are not asked about again. Raises SampleError where it
    may be meant otherwise: all of it within 0 … 1, or −1 … 1 from exactly −1 on, as float32; nothing above 1 as uint8."""
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
    if (lowest >= 0 and highest <= 1) or (lowest == -1 and highest <= 1 and abs(from_to[0] + 1) > 1e-3):
        how = "0 and 1, as pixels over 255 do" if lowest >= 0 else "−1 and 1, as pixels over 127.5 less 1 do"
        raise SampleError(
            f"input is float32 and lies between {how}; preprocessed pixels of this bundle go from {from_to[0]:.4g} to "
            f"{from_to[1]:.4g}: {ADVICE}"
        )
    return input.view(Preprocessed)


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
