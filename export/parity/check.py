"""Proof that ONNX Runtime trains what torch would: made with every bundle, and the bundle is not made where it fails.

The reference is torch in float64 with the very same module. What is compared:

* every output of the training graph, the eval graph and inference.onnx, on batches of 1 and of N, with samples that are
  labelled, supervised, both and neither, under knobs that change from batch to batch;
* every parameter's gradient on the same, to the nearest of torch in float64, in float32 (`to_nearer` in gradient_check.py says
  why) and, near a kink, in float64 at weights next to these; its distance to float64 and that of torch's own float32 stand
  beside it, and twice the last is allowed where it is more than the bound;
* with nothing to learn from, that loss and gradients are exactly 0;
* where a gradient is 0 or next to it on all of that, as behind a residual scale of 0, the same again with such scales at random
  values on both sides (awake.py); where it stays 0 since nothing depends on the parameter (inert.py), that this is so;
* 20 steps of the optimizer, teacher-forced (optimizer_steps.py); two free runs are recorded beside it, and judge nothing.

What the comparison is silent about, a gradient that stays 0 or one that torch's own float32 does not know, is `inconclusive`
(verdict.py).
"""

from collections.abc import Mapping, Sequence
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
from export.parity.backends import Backend, Reference, one_thread, session_options, without_chance
from export.parity.double import in_double
from export.parity.feeds import MASKS, Feed, Samples, draw
from export.parity.gradient_check import GradientCheck, worse
from export.parity.inert import inert
from export.parity.optimizer_steps import forced_steps, free_run
from export.parity.verdict import GRADIENT_BOUND, OUTPUT_BOUND, STEPS_BOUND, inconclusive
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
    together, fewest = together_at_least(graph), fewest_samples(graph, samples)
    with one_thread(), without_chance(graph, folder) as still:
        report, gradients = without_steps(graph, still, inference, samples, outputs)
        batch = BATCH if together > 1 else max(fewest, 2)
        report["steps"], in_steps = forced_steps(graph, still, samples, optimizer, batch, together)
        gradients.join(in_steps)
        report |= stated(gradients)
        report["free_run"] = free_run(graph, still, samples, optimizer, batch)
    return report


def measure_gradients(
    graph: TrainingGraph, folder: Path, inference: Path, samples: Samples, outputs: Sequence[Port]
) -> dict[str, Any]:
    """`measure` without a step of the optimizer."""
    with one_thread(), without_chance(graph, folder) as still:
        report, gradients = without_steps(graph, still, inference, samples, outputs)
        return report | stated(gradients)


def without_steps(
    graph: TrainingGraph, folder: Path, inference: Path, samples: Samples, outputs: Sequence[Port]
) -> tuple[dict[str, Any], GradientCheck]:
    together, fewest = together_at_least(graph), fewest_samples(graph, samples)
    report: dict[str, Any] = {
        "reference": "torch float64; for `gradients` the nearest of that, torch float32, and float64 at weights next to these",
        "bounds": {"outputs": OUTPUT_BOUND, "gradients": GRADIENT_BOUND, "steps": STEPS_BOUND},
        "batches": [fewest, BATCH],
        "masks": list(MASKS),
    }
    feeds = [*draw(samples, MASKS, fewest), *draw(samples, MASKS, BATCH, 1, together)]
    compared, gradients = compare(graph, folder, list(zip(MASKS * 2, feeds, strict=True)), outputs)
    report |= compared
    if gradients.asleep:
        awake = list(zip(AWAKE, draw(samples, AWAKE, BATCH, 4, together), strict=True))
        gradients.join(compare_awake(graph, folder, awake, outputs, report))
    if gradients.unproved:
        reference = Reference(graph)
        wake(None, reference)
        gradients.inert = inert(reference, list(gradients.unproved), awake[0][1])
    if gradients.inert:  # the runtime must not depend on them either
        gradients.join(compare_awake(graph, folder, awake[:1], outputs, report, gradients.inert))
    report["inference"] = compare_inference(graph, inference, samples.input)
    return report, gradients


def stated(gradients: GradientCheck) -> dict[str, Any]:
    unproved = inconclusive(gradients.nearer, gradients.torch_float32, gradients.unproved)
    return {
        "gradients": gradients.nearer,
        "gradients_to_float64": gradients.float64,
        "torch_float32": {"gradients": gradients.torch_float32},
        "verdict": "inconclusive" if unproved else "proved",
        "inconclusive": unproved,
        "inert": gradients.inert,
    }


