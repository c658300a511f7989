"""Teacher-forced optimizer steps: the shipped optimizer model against torch's optimizer in float64, one step at a time.

Before each step both sides are set to the same parameters, near the base. ONNX Runtime's gradient is compared with float64's
there; then both optimizers take ONNX Runtime's gradient, each on moments of its own, and what they did to the parameters is
compared. Together that is a whole run. Two free runs would measure something else: with AdamW's epsilon of 1e-8 a parameter
whose gradient is rounding moves by the whole learning rate on its sign, in torch's float32 as well, and a deep net amplifies it.

A wrong number must show, so the steps go where each matters:

* the first batch has no sample that counts: what moves is weight decay alone;
* AdamW's next ones have gradients of epsilon's size, by α β γ: the loss is linear in them;
* under clipping the gradients' norm is in turn four times and a quarter of the bound;
* a schedule's second half of steps lies further on, by `later`: a copy of the model counts them so, the same in all else;
* the rate is such that the largest change of a step is 1: every update is linear in it, and rounding of large parameters would
  hide what a user's 1e-4 does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.graph.optimizer_spec import Optimizer, Schedule
from export.graph.training_graph import TrainingGraph
from export.parity.backends.opened import Backend, backend_of
from export.parity.backends.reference import Reference, TorchOptimizer
from export.parity.feeds import Samples, draw, scaled
from export.parity.gradient_check import GradientCheck, max_or_nan, own_nearby, worse
from mentor_mentee.progress import Progress

STEPS = 20
FAINT = 5
BATCH = 2
MICRO_BATCHES = 2  # of an accumulated step here, however many `accumulate` says: the graphs are the same
NEAR = 0.02  # of a parameter's own root mean square


def forced_steps(
    graph: TrainingGraph, folders: Sequence[Path], samples: Samples, optimizer: Optimizer, batch: int, together: int = 1
) -> list[tuple[dict[str, Any], GradientCheck]]:
    """For each folder the report for `parity.json` on the steps, and the gradients there. `largest_difference`: of one element's
    change, over the largest change in its tensor, less float32's rounding of it."""
    reference, single = Reference(graph), Reference(graph, torch.float32)
    names = list(reference.parameters)
    later = later_steps(optimizer.schedule)
    sides = [Stepping.of(folder, optimizer, reference, later) for folder in folders]
    base = sides[0].backend.values(names)
    random = np.random.default_rng(0)
    micro = min(optimizer.accumulate, MICRO_BATCHES)
    masks = ["neither"] * micro + ["mixed"] * (STEPS - 1) * micro
    feeds = draw(samples, masks, batch, 2, together)
    progress = Progress("comparing optimizer steps with torch's: step", STEPS)
    for k in range(STEPS):
        progress.at(k)
        for name, start in base.items():
            place(name, near(start, random), [side.backend for side in sides], reference, single)
        batches = [scaled(feed, 1 / micro) for feed in feeds[k * micro : (k + 1) * micro]]
        for feed in batches:
            reference.backward(feed)
            single.backward(feed)
        expected = reference.take_gradients()
        rough = {name: gradient.double() for name, gradient in single.take_gradients().items()}
        factor = float(np.float32(wanted_norm(k, optimizer, expected) / max(total_norm(expected), 1e-30))) if k else 1.0
        expected, rough = ({name: factor * gradient for name, gradient in given.items()} for given in (expected, rough))
        for side in sides:
            if k == STEPS // 2:
                side.stepper.skip(later)
            for feed in batches:
                side.backend(scaled(feed, factor), learning=True)
            seen = side.backend.gradients(reference.parameters)
            nearby = partial(own_nearby, reference, single, batches, factor)
            side.gradients.judge(seen, expected, rough, reference.shaken(batches, factor), nearby)
            side.clipped += optimizer.clip_norm is not None and total_norm(seen) > optimizer.clip_norm
            for name, value in step_differences(reference, side.stepper, side.backend, seen).items():
                side.changes[name] = worse(side.changes[name], value)
    return [
        (
            {
                "steps": STEPS,
                "leap_after_half": later,
                "clipped": side.clipped,
                "micro_batches": micro,
                "largest_difference": max_or_nan(side.changes.values()),
                "parameters": side.changes,
            },
            side.gradients,
        )
        for side in sides
    ]


