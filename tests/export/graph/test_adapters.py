"""Probes whose adapter brings tensors along: exported, and trained by ONNX Runtime as torch trains them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from export.bundle.prepare import prepare
from export.bundle.write import export_bundle
from export.graph.training_graph import export_graph
from export.parity.verdict import GRADIENT_BOUND, OUTPUT_BOUND, require_parity
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor.restore import restore_mentor
from mentor_mentee.data.load import load_data
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import ProbedMentee, find_probes, measure_probes
from tests.export.conftest import TakeApart, checkpoint_of

HOW: dict[str, dict[str, Any]] = {
    "taught": {"mentor": "stages.1", "mentee": "features.0", "adapter": "regressor", "normalise": True},
    "axes": {"mentor": "stages.1", "mentee": "features.1", "adapter": "pca"},
    "chosen": {"mentor": "stages.1", "mentee": "features.1", "adapter": "select"},
    "turned": {"mentor": "stages.1", "mentee": "features.1", "adapter": "projector"},
    "scaled": {"mentor": "stages.0", "mentee": "features.0", "adapter": "slice", "normalise": True},
}


def under(checkpoint: MenteeCheckpoint, pairs: dict[str, dict[str, Any]], metric: str = "rmse") -> MenteeCheckpoint:
    """The checkpoint with other probes, their adapters measured, the regressors' weights random."""
    assert checkpoint.mentor is not None
    mentor = restore_mentor(checkpoint.mentor, ())
    images = load_data(checkpoint.data).train.images[:64]
    network, given = checkpoint.network(), checkpoint.view(images)
    found = find_probes(pairs, mentor.network, given, network, given, metric)
    probes = measure_probes(found, mentor.network, [given])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        learned = ProbedMentee(network, probes, checkpoint.head).learned_probes()
    return replace(checkpoint, probes=tuple(learned), loss=LossSpec(metric))


