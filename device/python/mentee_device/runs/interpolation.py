"""A run taken part of the way: the parameters it began with, and a share of what it changed.

On the straight line between the weights before and after fine-tuning there are often some that keep most of what was
gained and give back most of what was lost elsewhere (arXiv 2109.01903, where the share is α).
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from mentee_device.core.learner import Learner
from mentee_device.guard.golden import Verdict

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
Parameters = Mapping[str, NDArray[np.float32]]


def judged(
    learner: Learner, start: Parameters | None, judge: Callable[[Learner], Verdict], interpolate: bool
) -> tuple[Verdict, float, str]:
    """The verdict on a candidate, which `learner` is, the share of its run that it is on, and what there was against all of it.
    With `interpolate` that may be a part of the way from `start`, to which `learner` is moved then."""
    verdict = judge(learner)
    against = "; ".join(verdict.reasons)
    if against and interpolate and start is not None:
        found = part_of_the_way(learner, start, judge)
        if found is not None:
            return found[1], found[0], against
    return verdict, 1.0, against


def part_of_the_way(
    learner: Learner, start: Parameters, judge: Callable[[Learner], Verdict]
) -> tuple[float, Verdict] | None:
    """Moves `learner` to the largest of `SHARES` of its way from `start` that `judge` has nothing against; None, and all
    of the way as before, where it refuses every one. Moments, step and random state stay those at the end of the way."""
    end = learner.parameters()
    for share in SHARES:
        learner.set_parameters(between(start, end, share))
        verdict = judge(learner)
        if not verdict.reasons:
            return share, verdict
    learner.set_parameters(end)
    return None


def between(start: Parameters, end: Parameters, share: float) -> dict[str, NDArray[np.float32]]:
    """start + share · (end − start), running statistics included."""
    return {name: start[name] + np.float32(share) * (end[name] - start[name]) for name in end}
