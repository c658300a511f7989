"""Anomalies, against scikit-learn's neighbours, counting, and the share of false alarms on new normal data."""

import numpy as np
import pytest
from mentee_device import SampleError, StateError
from mentee_device.anomaly.normal import Normal, Watch, distances
from sklearn.neighbors import NearestNeighbors

D = 4


def normal(samples: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(size=(samples, D)).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_distance_and_threshold_equal_scikit_learns(neighbours: int) -> None:
    seen, new = normal(99), normal(30, 1) * 2
    one = Normal(Watch(samples=99, percentile=90, neighbours=neighbours), D)
    assert one.observe(seen) == 99
    judged = one.judge(new)
    tree = NearestNeighbors().fit(seen)
    own = np.sort(tree.kneighbors(seen, neighbours + 1)[0][:, -1])  # the first neighbour is the sample itself
    assert judged.threshold == pytest.approx(own[89])  # the 90th smallest: (99 + 1) · 0.9
    np.testing.assert_allclose(judged.distance, tree.kneighbors(new, neighbours)[0][:, -1])
    np.testing.assert_array_equal(judged.anomalous, judged.distance > own[89])
    assert 0 < judged.anomalous.sum() < 30
    np.testing.assert_allclose(distances(new, seen)[2, 5], np.linalg.norm(new[2] - seen[5]))


@pytest.mark.parametrize(("percentile", "capacity"), [(95, 400), (95, 200), (80, 200)])
def test_the_percentile_holds_on_new_normal_data(percentile: float, capacity: int) -> None:
    """The share of one watch scatters by √(p(1 − p)/M), 1.1 to 2.8 points here; 16 of them tell a wrong rank from chance."""
    shares = []
    for seed in range(16):
        one = Normal(Watch(samples=400, percentile=percentile, capacity=capacity, seed=seed), D)
        one.observe(normal(400, seed))
        shares.append(one.judge(normal(500, 100 + seed)).anomalous.mean())
    assert np.mean(shares) == pytest.approx(1 - percentile / 100, abs=0.02)
    far = normal(50, 7) + 6
    assert one.judge(far).anomalous.all()


def test_what_is_stored_is_a_fair_sample_of_bounded_size() -> None:
    stored = np.zeros(40)
    for seed in range(300):
        one = Normal(Watch(samples=40, capacity=10, seed=seed), 1)
        one.observe(np.arange(40.0)[:, None])
        assert len(one) == 10
        stored[one._stored_MD[:, 0].astype(int)] += 1
    assert stored.sum() == 3000
    # each 300 · 1/4 = 75 times, with a standard deviation of 7.5
    assert np.abs(stored - 75).max() < 4 * 7.5


def test_it_observes_so_many_samples_then_no_more() -> None:
    one = Normal(Watch(samples=10), D)
    assert one.observe(normal(7)) == 7
    assert one.observing
    assert one.observe(normal(7, 1)) == 3
    assert not one.observing
    before = one.to_bytes()
    assert one.observe(normal(7, 2)) == 0
    assert one.to_bytes() == before
    one.resume()
    assert one.observe(normal(20, 3)) == 10
    assert (one.seen, len(one), one.observing) == (20, 20, False)


def test_it_observes_so_long() -> None:
    one = Normal(Watch(samples=None, seconds=60), D)
    for now in (1000.0, 1000.0, 1030.0, 1060.0):
        assert one.observe(normal(2), now) == 2
    assert one.observe(normal(2), 1060.5) == 0
    assert not one.observing
    assert len(one) == 8
    one.resume()  # a period of its own
    assert one.observe(normal(2), 5000.0) == 2
    assert one.observe(normal(2), 5060.0) == 2
    one.freeze()
    assert one.observe(normal(2), 5061.0) == 0


def test_a_clock_that_goes_back_is_refused() -> None:
    one = Normal(Watch(seconds=60), D)
    one.observe(normal(2), 100.0)
    before = one.to_bytes()
    for now, match in ((99.0, "does not go back"), (float("nan"), "does not go back"), (None, "what time it is")):
        with pytest.raises(SampleError, match=match):
            one.observe(normal(2), now)
    assert one.to_bytes() == before


def test_a_constant_signal_flags_any_change() -> None:
    one = Normal(Watch(samples=5), D)
    one.observe(np.ones((5, D)))
    assert one.judge(np.array([np.ones(D), np.full(D, 1.001)])).anomalous.tolist() == [False, True]
    assert one.judge(np.ones((0, D))).anomalous.tolist() == []


def test_saved_and_resumed_equals_uninterrupted() -> None:
    watch = Watch(samples=100, seconds=50.0, capacity=12, percentile=90, neighbours=2, seed=3)
    straight, stopped = Normal(watch, D), Normal(watch, D)
    for step in range(8):
        for one in (straight, stopped):
            one.observe(normal(6, step), float(step))
        stopped = Normal.from_bytes(stopped.to_bytes())
    assert stopped.to_bytes() == straight.to_bytes()
    assert stopped.threshold == straight.threshold
    content = straight.to_bytes()
    for damaged in (b"", content[:50], content[:-8], content.replace(b"stored", b"strood")):
        with pytest.raises(StateError, match="restore a copy"):
            Normal.from_bytes(damaged)


def test_bad_input_changes_nothing() -> None:
    one = Normal(Watch(samples=10), D)
    with pytest.raises(SampleError, match="only 0 samples observed"):
        one.judge(normal(1))
    one.observe(normal(3))
    before = one.to_bytes()
    bad = normal(2)
    bad[1, 0] = np.inf
    for wrong, match in ((bad, "NaN or Inf"), (normal(2)[:, :3], r"expected \[N, 4\]"), (normal(2)[0], "expected")):
        with pytest.raises(SampleError, match=match):
            one.observe(wrong)
        with pytest.raises(SampleError, match=match):
            one.judge(wrong)
    assert one.to_bytes() == before
    for settings in (
        {"samples": None},
        {"samples": 1},
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"percentile": 100.0},
        {"neighbours": 0},
        {"neighbours": 256},
    ):
        with pytest.raises(SampleError, match=r"expected|needs"):
            Watch(**settings)
