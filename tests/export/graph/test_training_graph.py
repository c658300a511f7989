"""The training graph holds the mentee's own parameters and the loss of the formula, with its knobs as inputs."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.graph.artifacts import silenced
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, cut_inference, export_graph
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import Adapter, Probe, ProbedMentee
from tests.export.conftest import Parts

Feed = dict[str, np.ndarray[Any, Any]]
SHAPES = {"input": (1, 8, 8), "mentor_logits": (10,), "mentor_early": (8, 8, 8), "mentor_late": (16, 4, 4)}


def feed(batch: int, seed: int = 0, **knobs: float) -> Feed:
    random = np.random.default_rng(seed)
    values: Feed = {name: random.normal(size=(batch, *shape)).astype(np.float32) for name, shape in SHAPES.items()}
    values["labels"] = random.integers(0, 10, batch)
    values["labelled"] = values["supervised"] = np.ones(batch, np.float32)
    defaults = {"alpha": 1.0, "beta": 1.0, "gamma": 1.0, "temperature": 1.0}
    return values | {name: np.array([value], np.float32) for name, value in (defaults | knobs).items()}


@pytest.fixture(scope="module")
def session(parts: Parts) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(parts.forward.SerializeToString(), providers=["CPUExecutionProvider"])


def outputs(session: onnxruntime.InferenceSession, values: Feed) -> dict[str, Any]:
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, values), strict=True))


def test_every_trainable_parameter_is_an_initializer_under_its_own_name_and_with_its_own_values(parts: Parts) -> None:
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in parts.forward.graph.initializer}
    parameters = dict(parts.prepared.network.named_parameters())
    assert set(parameters) == set(parts.prepared.trainable)
    assert set(parameters) >= {"features.0.0.weight", "features.1.1.bias", "head.weight"}
    for name, parameter in parameters.items():
        np.testing.assert_array_equal(stored[name], parameter.detach().numpy())


def test_inputs_and_outputs_are_the_ports_in_their_order(parts: Parts) -> None:
    graph, prepared = parts.forward.graph, parts.prepared
    for values, ports in ((graph.input, prepared.inputs), (graph.output, prepared.outputs)):
        assert [value.name for value in values] == [port.name for port in ports]
        for value, port in zip(values, ports, strict=True):
            shape = tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
            assert shape == port.shape, port.name
            assert onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name == port.dtype


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ((1, 0, 0), lambda o, t: o["ce"]),
        ((0, 1, 0), lambda o, t: o["rmse_early"] + o["rmse_late"]),
        ((0, 0, 1), lambda o, t: t * t * o["kl"]),
        ((0, 0, 0), lambda o, t: 0 * o["ce"]),
        ((0.3, 2, 5), lambda o, t: 0.3 * o["ce"] + 2 * (o["rmse_early"] + o["rmse_late"]) + 5 * t * t * o["kl"]),
    ],
)
def test_each_knob_is_an_input_of_its_own(
    session: onnxruntime.InferenceSession, knobs: tuple[float, ...], expected: Any
) -> None:
    alpha, beta, gamma = knobs
    found = outputs(session, feed(5, alpha=alpha, beta=beta, gamma=gamma, temperature=3.0))
    assert min(float(found[name][0]) for name in ("ce", "rmse_early", "rmse_late", "kl")) > 0.01
    np.testing.assert_allclose(found["loss"], expected(found, 3.0), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("batch", [1, 7])
def test_the_terms_are_torchs_own_at_any_batch(parts: Parts, session: onnxruntime.InferenceSession, batch: int) -> None:
    """Against torch's losses, not this project's; the mentee without its folding."""
    values = feed(batch, seed=batch, temperature=2.0)
    found = outputs(session, values)
    seen: dict[str, Tensor] = {}
    mentee = parts.prepared.checkpoint.network().double()
    for path in ("features.0", "features.1"):
        mentee.get_submodule(path).register_forward_hook(lambda _m, _i, out, path=path: seen.update({path: out}))
    mentee.get_submodule("head").register_forward_pre_hook(lambda _m, args: seen.update(embedding=args[0]))
    given = {name: torch.from_numpy(value) for name, value in values.items()}
    with torch.no_grad():
        logits = mentee(given["input"].double())
    mentor = given["mentor_logits"].double()
    expected = {
        "logits": logits,
        "embedding": seen["embedding"],
        "ce": F.cross_entropy(logits, given["labels"])[None],
        "rmse_early": F.mse_loss(seen["features.0"], given["mentor_early"].double()).sqrt()[None],
        "rmse_late": F.mse_loss(seen["features.1"], given["mentor_late"].double()).sqrt()[None],
        "kl": F.kl_div((logits / 2).log_softmax(1), (mentor / 2).softmax(1), reduction="batchmean")[None],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=2e-5, atol=2e-5, err_msg=name)


def test_no_trace_of_the_exporter_or_of_this_machine_is_left(parts: Parts) -> None:
    model = parts.forward
    assert model.ir_version <= 10
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [18]
    assert not model.metadata_props
    assert not model.graph.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    stored = model.SerializeToString()
    assert b"site-packages" not in stored
    assert b"/export/" not in stored
    assert b".py" not in stored
    onnx.checker.check_model(model, full_check=True)


def test_the_inference_graph_has_nothing_of_the_loss(parts: Parts) -> None:
    model = onnx.load(parts.folder / "inference.onnx")
    assert [value.name for value in model.graph.input] == ["input"]
    assert [value.name for value in model.graph.output] == ["logits", "embedding"]
    assert model.ir_version <= 10
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"LogSoftmax", "Softmax", "Exp", "Sqrt", "GatherElements", "BatchNormalization"}
    assert {tensor.name for tensor in model.graph.initializer} >= set(parts.prepared.trainable)
    assert len(model.graph.node) < len(parts.forward.graph.node) / 2


@pytest.mark.parametrize("batch", [1, 7])
def test_inference_is_the_mentees_own(parts: Parts, batch: int) -> None:
    session = onnxruntime.InferenceSession(parts.folder / "inference.onnx", providers=["CPUExecutionProvider"])
    samples = torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(batch))
    logits, embedding = session.run(["logits", "embedding"], {"input": samples.numpy()})
    mentee = parts.prepared.checkpoint.network()
    with torch.no_grad():
        np.testing.assert_allclose(logits, mentee(samples).numpy(), rtol=1e-5, atol=1e-5)
        by_head = torch.from_numpy(embedding) @ mentee.get_parameter("head.weight").T + mentee.get_parameter(
            "head.bias"
        )
    np.testing.assert_allclose(by_head.numpy(), logits, rtol=1e-5, atol=1e-5)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))  # type: ignore[no-any-return]


class Unused(Small):
    def __init__(self) -> None:
        super().__init__()
        self.forgotten = nn.Linear(2, 2)


class Deciding(Small):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1) * 2 if x.sum() > 0 else x.flatten(1))  # type: ignore[no-any-return]


def exported(network: nn.Module) -> onnx.ModelProto:
    graph = TrainingGraph(ProbedMentee(network.eval(), (), "head"))
    return export_graph(graph, input_ports((1, 2, 2), 3, ()), output_ports(3, 4, ()))


def test_a_parameter_that_would_silently_not_train_is_an_error_that_names_it() -> None:
    with pytest.raises(UserError, match=r"2 of the mentee's parameters .*forgotten\.bias, forgotten\.weight"):
        exported(Unused())
    frozen = Unused()
    frozen.forgotten.requires_grad_(False)
    assert {"head.weight", "head.bias"} <= {tensor.name for tensor in exported(frozen).graph.initializer}


def test_data_dependent_control_flow_is_one_line() -> None:
    said = r"^Deciding cannot be traced for export: .*, at test_training_graph.py:\d+ \(.*x.sum\(\) > 0.*\); its .*torch.where"
    with silenced(), pytest.raises(UserError, match=said) as error:
        exported(Deciding())
    assert "\n" not in str(error.value)


class Flattening(nn.Module):
    """Asks for the batch size in its forward, as torchvision's nets do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).view(x.size(0), -1))
        return logits


def test_a_net_that_asks_for_the_batch_size_leaves_an_inference_graph_that_stands_alone() -> None:
    adapter = Adapter((4, 6, 6), (4, 6, 6), (4, 6, 6))
    probed = ProbedMentee(Flattening(), [Probe("early", "unused", "body.1", adapter)], "head").eval()
    inputs = input_ports((1, 8, 8), 10, probed.probes)
    outputs = output_ports(10, 4, probed.probes)
    inference = cut_inference(export_graph(TrainingGraph(probed), inputs, outputs))
    session = onnxruntime.InferenceSession(inference.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        x = torch.randn(batch, 1, 8, 8)
        logits, embedding = session.run(["logits", "embedding"], {"input": x.numpy()})
        expected = probed(x)
        torch.testing.assert_close(torch.from_numpy(logits), expected.logits.detach())
        torch.testing.assert_close(torch.from_numpy(embedding), expected.embedding.detach())
