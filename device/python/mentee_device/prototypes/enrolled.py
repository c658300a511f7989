"""An owner's enrolled samples: kept raw beside the state, and embedded anew whenever the mentee has learnt.

They are no training samples: `Owner.learn` does not draw them. Axes: N samples, M enrolled ones, K the bundle's classes.
"""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentee_device.bundle.samples import SampleError, preprocess
from mentee_device.prototypes.enrolment import Enrolment
from mentee_device.state.database import Damaged, StateError
from mentee_device.state.store import SCRUB

if TYPE_CHECKING:
    from mentee_device.owner import Owner

SAMPLES, EMBEDDED = "enrolled samples", "enrolment"
ADVICE = "remove them with enrolled.clear(), or `enrol --clear`, then enrol them again"
MOST_BYTES = 8 << 20  # of all enrolled samples together


class Enrolled:
    """What `owner` has enrolled: samples by number, as `preprocess` takes them, each with its class's name."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner

    def samples(self) -> tuple[NDArray[np.float32], dict[int, str]]:
        """[M, C, H, W] and the class of each by its number, in the same order. Raises StateError where it is damaged."""
        try:
            content = self._owner.store.get(SAMPLES)
        except Damaged as damage:
            raise Damaged(f"{damage}: {ADVICE}") from damage
        shape = self._owner.bundle.manifest.preprocessing.shape
        if content is None:
            return np.zeros((0, *shape), np.float32), {}
        try:
            tensors = load(content)
            names = json.loads(bytes(tensors["names"]))
            classes = dict(zip(map(int, tensors["numbers"]), names, strict=True))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"the enrolled samples cannot be read ({error}): {ADVICE}") from error
        return tensors["input"], classes

    def add(self, name: str, input: NDArray[Any]) -> list[int]:
        """Numbers of the new samples. Raises SampleError, and then nothing was enrolled."""
        ready = preprocess(input, self._owner.bundle.manifest)
        if self._owner.bundle.manifest.preprocessing.dtype == "float32":
            ready = input  # of raw float32: what is kept goes through `preprocess` again
        input_M, classes = self.samples()
        numbers = [*range(max(classes, default=0) + 1, max(classes, default=0) + 1 + len(ready))]
        enrolment = self.enrolment()
        if len(ready):
            enrolment.add(name, self._owner.learner.predict(ready).embedding, numbers)
        else:
            raise SampleError(f"no sample to enrol as {name!r}: expected at least one")
        everything = np.concatenate([input_M, ready])
        classes.update(dict.fromkeys(numbers, name))
        left = [row for row, number in enumerate(classes) if number in enrolment.numbers()]
        if everything[left].nbytes > MOST_BYTES:
            raise SampleError(
                f"enrolled samples would take {everything[left].nbytes} bytes, at most {MOST_BYTES} are kept: remove a class"
            )
        kept = {number: name for number, name in classes.items() if number in enrolment.numbers()}
        with self._owner.store.transaction():
            self._put(everything[left], kept, enrolment)
            self._owner.store.record("enrol", f"{len(numbers)} samples were enrolled as {name!r}", enrolled=numbers)
        return numbers

    def remove(self, name: str | None = None, numbers: list[int] | None = None) -> list[int]:
        """Removes a class, or samples by number, and every copy of them; the numbers that went. Raises SampleError."""
        input_M, classes = self.samples()
        enrolment = self.enrolment()
        gone = [number for number, of in classes.items() if of == name] if numbers is None else numbers
        if name is not None:
            enrolment.remove_class(name)
        for number in gone if name is None else []:
            enrolment.remove(number)
        left = [row for row, number in enumerate(classes) if number not in gone]
        store = self._owner.store
        with store.transaction():
            store.set(SCRUB, True)
            self._put(input_M[left], {number: of for number, of in classes.items() if number not in gone}, enrolment)
            store.record("enrol", f"{len(gone)} enrolled samples were removed", removed=gone)
        store.scrub()
        return gone

    def clear(self) -> None:
        """Removes all that was enrolled, also what is damaged, and every copy of it."""
        store = self._owner.store
        with store.transaction():
            store.set(SCRUB, True)
            store.delete(SAMPLES)
            store.delete(EMBEDDED)
            store.record("enrol", "all enrolled samples were removed")
        store.scrub()

    def enrolment(self) -> Enrolment:
        """Under the current version: as kept, or embedded anew where that is another's."""
        owner = self._owner
        try:
            kept = owner.store.get(EMBEDDED)
        except Damaged:
            kept = None
        if kept is not None:
            made_by, _, content = kept.partition(b"\n")
            if made_by == self._maker():
                return Enrolment.from_bytes(content)
        pack = owner.learner.supervision.samples
        enrolment = Enrolment(owner.bundle.manifest.classes, owner.learner.predict(pack.input).embedding, pack.labels)
        input_M, classes = self.samples()
        if classes:
            embedding_MD = owner.learner.predict(input_M).embedding
            for row, (number, name) in enumerate(classes.items()):
                enrolment.add(name, embedding_MD[row : row + 1], [number])
        owner.store.put(EMBEDDED, self._maker() + b"\n" + enrolment.to_bytes())
        return enrolment

    def _maker(self) -> bytes:
        return f"{self._owner.bundle.manifest.id} v{self._owner.versions.current}".encode()

    def _put(self, input_M: NDArray[np.float32], classes: dict[int, str], enrolment: Enrolment) -> None:
        names = np.frombuffer(json.dumps([*classes.values()]).encode(), np.uint8)
        tensors: dict[str, NDArray[Any]] = {"input": input_M, "names": names, "numbers": np.array([*classes], np.int64)}
        self._owner.store.put(SAMPLES, bytes(save(tensors)))
        self._owner.store.put(EMBEDDED, self._maker() + b"\n" + enrolment.to_bytes())
