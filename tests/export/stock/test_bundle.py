"""A bundle with stock graphs: whole, proved, its weights stored once."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load, load_file, save

from export.bundle.reading.read import opened
from export.bundle.verify import verify
from export.bundle.write import export_bundle
from export.schema import ExportSettings
from export.stock.files import in_order
from mentee.checkpoint import MenteeCheckpoint


def test_a_state_has_the_same_bytes_in_whatever_order_the_library_writes_its_metadata() -> None:
    tensors = {"parameters": np.arange(5, dtype=np.float32), "frozen.wörk": np.ones((2, 3), np.float32)}
    written = {in_order(save(tensors, {"statistics": "[]", "parameters": "[1]"})) for _ in range(16)}
    assert len(written) == 1
    for name, value in load(written.pop()).items():
        np.testing.assert_array_equal(value, tensors[name])


@pytest.mark.parametrize("backend", ["stock", "both"])
def test_a_bundle_with_stock_graphs_is_whole_and_proved(
    checkpoint: MenteeCheckpoint, tmp_path: Path, backend: str
) -> None:
    settings = ExportSettings(supervision_per_class=6, golden_per_class=8, backend=backend)
    made = export_bundle(checkpoint, tmp_path / "bundle", settings)
    with opened(tmp_path / "bundle.zip") as (folder, manifest):
        assert manifest["format"] == "mentee-bundle/2"
        assert (folder / "ort-training").exists() == (backend == "both")
        parameters = sum(int(np.prod(part["shape"])) for part in manifest["stock"]["state"]["parameters"])
        assert parameters == load_file(folder / "stock" / "state.safetensors")["parameters"].size
    report = json.loads((tmp_path / "bundle" / "parity.json").read_text())
    assert report["backend"] == ("stock" if backend == "stock" else "ort-training")
    assert (report if backend == "stock" else report["stock"])["verdict"] == "proved"
    checks = verify(tmp_path / "bundle")
    assert all(check.passed is not False for check in checks)
    assert sum("gradients" in check.name for check in checks) == (2 if backend == "both" else 1)
    assert made.manifest["id"]
    onnxruntime.InferenceSession(tmp_path / "bundle" / "inference.onnx", providers=["CPUExecutionProvider"])
