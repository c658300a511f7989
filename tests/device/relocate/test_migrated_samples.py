"""Samples on a new base: their labels follow their classes, and what does not fit is set aside."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, GuessRules, Owner, Samples, StateError
from mentee_device.anomaly.normal import Watch
from mentee_device.bundle.manifest import Preprocessing
from mentee_device.bundle.samples import preprocess
from mentee_device.state import aside
from mentee_device.state.base import refit
from safetensors.numpy import load_file, save_file

from tests.device.relocate.bases import classes_of, taught
from tests.device.sealing import edit_manifest, reseal


def test_samples_are_normalised_anew_for_another_mean_and_std(bundle: Bundle) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), np.uint8)
    before, after = bundle.manifest, replace(bundle.manifest, preprocessing=Preprocessing((1, 8, 8), (0.3,), (0.7,)))
    assert refit(raw, before.preprocessing, after.preprocessing) is raw
    again = refit(preprocess(raw, before), before.preprocessing, after.preprocessing)
    assert again is not None
    np.testing.assert_allclose(again, preprocess(raw, after), atol=1e-5)
    assert refit(raw, before.preprocessing, Preprocessing((3, 8, 8), (0.3,) * 3, (0.7,) * 3)) is None


def test_labels_follow_their_class_and_a_class_that_is_gone_waits(
    bundle: Bundle, other_classes_folder: Path, mine: Samples, tmp_path: Path
) -> None:
    new = Bundle.open(other_classes_folder)
    logits_NK = np.arange(10, dtype=np.float32)[None]
    with taught(bundle, tmp_path / "me", mine, steps=3) as me:
        me.add(Samples(mine.input[:1] // 2, np.array([4])), mentor_logits_NK=logits_NK)
        me.set(blocked=["7", "3"])
        names, contents = classes_of(me), {one.number: me.samples.content(one.number) for one in me.samples.all()}
        found = me.migrate(new, Budget(steps=2))
        sevens = sorted(number for number, name in names.items() if name == "7")
        assert found.aside == sevens == aside.numbers(me.store)
        assert classes_of(me) == {number: name for number, name in names.items() if name != "7"}
        assert me.settings.blocked == ("3",)
        assert "4 samples are set aside" in me.log(1)[0].line
        assert me.samples.mentor_logits(41) is None  # the mentor was not asked about the new class
        assert me.guess(GuessRules(threshold=0.0)) == []
        gone = me.unlearn([sevens[0]])
        assert gone.samples == [sevens[0]]
        me.migrate(bundle, Budget(steps=2))
        assert classes_of(me) == {number: name for number, name in names.items() if number != sevens[0]}
        for number in sevens[1:]:
            content, before = me.samples.content(number), contents[number]
            assert content is not None
            assert before is not None
            np.testing.assert_array_equal(content[0], before[0])
        assert aside.numbers(me.store) == []


def test_samples_set_aside_that_must_go_are_logged_and_not_listed(
    bundle: Bundle, other_classes_folder: Path, mine: Samples, tmp_path: Path
) -> None:
    with taught(bundle, tmp_path / "me", mine, steps=3) as me:
        sevens = sorted(number for number, name in classes_of(me).items() if name == "7")
        me.set(most_samples=len(sevens) - 1)
        found = me.migrate(Bundle.open(other_classes_folder), Budget(steps=2))
        assert found.aside == aside.numbers(me.store) == sevens[1:]
        (told,) = (entry for entry in me.log() if "had to go" in entry.line)
        assert told.details["went"] == sevens[:1]


def test_enrolled_samples_are_embedded_anew_under_their_names(
    bundle: Bundle, other: Bundle, mine: Samples, tmp_path: Path
) -> None:
    with Owner(bundle, tmp_path / "me") as me, Owner(other, tmp_path / "reference") as reference:
        for owner in (me, reference):
            owner.enrol("cat", mine.input[:3])
            owner.enrol("7", mine.input[28:31])
        me.observe(mine.input[:30], Watch(samples=20))
        me.migrate(other)
        found, expected = (owner.recognise(mine.input) for owner in (me, reference))
        assert found.names == expected.names
        np.testing.assert_array_equal(found.classes, expected.classes)
        np.testing.assert_array_equal(found.similarity, expected.similarity)
        assert (me.monitor.normal().observing, me.monitor.normal().seen) == (True, 0)
        assert "observing anew" in [entry for entry in me.log() if entry.event == "watch"][-1].line


def test_samples_of_another_dtype_are_set_aside_and_enrolled_ones_stop_the_migration(
    bundle: Bundle, altered: Path, mine: Samples, tmp_path: Path
) -> None:
    for pack in ("supervision.safetensors", "golden.safetensors"):
        tensors = load_file(altered / pack)
        save_file(tensors | {"input": tensors["input"].astype(np.float32)}, altered / pack)
    rules = bundle.manifest.preprocessing
    raw = {"mean": [255 * rules.mean[0]], "std": [255 * rules.std[0]], "dtype": "float32"}
    edit_manifest(altered, lambda content: content["preprocessing"].update(raw))
    reseal(altered)
    new = Bundle.open(altered)
    with taught(bundle, tmp_path / "me", mine, steps=2) as me:
        me.enrol("cat", mine.input[:2])
        before = me.learner.snapshot()
        with pytest.raises(StateError, match=r"2 enrolled samples are uint8 .* the new base takes float32"):
            me.migrate(new)
        assert me.learner.snapshot() == before
        me.enrolled.remove("cat")
        found = me.migrate(new)
        assert "replay: not possible, no stored sample has a label" in found.why
        assert found.taken == "delta"
        assert len(found.aside) == 40
        assert me.samples.all() == []
        raw = mine.input.astype(np.float32)
        me.add(Samples(raw, mine.labels))
        me.enrol("cat", raw[:1])
        near = me.recognise(raw[:1], neighbours=1)
        assert near.similarity == pytest.approx(1, abs=1e-5)  # its own: normalised once
        assert me.unlearn(matching=lambda _: True).samples == list(range(1, 81))
        assert aside.numbers(me.store) == []
