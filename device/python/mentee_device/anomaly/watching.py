"""What is normal at this owner's: embeddings under the *base*, which learning does not move, kept with the state."""

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.anomaly.normal import Judged, Normal, Watch
from mentee_device.bundle.samples import SampleError
from mentee_device.core.learner import Learner
from mentee_device.state.versions import BASE

if TYPE_CHECKING:
    from mentee_device.owner import Owner


class Watching:
    """The watch of `owner`, if there is one."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner
        self._base: Learner | None = None
        self._name = f"normal {owner.bundle.manifest.id[:16]}"  # embeddings of another base would mean nothing

    def normal(self) -> Normal:
        """What was observed. Raises SampleError where nothing was, StateError where it is damaged."""
        content = self._owner.store.get(self._name)
        if content is None:
            raise SampleError("nothing was observed yet: observe normal samples first")
        return Normal.from_bytes(content)

    def start(self, watch: Watch) -> None:
        """Begins anew."""
        with self._owner.store.transaction():
            rules = self._owner.bundle.manifest.preprocessing
            self._keep(Normal(watch, self._embed(np.zeros((1, *rules.shape), rules.dtype)).shape[1]))
            ends = [f"{watch.samples} samples"] if watch.samples is not None else []
            ends += [f"{watch.seconds:g} s"] if watch.seconds is not None else []
            self._owner.store.record("watch", f"observing what is normal, for {' or '.join(ends)}")

    def observe(self, input: NDArray[Any], now: float | None) -> int:
        """How many of `input` were taken in; the log says when the period ends."""
        normal = self.normal()
        if now is None and normal.watch.seconds is not None:
            now = time.time()
        was = normal.observing
        taken = normal.observe(self._embed(input), now)
        with self._owner.store.transaction():
            self._keep(normal)
            if was and not normal.observing:
                self._owner.store.record("watch", self._ended(normal))
        return taken

    def judge(self, input: NDArray[Any]) -> Judged:
        """Flags what deviates; changes nothing."""
        return self.normal().judge(self._embed(input))

    def freeze(self) -> None:
        """Ends observing now."""
        normal = self.normal()
        normal.freeze()
        with self._owner.store.transaction():
            self._keep(normal)
            self._owner.store.record("watch", self._ended(normal))

    def resume(self) -> None:
        """Observes for one more period."""
        normal = self.normal()
        normal.resume()
        with self._owner.store.transaction():
            self._keep(normal)
            self._owner.store.record("watch", f"observing again, on top of {normal.seen} samples")

    def stop(self) -> None:
        """Forgets what was normal."""
        with self._owner.store.transaction():
            self._owner.store.delete(self._name)
            self._owner.store.record("watch", "what was observed is forgotten")

    def close(self) -> None:
        """Frees the runtime's memory."""
        if self._base is not None:
            self._base.close()

    def _keep(self, normal: Normal) -> None:
        self._owner.store.put(self._name, normal.to_bytes())

    def _embed(self, input: NDArray[Any]) -> NDArray[Any]:
        if self._owner.versions.current == BASE:
            return self._owner.learner.predict(input).embedding
        if self._base is None:
            self._base = Learner(self._owner.bundle, self._owner.learner.threads)
        return self._base.predict(input).embedding

    @staticmethod
    def _ended(normal: Normal) -> str:
        enough = len(normal) > normal.watch.neighbours
        threshold = f", threshold {normal.threshold:.4g}" if enough else ": too few to judge by"
        return f"observed {normal.seen} samples, {len(normal)} are kept{threshold}"
