"""Proof that ONNX Runtime trains what torch would: made with every bundle, and the bundle is not made where it fails.

The reference is torch in float64 with the very same module. What is compared:

* every output of the training graph and of inference.onnx, on batches of 1 and of N;
* every parameter's gradient: ‖difference‖ / ‖gradient‖, a parameter whose gradient is below a thousandth of the largest
  being measured against that thousandth (its own is rounding);
* the parameters after 20 optimizer steps, α β γ T and the masks changing at each. With AdamW's shipped epsilon of 1e-8 a
  parameter whose gradient is rounding moves by the whole learning rate in the direction of its sign, in torch as well;
  so the bound is on a copy of the optimizer model that differs in nothing but an epsilon of 1e-3, at a rate of 0.01. The
  free run with the shipped epsilon and rate is recorded beside it, as is torch float32's own drift from float64.
"""

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.errors import UserError
from export.artifacts import silenced
from export.batch_norm import learning_mode, running_statistics, smallest_map
from export.graph import Port, TrainingGraph
from export.optimizer_spec import Optimizer as AdamW

STEPS = 20
OUTPUT_BOUND = 1e-5  # relative to the output's largest value, absolute where that is below 1
GRADIENT_BOUND = 1e-5
STEPS_BOUND = 1e-4
SAFE_EPSILON = 1e-3
SAFE_RATE = 0.01  # is fed, not stored; at a user's 1e-4 a missing weight decay would stay within the bound

Feed = list[Tensor]


@dataclass(frozen=True)
class Samples:
    """Real samples to compare on, in the training graph's spaces; N of each."""

    input: Tensor  # float32 [N, C, H, W], preprocessed
    mentor_logits_NK: Tensor
    mentor_activations: list[Tensor]  # in the order of the probes


def mixed_feeds(samples: Samples, count: int, batch: int, seed: int = 0) -> list[Feed]:
    """`count` batches with labelled, supervised, both and neither at random, and knobs that change from batch to batch.

    The labels are random ones: a mentee that is sure of the true class has the gradient p − 1 ≈ 0, which float32 knows to
    1e-5 at best, in torch as in any runtime, and that would be all the comparison saw.
    """
    random = torch.Generator().manual_seed(seed)
    feeds = []
    for _ in range(count):
        picked = torch.randint(len(samples.input), (batch,), generator=random)
        labelled = torch.randint(2, (batch,), generator=random).float()
        supervised = torch.randint(2, (batch,), generator=random).float()
        labels = torch.randint(samples.mentor_logits_NK.shape[1], (batch,), generator=random)
        labels = torch.where(labelled > 0, labels, -1)
        alpha, beta, gamma = (0.1 + 2 * torch.rand(1, generator=random) for _ in range(3))
        temperature = 1 + 4 * torch.rand(1, generator=random)
        activations = [activation[picked] for activation in samples.mentor_activations]
        head = [samples.input[picked], labels, labelled, samples.mentor_logits_NK[picked]]
        feeds.append([*head, *activations, supervised, alpha, beta, gamma, temperature])
    return feeds


