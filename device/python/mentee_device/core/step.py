"""One optimizer step on a batch, in passes of a few samples. A step whose numbers leave float32 is refused, changing nothing."""

import numpy as np

from mentee_device.bundle.inputs import Batch
from mentee_device.bundle.manifest import Manifest
from mentee_device.core.backends.backend import Backend
from mentee_device.core.microbatch import added, passes

LARGEST_OUTPUT = 1e30  # of a graph that is about to leave float32


class LearningError(RuntimeError):
    """A step that was refused; parameters, moments and step count are as before it, unless the line says otherwise."""


def take_step(session: Backend, manifest: Manifest, batch: Batch, done: int) -> dict[str, float]:
    """The loss and its terms before the step, by name. `done`: steps taken so far. Raises LearningError where the loss, a
    gradient or an output is not finite or about to overflow."""
    terms: dict[str, float] = {}
    try:
        for part, share in passes(manifest, batch):
            _look_ahead(session, part, done)
            outputs = session.forward_backward(part, done)
            part_terms = {
                name: float(value[0]) for name, value in outputs.items() if name not in ("logits", "embedding")
            }
            terms = added(terms, part_terms, share)
        if not np.isfinite(list(terms.values())).all() or not session.gradients_usable():
            raise LearningError(
                f"step {done + 1}: loss {terms['loss']}, and it or a gradient is not finite or overflows; nothing was changed: "
                "lower the knobs or the learning rate, or look for extreme samples"
            )
        session.apply()
    except BaseException:  # an interrupt between two parts, or in `apply`: the next step must not add to this one's
        session.discard()
        raise
    return terms


def _look_ahead(session: Backend, part: Batch, done: int) -> None:
    """Where parameters have grown, runs the eval graph first, which no NaN can crash. Raises LearningError."""
    if session.trusted:
        return
    for name, value in session.forward(part).items():
        if not (np.abs(value) < LARGEST_OUTPUT).all():
            raise LearningError(
                f"step {done + 1}: the parameters have grown so far that {name} is not finite; the step was not taken: "
                "reset the mentee or restore a snapshot, and lower the learning rate"
            )
    session.trust()
