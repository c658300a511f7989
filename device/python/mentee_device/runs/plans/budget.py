"""The budget of one run of learning."""

import contextlib
import os
from dataclasses import asdict, dataclass
from typing import Any

from mentee_device.core.step import LearningError
from mentee_device.runs.plans.described import described
from mentee_device.runs.plans.given import plain_number


@dataclass(frozen=True)
class Budget:
    """A run ends at the first bound it reaches. Raises LearningError for one that makes no sense."""

    steps: int | None = described(
        None, "steps of the run at most (without any bound: 240, or 200 where nothing has a label)"
    )
    seconds: float | None = described(None, "measured seconds of the run at most")
    samples: int | None = described(None, "samples of the owner drawn at most, repeats counted")
    joules: float | None = described(None, "joules of the run at most, estimated as --watts times measured seconds")
    watts: float | None = described(None, "what the device draws while it learns")

    def __post_init__(self) -> None:
        for name, value in self.as_json().items():
            value = plain_number(name, value, float)
            object.__setattr__(self, name, value)  # of numpy no more: a version stores it as JSON
            if not 0 < value < float("inf"):
                raise LearningError(f"{name} is {value}, expected a finite number above 0")
        if (self.joules is None) != (self.watts is None):
            raise LearningError("joules are estimated from watts: give both or neither")
        if not self.as_json():
            raise LearningError("a budget needs a bound: steps, seconds, samples, or joules with watts")

    def used(self, steps: int, seconds: float, samples: int) -> float:
        """The fraction of the run that is over: that of the bound which is nearest; 1 and more ends the run."""
        joules = seconds * (self.watts or 0)
        spent = ((steps, self.steps), (seconds, self.seconds), (samples, self.samples), (joules, self.joules))
        return max(float(part / whole) for part, whole in spent if whole is not None)

    def as_json(self) -> dict[str, Any]:
        """The bounds that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def be_nice(by: int = 10) -> bool:
    """Lowers this process's priority, for good: no system lets it rise again. False where there is no such call."""
    with contextlib.suppress(AttributeError, OSError):  # Windows has none
        os.nice(by)
        return True
    return False
