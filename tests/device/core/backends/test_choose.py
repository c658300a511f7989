"""Which backend is taken, and what a user is told where none can be."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from mentee_device import Bundle, BundleError, Learner, RuntimeMissing
from mentee_device.core import runtime
from mentee_device.core.backends import choose
from safetensors.numpy import load_file, save_file

from tests.device.program import ENVIRONMENT
from tests.device.sealing import edit_manifest, sums_only

WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if any(name == one or name.startswith(one + ".") for one in {hidden}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
from mentee_device import Bundle
from mentee_device.core.backends.choose import chosen

for folder in sys.argv[1:]:
    try:
        with Bundle.open(folder) as bundle:
            print(chosen(bundle.manifest))
    except RuntimeError as error:
        print(error)
"""


def said_without(hidden: tuple[str, ...], *folders: Path) -> list[str]:
    """Lines that a process without these modules prints, one for each bundle."""
    program = textwrap.dedent(WITHOUT).format(hidden=hidden)
    command = [sys.executable, "-W", "error", "-c", program, *map(str, folders)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_bundle_and_what_is_installed_decide(
    training_folder: Path, stock_folder: Path, both_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, stock, both = (Bundle.open(folder).manifest for folder in (training_folder, stock_folder, both_folder))
    assert [choose.chosen(one) for one in (training, stock, both)] == ["ort-training", "stock", "ort-training"]
    assert choose.chosen(both, "stock") == "stock"
    monkeypatch.setattr(runtime, "can_train", lambda: False)
    assert choose.chosen(both) == "stock"
    for manifest, wanted, said in (
        (training, "stock", r"no graphs for the backend 'stock', it has them for ort-training: .* backend=both"),
        (stock, "ort-training", "no graphs for the backend 'ort-training', it has them for stock"),
        (
            replace(stock, left_out={"ort-training": "up: Atan\nhas no gradient"}),
            "ort-training",
            r"for stock: choose that; the export left it out: up: Atan has no gradient$",
        ),
        (both, "torch", "there is no backend 'torch': expected ort-training or stock"),
    ):
        with pytest.raises(BundleError, match=said):
            choose.chosen(manifest, wanted)


def test_a_python_without_the_training_half_or_without_any_runtime_says_what_to_install(
    training_folder: Path, stock_folder: Path, both_folder: Path
) -> None:
    folders = (training_folder, stock_folder, both_folder)
    none, *rest = said_without(("onnxruntime.training", "torch"), *folders)
    assert "cannot be imported" in none
    assert "pip install --no-deps onnxruntime-training-cpu==1.19.2" in none
    assert rest == ["stock", "stock"]
    for said in said_without(("onnxruntime",), *folders):
        assert "onnxruntime cannot be imported (No module named 'onnxruntime')" in said
        assert "pip install" in said


def test_a_plain_build_is_told_from_the_training_one(training_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = sys.modules["onnxruntime.capi._pybind_state"]
    monkeypatch.delattr(state, "CheckpointState")
    assert not runtime.can_train()
    with pytest.raises(RuntimeMissing, match=r"has no training API.*onnxruntime-training-cpu==1\.19\.2.*backend=stock"):
        choose.chosen(Bundle.open(training_folder).manifest)


@pytest.mark.parametrize("version", ["1.16.3", "0.9.0"])
def test_a_runtime_that_is_too_old_is_refused(
    stock_folder: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    with pytest.raises(RuntimeMissing, match=f"onnxruntime {version} is too old .* pip install onnxruntime \\(1.17"):
        choose.chosen(Bundle.open(stock_folder).manifest)


@pytest.fixture
def broken(stock_folder: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(stock_folder, tmp_path / "broken"))


def refused(folder: Path, match: str) -> None:
    sums_only(folder)
    with Bundle.open(folder) as bundle, pytest.raises(BundleError, match=match) as error:
        Learner(bundle)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["gradients", "optimizer", "forward"])
def test_an_operator_that_the_runtime_has_not_is_named(broken: Path, name: str) -> None:
    path = broken / "stock" / f"{name}.onnx"
    model = onnx.load(path, load_external_data=False)
    next(node for node in model.graph.node if node.op_type in ("Relu", "Sqrt")).op_type = "NewerThanThis"
    path.write_bytes(model.SerializeToString())
    refused(broken, rf"has no operator 'NewerThanThis', which 'stock/{name}\.onnx' needs: pip install onnxruntime")


def test_graphs_of_another_network_are_refused(broken: Path) -> None:
    path = broken / "stock" / "forward.onnx"
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        node.op_type = "Abs" if node.op_type == "Relu" else node.op_type
    path.write_bytes(model.SerializeToString())
    refused(broken, "manifest.json says|answers other than|other than the eval graph's")


def test_a_graph_whose_inputs_are_not_the_manifests_is_refused(broken: Path) -> None:
    path = broken / "stock" / "forward.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.input.add().CopyFrom(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))
    path.write_bytes(model.SerializeToString())
    refused(broken, r"'stock/forward\.onnx' has the inputs .*'more'.*, manifest\.json says")


def test_a_state_of_another_size_or_with_nan_is_refused(broken: Path) -> None:
    path = broken / "stock" / "state.safetensors"
    state = load_file(path)
    save_file({**state, "parameters": state["parameters"][:-1].copy()}, path)
    refused(broken, r"'stock/state\.safetensors' has not 1418 float32 numbers in 'parameters'")
    save_file({**state, "parameters": np.full_like(state["parameters"], np.nan)}, path)
    refused(broken, r"parameter 'features\.0\.0\.weight' holds NaN or Inf: refused")


def test_expected_terms_are_compared_on_stock_graphs_too(broken: Path) -> None:
    edit_manifest(broken, lambda content: content["expected"].update(kl=content["expected"]["kl"] * 1.1))
    refused(broken, "kl of the replay samples is")
