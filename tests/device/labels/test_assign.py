"""Guessed labels, enrolment and what is normal in an owner's state: what is stored, learnt, undone, and survives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, GuessRules, Learner, Plan, SampleError, Samples, StateError
from mentee_device.anomaly.normal import Watch
from mentee_device.cli.main import main
from mentee_device.labels.assign import streams
from mentee_device.labels.evidence import NAME as EVIDENCE
from mentee_device.labels.pseudo_labels import GUESS_WEIGHT
from mentee_device.owner import Owner
from mentee_device.prototypes.enrolment import Enrolment
from mentee_device.runs.plans.budget import Budget
from mentee_device.state.about import About
from numpy.typing import NDArray
from scipy.special import softmax

Array = NDArray[Any]


@pytest.fixture
def images(bundle: Bundle) -> Array:
    """30 of the bundle's own samples: the mentee, though untrained, does not answer them all alike."""
    return bundle.golden().input[:30]


@pytest.fixture
def opened(bundle: Bundle, tmp_path: Path) -> Owner:
    return Owner(bundle, tmp_path / "me")


def unlabelled(input: Array) -> Samples:
    return Samples(input, np.full(len(input), -1))


def median_confidence(owner: Owner, input: Array) -> float:
    return float(np.median(softmax(owner.predict(input).logits.astype(float), axis=1).max(axis=1)))


def test_pseudo_labels_are_marked_and_weigh_less(opened: Owner, images: Array) -> None:
    with opened as owner:
        numbers = owner.add(unlabelled(images))
        threshold = median_confidence(owner, images)
        probability_NK = softmax(owner.predict(images).logits.astype(float), axis=1)
        expected = {
            number: (int(p_K.argmax()), float(p_K.max()))
            for number, p_K in zip(numbers, probability_NK, strict=True)
            if p_K.max() >= threshold
        }
        new = owner.guess(GuessRules(threshold=threshold))
        assert {one.number: one.label for one in new} == {number: label for number, (label, _) in expected.items()}
        for one in new:
            assert one.confidence == pytest.approx(expected[one.number][1], abs=1e-5)
            assert (one.source, one.before) == ("pseudo", -1)
        assert 10 < len(new) < 20
        for about in owner.samples.all():
            guessed = about.number in expected
            assert about.source == ("pseudo" if guessed else "none")
            assert about.weight == (GUESS_WEIGHT if guessed else 1.0)
        assert owner.guess(GuessRules(threshold=threshold)) == []
        assert [(one.number, one.label) for one in owner.guesses()] == [(one.number, one.label) for one in new]
        assert f"{len(new)} by pseudo" in owner.log(1)[0].line


def test_a_recorded_answer_of_the_mentor_comes_first_and_an_owners_word_before_all(
    opened: Owner, images: Array
) -> None:
    logits_NK = 9.0 * np.eye(10, dtype=np.float32)[np.arange(30) % 10]
    asked: list[int] = []

    def mentor(input: Array) -> Array:
        asked.append(len(input))
        return np.asarray(9.0 * np.eye(10)[np.full(len(input), 3)])

    def away(_: Array) -> Array:
        raise ConnectionError

    with opened as owner:
        first = owner.add(unlabelled(images[:8]), mentor_logits_NK=logits_NK[:8])
        rest = owner.add(unlabelled(images[8:12]))
        said = owner.add(Samples(images[12:14], np.array([5, 6])))
        assert [one.number for one in owner.guess(GuessRules(threshold=None), away)] == first
        assert {one.label for one in owner.guess(GuessRules(threshold=None), mentor)} == {3}
        assert asked == [4]
        labels = {about.number: (about.source, about.label) for about in owner.samples.all()}
        assert [labels[number] for number in first] == [("mentor", k) for k in range(8)]
        assert [labels[number] for number in rest] == [("mentor", 3)] * 4
        assert [labels[number] for number in said] == [("owner", 5), ("owner", 6)]
        owner.add(Samples(images[:1], np.array([9])))  # the owner corrects a guess
        assert first[0] not in {one.number for one in owner.guesses()}
        np.testing.assert_allclose(owner.samples.mentor_logits(first[1]), logits_NK[1])


def test_a_dissenting_frame_of_a_stream_is_corrected(opened: Owner, images: Array) -> None:
    with opened as owner:
        numbers = owner.add(Samples(images[:6], np.array([4, 4, -1, 4, 4, 4])))
        other = 9.0 * np.eye(10)[[7]]
        owner.guess(GuessRules(threshold=None), lambda input: other.repeat(len(input), axis=0))
        assert [(one.label, one.source) for one in owner.guesses()] == [(7, "mentor")]
        (one,) = owner.guess(GuessRules(threshold=None, pause=60.0))
        assert (one.number, one.label, one.source, one.before) == (numbers[2], 4, "stream", 7)
        assert one.confidence == pytest.approx(1.0)
        assert [(about.label, about.source) for about in owner.samples.all()][2] == (4, "stream")


