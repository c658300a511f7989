"""ONNX Runtime Training's side of the proof, on the artifacts as they are shipped."""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.graph.artifacts import silenced
from export.graph.optimizer_spec import Optimizer
from export.graph.training_graph import TrainingGraph
from export.graph.weights import fill_nominal
from export.network.dropout import LearningDropout, drop_nothing_in
from export.parity.feeds import Feed

logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # looks for CUDA when onnxruntime imports it


def session_options() -> Any:
    """Options of an ONNX Runtime session on one thread, for the same reason."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


class Backend:
    """ONNX Runtime's side: training, eval and, after `open_optimizer`, optimizer model of a folder, on its checkpoint."""

    def __init__(self, folder: Path) -> None:
        from onnxruntime.training.api import CheckpointState, Module

        self.folder = folder
        with silenced():
            self.state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
            paths = (str(folder / "training_model.onnx"), self.state, str(folder / "eval_model.onnx"))
            self.module: Any = Module(*paths, session_options=session_options())
        fill_nominal(self.module, folder)
        self.shapes: dict[str, tuple[int, ...]] = {}

    def __call__(self, feed: Feed, learning: bool) -> list[NDArray[Any]]:
        self.module.train(learning)
        outputs: list[NDArray[Any]] = self.module(*(value.numpy() for value in feed.flat()))
        return outputs

    def forget_gradients(self) -> None:
        self.module.lazy_reset_grad()

    def values(self, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        return {name: np.array(self.state.parameters[name].data) for name in names}

    def gradients(self, like: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Gradients in float64 and in the shapes of `like`: a parameter in a group has leading axes more in the artifacts."""
        found = {}
        for name, value in like.items():
            gradient = torch.from_numpy(np.array(self.state.parameters[name].grad, np.float64))
            found[name] = gradient if value is None else gradient.view_as(value)
        return found

    def set(self, name: str, value: NDArray[np.float32]) -> None:
        """A parameter in a group has leading axes more in the artifacts."""
        if name not in self.shapes:
            self.shapes[name] = self.state.parameters[name].data.shape
        self.state.parameters[name].data = value.reshape(self.shapes[name])

    def open_optimizer(self, spec: Optimizer, after: int = 0, later: int = 0) -> None:
        """The step after `after` steps is taken for `later` further on."""
        from onnxruntime.training import api

        self.rate_scale = spec.rate_scale
        path = self.folder / "optimizer_model.onnx"
        with silenced(), tempfile.TemporaryDirectory() as scratch:
            if later:
                path = leaping(path, Path(scratch) / "leaping.onnx", after, later)
            self.optimizer: Any = api.Optimizer(str(path), self.module)

    def step(self, fed_rate: float) -> None:
        """`fed_rate` times the graph's `rate_scale` is the learning rate."""
        self.optimizer.set_learning_rate(fed_rate)
        self.optimizer.step()
        self.forget_gradients()


@contextmanager
def without_chance(graph: TrainingGraph, folder: Path) -> Iterator[Path]:
    """`folder`, or where the mentee has Dropout a copy whose training model draws none: masks cannot be compared. Stock
    graphs are told to by their seed."""
    drops = any(isinstance(module, LearningDropout) for module in graph.modules())
    if not drops or not (folder / "training_model.onnx").exists():
        yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        still = Path(shutil.copytree(folder, Path(scratch) / "still"))
        drop_nothing_in(folder / "training_model.onnx", still / "training_model.onnx")
        yield still


def leaping(path: Path, target: Path, after: int, later: int) -> Path:
    """Writes a copy of an optimizer model that takes a step after `after` of them for `later` further on."""
    model = onnx.load(path)
    rename(model.graph, "step", "leapt_step")
    for name, value in (("after", after), ("later", later)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), f"leap.{name}"))
    nodes = [
        onnx.helper.make_node("Greater", ["step", "leap.after"], ["leap.on"]),
        onnx.helper.make_node("Add", ["step", "leap.later"], ["leap.step"]),
        onnx.helper.make_node("Where", ["leap.on", "leap.step", "step"], ["leapt_step"]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    onnx.save(model, target)
    return target


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Renames what nodes read, in branches as well."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                rename(attribute.g, old, new)
