"""Proof that ONNX Runtime trains what torch would: made with every bundle, and the bundle is not made where it fails.

The reference is torch in float64 with the very same module. What is compared:

* every output of the training graph, the eval graph and inference.onnx, on batches of 1 and of N, with samples that are
  labelled, supervised, both and neither, under knobs that change from batch to batch; where torch's own float32 misses
  float64 by more than half the bound, as near a pole of a tangent, twice that is allowed (output_check.py);
* every parameter's gradient on the same, to the nearest of torch in float64, in float32 (`to_nearer` in gradient_check.py says
  why) and, near a kink, in float64 at weights next to these; its distance to float64 and that of torch's own float32 stand
  beside it, and twice the last is allowed where it is more than the bound;
* with nothing to learn from, that loss and gradients are exactly 0;
* where a gradient is 0 or next to it on all of that, as behind a residual scale of 0, the same again with such scales at random
  values on both sides (awake.py); where it stays 0 since nothing depends on the parameter (inert.py), that this is so;
* 20 steps of the optimizer, teacher-forced (optimizer_steps.py); two free runs are recorded beside it, and judge nothing.

What the comparison is silent about, a gradient that stays 0 or a number that torch's own float32 does not know, is
`inconclusive` (verdict.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.graph.optimizer_spec import Optimizer
from export.graph.ports import Port
from export.graph.training_graph import TrainingGraph
from export.network.batch_norm import smallest_map
from export.parity.awake import wake
from export.parity.backends.opened import backend_of
from export.parity.backends.reference import Reference, at_weights_nearby, one_thread
from export.parity.backends.training import session_options, without_chance
from export.parity.feeds import MASKS, Feed, Samples, draw
from export.parity.gradient_check import GradientCheck, joined, own_nearby, worse
from export.parity.inert import inert
from export.parity.optimizer_steps import forced_steps, free_runs
from export.parity.output_check import OutputCheck
from export.parity.verdict import GRADIENT_BOUND, OUTPUT_BOUND, STEPS_BOUND, called, inconclusive
from mentor_mentee.objective.loss_spec import SOFTMAX_LOSSES
from mentor_mentee.progress import Progress

BATCH = 8
LOSS = "loss"
CORRELATED = 4  # samples that a correlation over samples is taken of
AWAKE = ("mixed", "labelled", "supervised")


def measure(
    graph: TrainingGraph,
    folder: Path,
    inference: Path,
    samples: Samples,
    outputs: Sequence[Port],
    optimizer: Optimizer,
) -> dict[str, Any]:
    """Measures what `parity.json` holds. `folder` has the training artifacts that were made of `graph`."""
    return measure_each(graph, [folder], inference, samples, outputs, optimizer)[0]


def measure_each(
    graph: TrainingGraph,
    folders: Sequence[Path],
    inference: Path,
    samples: Samples,
    outputs: Sequence[Port],
    optimizer: Optimizer,
) -> list[dict[str, Any]]:
    """`measure` of each of `folders`, all made of `graph`: torch is asked once for all of them."""
    reports = measure_judged(graph, folders, inference, samples, outputs, optimizer)
    with one_thread(), all_without_chance(graph, folders) as still:
        free = free_runs(graph, still, samples, optimizer, batch_of_steps(graph, samples))
        return [{**report, "free_run": run} for report, run in zip(reports, free, strict=True)]


def measure_judged(
    graph: TrainingGraph,
    folders: Sequence[Path],
    inference: Path,
    samples: Samples,
    outputs: Sequence[Port],
    optimizer: Optimizer,
) -> list[dict[str, Any]]:
    """All of `measure_each` that a verdict depends on."""
    together, batch = together_at_least(graph), batch_of_steps(graph, samples)
    with one_thread(), all_without_chance(graph, folders) as still:
        found = without_steps(graph, still, inference, samples, outputs)
        forced = forced_steps(graph, still, samples, optimizer, batch, together)
        for one, (steps, gradients) in zip(found, forced, strict=True):
            one.gradients.join(gradients)
            one.report["steps"] = steps
        return [one.report | stated(one.gradients, one.outputs) for one in found]


def measure_gradients(
    graph: TrainingGraph, folder: Path, inference: Path, samples: Samples, outputs: Sequence[Port]
) -> dict[str, Any]:
    """`measure` without a step of the optimizer."""
    with one_thread(), without_chance(graph, folder) as still:
        (one,) = without_steps(graph, [still], inference, samples, outputs)
        return one.report | stated(one.gradients, one.outputs)


@contextmanager
def all_without_chance(graph: TrainingGraph, folders: Sequence[Path]) -> Iterator[list[Path]]:
    with ExitStack() as stack:
        yield [stack.enter_context(without_chance(graph, folder)) for folder in folders]


@dataclass
class Compared:
    """Measurements of one folder's graphs: the report as far as it goes, gradients, and the outputs by the report's heading."""

    report: dict[str, Any]
    gradients: GradientCheck
    outputs: dict[str, OutputCheck]

    def join(self, other: "Compared") -> None:
        """Adds a comparison with random values in the place of parameters that are next to 0."""
        self.gradients.join(other.gradients)
        self.outputs["outputs"].join(other.outputs["outputs"])


def without_steps(
    graph: TrainingGraph, folders: Sequence[Path], inference: Path, samples: Samples, outputs: Sequence[Port]
) -> list[Compared]:
    together, fewest = together_at_least(graph), fewest_samples(graph, samples)
    about: dict[str, Any] = {
        "reference": "torch float64; for `gradients` the nearest of that, torch float32, and float64 at weights next to these",
        "bounds": {"outputs": OUTPUT_BOUND, "gradients": GRADIENT_BOUND, "steps": STEPS_BOUND},
        "batches": [fewest, BATCH],
        "masks": list(MASKS),
    }
    feeds = list(zip(MASKS * 2, feeds_of(graph, samples), strict=True))
    found = compare(graph, folders, feeds, outputs)
    asleep = [number for number, one in enumerate(found) if one.gradients.asleep]
    if asleep:
        awake = list(zip(AWAKE, draw(samples, AWAKE, BATCH, 4, together), strict=True))
        again = compare(graph, [folders[number] for number in asleep], awake, outputs, ())
        for number, one in zip(asleep, again, strict=True):
            found[number].join(one)
    for folder, one in zip(folders, found, strict=True):
        if one.gradients.unproved:
            reference = Reference(graph)
            wake([], reference)
            one.gradients.inert = inert(reference, list(one.gradients.unproved), awake[0][1])
        if one.gradients.inert:  # the runtime must not depend on them either
            one.join(compare(graph, [folder], awake[:1], outputs, one.gradients.inert)[0])
    answers = compare_inference(graph, inference, samples.input)
    for one in found:
        one.report, one.outputs = about | one.report, one.outputs | {"inference": answers}
    return found


def feeds_of(graph: TrainingGraph, samples: Samples) -> list[Feed]:
    """The first inputs to compare on: batches of the fewest samples and of `BATCH`, one for each of `MASKS`."""
    fewest, together = fewest_samples(graph, samples), together_at_least(graph)
    return [*draw(samples, MASKS, fewest), *draw(samples, MASKS, BATCH, 1, together)]


def stated(gradients: GradientCheck, seen: Mapping[str, OutputCheck]) -> dict[str, Any]:
    unproved = inconclusive(gradients.nearer, gradients.torch_float32, gradients.unproved)
    for heading, check in seen.items():
        vague = inconclusive(check.seen, check.torch_float32, {})
        unproved |= {called(heading, name): why for name, why in vague.items()}
    return {
        **{heading: check.seen for heading, check in seen.items()},
        "gradients": gradients.nearer,
        "gradients_to_float64": gradients.float64,
        "torch_float32": {
            "gradients": gradients.torch_float32,
            **{heading: check.torch_float32 for heading, check in seen.items()},
        },
        "verdict": "inconclusive" if unproved else "proved",
        "inconclusive": unproved,
        "inert": gradients.inert,
    }


def batch_of_steps(graph: TrainingGraph, samples: Samples) -> int:
    return BATCH if together_at_least(graph) > 1 else max(fewest_samples(graph, samples), 2)


def fewest_samples(graph: TrainingGraph, samples: Samples) -> int:
    """A batch that brings BatchNorm one value a channel has no variance."""
    return 4 if smallest_map(graph.student.mentee, samples.input[:2]) == 1 else 1


def together_at_least(graph: TrainingGraph) -> int:
    """DIST's correlation over two samples is 1 or -1 whatever they are: its gradient is rounding, divided by a small variance."""
    return CORRELATED if graph.loss.softmax == "dist" else 1