@dataclass
class Stepping:
    """One runtime's optimizer beside torch's own, and what was seen of it."""

    backend: Backend
    stepper: TorchOptimizer
    gradients: GradientCheck
    changes: dict[str, float]
    clipped: int = 0

    @classmethod
    def of(cls, folder: Path, optimizer: Optimizer, reference: Reference, later: int) -> "Stepping":
        backend, names = backend_of(folder), list(reference.parameters)
        backend.open_optimizer(optimizer, STEPS // 2, later)
        stepper = TorchOptimizer(optimizer, reference.parameters)
        return cls(backend, stepper, GradientCheck(names), dict.fromkeys(names, 0.0))


def near(start: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    size = NEAR * max(float(np.sqrt(np.mean(np.square(start)))), 1e-3)
    return (start + size * random.standard_normal(start.shape)).astype(np.float32)


def place(name: str, value: NDArray[np.float32], backends: Sequence[Backend], *references: Reference) -> None:
    """Gives parameter `name` the same value on all sides."""
    value = np.asarray(value)  # a parameter may be 0-dimensional, and numpy makes a plain number of a sum of such
    for backend in backends:
        backend.set(name, value)
    for reference in references:
        parameter = reference.parameters[name]
        parameter.data = torch.from_numpy(value).to(reference.dtype).view_as(parameter)


def step_differences(
    reference: Reference, stepper: TorchOptimizer, backend: Backend, gradients: dict[str, Tensor]
) -> dict[str, float]:
    """Leaves the reference's parameters as they were."""
    before = {name: parameter.detach().clone() for name, parameter in reference.parameters.items()}
    stepper.step(gradients, 1.0)
    change = {name: parameter.detach() - before[name] for name, parameter in reference.parameters.items()}
    for name, parameter in reference.parameters.items():
        parameter.data = before[name]
    largest = max(float(value.abs().max()) for value in change.values())
    scale = backend.rate_scale
    fed = float(np.float32(1 / (scale * largest))) if largest > 0 else 1.0
    backend.step(fed)
    rate = fed * scale
    found = {}
    for name, value in backend.values(list(before)).items():
        after = before[name] + rate * change[name]
        off = (torch.from_numpy(value).double().view_as(after) - after).abs()
        rounding = 2.0**-23 * torch.maximum(before[name].abs(), after.abs())
        off = torch.where(off.isnan(), off, (off - rounding).clamp(min=0))
        found[name] = float(off.max()) / max(rate * float(change[name].abs().max()), 1e-30)
    return found


def wanted_norm(k: int, optimizer: Optimizer, gradients: dict[str, Tensor]) -> float:
    """Wanted norm of all gradients together at step k."""
    if optimizer.name == "adamw" and k <= FAINT:
        return optimizer.epsilon * float(np.sqrt(sum(gradient.numel() for gradient in gradients.values())))
    if optimizer.clip_norm is not None:
        return optimizer.clip_norm * (4 if k % 2 else 0.25)
    return total_norm(gradients)


def total_norm(gradients: dict[str, Tensor]) -> float:
    return float(torch.stack([gradient.norm() for gradient in gradients.values()]).norm())


def later_steps(schedule: Schedule) -> int:
    if schedule.name == "cosine":
        return schedule.steps // 2
    return schedule.warm_up + (schedule.every if schedule.name == "step" else 0)


def free_runs(
    graph: TrainingGraph, folders: Sequence[Path], samples: Samples, optimizer: Optimizer, batch: int
) -> list[dict[str, Any]]:
    """Drift of each folder's graphs and of torch's float32 from float64 in STEPS steps on their own: information, see the top of
    the file."""
    feeds = draw(samples, ["mixed"] * STEPS, batch, seed=1)
    ends = {}
    for dtype in (torch.float64, torch.float32):
        reference = Reference(graph, dtype)
        stepper = TorchOptimizer(optimizer, reference.parameters)
        for feed in feeds:
            reference.backward(feed)
            stepper.step(reference.take_gradients(), optimizer.learning_rate)
        ends[dtype] = {name: parameter.detach().double() for name, parameter in reference.parameters.items()}
    expected, found = ends[torch.float64], list[dict[str, Any]]()
    for folder in folders:
        backend = backend_of(folder)
        backend.open_optimizer(optimizer)
        for feed in feeds:
            backend(feed, learning=True)
            backend.step(optimizer.learning_rate / backend.rate_scale)
        seen = {
            name: torch.from_numpy(value).double().view_as(expected[name])
            for name, value in backend.values(list(expected)).items()
        }
        found.append(
            {
                "steps": STEPS,
                "learning_rate": optimizer.learning_rate,
                "largest_difference": apart(seen, expected),
                "torch_float32_differs_by": apart(ends[torch.float32], expected),
            }
        )
    return found


def apart(seen: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    return max_or_nan(float((seen[name] - value).abs().max()) for name, value in expected.items())
