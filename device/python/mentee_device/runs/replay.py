"""Answers for the bundle's replay samples while an owner's mentee learns: the mentor's recorded ones, or what the
mentee itself answered before it had learnt anything (learning without forgetting, arXiv 1606.09282), where those are known
to be better.

The base's answers are logits alone: a layer has no target then, and β is 0.
Axes: N replay samples, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import Supervision
from mentee_device.core.learner import Learner
from mentee_device.guard.base_logits import REPLAY_LOGITS
from mentee_device.guard.chance import better_beyond_chance
from mentee_device.state.device_state import DeviceState

OWN, MENTOR, AUTO = "own", "mentor", "auto"
REPLAYS = (OWN, MENTOR, AUTO)


@dataclass(frozen=True)
class Answered:
    """The replay samples under the answers that were asked for or found to be better; `layered` under the mentor's, for
    steps whose β weighs its layers; `why` for the log, where whose they are was not asked for."""

    pack: Supervision
    layered: Supervision | None = None
    why: str = ""

    def at(self, beta: float) -> Supervision:
        """The pack that a step draws from."""
        return self.layered if self.layered is not None and beta > 0 else self.pack


def own_answers(base: Learner) -> Supervision:
    """The pack of `base`, a learner that has learnt nothing, under its logits; float16, as the mentor's are."""
    pack = base.supervision
    return (
        replace(pack, mentor_logits=base.predict(pack.samples.input, checked=True).logits.astype(np.float16))
        if len(pack)
        else pack
    )


def answered(pack: Supervision, by: str, own: Callable[[], NDArray[np.float16]]) -> Answered:
    """`pack`, as the bundle has it, under the answers `by` names; `own` gives the base's logits [N, K].

    AUTO is the mentor, unless the base is right on more of the labelled samples by more than chance leaves open: learning
    goes on under the mentor's supervision where nothing speaks against it. A base that was cut short would be held to its
    errors by its own answers.
    """
    if by == MENTOR or not len(pack):
        return Answered(pack)
    logits_NK = own()
    replaced = replace(pack, mentor_logits=logits_NK)
    if by == OWN:
        return Answered(replaced)
    worse, counts = base_knows_more(pack, logits_NK)
    whose = "the base's" if worse else "the mentor's"
    return Answered(
        replaced if worse else pack, pack if pack.activations else None, f", replay under {whose} answers ({counts})"
    )


def base_knows_more(pack: Supervision, own_NK: NDArray[np.float16]) -> tuple[bool, str]:
    """Whether the base is right on more of the labelled samples than the mentor (McNemar's exact test of those on which one
    alone is right, two-sided, 95 %), and the counts for a log."""
    rows = np.flatnonzero(pack.samples.labels >= 0)
    if not len(rows):
        return False, "none of them has a label"
    labels_N = pack.samples.labels[rows]
    mentor_N, base_N = (logits[rows].argmax(axis=1) == labels_N for logits in (pack.mentor_logits, own_NK))
    mentors, bases = int((mentor_N & ~base_N).sum()), int((base_N & ~mentor_N).sum())
    counts = (
        f"of {len(rows)} with a label the mentor is right on {int(mentor_N.sum())}, the base on {int(base_N.sum())}"
    )
    return better_beyond_chance(bases, mentors), counts


def remembered_answers(state: DeviceState, learner: Learner, by: str) -> Answered:
    """`answered` for the pack of `learner`'s bundle; the base's logits are asked once. Raises BundleError, StateError."""
    pack = learner.supervision
    return answered(pack, by, lambda: REPLAY_LOGITS.get(state, len(pack), lambda base: own_answers(base).mentor_logits))
