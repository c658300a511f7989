"""Rows of an array in a file, read where they lie, so that an array of many gigabytes is never in memory.

Arrays of an npz file that was compressed are unpacked first. Axes: N samples.
"""

import json
import os
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mentor_mentee.data.reading.array_file import DAMAGE, array_names, require_names, unreadable
from mentor_mentee.data.reading.present import NPY, NPZ

OF_SAFETENSORS = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
}
READ_AT_ONCE = 2**24


class ArrayRows(NamedTuple):
    """Where the numbers of an array begin, row after row. `identity`: of its content."""

    path: Path
    name: str
    start: int  # in the file, or in the unpacked entry
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    identity: str
    compressed: bool = False

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def read(self, start: int, stop: int, unpacked: Path | None = None) -> NDArray[Any]:
        """Rows start .. stop - 1; of a compressed array out of the file that it was unpacked to."""
        row = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        found = np.empty((stop - start, *self.shape[1:]), self.dtype)
        view = found.reshape(-1).view(np.uint8).data
        with open(unpacked or self.path, "rb", buffering=0) as file:
            file.seek(self.start + start * row)
            while view:
                count = file.readinto(view)
                if not count:
                    raise unreadable(self.path, EOFError(f"{self.name} ends before row {stop - 1}"))
                view = view[count:]
        return found

    def verify(self) -> None:
        """Raises `UserError` where an npz file's own checksum of the array does not match."""
        if self.path.suffix == NPZ:
            self._through(None)

    def unpack(self, target: Path) -> None:
        with open(target, "wb") as out:
            self._through(out)

    def _through(self, out: BinaryIO | None) -> None:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.name}{NPY}") as entry:
                if out is not None:
                    shutil.copyfileobj(entry, out, READ_AT_ONCE)
                while out is None and entry.read(READ_AT_ONCE):
                    continue
        except OSError as error:
            if out is None:
                raise unreadable(self.path, error) from None
            raise
        except DAMAGE as error:
            raise unreadable(self.path, error) from None


def array_rows(path: Path, name: str, option: str) -> ArrayRows | None:
    """None for an array that can only be read whole: in Fortran's order, bfloat16, strings. Raises `UserError` as
    `array_file.read_arrays` does."""
    require_names(path, {option: name}, array_names(path))
    try:
        if path.is_dir():
            return _of_npy(path / f"{name}{NPY}", name)
        return _of_npz(path, name) if path.suffix == NPZ else _of_safetensors(path, name)
    except DAMAGE as error:
        raise unreadable(path, error) from None


def _of_npy(path: Path, name: str) -> ArrayRows | None:
    found = os.stat(path)
    with open(path, "rb") as file:
        return _after_header(file, path, name, f"{name} {found.st_size} {found.st_mtime_ns}")


def _of_npz(path: Path, name: str) -> ArrayRows | None:
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        entry = archive.getinfo(f"{name}{NPY}")
        identity = f"{name} {entry.CRC:08x} {entry.file_size}"
        if entry.compress_type != zipfile.ZIP_STORED:
            with archive.open(entry) as content:
                rows = _after_header(content, path, name, identity)  # type: ignore[arg-type]
            return rows and rows._replace(compressed=True)
        file.seek(entry.header_offset)
        header = struct.unpack(
            "<4s5H3I2H", file.read(30)
        )  # of the entry itself: its extra field may be another than the index's
        start = entry.header_offset + 30 + header[9] + header[10]
        file.seek(start)
        return _after_header(file, path, name, identity)


def _after_header(file: BinaryIO, path: Path, name: str, identity: str) -> ArrayRows | None:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        return None
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if (fortran and len(shape) > 1) or dtype.hasobject or dtype.kind not in "fiub" or not shape:
        return None
    return ArrayRows(path, name, file.tell(), dtype, tuple(shape), identity)


def _of_safetensors(path: Path, name: str) -> ArrayRows | None:
    found = os.stat(path)
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        about = json.loads(file.read(length))[name]
    if about["dtype"] not in OF_SAFETENSORS or not about["shape"]:
        return None
    dtype = np.dtype(OF_SAFETENSORS[about["dtype"]])
    start = 8 + length + about["data_offsets"][0]
    return ArrayRows(path, name, start, dtype, tuple(about["shape"]), f"{name} {found.st_size} {found.st_mtime_ns}")
