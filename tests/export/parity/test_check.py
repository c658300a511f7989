"""Shipped graphs train as torch does, and those that do not are caught."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from export.bundle.write import export_bundle, parity_samples
from export.graph.artifacts import write_artifacts
from export.graph.optimizer_graph import optimizer_model
from export.graph.optimizer_spec import Group, Optimizer, Schedule, assign
from export.graph.training_graph import TrainingGraph
from export.parity.check import relative
from export.parity.gradient_check import differences, to_nearer, worse
from export.parity.optimizer_steps import apart, forced_steps
from export.parity.verdict import GRADIENT_BOUND, OUTPUT_BOUND, STEPS_BOUND, require_parity
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee import progress
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import Adapter
from tests.conftest import seeded, with_statistics
from tests.export.conftest import Parts, TakeApart, checkpoint_of
from tests.export.mentees import Chequered


def test_a_bundle_states_numbers_within_its_bounds(bundle_folder: Path) -> None:
    report = json.loads((bundle_folder / "parity.json").read_text())
    manifest = json.loads((bundle_folder / "manifest.json").read_text())
    assert report["bounds"] == {"outputs": OUTPUT_BOUND, "gradients": GRADIENT_BOUND, "steps": STEPS_BOUND}
    assert report["masks"] == ["mixed", "labelled", "supervised", "neither"]
    assert report["batches"] == [1, 8]
    assert max(OUTPUT_BOUND, GRADIENT_BOUND) <= 1e-5
    assert STEPS_BOUND <= 1e-4
    assert set(report["outputs"]) == {"loss", "ce", "rmse_early", "rmse_late", "kl", "logits", "embedding"}
    assert set(report["gradients"]) == set(manifest["trainable"])
    numbers = [*report["outputs"].values(), *report["inference"].values(), *report["gradients"].values()]
    assert all(0 <= number <= 1e-5 for number in numbers)
    for name, nearer in report["gradients"].items():
        assert 0 <= nearer <= report["gradients_to_float64"][name] <= 1e-5
    assert max(numbers) > 0  # float32 against float64: exactly nothing would be a comparison of a thing with itself
    assert 0 < report["steps"]["largest_difference"] <= 1e-4
    assert set(report["steps"]["parameters"]) == set(manifest["trainable"])
    assert report["steps"]["steps"] == 20
    assert report["neither"] == {"loss": 0, "gradients": 0}
    require_parity(report)


def test_a_person_who_waits_is_told_how_far_the_comparison_is(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    said = list[str]()
    with progress.reporting(said.append):
        parts.measure()
    assert [line for line in said if line.startswith("comparing gradients with torch's: batch: 7 of 8, ")]
    assert [line for line in said if line.startswith("comparing optimizer steps with torch's: step: 19 of 20, ")]


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


def test_another_loss_is_caught_in_outputs_and_gradients(
    parts: Parts, checkpoint: MenteeCheckpoint, dismantled: TakeApart
) -> None:
    report = parts.measure(training=dismantled(checkpoint, graph=Swapped).folder / "ort-training")
    assert report["outputs"]["loss"] > OUTPUT_BOUND
    assert report["outputs"]["ce"] <= OUTPUT_BOUND  # the terms are right, their weights are not
    assert min(report["gradients"].values()) > GRADIENT_BOUND
    assert report["steps"]["largest_difference"] <= STEPS_BOUND  # the optimizer is torch's, on the gradient it is given
    with pytest.raises(UserError, match=r"output 'loss' by"):
        require_parity(report)


def attribute(name: str, value: float) -> Callable[[onnx.GraphProto], None]:
    """Sets `name` of every update node and clipping node, in branches as well."""

    def tamper(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            for number, found in enumerate(node.attribute):
                if found.HasField("g"):
                    tamper(found.g)
                elif found.name == name:
                    node.attribute[number].CopyFrom(onnx.helper.make_attribute(name, value))

    return tamper


def constant(name: str, factor: float) -> Callable[[onnx.GraphProto], None]:
    def tamper(graph: onnx.GraphProto) -> None:
        (tensor,) = (tensor for tensor in graph.initializer if tensor.name == name)
        value = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(value, np.float32), name))

    return tamper


def unscheduled(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        node.input[:] = ["base_rate" if name == "scheduled_rate" else name for name in node.input]


ADAMW = Optimizer(learning_rate=1e-5)
SGD = Optimizer("sgd", 0.1, momentum=0.9, weight_decay=1e-3)
BIASES = [Group("*.bias", 0.5, 0.0)]
COSINE = Schedule("cosine", steps=10_000)
TAMPERED: dict[str, tuple[Optimizer, Callable[[onnx.GraphProto], None]]] = {
    "Hugging Face's AdamW": (ADAMW, attribute("adam_mode", 1)),
    "beta1": (ADAMW, attribute("alpha", 0.91)),
    "beta2": (ADAMW, attribute("beta", 0.998)),
    "epsilon": (ADAMW, attribute("epsilon", 1.1e-8)),
    "a larger epsilon": (replace(ADAMW, epsilon=1e-4), attribute("epsilon", 1.01e-4)),
    "weight decay": (replace(ADAMW, weight_decay=1e-4), attribute("weight_decay", 1.1e-4)),
    "momentum": (SGD, constant("forgotten", 1.01)),
    "SGD's weight decay": (SGD, constant("minus_decay_0", 1.01)),
    "Nesterov's": (replace(SGD, nesterov=True), constant("momentum_rate_0_factor", 1.01)),
    "clipping": (replace(SGD, clip_norm=1.0), attribute("max_norm", 1.01)),
    "AdamW's clipping": (replace(ADAMW, clip_norm=0.1), attribute("max_norm", 0.101)),
    "a group's rate": (replace(ADAMW, groups=BIASES), constant("rate_0_factor", 1.01)),
    "a group's rank": (replace(ADAMW, groups=BIASES), attribute("weight_decay", 0.01)),
    "warm-up": (replace(ADAMW, schedule=Schedule(warm_up=5)), constant("warm_up", 1.2)),
    "a long cosine": (replace(ADAMW, schedule=COSINE), constant("length", 1.01)),
    "no schedule": (replace(ADAMW, schedule=COSINE), unscheduled),
    "steps' length": (replace(SGD, schedule=Schedule("step", every=500)), constant("every", 1.2)),
    "steps' factor": (replace(SGD, schedule=Schedule("step", every=500)), constant("fall_factor", 1.01)),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_an_optimizer_that_is_not_torchs_is_caught(parts: Parts, tmp_path: Path, what: str) -> None:
    optimizer, tamper = TAMPERED[what]
    if optimizer.groups:
        write_artifacts(parts.forward, parts.prepared.trainable, optimizer, tmp_path)
    else:
        copytree(parts.folder / "ort-training", tmp_path, dirs_exist_ok=True)
    model = optimizer_model(optimizer, assign(optimizer, parts.prepared.trainable))
    onnx.save(model, tmp_path / "optimizer_model.onnx")
    samples = parity_samples(parts.prepared)
    sound, gradients = forced_steps(parts.prepared.graph, [tmp_path], samples, optimizer, 2)[0]
    assert sound["largest_difference"] <= STEPS_BOUND / 2
    assert max(gradients.nearer.values()) <= GRADIENT_BOUND
    assert (0 < sound["clipped"] < 20) == (optimizer.clip_norm is not None)
    tamper(model.graph)
    onnx.save(model, tmp_path / "optimizer_model.onnx")
    report, gradients = forced_steps(parts.prepared.graph, [tmp_path], samples, optimizer, 2)[0]
    assert max(gradients.nearer.values()) <= GRADIENT_BOUND
    assert report["largest_difference"] > 2 * STEPS_BOUND


def test_the_gate_names_the_step_and_the_parameter(bundle_folder: Path) -> None:
    report = json.loads((bundle_folder / "parity.json").read_text())
    report["steps"]["parameters"]["head.bias"] = 2e-4
    with pytest.raises(UserError, match=r"differs in a step of 'head\.bias' by 2\.0e-04 \(at most 1e-04\)$"):
        require_parity(report)


def test_a_gradient_where_nothing_counts_is_caught(bundle_folder: Path) -> None:
    report = json.loads((bundle_folder / "parity.json").read_text())
    report["neither"]["gradients"] = 1e-9
    with pytest.raises(UserError, match="gradients with nothing to learn from by"):
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
    settings = ExportSettings(supervision_per_class=4, golden_per_class=4, backend="ort-training")
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
    expected = {"first": torch.zeros(2), "second": torch.zeros(2)}
    assert np.isnan(apart({"first": torch.zeros(2), "second": torch.tensor([0.0, nan])}, expected))
    assert np.isnan(differences({"only": torch.tensor([nan])}, {"only": torch.ones(1)})["only"])
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
        replace(checkpoint, probes=(pooled,)),
        tmp_path / "bundle",
        ExportSettings(supervision_per_class=4, backend="ort-training"),
    )
    assert exported.parity["outputs"]["rmse_pooled"] <= OUTPUT_BOUND


def test_the_number_of_threads_leaves_no_trace(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    settings = ExportSettings(supervision_per_class=6, golden_per_class=8, backend="ort-training")
    proofs = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            proofs.append(export_bundle(checkpoint, tmp_path / str(threads), settings).parity)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert proofs[0] == proofs[1]


def test_a_gradient_is_judged_by_the_nearer_of_torchs_own_two() -> None:
    """-.1 - .2 + .3 in float32 is +7e-9 summed exactly and 0 summed in float32: one ReLU passes its gradient on, one does not."""
    weights = torch.tensor([-0.1, -0.2, 0.3])
    torchs = []
    for kind in (torch.float64, torch.float32):
        w = weights.to(kind).requires_grad_()
        before = (w[0] + w[1]) + w[2]
        (torch.relu(before) + w[0]).backward()
        torchs.append({"w": w.grad.double()})
    exact, rough = torchs
    assert differences(rough, exact)["w"] > 0.5  # float32 alone is that far off
    assert to_nearer(rough, exact, rough) == {"w": 0.0}
    assert to_nearer(exact, exact, rough) == {"w": 0.0}
    neither = {"w": exact["w"] * 1.01}
    assert to_nearer(neither, exact, rough)["w"] == pytest.approx(0.01)
    assert np.isnan(to_nearer({"w": exact["w"] * float("nan")}, exact, rough)["w"])
