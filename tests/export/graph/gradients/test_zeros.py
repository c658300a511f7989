"""Where a zero of a ReLU or a clamp meets a slope without end, the graph has the gradient that torch has."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.graph import artifacts
from export.graph.gradients.zeros import met_by_zeros
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, export_graph, trained
from export.parity.backends.reference import Reference
from export.parity.backends.training import Backend
from export.parity.feeds import Samples, draw
from export.preflight import look
from mentor_mentee.objective.probes import ProbedMentee

SHAPE = (1, 6, 6)
Function = Callable[[Tensor], Tensor]
SELECTED: dict[str, Function] = {
    "relu().sqrt()": lambda x: x.relu().sqrt(),
    "relu().pow(0.5)": lambda x: x.relu().pow(0.5),
    "relu ** 0.3": lambda x: F.relu(x) ** 0.3,
    "lp_pool2d of relu": lambda x: F.lp_pool2d(x.relu(), 2, 2),
    "lp_pool2d of relu, 3": lambda x: F.lp_pool2d(x.relu(), 3, 2),
    "clamp": lambda x: x.clamp(min=0).sqrt(),
    "relu6": lambda x: F.relu6(x).sqrt(),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())).sqrt(),
    "hardsigmoid": lambda x: F.hardsigmoid(5 * x).sqrt(),
    "hardtanh": lambda x: F.hardtanh(x, 0.0, 1.0).sqrt(),
    "std of relu": lambda x: (x.relu() - 1).relu().std(1),
    "maximum of relu": lambda x: F.max_pool2d(x.relu(), 2).sqrt(),
    "log of relu": lambda x: torch.where(x.relu() > 0, x.relu().log(), 0.0),
    "norm of relu": lambda x: x.relu().norm(dim=1),
    "3-norm of relu": lambda x: torch.linalg.vector_norm(x.relu(), 3, dim=1),
    "distance of relus": lambda x: (x[:, :2].relu() - x[:, 2:].relu()).norm(dim=1),
    "normalised relu": lambda x: F.normalize(x.relu(), dim=1),
    "norm of zeros": lambda x: (x * 0).norm(dim=1) + x[:, 0],
    "root of |x|": lambda x: x.abs().sqrt(),
}


class Places(nn.Module):
    """Each function behind a convolution of its own, before one head."""

    def __init__(self, *functions: Function) -> None:
        super().__init__()
        self.functions = functions
        self.places = nn.ModuleList(nn.Conv2d(1, 4, 3, padding=1) for _ in functions)
        self.head = nn.Linear(self.put_together(torch.zeros(2, *SHAPE)).shape[1], 3)

    def put_together(self, x: Tensor) -> Tensor:
        made = zip(self.functions, self.places, strict=True)
        return torch.cat([function(place(x)).flatten(1) for function, place in made], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.put_together(x))  # type: ignore[no-any-return]


def artifacts_of(network: nn.Module, folder: Path) -> TrainingGraph:
    graph = TrainingGraph(ProbedMentee(network, (), "head").eval())
    width = int(network.head.in_features)  # type: ignore[union-attr, arg-type]
    with artifacts.silenced():
        forward = export_graph(graph, input_ports(SHAPE, 3, ()), output_ports(3, width, ()))
    artifacts.write_artifacts(forward, trained(graph), artifacts.Optimizer(), folder)
    return graph


@pytest.mark.parametrize("selecting", [True, False])
def test_gradients_are_finite_where_torchs_are(
    selecting: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the selection those of some are NaN: the test sees what it is there for."""
    if not selecting:
        monkeypatch.setattr(artifacts, "met_by_zeros", lambda graph: set())
    torch.manual_seed(0)
    graph = artifacts_of(Places(*SELECTED.values()), tmp_path)
    random = torch.Generator().manual_seed(0)
    samples = Samples(torch.randn(8, *SHAPE, generator=random), torch.randn(8, 3, generator=random), {})
    (feed,) = draw(samples, ["mixed"], 8)
    backend, reference = Backend(tmp_path), Reference(graph)
    backend(feed, learning=True)
    reference.backward(feed)
    seen = backend.gradients(reference.parameters)
    for name, gradient in reference.take_gradients().items():
        assert torch.isfinite(gradient).all(), name
    kinds = list(SELECTED)
    lost = {kinds[int(name.split(".")[1])] for name, value in seen.items() if not torch.isfinite(value).all()}
    assert (not lost) if selecting else lost >= {"relu().sqrt()", "lp_pool2d of relu", "clamp", "maximum"}, lost


@pytest.mark.parametrize("start", range(0, len(SELECTED), 5))
def test_preflight_proves_them(start: int) -> None:
    torch.manual_seed(0)
    found = look(Places(*list(SELECTED.values())[start : start + 5]), SHAPE, backend="ort-training")
    assert found.trains, found.why()


def test_a_network_without_such_a_slope_keeps_the_fast_gradient(tmp_path: Path) -> None:
    """Norms add an ε before their root, a normalisation divides by no less than its ε, and BatchNorm's β moves the zeros."""
    ordinary: list[Function] = [
        torch.relu,
        lambda x: F.layer_norm(x.relu(), (6,)),
        lambda x: F.normalize(x.relu(), dim=1),
        lambda x: (x.relu().mean(1) + 1e-6).sqrt(),
        lambda x: F.relu6(x) / 6,
        lambda x: x.relu() ** 2,
        lambda x: (x.relu() + 1).log(),
    ]
    torch.manual_seed(0)
    artifacts_of(Places(*ordinary), tmp_path)
    graph = onnx.load(tmp_path / "training_model.onnx").graph
    assert met_by_zeros(graph) == set()
    assert not any(node.op_type == "ReluGrad" for node in graph.node)


LEFT: dict[str, Function] = {
    "a product with 0": lambda x: F.softshrink(x).abs().sqrt(),
    "an average, which is a product with a matrix that has zeros": lambda x: F.avg_pool2d(x.relu(), 2).sqrt(),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_is_named_with_its_line_and_a_remedy(name: str) -> None:
    torch.manual_seed(0)
    said = look(Places(LEFT[name]), SHAPE, backend="ort-training").why() or ""
    assert said.startswith("the network itself: Sqrt (Places, test_zeros.py:"), said
    assert "has a gradient that is not finite in the graph where torch's is" in said
    assert "add a small number inside" in said
    assert "\n" not in said


def test_a_gradient_that_is_nan_in_torch_itself_is_said_to_be_so() -> None:
    torch.manual_seed(0)
    said = look(Places(lambda x: torch.where(x > 0, x.sqrt(), 0.0)), SHAPE, backend="ort-training").why() or ""
    assert said.startswith("Places has gradients that are not finite in torch itself, as of a root"), said
    assert "clamp(min=1e-6)" in said
    assert "\n" not in said
