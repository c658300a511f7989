"""Observes what is normal for this owner, as embeddings under the *base*, which learning does not move."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.anomaly.normal import Judged, Normal, Watch
from mentee_device.bundle.samples import SampleError
from mentee_device.core.learner import Learner
from mentee_device.state.device_state import DeviceState
from mentee_device.state.feature import Feature, NewBase
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.store import Store
from mentee_device.state.versions import BASE


class Monitor:
    """The watch of `state`, if there is one; `learner` is its current version."""

    def __init__(self, state: DeviceState, learner: Learner) -> None:
        self._state, self._learner = state, learner
        self._base: Learner | None = None
        self._name = _row(state.manifest.id)

    def normal(self) -> Normal:
        """The observed embeddings. Raises SampleError where nothing was, StateError where it is damaged."""
        content = self._state.store.get(self._name)
        if content is None:
            raise SampleError("nothing was observed yet: observe normal samples first")
        return Normal.from_bytes(content)

    def start(self, watch: Watch) -> None:
        """Begins anew."""
        with self._state.store.transaction():
            rules = self._state.manifest.preprocessing
            self._put(Normal(watch, self._embed(np.zeros((1, *rules.shape), rules.dtype)).shape[1]))
            ends = [f"{watch.samples} samples"] if watch.samples is not None else []
            ends += [f"{watch.seconds:g} s"] if watch.seconds is not None else []
            self._state.store.record("watch", f"observing what is normal, for {' or '.join(ends)}")

    def observe(self, input: NDArray[Any], now: float | None) -> int:
        """Takes `input` in as normal; how many of it. The log says when the period ends."""
        normal = self.normal()
        if now is None and normal.watch.seconds is not None:
            now = time.time()
        was = normal.observing
        taken = normal.observe(self._embed(input), now)
        with self._state.store.transaction():
            self._put(normal)
            if was and not normal.observing:
                self._state.store.record("watch", self._ended(normal))
        return taken

    def judge(self, input: NDArray[Any]) -> Judged:
        """Flags what deviates; changes nothing."""
        return self.normal().judge(self._embed(input))

    def freeze(self) -> None:
        """Ends observing now."""
        normal = self.normal()
        normal.freeze()
        with self._state.store.transaction():
            self._put(normal)
            self._state.store.record("watch", self._ended(normal))

    def resume(self) -> None:
        """Observes for one more period."""
        normal = self.normal()
        normal.resume()
        with self._state.store.transaction():
            self._put(normal)
            self._state.store.record("watch", f"observing again, on top of {normal.seen} samples")

    def stop(self) -> None:
        """Deletes what was observed."""
        with self._state.store.transaction():
            self._state.store.delete(self._name)
            self._state.store.record("watch", "what was observed is deleted")

    def close(self) -> None:
        """Frees the runtime's memory."""
        if self._base is not None:
            self._base.close()

    def _put(self, normal: Normal) -> None:
        self._state.store.put(self._name, normal.to_bytes())

    def _embed(self, input: NDArray[Any]) -> NDArray[Any]:
        if self._state.versions.current == BASE:
            return self._learner.predict(input, checked=True).embedding
        if self._base is None:
            self._base = self._state.base()
        return self._base.predict(input, checked=True).embedding

    @staticmethod
    def _ended(normal: Normal) -> str:
        enough = len(normal) > normal.watch.neighbours
        threshold = f", threshold {normal.threshold:.4g}" if enough else ": too few to judge by"
        return f"observed {normal.seen} samples, {len(normal)} are stored{threshold}"


def stored_normal(store: Store, bundle: str) -> Normal | None:
    """Observations under `bundle`; None where nothing was. Raises StateError where it is damaged."""
    content = store.get(_row(bundle))
    return None if content is None else Normal.from_bytes(content)


def store_normal(store: Store, bundle: str, normal: Normal) -> None:
    """Writes it, in the caller's transaction."""
    store.put(_row(bundle), normal.to_bytes())


class NormalRows(Feature):
    """Only embeddings are stored of what was observed, and they mean nothing under another base."""

    def on_new_base(self, store: Store, change: NewBase) -> None:
        """The watch begins anew."""
        name = _row(change.old.bundle)
        try:
            content = store.get(name)
            watch = None if content is None else Normal.from_bytes(content).watch
        except StateError:
            watch = None
        store.delete(name)
        if watch is not None:
            store.put(_row(change.manifest.id), Normal(watch, change.embedding_size).to_bytes())
            store.record(
                "watch", "observing anew what is normal: embeddings of the old base mean nothing under this one"
            )


def _row(bundle: str) -> str:
    return f"normal {bundle[:16]}"
