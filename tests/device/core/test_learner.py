"""The device learns what torch would have learned, and a refused step changes nothing."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from mentee_device import Bundle, Learner, LearningError, SampleError, Samples
from mentee_device.bundle.inputs import Batch
from mentee_device.core.batch import mixed
from torch import Tensor

from export.graph.training_graph import TrainingGraph
from export.network.for_device import frozen_network
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.objective.probes import ProbedMentee
from tests.device.gradients import gradients_of

Reference = Callable[[Learner], TrainingGraph]


@pytest.fixture
def reference(checkpoint: MenteeCheckpoint) -> Reference:
    """Torch's own mentee and loss, with a learner's parameters of now."""
    base = TrainingGraph(ProbedMentee(frozen_network(checkpoint), checkpoint.probes, checkpoint.head)).eval()

    def with_parameters(learner: Learner) -> TrainingGraph:
        graph = copy.deepcopy(base)
        parameters = {name: torch.from_numpy(value) for name, value in learner.parameters().items()}
        graph.student.mentee.load_state_dict(parameters)
        return graph

    return with_parameters


def in_order(bundle: Bundle, batch: Batch) -> list[Tensor]:
    """A batch in the order in which the exporter's own graph takes it, which the stock graphs' has the state before."""
    manifest = bundle.manifest
    graph = manifest.ort_training.training if manifest.ort_training else manifest.stock and manifest.stock.gradients
    assert graph
    return [torch.from_numpy(batch.feeds()[name]) for name in graph.inputs if name != "parameters"]


def preprocessed(bundle: Bundle, raw: np.ndarray[Any, Any]) -> Tensor:
    """By the formula of docs/bundle.md, in float64."""
    rules = bundle.manifest.preprocessing
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (rules.mean, rules.std))
    return (torch.from_numpy(raw).double() / 255 - mean) / std


def test_terms_of_a_mixed_batch_equal_torchs(bundle: Bundle, owner: Samples, reference: Reference) -> None:
    learner = Learner(bundle)
    everything = learner.supervision
    replay = everything.take(np.r_[:4, len(everything) - 2 : len(everything)])
    # a mentor with an opinion: from an untrained one's nearly flat softmax the KL is 0.003, of which float32 keeps 1e-5
    replay = replace(replay, mentor_logits=20 * replay.mentor_logits)
    assert (owner.labels == -1).any()
    assert (replay.samples.labels == -1).any()
    assert (replay.samples.labels >= 0).any()
    knobs = {"alpha": 0.3, "beta": 2.0, "gamma": 0.1, "temperature": 2.5}
    weight = 4.0

    # the reference takes its means by hand, over the samples that count, from torch's own functions
    probed = reference(learner).double().student
    out = probed(preprocessed(bundle, np.concatenate([owner.input, replay.samples.input])))
    labels = torch.from_numpy(np.concatenate([owner.labels, replay.samples.labels]))
    counts = labels >= 0
    each = torch.nn.functional.cross_entropy(out.logits[counts], labels[counts], reduction="none")
    weights = torch.cat([torch.full((len(owner),), weight), torch.ones(len(replay))]).double()[counts]
    ce = (each * weights).sum() / weights.sum()
    rmse = {
        f"rmse_{name}": (out.activations[name][len(owner) :] - torch.from_numpy(mentor).double()).square().mean().sqrt()
        for name, mentor in replay.activations.items()
    }
    kl = torch.nn.functional.kl_div(
        (out.logits[len(owner) :] / 2.5).log_softmax(1),
        (torch.from_numpy(replay.mentor_logits).double() / 2.5).softmax(1),
        reduction="batchmean",
    )
    loss = 0.3 * ce + 2.0 * torch.stack(list(rmse.values())).sum() + 0.1 * 2.5**2 * kl
    expected = {"loss": loss, "ce": ce, **rmse, "kl": kl}

    # the project's one loss on the very feeds
    own = reference(learner)(*in_order(bundle, mixed(bundle.manifest, owner, replay, weight, knobs)))

    terms = learner.learn_batch(owner, replay, owner_weight=weight, **knobs)
    assert list(terms) == list(expected)
    for (name, value), torchs in zip(expected.items(), own, strict=False):  # `own` goes on with the logits
        epsilon = {"kl": 0, "ce": 0, "loss": 2 * 2.0 * 1e-6}.get(name, 1e-6)  # what the loss takes off each RMSE
        assert terms[name] + epsilon == pytest.approx(value.item(), rel=2e-6, abs=1e-7), name
        assert terms[name] == pytest.approx(torchs.item(), rel=1e-5, abs=1e-7), (
            name
        )  # float32 leaves 4e-8 of the KL open


def test_terms_without_a_sample_are_zero(bundle: Bundle, owner: Samples) -> None:
    learner = Learner(bundle)
    labelled = owner.take(np.arange(4))
    terms = learner.learn_batch(labelled)
    assert terms["kl"] == 0
    assert terms["rmse_early"] == terms["rmse_late"] == 0
    assert terms["loss"] == pytest.approx(terms["ce"])
    nobody = Samples(owner.input[:0], owner.labels[:0])
    unlabelled = learner.supervision.take(np.flatnonzero(learner.supervision.samples.labels == -1)[:1])
    assert learner.learn_batch(nobody, unlabelled)["ce"] == 0


def test_twenty_adamw_steps_equal_torchs(bundle: Bundle, owner: Samples, reference: Reference) -> None:
    """Gradients against torch's at the same parameters, and each step against torch.optim.AdamW on the same gradients.

    Both together are the whole of a run; comparing two free runs would instead measure how AdamW at epsilon 1e-8
    magnifies the last bit of a gradient near 0.
    """
    learner = Learner(bundle)
    session = learner._session
    base = learner.parameters()
    mentee = reference(learner).student.mentee
    optimizer = torch.optim.AdamW(mentee.parameters(), lr=0.003, eps=1e-8, weight_decay=0.01)
    random = np.random.default_rng(3)
    for _ in range(20):
        samples = owner.take(random.choice(12, 5, replace=False))
        replay = learner.supervision.take(random.choice(60, 4, replace=False))
        feeds = mixed(bundle.manifest, samples, replay, 1.0, {})
        here = reference(learner)
        here(*in_order(bundle, feeds))[0].sum().backward()
        session.forward_backward(feeds)
        gradients = gradients_of(session)
        for name, parameter in here.student.mentee.named_parameters():
            np.testing.assert_allclose(gradients[name], parameter.grad, atol=2e-6, err_msg=name)
        for name, parameter in mentee.named_parameters():
            parameter.grad = torch.from_numpy(gradients[name])
        session.apply()
        optimizer.step()
        for name, value in learner.parameters().items():
            expected = mentee.get_parameter(name).detach().numpy()
            np.testing.assert_allclose(value, expected, atol=2e-6, err_msg=name)
    assert all(np.abs(value - base[name]).max() > 1e-3 for name, value in learner.parameters().items())


def test_prediction_is_torchs_with_the_personal_parameters(
    bundle: Bundle, owner: Samples, reference: Reference
) -> None:
    learner = Learner(bundle)
    base = learner.predict(owner.input)
    learner.learn(owner, 5)
    personal = learner.predict(owner.input)
    assert np.abs(personal.logits - base.logits).max() > 1e-3
    with torch.no_grad():
        expected = reference(learner).double().student(preprocessed(bundle, owner.input))
    np.testing.assert_allclose(personal.logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(personal.embedding, expected.embedding, atol=1e-5)


def test_accuracy_is_counted_over_all_chunks(bundle: Bundle) -> None:
    learner = Learner(bundle)
    golden = bundle.golden()
    assert len(golden) > 64
    hits = [
        int(learner.predict(golden.input[row : row + 1]).logits.argmax()) == golden.labels[row]
        for row in range(len(golden))
    ]
    assert learner.evaluate_golden() == pytest.approx(sum(hits) / len(hits))
    with pytest.raises(SampleError, match="no sample"):
        learner.predict(golden.input[:0])


def test_learning_lowers_the_loss_and_reset_undoes_it(bundle: Bundle, owner: Samples) -> None:
    learner = Learner(bundle)
    base = learner.parameters()
    seen: list[tuple[int, int]] = []
    learned = learner.learn(
        owner, 60, 12, 8, 0, lambda done, steps, terms: seen.append((done, steps)), gamma=0.0, beta=0.0
    )
    assert learned.last["loss"] < learned.first["loss"]
    assert seen == [(done, 60) for done in range(1, 61)]
    assert learner.step == 60
    learner.reset()
    assert learner.step == 0
    for name, value in learner.parameters().items():
        np.testing.assert_array_equal(value, base[name])


@pytest.mark.parametrize(
    "knobs",
    [{"alpha": 3e38}, {"alpha": 1e30}],
    ids=["loss is Inf", "finite loss, gradients whose square overflows"],
)
def test_a_step_that_blows_up_changes_nothing(bundle: Bundle, owner: Samples, knobs: dict[str, float]) -> None:
    learner, untouched = Learner(bundle), Learner(bundle)
    for one in (learner, untouched):
        one.learn(owner, 3, seed=1)
    before = learner._session.dump()
    with pytest.raises(LearningError, match="nothing was changed"):
        learner.learn_batch(owner, learner.supervision, **knobs)
    assert learner._session.dump() == before
    assert learner.step == 3
    for one in (learner, untouched):  # the refused gradients must not linger in the next step either
        one.learn_batch(owner, learner.supervision)
    assert learner._session.dump() == untouched._session.dump()


def test_what_cannot_be_learned_from_is_refused(bundle: Bundle, owner: Samples) -> None:
    learner = Learner(bundle)
    before = learner._session.dump()
    ready = np.zeros((2, 1, 8, 8), np.float32)
    ready[1, 0, 3, 3] = np.nan
    with pytest.raises(SampleError, match="first in sample 1"):
        learner.learn_batch(Samples(ready, np.array([0, 1])))
    with pytest.raises(SampleError, match="first in sample 1"):
        learner.learn(Samples(ready, np.array([0, 1])), 1, batch=1)
    unlabelled = Samples(owner.input, np.full(12, -1))
    with pytest.raises(LearningError, match="nothing to learn from"):
        learner.learn_batch(unlabelled)
    with pytest.raises(LearningError, match="nothing to learn from"):
        learner.learn(unlabelled, 1, replay_batch=0)
    for wrong in ({"temperature": 0.0}, {"alpha": -1.0}, {"beta": float("nan")}, {"owner_weight": 0.0}):
        with pytest.raises(SampleError, match="expected a finite number"):
            learner.learn_batch(owner, **wrong)
    for rate in (0.0, float("nan"), float("inf")):
        with pytest.raises(LearningError, match="learning rate"):
            learner.learning_rate = rate
    assert learner._session.dump() == before
    assert learner.step == 0
