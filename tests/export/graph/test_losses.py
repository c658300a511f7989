"""Every metric and every softmax loss in a graph that ONNX Runtime Training differentiates, against torch in float64."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest
import torch
from mentee_device import Bundle, Learner
from torch import Tensor, nn

from export.bundle.write import export_bundle
from export.graph.artifacts import write_artifacts
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import GraphInputs, Port, input_ports, output_ports
from export.graph.training_graph import TrainingGraph, export_graph
from export.parity.backends.reference import Reference
from export.parity.backends.training import Backend
from export.parity.gradient_check import differences
from export.schema import ExportSettings, Loss
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from mentor_mentee.objective.loss import LossSpec
from mentor_mentee.objective.loss_spec import PROBE_METRICS, SOFTMAX_LOSSES
from mentor_mentee.objective.probes import Adapter, Probe, ProbedMentee

CLASSES, SHAPE, BODY = 4, (1, 4, 4), (3, 2, 2)
SPECS = [  # every metric once, every softmax loss of logits and of their z-scores once
    LossSpec("rmse", "kl"),
    LossSpec("l1", "prob_rmse"),
    LossSpec("l2", "dkd"),
    LossSpec("cosine", "dist"),
    LossSpec("attention", "kl", True),
    LossSpec("similarity", "prob_rmse", True),
    LossSpec("rmse", "dkd", True),
    LossSpec("rmse", "dist", True),
]
BETA, GAMMA = "beta", "gamma"
CASES = [(spec, knob) for knob in (BETA, GAMMA) for spec in SPECS[: len(PROBE_METRICS) if knob == BETA else None]]


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 3, 3)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.relu(self.body(x)).flatten(1))
        return logits


class EveryLoss(TrainingGraph):
    """The loss of each of `SPECS`, of which the input `choice` picks one: making a graph takes a second, so one is made."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        *given, choice_S = inputs
        losses = []
        for spec in SPECS:
            self.loss = spec
            loss, *_, logits, embedding = super().forward(*given)
            losses.append(loss)
        return (torch.cat(losses) * choice_S).sum(0, keepdim=True), logits, embedding


Made = tuple[TrainingGraph, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("losses")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Tiny().eval()
    probes = [Probe("p", "any", "body", Adapter(BODY, BODY, BODY), weight=1.25)]
    graph = EveryLoss(ProbedMentee(network, probes, "head").eval())
    choice = Port("choice", "float32", (len(SPECS),), "a weight for each loss")
    first, *_, logits, embedding = output_ports(CLASSES, 12, probes)
    forward = export_graph(graph, [*input_ports(SHAPE, CLASSES, probes), choice], [first, logits, embedding])
    write_artifacts(forward, [name for name, _ in network.named_parameters()], Optimizer(), folder)
    return graph, folder


class Chosen(NamedTuple):
    """The inputs of `EveryLoss`."""

    given: GraphInputs[Tensor]
    choice_S: Tensor

    def flat(self) -> list[Tensor]:
        return [*self.given.flat(), self.choice_S]

    def map(self, change: Callable[[Tensor], Tensor]) -> "Chosen":
        return Chosen(self.given.map(change), change(self.choice_S))


def feed(batch: int, spec: LossSpec, knob: str) -> Chosen:
    """Some labelled, some supervised, with weights; nothing of the loss but the one knob's term."""
    random = torch.Generator().manual_seed(batch)
    given = GraphInputs(
        input=torch.randn(batch, *SHAPE, generator=random),
        labels=torch.tensor([2, -1, 0, 3, -1, 1, -1])[:batch],
        labelled=torch.tensor([1.0, 0, 1, 1, 0, 1, 0])[:batch],
        mentor_logits=3 * torch.randn(batch, CLASSES, generator=random),
        mentor={"p": torch.randn(batch, *BODY, generator=random)},
        supervised=torch.tensor([1.0, 1, 0, 1, 0.5, 2, 1])[:batch],
        **{name: torch.tensor([float(name == knob)]) for name in ("alpha", BETA, GAMMA)},
        temperature=torch.tensor([2.5]),
    )
    return Chosen(given, torch.tensor([float(other is spec) for other in SPECS]))


def test_no_loss_is_left_out() -> None:
    assert {spec.probe for spec in SPECS} == set(PROBE_METRICS)
    assert {(spec.softmax, spec.standardise) for spec in SPECS} == {
        (s, z) for s in SOFTMAX_LOSSES for z in (False, True)
    }


@pytest.mark.parametrize(("spec", "knob"), CASES, ids=str)
def test_the_runtime_differentiates_it_as_torch_does(made: Made, spec: LossSpec, knob: str) -> None:
    graph, folder = made
    for batch in (1, 7):
        given = feed(batch, spec, knob)
        reference, backend = Reference(graph), Backend(folder)
        reference.backward(given)
        backend(given, learning=True)
        errors = differences(backend.gradients(reference.parameters), reference.take_gradients())
        assert max(errors.values()) < 5e-6, errors
        parameters = list(graph.student.mentee.parameters())
        gradients = torch.autograd.grad(graph(*given.flat())[0].sum(), parameters, allow_unused=True)
        moved = max(float(gradient.abs().max()) for gradient in gradients if gradient is not None)
        assert moved > 1e-4 or (spec.probe, knob, batch) == ("similarity", BETA, 1)  # one sample is like itself


def test_the_bundle_of_another_loss_names_its_terms_and_learns(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    """From the checkpoint's file to the device program; the export's own parity gate compares all of its outputs."""
    spec = LossSpec("attention", "dist", standardise=True)
    replace(checkpoint, loss=spec).save(tmp_path / "mentee.safetensors")
    settings = ExportSettings(supervision_per_class=6, golden_per_class=8, loss=Loss(beta=0.1), backend="ort-training")
    exported = export_bundle(MenteeCheckpoint.load(tmp_path / "mentee.safetensors"), tmp_path / "bundle", settings)
    manifest = json.loads((exported.path / "manifest.json").read_text())
    assert manifest["loss"] == {
        "formula": spec.formula(),
        "probe": "attention",
        "softmax": "dist",
        "standardise": True,
        "alpha": 1.0,
        "beta": 0.1,
        "gamma": 1.0,
        "temperature": 4.0,
        "schedule": "constant",
    }
    names = ["loss", "ce", "attention_early", "attention_late", "dist", "logits", "embedding"]
    assert [port["name"] for port in manifest["graphs"]["training"]["outputs"]] == names
    outputs = onnx.load(exported.path / "ort-training" / "eval_model.onnx").graph.output
    assert [value.name for value in outputs][: len(names)] == names
    with Bundle.open(exported.path) as bundle, Learner(bundle) as learner:
        golden = bundle.golden()
        terms = learner.learn_batch(golden, learner.supervision)
    assert list(terms) == names[:5]
    assert terms["loss"] == pytest.approx(
        terms["ce"] + 0.1 * (terms["attention_early"] + terms["attention_late"]) + 16 * terms["dist"], rel=1e-5
    )
    assert min(terms.values()) > 0


def test_attention_at_a_vector_is_refused_before_it_is_exported() -> None:
    probed = ProbedMentee(Tiny(), [Probe("p", "any", "head", Adapter((4,), (4,), (4,)))], "head")
    with pytest.raises(UserError, match=r"probe 'p' compares \[4\], which has one position"):
        TrainingGraph(probed, LossSpec("attention"))
