"""Reads the items of somebody's map-style data set: an image and a label each, of many kinds.

Axes: N items, C channels, H height, W width.
"""

import hashlib
import numbers
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mentor_mentee.data.reading.image_decode import COLOUR, GRAY, central_square, on_ground
from mentor_mentee.data.store.source import Decoded
from mentor_mentee.errors import UserError

LOOKED_AT = 16  # items by whose content a data set is known again
GROUND = "gray"  # under transparent pixels
KINDS = "a PIL image, or a uint8 or float tensor or array [C, H, W], [H, W, C] or [H, W]"


class Keys(NamedTuple):
    """Where the image and the label are in an item: keys of a mapping, or places in a tuple. `label` None: there is none."""

    image: Any
    label: Any


class ItemSource:
    """Items of several data sets, one after the other, as a `store.source.Source`."""

    def __init__(self, parts: Mapping[str, Any], keys: Keys, size: int | None, identity: str) -> None:
        """`identity`: all but the items' content that tells the data sets from others. Reads a few items, some of them twice.
        Raises `UserError` for those that are no images, and where the second reading differs."""
        self.parts, self.keys, self.size = dict(parts), keys, size
        self.ends = np.cumsum([len(part) for part in self.parts.values()])
        self.scaled = size is not None  # whether all that was read so far were PIL images, brought to `size`
        self.decoder = ""  # of Pillow, where it was any of the items that were read here
        first, _ = self.item(0)
        self.shape: tuple[int, int, int] = first.shape
        self.dtype = first.dtype
        digest = hashlib.sha256(f"{identity} {keys} {size} {self.ends}".encode())
        rows = sorted({i * (len(self) - 1) // (LOOKED_AT - 1) for i in range(LOOKED_AT)})
        for row in rows:
            pixels, label = self.checked(row)
            if row in (rows[0], rows[len(rows) // 2], rows[-1]):
                self._require_same(row, pixels, label)
            digest.update(np.ascontiguousarray(pixels).data)
            digest.update(f" {label} ".encode())
        digest.update(self.decoder.encode())
        self.options = digest.hexdigest()

    def __len__(self) -> int:
        return int(self.ends[-1])

    def place(self, row: int) -> tuple[str, int]:
        part = int(np.searchsorted(self.ends, row, side="right"))
        return list(self.parts)[part], row - (int(self.ends[part - 1]) if part else 0)

    def name(self, row: int) -> str:
        part, place = self.place(row)
        return f"item {place:,} of {part}"

    def identity(self, row: int) -> str:
        return f"{self.options} {row}"

    def reason(self, row: int) -> str:
        return self.name(row)

    def prepare(self, folder: Path) -> None: ...

    def finish(self) -> None: ...

    def decoded(self, start: int, stop: int) -> Decoded:
        pixels_NCHW = np.empty((stop - start, *self.shape), self.dtype)
        labels = []
        for row in range(start, stop):
            pixels_NCHW[row - start], label = self.checked(row)
            labels.append(label)
        return Decoded(pixels_NCHW, [0] * len(labels), labels)

    def checked(self, row: int) -> tuple[NDArray[Any], int]:
        """[C, H, W] and the label of an item; raises `UserError` where it is of another shape or type than the first."""
        pixels, label = self.item(row)
        if pixels.shape != self.shape or pixels.dtype != self.dtype:
            raise UserError(
                f"{self.name(row)} is {pixels.dtype} of {list(pixels.shape)}, the first is {self.dtype} of {list(self.shape)}; "
                "expected one shape and type: set data.size=64 (of PIL images the central square is scaled to that), or bring "
                "them to one size in the data set"
            )
        return pixels, label

    def item(self, row: int) -> tuple[NDArray[Any], int]:
        part, place = self.place(row)
        try:
            found = self.parts[part][place]
        except Exception as error:  # whatever somebody's data set runs into
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self.name(row)} cannot be read ({type(error).__name__}: {reason})") from error
        try:
            image = found[self.keys.image]
            label = None if self.keys.label is None else found[self.keys.label]
        except (KeyError, IndexError, TypeError):
            raise UserError(
                f"{self.name(row)} is a {type(found).__name__}{described(found)}; expected (image, label), or a mapping with "
                f"{self.keys.image!r} and {self.keys.label!r}: set data.image=... and data.label=... to its own names"
            ) from None
        return self._pixels(image, row), self._label(label, row)

    def _pixels(self, image: Any, row: int) -> NDArray[Any]:
        """[C, H, W] uint8 or float32."""
        from PIL import Image

        if isinstance(image, Image.Image):
            self.decoder = f"Pillow {version('pillow')}"
            return self._of_pil(image, row)
        self.scaled = False
        if not isinstance(image, Tensor | np.ndarray):
            raise UserError(f"the image of {self.name(row)} is a {type(image).__name__}; expected {KINDS}")
        array = image.numpy() if isinstance(image, Tensor) else image
        channels_last = (
            array.ndim == 3
            and array.shape[2] in (1, 3)
            and (array.shape[0] not in (1, 3) or isinstance(image, np.ndarray))
        )
        if array.ndim == 2:
            array = array[None]
        elif channels_last:
            array = array.transpose(2, 0, 1)
        if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "fu" or array.dtype in (np.uint16, np.uint32):
            raise UserError(
                f"the image of {self.name(row)} is {array.dtype} of {list(image.shape)}; expected {KINDS}, in floats on any scale"
            )
        if self.size is not None and array.shape[1:] != (self.size, self.size):
            raise UserError(
                f"the image of {self.name(row)} is {list(image.shape)}, and data.size={self.size}; only PIL images are scaled: "
                "leave data.size out, or scale them in the data set"
            )
        if array.dtype == np.uint8:
            return np.ascontiguousarray(array)
        single = array.astype(np.float32)
        if not np.isfinite(single).all():
            raise UserError(
                f"the image of {self.name(row)} has NaN or infinite values; expected finite float32 numbers"
            )
        return np.ascontiguousarray(single)

    def _of_pil(self, image: Any, row: int) -> NDArray[np.uint8]:
        if image.mode not in (*GRAY, *COLOUR):
            raise UserError(f"the image of {self.name(row)} is in the mode {image.mode}; expected 8 bits: convert it")
        gray = image.mode in ("1", "L") and getattr(self, "shape", (1,))[0] == 1  # gray among colour is repeated
        if image.has_transparency_data:
            image, _ = on_ground(image.convert("RGBA"), self.name(row), GROUND)
            gray = False
        image = image.convert("L" if gray else "RGB")
        if self.size is not None:
            image = central_square(image, self.size)
        array = np.asarray(image)
        return np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))

    def _label(self, label: Any, row: int) -> int:
        if label is None:
            return -1
        if isinstance(label, Tensor | np.ndarray) and label.ndim == 0:
            label = label.item()
        if isinstance(label, bool) or not isinstance(label, numbers.Integral) or not -1 <= int(label) < 2**31:
            raise UserError(
                f"the label of {self.name(row)} is {label!r}; expected a whole number from 0, and -1 or None where there is none"
            )
        return int(label)

    def _require_same(self, row: int, pixels: NDArray[Any], label: int) -> None:
        again, label_again = self.item(row)
        if label_again != label or again.shape != pixels.shape or not np.array_equal(again, pixels):
            raise UserError(
                f"{self.name(row)} differs when it is read again; expected the same item at the same index: leave random "
                "transforms out (trainer.augment changes samples at each step), and shuffle nothing"
            )


def described(item: Any) -> str:
    if isinstance(item, Mapping):
        return f" with {', '.join(map(repr, list(item)[:10]))}"
    return f" of {len(item)}" if isinstance(item, Sequence) and not isinstance(item, str | bytes) else ""
