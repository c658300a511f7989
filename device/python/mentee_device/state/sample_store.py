"""The owner's samples on the device: sealed, bounded in number and bytes, each with where its label came from."""

import json
import time
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.fields import LARGEST
from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import UNLABELLED, SampleError, Samples, check_labels, preprocess
from mentee_device.state.about import MENTOR_ONLINE, SOURCES, About, too_many
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.rows import about_of, head_of
from mentee_device.state.storage.schema import ONLINE
from mentee_device.state.storage.store import CLOCK, Store


class SampleStore:
    """The samples of `store`, for the bundle of `manifest`."""

    def __init__(self, store: Store, manifest: Manifest, classes: int = 0) -> None:
        """`classes`: how many a row's label may be one of, where that is more than the manifest has, as on the way to another
        base: until its row is made over a label is one of the old base's."""
        self._store, self._manifest = store, manifest
        self._classes = max(classes, len(manifest.classes))

    def all(self) -> list[About]:
        """Oldest first. A row that is damaged is removed, and the log says so."""
        found: list[About] = []
        broken: list[int] = []
        for number, when, size, about, digest in self._store.rows(
            "SELECT number, time, bytes, about, digest FROM samples ORDER BY number"
        ):
            try:
                if _digest(about) != digest[:64]:
                    raise StateError("damaged")
                source, label, weight = self._about(number, about)
                found.append(About(number, when, source, label, weight, size))
            except (ValueError, TypeError):  # a StateError is a ValueError
                broken.append(number)
        self._remove_broken(broken)
        return found

    def _about(self, number: int, sealed: bytes) -> tuple[str, int, float]:
        """(source, label, weight). Raises ValueError, TypeError where they are none of this bundle's."""
        source, label, weight = about_of(self._store.seal.open(sealed, f"about {number}"))
        if label >= self._classes:
            raise ValueError(f"label {label}")
        return source, label, weight

    def checked(
        self, samples: Samples, source: str, weight: float, mentor_logits_NK: NDArray[Any] | None = None
    ) -> Samples:
        """`samples` as `add` takes them. Raises SampleError for any that does not fit the bundle."""
        if source not in SOURCES:
            raise SampleError(f"no source {source!r} of labels; there are {', '.join(SOURCES)}")
        if source == "none" and (np.asarray(samples.labels) >= 0).any():
            raise SampleError("source is 'none', but some samples have a label: say whose it is")
        if not 0 < weight < float("inf"):
            raise SampleError(f"weight is {weight}, expected a finite number above 0")
        labels = check_labels(samples.labels, len(samples.input), self._manifest, unlabelled=True)
        preprocess(samples.input, self._manifest)
        expected = (len(samples), len(self._manifest.classes))
        if mentor_logits_NK is not None and (
            mentor_logits_NK.shape != expected or not (np.abs(mentor_logits_NK) <= LARGEST).all()
        ):
            raise SampleError(
                f"mentor's logits have shape {list(mentor_logits_NK.shape)}, expected {list(expected)} of finite float32"
            )
        return Samples(samples.input, labels)

    def add(
        self, samples: Samples, source: str, weight: float, mentor_logits_NK: NDArray[Any] | None = None
    ) -> list[int]:
        """Stores samples that were `checked`; their numbers. One that is there already keeps its number; it takes the new label
        if that is trusted as much or more. Raises StateError."""
        numbers = []
        with self._store.transaction() as connection:
            for row in range(len(samples)):
                label = int(samples.labels[row])
                said = source if label != UNLABELLED else "none"
                logits = None if mentor_logits_NK is None else mentor_logits_NK[row]
                content = pack(samples.input[row], logits)
                mark = self._store.seal.mark(pack(samples.input[row], None))
                known = connection.execute("SELECT number, about FROM samples WHERE mark = ?", (mark,)).fetchone()
                if known is not None:
                    number = int(known[0])
                    before = json.loads(self._store.seal.open(known[1], f"about {number}"))
                    if SOURCES.index(said) > SOURCES.index(before[0]):
                        numbers.append(number)
                        continue
                    if logits is None and (found := self.content(number)) is not None:
                        content = pack(samples.input[row], found[1])  # what the mentor said of it stays
                else:
                    cursor = connection.execute(
                        "INSERT INTO samples (time, mark, bytes, about, content, digest) VALUES (?, ?, ?, '', '', '')",
                        (time.strftime(CLOCK, time.gmtime()), mark, len(content)),
                    )
                    number = int(cursor.lastrowid or 0)
                about, sealed, digest = self._sealed(number, said, label, weight, content)
                connection.execute(
                    "UPDATE samples SET bytes = ?, about = ?, content = ?, digest = ? WHERE number = ?",
                    (len(content), about, sealed, digest, number),
                )
                numbers.append(number)
        return numbers

    def put(self, about: About, input: NDArray[Any], logits_K: NDArray[Any] | None) -> bool:
        """Writes a sample under a number of its own, over what has it; false where the sample has another one already."""
        content = pack(input, logits_K)
        mark = self._store.seal.mark(pack(input, None))
        with self._store.transaction() as connection:
            known = connection.execute("SELECT number FROM samples WHERE mark = ?", (mark,)).fetchone()
            if known is not None and known[0] != about.number:
                return False
            sealed_about, sealed, digest = self._sealed(about.number, about.source, about.label, about.weight, content)
            connection.execute(
                "INSERT OR REPLACE INTO samples (number, time, mark, bytes, about, content, digest)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (about.number, about.time, mark, len(content), sealed_about, sealed, digest),
            )
        return True

    def relabel(self, number: int, source: str, label: int, weight: float) -> None:
        """Another label for a sample, whatever its source was; −1 from "none" takes it away. Raises StateError."""
        with self._store.transaction() as connection:
            rows = connection.execute("SELECT digest FROM samples WHERE number = ?", (number,)).fetchall()
            if not rows:
                raise StateError(f"no sample {number} in the sample store")
            about = self._sealed_about(number, source, label, weight)
            digest = _digest(about) + rows[0][0][64:]
            connection.execute("UPDATE samples SET about = ?, digest = ? WHERE number = ?", (about, digest, number))

    def read(self, numbers: Sequence[int]) -> tuple[Samples, NDArray[np.float32]]:
        """Content and labels of samples with their labels' weights [N], in the order asked for; one that is damaged is removed
        and left out. Raises StateError for a number that is not there."""
        inputs, labels, weights, broken = [], [], [], []
        for number in numbers:
            fits = abs(number) < 2**63  # SQLite has no larger ones
            rows = fits and self._store.rows("SELECT about FROM samples WHERE number = ?", number)
            if not rows:
                raise StateError(f"no sample {number} in the sample store")
            found = self.content(number)
            try:
                _, label, weight = self._about(number, rows[0][0])
            except (ValueError, TypeError):
                found = None
            if found is None or found[0].shape != self._manifest.preprocessing.shape:
                broken.append(number)
                continue
            inputs.append(found[0])
            labels.append(label)
            weights.append(weight)
        self._remove_broken(broken)
        return Samples(stacked(inputs, self._manifest), np.array(labels, np.int64)), np.array(weights, np.float32)

    def content(self, number: int) -> tuple[NDArray[Any], NDArray[np.float32] | None] | None:
        """The sample [C, H, W] and the mentor's logits [K], if they are there; None where it is gone or damaged."""
        rows = self._store.rows("SELECT about, content, digest FROM samples WHERE number = ?", number)
        try:
            if not rows or _digest(rows[0][0]) + _digest(rows[0][1]) != rows[0][2]:
                return None
            return unpack(self._store.seal.open(rows[0][1], f"sample {number}"))
        except (ValueError, TypeError, KeyError):  # it has the right digest, but no program of ours wrote it
            return None

    def find(self, input: NDArray[Any]) -> int | None:
        """The number of a sample [C, H, W], or None where it is not there."""
        rows = self._store.rows("SELECT number FROM samples WHERE mark = ?", self._store.seal.mark(pack(input, None)))
        return int(rows[0][0]) if rows else None

    def mentor_logits(self, number: int) -> NDArray[np.float32] | None:
        """[K], where the mentor's answer came with the sample."""
        found = self.content(number)
        return None if found is None else found[1]

    def delete(self, numbers: Collection[int]) -> None:
        """Removes rows; copies of them in other files stay until `Store.scrub`."""
        with self._store.transaction() as connection:
            connection.executemany("DELETE FROM samples WHERE number = ?", [(number,) for number in numbers])

    def make_room(self, most: int, most_bytes: int) -> list[int]:
        """Removes samples until both bounds hold, in the order of `too_many`; their numbers."""
        gone = too_many(self.all(), most, most_bytes)
        if gone:
            self.delete(gone)
        return gone

    def _sealed(self, number: int, source: str, label: int, weight: float, content: bytes) -> tuple[bytes, bytes, str]:
        """(about, content, digest) as a row holds them."""
        about = self._sealed_about(number, source, label, weight)
        sealed = self._store.seal.close(content, f"sample {number}")
        return about, sealed, _digest(about) + _digest(sealed)

    def _sealed_about(self, number: int, source: str, label: int, weight: float) -> bytes:
        if source == MENTOR_ONLINE:
            self._store.raise_format(ONLINE)
        return self._store.seal.close(json.dumps([source, label, weight]).encode(), f"about {number}")

    def _remove_broken(self, numbers: list[int]) -> None:
        if numbers:
            with self._store.transaction():
                self.delete(numbers)
                self._store.record("recovery", f"{len(numbers)} damaged samples were removed", samples=numbers)