def test_a_bundle_of_adapters_with_tensors_trains_as_torch_does_and_holds_the_targets(
    checkpoint: MenteeCheckpoint, tmp_path: Path
) -> None:
    with_tensors = under(checkpoint, HOW)
    path = tmp_path / "mentee.safetensors"
    with_tensors.save(path)
    exported = export_bundle(
        MenteeCheckpoint.load(path),
        tmp_path / "bundle",
        ExportSettings(supervision_per_class=3, golden_per_class=2, backend="ort-training"),
    )
    assert {f"rmse_{name}" for name in HOW} <= set(exported.parity["outputs"])
    assert max(exported.parity["outputs"].values()) <= OUTPUT_BOUND
    assert max(exported.parity["gradients"].values()) <= GRADIENT_BOUND
    described = {probe["name"]: (probe["adapter"], probe["shape"]) for probe in exported.manifest["probes"]}
    assert described == {
        "taught": ("regressor", [24, 4, 4]),
        "axes": ("pca", [16, 4, 4]),
        "chosen": ("select", [16, 4, 4]),
        "turned": ("projector", [16, 4, 4]),
        "scaled": ("slice", [8, 8, 8]),
    }

    pack = load_file(tmp_path / "bundle" / "supervision.safetensors")
    assert with_tensors.mentor is not None
    mentor = restore_mentor(with_tensors.mentor, ()).network.eval()
    view = with_tensors.view
    with torch.no_grad():
        early = mentor.stages[0](mentor.stem(view(pack["input"])))
        late = mentor.stages[1](early)
    fixed = {probe.name: probe.adapter.constants.tensors for probe in with_tensors.probes}
    expected = {
        "taught": (late - fixed["taught"]["mean"].view(-1, 1, 1)) / fixed["taught"]["std"].view(-1, 1, 1),
        "axes": torch.einsum("bchw,kc->bkhw", late, fixed["axes"]["projection"]),
        "turned": torch.einsum("bchw,kc->bkhw", late, fixed["turned"]["projection"]),
        "chosen": late[:, fixed["chosen"]["channels"]],
        "scaled": (early[:, :8] - fixed["scaled"]["mean"].view(-1, 1, 1)) / fixed["scaled"]["std"].view(-1, 1, 1),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(pack[f"mentor_{name}"].float().numpy(), value.numpy(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("metric", "kind", "shape"), [("attention", "energy", 1), ("similarity", "whole", 24)])
def test_a_wider_mentor_is_carried_with_all_that_the_metric_asks_of_it(
    checkpoint: MenteeCheckpoint, tmp_path: Path, metric: str, kind: str, shape: int
) -> None:
    """One number a position for attention, whatever the mentor's width; the export's own gate compares the gradients."""
    pairs = {
        "late": {"mentor": "stages.1", "mentee": "features.1"},
        "early": {"mentor": "stages.1", "mentee": "features.0"},
    }
    path = tmp_path / "mentee.safetensors"
    probed = under(checkpoint, {name: pairs[name] for name in (["late"] if metric == "attention" else pairs)}, metric)
    probed.save(path)
    settings = ExportSettings(supervision_per_class=3, golden_per_class=2, backend="ort-training")
    exported = export_bundle(MenteeCheckpoint.load(path), tmp_path / "bundle", settings)
    assert {(probe["adapter"], tuple(probe["shape"])) for probe in exported.manifest["probes"]} == {
        (kind, (shape, 4, 4))
    }
    assert max(exported.parity["gradients"].values()) <= GRADIENT_BOUND

    pack = load_file(tmp_path / "bundle" / "supervision.safetensors")
    assert probed.mentor is not None
    mentor = restore_mentor(probed.mentor, ()).network.eval()
    with torch.no_grad():
        late = mentor.stages[1](mentor.stages[0](mentor.stem(probed.view(pack["input"]))))
    expected = late if metric == "similarity" else (late**2).mean(1, keepdim=True) ** 0.5
    np.testing.assert_allclose(pack["mentor_late"].float().numpy(), expected.numpy(), rtol=2e-3, atol=2e-3)


def test_a_regressor_is_a_constant_of_the_graph_and_leaves_the_mentees_parameters_as_they_are(
    checkpoint: MenteeCheckpoint,
) -> None:
    prepared = prepare(under(checkpoint, HOW), ExportSettings(supervision_per_class=2, golden_per_class=2))
    assert set(prepared.trainable) == {name for name, _ in prepared.network.named_parameters()}
    model = export_graph(prepared.graph, prepared.inputs, prepared.outputs)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weight = prepared.checkpoint.probes[0].adapter.constants.tensors["weight"].numpy()
    assert any(value.shape == weight.shape and np.array_equal(value, weight) for value in stored.values())
    assert not any("adapters" in name for name in prepared.trainable)


class Patches(nn.Module):
    """Its one layer to probe puts out tokens, the first of them a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 6, 2, 2)
        self.first = nn.Parameter(torch.zeros(1, 1, 6))
        self.tokens = nn.Linear(6, 5)
        self.head = nn.Linear(5, 10)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        tokens = self.tokens(torch.cat([self.first.expand(x.size(0), -1, -1), torch.relu(patches)], 1))
        return self.head(torch.relu(tokens).mean(1))  # type: ignore[no-any-return]


def test_a_mentee_of_tokens_is_compared_with_a_mentors_map(checkpoint: MenteeCheckpoint, dismantled: TakeApart) -> None:
    torch.manual_seed(0)
    tokens = checkpoint_of(Patches(), f"{__name__}.Patches", checkpoint)
    probed = under(tokens, {"grid": {"mentor": "stages.0", "mentee": "tokens", "adapter": "slice", "normalise": True}})
    (probe,) = probed.probes
    assert (probe.adapter.mentee, probe.adapter.mentor) == ((17, 5), (12, 8, 8))
    assert probe.adapter.shape == (5, 4, 4)
    require_parity(dismantled(probed).measure())
