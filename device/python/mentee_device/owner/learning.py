"""Samples, the runs that learn from them, and the way back. Axes: N samples, K classes."""

from collections.abc import Callable, Collection
from typing import Any

from numpy.typing import NDArray

from mentee_device.bundle.samples import Samples
from mentee_device.folder import FEATURES
from mentee_device.owner.opened import Opened
from mentee_device.runs import intake
from mentee_device.runs import unlearn as unlearning
from mentee_device.runs.plans.plan import Plan
from mentee_device.runs.run import OnProgress
from mentee_device.runs.runs import RunResult
from mentee_device.runs.unlearn import Unlearned
from mentee_device.state.about import About
from mentee_device.state.versions import BASE, Version


class Learning(Opened):
    """A run is a transaction that the guard decides."""

    def add(
        self, samples: Samples, source: str = "owner", weight: float = 1.0, mentor_logits_NK: NDArray[Any] | None = None
    ) -> list[int]:
        """Stores samples, all or none; their numbers. Raises SampleError for any that does not fit.

        `source` of the labels: owner, mentor, mentor-online, near_miss, stream, cluster or pseudo; an unlabelled one's is none.
        The same sample twice is one. Where a bound of the settings is reached others go (state/about.py), which the log says.
        """
        return intake.add(self.state, self.settings, samples, source, weight, mentor_logits_NK)

    def waiting(self) -> list[int]:
        """Numbers of the labelled samples that no run has drawn from yet, oldest first."""
        return intake.waiting(self.state)

    def learn(self, plan: Plan | None = None, *, on_progress: OnProgress | None = None) -> RunResult:
        """One run of `plan` on the sample store, and the guard's verdict.

        Until the verdict the current version stays what it was, also through a crash; an unfinished run is saved every
        `plan.save_every` steps, waits in `paused` and goes on with `resume`, bit for bit as if nothing had happened where the
        budget is in steps or samples. `on_progress(Progress)` after each step may call `pause` or change the settings. Raises
        LearningError, SampleError, StateError, BundleError; nothing is changed then.
        """
        self.runs.require_rest()
        return self.runs.begin(plan or Plan(), on_progress)

    @property
    def paused(self) -> Version | None:
        """The unfinished run, of a `pause` or of a process that ended; None where there is none."""
        return self.runs.paused

    def pause(self) -> None:
        """Ends the present run after its step, to be resumed; from any thread or signal handler."""
        self.runs.stop()

    def resume(self, *, on_progress: OnProgress | None = None) -> RunResult:
        """Goes on with the unfinished run from its last save. Raises LearningError where there is none."""
        self.runs.require_rest()
        return self.runs.resume(on_progress)

    def discard(self, why: str = "discarded by the owner") -> None:
        """Drops the unfinished run. Raises LearningError where there is none."""
        self.runs.require_rest()
        self.runs.drop(self.runs.require_paused().number, why)

    def stream(
        self,
        samples: Samples,
        every: int = 32,
        source: str = "owner",
        plan: Plan | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> list[RunResult]:
        """One pass: stores `samples` as they come, and runs `plan` each time `every` labelled ones are waiting, each of them in
        one step only. Its samples, budget and `once` are set here. What is left over waits for the next call."""
        return intake.stream(
            self.state,
            intake.cleared(self.state, samples),
            every,
            plan or Plan(),
            take=lambda some: self.add(some, source),
            learn=lambda part: self.learn(part, on_progress=on_progress),
        )

    def roll_back(self, version: int | None = None) -> int:
        """Makes an accepted version current, by default the newest intact one that the current grew from; its number.

        0 is the base. An unfinished run is dropped. Raises StateError where that version's checkpoint is gone.
        """
        self.runs.require_rest()
        return self.runs.roll_back(version)

    def reset(self) -> None:
        """Makes the base current; samples, older versions and the log stay."""
        self.roll_back(BASE)

    def unlearn(
        self,
        samples: Collection[int] | None = None,
        matching: Callable[[About], bool] | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> Unlearned:
        """Removes samples, by number or by what is known of them, and what they taught: see runs/unlearn.py. Raises StateError
        for a number that never was, and nothing is removed then; what is raised later leaves the samples removed."""
        self.runs.require_rest()
        gone = unlearning.chosen(self.state, samples, matching)
        return unlearning.unlearn_samples(self.runs, FEATURES, gone, on_progress)