def test_a_stream_ends_where_samples_are_missing_or_a_pause_is_long() -> None:
    def stored(number: int, time: str) -> About:
        return About(number, f"2026-01-01T00:00:{time}Z", "none", -1, 1.0, 1)

    about = [stored(1, "00"), stored(2, "01"), stored(3, "05"), stored(5, "05"), stored(6, "04"), stored(7, "04")]
    assert [part.tolist() for part in streams(about, 2.0)] == [[0, 1], [2], [3], [4, 5]]
    assert [part.tolist() for part in streams(about, 4.0)] == [[0, 1, 2], [3], [4, 5]]
    assert streams([], 1.0) == []


def test_undoing_takes_back_what_guesses_taught(bundle: Bundle, tmp_path: Path, images: Array) -> None:
    """Compared with an owner who never guessed: same parameters where nothing else was learnt since."""
    owner_says = Samples(images[:6], np.arange(6))
    budget = Budget(steps=3)
    with Owner(bundle, tmp_path / "me") as owner, Owner(bundle, tmp_path / "unguessed") as unguessed:
        for one in (owner, unguessed):
            one.set(golden_drop=1.0)
            one.add(owner_says)
            assert one.learn(Plan(budget=budget, seed=1)).status == "accepted"
        owner.add(unlabelled(images[6:]))
        new = owner.guess(GuessRules(threshold=0.0))
        assert len(new) == 24
        result = owner.learn(Plan(budget=budget, samples=[one.number for one in new]))
        assert result.status == "accepted"
        gone = owner.undo_guesses()
        assert gone.samples == sorted(one.number for one in new)
        assert gone.versions == [result.number]
        assert owner.guesses() == []
        assert {about.source for about in owner.samples.all()} == {"owner", "none"}
        assert len(owner.samples.all()) == 30  # the samples stay
        for name, value in unguessed.learner.parameters().items():
            np.testing.assert_array_equal(owner.learner.parameters()[name], value)
        assert owner.undo_guesses().samples == []
        with pytest.raises(SampleError, match="no guessed label"):
            owner.undo_guesses([1])
        with pytest.raises(SampleError, match="no guesses by"):
            owner.undo_guesses(sources=["owner"])


def test_undoing_some_learns_the_rest_again(opened: Owner, images: Array) -> None:
    with opened as owner:
        owner.set(golden_drop=1.0)
        owner.add(Samples(images[:6], np.arange(6)))
        numbers = owner.add(unlabelled(images[6:12]))
        owner.guess(GuessRules(threshold=0.0))
        owner.learn(Plan(budget=Budget(steps=3), seed=1))
        gone = owner.undo_guesses(numbers[:2])
        assert gone.replay is not None
        assert (gone.replay.status, gone.replay.steps) == ("accepted", 3)
        assert not {*numbers[:2]} & {*owner.versions.get(owner.versions.current).learned}
        assert {one.number for one in owner.guesses()} == {*numbers[2:]}


def test_guesses_survive_and_lost_evidence_does_not_lose_them(bundle: Bundle, tmp_path: Path, images: Array) -> None:
    with Owner(bundle, tmp_path / "me") as owner:
        owner.add(unlabelled(images))
        new = owner.guess(GuessRules(threshold=0.0))
        assert json.loads(owner.store.get(EVIDENCE) or b"").keys() == {str(one.number) for one in new}
    with Owner(bundle, tmp_path / "me") as owner:
        assert [one.label for one in owner.guesses()] == [one.label for one in new]
        owner.unlearn([new[0].number])
        owner.guess(GuessRules(threshold=0.0))
        assert len(owner.guesses()) == len(new) - 1
        with owner.store.transaction() as connection:
            connection.execute("UPDATE blobs SET value = X'78' WHERE name = ?", (EVIDENCE,))
        assert [one.confidence for one in owner.guesses()] == [0.0] * (len(new) - 1)


