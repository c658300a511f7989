"""Table of the networks that train on the device: each exported, its gradients compared with torch's in float64.

    python -m benchmarks.bundles.trainable_models [NAME …]

Fresh weights of seed 0, ten classes, a batch of 4 that mixes labelled and supervised samples; seconds are of one thread, from the
network to the training artifacts. A network that cannot be exported is in the table with the reason.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import nn
from torchvision import models

from export.graph.artifacts import silenced, write_artifacts
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, cut_inference, tidied, traced
from export.network.checks import require_exportable
from export.network.fold import freeze_batch_norm
from export.parity.backends.reference import Reference
from export.parity.backends.training import Backend
from export.parity.feeds import Samples, draw
from export.parity.gradient_check import differences
from export.rewrites.rewrite import PREFIX, Finding, require_differentiable, rewrite
from export.schema import ExportSettings
from mentee.networks import InvertedResidualCNN, PlainCNN, ResidualCNN
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee
from mentor_mentee.objective.taps import find_head

CLASSES = 10
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "PlainCNN": (lambda: PlainCNN(1, CLASSES), (1, 28, 28)),
    "ResidualCNN": (lambda: ResidualCNN(3, CLASSES), (3, 32, 32)),
    "InvertedResidualCNN": (lambda: InvertedResidualCNN(3, CLASSES), (3, 32, 32)),
    "mobilenet_v2": (lambda: models.mobilenet_v2(num_classes=CLASSES), (3, 64, 64)),
    "mobilenet_v3_small": (lambda: models.mobilenet_v3_small(num_classes=CLASSES), (3, 64, 64)),
    "squeezenet1_1": (lambda: models.squeezenet1_1(num_classes=CLASSES), (3, 64, 64)),
    "shufflenet_v2_x0_5": (lambda: models.shufflenet_v2_x0_5(num_classes=CLASSES), (3, 64, 64)),
    "efficientnet_b0": (lambda: models.efficientnet_b0(num_classes=CLASSES), (3, 64, 64)),
    "resnet18": (lambda: models.resnet18(num_classes=CLASSES), (3, 64, 64)),
    "mnasnet0_5": (lambda: models.mnasnet0_5(num_classes=CLASSES), (3, 64, 64)),
    "vgg11": (lambda: models.vgg11(num_classes=CLASSES), (3, 32, 32)),
    "VisionTransformer 2×32": (lambda: models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=CLASSES), (3, 32, 32)),
}


@dataclass(frozen=True)
class Judged:
    parameters: int
    findings: list[Finding]
    gradients: dict[str, float]  # parameter -> relative difference from torch float64
    own: dict[str, float]  # the same of torch float32
    seconds: float
    artifact_bytes: int  # of ort-training/
    graph_bytes: int  # of the training graph alone


def judge(network: nn.Module, shape: Sequence[int], head: str | None = None, batch: int = 4) -> Judged:
    """Raises `UserError` where the network cannot be exported."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(8, *shape, generator=random)
    start = time.perf_counter()
    classes = require_exportable(network, x[:2]).shape[1]
    network = freeze_batch_norm(network)
    probed = ProbedMentee(network, (), head or find_head(network, x[:2])).eval()
    graph = TrainingGraph(probed)
    with torch.no_grad():
        ports = input_ports(shape, classes, ()), output_ports(classes, probed(x[:2]).embedding.shape[1], ())
    with silenced():
        model = traced(graph, *ports)
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    findings = rewrite(model, [PREFIX + name for name in names])
    require_differentiable(findings)
    model = tidied(model, names)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_artifacts(model, names, ExportSettings().optimizer, folder)
        onnx.checker.check_model(cut_inference(model))
        seconds = time.perf_counter() - start
        feed = draw(Samples(x, torch.randn(8, classes, generator=random), {}), ["mixed"], batch)[0]
        exact, single, backend = Reference(graph), Reference(graph, torch.float32), Backend(folder)
        exact.backward(feed)
        single.backward(feed)
        backend(feed, learning=True)
        expected = exact.take_gradients()
        rough = {name: gradient.double() for name, gradient in single.take_gradients().items()}
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        return Judged(
            sum(parameter.numel() for parameter in network.parameters()),
            findings,
            differences(backend.gradients(exact.parameters), expected),
            differences(rough, expected),
            seconds,
            sum(sizes.values()),
            sizes["training_model.onnx"],
        )


def row(name: str) -> str:
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = make()
    count = sum(parameter.numel() for parameter in network.parameters())
    sizes = "×".join(map(str, shape))
    try:
        judged = judge(network, shape)
    except UserError as error:
        return f"| {name} | {sizes} | {count:,} | – | – | – | – | no: {error} |"
    applied = Counter(finding.op for finding in judged.findings)
    said = ", ".join(f"{times} {op}" for op, times in applied.items()) or "none"
    return (
        f"| {name} | {sizes} | {judged.parameters:,} | {said} | {max(judged.gradients.values()):.1e} "
        f"({max(judged.own.values()):.1e}) | {judged.seconds:.1f} | {judged.artifact_bytes / (4 * judged.parameters):.2f} | yes |"
    )


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread")
    print(
        "| network | sample | parameters | rewritten | gradients, off torch float64 (torch float32 is) | export s | ",
        end="",
    )
    print("ort-training bytes / fp32 parameters | trains |\n|---|---|---|---|---|---|---|---|", flush=True)
    for name in sys.argv[1:] or NETWORKS:
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
