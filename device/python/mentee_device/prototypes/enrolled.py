"""An owner's enrolled samples: stored raw with the state, and embedded anew whenever the mentee has learnt.

They are no training samples: a run does not draw them. Axes: N samples, M enrolled ones, K the bundle's classes.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import SampleError, preprocess
from mentee_device.core.learner import Learner
from mentee_device.guard.answers import DONT_KNOW, answer, softmax
from mentee_device.prototypes.enrolment import RULE, Enrolment, Recognised
from mentee_device.runs.plans.given import plain_number
from mentee_device.runs.plans.settings import Settings
from mentee_device.state.base import Base, refit, same_samples
from mentee_device.state.device_state import DeviceState
from mentee_device.state.feature import Feature, NewBase
from mentee_device.state.storage.database import Damaged, StateError
from mentee_device.state.storage.schema import SCRUB
from mentee_device.state.storage.store import Store

SAMPLES, EMBEDDED = "enrolled samples", "enrolment"
ADVICE = "remove them with enrolled.clear(), or `enrol --clear`, then enrol them again"
MOST_BYTES = 8 << 20  # of all enrolled samples together
LONGEST_NAME = 1000


class Enrolled:
    """The enrolled samples of `state` by number, as `preprocess` takes them, each with its class's name; `learner` is the current
    version."""

    def __init__(self, state: DeviceState, learner: Learner) -> None:
        self._state, self._learner = state, learner

    def samples(self) -> tuple[NDArray[np.float32], dict[int, str]]:
        """[M, C, H, W] and the class of each by its number, in the same order. Raises StateError where it is damaged."""
        try:
            content = self._state.store.get(SAMPLES)
        except Damaged as damage:
            raise Damaged(f"{damage}: {ADVICE}") from damage
        shape = self._state.manifest.preprocessing.shape
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
        require_name(name)
        ready = preprocess(input, self._state.manifest)
        if self._state.manifest.preprocessing.dtype == "float32":
            ready = input  # of raw float32: what is stored goes through `preprocess` again
        input_M, classes = self.samples()
        numbers = [*range(max(classes, default=0) + 1, max(classes, default=0) + 1 + len(ready))]
        enrolment = self.enrolment()
        if len(ready):
            enrolment.add(name, self._learner.predict(ready, checked=True).embedding, numbers)
        else:
            raise SampleError(f"no sample to enrol as {name!r}: expected at least one")
        everything = np.concatenate([input_M, ready])
        classes.update(dict.fromkeys(numbers, name))
        left = [row for row, number in enumerate(classes) if number in enrolment.numbers()]
        if everything[left].nbytes > MOST_BYTES:
            raise SampleError(
                f"enrolled samples would take {everything[left].nbytes} bytes, at most {MOST_BYTES} are stored: remove a class"
            )
        named = {number: name for number, name in classes.items() if number in enrolment.numbers()}
        with self._state.store.transaction():
            self._put(everything[left], named, enrolment)
            self._state.store.record("enrol", f"{len(numbers)} samples were enrolled as {name!r}", enrolled=numbers)
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
        store = self._state.store
        with store.transaction():
            store.set(SCRUB, True)
            self._put(input_M[left], {number: of for number, of in classes.items() if number not in gone}, enrolment)
            store.record("enrol", f"{len(gone)} enrolled samples were removed", removed=gone)
        store.scrub()
        return gone

    def clear(self) -> None:
        """Removes all that was enrolled, also what is damaged, and every copy of it."""
        store = self._state.store
        with store.transaction():
            store.set(SCRUB, True)
            store.delete(SAMPLES)
            store.delete(EMBEDDED)
            store.record("enrol", "all enrolled samples were removed")
        store.scrub()

    def enrolment(self) -> Enrolment:
        """Under the current version: as stored, or embedded anew where that is another's."""
        state, learner = self._state, self._learner
        try:
            stored = state.store.get(EMBEDDED)
        except Damaged:
            stored = None
        if stored is not None:
            made_by, _, content = stored.partition(b"\n")
            if made_by == self._maker():
                return Enrolment.from_bytes(content)
        pack = learner.supervision.samples
        enrolment = Enrolment(state.manifest.taught, learner.predict(pack.input, checked=True).embedding, pack.labels)
        input_M, classes = self.samples()
        if classes:
            embedding_MD = learner.predict(input_M, checked=True).embedding
            for row, (number, name) in enumerate(classes.items()):
                enrolment.add(name, embedding_MD[row : row + 1], [number])
        state.store.put(EMBEDDED, self._maker() + b"\n" + enrolment.to_bytes())
        return enrolment

    def recognise(self, input: NDArray[Any], settings: Settings, neighbours: int, floor: float) -> Recognised:
        """`Enrolment.recognise` on the current version's embeddings and answers, behind the rails of `settings`."""
        neighbours = plain_number("neighbours", neighbours, int, SampleError)
        floor = plain_number("floor", floor, float, SampleError)
        found = self._learner.predict(input)
        softmax_NK = softmax(found.logits[:, : len(self._state.manifest.taught)])
        near = self.enrolment().recognise(found.embedding, softmax_NK, neighbours=neighbours, floor=floor)
        blocked = [near.names.index(name) for name in settings.blocked if name in near.names]
        with np.errstate(divide="ignore"):
            class_N, _ = answer(np.log(near.probability_NC), blocked, settings.confidence_floor)
        return replace(near, classes=np.where(near.classes == DONT_KNOW, DONT_KNOW, class_N))

    def _maker(self) -> bytes:
        return f"{self._state.manifest.id} v{self._state.versions.current} rule {RULE}".encode()

    def _put(self, input_M: NDArray[np.float32], classes: dict[int, str], enrolment: Enrolment) -> None:
        self._state.store.put(SAMPLES, _packed([*classes], [*classes.values()], input_M))
        self._state.store.put(EMBEDDED, self._maker() + b"\n" + enrolment.to_bytes())