def test_enrolled_classes_are_recognised_and_follow_the_mentee(bundle: Bundle, tmp_path: Path, images: Array) -> None:
    stripes = np.zeros((6, 1, 8, 8), np.uint8)
    stripes[:, :, ::2] = 255 - 5 * np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    with Owner(bundle, tmp_path / "me") as owner:
        owner.set(golden_drop=1.0)
        numbers = owner.enrol("stripes", stripes[:3])
        known = owner.enrol(bundle.manifest.classes[4], images[:2])
        found = owner.recognise(np.concatenate([stripes[3:], images]))
        assert found.names == (*bundle.manifest.classes, "stripes")
        assert (found.classes[:3] == 10).all()
        assert (found.classes[3:] != 10).all()
        assert len({*numbers, *known}) == 5
        before = owner.enrolled.enrolment().to_bytes()
    with Owner(bundle, tmp_path / "me") as owner:
        assert owner.enrolled.enrolment().to_bytes() == before
        owner.add(Samples(images[:6], np.arange(6)))
        owner.learn(Plan(budget=Budget(steps=5), learning_rate=0.01, seed=0))
        pack = bundle.supervision().samples
        after = owner.enrolled.enrolment()
        assert after.to_bytes() != before
        embedding_ND = owner.learner.predict(pack.input).embedding
        anew = Enrolment(bundle.manifest.classes, embedding_ND, pack.labels)
        anew.add("stripes", owner.learner.predict(stripes[:3]).embedding, [0, 1, 2])
        np.testing.assert_allclose(after.means_CD()[10], anew.means_CD()[10], atol=1e-5)
        assert (owner.recognise(stripes[3:]).classes == 10).all()
        owner.reset()
        assert owner.enrolled.enrolment().to_bytes() == before


