"""One run of learning: what was asked for, how far it is, and its next step. `Owner` saves it and judges its end."""

import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.budget import Budget
from mentee_device.curves import Curve, check_curve, value_at
from mentee_device.learner import Learner, LearningError
from mentee_device.manifest import KNOBS
from mentee_device.samples import Samples


@dataclass(frozen=True)
class Plan:
    """`samples`: numbers of the kept samples that are drawn, `batch` a step, beside `replay_batch` of the bundle's.

    `knobs` are curves over the run; one left out is the owner's setting, read at every step, or the bundle's. `once`
    takes the samples in order, each in one step only. `save_every`: steps between two saves of the unfinished run.
    Raises LearningError for what makes no sense.
    """

    samples: tuple[int, ...]
    budget: Budget
    batch: int = 8
    replay_batch: int = 8
    owner_weight: float = 4.0
    knobs: Mapping[str, Curve] = field(default_factory=dict)
    once: bool = False
    save_every: int = 20

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("replay_batch", 0), ("save_every", 1)):
            if getattr(self, name) < least:
                raise LearningError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if not 0 < self.owner_weight < float("inf"):
            raise LearningError(f"owner_weight is {self.owner_weight}, expected a finite number above 0")
        for name, curve in self.knobs.items():
            if name not in KNOBS:
                raise LearningError(f"no knob {name!r}; there are {', '.join(KNOBS)}")
            try:
                check_curve(name, curve)
            except ValueError as error:
                raise LearningError(str(error)) from error

    def as_json(self) -> dict[str, Any]:
        """For a version's row."""
        return {**asdict(self), "budget": self.budget.as_json()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Plan":
        return cls(**{**raw, "samples": tuple(raw["samples"]), "budget": Budget(**raw["budget"])})


@dataclass
class Done:
    """How far a run is: its `steps`, measured `seconds`, and how many samples of the owner it has drawn."""

    steps: int = 0
    seconds: float = 0.0
    samples: int = 0


@dataclass(frozen=True)
class Progress:
    """After a step: how far, `fraction` of the run (1 at its end), the step's loss and terms, and the last step on disk."""

    done: Done
    fraction: float
    terms: dict[str, float]
    saved: int


Watcher = Callable[[Progress], object]


class Run:
    """A plan on its way, on the learner's present parameters. `samples` and `weights` [N] are what the plan names."""

    def __init__(
        self, learner: Learner, plan: Plan, samples: Samples, weights: NDArray[np.float32], done: Done
    ) -> None:
        self._learner, self.plan, self._samples, self._weights = learner, plan, samples, weights
        self._rows = np.flatnonzero(samples.labels >= 0)
        self.done = done
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.milliseconds = array("d")
        if not len(self._rows):
            raise LearningError("nothing to learn from: none of the run's samples has a label")

    @property
    def fraction(self) -> float:
        """What is over of the run, 0 to 1."""
        used = self.plan.budget.used(self.done.steps, self.done.seconds, self.done.samples)
        if self.plan.once:
            used = max(used, self.done.samples / len(self._rows))
        return min(1.0, used)

    def step(self, settings: Mapping[str, Curve]) -> dict[str, float]:
        """Draws a batch and learns from it; knobs of `settings` hold where the plan names none. Raises LearningError."""
        started = time.perf_counter()
        position = self.fraction
        knobs = {name: value_at(curve, position) for name, curve in {**settings, **self.plan.knobs}.items()}
        if self.plan.once:
            rows = self._rows[self.done.samples : self.done.samples + self.plan.batch]
        else:
            rows = self._learner.draw(self._rows, self.plan.batch)
        replay = self._learner.draw_replay(self.plan.replay_batch)
        self.last = self._learner.learn_batch(
            self._samples.take(rows), replay, owner_weight=self.plan.owner_weight, weights=self._weights[rows], **knobs
        )
        self.first = self.first or self.last
        self.milliseconds.append(1000 * (time.perf_counter() - started))
        self.done.steps += 1
        self.done.samples += len(rows)
        return self.last

    def spend(self, seconds: float) -> None:
        """Counts time that passed, saving included, against the budget."""
        self.done.seconds += seconds
