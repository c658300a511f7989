"""The golden set at work: what base and candidate answer on it, and the verdict."""

from dataclasses import dataclass, field
from typing import Any

from mentee_device.bundle.samples import Samples
from mentee_device.core.learner import Learner
from mentee_device.core.step import LearningError
from mentee_device.guard.base_logits import GOLDEN_LOGITS
from mentee_device.guard.measures import Limits, Measured, judge, measure
from mentee_device.state.device_state import DeviceState


@dataclass(frozen=True)
class Verdict:
    """`reasons` against the candidate; none: it may become current. `evidence`: what else was heard than the golden set, as JSON
    by its name, and `words` for it."""

    base: Measured
    candidate: Measured
    reasons: list[str]
    evidence: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The verdict for a version's row and the log; the candidate is named "update" there."""
        found = {"base": self.base.as_json(), "update": self.candidate.as_json(), "reasons": self.reasons}
        return {**found, **self.evidence}


class Golden:
    """The golden set of a state's bundle, read on first use."""

    def __init__(self, state: DeviceState) -> None:
        self._state = state
        self._samples: Samples | None = None

    def close(self) -> None:
        """Releases the samples."""
        self._samples = None

    def require(self) -> Samples:
        """Raises LearningError where it is empty: a run that nothing can judge is not begun."""
        if self._samples is None:
            self._samples = self._state.bundle.golden()
        if not len(self._samples):
            raise LearningError("the bundle's golden set is empty, so nothing can guard a run: export it with one")
        return self._samples

    def judge(self, learner: Learner, limits: Limits, gained: bool = False) -> Verdict:
        """`learner`'s present parameters against the base; `gained`: see `measures.judge`."""
        golden = self.require()
        base_NK = GOLDEN_LOGITS.get(
            self._state, len(golden), lambda base: base.predict(golden.input, checked=True).logits
        )
        watched = limits.ece_rise is not None
        base = measure(base_NK, golden.labels, base_NK, watched)
        candidate = measure(learner.predict(golden.input, checked=True).logits, golden.labels, base_NK, watched)
        return Verdict(base, candidate, judge(candidate, base, limits, self._state.manifest.classes, gained))
