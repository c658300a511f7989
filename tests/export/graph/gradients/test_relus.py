"""ReLU's gradient without a branch, against the runtime's own ReluGrad and against torch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import nn

from export.graph import artifacts
from export.graph.gradients.relus import branchless_relu_gradients
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, export_graph
from export.network.fold import freeze_batch_norm
from export.parity.backends.reference import Reference
from export.parity.backends.training import Backend
from export.parity.feeds import Samples, draw
from mentee.networks import InvertedResidualCNN, PlainCNN
from mentor_mentee.objective.probes import ProbedMentee

Floats = NDArray[np.float32]
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: PlainCNN(1, 4, widths=(4, 6)),
    "relu6": lambda: InvertedResidualCNN(1, 4, widths=(4, 6), blocks=1),
}


def relu_gradient(gradient: Floats, y: Floats, rewritten: bool) -> Floats:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("dY", "Y", "dX")]
    node = helper.make_node("ReluGrad", ["dY", "Y"], ["dX"], domain="com.microsoft")
    graph = helper.make_graph([node], "one", values[:2], values[2:])
    if rewritten:
        assert branchless_relu_gradients(graph) == 1
        assert not any(left.domain == "com.microsoft" for left in graph.node)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"dY": gradient, "Y": y})
    return np.asarray(found)


def test_every_normal_activation_passes_its_gradient_whole_and_zero_passes_none() -> None:
    random = np.random.default_rng(0)
    exponents = np.exp2(np.arange(-127, 128, dtype=np.float64))
    limits = np.finfo(np.float32)
    special = [0.0, -0.0, float(limits.tiny), float(limits.max), np.inf, 1.0, 6.0]
    y = np.concatenate([special, exponents, np.maximum(random.standard_normal(777), 0)]).astype(np.float32)
    gradient = (random.standard_normal(len(y)) * np.exp2(random.integers(-100, 100, len(y)))).astype(np.float32)
    seen = relu_gradient(gradient, y, rewritten=True)
    np.testing.assert_array_equal(seen, relu_gradient(gradient, y, rewritten=False))
    np.testing.assert_array_equal(seen, np.where(y > 0, gradient, 0))


def test_the_smallest_denormals_pass_a_part_and_never_more_than_all() -> None:
    y = np.exp2(np.arange(-149, -127, dtype=np.float64)).astype(np.float32)
    seen = relu_gradient(np.ones_like(y), y, rewritten=True)
    assert np.all((seen >= 0) & (seen < 1))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_graph_has_the_gradients_it_had(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = freeze_batch_norm(NETWORKS[name]())
    x = torch.randn(12, 1, 8, 8)
    x[:4] = 0  # with the biases of 0 that BatchNorm left, ReLU is then given exact zeros
    graph = TrainingGraph(ProbedMentee(network, (), "head").eval())
    with torch.no_grad():
        width = graph.student(x).embedding.shape[1]
    with artifacts.silenced():
        forward = export_graph(graph, input_ports((1, 8, 8), 4, ()), output_ports(4, width, ()))
    feeds = draw(Samples(x, torch.randn(12, 4), {}), ["mixed", "labelled"], 12)
    names = [key for key, _ in network.named_parameters()]
    seen = {}
    for way in ("rewritten", "as generated"):
        folder = tmp_path / way
        folder.mkdir()
        if way == "as generated":
            monkeypatch.setattr(artifacts, "branchless_relu_gradients", lambda graph, but: 0)
        artifacts.write_artifacts(forward, names, Optimizer(), folder)
        operators = {node.op_type for node in onnx.load(folder / "training_model.onnx").graph.node}
        assert ("ReluGrad" in operators) == (way == "as generated")
        backend, reference = Backend(folder), Reference(graph)
        for feed in feeds:
            backend(feed, learning=True)
            reference.backward(feed)
        seen[way] = backend.gradients(reference.parameters)
    expected = reference.take_gradients()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    assert scale > 1e-3
    for key, gradient in expected.items():
        assert torch.equal(seen["rewritten"][key], seen["as generated"][key]), key
        torch.testing.assert_close(seen["rewritten"][key], gradient, rtol=0, atol=1e-6 * scale)
