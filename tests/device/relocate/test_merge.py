"""Two devices of one owner: a state travels as one file, is taken up where it stopped, or is merged under the guard."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Learner, LearningError, Owner, Plan, Samples, StateError
from mentee_device.relocate.state_file import import_state
from mentee_device.state.storage.lock import Lock

from tests.device.program import ENVIRONMENT, command

KEY = bytes(range(32))


def taught(
    bundle: Bundle, folder: Path, samples: Samples, steps: int, key: bytes | None = None, drop: float = 1.0
) -> Owner:
    me = Owner(bundle, folder, key)
    me.set(golden_drop=drop)
    if len(samples):
        me.add(samples)
        me.learn(Plan(budget=Budget(steps=steps), learning_rate=0.01))
    return me


def part(samples: Samples, start: int, end: int) -> Samples:
    return samples.take(np.arange(start, end))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_imported_state_goes_on_as_if_it_had_never_left(
    bundle: Bundle, bundle_folder: Path, mine: Samples, tmp_path: Path
) -> None:
    file = tmp_path / "me.state"
    with taught(bundle, tmp_path / "phone", mine, 3) as phone:
        phone.set(blocked=["3"])
        phone.enrol("cat", mine.input[:2])
        size = phone.export_state(file)
        assert size == file.stat().st_size
        assert file.stat().st_mode & 0o077 == 0
        before = phone.learner.snapshot()
        phone.learn(Plan(budget=Budget(steps=3)))
        after = phone.learner.snapshot()
    every = ("--bundle", bundle_folder, "--state", tmp_path / "tablet", "--json")
    done = subprocess.run(command("import-state", file, *every), env=ENVIRONMENT, capture_output=True, text=True)
    assert json.loads(done.stdout)["samples"] == 40, done.stderr
    with Owner(bundle, tmp_path / "tablet") as tablet:
        assert tablet.learner.snapshot() == before
        assert tablet.settings.blocked == ("3",)
        assert list(tablet.enrolled.samples()[1].values()) == ["cat", "cat"]
        assert [entry.event for entry in tablet.log()][-1] == "import"
        tablet.learn(Plan(budget=Budget(steps=3)))
        assert tablet.learner.snapshot() == after  # bit for bit: parameters, moments, random state
    assert sorted(path.name for path in tmp_path.iterdir()) == ["me.state", "phone", "tablet"]


def test_a_merge_averages_what_was_learnt_by_how_many_samples_taught_it(
    bundle: Bundle, bundle_folder: Path, mine: Samples, tmp_path: Path
) -> None:
    file = tmp_path / "tablet.state"
    with taught(bundle, tmp_path / "tablet", part(mine, 10, 40), 5) as tablet:
        tablet.enrol("cat", mine.input[:2])
        tablet.export_state(file)
        theirs, their_step = tablet.learner.parameters(), tablet.learner.step
    with taught(bundle, tmp_path / "phone", part(mine, 0, 20), 2, drop=0.9) as phone, Learner(bundle) as base:
        ours, start = phone.learner.parameters(), base.parameters()
        found = phone.merge(file)
        assert (found.taken, found.number, found.samples) == ("merged", 2, list(range(21, 41)))
        for name, value in phone.learner.parameters().items():
            expected = start[name] + (20 * (ours[name] - start[name]) + 30 * (theirs[name] - start[name])) / 50
            np.testing.assert_allclose(value, expected, atol=1e-6)
        assert phone.learner.step == their_step == 5
        assert (phone.versions.get(2).parent, phone.versions.get(2).learned) == (1, tuple(range(11, 41)))
        samples, _ = phone.samples.read([one.number for one in phone.samples.all()])
        np.testing.assert_array_equal(samples.input, mine.input)
        np.testing.assert_array_equal(samples.labels, mine.labels)
        assert list(phone.enrolled.samples()[1].values()) == ["cat", "cat"]
        phone.recognise(mine.input[:3])
        lines = [entry.line for entry in phone.log()]
        assert sum(line.startswith("on another device, ") for line in lines) == 5
        assert lines[-1].startswith("merged with tablet.state, v2 is current: merged is taken")
        moments = phone.learner.snapshot().checkpoint
        again = phone.merge(file)  # what is here already does not come twice
        assert (again.taken, again.number, again.samples) == ("mine", 2, [])
        phone.export_state(tmp_path / "phone.state")
        with Owner(bundle, tmp_path / "tablet") as tablet:  # and the other device follows, nothing is averaged again
            followed = tablet.merge(tmp_path / "phone.state")
            assert (followed.taken, tablet.learner.snapshot()) == ("theirs", phone.learner.snapshot())
            assert tablet.merge(tmp_path / "phone.state").taken == "mine"
        assert sum(entry.event == "elsewhere" for entry in phone.log()) == 5
        phone.roll_back(2)
        assert phone.learner.snapshot().checkpoint == moments
        assert phone.learn(Plan(budget=Budget(steps=1))).status == "accepted"
        gone = phone.unlearn([40])  # learnt there only: the merge goes, what this device had learnt stays
        assert phone.versions.get(2).status == "unlearned"
        assert 1 not in gone.versions
        assert gone.replay is not None


def test_where_the_guard_refuses_the_average_the_better_stays_and_samples_still_come(
    bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    file = tmp_path / "tablet.state"
    with taught(bundle, tmp_path / "tablet", part(mine, 20, 40), 30) as tablet:
        tablet.export_state(file)
    with taught(bundle, tmp_path / "phone", part(mine, 0, 20), 30) as phone:
        before = phone.learner.snapshot()
        phone.set(agreement_least=1.0)
        found = phone.merge(file)
        assert (found.taken, found.number, len(found.samples)) == ("mine", 1, 20)
        assert "the guard refuses the average (agrees with the base on 0." in found.why
        assert phone.learner.snapshot() == before
        assert len(phone.samples.all()) == 40


def test_the_owners_labels_that_nobody_learnt_from_speak_against_an_average(
    bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    """The golden set is silent here: its limit is 1."""
    file = tmp_path / "tablet.state"
    every, held = bundle.golden(), part(mine, 20, 40)
    rest = np.array([row for row, one in enumerate(every.input) if not (held.input == one).all(axis=(1, 2, 3)).any()])
    wrong = Samples(every.input[rest], (every.labels[rest] + 3) % 10)
    with taught(bundle, tmp_path / "tablet", wrong, 1) as tablet:
        assert tablet.learn(Plan(budget=Budget(steps=200), learning_rate=0.03, replay_batch=0)).status == "accepted"
        tablet.export_state(file)
    with taught(bundle, tmp_path / "phone", every.take(rest), 150) as phone:
        phone.add(held)
        before, right = phone.learner.snapshot(), round(20 * phone.evaluate(held.input, held.labels))
        assert right > 8
        found = phone.merge(file)
        assert found.taken == "mine"
        said = f"worse for the owner, beyond chance: of 20 held-out labels {right} were right before"
        assert f"the guard refuses the average ({said}" in found.why
        assert f"and theirs ({said}" in found.why
        assert phone.learner.snapshot() == before


def test_a_device_that_has_learnt_nothing_takes_the_others_mentee_whole(
    bundle: Bundle, mine: Samples, tmp_path: Path
) -> None:
    file = tmp_path / "tablet.state"
    with taught(bundle, tmp_path / "tablet", mine, 3) as tablet:
        tablet.export_state(file)
        theirs = tablet.learner.snapshot()
    taught(bundle, tmp_path / "phone", part(mine, 0, 0), 0).close()
    every = ("--bundle", bundle.folder, "--state", tmp_path / "phone", "--json")
    told = subprocess.run(command("merge", file, *every), env=ENVIRONMENT, capture_output=True, text=True)
    assert json.loads(told.stdout)["taken"] == "theirs", told.stderr
    with Owner(bundle, tmp_path / "phone") as phone:
        assert phone.learner.snapshot() == theirs
    back = tmp_path / "phone.state"
    assert subprocess.run(command("export-state", back, *every), env=ENVIRONMENT, capture_output=True).returncode == 0
    with Owner(bundle, tmp_path / "tablet") as tablet:
        assert tablet.merge(back).why == "this device has learnt all that the other has"
        assert not [entry for entry in tablet.log() if entry.event == "elsewhere" and "samples came" in entry.line][1:]


def test_of_two_labels_the_more_trusted_wins_then_the_newer(bundle: Bundle, mine: Samples, tmp_path: Path) -> None:
    file = tmp_path / "tablet.state"

    def relabelled(label: int) -> Samples:
        return Samples(mine.input[:4], np.full(4, label))

    with Owner(bundle, tmp_path / "tablet") as tablet, Owner(bundle, tmp_path / "phone") as phone:
        for row, (there, here) in enumerate(
            (("owner", "pseudo"), ("pseudo", "owner"), ("owner", "owner"), ("owner", "owner"))
        ):
            one = np.array([row])
            tablet.add(relabelled(1).take(one), there)
            phone.add(relabelled(2).take(one), here)
        later = "2031-01-01T00:00:00Z"
        for me, number, when in ((tablet, 3, later), (phone, 4, later)):
            with me.store.transaction() as connection:
                connection.execute("UPDATE samples SET time = ? WHERE number = ?", (when, number))
        tablet.export_state(file)
        found = phone.merge(file)
        assert found.relabelled == [1, 3]
        assert [(one.label, one.source) for one in phone.samples.all()] == [
            (1, "owner"),
            (2, "owner"),
            (1, "owner"),
            (2, "owner"),
        ]


def test_a_file_that_does_not_fit_changes_nothing(bundle: Bundle, altered: Path, mine: Samples, tmp_path: Path) -> None:
    from tests.device.sealing import edit_manifest

    edit_manifest(altered, lambda content: content["optimizer"].update(learning_rate=0.004))
    files = {
        name: tmp_path / f"{name}.state"
        for name in ("sound", "keyed", "other", "cut", "flipped", "later", "text", "head")
    }
    with taught(bundle, tmp_path / "tablet", mine, 1) as tablet:
        tablet.export_state(files["sound"])
        with pytest.raises(StateError, match="cannot be written"):
            tablet.export_state(tmp_path / "nowhere" / "file")
    with taught(bundle, tmp_path / "locked", mine, 1, KEY) as locked:
        locked.export_state(files["keyed"])
        assert mine.input[30].tobytes() not in files["keyed"].read_bytes()
    with Owner(Bundle.open(altered), tmp_path / "elsewhere") as elsewhere:
        elsewhere.export_state(files["other"])
    whole = files["sound"].read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    files["cut"].write_bytes(whole[:-100])
    files["flipped"].write_bytes(bytes(flipped))
    files["later"].write_bytes(whole.replace(b"mentee-state/2", b"mentee-state/3", 1))
    files["text"].write_text("hello")
    files["head"].write_bytes(b'{"format": "mentee-state/2", "bundle": "%s"}\n' % bundle.manifest.id.encode())
    reasons = {
        "keyed": "keyed.state is encrypted: its key is needed",
        "other": "other.state belongs to bundle",
        "cut": "cut off or was altered",
        "flipped": "cut off or was altered",
        "later": "has format 'mentee-state/3', this program reads 'mentee-state/2'",
        "text": "is no exported state",
        "head": "damaged in its first line",
        "missing": "cannot be read",
    }
    taught(bundle, tmp_path / "full", mine, 1).close()
    with taught(bundle, tmp_path / "phone", mine, 1) as phone:
        phone.store.back_up()
        before, listed = phone.learner.snapshot(), sorted(contents(tmp_path / "phone"))
        revision = phone.store.revision
        for name, reason in reasons.items():
            with pytest.raises(StateError, match=reason):
                phone.merge(tmp_path / f"{name}.state")
            with pytest.raises(StateError, match=reason):
                import_state(tmp_path / f"{name}.state", tmp_path / "new", bundle)
        with pytest.raises(
            StateError, match="is not empty, it holds 40 samples and 1 versions: import into a new folder, `merge`"
        ):
            import_state(files["sound"], tmp_path / "full", bundle)
        with pytest.raises(StateError, match="encrypted under another key: give the one it was exported with"):
            import_state(files["keyed"], tmp_path / "new", bundle, bytes(32))
        assert phone.learner.snapshot() == before
        assert phone.store.revision == revision
        assert sorted(contents(tmp_path / "phone")) == listed
        phone.learn(Plan(budget=Budget(steps=9)), on_progress=lambda progress: phone.pause())
        with pytest.raises(LearningError, match="is unfinished"):
            phone.merge(files["sound"])
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("new")]
    import_state(files["keyed"], tmp_path / "new", bundle, KEY)
    with Owner(bundle, tmp_path / "new", KEY) as owner:
        assert owner.versions.current == 1


def test_files_of_others_beside_are_left_alone(bundle: Bundle, mine: Samples, tmp_path: Path) -> None:
    """An export took X.body for its own, an import the folder X.importing."""
    theirs = tmp_path / "X.importing" / "thesis.txt"
    theirs.parent.mkdir()
    for path in (theirs, tmp_path / "X.body", tmp_path / "file.body"):
        path.write_text("mine")
    with Owner(bundle, tmp_path / "tablet") as tablet:
        tablet.add(mine)
        for name in ("file", "X"):
            tablet.export_state(tmp_path / name)
    (tmp_path / "X").unlink()
    import_state(tmp_path / "file", tmp_path / "X", bundle)
    assert {path.read_text() for path in (theirs, tmp_path / "X.body", tmp_path / "file.body")} == {"mine"}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"X", "X.importing", "X.body", "file", "file.body", "tablet"}
    assert not [name for name in contents(tmp_path / "tablet") if "unfinished" in name]


def test_an_import_sweeps_what_a_dead_one_left_and_nothing_else(bundle: Bundle, tmp_path: Path) -> None:
    with Owner(bundle, tmp_path / "tablet") as tablet:
        tablet.export_state(tmp_path / "file")
    dead, living, strange = (tmp_path / f".me.importing-{name}" for name in ("deadbeef", "lives123", "notours1"))
    for folder in (dead, living, strange):
        folder.mkdir()
    (dead / "importing").touch()
    (dead / "state.sqlite").write_text("begun")
    lock = Lock(living / "importing")
    import_state(tmp_path / "file", tmp_path / "me", bundle)
    assert (dead.exists(), living.exists(), strange.exists()) == (False, True, True)
    lock.release()


def test_names_need_not_be_text(bundle_folder: Path, bundle: Bundle, mine: Samples, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe$ %s"))
    odd.mkdir()
    with Owner(bundle, odd / "me") as me:
        me.add(mine)
        me.enrol("$HOME", mine.input[:1])
        me.export_state(odd / os.fsdecode(b"\xfe"))
    import_state(odd / os.fsdecode(b"\xfe"), odd / os.fsdecode(b"new\xff"), bundle)
    with Owner(bundle, odd / os.fsdecode(b"new\xff")) as me:
        assert len(me.samples.all()) == len(mine)
        assert "came from \ufffd" in me.log(1)[0].line
        me.merge(odd / os.fsdecode(b"\xfe"))
    words = ("export-state", "--bundle", bundle_folder, "--state", odd / "me")
    for more in ((), ("--json",)):
        ended = subprocess.run(
            command(*words, odd / os.fsdecode(b"\xfd"), *more), env=ENVIRONMENT, capture_output=True, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, b"")
