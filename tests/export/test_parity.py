"""What is shipped trains as torch does, and what does not is caught."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from data.errors import UserError
from export.artifacts import adamw_nodes
from export.bundle import export_bundle
from export.graph import TrainingGraph
from export.parity import GRADIENT_BOUND, OUTPUT_BOUND, STEPS_BOUND, largest, relative, require_parity, worse
from export.schema import AdamW, ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from objective.probes import Adapter
from tests.conftest import seeded, with_statistics
from tests.export.conftest import Parts, TakeApart, checkpoint_of
from tests.export.mentees import Chequered


def test_a_bundle_states_numbers_within_its_bounds(bundle_folder: Path) -> None:
    report = json.loads((bundle_folder / "parity.json").read_text())
    manifest = json.loads((bundle_folder / "manifest.json").read_text())
    assert report["bounds"] == {
        "outputs": OUTPUT_BOUND,
        "gradients": GRADIENT_BOUND,
        "parameters_after_steps": STEPS_BOUND,
    }
    assert max(OUTPUT_BOUND, GRADIENT_BOUND) <= 1e-5
    assert STEPS_BOUND <= 1e-4
    assert set(report["outputs"]) == {"loss", "ce", "rmse_early", "rmse_late", "kl", "logits", "embedding"}
    assert set(report["gradients"]) == set(manifest["trainable"])
    numbers = [*report["outputs"].values(), *report["inference"].values(), *report["gradients"].values()]
    assert all(0 <= number <= 1e-5 for number in numbers)
    assert max(numbers) > 0  # float32 against float64: exactly nothing would be a comparison of a thing with itself
    assert 0 < report["parameters_after_steps"]["largest_difference"] <= 1e-4
    assert report["parameters_after_steps"]["steps"] == 20
    require_parity(report)


def of_other_weights(checkpoint: MenteeCheckpoint) -> MenteeCheckpoint:
    state = {name: value.clone() for name, value in checkpoint.state.items()}
    state["head.bias"][3] += 0.01
    return replace(checkpoint, state=state)


class Swapped(TrainingGraph):
    """α and β change places on their way in."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        *before, alpha, beta, gamma, temperature = inputs
        return super().forward(*before, beta, alpha, gamma, temperature)


def test_the_weights_of_another_mentee_are_caught(
    parts: Parts, checkpoint: MenteeCheckpoint, dismantled: TakeApart
) -> None:
    other = dismantled(of_other_weights(checkpoint))
    with pytest.raises(UserError, match=r"does not train as torch does; no bundle was made\. .*output 'loss' by"):
        require_parity(parts.measure(training=other.folder / "ort-training"))
    with pytest.raises(UserError, match=r"inference 'logits' by"):
        require_parity(parts.measure(inference=other.folder / "inference.onnx"))


def test_another_loss_is_caught_in_outputs_gradients_and_steps(
    parts: Parts, checkpoint: MenteeCheckpoint, dismantled: TakeApart
) -> None:
    report = parts.measure(training=dismantled(checkpoint, graph=Swapped).folder / "ort-training")
    assert report["outputs"]["loss"] > OUTPUT_BOUND
    assert report["outputs"]["ce"] <= OUTPUT_BOUND  # the terms are right, their weights are not
    assert min(report["gradients"].values()) > GRADIENT_BOUND
    assert report["parameters_after_steps"]["largest_difference"] > STEPS_BOUND
    with pytest.raises(UserError, match=r"output 'loss' by"):
        require_parity(report)


