"""Images of the owner that each step moves a little, against a loop over pixels."""

from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Learner, Owner, Plan, Samples
from mentee_device.runs.shift import shifted


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_whole_pixels_and_repeated_edges(bundle: Bundle, dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 2, 5, 7)).astype(dtype)
    with Learner(bundle) as learner:
        learner.seed(3)
        moved = shifted(image, 2, learner)
        moves = np.random.default_rng(3).integers(5, size=80).reshape(40, 2) - 2
        assert learner.draw_whole(1000, 1) == np.random.default_rng(3).integers([5] * 80 + [1000])[-1:]
    assert {*moves.ravel()} == {-2, -1, 0, 1, 2}
    expected = np.zeros_like(image)
    for one, (down, right) in enumerate(moves):
        for y in range(5):
            for x in range(7):
                expected[one, :, y, x] = image[one, :, min(max(y - down, 0), 4), min(max(x - right, 0), 6)]
    assert moved.dtype == dtype
    np.testing.assert_array_equal(moved, expected)


def test_signals_stay(bundle: Bundle) -> None:
    signal = np.arange(12, dtype=np.float32).reshape(2, 2, 1, 3)
    with Learner(bundle) as learner:
        assert shifted(signal, 2, learner) is signal


def test_a_run_moves_the_owners_images_and_goes_on_with_it(bundle: Bundle, tmp_path: Path) -> None:
    golden = bundle.golden()
    own, plan = golden.take(np.arange(12)), Plan(budget=Budget(steps=6), shift=1, seed=2, rounds=0, save_every=1)
    with Owner(bundle, tmp_path / "me") as me, Owner(bundle, tmp_path / "paused") as paused, Learner(bundle) as learner:
        me.add(Samples(own.input, own.labels))
        me.learn(plan)
        learner.seed(2)
        for _ in range(6):
            rows = learner.draw(np.arange(12), 8)
            replay = learner.draw_replay(16)
            moved = Samples(shifted(own.input[rows], 1, learner), own.labels[rows])
            learner.learn_batch(moved, replay, owner_weight=4.0, beta=0.0)
        assert me.learner.snapshot() == learner.snapshot()
        paused.add(Samples(own.input, own.labels))
        paused.learn(plan, on_progress=lambda progress: paused.pause() if progress.done.steps == 3 else None)
        paused.resume()
        assert paused.learner.snapshot() == learner.snapshot()
