"""Answers to samples that belong to no split, filed by what the samples are: those that devices ask about.

One SQLite file in the folder of cached answers, under the same keys as the tables of a split: what is written is there after
a kill, several processes may use it, and a row that a disk altered is a row that is not there. Axes: B samples of a batch.
"""

import hashlib
import sqlite3
import zlib
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mentor.cache.packing import Packed, Packing
from mentor_mentee.progress import remark

FILE = "by-content.sqlite"
SHARE = 0.9  # of the bound, to which the oldest answers are removed once it is reached
TABLE = """
CREATE TABLE IF NOT EXISTS answers (
  sample BLOB NOT NULL, key TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (sample, key)
)
"""


class ByContent:
    """`keys` and `packings` by the name of what is answered, of `keys_of` and `packings_of`; `folder` None: in memory."""

    def __init__(self, folder: Path | None, keys: dict[str, str], packings: dict[str, Packing], limit: float) -> None:
        """`limit`: bytes. Where the file cannot be opened or written, nothing is cached, which a remark says once."""
        self.keys, self.packings, self.limit = keys, packings, limit
        self._name = ":memory:" if folder is None else str(folder / FILE)
        self._database: sqlite3.Connection | None = None
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._database = opened(self._name)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def read(self, samples: list[bytes]) -> list[dict[str, Packed] | None]:
        """One row of each answer of every sample, by its digest; None where one of them lacks."""
        return [self._answer(sample) for sample in samples]

    def write(self, samples: list[bytes], answers: dict[str, Packed]) -> None:
        """On the disk when it returns, as far as a kill of this process goes."""
        if self._database is None:
            return
        rows = [
            (sample, self.keys[name], packed_bytes(Packed(packed.values[i], packed.scales[i])))
            for name, packed in answers.items()
            for i, sample in enumerate(samples)
        ]
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
            self._keep_within()
        except sqlite3.Error as error:
            self._failed(error)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _answer(self, sample: bytes) -> dict[str, Packed] | None:
        if self._database is None:
            return None
        try:
            found = dict(self._database.execute("SELECT key, content FROM answers WHERE sample = ?", (sample,)))
        except sqlite3.Error as error:
            self._failed(error)
            return None
        rows = {name: row_of(found.get(key, b""), self.packings[name]) for name, key in self.keys.items()}
        whole = {name: row for name, row in rows.items() if row is not None}
        return whole if len(whole) == len(rows) else None

    def _keep_within(self) -> None:
        """Removes the oldest where the file has reached its bound; SQLite fills the room again."""
        assert self._database is not None
        pages, free, size = (
            self._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        if (used := (pages - free) * size) <= self.limit:
            return
        with closing(self._database.execute("SELECT count(*) FROM answers")) as counted:
            surplus = int(counted.fetchone()[0] * (1 - SHARE * self.limit / used)) + 1
        with self._database:
            self._database.execute(
                "DELETE FROM answers WHERE rowid IN (SELECT rowid FROM answers ORDER BY rowid LIMIT ?)", (surplus,)
            )

    def _failed(self, error: sqlite3.Error) -> None:
        """A full disk, and a file that is locked, pass: the next answers are tried again."""
        if isinstance(error, sqlite3.OperationalError):
            remark(f"answers are not cached in {self._name} for now ({error}): the mentor is asked where they lack")
        else:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        remark(f"answers are not cached in {self._name} ({error}): the mentor is asked each time")
        with suppress(sqlite3.Error):
            self.close()
        self._database = None


def opened(name: str) -> sqlite3.Connection:
    database = sqlite3.connect(name, timeout=30)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database


def digest_of_sample(sample: NDArray[np.generic]) -> bytes:
    """sha256 of the bytes of one raw sample; its shape and dtype are in the key."""
    return hashlib.sha256(np.ascontiguousarray(sample).tobytes()).digest()


def packed_bytes(row: Packed) -> bytes:
    content = row.values.tobytes() + row.scales.tobytes()
    return zlib.crc32(content).to_bytes(4, "little") + content


def row_of(content: bytes, packing: Packing) -> Packed | None:
    """One row without its batch axis; None where its checksum or its size does not fit."""
    body = content[4:]
    if len(body) != packing.bytes or zlib.crc32(body) != int.from_bytes(content[:4], "little"):
        return None
    split = len(body) - 4 * packing.scales
    values = np.frombuffer(body[:split], packing.dtype).reshape(packing.stored)
    return Packed(values, np.frombuffer(body[split:], np.float32))