@pytest.mark.parametrize(
    ("name", "value", "rate"), [("adam_mode", 1, 3e-3), ("weight_decay", 0.0, 1e-4), ("alpha", 0.95, 1e-4)]
)
def test_an_optimizer_that_is_not_torchs_is_caught_at_any_learning_rate(
    parts: Parts, tmp_path: Path, name: str, value: Any, rate: float
) -> None:
    folder = copytree(parts.folder / "ort-training", tmp_path / "tampered")
    model = onnx.load(folder / "optimizer_model.onnx")
    (node,) = adamw_nodes(model)
    (attribute,) = (attribute for attribute in node.attribute if attribute.name == name)
    attribute.CopyFrom(onnx.helper.make_attribute(name, value))
    onnx.save(model, folder / "optimizer_model.onnx")
    report = parts.measure(training=folder, optimizer=AdamW(learning_rate=rate))
    assert max(report["gradients"].values()) <= GRADIENT_BOUND
    with pytest.raises(UserError, match=r"differs in parameters after 20 steps by \S+ \(at most 1e-04\)$"):
        require_parity(report)


def test_a_number_that_is_none_is_out_of_bounds(bundle_folder: Path) -> None:
    report = json.loads((bundle_folder / "parity.json").read_text())
    report["gradients"]["head.weight"] = float("nan")
    with pytest.raises(UserError, match=r"gradient of 'head\.weight' by nan"):
        require_parity(report)


def test_a_frozen_layer_batch_norm_of_all_kinds_and_no_probes(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    with seeded(3):
        network = with_statistics(Chequered(), torch.randn(64, 1, 8, 8))
    mentee = checkpoint_of(network, "tests.export.mentees.Chequered", checkpoint)
    settings = ExportSettings(supervision_per_class=4, golden_per_class=4)
    exported = export_bundle(mentee, tmp_path / "bundle", settings)
    manifest, parity = exported.manifest, exported.parity
    assert manifest["probes"] == []
    assert [port["name"] for port in manifest["graphs"]["training"]["inputs"]] == [
        *("input", "labels", "labelled", "mentor_logits", "supervised", "alpha", "beta", "gamma", "temperature")
    ]
    assert set(manifest["frozen"]) == {"stem.weight", "stem.bias"}
    assert set(manifest["trainable"]) == {
        *("norm.weight", "norm.bias", "depthwise.weight", "depthwise.bias", "head.weight", "head.bias")
    }
    assert set(parity["gradients"]) == set(manifest["trainable"])
    kinds = {node.op_type for node in onnx.load(exported.path / "ort-training" / "training_model.onnx").graph.node}
    assert not {kind for kind in kinds if "BatchNorm" in kind}
    samples = torch.randn(3, 1, 8, 8)
    session = onnxruntime.InferenceSession(exported.path / "inference.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network.eval()(samples).numpy()
    np.testing.assert_allclose(session.run(["logits"], {"input": samples.numpy()})[0], expected, rtol=1e-5, atol=1e-5)


def test_a_number_that_is_none_never_passes_for_agreement() -> None:
    nan = float("nan")
    assert all(np.isnan(worse(*pair)) for pair in ((0.0, nan), (nan, 0.0), (nan, nan)))
    assert worse(0.0, 2.0) == worse(2.0, 0.0) == 2.0
    expected = {"first": np.zeros(2), "second": np.zeros(2)}
    assert np.isnan(largest({"first": np.zeros(2), "second": np.array([0.0, nan])}, expected))
    assert np.isnan(relative(np.array([nan, 1.0]), torch.ones(2)))
    assert relative(np.ones((2, 1)), torch.ones(2)) == float("inf")  # another shape than the manifest states


def test_a_probe_that_pools_the_mentees_side_trains_as_torch_does(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    (early, *_) = checkpoint.probes
    mentor_shape = (early.adapter.mentor[0], 4, 4)
    adapter = Adapter.between("pooled", early.adapter.mentee, mentor_shape)
    assert adapter.mentee[1:] == (8, 8)
    assert adapter.shape[1:] == (4, 4)
    pooled = replace(early, name="pooled", mentor="stages.1", adapter=adapter)
    exported = export_bundle(
        replace(checkpoint, probes=(pooled,)), tmp_path / "bundle", ExportSettings(supervision_per_class=4)
    )
    assert exported.parity["outputs"]["rmse_pooled"] <= OUTPUT_BOUND
