"""What the bundle's replay samples are answered with while an owner's mentee learns: the mentor's recorded answers, or what
the mentee itself answered before it had learnt anything (learning without forgetting, arXiv 1606.09282).

The base is asked once and remembered. Its answers are logits alone: a layer has no target then, and β is 0.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle import Bundle
from mentee_device.database import Damaged
from mentee_device.learner import Learner
from mentee_device.samples import Supervision
from mentee_device.store import Store

OWN, MENTOR = "own", "mentor"
REPLAYS = (OWN, MENTOR)
OWN_LOGITS = "base logits of the replay samples"


def own_answers(base: Learner) -> Supervision:
    """The pack of `base`, a learner that has learnt nothing, under its logits; float16, as the mentor's are."""
    pack = base.supervision
    return (
        replace(pack, mentor_logits=base.predict(pack.samples.input).logits.astype(np.float16)) if len(pack) else pack
    )


class Replay:
    """The replay samples of `bundle`; `store` remembers the base's logits."""

    def __init__(self, bundle: Bundle, store: Store, threads: int) -> None:
        self._bundle, self._store, self._threads = bundle, store, threads

    def answered(self, learner: Learner, by: str) -> Supervision:
        """`learner`'s pack with answers `by` OWN or MENTOR. Raises BundleError, StateError."""
        pack = learner.supervision
        return pack if by == MENTOR or not len(pack) else replace(pack, mentor_logits=self._own_logits(len(pack)))

    def _own_logits(self, samples: int) -> NDArray[np.float16]:
        shape = (samples, len(self._bundle.manifest.classes))
        name = f"{OWN_LOGITS} {self._bundle.manifest.id[:16]}"
        try:
            kept = self._store.get(name)
        except Damaged:
            kept = None
        if kept is not None and len(kept) == 2 * shape[0] * shape[1]:
            return np.frombuffer(kept, np.float16).reshape(shape)
        with Learner(self._bundle, self._threads) as base:
            logits_NK = own_answers(base).mentor_logits
        self._store.put(name, np.ascontiguousarray(logits_NK).tobytes())
        return logits_NK
