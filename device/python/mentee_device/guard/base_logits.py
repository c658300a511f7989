"""The base's logits on one of the bundle's packs: asked once, then remembered in the store until the base changes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.core.learner import Learner
from mentee_device.state.device_state import DeviceState
from mentee_device.state.feature import Feature, NewBase
from mentee_device.state.storage.database import Damaged
from mentee_device.state.storage.store import Store


@dataclass(frozen=True)
class BaseLogits(Feature):
    """Logits [N, K] of type `dtype` under `name`."""

    name: str
    dtype: Any

    def get(self, state: DeviceState, samples: int, ask: Callable[[Learner], NDArray[Any]]) -> NDArray[Any]:
        """[samples, K] as remembered, else what `ask` gets of a learner at the base. Raises StateError, BundleError."""
        row, shape = self._row(state.manifest.id), (samples, len(state.manifest.classes))
        try:
            remembered = state.store.get(row)
        except Damaged:
            remembered = None
        if remembered is not None and len(remembered) == np.dtype(self.dtype).itemsize * shape[0] * shape[1]:
            return np.frombuffer(remembered, self.dtype).reshape(shape)
        with state.base() as base:
            logits_NK = np.ascontiguousarray(ask(base), self.dtype)
        state.store.put(row, logits_NK.tobytes())
        return logits_NK

    def on_new_base(self, store: Store, change: NewBase) -> None:
        """Another base answers anew."""
        store.delete(self._row(change.old.bundle))

    def _row(self, bundle: str) -> str:
        return f"{self.name} {bundle[:16]}"


GOLDEN_LOGITS = BaseLogits("base logits of the golden set", np.float32)
REPLAY_LOGITS = BaseLogits("base logits of the replay samples", np.float16)