def compare(
    graph: TrainingGraph,
    folders: Sequence[Path],
    feeds: Sequence[tuple[str, Feed]],
    outputs: Sequence[Port],
    awake: Sequence[str] | None = None,
) -> list[Compared]:
    """For each folder the loss and gradients with nothing to learn from, which should be 0, the gradients, and the outputs of the
    training and the eval graph and the running statistics after all of `feeds`, each with the name of its mask. `awake`: with
    random values in the place of these parameters and of all that are next to 0."""
    reference, single = Reference(graph), Reference(graph, torch.float32)
    backends = [backend_of(folder) for folder in folders]
    if awake is not None:
        wake(backends, reference, single, also=awake)
    running, single_running = reference.running(), single.running()
    names = [port.name for port in outputs]
    found = [
        Compared(
            {"neither": {"loss": 0.0, "gradients": 0.0}},
            GradientCheck(list(reference.parameters)),
            {"outputs": OutputCheck(names), "running": OutputCheck(list(running))},
        )
        for _ in backends
    ]
    progress = Progress("comparing gradients with torch's: batch", len(feeds))
    for done, (mask, feed) in enumerate(feeds):
        progress.at(done)
        evaluated, single_evaluated = (reference.evaluated(feed), single.evaluated(feed)) if running else (None, None)
        expected, single_outputs = reference.backward(feed), single.backward(feed)
        exact, nearby = reference.take_gradients(), partial(own_outputs_nearby, reference, single, feed, names)
        rough = {name: gradient.double() for name, gradient in single.take_gradients().items()}
        asked = (
            (False, evaluated or expected, single_evaluated or single_outputs, not running),
            (True, expected, single_outputs, True),
        )
        for one, backend in zip(found, backends, strict=True):
            for learning, wanted, own, as_learning in asked:
                seen, true = backend(feed, learning), dict(zip(names, wanted, strict=True))
                judged = off(seen, true, feed), off(arrays(own), true, feed), partial(nearby, as_learning)
                one.outputs["outputs"].judge(*judged)
            seen_gradients = backend.gradients(reference.parameters)
            backend.forget_gradients()
            if mask == "neither":
                neither = one.report["neither"]
                largest = [float(gradient.abs().max()) for gradient in seen_gradients.values()]
                assert seen[0] is not None
                neither["loss"] = worse(neither["loss"], float(np.abs(seen[0]).max()))
                neither["gradients"] = worse(neither["gradients"], float(np.max(largest)))
                continue
            shaken = reference.shaken([feed])
            one.gradients.judge(seen_gradients, exact, rough, shaken, partial(own_nearby, reference, single, [feed]))
    for one, backend in zip(found, backends, strict=True):
        one.outputs["running"].judge(
            {name: relative(backend.values([name])[name], value) for name, value in running.items()},
            {name: relative(single_running[name].numpy(), value) for name, value in running.items()},
            dict,
        )
    return found