def measure(
    graph: TrainingGraph, folder: Path, inference: Path, samples: Samples, outputs: Sequence[Port], optimizer: AdamW
) -> dict[str, Any]:
    """What `parity.json` holds. `folder` has the training artifacts that were made of `graph`."""
    fewest = 4 if smallest_map(graph.student.mentee, samples.input[:2]) == 1 else 1  # one value has no variance
    singles, batches = mixed_feeds(samples, 4, fewest), mixed_feeds(samples, STEPS, 8, seed=1)
    reference = double(graph)
    report: dict[str, Any] = {
        "reference": "torch float64",
        "bounds": {"outputs": OUTPUT_BOUND, "gradients": GRADIENT_BOUND, "parameters_after_steps": STEPS_BOUND},
    }
    report["outputs"] = compare_outputs(reference, folder, [*singles, *batches[:4]], outputs)
    report["inference"] = compare_inference(reference, inference, samples.input, outputs)
    report["gradients"] = compare_gradients(reference, folder, [*singles, *batches[:4]])
    safe = replace(optimizer, epsilon=SAFE_EPSILON, learning_rate=SAFE_RATE)
    expected = torch_steps(reference, batches, safe)
    report["parameters_after_steps"] = {
        "steps": STEPS,
        "epsilon": SAFE_EPSILON,
        "learning_rate": SAFE_RATE,
        "largest_difference": largest(runtime_steps(folder, batches, safe, only_epsilon=True), expected),
    }
    shipped = torch_steps(reference, batches, optimizer)
    report["free_run_with_shipped_epsilon"] = {
        "steps": STEPS,
        "epsilon": optimizer.epsilon,
        "largest_difference": largest(runtime_steps(folder, batches, optimizer), shipped),
        "torch_float32_differs_by": largest(torch_steps(copy.deepcopy(graph), batches, optimizer), shipped),
    }
    return report


def require_parity(report: dict[str, Any]) -> None:
    """Raises `UserError` naming what is out of bounds."""
    bounds = report["bounds"]
    seen = {
        **{f"output '{name}'": (value, bounds["outputs"]) for name, value in report["outputs"].items()},
        **{f"inference '{name}'": (value, bounds["outputs"]) for name, value in report["inference"].items()},
        **{f"gradient of '{name}'": (value, bounds["gradients"]) for name, value in report["gradients"].items()},
        "parameters after 20 steps": (
            report["parameters_after_steps"]["largest_difference"],
            bounds["parameters_after_steps"],
        ),
    }
    broken = [
        f"{what} by {value:.1e} (at most {bound:.0e})" for what, (value, bound) in seen.items() if not value <= bound
    ]
    if broken:
        raise UserError(
            f"the exported graph does not train as torch does; no bundle was made. It differs in {'; '.join(broken[:4])}"
            f"{f' and {len(broken) - 4} more' if len(broken) > 4 else ''}"
        )


def double(graph: TrainingGraph) -> TrainingGraph:
    return copy.deepcopy(graph).double().eval()


def as_double(feed: Feed) -> Feed:
    return [value.double() if value.is_floating_point() else value for value in feed]


def as_numpy(feed: Feed) -> list[NDArray[Any]]:
    return [value.numpy() for value in feed]


def compare_outputs(
    reference: TrainingGraph, folder: Path, feeds: Sequence[Feed], outputs: Sequence[Port]
) -> dict[str, float]:
    """Of the training graph and of the eval graph; a shape other than the manifest will say counts as infinitely far."""
    module, _ = runtime_module(folder)
    reference = copy.deepcopy(reference)  # running statistics move with every batch, in both
    worst = dict.fromkeys((port.name for port in outputs), 0.0)
    for feed in feeds:
        for learning in (False, True):
            learning_mode(reference) if learning else reference.eval()
            with torch.no_grad():
                expected = reference(*as_double(feed))
            module.train(learning)
            for port, value, seen in zip(outputs, expected, module(*as_numpy(feed)), strict=True):
                worst[port.name] = worse(worst[port.name], relative(seen, value))
        module.lazy_reset_grad()
    return worst


def worse(one: float, other: float) -> float:
    """The larger, and NaN where either is: `max(0.0, nan)` is 0.0, which would pass for agreement."""
    return float(np.maximum(one, other))


def compare_inference(
    reference: TrainingGraph, inference: Path, samples: Tensor, outputs: Sequence[Port]
) -> dict[str, float]:
    import onnxruntime

    session = onnxruntime.InferenceSession(inference, providers=["CPUExecutionProvider"])
    worst = {"logits": 0.0, "embedding": 0.0}
    for batch in (samples[:1], samples):
        with torch.no_grad():
            expected = reference.student(batch.double())
        logits, embedding = session.run(["logits", "embedding"], {"input": batch.numpy()})
        worst["logits"] = worse(worst["logits"], relative(logits, expected.logits))
        worst["embedding"] = worse(worst["embedding"], relative(embedding, expected.embedding))
    return worst


