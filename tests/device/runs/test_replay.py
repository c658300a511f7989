"""Each way of BatchNorm, Dropout, what trains and other classes, on the device: learned there, and in torch, the same."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from mentee_device import Bundle, Learner, LearningError, Samples
from mentee_device.bundle.samples import preprocess
from mentee_device.core.batch import mixed
from torch import nn

from export.bundle.prepare import prepare
from export.bundle.write import export_bundle
from export.graph.optimizer_spec import Optimizer
from export.graph.training_graph import TrainingGraph
from export.network.batch_norm import learning_mode
from export.schema import ExportSettings, Loss
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee
from tests.conftest import seeded
from tests.device.gradients import gradients_of

STEADY = Optimizer(learning_rate=0.01, epsilon=1e-3)  # at 1e-8 a gradient that is rounding moves by the whole rate
CHOICES: dict[str, dict[str, Any]] = {
    "frozen": {},
    "affine_only": {"batch_norm": "affine_only", "trainable": "head"},
    "batch": {"batch_norm": "batch"},
    "batch, two classes new": {"batch_norm": "batch", "trainable": "last:1", "classes": ["9", "x", "1", "y", "3"]},
    "dropout": {"dropout": "on"},
}
COMPARED = [choice for choice in CHOICES if choice != "dropout"]  # torch draws other masks
STEPS = 12


class Small(nn.Module):
    """A BatchNorm on a 1×1 map, and Dropout before the head."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 8, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(p)
        self.head = nn.Linear(6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(torch.relu(self.norm(self.conv(x))).flatten(1)))  # type: ignore[no-any-return]


def settings_of(choice: dict[str, Any]) -> ExportSettings:
    loss = Loss(1.0, 0.1, 1.0, 4.0)
    small: dict[str, Any] = {"supervision_per_class": 6, "golden_per_class": 4, "backend": "ort-training"}
    return ExportSettings(**small, optimizer=STEADY, loss=loss, **choice)


Opened = Callable[..., tuple[ExportSettings, Bundle]]


