"""Spare classes: nobody's until the owner names one, then a class like the others, wherever the state goes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mentee_device import (
    Budget,
    Bundle,
    BundleError,
    GuessRules,
    Owner,
    Plan,
    SampleError,
    Samples,
    SettingError,
    StateError,
    import_state,
)
from mentee_device.bundle.manifest import parse
from mentee_device.state import aside
from mentee_device.state.aside import Aside
from mentee_device.state.class_names import LOST, carried, is_class_name, united

from export.bundle.reading.read import require_references
from export.bundle.write import export_bundle
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from tests.device.sealing import edit_manifest

SMILES = np.random.default_rng(1).integers(100, 256, (8, 1, 8, 8), np.uint8)  # like no digit


@pytest.fixture(scope="session")
def spare_folder(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = ExportSettings(supervision_per_class=4, golden_per_class=4, spare_classes=2)
    return export_bundle(checkpoint, tmp_path_factory.mktemp("spare") / "bundle", settings).path


@pytest.fixture
def spare(spare_folder: Path) -> Bundle:
    return Bundle.open(spare_folder)


@pytest.fixture(scope="session")
def narrow(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    settings = ExportSettings(supervision_per_class=4, golden_per_class=4, spare_classes=1)
    return Bundle.open(export_bundle(checkpoint, tmp_path_factory.mktemp("narrow") / "bundle", settings).path)


def taught(me: Owner) -> None:
    me.set(golden_drop=1.0, replay="mentor", rounds=0)
    me.add(Samples(SMILES[:4], np.full(4, me.name_class("smile"))))
    assert me.learn(Plan(budget=Budget(steps=60), learning_rate=0.02)).status == "accepted"


def test_a_spare_class_is_neither_labelled_nor_answered_before_it_has_a_name(spare: Bundle, tmp_path: Path) -> None:
    assert spare.manifest.classes == (*"0123456789", "spare 1", "spare 2")
    with Owner(spare, tmp_path / "me") as me:
        head = {name: value.copy() for name, value in me.learner.parameters().items() if name == "head.bias"}
        head["head.bias"][..., 10:] += 1000
        me.learner.set_parameters(head)
        assert me.learner.predict(SMILES).logits.argmax(1).tolist() == [10] * 8
        assert max(me.predict(SMILES).classes) < 10
        with pytest.raises(SampleError, match=r"label 11 of sample 0 is a spare class without a name: name it first"):
            me.add(Samples(SMILES[:1], np.array([11])))
        assert me.name_class("smile", 11) == 11
        me.learner.set_parameters(head)
        assert set(me.predict(SMILES).classes) == {11}
        assert len(me.add(Samples(SMILES[:1], np.array([11])))) == 1


def test_a_named_class_is_learnt_and_keeps_its_name(spare: Bundle, tmp_path: Path) -> None:
    with Owner(spare, tmp_path / "me") as me:
        taught(me)
        assert set(me.predict(SMILES[4:]).classes) == {10}
        assert me.name_class("smile") == 10
    with Owner(spare, tmp_path / "me") as me:
        assert me.classes[10:] == ("smile", "spare 2")
        assert set(me.predict(SMILES[4:]).classes) == {10}
        me.enrol("smile", SMILES[:4])
        found = me.recognise(SMILES[4:])
        assert {found.names[one] for one in found.classes} == {"smile"}
        me.set(blocked=["smile"])
        assert 10 not in me.predict(SMILES[4:]).classes
        for name, number, message in (
            ("7", None, r"class 7 is called '7' already"),
            ("spare 2", None, r"is called 'spare 2' already"),
            (" frog", None, r"expected 1 to 100 printable characters"),
            ("frog", 9, r"class 9 is no spare one: expected a number from 10 to 11"),
            ("frog", 12, r"class 12 is no spare one"),
        ):
            with pytest.raises(SampleError, match=message):
                me.name_class(name, number)
        assert me.name_class("frog") == 11
        with pytest.raises(SampleError, match=r"all 2 spare classes have names, smile, frog: give one another name"):
            me.name_class("toad")
        assert me.name_class("toad", np.int64(11)) == 11
        assert me.classes[10:] == ("smile", "toad")


def test_a_blocked_class_stays_blocked_under_another_name(spare: Bundle, tmp_path: Path) -> None:
    with Owner(spare, tmp_path / "me") as me, Owner(spare, tmp_path / "other") as other:
        me.set(blocked=["spare 1", "3"])
        other.name_class("frog")
        other.export_state(tmp_path / "other.state")
        me.merge(tmp_path / "other.state")
        assert me.settings.blocked == ("frog", "3")
        me.name_class("toad", 10)
        assert me.settings.blocked == ("toad", "3")
        head = {name: value.copy() for name, value in me.learner.parameters().items() if name == "head.bias"}
        head["head.bias"][..., 10:] += 1000
        me.learner.set_parameters(head)
        assert not {3, 10, 11} & set(me.predict(SMILES).classes)
        with pytest.raises(SettingError, match=r"nothing could be answered"):
            me.set(blocked=[*"0123456789", "toad"])  # class 11 is never answered
        me.export_state(tmp_path / "me.state")
    import_state(tmp_path / "me.state", tmp_path / "there", spare)


def test_nobody_guesses_a_class_without_a_name(spare: Bundle, tmp_path: Path) -> None:
    logits = np.eye(12, dtype=np.float32)[[11] * 8] * 9 + np.eye(12, dtype=np.float32)[4]
    with Owner(spare, tmp_path / "me") as me:
        me.add(Samples(SMILES[:4], np.full(4, -1)), mentor_logits_NK=logits[:4])
        me.add(Samples(SMILES[4:], np.full(4, -1)))
        found = me.guess(GuessRules(threshold=None), lambda input: logits[: len(input)])
        assert [(one.label, one.source) for one in found] == [(4, "mentor")] * 8


def test_names_and_labels_come_along_to_another_base(spare: Bundle, spare_folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(spare_folder, tmp_path / "other"))
    edit_manifest(other, lambda content: content.update(settings={}))
    with Owner(spare, tmp_path / "me") as me, Bundle.open(other) as bundle:
        taught(me)
        me.migrate(bundle, Budget(steps=40))
        assert me.bundle.manifest.id == bundle.manifest.id != spare.manifest.id
        assert me.classes[10:] == ("smile", "spare 2")
        assert [one.label for one in me.samples.all()] == [10] * 4
        known = replace(spare.manifest, classes=(*"012345", "smile", *"789", "spare 1", "spare 2"))
        assert carried(me.store, known) == {}  # a class of that name needs no spare one
        assert carried(me.store, replace(spare.manifest, classes=tuple("0123456789"), spare=())) == {}
        aside.put(me.store, Aside(9, "", "owner", 1.0, "frog", spare.manifest.preprocessing, b""))
        me.store.set(LOST, ["bear", "frog"])
        assert carried(me.store, bundle.manifest) == {
            "spare 1": "smile",
            "spare 2": "frog",
        }  # of bears there are no samples


def test_two_devices_agree_on_names_or_are_not_merged(spare: Bundle, tmp_path: Path) -> None:
    with Owner(spare, tmp_path / "me") as me, Owner(spare, tmp_path / "other") as other:
        taught(other)
        other.export_state(tmp_path / "other.state")
        me.set(golden_drop=1.0)
        me.merge(tmp_path / "other.state")
        assert me.classes[10:] == ("smile", "spare 2")
        assert set(me.predict(SMILES[4:]).classes) == {10}
        me.name_class("frog", 10)
        with pytest.raises(StateError, match=r"the other device calls class 'spare 1' 'smile', this one has .*frog"):
            me.merge(tmp_path / "other.state")
        with pytest.raises(StateError, match=r"calls class 'spare 2' 'frog'"):
            united(me.bundle.manifest, {"spare 2": "frog"})


def test_names_travel_in_a_state_file(spare: Bundle, tmp_path: Path) -> None:
    with Owner(spare, tmp_path / "me") as me:
        taught(me)
        me.set(blocked=["smile"])
        me.export_state(tmp_path / "me.state")
        answers = me.learner.predict(SMILES).logits
    import_state(tmp_path / "me.state", tmp_path / "there", spare)
    with Owner(spare, tmp_path / "there") as there:
        assert there.classes[10:] == ("smile", "spare 2")
        assert there.settings.blocked == ("smile",)
        assert [one.label for one in there.samples.all()] == [10] * 4
        assert np.array_equal(there.learner.predict(SMILES).logits, answers)


@pytest.mark.parametrize(
    "names", [["spare 1"], ["9", "spare 1"], ["spare 2", "spare 1"], [], [*"0123456789", "spare 1", "spare 2"]]
)
def test_spare_classes_are_the_last_of_several(spare_folder: Path, names: list[str]) -> None:
    content = json.loads((spare_folder / "manifest.json").read_text()) | {"spare_classes": names}
    with pytest.raises(BundleError, match=r"spare_classes are .*expected 1 to 1000 names, the last of several classes"):
        parse(content)
    if names:  # of an empty list the schema speaks
        with pytest.raises(UserError, match=r"spare_classes are not the last of several classes"):
            require_references(content)


def test_a_name_without_room_travels_in_a_state_file_until_there_is_some(
    spare: Bundle, narrow: Bundle, tmp_path: Path
) -> None:
    with Owner(spare, tmp_path / "me") as me:
        taught(me)
        me.add(Samples(SMILES[4:], np.full(4, me.name_class("frog"))))
        assert me.migrate(narrow, Budget(steps=5)).aside == [5, 6, 7, 8]
        assert me.classes[10:] == ("smile",)
        me.export_state(tmp_path / "me.state")
    import_state(tmp_path / "me.state", tmp_path / "there", narrow)
    with Owner(narrow, tmp_path / "there") as there:
        there.migrate(spare, Budget(steps=5))
        assert there.classes[10:] == ("smile", "frog")
        assert [one.label for one in there.samples.all()] == [10] * 4 + [11] * 4


def test_a_class_that_is_removed_leaves_its_place_to_another(spare: Bundle, narrow: Bundle, tmp_path: Path) -> None:
    with Owner(spare, tmp_path / "me") as me:
        me.set(rounds=0, replay="mentor", golden_drop=1.0)
        me.add(Samples(SMILES[4:6], np.full(2, 3)))
        me.add(Samples(SMILES[6:], np.full(2, me.name_class("frog", 11))))
        taught(me)
        me.set(blocked=["smile", "3"])
        me.enrol("smile", SMILES[:1])
        gone = me.remove_class("smile")
        assert (gone.samples, gone.versions) == ([5, 6, 7, 8], [1])
        assert gone.replay is not None
        assert gone.replay.status == "accepted"  # the rest, without it
        assert me.classes[10:] == ("spare 1", "frog")
        assert me.settings.blocked == ("3",)
        assert me.enrolled.samples()[1] == {}
        assert 10 not in me.predict(SMILES).classes
        assert me.name_class("bear") == 10
        me.migrate(narrow, Budget(steps=5))
        assert me.classes[10:] == ("bear",)
        assert me.remove_class("frog").samples == [3, 4]  # which were set aside
        with pytest.raises(SampleError, match=r"there is no class 'frog', nothing was removed"):
            me.remove_class("frog")


@pytest.mark.parametrize("name", ["👨‍👩‍👧", "🫨", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "my cup", "é", "𝒳" * 100])
def test_a_class_may_be_called_by_an_emoji_of_whatever_version_of_unicode(name: str) -> None:
    assert is_class_name(name)


@pytest.mark.parametrize(
    "name", ["", " a", "a\n", "a\u00a0b", "\u202ea", "\u200d", "a\u2028b", "\ue000", "\ud83d", "a" * 101, None, 7]
)
def test_a_class_is_not_called_by_what_cannot_be_seen(name: object) -> None:
    assert not is_class_name(name)
