"""Proof that ONNX Runtime trains what torch would: made with every bundle, and the bundle is not made where it fails.

The reference is torch in float64 with the very same module. What is compared:

* every output of the training graph, the eval graph and inference.onnx, on batches of 1 and of N, with samples that are
  labelled, supervised, both and neither, under knobs that change from batch to batch;
* every parameter's gradient on the same, to the nearer of torch in float64 and in float32 (`to_nearer` in gradient_check.py says
  why); its distance to float64 and that of torch's own float32 stand beside it, and twice the last is allowed where it is
  more than the bound;
* with nothing to learn from, that loss and gradients are exactly 0;
* 20 steps of the optimizer, teacher-forced (optimizer_steps.py); two free runs are recorded beside it, and judge nothing.
"""

from collections.abc import Sequence
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
from export.parity.backends import Backend, Reference, one_thread, session_options, without_chance
from export.parity.feeds import MASKS, Feed, Samples, draw
from export.parity.gradient_check import GradientCheck, worse
from export.parity.optimizer_steps import forced_steps, free_run
from mentor_mentee.errors import UserError

BATCH = 8
CORRELATED = 4  # samples that a correlation over samples is taken of
OUTPUT_BOUND = 1e-5  # relative to the output's largest value, absolute where that is below 1
GRADIENT_BOUND = 1e-5
GRADIENT_LIMIT = 1e-3  # whatever float32 does
STEPS_BOUND = 1e-4


def measure(
    graph: TrainingGraph,
    folder: Path,
    inference: Path,
    samples: Samples,
    outputs: Sequence[Port],
    optimizer: Optimizer,
) -> dict[str, Any]:
    """Measures what `parity.json` holds. `folder` has the training artifacts that were made of `graph`."""
    # a batch that brings BatchNorm one value a channel has no variance
    fewest = 4 if smallest_map(graph.student.mentee, samples.input[:2]) == 1 else 1
    report: dict[str, Any] = {
        "reference": "torch float64; for `gradients` the nearer of that and torch float32",
        "bounds": {"outputs": OUTPUT_BOUND, "gradients": GRADIENT_BOUND, "steps": STEPS_BOUND},
        "batches": [fewest, BATCH],
        "masks": list(MASKS),
    }
    # DIST's correlation over two samples is 1 or -1 whatever they are: its gradient is rounding, divided by a small variance
    correlated = graph.loss.softmax == "dist"
    together, batch = (CORRELATED, BATCH) if correlated else (1, max(fewest, 2))
    feeds = [*draw(samples, MASKS, fewest), *draw(samples, MASKS, BATCH, 1, together)]
    with one_thread(), without_chance(graph, folder) as still:
        compared, gradients = compare(graph, still, feeds, outputs)
        report |= compared
        report["inference"] = compare_inference(graph, inference, samples.input)
        report["steps"], in_steps = forced_steps(graph, still, samples, optimizer, batch, together)
        gradients.join(in_steps)
        report["gradients"] = gradients.nearer
        report["gradients_to_float64"] = gradients.float64
        report["torch_float32"] = {"gradients": gradients.torch_float32}
        report["free_run"] = free_run(graph, still, samples, optimizer, batch)
    return report


def require_parity(report: dict[str, Any]) -> None:
    """Raises `UserError` naming what is out of bounds."""
    bounds = report["bounds"]
    own = report["torch_float32"]["gradients"]
    allowed = {name: min(max(bounds["gradients"], 2 * value), GRADIENT_LIMIT) for name, value in own.items()}
    seen = {
        **{f"output '{name}'": (value, bounds["outputs"]) for name, value in report["outputs"].items()},
        **{f"inference '{name}'": (value, bounds["outputs"]) for name, value in report["inference"].items()},
        **{f"gradient of '{name}'": (value, allowed[name]) for name, value in report["gradients"].items()},
        **{f"running statistic '{name}'": (value, bounds["outputs"]) for name, value in report["running"].items()},
        **{f"{name} with nothing to learn from": (value, 0.0) for name, value in report["neither"].items()},
        **{f"a step of '{name}'": (value, bounds["steps"]) for name, value in report["steps"]["parameters"].items()},
    }
    broken = [
        f"{what} by {value:.1e} (at most {bound:.0e})" for what, (value, bound) in seen.items() if not value <= bound
    ]
    if broken:
        raise UserError(
            f"the exported graph does not train as torch does; no bundle was made. It differs in {'; '.join(broken[:4])}"
            f"{f' and {len(broken) - 4} more' if len(broken) > 4 else ''}"
        )


def compare(
    graph: TrainingGraph, folder: Path, feeds: Sequence[Feed], outputs: Sequence[Port]
) -> tuple[dict[str, Any], GradientCheck]:
    """Outputs of the training and the eval graph, gradients, and the running statistics after all of `feeds`."""
    reference, single, backend = Reference(graph), Reference(graph, torch.float32), Backend(folder)
    running = reference.running()
    worst = dict.fromkeys((port.name for port in outputs), 0.0)
    gradients = GradientCheck(list(reference.parameters))
    neither = {"loss": 0.0, "gradients": 0.0}
    for mask, feed in zip(MASKS * 2, feeds, strict=True):
        evaluated = reference.evaluated(feed) if running else None
        seen_evaluated = backend(feed, learning=False)
        expected = reference.backward(feed)
        seen = backend(feed, learning=True)
        for found, wanted in ((seen_evaluated, evaluated or expected), (seen, expected)):
            for port, value, true in zip(outputs, found, wanted, strict=True):
                worst[port.name] = worse(worst[port.name], relative(value, true))
        seen_gradients, exact = backend.gradients(reference.parameters), reference.take_gradients()
        backend.forget_gradients()
        single.backward(feed)
        rough = {name: gradient.double() for name, gradient in single.take_gradients().items()}
        if mask == "neither":
            largest = [float(gradient.abs().max()) for gradient in seen_gradients.values()]
            neither["loss"] = worse(neither["loss"], float(np.abs(seen[0]).max()))
            neither["gradients"] = worse(neither["gradients"], float(np.max(largest)))
            continue
        gradients.judge(seen_gradients, exact, rough)
    running_off = {name: relative(backend.values([name])[name], value) for name, value in running.items()}
    return {"outputs": worst, "neither": neither, "running": running_off}, gradients


def compare_inference(graph: TrainingGraph, inference: Path, samples: Tensor) -> dict[str, float]:
    import onnxruntime

    session = onnxruntime.InferenceSession(inference, session_options(), providers=["CPUExecutionProvider"])
    probed = Reference(graph).graph.eval().student
    worst = {"logits": 0.0, "embedding": 0.0}
    for batch in (samples[:1], samples[:BATCH]):
        with torch.no_grad():
            expected = probed(batch.double())
        logits, embedding = session.run(["logits", "embedding"], {"input": batch.numpy()})
        worst["logits"] = worse(worst["logits"], relative(logits, expected.logits))
        worst["embedding"] = worse(worst["embedding"], relative(embedding, expected.embedding))
    return worst


def relative(seen: NDArray[Any], expected: Tensor) -> float:
    """A shape other than the manifest will say counts as infinitely far."""
    if seen.shape != tuple(expected.shape):
        return float("inf")
    return float(np.abs(seen - expected.numpy()).max() / max(1.0, float(expected.abs().max())))
