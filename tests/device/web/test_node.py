"""A bundle's training artifacts in onnxruntime-web 1.19.2, in Node and where there is one in Chromium, against Python."""

import base64
import json
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device.core import runtime

from export.bundle.prepare import Prepared, prepare
from export.bundle.write import parity_samples
from export.graph.artifacts import FILES, silenced, write_artifacts
from export.graph.optimizer_spec import Group, Optimizer, Schedule
from export.graph.training_graph import export_graph
from export.graph.weights import align_weights, share_weights
from export.parity.feeds import draw
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from tests.paths import ROOT
from tests.waiting import PATIENCE

WEB = ROOT / "device" / "web"
NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium")
INSTALLED = (WEB / "node_modules" / "onnxruntime-web" / "dist" / "ort.training.wasm.min.mjs").is_file()
pytestmark = pytest.mark.skipif(
    NODE is None or not INSTALLED, reason="needs node and `npm ci` in device/web, onnxruntime-web 1.19.2"
)

GROUPS = [Group("*.bias", 0.5, 0.0), Group("head.*", 2.0)]
EVERYTHING = Optimizer(
    learning_rate=0.02,
    groups=GROUPS,
    clip_norm=0.5,
    accumulate=2,
    schedule=Schedule("cosine", warm_up=2, steps=8, final=0.1),
)
OPTIMIZERS = {
    "adamw": Optimizer(learning_rate=0.003),
    "adamw with everything": EVERYTHING,
    "sgd": Optimizer("sgd", 0.05, weight_decay=0.0),
    "nesterov with everything": replace(EVERYTHING, name="sgd", momentum=0.9, nesterov=True),
}


@dataclass(frozen=True)
class Case:
    prepared: Prepared
    model: Any

    def write(self, folder: Path, optimizer: Optimizer, batches: int = 8) -> None:
        """The files that replay.mjs reads; Python sets no learning rate either."""
        write_artifacts(self.model, self.prepared.trainable, optimizer, folder)
        feeds = draw(parity_samples(self.prepared), ["mixed"] * batches, 4, seed=5)
        api = runtime.training()
        with silenced():
            state = api.CheckpointState.load_checkpoint(str(folder / "checkpoint"))
            module = api.Module(*(str(folder / FILES[0]), state, str(folder / FILES[1])))
            stepper = api.Optimizer(str(folder / FILES[2]), module)
        module.train()
        written = []
        for number, feed in enumerate(feeds):
            arrays = feed.map(lambda value: np.ascontiguousarray(value.numpy()))
            module(*arrays.flat())
            if (number + 1) % optimizer.accumulate == 0:
                stepper.step()
                module.lazy_reset_grad()
            written.append({name: encoded(array) for name, array in arrays.named().items()})
        (folder / "case.json").write_text(json.dumps({"accumulate": optimizer.accumulate, "batches": written}))
        flat = module.get_contiguous_parameters(trainable_only=True).numpy()
        (folder / "expected.f32").write_bytes(flat.astype("<f4").tobytes())


def encoded(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"dtype": array.dtype.name, "dims": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


@pytest.fixture(scope="module")
def case(checkpoint: MenteeCheckpoint) -> Case:
    prepared = prepare(checkpoint, ExportSettings(supervision_per_class=6, golden_per_class=8))
    return Case(prepared, export_graph(prepared.graph, prepared.inputs, prepared.outputs))


def ran(script: str, *arguments: str | Path) -> dict[str, Any]:
    assert NODE is not None
    done = subprocess.run(
        [NODE, WEB / script, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_node_takes_the_steps_that_python_takes(case: Case, tmp_path: Path, name: str) -> None:
    case.write(tmp_path, OPTIMIZERS[name])
    seen = ran("check.mjs", tmp_path)
    assert seen["batches"] == 8
    assert seen["parameters"] == sum(case.prepared.network.get_parameter(n).numel() for n in case.prepared.trainable)
    assert seen["largest_difference"] <= 1e-5
    assert np.ptp(seen["losses"]) > 0


def test_a_difference_is_seen(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path, OPTIMIZERS["sgd"])
    expected = np.fromfile(tmp_path / "expected.f32", "<f4")
    expected[3] += 0.25
    expected.tofile(tmp_path / "expected.f32")
    assert ran("check.mjs", tmp_path)["largest_difference"] == pytest.approx(0.25, abs=1e-4)


def test_frozen_weights_that_the_training_graph_points_to_are_put_into_it(
    checkpoint: MenteeCheckpoint, tmp_path: Path
) -> None:
    """Against Python on the graph that holds them. Without them the runtime takes none of it, so they must have been."""
    settings = ExportSettings(supervision_per_class=6, golden_per_class=8, trainable="head")
    prepared = prepare(checkpoint, settings)
    case = Case(prepared, export_graph(prepared.graph, prepared.inputs, prepared.outputs))
    case.write(tmp_path, OPTIMIZERS["adamw"])
    before = (tmp_path / "training_model.onnx").stat().st_size
    align_weights(tmp_path / "eval_model.onnx")
    share_weights(tmp_path / "training_model.onnx", tmp_path / "eval_model.onnx")
    assert (tmp_path / "training_model.onnx").stat().st_size < before - 1024
    assert ran("check.mjs", tmp_path)["largest_difference"] <= 1e-5


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_chromium_takes_them_too(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path, OPTIMIZERS["nesterov with everything"])
    assert ran("chromium.mjs", tmp_path, str(CHROMIUM))["largest_difference"] <= 1e-5
