"""The proof looks behind a scale of 0, and where it is silent it says so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from export.graph.artifacts import write_artifacts
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, cut_inference, export_graph, trained
from export.parity.check import measure_gradients
from export.parity.feeds import Samples
from export.parity.gradient_check import ASLEEP
from export.parity.verdict import GRADIENT_BOUND, in_words, inconclusive, require_conclusive, require_parity
from export.preflight import look
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee

SHAPE = (1, 6, 6)


class Residual(nn.Module):
    """A branch that begins switched off, as LayerScale and a last γ of 0 do."""

    def __init__(self, scale: float, frozen: bool = False) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.gate = nn.Parameter(torch.full((4, 1, 1), scale), not frozen)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head((y + self.gate * torch.tanh(self.branch(y))).mean((2, 3)))  # type: ignore[no-any-return]


def report(network: nn.Module, folder: Path, other: nn.Module | None = None) -> dict[str, Any]:
    """The parity report of `network` against the graphs that were made of `other`."""
    made = {}
    for name, one in (("reference", network), ("graph", other or network)):
        made[name] = TrainingGraph(ProbedMentee(one, (), "head").eval())
    outputs = output_ports(3, 4, ())
    forward = export_graph(made["graph"], input_ports(SHAPE, 3, ()), outputs)
    onnx.save(cut_inference(forward), folder / "inference.onnx")
    write_artifacts(forward, trained(made["graph"]), Optimizer(), folder)
    random = torch.Generator().manual_seed(0)
    samples = Samples(torch.randn(8, *SHAPE, generator=random), torch.randn(8, 3, generator=random), {})
    return measure_gradients(made["reference"], folder, folder / "inference.onnx", samples, outputs)


@pytest.mark.parametrize("scale", [0.0, 1e-6])
def test_a_wrong_branch_behind_a_scale_of_nothing_is_caught(scale: float, tmp_path: Path) -> None:
    """At that scale its outputs and the gradients of all else are right to the last bit or next to it."""
    torch.manual_seed(0)
    right, wrong = Residual(scale), Residual(scale)
    wrong.load_state_dict(right.state_dict())
    with torch.no_grad():
        wrong.branch.weight[0, 0] += 1e-3
    sound = report(right, tmp_path)
    require_parity(sound)
    assert (sound["verdict"], sound["inconclusive"]) == ("proved", {})
    assert max(sound["gradients"].values()) <= GRADIENT_BOUND
    with pytest.raises(UserError, match=r"output 'logits' by"):
        require_parity(report(right, tmp_path, wrong))


def test_a_gradient_that_stays_0_makes_the_verdict_inconclusive(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = report(Residual(0.0, frozen=True), tmp_path)
    require_parity(found)
    assert found["verdict"] == "inconclusive"
    assert set(found["inconclusive"]) == {"branch.weight", "branch.bias"}
    assert in_words(found["inconclusive"]).startswith(
        "inconclusive for 2 parameters (branch.weight, branch.bias: its gradient is 0 in every batch that was compared)"
    )
    with pytest.raises(UserError, match=r"no bundle was made: .* inconclusive=keep"):
        require_conclusive(found)
    said = look(Residual(0.0, frozen=True), SHAPE, backend="ort-training")
    assert said.trains
    assert "inconclusive for 2 parameters" in said.lines()[-1]


class Centred(nn.Module):
    """A bias before its own mean is taken away: nothing depends on it, and none of its values shows that it is there."""

    def __init__(self, leak: float = 0.0) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3)
        self.bias, self.leak = nn.Parameter(torch.ones(4, 1, 1)), leak

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.stem(x)) + self.bias
        y = torch.tanh(y - y.mean((2, 3), keepdim=True)) + self.leak * (self.bias - 1).square()  # no slope at 1
        return self.head(y.mean((2, 3)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """The bias of the keys adds the same to each of a row's scores, which softmax takes away again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3)
        self.query, self.key, self.value = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        t = self.stem(x).flatten(2).transpose(1, 2)
        scores = self.query(t) @ self.key(t).transpose(1, 2)
        return self.head((t + scores.softmax(2) @ self.value(t)).mean(1))  # type: ignore[no-any-return]


class Dead(nn.Module):
    """A layer whose ReLU is off for every sample, though other values would wake it."""

    def __init__(self, trained: bool) -> None:
        super().__init__()
        self.stem, self.dead, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        nn.init.constant_(self.dead.bias, -100.0)
        self.dead.bias.requires_grad_(trained)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return self.head((y + torch.relu(self.dead(y))).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("make", "inert"), [(Centred, ["bias"]), (Attention, ["key.bias"])])
def test_a_parameter_that_nothing_depends_on_is_proved(
    make: Callable[[], nn.Module], inert: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    found = report(make(), tmp_path)
    require_parity(found)
    assert (found["verdict"], found["inconclusive"], found["inert"]) == ("proved", {}, inert)


@pytest.mark.parametrize("trained", [True, False])
def test_a_layer_that_is_off_everywhere_is_not_taken_for_one_that_nothing_depends_on(
    trained: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    found = report(Dead(trained), tmp_path)
    assert found["inert"] == []
    assert set(found["inconclusive"]) == {"dead.weight", *(["dead.bias"] if trained else [])}


def test_a_graph_that_depends_on_what_torch_does_not_is_caught(tmp_path: Path) -> None:
    torch.manual_seed(0)
    right, wrong = Centred(), Centred(leak=1e-2)
    wrong.load_state_dict(right.state_dict())
    with pytest.raises(UserError, match=r"output '\w+' by"):
        require_parity(report(right, tmp_path, wrong))


class Remembering(nn.Module):
    """Keeps in eval mode what it computes of a weight, until its mode is set: as LeViT its attention biases."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)
        self.table = nn.Parameter(torch.randn(6))
        self.kept: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> "Remembering":
        self.kept = {}
        return super().train(mode)

    def looked_up(self) -> Tensor:
        rows = torch.tensor([5, 1, 1, 0])
        if self.training:
            return self.table[rows]
        if "table" not in self.kept:
            self.kept["table"] = self.table[rows]
        return self.kept["table"]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.stem(x)).mean((2, 3)) * self.looked_up())  # type: ignore[no-any-return]


def test_a_network_that_keeps_what_it_computed_of_its_weights_is_proved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = report(Remembering(), tmp_path)
    require_parity(found)
    assert found["verdict"] == "proved"
    assert look(Remembering(), SHAPE, backend="ort-training").verdict() == "it will export; nothing needs a rewrite"


def test_what_torchs_own_float32_does_not_know_is_inconclusive_and_a_difference_beyond_it_is_none() -> None:
    assert inconclusive({"a": 9e-4, "b": 2e-3}, {"a": 5e-3, "b": 1.5e-3}, {}) == {
        "b": "torch's own float32 differs from float64 by 1.5e-03"
    }
    assert ASLEEP < GRADIENT_BOUND


@pytest.mark.parametrize(("seen", "own", "passes"), [(2e-3, 1.5e-3, True), (2e-3, 1e-4, False), (4e-3, 1.5e-3, False)])
def test_only_torchs_own_error_widens_a_bound(bundle_folder: Path, seen: float, own: float, passes: bool) -> None:
    found = json.loads((bundle_folder / "parity.json").read_text())
    assert found["verdict"] == "proved"
    found["gradients"]["head.weight"], found["torch_float32"]["gradients"]["head.weight"] = seen, own
    if passes:
        require_parity(found)
        return
    with pytest.raises(UserError, match=r"gradient of 'head\.weight' by"):
        require_parity(found)
