"""The samples that are kept for learning: sealed, bounded in number and bytes, each with where its label came from.

What makes room for a new sample when a bound is reached, in this order: unlabelled ones, then those with a guessed label,
then the owner's own; among equals one of the class with the most samples; of that class the oldest.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import UNLABELLED, Samples, preprocess
from mentee_device.state.database import StateError
from mentee_device.state.store import CLOCK, Store

SOURCES = ("owner", "mentor", "near_miss", "stream", "cluster", "pseudo", "none")  # of a label, the most trusted first


@dataclass(frozen=True)
class About:
    """All of a kept sample but its content. `weight` is that of its label against an owner's, which is 1."""

    number: int
    time: str
    source: str
    label: int
    weight: float
    bytes: int


class Kept:
    """The samples of `store`, for the bundle of `manifest`."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store, self._manifest = store, manifest

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
                source, label, weight = json.loads(self._store.seal.open(about, f"about {number}"))
                found.append(About(number, when, source, label, weight, size))
            except StateError:
                broken.append(number)
        self._remove_broken(broken)
        return found

    def add(
        self,
        samples: Samples,
        source: str,
        weight: float,
        mentor_logits_NK: NDArray[Any] | None = None,
    ) -> list[int]:
        """Their numbers. A sample that is kept already keeps its number; it takes the new label if that is trusted as
        much or more. Raises StateError."""
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
                about = self._store.seal.close(json.dumps([said, label, weight]).encode(), f"about {number}")
                sealed = self._store.seal.close(content, f"sample {number}")
                connection.execute(
                    "UPDATE samples SET bytes = ?, about = ?, content = ?, digest = ? WHERE number = ?",
                    (len(content), about, sealed, _digest(about) + _digest(sealed), number),
                )
                numbers.append(number)
        return numbers

    def relabel(self, number: int, source: str, label: int, weight: float) -> None:
        """Another label for a kept sample, whatever its source was; −1 from "none" takes it away. Raises StateError."""
        with self._store.transaction() as connection:
            rows = connection.execute("SELECT digest FROM samples WHERE number = ?", (number,)).fetchall()
            if not rows:
                raise StateError(f"no sample {number} is kept")
            about = self._store.seal.close(json.dumps([source, label, weight]).encode(), f"about {number}")
            digest = _digest(about) + rows[0][0][64:]
            connection.execute("UPDATE samples SET about = ?, digest = ? WHERE number = ?", (about, digest, number))

    def read(self, numbers: Sequence[int]) -> tuple[Samples, NDArray[np.float32]]:
        """Content and labels of kept samples with their labels' weights [N], in the order asked for; one that is damaged
        is removed and left out. Raises StateError for a number that is not kept."""
        inputs, labels, weights, broken = [], [], [], []
        for number in numbers:
            rows = self._store.rows("SELECT about, content, digest FROM samples WHERE number = ?", number)
            if not rows:
                raise StateError(f"no sample {number} is kept")
            about, content, digest = rows[0]
            if _digest(about) + _digest(content) != digest:
                broken.append(number)
                continue
            _, label, weight = json.loads(self._store.seal.open(about, f"about {number}"))
            inputs.append(unpack(self._store.seal.open(content, f"sample {number}"))[0])
            labels.append(label)
            weights.append(weight)
        self._remove_broken(broken)
        if len({input.dtype for input in inputs}) > 1:  # raw pixels beside samples that were preprocessed already
            inputs = [preprocess(input[None], self._manifest)[0] for input in inputs]
        shape = self._manifest.preprocessing.shape
        stacked = np.stack(inputs) if inputs else np.zeros((0, *shape), self._manifest.preprocessing.dtype)
        return Samples(stacked, np.array(labels, np.int64)), np.array(weights, np.float32)

    def content(self, number: int) -> tuple[NDArray[Any], NDArray[np.float32] | None] | None:
        """The sample [C, H, W] and the mentor's logits [K], if they were kept; None where it is gone or damaged."""
        rows = self._store.rows("SELECT about, content, digest FROM samples WHERE number = ?", number)
        if not rows or _digest(rows[0][0]) + _digest(rows[0][1]) != rows[0][2]:
            return None
        return unpack(self._store.seal.open(rows[0][1], f"sample {number}"))

    def find(self, input: NDArray[Any]) -> int | None:
        """The number of a sample [C, H, W] that is kept, or None."""
        rows = self._store.rows("SELECT number FROM samples WHERE mark = ?", self._store.seal.mark(pack(input, None)))
        return int(rows[0][0]) if rows else None

    def put(self, about: About, input: NDArray[Any], logits_K: NDArray[Any] | None) -> bool:
        """Writes a sample under a number of its own, over what has it; false where the sample has another one already."""
        content = pack(input, logits_K)
        mark = self._store.seal.mark(pack(input, None))
        label = json.dumps([about.source, about.label, about.weight]).encode()
        with self._store.transaction() as connection:
            known = connection.execute("SELECT number FROM samples WHERE mark = ?", (mark,)).fetchone()
            if known is not None and known[0] != about.number:
                return False
            sealed_label = self._store.seal.close(label, f"about {about.number}")
            sealed = self._store.seal.close(content, f"sample {about.number}")
            digest = _digest(sealed_label) + _digest(sealed)
            connection.execute(
                "INSERT OR REPLACE INTO samples (number, time, mark, bytes, about, content, digest)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (about.number, about.time, mark, len(content), sealed_label, sealed, digest),
            )
        return True

    def mentor_logits(self, number: int) -> NDArray[np.float32] | None:
        """[K], where the mentor's answer was kept with the sample."""
        rows = self._store.rows("SELECT content FROM samples WHERE number = ?", number)
        return unpack(self._store.seal.open(rows[0][0], f"sample {number}"))[1] if rows else None

    def delete(self, numbers: Collection[int]) -> None:
        """Removes rows; copies of them in other files stay until `Store.scrub`."""
        with self._store.transaction() as connection:
            connection.executemany("DELETE FROM samples WHERE number = ?", [(number,) for number in numbers])

    def make_room(self, most: int, most_bytes: int) -> list[int]:
        """Evicts until both bounds hold; the numbers that had to go. For the order see the top of the file."""
        kept = self.all()
        count, total = len(kept), sum(one.bytes for one in kept)
        per_class = Counter(one.label for one in kept)
        waiting: list[dict[int, deque[About]]] = [{}, {}, {}]  # by trust, then by label, the oldest first
        for one in kept:
            waiting[_trust(one.source)].setdefault(one.label, deque()).append(one)
        gone: list[int] = []
        while count and (count > most or total > most_bytes):
            least = next(classes for classes in waiting if classes)
            label = max(least, key=lambda label: (per_class[label], -least[label][0].number))
            first = least[label].popleft()
            if not least[label]:
                del least[label]
            per_class[label] -= 1
            count, total = count - 1, total - first.bytes
            gone.append(first.number)
        if gone:
            self.delete(gone)
        return gone

    def _remove_broken(self, numbers: list[int]) -> None:
        if numbers:
            with self._store.transaction():
                self.delete(numbers)
                self._store.record("recovery", f"{len(numbers)} damaged samples were removed", samples=numbers)


def _trust(source: str) -> int:
    return {"none": 0, "owner": 2}.get(source, 1)


def pack(input: NDArray[Any], logits_K: NDArray[Any] | None) -> bytes:
    """One line of JSON, then the bytes of the input and of the mentor's logits as float32."""
    answer = b"" if logits_K is None else np.ascontiguousarray(logits_K, np.float32).tobytes()
    head = {"dtype": input.dtype.str, "shape": list(input.shape), "logits": len(answer) // 4}
    return json.dumps(head, sort_keys=True).encode() + b"\n" + np.ascontiguousarray(input).tobytes() + answer


def unpack(content: bytes) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    line, _, rest = content.partition(b"\n")
    head = json.loads(line)
    end = len(rest) - 4 * head["logits"]
    input = np.frombuffer(rest[:end], np.dtype(head["dtype"])).reshape(head["shape"])
    return input, np.frombuffer(rest[end:], np.float32) if head["logits"] else None


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
