"""An owner's life: what learning, the guard, going back and unlearning leave, against learners driven by hand."""

import os
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Learner, LearningError, Owner, Plan, SampleError, Samples, StateError
from mentee_device.runs.plans.settings import SettingError
from mentee_device.runs.run import Progress
from mentee_device.state.about import SOURCES, About
from safetensors.numpy import load_file, save_file

from tests.device.sealing import reseal
from tests.device.taking import labelled


def test_a_run_is_the_learners_own(bundle: Bundle, owner: Samples, me: Owner) -> None:
    me.add(owner)
    learned = me.learn(Plan(budget=Budget(steps=7), seed=3, knobs={"beta": 0.2}))
    by_hand = Learner(bundle)
    expected = by_hand.learn(labelled(owner), 7, seed=3, beta=0.2)
    assert me.learner.snapshot() == by_hand.snapshot()
    assert (learned.first, learned.last, learned.steps) == (expected.first, expected.last, 7)
    assert learned.status == "accepted"
    assert learned.golden_after == by_hand.evaluate_golden()
    assert learned.golden_base == learned.golden_before == bundle.manifest.accuracy["golden"]


def test_curves_weights_and_settings_reach_every_step(bundle: Bundle, owner: Samples, me: Owner) -> None:
    samples = labelled(owner)
    me.add(samples.take(np.arange(6)))
    me.add(samples.take(np.arange(6, 11)), "pseudo", 0.25)
    me.set(gamma=2.0)

    def on_progress(progress: Progress) -> None:
        if progress.done.steps == 2:
            me.set(gamma=[[0, 0.0], [1, 4.0]])

    me.learn(Plan(budget=Budget(steps=4), batch=11, knobs={"alpha": [[0, 1], [1, 0]]}), on_progress=on_progress)
    by_hand, weights = Learner(bundle), np.r_[np.ones(6), np.full(5, 0.25)].astype(np.float32)
    for alpha, gamma in ((1, 2), (0.75, 2), (0.5, 2), (0.25, 3)):
        rows = by_hand.draw(np.arange(11), 11)
        by_hand.learn_batch(
            samples.take(rows),
            by_hand.draw_replay(16),
            owner_weight=4.0,
            weights=weights[rows],
            alpha=alpha,
            gamma=gamma,
        )
    assert me.learner.snapshot() == by_hand.snapshot()


def test_a_guess_weighs_what_it_is_given(bundle: Bundle, owner: Samples) -> None:
    """Cross-entropy of two samples, by hand: the weighted mean over both."""
    pair = labelled(owner).take(np.arange(2))
    logits = Learner(bundle).predict(pair.input).logits.astype(np.float64)
    each = [np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, pair.labels, strict=True)]
    terms = Learner(bundle).learn_batch(pair, weights=np.array([1, 0.25], np.float32))
    assert terms["ce"] == pytest.approx((each[0] + 0.25 * each[1]) / 1.25, rel=1e-5)


def test_the_guard_drops_what_falls_too_far_and_says_why(bundle: Bundle, me: Owner) -> None:
    golden = bundle.golden()
    labels = Learner(bundle).predict(golden.input).logits.argmax(axis=1)  # the golden set's wrong half teaches
    wrong = Samples(golden.input, (labels + 1) % 10)
    me.set(golden_drop=0.0, agreement_least=0.9)
    me.add(wrong)
    base = me.learner.snapshot()
    dropped = me.learn(Plan(budget=Budget(steps=60), batch=32, replay_batch=0, learning_rate=0.01))
    assert dropped.status == "dropped"
    assert "agrees with the base" in dropped.why
    assert me.versions.current == 0
    assert me.learner.snapshot() == base
    assert me.log(1)[0].event == "dropped"
    assert dropped.why in me.log(1)[0].line
    with pytest.raises(StateError, match="no checkpoint any more"):
        me.roll_back(dropped.number)
    me.set(golden_drop=1.0, agreement_least=None)
    accepted = me.learn(Plan(budget=Budget(steps=60), batch=32, replay_batch=0, learning_rate=0.01))
    assert (accepted.status, me.versions.current) == ("accepted", accepted.number)