def relative(seen: NDArray[Any], expected: Tensor) -> float:
    if seen.shape != tuple(expected.shape):
        return float("inf")
    return float(np.abs(seen - expected.numpy()).max() / max(1.0, float(expected.abs().max())))


def compare_gradients(reference: TrainingGraph, folder: Path, feeds: Sequence[Feed]) -> dict[str, float]:
    reference = copy.deepcopy(reference)
    learning_mode(reference)
    names = trained(reference)
    worst = dict.fromkeys(names, 0.0)
    for feed in feeds:
        module, state = runtime_module(folder)
        module.train()
        module(*as_numpy(feed))
        reference.zero_grad()
        reference(*as_double(feed))[0].sum().backward()
        expected = {name: grad_or_zero(parameter) for name, parameter in names.items()}
        floor = 1e-3 * max(float(gradient.norm()) for gradient in expected.values()) + 1e-12
        for name, gradient in expected.items():
            seen = torch.from_numpy(np.array(state.parameters[name].grad, dtype=np.float64)).view_as(gradient)
            worst[name] = worse(worst[name], float((seen - gradient).norm()) / max(float(gradient.norm()), floor))
    return worst


def trained(graph: TrainingGraph) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in graph.student.mentee.named_parameters() if parameter.requires_grad}


def grad_or_zero(parameter: torch.nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def torch_steps(graph: TrainingGraph, feeds: Sequence[Feed], optimizer: AdamW) -> dict[str, NDArray[Any]]:
    graph = copy.deepcopy(graph)
    learning_mode(graph)
    parameters = trained(graph)
    adamw = torch.optim.AdamW(
        parameters.values(),
        lr=optimizer.learning_rate,
        betas=(optimizer.betas[0], optimizer.betas[1]),
        eps=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
    )
    in_its_dtype: Callable[[Feed], Feed] = as_double if next(graph.parameters()).dtype == torch.float64 else list
    for feed in feeds:
        adamw.zero_grad()
        graph(*in_its_dtype(feed))[0].sum().backward()
        adamw.step()
    running = {name: graph.student.mentee.get_buffer(name) for name in running_statistics(graph.student.mentee)}
    return {name: value.detach().numpy() for name, value in (parameters | running).items()}


def runtime_steps(
    folder: Path, feeds: Sequence[Feed], optimizer: AdamW, only_epsilon: bool = False
) -> dict[str, NDArray[Any]]:
    """The shipped optimizer model as it is, or with `only_epsilon` a copy in which nothing else is changed."""
    from onnxruntime.training.api import Optimizer

    module, state = runtime_module(folder)
    with tempfile.TemporaryDirectory() as scratch, silenced():
        path = folder / "optimizer_model.onnx"
        if only_epsilon:
            model = onnx.load(path)
            for attribute in (attribute for node in model.graph.node for attribute in node.attribute):
                if attribute.name == "epsilon":
                    attribute.f = optimizer.epsilon
            path = Path(scratch) / path.name
            onnx.save(model, path)
        stepper = Optimizer(str(path), module)
    stepper.set_learning_rate(optimizer.learning_rate)
    module.train()
    for feed in feeds:
        module(*as_numpy(feed))
        stepper.step()
        module.lazy_reset_grad()
    return {name: np.array(parameter.data) for name, parameter in state.parameters}


def largest(seen: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> float:
    return float(np.max([np.abs(seen[name].reshape(value.shape) - value).max() for name, value in expected.items()]))


def runtime_module(folder: Path) -> tuple[Any, Any]:
    from onnxruntime.training.api import CheckpointState, Module

    with silenced():
        state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
        module = Module(str(folder / "training_model.onnx"), state, str(folder / "eval_model.onnx"))
    return module, state
