"""A trial in a child process: what dies, hangs or fails there is one line that names the operator."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from export.graph.artifacts import FILES, write_artifacts
from export.graph.optimizer_spec import Group, Optimizer
from export.graph.ports import Port, input_ports, output_ports, random_feeds
from export.graph.training_graph import Forward, TrainingGraph, cut_inference, forward_graph, origin_of, trained
from export.trial.blame import first, named_in
from export.trial.parent import name_of
from export.trial.run import require_trains
from export.trial.task import Task, ports_of
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee

SHAPE = (1, 8, 8)
Ports = Sequence[Port]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, 3, padding=1))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def traced() -> tuple[Forward, Ports, Ports, list[str]]:
    """Shared, so never change it."""
    graph = TrainingGraph(ProbedMentee(Net(), (), "head").eval())
    inputs, outputs = input_ports(SHAPE, 3, ()), output_ports(3, 4, ())
    return forward_graph(graph, inputs, outputs), inputs, outputs, trained(graph)


Traced = tuple[Forward, Ports, Ports, list[str]]


def changed(traced: Traced, change: Callable[[onnx.GraphProto], None]) -> Forward:
    model = onnx.ModelProto()
    model.CopyFrom(traced[0].model)
    change(model.graph)
    return Forward(model, traced[0].origins)


def try_out(forward: Forward, traced: Traced, folder: Path, patience: float = 60) -> None:
    _, inputs, outputs, names = traced
    (folder / "ort-training").mkdir()
    require_trains(forward, inputs, outputs, names, [], Optimizer(), folder / "ort-training", patience=patience)


def after_tanh(kind: str, *more: str, **attributes: object) -> Callable[[onnx.GraphProto], None]:
    """Puts a node behind the network's Tanh."""

    def change(graph: onnx.GraphProto) -> None:
        (place,) = (place for place, node in enumerate(graph.node) if node.op_type == "Tanh")
        tanh = graph.node[place]
        out = tanh.output[0]
        tanh.output[0] = "plain"
        graph.node.insert(place + 1, helper.make_node(kind, ["plain", *more], [out], f"{tanh.name}/put", **attributes))

    return change


