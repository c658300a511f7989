"""A store: the blocks of one source, opened. Whatever is read of it is what was decoded, or an error.

Axes: N images, B images of a batch, C channels, H height, W width.
"""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentor_mentee.data.store.block import (
    SUFFIX,
    DamagedError,
    Table,
    described,
    read_rows,
    read_table,
    write_block,
)
from mentor_mentee.data.store.source import Source, sample_bytes
from mentor_mentee.errors import UserError
from mentor_mentee.progress import remark

FORMAT = 1
BLOCK_BYTES = 2**24


class Layout:
    """Which images of a source are in which block, and under which name.

    A block ends where a hash of an image's identity says so. So when images are added, changed or removed, the blocks before
    and after are the same as before, under the same names, and are not decoded again.
    """

    def __init__(self, source: Source, folder: Path) -> None:
        self.source, self.folder = source, folder
        per_block = max(1, BLOCK_BYTES // sample_bytes(source))
        starts, names, digest = [0], list[str](), hashlib.sha256()
        for row in range(len(source)):
            identity = source.identity(row).encode(errors="surrogateescape")
            digest.update(identity + b"\0")
            full = row + 1 - starts[-1] >= 2 * per_block
            if full or zlib.crc32(identity) % per_block == 0 or row + 1 == len(source):
                starts.append(row + 1)
                names.append(digest.hexdigest()[:32])
                digest = hashlib.sha256()
        self.starts = np.array(starts, np.int64)  # of each block, and the end
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def path(self, block: int) -> Path:
        return self.folder / f"{self.names[block]}{SUFFIX}"

    def size(self, block: int) -> int:
        return int(self.starts[block + 1] - self.starts[block])

    def table(self, block: int) -> Table | None:
        return read_table(self.path(block), self.size(block), self.source.shape, self.source.dtype.itemsize)

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Within it `make` may be called, here and in processes that begin within it. Raises `UserError` where the folder cannot
        be written."""
        try:
            self.source.prepare(self.folder)
            yield
        except OSError as error:
            raise UserError(
                f"decoded images cannot be written to '{self.folder}' ({error.strerror or error})"
            ) from None
        finally:
            self.source.finish()

    def make(self, block: int) -> Table:
        """Decodes a block and writes it. Raises `OSError` where it cannot be written, `UserError` as the source does."""
        found = self.source.decoded(int(self.starts[block]), int(self.starts[block + 1]))
        table = described(found.pixels_NCHW, found.mark_N, found.label_N)
        write_block(self.path(block), found.pixels_NCHW, table)
        return table


class Store:
    """All blocks are there: see `build.opened`."""

    def __init__(self, layout: Layout, tables: Sequence[Table]) -> None:
        self.layout = layout
        self.shape, self.dtype = layout.source.shape, layout.source.dtype
        self.table: Table = np.concatenate(tables)

    def __len__(self) -> int:
        return len(self.table)

    def read(self, rows_B: NDArray[np.int64]) -> NDArray[Any]:
        """[B, C, H, W]. Raises `UserError` where a block is damaged and its images cannot be decoded to the same pixels."""
        out_BCHW = np.empty((len(rows_B), *self.shape), self.dtype)
        block_B = np.searchsorted(self.layout.starts, rows_B, side="right") - 1
        for block in np.unique(block_B).tolist():
            places = np.flatnonzero(block_B == block)
            self._read(block, rows_B[places], places, out_BCHW)
        return out_BCHW

    def _read(self, block: int, rows: NDArray[np.int64], places: NDArray[np.int64], out_BCHW: NDArray[Any]) -> None:
        path, start = self.layout.path(block), int(self.layout.starts[block])
        outs = [out_BCHW[place] for place in places]
        try:
            read_rows(path, rows - start, self.table["crc"][rows], outs)
        except DamagedError as damage:
            remark(f"decoded images are damaged: {damage}; its {self.layout.size(block):,} images are decoded again")
            self._mend(block)
            read_rows(path, rows - start, self.table["crc"][rows], outs)

    def _mend(self, block: int) -> None:
        start, stop = self.layout.starts[block : block + 2].tolist()
        with self.layout.decoding():
            made = self.layout.make(block)
        changed = np.flatnonzero(made["digest"] != self.table["digest"][start:stop])
        if len(changed):
            row = start + int(changed[0])
            raise UserError(
                f"'{self.layout.path(block)}' is damaged, and {self.layout.source.name(row)} is no longer what it was when "
                "this run began; start again"
            )
