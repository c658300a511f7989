"""A step that goes through the graph in parts is the step that goes through at once."""

from dataclasses import replace

import numpy as np
import pytest
from mentee_device import Bundle, Learner, Samples
from mentee_device.bundle.manifest import Manifest
from mentee_device.core import microbatch as passes
from mentee_device.core.batch import mixed

from tests.device.gradients import gradients_of

KNOBS = {"alpha": 0.3, "beta": 0.0, "gamma": 0.7, "temperature": 2.5}


@pytest.fixture
def in_fours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PASS_BYTES", 1)


def parts(manifest: Manifest, samples: Samples, beta: float = 0.0) -> int:
    return len(list(passes.passes(manifest, mixed(manifest, samples, None, 1.0, {"beta": beta}))))


def test_a_step_in_parts_is_the_step_at_once(bundle: Bundle, owner: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.linspace(0, 1, len(owner), dtype=np.float32)  # the first counts for nothing
    learnt = []
    for size in (1, 2**30):
        monkeypatch.setattr(passes, "PASS_BYTES", size)
        with Learner(bundle) as learner:
            unlabelled = np.argsort(learner.supervision.samples.labels)[:6]  # parts without a label among them
            replay = learner.supervision.take(np.r_[unlabelled, 7:16])
            terms = [learner.learn_batch(owner, replay, owner_weight=4.0, weights=weights, **KNOBS) for _ in range(3)]
            learnt.append((terms, learner.parameters(), learner.step))
    (terms_in_parts, in_parts, steps), (terms_at_once, at_once, same_steps) = learnt
    assert steps == same_steps == 3
    for one, other in zip(terms_in_parts, terms_at_once, strict=True):
        for name in ("loss", "ce", "kl"):
            assert one[name] == pytest.approx(other[name], rel=1e-5), name
    for name, value in at_once.items():
        np.testing.assert_allclose(
            in_parts[name], value, rtol=1e-4, atol=2e-5, err_msg=name
        )  # AdamW divides by |gradient|


@pytest.mark.usefixtures("in_fours")
def test_gradients_of_parts_add_up(bundle: Bundle, owner: Samples) -> None:
    gradients = []
    for in_parts in (True, False):
        with Learner(bundle) as learner:
            feeds = mixed(bundle.manifest, owner, learner.supervision.take(np.arange(9)), 4.0, KNOBS)
            whole = [(feeds, {})]
            for part, _ in passes.passes(bundle.manifest, feeds) if in_parts else whole:
                learner._session.forward_backward(part)
            gradients.append([*gradients_of(learner._session).values()])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * max(1e-3, np.abs(other).max()))


@pytest.mark.usefixtures("in_fours")
def test_what_relates_samples_goes_at_once(bundle: Bundle, owner: Samples) -> None:
    manifest = bundle.manifest
    assert parts(manifest, owner) == 3
    assert parts(manifest, owner, beta=0.1) == 1
    assert parts(replace(manifest, probes={}), owner, beta=0.1) == 3
    assert parts(replace(manifest, batch_norm="batch"), owner) == 1
    assert parts(replace(manifest, batch_norm="affine_only"), owner) == 3
    assert parts(replace(manifest, dropout="on"), owner) == 1
    assert parts(replace(manifest, terms=("ce", "dist")), owner) == 1


def test_the_size_of_a_pass_follows_the_manifest(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.activation_bytes > 0
    at_most = [passes.pass_size(replace(manifest, activation_bytes=size)) for size in (2**10, 2**18, 2**30, 0)]
    assert at_most == [2048, 8, passes.LEAST, passes.EVALUATION_BATCH]
