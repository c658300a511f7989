"""Weights are stored once: a runtime finds them where inference.onnx points, and a nominal checkpoint learns the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mentee_device import Bundle, Learner, Samples
from mentee_device.bundle.samples import preprocess
from onnx import TensorProto, helper

from export.bundle.write import export_bundle
from export.graph.weights import align_weights, share_weights
from export.network.fold import freeze_batch_norm
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from tests.device.sealing import reseal


@pytest.fixture(params=["bundle_folder", "sealed_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def external(path: Path) -> dict[str, dict[str, str]]:
    model = onnx.load(path, load_external_data=False)
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    }


def test_the_large_weights_lie_once_in_the_bundle_and_any_runtime_finds_them(
    folder: Path, checkpoint: MenteeCheckpoint
) -> None:
    """Against torch's mentee: onnx itself follows the pointers, and so does ONNX Runtime."""
    network = freeze_batch_norm(checkpoint.network())
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    large = {name for name, value in weights.items() if value.nbytes >= 1024}
    assert external(folder / "inference.onnx").keys() == large != set()
    onnx.checker.check_model(folder / "inference.onnx")
    for tensor in onnx.load(folder / "inference.onnx").graph.initializer:
        if tensor.name in weights:
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), weights[tensor.name])
    stored = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    for name in large:
        assert sum(data.count(weights[name].tobytes()) for data in stored) == 1
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(folder / "inference.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        np.testing.assert_allclose(session.run(["logits"], {"input": x.numpy()})[0], network(x).numpy(), atol=1e-5)


def test_the_nominal_checkpoint_is_below_a_kilobyte_and_parameters_bin_is_float32_and_nothing_else(
    sealed_folder: Path,
) -> None:
    manifest = json.loads((sealed_folder / "manifest.json").read_bytes())
    files, count = manifest["files"], manifest["parameters"]["count"]
    assert files[manifest["checkpoint"]["file"]]["bytes"] < 1000
    assert files[manifest["checkpoint"]["parameters"]]["bytes"] == 4 * count


def learned(folder: Path) -> tuple[bytes, list[dict[str, float]], Any]:
    random = np.random.default_rng(0)
    owner = Samples(random.integers(0, 256, (12, 1, 8, 8), np.uint8), random.integers(0, 10, 12))
    with Bundle.open(folder) as bundle, Learner(bundle) as learner:
        first = learner.predict(owner.input)
        terms = [learner.learn_batch(owner.take(np.arange(4) + k), bundle.supervision()) for k in range(6)]
        again = learner.parameters()
        learner.reset()
        np.testing.assert_array_equal(learner.predict(owner.input).logits, first.logits)
        return b"".join(again[name].tobytes() for name in sorted(again)), terms, first.logits


def test_learning_from_a_nominal_checkpoint_is_bit_for_bit_that_from_a_full_one(
    bundle_folder: Path, sealed_folder: Path
) -> None:
    full, nominal = learned(bundle_folder), learned(sealed_folder)
    assert full[0] == nominal[0]
    assert full[1] == nominal[1]
    np.testing.assert_array_equal(full[2], nominal[2])


@pytest.fixture(scope="module")
def head_only(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = ExportSettings(supervision_per_class=6, golden_per_class=4, trainable="head", backend="ort-training")
    return export_bundle(checkpoint, tmp_path_factory.mktemp("head") / "bundle", settings).path


def test_frozen_weights_lie_once_in_the_bundle_and_the_training_graph_finds_them(
    head_only: Path, checkpoint: MenteeCheckpoint
) -> None:
    network = freeze_batch_norm(checkpoint.network())
    weights = {name: value.detach().numpy().tobytes() for name, value in network.named_parameters()}
    large = {name for name, value in weights.items() if len(value) >= 1024}
    frozen = {name for name in large if not name.startswith(checkpoint.head)}
    pointers = external(head_only / "ort-training" / "training_model.onnx")
    assert pointers.keys() == frozen != set()
    assert external(head_only / "inference.onnx").keys() == large
    assert not external(head_only / "ort-training" / "eval_model.onnx")  # the device writes inference graphs from it
    assert all(int(pointer["offset"]) % 4 == 0 for pointer in pointers.values())
    stored = [file.read_bytes() for file in head_only.rglob("*") if file.is_file()]
    for name in large:
        assert sum(data.count(weights[name]) for data in stored) == 1


def test_learning_from_them_is_bit_for_bit_that_from_constants_in_the_training_graph(
    head_only: Path, tmp_path: Path
) -> None:
    inline = Path(shutil.copytree(head_only, tmp_path / "inline"))
    training = inline / "ort-training" / "training_model.onnx"
    onnx.save(onnx.load(training), training)
    assert not external(training)
    reseal(inline)
    one, other = learned(head_only), learned(inline)
    assert one[:2] == other[:2]
    np.testing.assert_array_equal(one[2], other[2])


def test_what_the_device_exports_stands_alone(head_only: Path, tmp_path: Path) -> None:
    input = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), np.uint8)
    with Bundle.open(head_only) as bundle, Learner(bundle) as learner:
        golden = bundle.golden()
        learner.learn_batch(golden.take(np.arange(8)))
        learner.export_inference(tmp_path / "mine.onnx")
        seen = learner.predict(input)
        preprocessed = preprocess(input, bundle.manifest)
    assert not external(tmp_path / "mine.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "mine.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["logits"], {"input": preprocessed})[0], seen.logits, atol=1e-5)


@pytest.mark.parametrize("shift", range(4))
def test_large_tensors_are_moved_to_where_a_float32_may_lie(tmp_path: Path, shift: int) -> None:
    random = np.random.default_rng(shift)
    sizes = {"a" * (1 + shift): 256, "small": 3, "bc": 512, "def": 300}
    values = {name: random.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    graph = helper.make_graph(
        [helper.make_node("Concat", list(values), ["y"], axis=0)],
        "g",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [sum(sizes.values())])],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    align_weights(tmp_path / "m.onnx")
    stored = (tmp_path / "m.onnx").read_bytes()
    for name, size in sizes.items():
        assert size < 256 or stored.index(values[name].tobytes()) % 4 == 0
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {})[0], np.concatenate(list(values.values())))


def test_what_the_weights_file_lacks_or_is_small_or_not_aligned_stays_in_the_graph(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = {
        name: random.standard_normal(size).astype(np.float32)
        for name, size in zip("abcd", (512, 512, 512, 8), strict=True)
    }
    (tmp_path / "sub").mkdir()
    a, _, c, d = (values[name].tobytes() for name in "abcd")
    (tmp_path / "sub" / "weights").write_bytes(b"head" + a + d + b"x" + c)  # c at an odd offset, b not at all
    total = helper.make_node("Concat", list("abcd"), ["y"], axis=0)
    graph = helper.make_graph(
        [total],
        "g",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1544])],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    share_weights(tmp_path / "m.onnx", tmp_path / "sub" / "weights")
    assert external(tmp_path / "m.onnx") == {"a": {"location": "sub/weights", "offset": "4", "length": "2048"}}
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {})[0], np.concatenate(list(values.values())))
