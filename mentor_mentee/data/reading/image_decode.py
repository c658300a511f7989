"""Reads image files as RGB pixels of one size, and counts what that changes about them.

Axes: N images, C channels, H height, W width.
"""

import os
import re
import struct
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mentor_mentee.data.reading.image_files import GROUNDS
from mentor_mentee.data.store.block import BROKEN
from mentor_mentee.data.store.source import Decoded
from mentor_mentee.errors import UserError
from mentor_mentee.progress import remark

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
ORDER = tuple(CHANGES)  # of the bits of a mark
DECODER = 1  # to be raised where images are decoded to other pixels than before


class FileSource:
    """Files of images as a `store.source.Source`; `root`: the folder that names are relative to."""

    dtype = np.dtype(np.uint8)

    def __init__(self, root: Path, files: Sequence[str], size: int, ground: str) -> None:
        """`ground`: a name of `GROUNDS`, under transparent pixels."""
        self.root, self.files, self.size, self.ground = str(root), files, size, ground
        self.shape = (3, size, size)
        # another Pillow may decode a photograph a level differently
        self.options = f"{DECODER} {size} {ground} Pillow {version('pillow')}"

    def __len__(self) -> int:
        return len(self.files)

    def name(self, row: int) -> str:
        return self.files[row]

    def identity(self, row: int) -> str:
        """Name, size and time of change of the file."""
        file = self.files[row]
        name = file[len(self.root) + 1 :] if file.startswith(self.root + os.sep) else file
        try:
            found = os.stat(file)
        except OSError as error:
            return f"{name}\n{error.strerror}"
        return f"{name}\n{found.st_size}\n{found.st_mtime_ns}"

    def prepare(self, folder: Path) -> None: ...

    def finish(self) -> None: ...

    def decoded(self, start: int, stop: int) -> Decoded:
        """An image that cannot be decoded stays black and is marked; nothing is raised."""
        pixels_NCHW = np.zeros((stop - start, *self.shape), np.uint8)
        marks = [0] * (stop - start)
        for i, file in enumerate(self.files[start:stop]):
            try:
                pixels_HW3, changes = decode(file, self.size, self.ground)
            except UserError:
                marks[i] = BROKEN
            else:
                pixels_NCHW[i] = pixels_HW3.transpose(2, 0, 1)
                marks[i] = sum(1 << ORDER.index(change) for change in changes)
        return Decoded(pixels_NCHW, marks, [-1] * (stop - start))

    def reason(self, row: int) -> str:
        try:
            decode(self.files[row], self.size, self.ground)
        except UserError as error:
            return str(error)
        return f"{self.files[row]} could not be read as an image when it was decoded, and can be now; save it again"


def say_changes(mark_N: NDArray[np.uint8], ground: str) -> None:
    """Says once for all images what was changed about them."""
    intact_N = mark_N[mark_N != BROKEN]
    count = {change: int((intact_N >> bit & 1).sum()) for bit, change in enumerate(ORDER)}
    if count["gray"] == len(intact_N):
        count["gray"] = 0  # then there is no mixture
    for change, about in CHANGES.items():
        if count[change]:
            remark(f"{count[change]:,} of {len(intact_N):,} images {about.format(ground=ground)}")


def decode(file: str, size: int, ground: str) -> tuple[NDArray[np.uint8], Iterable[str]]:
    """[size, size, 3], and which of `CHANGES` were made.

    Raises `UserError` for a file that cannot be read, has more than 8 bits a channel, or shows nothing on that ground.
    """
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
        image, laid = on_ground(image.convert("RGBA"), file, ground)
        changes += ["transparent"] if laid else []
    return np.asarray(central_square(image.convert("RGB"), size)), changes


def _deep(stored: "Image.Image") -> bool:
    """More than 8 bits a channel in the file, of which Pillow keeps the upper eight without a word."""
    layout = [part for tile in getattr(stored, "tile", ()) for part in np.atleast_1d(np.array(tile[-1], object))]
    if stored.format == "PPM":
        return any(isinstance(part, int) and part > 255 for part in layout)  # the largest value that a pixel may have
    return any(re.search(r";16[BLN]|^I;", str(part)) for part in layout)  # "BGR;16" has five or six bits a channel


def on_ground(image: "Image.Image", where: str, ground: str) -> tuple["Image.Image", bool]:
    """The image without its alpha, and whether any of it was transparent."""
    rgba_HW4 = np.asarray(image)
    alpha_HW1 = rgba_HW4[:, :, 3:].astype(np.uint32)
    if alpha_HW1.min() == 255:
        return image, False
    laid = {name: _composite(rgba_HW4[:, :, :3], alpha_HW1, level) for name, level in GROUNDS.items()}
    if np.ptp(alpha_HW1) and not np.ptp(laid[ground], axis=(0, 1)).any():
        shows = " or ".join(name for name, pixels in laid.items() if np.ptp(pixels, axis=(0, 1)).any())
        raise UserError(
            f"{where} shows nothing on data.ground={ground}: its shape is in its transparency alone, in that very colour; "
            f"set data.ground={shows or 'another'}"
        )
    from PIL import Image

    return Image.fromarray(laid[ground]), True


def _composite(rgb_HW3: NDArray[np.uint8], alpha_HW1: NDArray[np.uint32], level: int) -> NDArray[np.uint8]:
    """colour · α + ground · (1 − α), rounded; α is on the scale 0 .. 255."""
    return ((rgb_HW3 * alpha_HW1 + level * (255 - alpha_HW1) + 127) // 255).astype(np.uint8)


def central_square(image: "Image.Image", size: int) -> "Image.Image":
    """Shorter side to `size`, then centre crop; in one step, so a long strip is never scaled up whole."""
    from PIL import Image

    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
