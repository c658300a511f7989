"""Nobody's test sample is learnt from, fewer labels are among more, and what a shift lets in is silence."""

import numpy as np
from mentee_device import Samples

from benchmarks.personal.arms import draw_owner, shifted
from benchmarks.personal.figures import Run, table

LABELS = np.repeat(np.arange(3), 20)
SAMPLES = Samples(np.arange(60, dtype=np.float32).reshape(60, 1, 1, 1), LABELS)


def test_parts_are_disjoint_and_balanced_and_cover_all_but_spare_labels() -> None:
    for k in (0, 1, 3, 5):
        owner = draw_owner(SAMPLES, {"mentor": np.arange(60.0)[:, None]}, k, draw=1, test=8, most=5)
        labelled, unlabelled, test = owner.labelled.input.ravel(), owner.unlabelled.ravel(), owner.test.input.ravel()
        assert len({*labelled, *unlabelled, *test}) == len(labelled) + len(unlabelled) + len(test) == 3 * (k + 7 + 8)
        assert np.bincount(owner.labelled.labels, minlength=3).tolist() == [k] * 3
        assert owner.mentor_logits["mentor"].ravel().tolist() == unlabelled.tolist()
        assert (LABELS[labelled.astype(int)] == owner.labelled.labels).all()


def test_more_labels_hold_the_fewer_and_leave_the_rest_as_it_was() -> None:
    few, many = (draw_owner(SAMPLES, {}, k, draw=2, test=8) for k in (1, 3))
    assert set(few.labelled.input.ravel()) <= set(many.labelled.input.ravel())
    np.testing.assert_array_equal(few.test.input, many.test.input)
    np.testing.assert_array_equal(few.unlabelled, many.unlabelled)
    assert not np.array_equal(few.test.input, draw_owner(SAMPLES, {}, 1, draw=3, test=8).test.input)


def test_a_shift_moves_whole_samples_and_lets_zeros_in() -> None:
    samples = np.arange(1, 2 * 3 * 10 + 1, dtype=np.float32).reshape(2, 3, 1, 10).repeat(20, axis=0)
    moved = shifted(samples, 0.3, np.random.default_rng(0))
    seen = set()
    for before, after in zip(samples[:, :, 0], moved[:, :, 0], strict=True):
        (move,) = (
            move
            for move in range(-3, 4)
            if all((after[:, i] == (before[:, i - move] if 0 <= i - move < 10 else 0)).all() for i in range(10))
        )
        seen.add(move)
    assert seen == set(range(-3, 4))


def test_the_table_counts_owners_by_their_mean_and_runs_one_by_one() -> None:
    def run(owner: str, draw: int, after: float) -> Run:
        return Run(owner, "arm", 1, draw, (0.5, 0.9), (after, 0.88), 1.0, 60.0)

    runs = [run("ann", 0, 0.7), run("ann", 1, 0.4), run("bob", 0, 0.45), run("bob", 1, 0.49)]
    line = table(runs, [1], ["arm"]).splitlines()[-1]
    assert line == "| 1 | arm | +1.0 ± 13.2 | -2.00 ± 0.00 | 51.0 | 1 of 2 | 3 of 4 | 1.00 | 60 |"
