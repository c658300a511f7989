"""One block: a file of some hundred decoded images, each with a record that says whether its pixels are as written.

    pixels [N, C, H, W] | N records | sha256 of the records

A block is written beside its name and renamed once it is on disk, so half a block is never found under its name.
Axes: N images of a block, C channels, H height, W width.
"""

import hashlib
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentor_mentee.files import replacing

SUFFIX = ".block"
SHA256 = 32  # bytes
DIGEST = 16  # bytes of BLAKE2b that name an image by its pixels
BROKEN = 0x80  # mark of an image that could not be decoded: its pixels are 0
Table = NDArray[Any]  # of `record`


class DamagedError(Exception):
    """A block is not there, is cut off, or its pixels are not those that were written."""


def record(channels: int) -> np.dtype[Any]:
    """The record of an image beside its pixels: `mean` and `squares` (the sum of squared distances from the mean) of each
    channel give the mean and the deviation of any choice of images."""
    return np.dtype(
        [
            ("digest", f"V{DIGEST}"),
            ("crc", "<u4"),
            ("mark", "u1"),
            ("label", "<i4"),
            ("highest", "<f4"),
            ("mean", "<f8", (channels,)),
            ("squares", "<f8", (channels,)),
        ]
    )


def sample_digest(pixels: NDArray[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=DIGEST).digest()


def described(pixels_NCHW: NDArray[Any], mark_N: Iterable[int], label_N: Iterable[int]) -> Table:
    table = np.zeros(len(pixels_NCHW), record(pixels_NCHW.shape[1]))
    table["mark"], table["label"] = list(mark_N), list(label_N)
    for row, pixels in zip(table, pixels_NCHW, strict=True):
        row["digest"] = np.void(sample_digest(pixels))
        row["crc"] = zlib.crc32(pixels.data)
        row["highest"] = pixels.max()
        exact_CP = pixels.reshape(len(pixels), -1).astype(np.float64)
        row["mean"] = exact_CP.mean(1)
        row["squares"] = np.square(exact_CP - exact_CP.mean(1, keepdims=True)).sum(1)
    return table


def write_block(path: Path, pixels_NCHW: NDArray[Any], table: Table) -> None:
    records = table.tobytes()
    with replacing(path) as temporary, open(temporary, "wb", buffering=0) as file:
        for part in (pixels_NCHW.reshape(-1).view(np.uint8).data, records, hashlib.sha256(records).digest()):
            left = memoryview(part)
            while left:  # a raw file may take a part only, as the last bytes of a disk
                left = left[file.write(left) :]
        os.fsync(file.fileno())


def read_table(path: Path, samples: int, shape: tuple[int, int, int], itemsize: int) -> Table | None:
    """The records of a whole block; None where it is not there, or is damaged in its length or in its records."""
    kind = record(shape[0])
    start, size = samples * int(np.prod(shape)) * itemsize, samples * kind.itemsize
    try:
        with open(path, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != start + size + SHA256:
                return None
            file.seek(start)
            content = file.read(size + SHA256)
    except OSError:
        return None
    if len(content) != size + SHA256 or hashlib.sha256(content[:size]).digest() != content[size:]:
        return None
    return np.frombuffer(content[:size], kind)


def read_rows(path: Path, rows_B: NDArray[np.int64], crc_B: NDArray[np.uint32], outs: Sequence[NDArray[Any]]) -> None:
    """Fills `outs`, [C, H, W] each, with images of a block.

    By reads, not by a map: mapped pages that were touched count as this process's memory. Raises `DamagedError` where a sum
    does not match.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            for row, crc, sample in zip(rows_B.tolist(), crc_B.tolist(), outs, strict=True):
                file.seek(row * sample.nbytes)
                if file.readinto(sample.data) != sample.nbytes or zlib.crc32(sample.data) != crc:
                    raise DamagedError(f"'{path}', image {row}")
    except OSError as error:
        raise DamagedError(f"'{path}' ({error})") from error
