"""Answers: the mentee's own, those of what was enrolled, and whether a sample is normal. Axes: N samples."""

from typing import Any

from numpy.typing import NDArray

from mentee_device.anomaly.normal import Judged, Watch
from mentee_device.bundle.samples import preprocess
from mentee_device.bundle.scale import clear
from mentee_device.guard.answers import Answers, answer
from mentee_device.owner.opened import Opened
from mentee_device.prototypes.enrolment import Recognised


class Answering(Opened):
    """No step of training is taken here."""

    def predict(self, input: NDArray[Any]) -> Answers:
        """`input` [N, C, H, W] as `preprocess` takes it, behind the rails of the settings. Raises SampleError."""
        self.runs.require_rest()
        found = self.learner.predict(input)
        manifest = self.bundle.manifest
        blocked = [*map(manifest.classes.index, self.settings.blocked), *manifest.unnamed]
        return Answers(*answer(found.logits, blocked, self.settings.confidence_floor), found.logits, found.embedding)

    def evaluate(self, input: NDArray[Any], labels: NDArray[Any]) -> float:
        """The share of samples whose highest logit is their label's, no rails. Raises SampleError."""
        self.runs.require_rest()
        return self.learner.evaluate(input, labels)

    def evaluate_golden(self) -> float:
        """`evaluate` on the bundle's golden set."""
        self.runs.require_rest()
        return self.learner.evaluate_golden()

    def enrol(self, name: str, input: NDArray[Any]) -> list[int]:
        """Enrols samples [N, C, H, W] of a class, of the bundle's or a new one, for `recognise`; their numbers, for
        `enrolled.remove`. No step of training. Raises SampleError."""
        self.runs.require_rest()
        return self.enrolled.add(name, clear(input, self.bundle.manifest))

    def recognise(self, input: NDArray[Any], neighbours: int = 0, floor: float = -1.0) -> Recognised:
        """Among the bundle's and the enrolled classes, by embedding and the mentee's own answer: `Enrolment.recognise`,
        behind the rails of the settings. Raises SampleError."""
        self.runs.require_rest()
        return self.enrolled.recognise(input, self.settings, neighbours, floor)

    def observe(self, input: NDArray[Any], watch: Watch | None = None, now: float | None = None) -> int:
        """Takes samples in as normal, until the watch's period ends; how many. `watch` begins anew; `now` in seconds, by
        default the clock's. `monitor` has freeze, resume and stop. Raises SampleError."""
        self.runs.require_rest()
        input = clear(input, self.bundle.manifest)
        preprocess(input, self.bundle.manifest)
        if watch is not None:
            self.monitor.start(watch)
        return self.monitor.observe(input, now)

    def anomaly(self, input: NDArray[Any]) -> Judged:
        """Flags samples that deviate from what was observed, by their distance to it. Raises SampleError."""
        self.runs.require_rest()
        return self.monitor.judge(clear(input, self.bundle.manifest))
