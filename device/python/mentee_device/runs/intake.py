"""The owner's samples on their way in: stored, waiting for a run, or learnt from in one pass as they come."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.samples import SampleError, Samples, check_labels
from mentee_device.bundle.scale import clear, require_array
from mentee_device.core.step import LearningError
from mentee_device.runs.plans.budget import Budget
from mentee_device.runs.plans.given import plain_number
from mentee_device.runs.plans.plan import Plan
from mentee_device.runs.plans.settings import Settings
from mentee_device.runs.runs import RunResult
from mentee_device.state.answers import delete_answers
from mentee_device.state.device_state import DeviceState
from mentee_device.state.versions import unlabelled_in


def add(
    state: DeviceState,
    settings: Settings,
    samples: Samples,
    source: str,
    weight: float = 1.0,
    mentor_logits_NK: NDArray[Any] | None = None,
) -> list[int]:
    """Stores samples, all or none, and makes room for them; their numbers. Raises SampleError for any that does not fit."""
    weight = plain_number("weight", weight, float, SampleError)
    if mentor_logits_NK is not None:
        require_array("the mentor's logits", mentor_logits_NK)
        if mentor_logits_NK.dtype.kind not in "fiu":
            raise SampleError(f"the mentor's logits are {mentor_logits_NK.dtype}, expected numbers")
    checked = state.samples.checked(cleared(state, samples), source, weight, mentor_logits_NK)
    with state.store.transaction():
        numbers = state.samples.add(checked, source, weight, mentor_logits_NK)
        gone = state.samples.make_room(settings.most_samples, settings.most_sample_bytes)
        delete_answers(state.store, gone)
        evicted = f"; {len(gone)} others had to go" if gone else ""
        line = f"{len(numbers)} samples came, {_labels_by(checked, source)}{evicted}"
        state.store.record("samples", line, came=numbers, went=gone)
    return numbers


def _labels_by(samples: Samples, source: str) -> str:
    labelled = int((samples.labels >= 0).sum())
    if not labelled:
        return "unlabelled"
    return f"labels by {source}" if labelled == len(samples) else f"{labelled} of them with labels by {source}"


def cleared(state: DeviceState, samples: Samples) -> Samples:
    """`samples`, asked as a whole what scale they are on. Raises SampleError."""
    if not isinstance(samples, Samples):
        raise SampleError(f"samples are a {type(samples).__name__}, expected Samples(input, labels)")
    input = clear(samples.input, state.manifest)
    labels_N = check_labels(samples.labels, len(input), state.manifest, unlabelled=True)
    nameless = np.flatnonzero(np.isin(labels_N, state.manifest.unnamed))
    if len(nameless):
        raise SampleError(
            f"label {labels_N[nameless[0]]} of sample {nameless[0]} is a spare class without a name: name it first, with "
            "name_class(), or `name-class --name`"
        )
    return Samples(input, labels_N)


def waiting(state: DeviceState) -> list[int]:
    """Numbers of the labelled samples that no run has drawn from yet, oldest first."""
    seen = {number for version in state.versions.all() for number in set(version.learned) - unlabelled_in(version)}
    return [one.number for one in state.samples.all() if one.label >= 0 and one.number not in seen]


def stream(
    state: DeviceState,
    samples: Samples,
    every: int,
    plan: Plan,
    take: Callable[[Samples], object],
    learn: Callable[[Plan], RunResult],
) -> list[RunResult]:
    """Hands `samples` to `take` as they come, and a run of `plan` to `learn` each time `every` labelled ones are waiting. After a
    run that was paused the rest is taken and waits."""
    every = plain_number("every", every, int)
    if every < 1:
        raise LearningError(f"every is {every}, expected at least 1")
    results = []
    for start in range(0, len(samples), every):
        take(samples.take(np.arange(start, min(start + every, len(samples)))))
        numbers = waiting(state)
        while len(numbers) >= every:
            results.append(learn(replace(plan, samples=numbers[:every], budget=Budget(samples=every), once=True)))
            if results[-1].status == "paused":
                if start + every < len(samples):
                    take(samples.take(np.arange(start + every, len(samples))))
                return results
            numbers = numbers[every:]
    return results
