"""What the bundle's replay samples are answered with while an owner's mentee learns: the mentor's recorded answers, or what
the mentee itself answered before it had learnt anything (learning without forgetting, arXiv 1606.09282).

The base is asked once and remembered. Its answers are logits alone: a layer has no target then, and β is 0.
Axes: N replay samples, K classes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle import Bundle
from mentee_device.curves import Curve, highest
from mentee_device.database import Damaged
from mentee_device.learner import Learner
from mentee_device.samples import Supervision
from mentee_device.store import Store

OWN, MENTOR, AUTO = "own", "mentor", "auto"
REPLAYS = (OWN, MENTOR, AUTO)
CERTAIN = 3.841  # χ² with one degree of freedom, 95 %
OWN_LOGITS = "base logits of the replay samples"


@dataclass(frozen=True)
class Answered:
    """A pack under the answers `by` OWN or MENTOR, and for a log `why`, where that was not given but found."""

    pack: Supervision
    by: str
    why: str = ""

    def describe(self) -> str:
        whose = "the mentor's" if self.by == MENTOR else "the base's"
        return f", replay under {whose} answers ({self.why})" if self.why else ""


def own_answers(base: Learner) -> Supervision:
    """The pack of `base`, a learner that has learnt nothing, under its logits; float16, as the mentor's are."""
    pack = base.supervision
    return (
        replace(pack, mentor_logits=base.predict(pack.samples.input).logits.astype(np.float16)) if len(pack) else pack
    )


def answered(
    pack: Supervision, by: str, own: Callable[[], NDArray[np.float16]], knobs: Mapping[str, Curve]
) -> Answered:
    """`pack`, as the bundle has it, under the answers `by` names; `own` gives the base's logits [N, K].

    AUTO is the mentor where `knobs` has a β above 0, which needs its layers, or where it is right on more of the labelled
    samples than the base, by more than chance leaves open (McNemar's test, 95 %); else the base. A base that its mentor
    still surpasses does not lose what it knows by learning from it, and one that knows them all is its own best guard.
    """
    if by == MENTOR or not len(pack):
        return Answered(pack, MENTOR)
    if by == AUTO and highest(knobs.get("beta", 0.0)) > 0:
        return Answered(pack, MENTOR, "beta weighs its layers")
    logits_NK = own()
    if by == AUTO:
        better, why = mentor_knows_more(pack, logits_NK)
        if better:
            return Answered(pack, MENTOR, why)
        return Answered(replace(pack, mentor_logits=logits_NK), OWN, why)
    return Answered(replace(pack, mentor_logits=logits_NK), OWN)


def mentor_knows_more(pack: Supervision, own_NK: NDArray[np.float16]) -> tuple[bool, str]:
    """Whether the mentor is right on more of the labelled samples than the base, (b − c)² > 3.84 (b + c) where b are right by
    the mentor alone and c by the base alone (McNemar 1947), and the counts for a log."""
    rows = np.flatnonzero(pack.samples.labels >= 0)
    labels_N = pack.samples.labels[rows]
    mentor_N, base_N = (logits[rows].argmax(axis=1) == labels_N for logits in (pack.mentor_logits, own_NK))
    mentors, bases = int((mentor_N & ~base_N).sum()), int((base_N & ~mentor_N).sum())
    better = mentors - bases > math.sqrt(CERTAIN * (mentors + bases))
    return better, f"of {len(rows)} the mentor is right on {int(mentor_N.sum())}, the base on {int(base_N.sum())}"


class Replay:
    """The replay samples of `bundle`; `store` remembers the base's logits."""

    def __init__(self, bundle: Bundle, store: Store, threads: int) -> None:
        self._bundle, self._store, self._threads = bundle, store, threads

    def answered(self, learner: Learner, by: str, knobs: Mapping[str, Curve]) -> Answered:
        """See the function of this name. Raises BundleError, StateError."""
        pack = learner.supervision
        return answered(pack, by, lambda: self._own_logits(len(pack)), knobs)

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