def test_a_signal_is_one_line_with_operator_module_and_batch(traced: Traced, tmp_path: Path) -> None:
    """ONNX Runtime's AveragePoolGrad divides by sizes that it takes from a graph whose batch is free: a real SIGFPE."""
    pool = after_tanh("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    with pytest.raises(UserError) as told:
        try_out(changed(traced, pool), traced, tmp_path)
    said = str(told.value)
    assert said.startswith("body.1: Tanh (Tanh, test_trial.py:")
    assert "ONNX Runtime Training ends in SIGFPE in a step of 1 sample; " in said
    assert "\n" not in said
    assert os.listdir(tmp_path) == ["ort-training"]
    assert os.listdir(tmp_path / "ort-training") == []


def test_an_endless_loop_is_one_line(traced: Traced, tmp_path: Path) -> None:
    def endless(graph: onnx.GraphProto) -> None:
        """A Loop over 2^62 rounds, whose result the shape of an input is multiplied by 1 with."""
        body = helper.make_graph(
            [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Identity", ["carried"], ["carries"])],
            "body",
            [
                helper.make_tensor_value_info("round", TensorProto.INT64, []),
                helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                helper.make_tensor_value_info("carried", TensorProto.FLOAT, None),
            ],
            [
                helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
                helper.make_tensor_value_info("carries", TensorProto.FLOAT, None),
            ],
        )
        graph.initializer.extend(
            [numpy_helper.from_array(np.array(2**62), "rounds"), numpy_helper.from_array(np.array(True), "true")]
        )
        for node in graph.node:
            node.input[:] = ["looped" if name == "input" else name for name in node.input]
        graph.node.insert(0, helper.make_node("Loop", ["rounds", "true", "input"], ["looped"], "endless", body=body))

    with pytest.raises(
        UserError, match=r"before or in body\.0: Conv .*ends in no sign of life for 2 s in a step of 1 sample"
    ):
        try_out(changed(traced, endless), traced, tmp_path, patience=2)


def test_more_memory_than_the_machine_has_is_one_line(traced: Traced, tmp_path: Path) -> None:
    """2^45 numbers that are added to an input."""

    def huge(graph: onnx.GraphProto) -> None:
        graph.initializer.append(numpy_helper.from_array(np.array([2**45]), "many"))
        nodes = [
            helper.make_node("ConstantOfShape", ["many"], ["zeros"], "huge"),
            helper.make_node("ReduceSum", ["zeros"], ["zero"], "added", keepdims=0),
            helper.make_node("Add", ["input", "zero"], ["more"], "more"),
        ]
        for node in graph.node:
            node.input[:] = ["more" if name == "input" else name for name in node.input]
        for node in reversed(nodes):
            graph.node.insert(0, node)

    with pytest.raises(UserError, match=r"ONNX Runtime Training (fails|ends in)") as told:
        try_out(changed(traced, huge), traced, tmp_path)
    assert "\n" not in str(told.value)


def test_a_batch_that_is_fixed_in_the_graph_is_one_line(traced: Traced, tmp_path: Path) -> None:
    def fixed(graph: onnx.GraphProto) -> None:
        graph.initializer.append(numpy_helper.from_array(np.array([2, 4, 8, 8]), "two"))
        after_tanh("Reshape", "two")(graph)

    with pytest.raises(UserError, match=r"body\.1: Tanh .*fails \(.*in a step of 1 sample"):
        try_out(changed(traced, fixed), traced, tmp_path)


def test_what_trains_leaves_the_artifacts_that_the_runtime_makes_in_this_process(
    traced: Traced, tmp_path: Path
) -> None:
    forward, inputs, outputs, names = traced
    for way in ("child", "here"):
        (tmp_path / way / "ort-training").mkdir(parents=True)
    onnx.save(cut_inference(forward.model), tmp_path / "child" / "inference.onnx")
    grouped = Optimizer(groups=[Group("*.bias", 0.5, 0.0)])
    require_trains(forward, inputs, outputs, names, [], grouped, tmp_path / "child" / "ort-training")
    write_artifacts(forward.model, names, grouped, tmp_path / "here" / "ort-training")
    assert sorted(os.listdir(tmp_path / "child")) == ["inference.onnx", "ort-training"]
    for file in FILES:
        one, other = ((tmp_path / way / "ort-training" / file).read_bytes() for way in ("child", "here"))
        assert one == other, file


def test_the_child_knows_no_torch(tmp_path: Path, traced: Traced) -> None:
    """It would take two seconds and 300 MB in every export."""
    forward, inputs, outputs, names = traced
    task = Task(names, [], Optimizer(), ports_of(inputs), ports_of(outputs), [1])
    task.write(tmp_path, forward.model, random_feeds(inputs, 1))
    assert Task.read(tmp_path) == task
    code = (
        "import sys; from pathlib import Path; from export.trial import child; child.bare_training_package(); "
        "child.work(Path(sys.argv[1]), lambda **report: None); "
        "print(sys.modules['torch'], [name for name in sys.modules if name.startswith('torch.')])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "None []\n"


def test_the_first_place_that_fails_is_found_in_few_trials() -> None:
    for count in range(1, 40):
        for culprit in range(count):
            tried: list[int] = []

            def fails(place: int, culprit: int = culprit, tried: list[int] = tried) -> bool:
                tried.append(place)
                return place >= culprit

            assert first(count, fails) == culprit
            assert len(tried) <= 2 + count.bit_length()
    assert first(5, lambda _: False) is None
    assert first(0, lambda _: True) is None


def test_a_node_of_a_rewrite_is_traced_to_what_it_was_written_for() -> None:
    origins = {"node_Pool_1": "pool: AveragePool", "node_Pool_12": "last: AveragePool"}
    assert origin_of("node_Pool_12/AveragePool/3", origins) == "last: AveragePool"
    assert origin_of("node_Conv_1", origins) is None
    assert named_in("while running Conv node. Name:'node_Pool_12/AveragePool/3'", origins) == "last: AveragePool"
    assert named_in("nothing known", origins) is None


def test_a_signal_has_its_name() -> None:
    assert name_of(-8) == "SIGFPE"
    assert name_of(-9).startswith("SIGKILL, as the system ends what takes all memory")
    assert name_of(-64) == "SIGRTMAX"
    assert name_of(3) == "exit code 3"
