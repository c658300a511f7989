"""MaxPool's gradient where a window has no number: within its own memory, against the runtime's own and against torch."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch.nn import functional as F

from export.graph.gradients.pools import bounded_pool_gradients

Floats = NDArray[np.float32]
WIDE = (1, 1, 2, 1 << 24)  # of it, place −1 of both axes lies 64 MB before the map


def pooled(shape: Sequence[int], bounded: bool) -> onnx.ModelProto:
    """X, dY -> dX, by MaxPool over 2 × 2 places and its gradient, which takes its sizes from the graph."""
    sizes = {"X": [*shape], "dY": [None] * 4, "dX": [*shape]}
    x, dy, dx = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sizes.items())
    nodes = [
        helper.make_node("MaxPool", ["X"], ["Y", "places"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("MaxPoolGrad", ["dY", "places"], ["dX"]),
    ]
    graph = helper.make_graph(nodes, "pool", [x, dy], [dx])
    if bounded:
        assert bounded_pool_gradients(graph) == 1
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def gradient(model: onnx.ModelProto, x: Floats, dy: Floats) -> Floats:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"X": x, "dY": dy})
    return np.asarray(found)


@pytest.mark.parametrize("scale", [1.0, 1e38])
def test_numbers_keep_torchs_gradient(scale: float) -> None:
    random = np.random.default_rng(0)
    x, dy = random.normal(size=(3, 2, 4, 6)), random.normal(size=(3, 2, 2, 3)).astype(np.float32)
    x = (x * scale).clip(-3e38, 3e38).astype(np.float32)
    given = torch.from_numpy(x).requires_grad_()
    F.max_pool2d(given, 2).backward(torch.from_numpy(dy))
    assert given.grad is not None
    np.testing.assert_array_equal(gradient(pooled(x.shape, True), x, dy), given.grad.numpy())


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.finfo(np.float32).min])
def test_a_window_without_a_number_gives_its_gradient_to_the_first_place(value: float) -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    x[:, :, :2, :2] = value
    expected = np.zeros((4, 4), np.float32)
    expected[0, 0], expected[1, 3], expected[3, 1], expected[3, 3] = 1, 2, 3, 4
    dy = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(gradient(pooled(x.shape, True), x, dy)[0, 0], expected)


@pytest.mark.parametrize("bounded", [False, True])
def test_the_process_lives(bounded: bool, tmp_path: Path) -> None:
    onnx.save(pooled(WIDE, bounded), tmp_path / "pool.onnx")
    code = (
        "import sys, numpy as np, onnxruntime; session = onnxruntime.InferenceSession(sys.argv[1], "
        f"providers=['CPUExecutionProvider']); x = np.full({WIDE}, np.nan, np.float32); "
        "session.run(None, {'X': x, 'dY': np.ones((1, 1, 1, x.shape[3] // 2), np.float32)})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "pool.onnx")], capture_output=True, check=False)
    assert (done.returncode == 0) == bounded, done.stderr