def test_paused_and_resumed_anywhere_equals_uninterrupted(bundle: Bundle, owner: Samples, tmp_path: Path) -> None:
    snapshots = []
    for stops in ((), (1, 5, 6)):
        with Owner(bundle, tmp_path / str(len(stops))) as me:
            me.set(golden_drop=1.0, replay="mentor")
            me.add(owner)

            def on_progress(progress: Progress, me: Owner = me, stops: tuple[int, ...] = stops) -> None:
                if progress.done.steps in stops:
                    me.pause()

            result = me.learn(Plan(budget=Budget(steps=9), knobs={"beta": [[0, 1], [1, 0]]}), on_progress=on_progress)
            for _ in stops:
                assert result.status == "paused"
                assert me.learner.step == 0
                with pytest.raises(LearningError, match="unfinished"):
                    me.learn()
                result = me.resume(on_progress=on_progress)
            assert result.status == "accepted"
            snapshots.append(me.learner.snapshot())
    assert snapshots[0] == snapshots[1]


def test_pause_from_another_thread_and_discard(owner: Samples, me: Owner) -> None:
    me.add(owner)
    base = me.learner.snapshot()
    begun = threading.Event()
    other = threading.Thread(target=lambda: (begun.wait(), me.pause()))
    other.start()
    result = me.learn(Plan(budget=Budget(seconds=600)), on_progress=lambda _: begun.set())
    other.join()
    assert result.status == "paused"
    me.discard()
    assert me.learner.snapshot() == base
    with pytest.raises(LearningError, match="nothing to resume"):
        me.resume()


def test_within_a_run_nothing_else_starts(owner: Samples, me: Owner) -> None:
    me.add(owner)

    def on_progress(_: Progress) -> None:
        with pytest.raises(LearningError, match="pause it first"):
            me.predict(owner.input)
        with pytest.raises(LearningError, match="pause it first"):
            me.roll_back()

    assert me.learn(Plan(budget=Budget(steps=1)), on_progress=on_progress).status == "accepted"


@pytest.mark.parametrize("given", [{"budget": Budget(steps=2)}, 3, Budget(steps=2)])
def test_what_is_no_plan_is_refused_and_no_run_begins(given: Any, owner: Samples, me: Owner) -> None:
    me.add(owner)
    with pytest.raises(LearningError, match=r"the plan is .*, expected a Plan: Plan\(budget="):
        me.learn(given)
    assert (me.paused, me.versions.all()) == (None, [])


def test_samples_are_named_by_numbers_of_numpy_too(owner: Samples, me: Owner) -> None:
    numbers = np.array(me.add(owner))
    plan = Plan(samples=numbers[:5], batch=np.int64(4), budget=Budget(steps=np.int64(2)))
    assert me.learn(plan).status == "accepted"
    assert me.versions.get(1).learned == tuple(numbers[:5].tolist())
    assert me.unlearn(numbers[:2]).samples == numbers[:2].tolist()
    for wrong in ("12", ["a"], [1.5], 3):
        with pytest.raises(SampleError, match="expected their numbers"):
            me.unlearn(wrong)  # type: ignore[arg-type]
    for unknown in (-1, 99, 10**30):
        with pytest.raises(StateError, match=f"no sample {unknown} in the sample store"):
            me.learn(Plan(samples=[unknown]))
    me.set(rounds=np.int64(2), alpha=np.float32(0.5))
    assert (me.settings.rounds, me.settings.alpha) == (2, 0.5)


def test_a_closed_owner_says_so(bundle: Bundle, owner: Samples, tmp_path: Path) -> None:
    with Owner(bundle, tmp_path / "me") as closed:
        numbers = closed.add(owner)
    for use in (
        lambda: closed.predict(owner.input),
        lambda: closed.evaluate(owner.input[:1], owner.labels[:1]),
        closed.evaluate_golden,
        lambda: closed.recognise(owner.input),
        lambda: closed.export_state(tmp_path / "file"),
        lambda: closed.unlearn(numbers),
        closed.learn,
    ):
        with pytest.raises(StateError, match="is closed: open it again"):
            use()


def test_what_is_no_array_is_refused(owner: Samples, me: Owner) -> None:
    for wrong in (owner.input.tolist(), None, "file.npz"):
        with pytest.raises(SampleError, match=r"input: \w+, expected an array of numpy"):
            me.predict(wrong)
    with pytest.raises(SampleError, match="input: list, expected an array"):
        me.add(Samples(owner.input.tolist(), owner.labels))  # type: ignore[arg-type]
    with pytest.raises(SampleError, match="labels: list, expected an array"):
        me.add(Samples(owner.input, owner.labels.tolist()))  # type: ignore[arg-type]
    assert me.samples.all() == []