def _packed(numbers: list[int], names: list[str], input_M: NDArray[np.float32]) -> bytes:
    text = np.frombuffer(json.dumps(names).encode(), np.uint8)
    tensors: dict[str, NDArray[Any]] = {"input": input_M, "names": text, "numbers": np.array(numbers, np.int64)}
    return bytes(save(tensors))


def require_name(name: Any) -> None:
    """Raises SampleError for what cannot be the name of a class."""
    try:
        good = isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and bool(name.encode())
    except UnicodeEncodeError:  # half a character
        good = False
    if not good:
        raise SampleError(f"the class to enrol is {repr(name)[:70]}, expected a name of 1 to {LONGEST_NAME} characters")


def enrolled_rows(store: Store) -> list[tuple[int, str, NDArray[np.float32]]]:
    """Number, class and sample [C, H, W] of all that is enrolled in a store."""
    content = store.get(SAMPLES)
    if content is None:
        return []
    tensors = load(content)
    return list(zip(map(int, tensors["numbers"]), json.loads(bytes(tensors["names"])), tensors["input"], strict=True))


def store_enrolled(store: Store, numbers: list[int], names: list[str], input_M: NDArray[np.float32]) -> None:
    """Writes them, in the caller's transaction; they are embedded on first use."""
    store.put(SAMPLES, _packed(numbers, names, input_M))


class EnrolledRows(Feature):
    """Names and numbers stay under another base; embeddings are made anew on first use."""

    def check_new_base(self, store: Store, old: Base, manifest: Manifest) -> None:
        """Refuses a base whose samples have another shape or dtype, and samples that cannot be read."""
        try:
            content = store.get(SAMPLES)
            count = 0 if content is None else len(load(content)["numbers"])
        except (Damaged, SafetensorError, KeyError) as error:
            raise StateError(f"the enrolled samples cannot be read ({error}): {ADVICE}") from error
        before, after = old.preprocessing, manifest.preprocessing
        if count and not same_samples(before, after):
            raise StateError(
                f"{count} enrolled samples are {before.dtype} {list(before.shape)}, the new base takes {after.dtype} "
                f"{list(after.shape)}: remove them under the old bundle first, or stay with it; nothing was changed"
            )

    def on_new_base(self, store: Store, change: NewBase) -> None:
        """Samples as the new base takes them; none are left where they do not fit: `check_new_base`."""
        content = store.get(SAMPLES)
        if content is None:
            return
        tensors = load(content)
        store.delete(EMBEDDED)
        store.delete(SAMPLES)
        made = refit(tensors["input"], change.old.preprocessing, change.manifest.preprocessing)
        if made is not None:
            store.put(SAMPLES, bytes(save(tensors | {"input": made})))
