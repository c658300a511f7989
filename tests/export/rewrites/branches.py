"""One training graph of many branches: each rewritten node on a parameter of its own, its gradient from the runtime."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.graph.artifacts import silenced
from export.rewrites.rewrite import Finding, rewrite

Array = NDArray[Any]


@dataclass(frozen=True)
class Branch:
    """`node` makes y of x; every other input of it is in `constants` or, trained as x is, in `weights`."""

    node: onnx.NodeProto
    x: Array  # [1, C, *space]
    constants: dict[str, Array]
    weights: dict[str, Array]
    y: tuple[int, ...]  # shape of y without the batch, as torch has it


@dataclass(frozen=True)
class Answer:
    y: Array
    gradients: dict[str, Array]  # of Σ y² by x and by each weight


def answers(branches: Sequence[Branch], folder: Path, batch: int = 2) -> tuple[list[Answer], list[Finding]]:
    """Runs all of them after their rewrites, in one graph with a free batch; x comes `batch` times."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from onnxruntime.training import artifacts
    from onnxruntime.training.api import CheckpointState, Module

    model, trained = joined(branches)
    findings = rewrite(model, trained)
    model.graph.ClearField("value_info")
    with silenced():
        artifacts.generate_artifacts(model, requires_grad=trained, frozen_params=[], artifact_directory=str(folder))
        state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
        module: Any = Module(str(folder / "training_model.onnx"), state, str(folder / "eval_model.onnx"))
    module.train()
    _loss, *outputs = module(np.ones(batch, np.float32))
    made = []
    for i, (branch, y) in enumerate(zip(branches, outputs, strict=True)):
        gradients = {
            name: np.array(state.parameters[f"{name}{i}"].grad).reshape(value.shape)
            for name, value in {"x": branch.x, **branch.weights}.items()
        }
        made.append(Answer(np.array(y), gradients))
    return made, findings


def joined(branches: Sequence[Branch]) -> tuple[onnx.ModelProto, list[str]]:
    nodes, initializers, known, trained = [], [], [], list[str]()
    squares = []
    for i, branch in enumerate(branches):
        shape = [1] * branch.x.ndim
        initializers.append(numpy_helper.from_array(np.array([-1, *shape[1:]], np.int64), f"shape{i}"))
        for name, value in {**branch.constants, **branch.weights, "x": branch.x}.items():
            initializers.append(numpy_helper.from_array(value.astype(value.dtype), f"{name}{i}"))
        trained += [f"x{i}", *(f"{name}{i}" for name in branch.weights)]
        node = onnx.NodeProto()
        node.CopyFrom(branch.node)
        node.name = f"node{i}"
        node.input[:] = [f"given{i}", *(f"{name}{i}" if name else "" for name in branch.node.input[1:])]
        node.output[:] = [f"y{i}"]
        nodes += [
            helper.make_node("Reshape", ["input", f"shape{i}"], [f"ones{i}"]),
            helper.make_node("Mul", [f"ones{i}", f"x{i}"], [f"given{i}"]),
            node,
            helper.make_node("Mul", [f"y{i}", f"y{i}"], [f"square{i}"]),
            helper.make_node("ReduceSum", [f"square{i}"], [f"sum{i}"], keepdims=0),
        ]
        squares.append(f"sum{i}")
        known.append(helper.make_tensor_value_info(f"y{i}", onnx.TensorProto.FLOAT, ["batch", *branch.y]))
        known.append(helper.make_tensor_value_info(f"given{i}", onnx.TensorProto.FLOAT, ["batch", *branch.x.shape[1:]]))
    total = squares[0]
    for i, one in enumerate(squares[1:]):
        nodes.append(helper.make_node("Add", [total, one], [f"total{i}"]))
        total = f"total{i}"
    initializers.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
    nodes.append(helper.make_node("Reshape", [total, "one"], ["loss"]))
    outputs = [helper.make_tensor_value_info("loss", onnx.TensorProto.FLOAT, [1]), *known[::2]]
    given = [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch"])]
    graph = helper.make_graph(nodes, "branches", given, outputs, initializers, value_info=known[1::2])
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), trained
