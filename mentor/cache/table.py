"""One array of the samples of a split in one view, packed, as a file of the safetensors format that is filled row by row.

Several processes may read and fill a file at once. A row counts once its checksum fits: what a killed process left half
written, or a disk altered, is a row that is not there.
"""

import hashlib
import json
import mmap
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mentor.cache.checksums import checksums, weights_of
from mentor.cache.packing import Packed, Packing
from mentor_mentee.files import scratch

TYPES = {"float32": "F32", "float16": "F16", "int8": "I8", "uint32": "U32"}  # numpy's names, safetensors'
PAGES = 2**28  # bytes that may be read before the pages of a file are given back, which count as this process's memory
ABSENT = 0  # instead of a checksum


class Table:
    """`damaged` counts the rows whose checksum did not fit, since it was opened."""

    def __init__(self, packing: Packing, rows: int, path: Path | None = None, about: str = "") -> None:
        """In memory without `path`. `about` is written into the file, and into each row's checksum. Raises `OSError` where the
        file cannot be made, for want of room before anything is written."""
        self.packing, self.rows, self.path, self.about = packing, rows, path, about
        self.damaged = 0
        self._touched = 0
        self._map: mmap.mmap | None = None
        self._known = np.zeros(rows, bool)  # rows whose checksum was found to fit
        columns: Mapping[str, tuple[tuple[int, ...], np.dtype[np.generic]]] = {
            "checksum": ((rows,), np.dtype(np.uint32)),
            "scales": ((rows, packing.scales), np.dtype(np.float32)),
            "values": ((rows, *packing.stored), packing.dtype),
        }
        if path is None:
            made = {name: np.zeros(shape, dtype) for name, (shape, dtype) in columns.items()}
        else:
            header = header_of(columns, about)
            size = len(header) + sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in columns.values())
            self._map = opened(path, header, size)
            made, start = {}, len(header)
            for name, (shape, dtype) in columns.items():
                count = int(np.prod(shape))
                made[name] = np.frombuffer(self._map, dtype, count, start).reshape(shape)
                start += count * dtype.itemsize
        self._checksum_N, self._scales, self._values = (made[name] for name in columns)
        self._salt = int.from_bytes(hashlib.sha256(about.encode()).digest()[:8], "little")
        self._weights = weights_of(packing.bytes)

    def has(self, rows_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [B]: those that are there. Each is checked when it is first asked for."""
        known_B = self._known[rows_B]
        if known_B.all():
            return known_B
        rows = np.unique(rows_B[~known_B])
        rows = rows[self._checksum_N[rows] != ABSENT]
        if len(rows):
            fits = self._checksums(rows, Packed(self._values[rows], self._scales[rows])) == self._checksum_N[rows]
            self._known[rows[fits]] = True
            self._checksum_N[rows[~fits]] = ABSENT
            self.damaged += int((~fits).sum())
        return self._known[rows_B]

    def read(self, rows_B: NDArray[np.int64]) -> Packed:
        """Rows that are there."""
        found = Packed(self._values.take(rows_B, 0), self._scales.take(rows_B, 0))
        self._release(found.values.nbytes)
        return found

    def write(self, rows_B: NDArray[np.int64], packed: Packed) -> None:
        """Rows of different numbers."""
        self._values[rows_B], self._scales[rows_B] = packed
        self._checksum_N[rows_B] = self._checksums(rows_B, packed)
        self._known[rows_B] = True
        self._release(packed.values.nbytes)

    def forget(self) -> None:
        """Empties it."""
        self._checksum_N[:] = ABSENT
        self._known[:] = False

    def _checksums(self, rows_B: NDArray[np.int64], packed: Packed) -> NDArray[np.uint32]:
        return checksums(rows_B, packed, self._weights, self._salt)

    def _release(self, touched: int) -> None:
        self._touched += touched
        if self._map is not None and self._touched > PAGES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)  # of a file: they stay in the system's cache
            self._touched = 0


def header_of(columns: Mapping[str, tuple[tuple[int, ...], np.dtype[np.generic]]], about: str) -> bytes:
    """safetensors: eight bytes of length, then JSON, padded so that what follows is aligned."""
    entries: dict[str, object] = {"__metadata__": {"about": about}}
    start = 0
    for name, (shape, dtype) in columns.items():
        end = start + int(np.prod(shape)) * dtype.itemsize
        entries[name] = {"dtype": TYPES[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text


def opened(path: Path, header: bytes, size: int) -> mmap.mmap:
    """The file, mapped to be read and written; made anew where it is not there or not of this kind and size."""
    if not fits(path, header, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with scratch(path) as temporary:
            with temporary.open("wb") as file:
                reserve(file.fileno(), size)  # a full disk must be seen now: under a mapping it would kill the process
                file.write(header)
            take_name(temporary, path)
    with path.open("r+b") as file:
        os.utime(file.fileno())  # the least recently used are removed first
        return mmap.mmap(file.fileno(), size)


def take_name(temporary: Path, path: Path) -> None:
    """Where another process was first, the file is that one's."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        os.replace(temporary, path)


def fits(path: Path, header: bytes, size: int) -> bool:
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size == size and file.read(len(header)) == header
    except FileNotFoundError:
        return False


def reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        for _ in range(0, size, 2**20):
            os.write(descriptor, bytes(2**20))
        os.ftruncate(descriptor, size)
        os.lseek(descriptor, 0, os.SEEK_SET)
