"""A step that writes its vectors in place, as those of large mentees are written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, Learner, LearningError, Samples
from mentee_device.core.backends import stock


@pytest.fixture
def bundle(stock_folder: Path) -> Bundle:
    return Bundle.open(stock_folder)


def learnt(bundle: Bundle, samples: Samples, steps: int) -> Learner:
    learner = Learner(bundle, backend="stock")
    for number in range(steps):
        learner.learn_batch(samples.take(np.arange(number, number + 4)))
    return learner


def test_vectors_written_in_place_are_the_same_bit_for_bit(
    bundle: Bundle, owner: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    anew = learnt(bundle, owner, 4)
    monkeypatch.setattr(stock, "LARGE", 0)
    in_place = learnt(bundle, owner, 4)
    assert in_place.snapshot() == anew.snapshot()


def test_a_step_that_breaks_off_in_the_runtime_leaves_nothing_that_looks_learnt(
    bundle: Bundle, owner: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock, "LARGE", 0)
    learner = learnt(bundle, owner, 1)
    before, session = learner.snapshot(), learner._session
    assert isinstance(session, stock.StockSession)
    monkeypatch.setattr(
        session._moving, "inputs", session._moving.inputs[:-1]
    )  # one left out, which the runtime refuses
    batch = owner.take(np.arange(4))
    with pytest.raises(RuntimeError, match=r"optimizer.onnx"):
        learner.learn_batch(batch)
    with pytest.raises(LearningError, match="restore a snapshot"):
        learner.learn_batch(batch)
    learner.restore(before)
    assert np.isfinite(learner.learn_batch(batch)["loss"])


def test_an_interrupt_as_the_optimizer_returns_leaves_no_gradient_to_the_next_step(
    bundle: Bundle, owner: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learnt(bundle, owner, 1)
    session, batch = learner._session, owner.take(np.arange(4))
    assert isinstance(session, stock.StockSession)
    run = session._moving.run

    def interrupted(feeds: Mapping[str, Any]) -> None:
        run(feeds)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session._moving, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learner.learn_batch(batch)
    assert not learner.collecting
    learner.learn_batch(batch)
    unharmed = learnt(bundle, owner, 1)
    unharmed.learn_batch(batch)
    assert learner.snapshot() == unharmed.snapshot()
