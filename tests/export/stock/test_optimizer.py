"""The step of stock graphs is torch.optim's, over flat vectors."""

import numpy as np
import onnxruntime
import pytest
import torch

from export.graph.flat import Layout
from export.graph.optimizer_spec import Group, Optimizer, Schedule, assign
from export.parity.backends.reference import TorchOptimizer
from export.stock.optimizer import FACTOR, moments_of, optimizer_graph

SHAPES = {"body.weight": (4, 3), "body.bias": (4,), "head.weight": (2, 4), "head.bias": (2,)}
WAYS = {
    "adamw": Optimizer(learning_rate=0.01),
    "adamw, clipped, cosine": Optimizer(
        learning_rate=0.01, clip_norm=0.5, betas=[0.8, 0.99], schedule=Schedule("cosine", 3, 15, 0.1)
    ),
    "adamw, groups": Optimizer(learning_rate=0.01, groups=[Group("*.bias", 2.0, 0.0), Group("head.*", 0.5)]),
    "adamw without a first moment": Optimizer(learning_rate=0.01, betas=[0.0, 0.9]),
    "sgd": Optimizer("sgd", learning_rate=0.1, weight_decay=0.0),
    "sgd, momentum, falling": Optimizer(
        "sgd", learning_rate=0.1, momentum=0.9, schedule=Schedule("step", 2, every=4, factor=0.5)
    ),
    "sgd, nesterov, groups": Optimizer(
        "sgd", learning_rate=0.1, momentum=0.9, nesterov=True, groups=[Group("*.weight", 0.1, 0.2)]
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_twenty_steps_are_torchs(way: str) -> None:
    spec = WAYS[way]
    groups = assign(spec, list(SHAPES))
    layout = Layout.of({name: SHAPES[name] for group in groups for name in group.names})
    model = optimizer_graph(spec, groups, layout)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(3)
    parameters = {
        name: torch.nn.Parameter(torch.randn(shape, generator=random, dtype=torch.float64))
        for name, shape in SHAPES.items()
    }
    state = {"parameters": layout.flat({name: value.detach().numpy() for name, value in parameters.items()})}
    state |= {f"moment{number + 1}": np.zeros(layout.size, np.float32) for number in range(moments_of(spec))}
    theirs = TorchOptimizer(spec, parameters)
    for step in range(1, 21):
        gradients = {
            name: 10.0 ** (step % 3 - 1) * torch.randn(shape, generator=random, dtype=torch.float64)
            for name, shape in SHAPES.items()
        }
        theirs.step(gradients, spec.learning_rate)
        scalars = {"learning_rate": np.full(1, spec.learning_rate, np.float32), "step": np.full(1, step, np.float32)}
        flat = layout.flat({name: value.numpy() for name, value in gradients.items()})
        names = [port.name for port in session.get_outputs()]
        found = session.run(names, {**state, **scalars, "gradient": flat})
        state = {name.removeprefix("new_"): value for name, value in zip(names, found, strict=True)}
        for name, value in layout.apart(state["parameters"]).items():
            np.testing.assert_allclose(value, parameters[name].detach().numpy(), rtol=1e-6, atol=3e-6)


def test_a_gradient_is_not_changed_by_clipping_that_it_does_not_need() -> None:
    spec = Optimizer("sgd", learning_rate=1.0, weight_decay=0.0, clip_norm=10.0)
    layout = Layout.of({"w": (3,)})
    model = optimizer_graph(spec, assign(spec, ["w"]), layout)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    gradient = np.array([1.0, -2.0, 2.0], np.float32)
    feeds = {"parameters": np.zeros(3, np.float32), "gradient": gradient}
    feeds |= {"learning_rate": np.ones(1, np.float32), "step": np.ones(1, np.float32)}
    assert np.array_equal(session.run(["new_parameters"], feeds)[0], -gradient)
    feeds["gradient"] = 10 * gradient  # a norm of 30
    np.testing.assert_allclose(session.run(["new_parameters"], feeds)[0], -gradient * 10 / 3, rtol=1e-6)


def test_the_schedules_factor_can_be_read() -> None:
    spec = Optimizer("sgd", schedule=Schedule("step", 2, every=3, factor=0.5))
    model = optimizer_graph(spec, assign(spec, ["w"]), Layout.of({"w": (1,)}))
    model.graph.output.extend([onnx_value(FACTOR)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    zeros = np.zeros(1, np.float32)
    for step in range(1, 12):
        feeds = {"parameters": zeros, "gradient": zeros, "learning_rate": zeros, "step": np.full(1, step, np.float32)}
        assert session.run([FACTOR], feeds)[0][0] == pytest.approx(spec.schedule.at(step - 1), rel=1e-6)


def onnx_value(name: str):  # type: ignore[no-untyped-def]
    import onnx

    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