def test_a_stream_is_one_pass(bundle: Bundle, owner: Samples, me: Owner) -> None:
    samples = labelled(owner)  # 11
    results = me.stream(samples, every=4, plan=Plan(batch=2))
    assert [(result.status, result.steps) for result in results] == [("accepted", 2), ("accepted", 2)]
    by_hand = Learner(bundle)
    for start in range(0, 8, 2):
        rows = np.arange(start, start + 2)
        by_hand.learn_batch(
            samples.take(rows), by_hand.draw_replay(16), owner_weight=4.0, weights=np.ones(2, np.float32)
        )
    assert me.learner.snapshot() == by_hand.snapshot()
    assert me.waiting() == [9, 10, 11]
    assert me.stream(samples.take(np.arange(0)), every=4) == []
    (result,) = me.stream(Samples(255 - samples.input[:1], samples.labels[:1]), every=4)
    assert (result.steps, me.waiting()) == (1, [])


@pytest.mark.parametrize(
    ("budget", "steps"),
    [(Budget(samples=30), 4), (Budget(joules=1e-9, watts=3), 1), (Budget(seconds=1e-9, steps=9), 1)],
)
def test_other_bounds_end_a_run(owner: Samples, me: Owner, budget: Budget, steps: int) -> None:
    me.add(owner)
    assert me.learn(Plan(budget=budget)).steps == steps


def test_samples_make_room_in_the_stated_order(me: Owner) -> None:
    """Against a loop that picks the next to go among all, each time."""
    random = np.random.default_rng(1)
    me.set(most_samples=13)
    present: list[About] = []
    for round in range(12):
        source = str(random.choice(SOURCES[:-1]))
        labels = random.integers(-1, 3, 5)
        numbers = me.add(Samples(random.integers(0, 256, (5, 1, 8, 8), np.uint8), labels), source)
        said = [source if label >= 0 else "none" for label in labels]
        present += [
            About(number, "", one, int(label), 1.0, 0) for number, one, label in zip(numbers, said, labels, strict=True)
        ]
        while len(present) > 13:
            crowd = Counter(one.label for one in present)
            rank = {"none": 0, "owner": 2}
            present.remove(min(present, key=lambda one: (rank.get(one.source, 1), -crowd[one.label], one.number)))
        assert [one.number for one in me.samples.all()] == [one.number for one in present], round
    me.set(most_sample_bytes=3 * me.samples.all()[0].bytes)
    me.add(Samples(np.zeros((1, 1, 8, 8), np.uint8), np.array([2])))
    assert len(me.samples.all()) == 3
    assert "others had to go" in me.log(1)[0].line


def test_the_last_word_on_a_sample_counts_but_a_guess_never_beats_the_owner(owner: Samples, me: Owner) -> None:
    one = owner.take(np.arange(1))

    def say(label: int, source: str, weight: float = 1.0) -> tuple[int, str, float]:
        assert me.add(Samples(one.input, np.array([label])), source, weight) == [1]
        (about,) = me.samples.all()
        return about.label, about.source, about.weight

    assert say(-1, "owner") == (-1, "none", 1.0)
    assert say(3, "pseudo", 0.25) == (3, "pseudo", 0.25)
    assert say(4, "mentor", 0.5) == (4, "mentor", 0.5)
    assert say(5, "pseudo", 0.25) == (4, "mentor", 0.5)
    assert say(6, "owner") == (6, "owner", 1.0)
    assert say(7, "mentor") == (6, "owner", 1.0)
    assert say(8, "owner") == (8, "owner", 1.0)


def test_raw_and_preprocessed_samples_are_kept_side_by_side(bundle: Bundle, owner: Samples, me: Owner) -> None:
    rules = bundle.manifest.preprocessing
    ready = ((owner.input[:2] / np.float32(255) - np.float32(rules.mean[0])) / np.float32(rules.std[0])).astype("f4")
    logits = np.arange(20, dtype=np.float32).reshape(2, 10)
    raw = me.add(owner.take(np.arange(2, 4)))
    prepared = me.add(Samples(ready, owner.labels[:2]), "mentor", 0.5, logits)
    np.testing.assert_array_equal(me.samples.read(raw)[0].input, owner.input[2:4])
    both, weights = me.samples.read([*prepared, *raw])
    np.testing.assert_array_equal(both.input[:2], ready)
    np.testing.assert_allclose(me.predict(both.input).logits, me.predict(owner.input[:4]).logits, atol=1e-5)
    assert weights.tolist() == [0.5, 0.5, 1, 1]
    np.testing.assert_array_equal(me.samples.mentor_logits(prepared[1]), logits[1])
    assert me.samples.mentor_logits(raw[0]) is None