def stacked(inputs: Sequence[NDArray[Any]], manifest: Manifest) -> NDArray[Any]:
    """[N, C, H, W] of samples [C, H, W]; where some are raw and some were preprocessed already, all are preprocessed."""
    if len({input.dtype for input in inputs}) > 1:
        inputs = [preprocess(input[None], manifest)[0] for input in inputs]
    rules = manifest.preprocessing
    return np.stack(inputs) if inputs else np.zeros((0, *rules.shape), rules.dtype)


def pack(input: NDArray[Any], logits_K: NDArray[Any] | None) -> bytes:
    """One line of JSON, then the bytes of the input and of the mentor's logits as float32."""
    answer = b"" if logits_K is None else np.ascontiguousarray(logits_K, np.float32).tobytes()
    head = {"dtype": input.dtype.str, "shape": list(input.shape), "logits": len(answer) // 4}
    return json.dumps(head, sort_keys=True).encode() + b"\n" + np.ascontiguousarray(input).tobytes() + answer


def unpack(content: bytes) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """The input and the logits, None where there are none. Raises ValueError, TypeError, KeyError for no content."""
    line, _, rest = content.partition(b"\n")
    dtype, shape, logits = head_of(line)
    end = len(rest) - 4 * logits
    input = np.frombuffer(rest[:end], dtype).reshape(shape)
    return input, np.frombuffer(rest[end:], np.float32) if logits else None


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
