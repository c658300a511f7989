"""The int8 graph: a quarter of the weights' bytes, close to float32, counted honestly, and left out with a reason."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import load_file

from export.bundle.write import int8_variant
from export.graph.quantize import quantize
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.load import load_data
from mentor_mentee.data.views.view import View
from tests.export.conftest import Parts


def wide(path: Path) -> Path:
    """Two convolutions and a linear layer, 38K parameters, written node by node."""
    random = np.random.default_rng(0)
    shapes = {"a": (32, 1, 3, 3), "b": (64, 32, 3, 3), "c": (10, 2304)}
    weights = {
        name: (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["1"], ["2"]),
        helper.make_node("Conv", ["2", "b"], ["3"]),
        helper.make_node("Relu", ["3"], ["4"]),
        helper.make_node("Flatten", ["4"], ["5"]),
        helper.make_node("Gemm", ["5", "c"], ["logits"], transB=1),
    ]
    model = graph_of(nodes, ["batch", 1, 8, 8], ["batch", 10])
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    onnx.save(model, path)
    return path


def graph_of(nodes: list[onnx.NodeProto], given: list[int | str], made: list[int | str]) -> onnx.ModelProto:
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("input", given), ("logits", made))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def outputs(path: Path, x: torch.Tensor) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    made: NDArray[np.float32] = session.run(["logits"], {"input": x.numpy()})[0]
    return made


def test_it_is_a_quarter_of_the_bytes_and_within_a_few_steps_of_the_scale(tmp_path: Path) -> None:
    before, after = wide(tmp_path / "m.onnx"), tmp_path / "m.int8.onnx"
    x = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert quantize(before, after, x) is None
    weights = sum(onnx.numpy_helper.to_array(t).nbytes for t in onnx.load(before).graph.initializer)
    assert after.stat().st_size < weights / 4 + 15_000
    exact, rough = outputs(before, x), outputs(after, x)
    assert np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()
    assert np.abs(exact - rough).max() > 0  # it is another graph
    first = after.read_bytes()
    assert quantize(before, after, x) is None
    assert after.read_bytes() == first


def test_the_manifest_counts_its_hits_as_the_graph_makes_them(
    sealed_folder: Path, checkpoint: MenteeCheckpoint
) -> None:
    manifest = json.loads((sealed_folder / "manifest.json").read_bytes())
    variant = manifest["variants"]["int8"]
    assert variant["bytes"] == manifest["files"][variant["file"]]["bytes"]
    assert variant["calibration_samples"] == 60
    golden, view = load_file(sealed_folder / "golden.safetensors"), View.restored(manifest["preprocessing"])
    test = load_data(checkpoint.data, whole=True).test
    for name, images, labels in (
        ("golden", torch.from_numpy(golden["input"]), golden["labels"]),
        ("test", test.images, test.labels.numpy()),
    ):
        hits = (outputs(sealed_folder / variant["file"], view(images)).argmax(1) == labels).mean()
        assert variant[name] == {"accuracy": pytest.approx(float(hits)), "samples": len(labels)}


def test_a_graph_that_cannot_be_quantised_is_left_out_with_the_reason(parts: Parts, tmp_path: Path) -> None:
    node = helper.make_node("NoSuchOperator", ["input"], ["logits"])
    model = graph_of([node], ["batch", 1, 8, 8], ["batch", 1, 8, 8])
    onnx.save(model, tmp_path / "inference.onnx")
    variant = int8_variant(tmp_path / "inference.onnx", parts.prepared)
    assert variant.keys() == {"omitted"}
    assert "NoSuchOperator" in variant["omitted"]
    assert "\n" not in variant["omitted"]
    assert [path.name for path in tmp_path.iterdir()] == ["inference.onnx"]