@pytest.fixture(scope="module")
def exported(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Each choice is exported once; nobody may change a bundle."""

    made: dict[tuple[str, int], Path] = {}

    def opened(choice: str, like: MenteeCheckpoint = checkpoint) -> tuple[ExportSettings, Bundle]:
        settings, key = settings_of(CHOICES[choice]), (choice, id(like))
        if key not in made:
            made[key] = export_bundle(like, tmp_path_factory.mktemp("choice") / "bundle", settings).path
        return settings, Bundle.open(made[key])

    return opened


@pytest.fixture(scope="module")
def small(checkpoint: MenteeCheckpoint) -> MenteeCheckpoint:
    with seeded(3):
        network = Small()
        network.norm.running_mean.uniform_(-0.5, 0.5)  # type: ignore[operator,union-attr]
    target = f"{Small.__module__}.Small"
    return replace(checkpoint, recipe={"_target_": target}, state=network.state_dict(), head="head", probes=())


def batches(bundle: Bundle) -> list[tuple[Samples, Any]]:
    """The same mixed batches for both: labelled samples of the golden set, and replayed ones."""
    random = np.random.default_rng(5)
    golden, replay = bundle.golden(), bundle.supervision()
    drawn = []
    for _ in range(STEPS):
        rows, again = random.choice(len(golden.input), 5, False), random.choice(len(replay), 6, False)
        drawn.append((golden.take(rows), replay.take(again)))
    return drawn


def in_torch(checkpoint: MenteeCheckpoint, settings: ExportSettings, bundle: Bundle) -> ProbedMentee:
    """The mentee trained by torch.optim.AdamW on those batches."""
    prepared = prepare(checkpoint, settings)
    graph: TrainingGraph = copy.deepcopy(prepared.graph).double()
    learning_mode(graph)
    trained = [parameter for parameter in graph.parameters() if parameter.requires_grad]
    adamw = torch.optim.AdamW(trained, lr=STEADY.learning_rate, eps=STEADY.epsilon, weight_decay=STEADY.weight_decay)
    loss = settings.loss
    knobs = [torch.tensor([value]).double() for value in (loss.alpha, loss.beta, loss.gamma, loss.temperature)]
    for samples, replay in batches(bundle):
        x = checkpoint.view(torch.from_numpy(np.concatenate([samples.input, replay.samples.input]))).double()
        labels = torch.from_numpy(np.concatenate([samples.labels, replay.samples.labels]))
        answered = torch.cat([torch.zeros(len(samples.input)), torch.ones(len(replay))]).double()

        def behind(value: Any, before: int = len(samples.input)) -> torch.Tensor:
            given = torch.from_numpy(value).double()
            return torch.cat([torch.zeros(before, *given.shape[1:]).double(), given])

        adamw.zero_grad()
        probes = [behind(replay.activations[probe.name]) for probe in checkpoint.probes]
        total, *_ = graph(x, labels, (labels >= 0).double(), behind(replay.mentor_logits), *probes, answered, *knobs)
        total.sum().backward()
        adamw.step()
    return graph.student.eval()


@pytest.mark.parametrize("choice", COMPARED)
def test_the_inference_graph_after_learning_is_the_mentee_that_torch_trained_the_same_steps(
    exported: Opened, checkpoint: MenteeCheckpoint, choice: str, tmp_path: Path
) -> None:
    settings, bundle = exported(choice)
    golden = bundle.golden()
    with Learner(bundle) as learner:
        before = learner.predict(golden.input).logits
        for samples, replay in batches(bundle):
            learner.learn_batch(samples, replay)
        predicted = learner.predict(golden.input)
        learner.export_inference(tmp_path / "mine.onnx")
        moved = set(learner.parameters())
    mentee = in_torch(checkpoint, settings, bundle)
    ready = checkpoint.view(torch.from_numpy(golden.input))
    with torch.no_grad():
        expected = mentee(ready.double())
    session = onnxruntime.InferenceSession(tmp_path / "mine.onnx", providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_inputs()] == ["input"]
    logits, embedding = session.run(["logits", "embedding"], {"input": ready.numpy()})
    np.testing.assert_allclose(logits, expected.logits.numpy(), atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(embedding, expected.embedding.numpy(), atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(predicted.logits, logits, atol=1e-5)
    assert np.abs(logits - before).max() > 0.05  # the steps did something
    one = session.run(["logits"], {"input": ready[:1].numpy()})[0]
    np.testing.assert_allclose(one, logits[:1], atol=1e-5)  # alone or among others: nothing of the batch is left
    running = {name for name in moved if "running" in name}
    assert bool(running) == (settings.batch_norm == "batch")
    assert not list(tmp_path.glob(".*partial"))


def test_a_refused_step_leaves_running_statistics_as_they_were(exported: Opened) -> None:
    _, bundle = exported("batch")
    golden = bundle.golden()
    with Learner(bundle) as learner:
        learner.learn_batch(golden.take(np.arange(4)))
        before = learner.parameters()
        with pytest.raises(LearningError, match="nothing was changed"):
            learner.learn_batch(golden.take(np.arange(4)), alpha=3e38, gamma=0.0)
        after = learner.parameters()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert any("running_mean" in name for name in before)


def test_one_sample_has_no_variance_on_a_map_of_one_value(exported: Opened, small: MenteeCheckpoint) -> None:
    _, bundle = exported("batch", small)
    golden = bundle.golden()
    with Learner(bundle) as learner:
        with pytest.raises(LearningError, match=r"a batch of one sample: .* learn from at least two samples at a time"):
            learner.learn_batch(golden.take(np.arange(1)))
        learner.learn_batch(golden.take(np.arange(2)))
        assert learner.step == 1
        learner.predict(golden.input[:1])


def test_dropout_drops_its_share_while_learning_alone_and_a_resumed_session_draws_the_same(
    exported: Opened, small: MenteeCheckpoint
) -> None:
    """With one sample the gradient of the head's weights is (p − y) ⊗ dropped embedding: its columns show the mask."""
    _, bundle = exported("dropout", small)
    golden = bundle.golden()
    passed = seen = 0
    with Learner(bundle) as learner:
        session = learner._session
        predicted = learner.predict(golden.input)
        for step in range(40):
            feeds = mixed(bundle.manifest, golden.take(np.array([step])), None, 1.0, {})
            outputs = session.forward_backward(feeds, step)
            gradient = gradients_of(session)
            again = session.forward_backward(feeds, step)
            session.discard()
            np.testing.assert_array_equal(outputs["loss"], again["loss"])
            full = predicted.embedding[step]
            # the masked embedding, from W's gradient and b's: dW = db ⊗ e
            at = np.abs(gradient["head.bias"]).argmax()
            dropped = gradient["head.weight"][at] / gradient["head.bias"][at]
            alive = full > 1e-3
            mask = dropped[alive] / full[alive]
            np.testing.assert_allclose(mask, np.where(mask > 1, 2.0, 0.0), atol=1e-3)  # 1 / (1 − p), or nothing
            passed, seen = passed + int((mask > 1).sum()), seen + len(mask)
        np.testing.assert_array_equal(learner.predict(golden.input).logits, predicted.logits)  # none while predicting
    assert abs(passed / seen - 0.5) < 5 * 0.5 / np.sqrt(seen)
    session = onnxruntime.InferenceSession(bundle.path("inference.onnx"))
    (shipped,) = session.run(["logits"], {"input": preprocess(golden.input, bundle.manifest)})
    np.testing.assert_allclose(shipped, predicted.logits, atol=1e-5)


def test_dropout_on_is_refused_where_there_is_none(exported: Opened) -> None:
    with pytest.raises(UserError, match=r"dropout=on, but the mentee has no nn\.Dropout with p above 0"):
        exported("dropout")
