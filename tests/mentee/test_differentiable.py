"""Every family as a phone would train it: exported, differentiated by ONNX Runtime Training, compared with torch float64."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from export.graph.artifacts import write_artifacts
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, cut_inference, export_graph
from export.network.fold import BATCH_NORMS, freeze_batch_norm, largest_difference
from export.parity.check import measure
from export.parity.feeds import Samples
from export.parity.verdict import require_parity
from mentor_mentee.objective.probes import Adapter, Probe, ProbedMentee
from mentor_mentee.objective.taps import layer_shapes
from mentor_mentee.recipe import build
from tests.conftest import seeded

CLASSES = 3


@dataclass(frozen=True)
class Family:
    target: str
    shape: tuple[int, int, int]
    probed: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


FAMILIES = {
    "plain, pool before": Family(
        "PlainCNN", (2, 8, 8), ("features.0", "features.1"), {"widths": [3, 4, 5], "pool": "before"}
    ),
    "plain, flattened": Family(
        "PlainCNN", (2, 8, 8), ("features.1",), {"widths": [3, 4, 5], "pool": "before", "flatten": 8}
    ),
    "plain, two a resolution": Family(
        "PlainCNN",
        (2, 8, 8),
        ("features.1", "features.2"),
        {"widths": [3, 4, 5, 4], "pool": "before", "pools": [1, 3], "flatten": 8},
    ),
    "residual": Family("ResidualCNN", (2, 9, 9), ("stem", "stages.1"), {"widths": [3, 5]}),
    "inverted residual": Family(
        "InvertedResidualCNN", (2, 9, 9), ("stages.0", "last"), {"widths": [3, 4], "expansion": 2}
    ),
    "signal": Family("SignalCNN", (2, 1, 17), ("features.0", "features.2"), {"widths": [3, 4, 5], "stride": 2}),
}


def made(family: Family, batch_norm: bool) -> nn.Module:
    """A network with BatchNorm statistics and weights of its own; half of the scales are negative, where max pooling and
    scaling do not commute."""
    recipe = {"_target_": f"mentee.networks.{family.target}", "in_channels": family.shape[0], "num_classes": CLASSES}
    with seeded(0):
        network: nn.Module = build(recipe | family.options | {"batch_norm": batch_norm}, "a test")
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 1.5)
                signs = torch.arange(module.num_features) % 2 * 2 - 1
                nn.init.uniform_(module.weight, 0.5, 1.5).data.mul_(signs)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


def random_samples(shape: tuple[int, ...], probes: list[Probe], count: int = 8) -> Samples:
    random = torch.Generator().manual_seed(1)
    return Samples(
        3 * torch.randn(count, *shape, generator=random),
        torch.randn(count, CLASSES, generator=random),
        {probe.name: torch.randn(count, *probe.adapter.shape, generator=random) for probe in probes},
    )


@pytest.mark.parametrize("batch_norm", [True, False], ids=["BatchNorm", "no BatchNorm"])
@pytest.mark.parametrize("name", list(FAMILIES))
def test_the_runtime_trains_every_family_as_torch_does(name: str, batch_norm: bool, tmp_path: Path) -> None:
    family = FAMILIES[name]
    network = made(family, batch_norm)
    assert any(isinstance(module, BATCH_NORMS) for module in network.modules()) == batch_norm
    shapes = layer_shapes(network, torch.randn(2, *family.shape), family.probed)
    probes = [Probe(f"p{i}", "any", path, Adapter(*[shapes[path]] * 3)) for i, path in enumerate(family.probed)]
    frozen = freeze_batch_norm(network, set(family.probed))
    assert not any(isinstance(module, BATCH_NORMS) for module in frozen.modules())
    samples = random_samples(family.shape, probes)
    assert largest_difference(network, frozen, samples.input) < 1e-5
    before, after = (ProbedMentee(net, probes, "head").eval() for net in (network, frozen))
    for probe in probes:
        torch.testing.assert_close(
            *(s(samples.input).activations[probe.name] for s in (before, after)), rtol=1e-4, atol=1e-5
        )

    graph = TrainingGraph(after)
    inputs = input_ports(family.shape, CLASSES, probes)
    outputs = output_ports(CLASSES, after(samples.input).embedding.shape[1], probes)
    forward = export_graph(graph, inputs, outputs)
    onnx.save(cut_inference(forward), tmp_path / "inference.onnx")
    (tmp_path / "ort-training").mkdir()
    write_artifacts(forward, [name for name, _ in frozen.named_parameters()], Optimizer(), tmp_path / "ort-training")
    report = measure(graph, tmp_path / "ort-training", tmp_path / "inference.onnx", samples, outputs, Optimizer())
    require_parity(report)
    assert set(report["gradients"]) == {name for name, _ in frozen.named_parameters()}
