"""The files ONNX Runtime Training makes, corrected to what torch does, and made in silence."""

import os

import onnx
import pytest

from export.graph.artifacts import FILES, silenced
from tests.export.conftest import Parts


def test_the_four_files_are_there_and_load_anywhere_the_runtime_does(parts: Parts) -> None:
    folder = parts.folder / "ort-training"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert all(onnx.load(folder / name).ir_version <= 10 for name in FILES[:3])


def test_the_shipped_adamw_is_torchs_with_the_users_numbers(parts: Parts) -> None:
    model = onnx.load(parts.folder / "ort-training" / "optimizer_model.onnx")
    (node,) = (node for node in model.graph.node if node.op_type == "AdamWOptimizer")
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert found == {
        "adam_mode": 0,  # torch's: the decay before the step
        "alpha": pytest.approx(0.9),
        "beta": pytest.approx(0.999),
        "epsilon": pytest.approx(1e-8),  # the runtime's own default is 1e-6
        "weight_decay": pytest.approx(0.01),
        "correct_bias": 1,
    }


def test_only_trainable_parameters_get_a_gradient(parts: Parts) -> None:
    graph = onnx.load(parts.folder / "ort-training" / "training_model.onnx").graph
    buffers = {value.name for value in graph.input if value.name.endswith("_grad.accumulation.buffer")}
    assert buffers == {f"{name}_grad.accumulation.buffer" for name in parts.prepared.trainable}


def test_what_native_code_writes_is_kept_from_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with silenced():
        os.write(2, b"hundreds of lines\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_an_exception_passes_with_the_errors_before_it(capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        os.write(2, b"2024 [I:onnxruntime: chatter]\n2024 [E:onnxruntime: the reason]\n")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), silenced():
        fails()
    assert capfd.readouterr().err == "2024 [E:onnxruntime: the reason]\n"
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
