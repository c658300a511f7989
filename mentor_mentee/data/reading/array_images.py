"""Images out of arrays in files: whole where they are small, else row by row into a store on disk.

Axes: N samples, C channels, H height, W width, L length of a signal.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mentor_mentee.data.reading.array_columns import as_images, in_NCHW, layout_of, require_single
from mentor_mentee.data.reading.array_file import read_arrays
from mentor_mentee.data.reading.array_rows import ArrayRows, array_rows
from mentor_mentee.data.store.build import held
from mentor_mentee.data.store.images import Images
from mentor_mentee.data.store.source import Decoded, total_bytes
from mentor_mentee.errors import UserError

SAMPLES = 4096  # rows by which numbers are judged that are on disk


class Place(NamedTuple):
    path: Path
    name: str  # of the array
    option: str  # that named it

    @property
    def where(self) -> str:
        return f"{self.name!r} in '{self.path}'"


def array_images(
    places: Sequence[Place], layout: str | None, name: str, cache: str, memory_mb: float
) -> tuple[Images, list[int]]:
    """The images of all arrays, one after the other, and how many each has: in memory up to `memory_mb` (2^20 bytes).

    Raises `UserError` for arrays that are no images, or not all of one kind.
    """
    found = [array_rows(place.path, place.name, place.option) for place in places]
    rows = [one for one in found if one is not None and one.dtype.kind in "fiub"]
    if len(rows) == len(places) and sum(map(bytes_of, rows)) > memory_mb * 2**20:
        source = ArraySource(
            places, rows, [layout_of(one, layout, at.where) for one, at in zip(rows, places, strict=True)]
        )
        if total_bytes(source) > memory_mb * 2**20:
            return held(source, name, cache, memory_mb).images, [one.shape[0] for one in rows]
    parts = [
        as_images(read_arrays(place.path, {place.option: place.name})[place.option], layout, place.where)
        for place in places
    ]
    for place, part in zip(places, parts, strict=True):
        require_alike(place, part.shape[1:], part.dtype, parts[0].shape[1:], parts[0].dtype)
    return (parts[0] if len(parts) == 1 else torch.cat(parts)), list(map(len, parts))


def bytes_of(rows: ArrayRows) -> int:
    """As images: uint8, or float32."""
    return int(np.prod(rows.shape)) * (1 if rows.dtype == np.uint8 else 4)


def require_alike(place: Place, shape: Sequence[int], dtype: object, first: Sequence[int], first_dtype: object) -> None:
    if list(shape) != list(first) or dtype != first_dtype:
        raise UserError(
            f"{place.where} is {dtype} of {list(shape)} a sample, those with labels {first_dtype} of {list(first)}; "
            "expected the same [C, H, W] and dtype"
        )


class ArraySource:
    """Rows of arrays as a `store.source.Source`."""

    def __init__(self, places: Sequence[Place], rows: Sequence[ArrayRows], layouts: Sequence[str]) -> None:
        self.places, self.rows, self.layouts = list(places), list(rows), list(layouts)
        self.ends = np.cumsum([one.shape[0] for one in rows])
        self.unpacked: dict[int, Path] = {}
        kinds = []
        for one, layout in zip(rows, layouts, strict=True):
            size = dict(zip(layout, one.shape, strict=True))
            wide = size["W"] if "W" in size else size["L"]
            kinds.append(
                (
                    (size.get("C", 1), size.get("H", 1), wide),
                    np.dtype(np.uint8 if one.dtype == np.uint8 else np.float32),
                )
            )
        self.shape, self.dtype = kinds[0]
        for place, (shape, dtype) in zip(places, kinds, strict=True):
            require_alike(place, shape, f"torch.{dtype}", self.shape, f"torch.{self.dtype}")
        self.options = f"1 {self.layouts}"

    def __len__(self) -> int:
        return int(self.ends[-1])

    def name(self, row: int) -> str:
        part, place = self._place(row)
        return f"sample {place:,} of {self.places[part].where}"

    def identity(self, row: int) -> str:
        part, place = self._place(row)
        return f"{self.rows[part].identity} {place}"

    def reason(self, row: int) -> str:
        return self.name(row)

    def prepare(self, folder: Path) -> None:
        """Checks, or unpacks into `folder`, what an npz file holds; and that float32 is fine enough, by rows evenly spread."""
        for part, (rows, place, layout) in enumerate(zip(self.rows, self.places, self.layouts, strict=True)):
            if rows.compressed:
                target = folder / f"unpacked-{part}.{os.getpid()}.partial"
                self.unpacked[part] = target
                rows.unpack(target)
            else:
                rows.verify()
            if rows.dtype == np.float64:
                count = min(rows.shape[0], SAMPLES)
                some = [i * rows.shape[0] // count for i in range(count)]
                sample = np.concatenate([rows.read(row, row + 1, self.unpacked.get(part)) for row in some])
                require_single(sample, layout, place.where)

    def finish(self) -> None:
        for path in self.unpacked.values():
            path.unlink(missing_ok=True)
        self.unpacked = {}

    def decoded(self, start: int, stop: int) -> Decoded:
        pixels_NCHW = np.empty((stop - start, *self.shape), self.dtype)
        row = start
        while row < stop:
            part, place = self._place(row)
            count = min(stop - row, self.rows[part].shape[0] - place)
            array = self.rows[part].read(place, place + count, self.unpacked.get(part))
            where = f"{self.places[part].where}, counted from {place:,},"
            pixels_NCHW[row - start : row - start + count] = in_NCHW(array, self.layouts[part], where)
            row += count
        return Decoded(pixels_NCHW, [0] * (stop - start), [-1] * (stop - start))

    def _place(self, row: int) -> tuple[int, int]:
        part = int(np.searchsorted(self.ends, row, side="right"))
        return part, row - (int(self.ends[part - 1]) if part else 0)
