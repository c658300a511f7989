"""The mentor's answers beside the owner's samples: what its service said when it was asked. Axes: N samples, K classes.

Each lies under its sample's number, sealed as samples are, and goes with it. One that is damaged is as good as none.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import OwnAnswers
from mentee_device.state.feature import Feature, NewBase
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.store import Store

PREFIX = "answer "  # of a blob's name, before the sample's number
LOGITS, VERSION = "mentor_logits", "version"


@dataclass(frozen=True)
class OnlineAnswer:
    """To one sample: `mentor_logits` [K] float32, `activations` per probe float16. `version`: the newest version that there was
    when it came; runs up to that one do not know it."""

    mentor_logits: NDArray[np.float32]
    activations: dict[str, NDArray[np.float16]]
    version: int


class AnswerStore:
    """The answers in `store`, for the bundle of `manifest`."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store, self._manifest = store, manifest

    def put(self, number: int, answer: OnlineAnswer) -> None:
        """Stores it, in the caller's transaction where there is one."""
        named = {f"mentor_{name}": value for name, value in answer.activations.items()}
        version = np.array([answer.version], np.int64)
        self._store.put(f"{PREFIX}{number}", save({LOGITS: answer.mentor_logits, VERSION: version, **named}))

    def get(self, number: int) -> OnlineAnswer | None:
        """None where there is none, or none that fits the bundle."""
        try:
            content = self._store.get(f"{PREFIX}{number}")
            tensors = {} if content is None else load(content)
            logits, version = tensors[LOGITS], int(tensors[VERSION][0])
            activations = {name: tensors[f"mentor_{name}"] for name in self._manifest.probes}
        except (StateError, SafetensorError, KeyError, ValueError, TypeError, IndexError):
            return None
        fits = logits.shape == (len(self._manifest.classes),) and logits.dtype == np.float32
        shapes = all(activations[name].shape == shape for name, shape in self._manifest.probes.items())
        finite = all(np.isfinite(value).all() for value in (logits, *activations.values()))
        return OnlineAnswer(logits, activations, version) if fits and shapes and finite else None

    def of(self, numbers: Sequence[int], run: int | None = None) -> OwnAnswers | None:
        """Those to samples, in the order asked for; with `run` only those that came before it began. None for none."""
        known = self.numbers()
        found = {row: self.get(number) for row, number in enumerate(numbers) if number in known}
        there = {row: one for row, one in found.items() if one is not None and (run is None or one.version < run)}
        if not there:
            return None
        N, K = len(numbers), len(self._manifest.classes)
        answers = OwnAnswers(
            np.array([row in there for row in range(N)]),
            np.zeros((N, K), np.float32),
            {name: np.zeros((N, *shape), np.float16) for name, shape in self._manifest.probes.items()},
        )
        for row, one in there.items():
            answers.mentor_logits[row] = one.mentor_logits
            for name, value in one.activations.items():
                answers.activations[name][row] = value
        return answers

    def numbers(self) -> set[int]:
        """The answers of those samples that have one."""
        return answered(self._store)

    def bytes(self) -> int:
        """That all of them take."""
        size = self._store.rows("SELECT total(length(value)) FROM blobs WHERE name LIKE ?", f"{PREFIX}%")
        return int(size[0][0])


def answered(store: Store) -> set[int]:
    names = [
        name.removeprefix(PREFIX) for (name,) in store.rows("SELECT name FROM blobs WHERE name LIKE ?", f"{PREFIX}%")
    ]
    return {int(number) for number in names if number.isdecimal()}


def delete_answers(store: Store, numbers: Collection[int]) -> None:
    """Removes those to these samples, in the caller's transaction where there is one."""
    for number in answered(store) & set(numbers):
        store.delete(f"{PREFIX}{number}")


class AnswerRows(Feature):
    """An answer goes with its sample, and with the base: the next bundle may have another mentor, or other probes."""

    def on_unlearn(self, store: Store, samples: Collection[int]) -> None:
        """Removes those to `samples`."""
        delete_answers(store, samples)

    def on_new_base(self, store: Store, change: NewBase) -> None:
        """Removes all of them, and says so."""
        if gone := answered(store):
            delete_answers(store, gone)
            store.record("ask", f"the answers of the former base's mentor to {len(gone)} samples went with it")
