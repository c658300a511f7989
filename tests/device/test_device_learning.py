"""What the device learns is what torch would have learned, and a refused step changes nothing."""

from typing import Any

import bundle_factory
import numpy as np
import pytest
import torch
from mentee_device import Bundle, Learner, LearningError, SampleError, Samples, StateError
from mentee_device.batch import mixed
from torch import Tensor

ROWS = np.arange(6)


def as_torch(feeds: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in feeds.items()}


def torch_mentee(learner: Learner) -> bundle_factory.Training:
    """The torch module with the learner's parameters of now."""
    training = bundle_factory.torch_training(0)
    training.load_state_dict({name: torch.from_numpy(value) for name, value in learner.parameters().items()})
    return training


def test_terms_of_a_mixed_batch_equal_torchs(bundle: Bundle, owner: Samples) -> None:
    learner = Learner(bundle)
    replay = learner.supervision.take(ROWS)
    assert (owner.labels == -1).any()
    assert (replay.samples.labels == -1).any()
    knobs = {"alpha": 0.3, "beta": 2.0, "gamma": 0.1, "temperature": 2.5}
    weight = 4.0

    # the reference takes its means by hand, over the samples that count, from torch's own functions
    training = torch_mentee(learner)
    raw = np.concatenate([owner.input, replay.samples.input])
    ready = (torch.from_numpy(raw).double() / 255 - bundle_factory.MEAN) / bundle_factory.STD
    logits, conv2, _ = training.double().mentee(ready)
    labels = torch.from_numpy(np.concatenate([owner.labels, replay.samples.labels]))
    counts = labels >= 0
    each = torch.nn.functional.cross_entropy(logits[counts], labels[counts], reduction="none")
    weights = torch.cat([torch.full((len(owner),), weight), torch.ones(len(replay))]).double()[counts]
    ce = (each * weights).sum() / weights.sum()
    mentor = torch.from_numpy(replay.activations["conv2"]).double()
    rmse = (conv2[len(owner) :] - mentor).square().mean().sqrt()
    kl = torch.nn.functional.kl_div(
        (logits[len(owner) :] / 2.5).log_softmax(1),
        (torch.from_numpy(replay.mentor_logits).double() / 2.5).softmax(1),
        reduction="batchmean",
    )
    expected = {"ce": ce, "rmse_conv2": rmse, "kl": kl, "loss": 0.3 * ce + 2.0 * rmse + 0.1 * 2.5**2 * kl}

    # the project's one loss on the very feeds
    own, _, _ = torch_mentee(learner).terms(as_torch(mixed(bundle.manifest, owner, replay, weight, knobs)))

    terms = learner.learn_batch(owner, replay, owner_weight=weight, **knobs)
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert terms[name] == pytest.approx(value.item(), rel=2e-6, abs=1e-7), name
    assert terms["loss"] == pytest.approx(own.loss.item(), rel=1e-6)
    assert terms["kl"] == pytest.approx(own.kl.item(), rel=1e-5)


def test_terms_without_a_sample_are_zero(bundle: Bundle, owner: Samples) -> None:
    learner = Learner(bundle)
    labelled = owner.take(ROWS[:4])
    terms = learner.learn_batch(labelled)
    assert terms["kl"] == 0
    assert terms["rmse_conv2"] == 0
    assert terms["loss"] == pytest.approx(terms["ce"])
    nobody = Samples(owner.input[:0], owner.labels[:0])
    unlabelled = learner.supervision.take(np.array([3]))
    assert learner.learn_batch(nobody, unlabelled)["ce"] == 0


def test_twenty_adamw_steps_equal_torchs(bundle: Bundle, owner: Samples) -> None:
    """Gradients against torch's at the same parameters, and each step against torch.optim.AdamW on the same gradients.

    Both together are the whole of a run; comparing two free runs would instead measure how AdamW at epsilon 1e-8
    magnifies the last bit of a gradient near 0.
    """
    learner = Learner(bundle)
    session = learner._session
    reference = torch_mentee(learner)
    optimizer = torch.optim.AdamW(reference.parameters(), lr=bundle_factory.LEARNING_RATE, eps=1e-8, weight_decay=0.01)
    random = np.random.default_rng(3)
    for _ in range(20):
        samples = owner.take(random.choice(12, 5, replace=False))
        replay = learner.supervision.take(random.choice(20, 4, replace=False))
        feeds = mixed(bundle.manifest, samples, replay, 1.0, {})
        here = torch_mentee(learner)
        here(**as_torch(feeds))[0].sum().backward()
        session.forward_backward(feeds)
        gradients = {parameter.name: np.array(parameter.grad) for parameter in session._parameters}
        for name, parameter in here.named_parameters():
            np.testing.assert_allclose(gradients[name], parameter.grad, atol=2e-6, err_msg=name)
        for name, parameter in reference.named_parameters():
            parameter.grad = torch.from_numpy(gradients[name])
        session.apply()
        optimizer.step()
        for name, value in learner.parameters().items():
            expected = reference.get_parameter(name).detach().numpy()
            np.testing.assert_allclose(value, expected, atol=2e-6, err_msg=name)
    before = bundle_factory.torch_training(0).state_dict()
    assert all(np.abs(value - before[name].numpy()).max() > 1e-3 for name, value in learner.parameters().items())


def test_prediction_is_torchs_with_the_personal_parameters(bundle: Bundle, owner: Samples) -> None:
    learner = Learner(bundle)
    base = learner.predict(owner.input)
    learner.learn(owner, 5)
    personal = learner.predict(owner.input)
    assert np.abs(personal.logits - base.logits).max() > 1e-3
    ready = (torch.from_numpy(owner.input).float() / 255 - bundle_factory.MEAN) / bundle_factory.STD
    with torch.no_grad():
        logits, _, embedding = torch_mentee(learner).mentee(ready)
    np.testing.assert_allclose(personal.logits, logits, atol=1e-5)
    np.testing.assert_allclose(personal.embedding, embedding, atol=1e-5)


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
    with pytest.raises(StateError, match="no state file"):
        learner.save()
    assert learner._session.dump() == before
    assert learner.step == 0