def fewest_samples(graph: TrainingGraph, samples: Samples) -> int:
    """A batch that brings BatchNorm one value a channel has no variance."""
    return 4 if smallest_map(graph.student.mentee, samples.input[:2]) == 1 else 1


def together_at_least(graph: TrainingGraph) -> int:
    """DIST's correlation over two samples is 1 or -1 whatever they are: its gradient is rounding, divided by a small variance."""
    return CORRELATED if graph.loss.softmax == "dist" else 1


def compare_awake(
    graph: TrainingGraph,
    folder: Path,
    feeds: Sequence[tuple[str, Feed]],
    outputs: Sequence[Port],
    report: dict[str, Any],
    also: Sequence[str] = (),
) -> GradientCheck:
    """`compare` with random values in the place of parameters that are next to 0 and of `also`; adds to `report`'s outputs."""
    compared, gradients = compare(graph, folder, feeds, outputs, also)
    for name, value in compared["outputs"].items():
        report["outputs"][name] = worse(report["outputs"][name], value)
    return gradients


def compare(
    graph: TrainingGraph,
    folder: Path,
    feeds: Sequence[tuple[str, Feed]],
    outputs: Sequence[Port],
    awake: Sequence[str] | None = None,
) -> tuple[dict[str, Any], GradientCheck]:
    """Outputs of the training and the eval graph, gradients, and the running statistics after all of `feeds`, each with the
    name of its mask. `awake`: with random values in the place of these parameters and of all that are next to 0."""
    reference, single, backend = Reference(graph), Reference(graph, torch.float32), Backend(folder)
    if awake is not None:
        wake(backend, reference, single, also=awake)
    running = reference.running()
    worst = dict.fromkeys((port.name for port in outputs), 0.0)
    gradients = GradientCheck(list(reference.parameters))
    neither = {"loss": 0.0, "gradients": 0.0}
    progress = Progress("comparing gradients with torch's: batch", len(feeds))
    for done, (mask, feed) in enumerate(feeds):
        progress.at(done)
        evaluated = reference.evaluated(feed) if running else None
        seen_evaluated = backend(feed, learning=False)
        expected = reference.backward(feed)
        seen = backend(feed, learning=True)
        for found, wanted in ((seen_evaluated, evaluated or expected), (seen, expected)):
            for name, value in off(found, dict(zip(worst, wanted, strict=True)), feed).items():
                worst[name] = worse(worst[name], value)
        seen_gradients, exact = backend.gradients(reference.parameters), reference.take_gradients()
        backend.forget_gradients()
        single.backward(feed)
        rough = {name: gradient.double() for name, gradient in single.take_gradients().items()}
        if mask == "neither":
            largest = [float(gradient.abs().max()) for gradient in seen_gradients.values()]
            neither["loss"] = worse(neither["loss"], float(np.abs(seen[0]).max()))
            neither["gradients"] = worse(neither["gradients"], float(np.max(largest)))
            continue
        gradients.judge(seen_gradients, exact, rough, reference.shaken([feed]))
    running_off = {name: relative(backend.values([name])[name], value) for name, value in running.items()}
    return {"outputs": worst, "neither": neither, "running": running_off}, gradients


def compare_inference(graph: TrainingGraph, inference: Path, samples: Tensor) -> dict[str, float]:
    import onnxruntime

    session = onnxruntime.InferenceSession(inference, session_options(), providers=["CPUExecutionProvider"])
    probed = Reference(graph).graph.eval().student
    worst = {"logits": 0.0, "embedding": 0.0}
    for batch in (samples[:1], samples[:BATCH]):
        with torch.no_grad(), in_double():
            expected = probed(batch.double())
        logits, embedding = session.run(["logits", "embedding"], {"input": batch.numpy()})
        worst["logits"] = worse(worst["logits"], relative(logits, expected.logits))
        worst["embedding"] = worse(worst["embedding"], relative(embedding, expected.embedding))
    return worst


def off(seen: Sequence[NDArray[Any]], expected: Mapping[str, Tensor], feed: Feed) -> dict[str, float]:
    """`relative` of the training graph's outputs, by name and in its order; the loss relative to `loss_scale`."""
    return {
        name: relative(value, true, loss_scale(expected, feed) if name == LOSS else 1.0)
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