def test_removed_samples_are_gone_from_the_folder(bundle: Bundle, tmp_path: Path) -> None:
    secret = np.random.default_rng(3).integers(0, 256, (3, 1, 8, 8), np.uint8)
    ready = (
        secret.astype(np.float32) / 255 - bundle.manifest.preprocessing.mean[0]
    ) / bundle.manifest.preprocessing.std[0]
    with Owner(bundle, tmp_path / "me") as owner:
        numbers = owner.enrol("mine", secret)
        owner.enrol("yours", secret[:1] // 2)
        piece = owner.enrolled.samples()[0][1].tobytes()[64:128]
        np.testing.assert_allclose(owner.enrolled.samples()[0][:3], ready, atol=1e-6)
        owner.store.back_up()

        def found() -> bool:
            return any(piece in path.read_bytes() for path in (tmp_path / "me").iterdir())

        assert found()
        assert owner.enrolled.remove(numbers=numbers[1:]) == numbers[1:]
        assert not found()
        assert owner.enrolled.samples()[1] == {numbers[0]: "mine", 4: "yours"}
        assert owner.enrolled.remove("mine") == numbers[:1]
        assert owner.recognise(secret).names == (*bundle.manifest.classes, "yours")
        with pytest.raises(SampleError, match="nothing was removed"):
            owner.enrolled.remove("mine")


def test_rails_hold_for_recognised_classes_too(opened: Owner, images: Array) -> None:
    with opened as owner:
        owner.enrol("0", images[:3])
        found = owner.recognise(images)
        best = found.names[np.bincount(found.classes).argmax()]
        owner.set(blocked=[best])
        railed = owner.recognise(images)
        assert best not in {railed.names[one] for one in railed.classes if one >= 0}
        other = found.classes != found.names.index(best)
        np.testing.assert_array_equal(railed.classes[other], found.classes[other])
        owner.set(blocked=[], confidence_floor=float(np.median(found.probability_NC.max(axis=1))))
        unsure = owner.recognise(images).classes == -1
        np.testing.assert_array_equal(unsure, found.probability_NC.max(axis=1) < owner.settings.confidence_floor)
        assert 0 < unsure.sum() < 30


def test_bad_samples_enrol_nothing(opened: Owner, images: Array) -> None:
    bad = np.zeros((1, 1, 8, 8), np.float32)
    bad[0, 0, 1, 1] = np.nan
    with opened as owner:
        owner.enrol("mine", images[:1])
        revision = owner.store.revision
        for name, input in (
            ("x", bad),
            ("x", images[:, :, :4]),
            ("x", images[:0]),
            ("", images[:1]),
            ("a\n", images[:1]),
        ):
            with pytest.raises(SampleError):
                owner.enrol(name, input)
        assert owner.store.revision == revision
        assert owner.enrolled.samples()[1] == {1: "mine"}


def test_what_is_normal_is_the_bases_embedding_and_survives_learning(bundle: Bundle, tmp_path: Path) -> None:
    golden = bundle.golden().input
    odd = np.full((2, 1, 8, 8), 255, np.uint8)
    with Owner(bundle, tmp_path / "me") as owner:
        with pytest.raises(SampleError, match="observe normal samples first"):
            owner.anomaly(golden)
        assert owner.observe(golden[:40], Watch(samples=50, percentile=95)) == 40
        assert owner.monitor.normal().observing
    with Owner(bundle, tmp_path / "me") as owner:
        assert owner.observe(golden[40:80]) == 10
        base = owner.anomaly(golden)
        assert owner.anomaly(odd).anomalous.all()
        with Learner(bundle) as learner:
            embedding_ND = learner.predict(golden).embedding.astype(float)
        nearest_N = np.linalg.norm(embedding_ND[:, None] - embedding_ND[None, :50], axis=2).min(axis=1)
        np.testing.assert_allclose(base.distance, nearest_N, atol=1e-6)
        assert "threshold" in owner.log(1)[0].line
        owner.set(golden_drop=1.0)
        owner.add(Samples(golden[:6], np.arange(6)))
        assert owner.learn(Plan(budget=Budget(steps=5), learning_rate=0.01)).status == "accepted"
        np.testing.assert_array_equal(owner.anomaly(golden).distance, base.distance)
        assert owner.observe(golden[:3]) == 0
        owner.monitor.resume()
        assert owner.observe(golden[50:60]) == 10
        owner.monitor.freeze()
        assert owner.monitor.normal().seen == 60
        owner.monitor.stop()
        with pytest.raises(SampleError, match="nothing was observed"):
            owner.anomaly(golden)


def test_a_watch_by_the_clock_refuses_one_that_goes_back(opened: Owner, images: Array) -> None:
    with opened as owner:
        owner.observe(images[:5], Watch(samples=None, seconds=60.0), now=1000.0)
        before = owner.monitor.normal().to_bytes()
        with pytest.raises(SampleError, match="does not go back"):
            owner.observe(images[5:7], now=999.0)
        assert owner.monitor.normal().to_bytes() == before
        assert owner.observe(images[5:7], now=1061.0) == 0
        assert not owner.monitor.normal().observing


def test_damaged_blobs_are_told(opened: Owner, images: Array) -> None:
    with opened as owner:
        owner.enrol("mine", images[:2])
        owner.observe(images, Watch(samples=30))
        with owner.store.transaction() as connection:
            connection.execute("UPDATE blobs SET value = zeroblob(9)")
        for call in (lambda: owner.enrol("x", images[:1]), lambda: owner.anomaly(images)):
            with pytest.raises(StateError, match="damaged"):
                call()


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 and "--json" in arguments else err


def test_the_commands(
    bundle_folder: Path, bundle: Bundle, tmp_path: Path, images: Array, capsys: pytest.CaptureFixture[str]
) -> None:
    def file(name: str, **arrays: Array) -> Path:
        np.savez(tmp_path / name, **arrays)
        return tmp_path / f"{name}.npz"

    place = ("--bundle", bundle_folder, "--state", tmp_path / "me", "--json")
    some = file("some", input=images)
    stripes = np.zeros((4, 1, 8, 8), np.uint8)
    stripes[:, :, ::2] = 255
    mine = file("mine", input=stripes)
    answered = file("answered", input=images[:4], mentor_logits=9 * np.eye(10, dtype=np.float32)[:4])
    nan = file("nan", input=np.full((1, 1, 8, 8), np.nan, np.float32))

    assert main([str(one) for one in ("enrol", *place, "--name", "mine", "--data", nan)]) == 2
    assert "NaN" in capsys.readouterr().err
    assert not (tmp_path / "me").exists()
    code, report = run(capsys, "enrol", *place, "--name", "mine", "--data", mine)
    assert (code, report["samples"]) == (0, {"mine": 4})
    code, report = run(capsys, "recognise", *place, "--data", mine)
    assert report["classes"] == ["mine"] * 4
    code, report = run(capsys, "recognise", *place, "--data", some, "--floor", 1.0, "--neighbours", 3)
    assert "don't know" in report["classes"]
    code, report = run(capsys, "enrol", *place, "--remove", "mine")
    assert (report["removed"], report["samples"]) == ([1, 2, 3, 4], {})

    code, report = run(capsys, "watch", *place, "--data", some)
    assert (code, "observe normal samples first" in report) == (2, True)
    code, report = run(capsys, "watch", *place, "--start", "--samples", 20, "--percentile", 90, "--data", some)
    assert (report["taken"], report["observing"], len(report["distance"])) == (20, False, 10)
    code, report = run(capsys, "watch", *place, "--percentile", 90)
    assert (code, "--start" in report) == (2, True)

    code, report = run(capsys, "guess", *place, "--data", answered, "--threshold", 2)
    assert [(row["label"], row["source"]) for row in report["guessed"]] == [
        (name, "mentor") for name in bundle.manifest.classes[:4]
    ]
    code, report = run(capsys, "guess", *place, "--threshold", -1)
    assert (code, "threshold is -1" in report) == (2, True)
    code, report = run(capsys, "undo", *place, "--source", "mentor")
    assert (report["labels_undone"], report["versions_unlearned"]) == (4, [])
    assert main([str(one) for one in ("guess", *place[:-1], "--threshold", 0)]) == 0  # for a person
    assert "by mentor" in capsys.readouterr().out