def own_outputs_nearby(
    reference: Reference, single: Reference, feed: Feed, names: Sequence[str], learning: bool
) -> dict[str, float]:
    """The worst of `off` of torch's float32 at weights next to these."""
    worst = dict.fromkeys(names, 0.0)
    for _ in at_weights_nearby(reference, single):
        with torch.no_grad():
            expected, rough = reference(feed, learning), single(feed, learning)
        worst = joined(worst, off(arrays(rough), dict(zip(names, expected, strict=True)), feed))
    return worst


def arrays(outputs: Sequence[Tensor]) -> list[NDArray[Any]]:
    return [output.numpy() for output in outputs]


def compare_inference(graph: TrainingGraph, inference: Path, samples: Tensor) -> OutputCheck:
    import onnxruntime

    session = onnxruntime.InferenceSession(inference, session_options(), providers=["CPUExecutionProvider"])
    names, checked = ["logits", "embedding"], OutputCheck(["logits", "embedding"])
    reference, single = Reference(graph), Reference(graph, torch.float32)

    def own(batch: Tensor) -> dict[str, float]:
        expected = reference.inferred(batch)
        return {name: relative(value.numpy(), expected[name]) for name, value in single.inferred(batch).items()}

    def nearby(batch: Tensor) -> dict[str, float]:
        return reduce(joined, (own(batch) for _ in at_weights_nearby(reference, single)))

    for batch in (samples[:1], samples[:BATCH]):
        expected = reference.inferred(batch)
        seen = dict(zip(names, session.run(names, {"input": batch.numpy()}), strict=True))
        differences = {name: relative(value, expected[name]) for name, value in seen.items()}
        checked.judge(differences, own(batch), partial(nearby, batch))
    return checked


def off(seen: Sequence[NDArray[Any] | None], expected: Mapping[str, Tensor], feed: Feed) -> dict[str, float]:
    """`relative` of the training graph's outputs, by name and in its order; the loss relative to `loss_scale`. 0 for one that is
    left out."""
    return {
        name: 0.0 if value is None else relative(value, true, loss_scale(expected, feed) if name == LOSS else 1.0)
        for value, (name, true) in zip(seen, expected.items(), strict=True)
    }


def loss_scale(expected: Mapping[str, Tensor], feed: Feed) -> float:
    """Σ weight · max(1, |term|) over the terms that are not 0: α, β and γ · T² multiply what a term is off by."""
    ce, *probes, softmax = list(expected)[1:-2]  # between the loss, and logits and embedding
    tempered = feed.gamma * feed.temperature ** SOFTMAX_LOSSES[softmax].temperature_power
    weights = {ce: feed.alpha, **dict.fromkeys(probes, feed.beta), softmax: tempered}
    sizes = {name: float(expected[name].abs().max()) for name in weights}
    return sum(abs(float(weight)) * max(1.0, sizes[name]) for name, weight in weights.items() if sizes[name])


def relative(seen: NDArray[Any], expected: Tensor, scale: float = 1.0) -> float:
    """max |difference| over the largest value, or over `scale` where that is more. A shape other than the manifest will say
    counts as infinitely far."""
    if seen.shape != tuple(expected.shape):
        return float("inf")
    return float(np.abs(seen - expected.numpy()).max() / max(1.0, scale, float(expected.abs().max())))
