"""Reads image files as RGB pixels of one size, and counts what that changes about them.

Axes: N images, C channels, H height, W width.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor_mentee.data.reading.image_files import GROUNDS
from mentor_mentee.errors import UserError
from mentor_mentee.progress import Progress, remark

if TYPE_CHECKING:
    from PIL import Image

GRAY = ("1", "L", "LA", "La")
COLOUR = ("RGB", "RGBA", "RGBa", "P", "PA", "CMYK", "YCbCr")
CHANGES = {  # what is said of images that are not taken as they are, once for all of them
    "transparent": "have transparent pixels: they are laid on {ground} (data.ground)",
    "frames": "hold several frames: the first is taken",
    "turned": "are turned upright, as their EXIF orientation says",
    "cmyk": "are in CMYK and become RGB without a colour profile",
    "gray": "are grayscale among images in colour: their gray is repeated in three channels",
}


def decoded(files: Sequence[Path], size: int, ground: str) -> Tensor:
    """uint8 [N, 3, size, size]; says what was changed. `ground`: a name of `GROUNDS`, under transparent pixels.

    Raises `UserError` for a file that cannot be read, has more than 8 bits a channel, or shows nothing on that ground.
    """
    images_NCHW = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    progress, seen = Progress("reading images", len(files)), Counter[str]()
    for i, file in enumerate(files):
        images_NCHW[i], changes = decode(file, size, ground)
        seen.update(changes)
        progress.at(i + 1)
    if seen["gray"] == len(files):
        del seen["gray"]  # then there is no mixture
    for change, about in CHANGES.items():
        if seen[change]:
            remark(f"{seen[change]:,} of {len(files):,} images {about.format(ground=ground)}")
    return images_NCHW


def decode(file: Path, size: int, ground: str) -> tuple[Tensor, Iterable[str]]:
    """[3, size, size], and which of `CHANGES` were made."""
    from PIL import Image, ImageOps

    changes = []
    try:
        with Image.open(file) as stored:
            deep = _deep(stored)
            if getattr(stored, "n_frames", 1) > 1 and stored.format != "MPO":  # a photograph with its preview
                changes.append("frames")
            if stored.getexif().get(0x0112, 1) != 1:
                changes.append("turned")
            image = ImageOps.exif_transpose(stored)
            image.load()
    except (EOFError, OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise UserError(f"{file} cannot be read as an image ({error}); replace it or move it away") from error
    if deep or image.mode[0] in "IF":  # Pillow clips gray to 255, so that a 16-bit photograph comes out white
        raise UserError(f"{file} has more than 8 bits per channel (mode {image.mode}); convert it to 8 bits")
    if image.mode not in (*GRAY, *COLOUR):
        raise UserError(f"{file} is in the colour mode {image.mode}; convert it to RGB")
    changes += ["cmyk"] if image.mode == "CMYK" else ["gray"] if image.mode in GRAY else []
    if image.has_transparency_data:
        image, laid = _on_ground(image.convert("RGBA"), file, ground)
        changes += ["transparent"] if laid else []
    square = _central_square(image.convert("RGB"), size)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1), changes


def _deep(stored: "Image.Image") -> bool:
    """More than 8 bits a channel in the file, of which Pillow keeps the upper eight without a word."""
    layout = [part for tile in getattr(stored, "tile", ()) for part in np.atleast_1d(np.array(tile[-1], object))]
    if stored.format == "PPM":
        return any(isinstance(part, int) and part > 255 for part in layout)  # the largest value that a pixel may have
    return any(re.search(r";16[BLN]|^I;", str(part)) for part in layout)  # "BGR;16" has five or six bits a channel


def _on_ground(image: "Image.Image", file: Path, ground: str) -> tuple["Image.Image", bool]:
    """The image without its alpha, and whether any of it was transparent."""
    rgba_HW4 = np.asarray(image)
    alpha_HW1 = rgba_HW4[:, :, 3:].astype(np.uint32)
    if alpha_HW1.min() == 255:
        return image, False
    laid = {name: _composite(rgba_HW4[:, :, :3], alpha_HW1, level) for name, level in GROUNDS.items()}
    if np.ptp(alpha_HW1) and not np.ptp(laid[ground], axis=(0, 1)).any():
        shows = " or ".join(name for name, pixels in laid.items() if np.ptp(pixels, axis=(0, 1)).any())
        raise UserError(
            f"{file} shows nothing on data.ground={ground}: its shape is in its transparency alone, in that very colour; "
            f"set data.ground={shows or 'another'}"
        )
    from PIL import Image

    return Image.fromarray(laid[ground]), True


def _composite(rgb_HW3: NDArray[np.uint8], alpha_HW1: NDArray[np.uint32], level: int) -> NDArray[np.uint8]:
    """colour · α + ground · (1 − α), rounded; α is on the scale 0 .. 255."""
    return ((rgb_HW3 * alpha_HW1 + level * (255 - alpha_HW1) + 127) // 255).astype(np.uint8)


def _central_square(image: "Image.Image", size: int) -> "Image.Image":
    """Shorter side to `size`, then centre crop; in one step, so a long strip is never scaled up whole."""
    from PIL import Image

    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
