"""The reader of ONNX Runtime Training's checkpoints, against the runtime and against AdamW's definition."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from mentee_device import Bundle, BundleError, Learner
from mentee_device.core.backends import checkpoint
from mentee_device.core.backends.inference import with_weights
from mentee_device.core.batch import mixed
from onnx import TensorProto, helper, numpy_helper

from tests.device.gradients import gradients_of


def test_a_checkpoint_holds_what_the_runtime_and_adamw_say(bundle: Bundle) -> None:
    golden = bundle.golden().take(np.arange(8))
    with Learner(bundle) as learner:
        session = learner._session
        session.forward_backward(mixed(bundle.manifest, golden, None, 1.0, {}))
        gradients = gradients_of(session)
        session.apply()
        found = checkpoint.read(session.dump())
        assert found.step == 1
        assert found.parameters.keys() == learner.parameters().keys()
        for name, value in learner.parameters().items():
            np.testing.assert_array_equal(found.parameters[name], value)
            np.testing.assert_allclose(found.moments[0][name], 0.1 * gradients[name], rtol=1e-5, atol=1e-12)
            np.testing.assert_allclose(found.moments[1][name], 0.001 * gradients[name] ** 2, rtol=1e-4, atol=1e-12)


def test_what_is_no_checkpoint_is_refused() -> None:
    for data in (b"", b"\x10\0\0\0ODTC", b"\xff\xff\xff\xffODTC" + b"\xff" * 64, b"abcdefgh" * 4):
        with pytest.raises(BundleError, match="the checkpoint"):
            checkpoint.read(data)


def test_inference_with_other_weights_stands_alone(tmp_path: Path) -> None:
    """Weights in raw bytes, in float_data and in two other files; one is replaced wherever it lies, the rest stay."""
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=(3, 3)).astype(np.float32) for name in ("raw", "listed", "there", "far", "kept")}
    tensors = {name: numpy_helper.from_array(value, name) for name, value in arrays.items()}
    tensors["listed"] = helper.make_tensor("listed", TensorProto.FLOAT, (3, 3), arrays["listed"].reshape(-1))
    (tmp_path / "stock").mkdir()
    for name, offset in (("there", 0), ("far", 8), ("kept", 48)):
        with (tmp_path / "stock" / "state").open("ab") as file:
            file.truncate(offset)
            file.write(tensors[name].raw_data)
        tensors[name].ClearField("raw_data")
        tensors[name].data_location = TensorProto.EXTERNAL
        for key, value in (("location", "stock/state"), ("offset", offset), ("length", 36)):
            tensors[name].external_data.add(key=key, value=str(value))
        if name == "there":
            (tmp_path / "stock" / "state").rename(tmp_path / "alone")
            tensors[name].external_data[0].value = "alone"
    names = list(arrays)
    nodes = [helper.make_node("Sum", names, ["y"])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 3])
    graph = helper.make_graph(nodes, "g", [], [output], [tensors[name] for name in names], "a doc")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="someone")
    path = tmp_path / "inference.onnx"
    path.write_bytes(model.SerializeToString())

    new = {name: random.normal(size=(3, 3)).astype(np.float32) for name in ("raw", "listed", "far")}
    made = onnx.ModelProto.FromString(with_weights(path, new))
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    assert list(found) == names
    for name, value in (arrays | new).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    del made.graph.initializer[:], model.graph.initializer[:]
    assert made == model
    with pytest.raises(BundleError, match="has no weights named \\['nowhere'\\]"):
        with_weights(path, {"nowhere": new["raw"]})
