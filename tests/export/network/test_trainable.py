"""Choice of what trains: it is what was named, and what is frozen costs the training graph nothing."""

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from export.graph.artifacts import write_artifacts
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, export_graph
from export.network.batch_norm import with_batch_norm
from export.network.trainable import choose_trainable, layers_as_run
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee

EXAMPLE = torch.zeros(2, 1, 8, 8)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))  # type: ignore[no-any-return]


class Net(nn.Module):
    """The head is registered first and runs last; a parameter of the root; an attention whose projection is no call."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.one = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.two = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))
        self.norm = nn.LayerNorm(8)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.two(torch.relu(self.one(x)))).mean((2, 3))
        return self.head(self.norm(y * self.scale))  # type: ignore[no-any-return]


def chosen(wanted: str | list[str], way: str = "affine_only") -> list[str]:
    network = with_batch_norm(Net(), way)
    names = choose_trainable(network, wanted, "head", EXAMPLE)
    assert names == [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    return names


AFFINES = {"one.1.weight", "one.1.bias", "two.1.weight", "two.1.bias"}
HEAD = {"head.weight", "head.bias"}
NORM = {"norm.weight", "norm.bias"}


@pytest.mark.parametrize(
    ("wanted", "way", "expected"),
    [
        ("head", "frozen", HEAD),
        ("head", "batch", HEAD),
        ("head", "affine_only", HEAD | AFFINES),
        ("last:1", "frozen", HEAD),
        ("last:2", "frozen", HEAD | {"two.0.weight", "two.0.bias"} | NORM),
        ("last:2", "batch", HEAD | {"two.0.weight", "two.0.bias", "two.1.weight", "two.1.bias"} | NORM),
        ("norm", "batch", AFFINES | NORM),
        ("norm", "frozen", NORM),
        ("bias", "frozen", {"head.bias", "one.0.bias", "two.0.bias", "norm.bias"}),
        ("bias", "batch", {"head.bias", "one.1.bias", "two.0.bias", "two.1.bias", "norm.bias"}),
        ("two.*", "frozen", {"two.0.weight", "two.0.bias"}),
        ("scale", "frozen", {"scale"}),
        (["head", "one.*"], "frozen", HEAD | {"one.0.weight", "one.0.bias"}),
    ],
)
def test_what_was_named_trains(wanted: str | list[str], way: str, expected: set[str]) -> None:
    assert set(chosen(wanted, way)) == expected


def test_all_is_everything_but_what_the_network_holds_itself() -> None:
    assert set(chosen("all", "batch")) == {name for name, _ in Net().named_parameters()}
    network = Net()
    network.one.requires_grad_(False)
    trained = choose_trainable(with_batch_norm(network, "affine_only"), "all", "head", EXAMPLE)
    assert not any(name.startswith("one") for name in trained)


def test_layers_are_counted_as_they_run_with_their_norms() -> None:
    assert layers_as_run(Net().eval(), EXAMPLE) == [
        ["scale"],
        ["one.0.weight", "one.1.weight", "one.1.bias"],
        ["two.0.weight", "two.0.bias", "two.1.weight", "two.1.bias", "norm.weight", "norm.bias"],
        ["head.weight", "head.bias"],
    ]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("headd", r"trainable=headd matches no parameter of the mentee; did you mean 'head'\?"),
        ("two", r"trainable=two matches no parameter of the mentee; did you mean 'two\.\*'\?"),
        ("head.wieght", r"did you mean 'head.weight'\?"),
        ("zzz*", r"trainable=zzz\* matches no parameter of the mentee; it has scale, head.weight"),
        ("last:5", r"trainable=last:5: the mentee has 4 layers with parameters; expected 1 to that"),
        (["head", "nothing.*"], r"trainable=nothing\.\* matches no parameter"),
    ],
)
def test_a_choice_that_matches_nothing_is_an_error(wanted: str | list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen(wanted)


def test_norm_where_all_were_folded_and_frozen_parameters_are_errors() -> None:
    folded = with_batch_norm(
        nn.Sequential(nn.Conv2d(1, 2, 8), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3)), "frozen"
    )
    with pytest.raises(UserError, match=r"trainable=norm: .* take batch_norm=affine_only or batch"):
        choose_trainable(folded, "norm", "3", EXAMPLE)
    folded[3].requires_grad_(False)  # type: ignore[index]
    with pytest.raises(UserError, match=r"trainable=head: the network holds all of 3.bias, 3.weight frozen"):
        choose_trainable(folded, "head", "3", EXAMPLE)
    with pytest.raises(UserError, match="every parameter of the mentee is frozen"):
        choose_trainable(folded.requires_grad_(False), "all", "3", EXAMPLE)


def test_below_the_lowest_trainable_layer_the_training_graph_computes_no_gradient(tmp_path: Path) -> None:
    """Counted in the artifacts: gradient nodes, gradient buffers, checkpoint; a frozen weight is a constant, as it was."""
    nodes, sizes = {}, {}
    for wanted in ("last:2", "head"):
        network = Plain().eval()
        names = choose_trainable(network, wanted, "head", EXAMPLE)
        graph = TrainingGraph(ProbedMentee(network, [], "head").eval())
        forward = export_graph(graph, input_ports((1, 8, 8), 3, []), output_ports(3, 8, []))
        folder = tmp_path / wanted.replace(":", "")
        folder.mkdir()
        write_artifacts(forward, names, Optimizer(), folder)
        training = onnx.load(folder / "training_model.onnx").graph
        nodes[wanted] = Counter(node.op_type for node in training.node)
        sizes[wanted] = (folder / "checkpoint").stat().st_size
        buffers = {port.name for port in training.input if port.name.endswith("_grad.accumulation.buffer")}
        assert buffers == {f"{name}_grad.accumulation.buffer" for name in names}
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in training.initializer}
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad and name in constants:
                assert (constants[name] == parameter.detach().numpy()).all()
    assert nodes["last:2"]["ConvGrad"] == 1
    assert nodes["head"]["ConvGrad"] == nodes["head"]["ReluGrad"] == 0
    assert sizes["last:2"] > sizes["head"]