def test_rails_of_the_answers(bundle: Bundle, owner: Samples, me: Owner) -> None:
    free = me.predict(owner.input)
    np.testing.assert_array_equal(free.classes, free.logits.argmax(axis=1))
    most = Counter(free.classes.tolist()).most_common(1)[0][0]
    me.set(blocked=[bundle.manifest.classes[most]])
    assert most not in me.predict(owner.input).classes
    me.set(blocked=(), confidence_floor=1.0)
    assert set(me.predict(owner.input).classes.tolist()) == {-1}
    with Owner(bundle, me.store.folder.parent / "other") as other:
        assert other.settings.confidence_floor == 0


def test_mistakes_change_nothing(bundle: Bundle, owner: Samples, me: Owner) -> None:
    me.add(owner)
    revision = me.store.revision
    pixels = np.full((2, 1, 8, 8), -0.6, np.float32)
    far = pixels.copy()
    far[1] = 9.0
    broken = pixels.copy()
    broken[0, 0, 1, 1] = np.nan
    labels = np.array([0, 1])
    for samples, match in (
        (Samples(far, labels), "sample 1 has 9 to 9: preprocessed pixels of this bundle lie between"),
        (Samples(broken, labels), "NaN"),
        (Samples(pixels[:, :, :4], labels), "shape"),
        (Samples(pixels.astype(np.float64), labels), "dtype"),
        (Samples(pixels, np.array([0, 10])), "outside the classes"),
        (Samples(pixels, labels[:1]), "labels have shape"),
    ):
        with pytest.raises(SampleError, match=match):
            me.add(samples)
    with pytest.raises(SampleError, match="no source 'me'"):
        me.add(owner, "me")
    with pytest.raises(SampleError, match="weight"):
        me.add(owner, weight=0.0)
    with pytest.raises(SampleError, match="mentor's logits"):
        me.add(owner, "mentor", mentor_logits_NK=np.zeros((12, 3)))
    for options, match in (
        ({"batch": 0}, "batch is 0"),
        ({"owner_weight": -1.0}, "owner_weight"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"knobs": {"delta": 1.0}}, "no knob 'delta'"),
        ({"knobs": {"temperature": 0.0}}, "temperature"),
        ({"samples": [6]}, "none of the run's samples has a label"),
    ):
        with pytest.raises(LearningError, match=match):
            me.learn(Plan(**options))
    with pytest.raises(StateError, match="no sample 99"):
        me.learn(Plan(samples=[1, 99]))
    for changes, match in (
        ({"golden_drop": 2}, "golden_drop is 2"),
        ({"golden_drop": None}, "golden_drop is None"),
        ({"blocked": ["cat"]}, "no class of the bundle"),
        ({"blocked": bundle.manifest.classes}, "names every class"),
        ({"most_samples": 0}, "most_samples"),
        ({"beta": [[1, 1], [0, 1]]}, "must rise"),
        ({"colour": 1}, "no setting 'colour'"),
    ):
        with pytest.raises(SettingError, match=match):
            me.set(**changes)
    assert me.store.revision == revision
    assert me.paused is None


def test_a_step_that_blows_up_drops_the_run(owner: Samples, me: Owner) -> None:
    me.add(owner)
    me.learn(Plan(budget=Budget(steps=2)))
    good = me.learner.snapshot()
    with pytest.raises(LearningError, match="not finite"):
        me.learn(Plan(budget=Budget(steps=5), knobs={"alpha": [[0, 1], [0.5, 1], [0.5, 1e38]]}))
    assert me.learner.snapshot() == good
    assert (me.paused, me.versions.get(2).status, me.log(1)[0].event) == (None, "dropped", "dropped")


def test_without_a_golden_set_nothing_is_learnt(altered: Path, owner: Samples, tmp_path: Path) -> None:
    tensors = load_file(altered / "golden.safetensors")
    save_file({name: value[:0] for name, value in tensors.items()}, altered / "golden.safetensors")
    reseal(altered)
    with Owner(Bundle.open(altered), tmp_path / "me") as me:
        me.add(owner)
        with pytest.raises(LearningError, match="golden set is empty"):
            me.learn()
        assert me.versions.all() == []


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the system has no files in memory")
def test_no_checkpoint_touches_the_temporary_folder(
    bundle: Bundle, owner: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with Learner(bundle) as learner:
        learner.learn_batch(owner)
        learnt = learner.snapshot()
        learner.reset()
        learner.restore(learnt)
        assert learner.snapshot() == learnt
