"""The golden set at work: what base and update answer on it, and the verdict. The base is asked once and remembered."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.samples import Samples
from mentee_device.core.learner import Learner, LearningError
from mentee_device.runs.guard import Limits, Measured, judge, measure
from mentee_device.state.database import Damaged
from mentee_device.state.store import Store

BASE_LOGITS = "base logits of the golden set"


@dataclass(frozen=True)
class Verdict:
    """`reasons` against the update; none: it may become current."""

    base: Measured
    update: Measured
    reasons: list[str]

    def as_json(self) -> dict[str, Any]:
        """For a version's row and the log."""
        return {"base": self.base.as_json(), "update": self.update.as_json(), "reasons": self.reasons}


class Golden:
    """The golden set of `bundle`, read on first use."""

    def __init__(self, bundle: Bundle, store: Store, threads: int) -> None:
        self._bundle, self._store, self._threads = bundle, store, threads
        self._samples: Samples | None = None

    def close(self) -> None:
        """Releases the samples."""
        self._samples = None

    def require(self) -> Samples:
        """Raises LearningError where it is empty: an update that nothing can judge is not begun."""
        if self._samples is None:
            self._samples = self._bundle.golden()
        if not len(self._samples):
            raise LearningError("the bundle's golden set is empty, so nothing can guard an update: export it with one")
        return self._samples

    def judge(self, learner: Learner, limits: Limits) -> Verdict:
        """`learner`'s present parameters against the base."""
        golden = self.require()
        base_NK = self._base_logits(golden)
        base = measure(base_NK, golden.labels, base_NK)
        update = measure(learner.predict(golden.input).logits, golden.labels, base_NK)
        return Verdict(base, update, judge(update, base, limits, self._bundle.manifest.classes))

    def _base_logits(self, golden: Samples) -> NDArray[np.float32]:
        shape = (len(golden), len(self._bundle.manifest.classes))
        name = f"{BASE_LOGITS} {self._bundle.manifest.id[:16]}"
        try:
            kept = self._store.get(name)
        except Damaged:
            kept = None
        if kept is not None and len(kept) == 4 * shape[0] * shape[1]:
            return np.frombuffer(kept, np.float32).reshape(shape)
        with Learner(self._bundle, self._threads) as base:
            logits_NK = base.predict(golden.input).logits
        self._store.put(name, np.ascontiguousarray(logits_NK, np.float32).tobytes())
        return logits_NK
