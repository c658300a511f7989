"""Simulated owners: nobody's test sample is learnt from, and each kind does what it says."""

import numpy as np
import pytest
from mentee_device import Samples

from benchmarks.personal.hard import KINDS, Draw, draw_owner, interpolated, rotation
from benchmarks.personal.owners import reported, verdict_of
from benchmarks.personal.people.motion import simulate

PER_CLASS = 40
LABELS = np.repeat(np.arange(5), PER_CLASS)
SHAPES = {"speech": (6, 1, 9), "writing": (1, 8, 8), "motion": (6, 1, 9)}


def samples(shape: tuple[int, ...], first: int) -> Samples:
    """Each is a number of its own, everywhere."""
    number_N = np.arange(first, first + len(LABELS), dtype=np.float32)
    return Samples(np.broadcast_to(number_N[:, None, None, None], (len(LABELS), *shape)).copy(), LABELS)


def drawn(domain: str, kind: str, k: int = 3) -> Draw:
    shape = SHAPES[domain]
    return draw_owner(samples(shape, 1), samples(shape, 1001), KINDS[domain][kind], k, seed=4, judged=0.5)


@pytest.mark.parametrize(("domain", "kind"), [(domain, kind) for domain, kinds in KINDS.items() for kind in kinds])
def test_parts_are_disjoint_and_the_same_for_every_number_of_labels(domain: str, kind: str) -> None:
    few, many = drawn(domain, kind, 0), drawn(domain, kind, 5)
    assert len(few.labelled) == 0
    for part in ("unlabelled", "test"):
        np.testing.assert_array_equal(getattr(few, part).input, getattr(many, part).input)
    assert many.test.input.shape[1:] == SHAPES[domain]
    assert np.isfinite(many.test.input).all()
    if KINDS[domain][kind].disturb is None:
        told = [part.input[:, 0, 0, 0] for part in (many.labelled, many.unlabelled, many.test)]
        assert len(np.unique(np.concatenate(told))) == sum(map(len, told))


def test_classes_are_missing_uneven_or_of_two_people_as_the_kind_says() -> None:
    plain, missing, uneven, mixed = (
        drawn("speech", kind) for kind in ("plain", "classes missing", "uneven", "two mixed")
    )
    assert np.bincount(plain.test.labels).tolist() == [20] * 5
    for part in (missing.labelled, missing.unlabelled, missing.test):
        assert np.unique(part.labels).tolist() == np.unique(missing.test.labels).tolist()
    assert len(np.unique(missing.test.labels)) == 3
    assert sorted(np.bincount(uneven.test.labels).tolist()) == [round(20 * 2 / (2 + rank)) for rank in (4, 3, 2, 1, 0)]
    others = np.concatenate([part.input[:, 0, 0, 0] > 1000 for part in (mixed.unlabelled, mixed.test)])
    assert 0.3 < others.mean() < 0.7


def test_values_between_places_are_on_the_line_and_nothing_lies_beyond_the_ends() -> None:
    row = np.array([[[[1.0, 3.0, 7.0]]]])
    found = interpolated(row, np.array([-2.0, -0.5, 0.0, 0.25, 1.5, 2.0, 2.5, 9.0]), 3)
    np.testing.assert_allclose(found.ravel(), [0, 0.5, 1, 1.5, 5, 7, 3.5, 0])


def test_a_turned_sensor_keeps_lengths_and_a_turn_back_is_none() -> None:
    axis = np.array([1.0, 2.0, -0.5])
    np.testing.assert_allclose(rotation(axis, 33) @ rotation(axis, -33), np.eye(3), atol=1e-12)
    random = np.random.default_rng(0)
    before = random.normal(size=(4, 6, 1, 9))
    disturb = KINDS["motion"]["turned"].disturb
    assert disturb is not None
    after = disturb(before, random)
    for part in (slice(0, 3), slice(3, 6)):
        lengths = [np.linalg.norm(one[:, part], axis=1) for one in (before, after)]
        np.testing.assert_allclose(*lengths)
    assert np.abs(after - before).max() > 0.1


def test_motion_has_nobody_in_two_parts_and_the_same_seed_the_same_windows() -> None:
    first, again = simulate(3, train=2, held=2), simulate(3, train=2, held=2)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    parts = [set(first["persons"][first["owners"] == one]) for one in ("train", "held")]
    assert (len(parts[0]), len(parts[1]), parts[0] & parts[1]) == (2, 2, set())
    assert np.bincount(first["labels"]).min() > 0
    assert np.isfinite(first["inputs"]).all()


def test_a_run_is_harmful_where_somebody_loses_beyond_noise() -> None:
    def row(after: float, better: int, worse: int, everybody: float = 0.9) -> str:
        counts = {"owner": [0.8, after], "everybody": [0.9, everybody], "better": better, "worse": worse}
        return verdict_of({"candidate": counts, "test": 400})

    assert row(0.75, 0, 20) == "harmful"  # −5, two standard errors are 2.2
    assert row(0.78, 20, 28) == "harmless"  # −2 within 3.5
    assert row(0.785, 0, 6) == "between"
    assert row(0.9, 40, 0) == "harmless"
    assert row(0.9, 40, 0, everybody=0.87) == "harmful"
    assert row(0.9, 40, 0, everybody=0.89) == "between"
    assert reported("digits", "lucas, plain")
    assert not reported("digits, weak base", "theo, hiss")
