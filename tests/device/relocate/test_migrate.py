"""A new base arrives: what the owner's mentee has learnt comes along where it helps, and nothing is lost on the way."""

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Learner, LearningError, Owner, Plan, Samples, StateError, migrate
from mentee_device.core.backends.choose import read_values
from mentee_device.guard.measures import Limits
from mentee_device.relocate.candidates import Judge, hold_out, transferred
from mentee_device.state import base
from mentee_device.state.about import About
from mentee_device.state.storage.store import Store
from safetensors.numpy import load_file, save_file

from tests.device.program import ENVIRONMENT, command
from tests.device.relocate.bases import OTHER_CLASSES, reweighted, taught
from tests.device.sealing import reseal, with_a_wrong_mentor
from tests.waiting import PATIENCE

# what is computed


def test_a_delta_is_added_row_by_row_of_the_same_class(
    bundle: Bundle, other_classes_folder: Path, mine: Samples, tmp_path: Path
) -> None:
    new_bundle = Bundle.open(other_classes_folder)
    with taught(bundle, tmp_path / "me", mine) as me, Learner(new_bundle) as fresh:
        old = base.read(me.store)
        assert old is not None
        personal = read_values(me.learner.snapshot().checkpoint).parameters
        new = fresh.parameters()
        moved = transferred(new, new_bundle.manifest.classes, new_bundle.manifest.head, old, personal)
    with Learner(bundle) as untouched:
        before = untouched.parameters()
    assert moved.keys() == new.keys()
    for name, value in new.items():
        expected = value.copy()
        if name.startswith("head."):
            for row, label in enumerate(OTHER_CLASSES):
                if label in bundle.manifest.classes:
                    at = bundle.manifest.classes.index(label)
                    expected[row] = value[row] + personal[name][at] - before[name][at]
        else:
            expected = value + personal[name] - before[name]
        np.testing.assert_allclose(moved[name], expected, rtol=0, atol=1e-6)
    new_row = OTHER_CLASSES.index("new")
    assert (moved["head.weight"][new_row] == new["head.weight"][new_row]).all()
    assert not (moved["head.weight"][0] == new["head.weight"][0]).all()


def test_a_parameter_of_another_shape_stays_the_new_bases(bundle: Bundle) -> None:
    with Learner(bundle) as learner:
        values = learner.parameters()
    old = base.Base.of(bundle.manifest, values)
    personal = {name: value + 1 for name, value in values.items()}
    wider = values | {"features.0.0.bias": np.zeros(9, np.float32)}
    moved = transferred(wider, bundle.manifest.classes, "head", old, personal)
    assert moved.keys() == values.keys() - {"features.0.0.bias"}


def test_a_quarter_of_each_class_is_held_out_first_what_was_never_learnt_from() -> None:
    def about(number: int, label: int, source: str = "owner") -> About:
        return About(number, "", source, label, 1.0, 1)

    stored = [about(n, 0) for n in range(1, 9)] + [
        about(9, 1),
        about(10, 2),
        about(11, 2),
        about(12, 3, "pseudo"),
        about(13, 3),
    ]
    assert hold_out(stored, set(range(1, 14))) == {8, 7, 11}
    assert hold_out(stored, set(range(1, 14)) - {2, 10}) == {2, 8, 10}
    assert hold_out([about(1, 0)], ()) == set()


# what is taken


def test_an_owner_who_named_nothing_is_guessed_anew(
    bundle: Bundle, other: Bundle, mine: Samples, tmp_path: Path
) -> None:
    with Owner(bundle, tmp_path / "me") as me:
        me.set(golden_drop=1.0)
        me.add(Samples(mine.input, np.full(len(mine), -1)))
        assert me.learn(Plan(budget=Budget(steps=6), learning_rate=0.01)).status == "accepted"
        found = me.migrate(other, Budget(steps=6))
        assert {"base", "replay"} <= found.scores.keys()
        with Owner(other, tmp_path / "reference") as reference:
            reference.set(golden_drop=1.0)
            reference.add(Samples(mine.input, np.full(len(mine), -1)))
            assert reference.learn(Plan(budget=Budget(steps=6))).golden_after == found.scores["replay"].golden


@pytest.mark.parametrize("wrong", [False, True])
def test_whose_answers_are_replayed_is_found_anew_on_the_new_base(
    bundle: Bundle, bundle_folder: Path, mine: Samples, tmp_path: Path, wrong: bool
) -> None:
    folder = reweighted(bundle, Path(shutil.copytree(bundle_folder, tmp_path / "new")), 0.001)
    new = Bundle.open(with_a_wrong_mentor(folder) if wrong else folder)
    with Owner(bundle, tmp_path / "me") as me:
        me.set(golden_drop=1.0)
        me.add(mine)
        assert me.learn(Plan(budget=Budget(steps=6), learning_rate=0.01, seed=1)).status == "accepted"
        assert "under the mentor's answers" in me.log(1)[0].line
        found = me.migrate(new, Budget(steps=6))
    whose = "base" if wrong else "mentor"
    assert f"replay under the {whose}'s answers (of " in found.why


def test_replay_is_the_ordinary_run_on_the_new_base(
    bundle: Bundle, other: Bundle, mine: Samples, tmp_path: Path
) -> None:
    with taught(bundle, tmp_path / "me", mine) as me:
        undone = me.add(Samples(255 - mine.input[:10], mine.labels[:10]))
        me.learn(Plan(budget=Budget(steps=1), samples=undone))
        me.roll_back(1)  # so these are not replayed either
        found = me.migrate(other, Budget(steps=40))
        assert (found.taken, found.number, me.versions.current) == ("replay", 3, 3)
        assert found.scores["replay"].rank > max(found.scores["base"].rank, found.scores["delta"].rank)
        with Learner(other) as reference:
            reference.learn(mine, 40)
            assert me.learner.snapshot() == reference.snapshot()
        told = me.log(1)[0]
        assert told.event == "migrate"
        assert "replay is taken (new base: golden 0." in told.line
        assert [version.status for version in me.versions.all()] == ["superseded", "superseded", "accepted"]
        after = me.learner.snapshot()
        assert len(me.samples.all()) == 50
        with pytest.raises(StateError, match="no checkpoint any more \\(superseded\\)"):
            me.roll_back(1)
    with pytest.raises(StateError, match="belongs to bundle"):
        Owner(bundle, tmp_path / "me")
    with Owner(other, tmp_path / "me") as again:
        assert again.learner.snapshot() == after
        gone = again.unlearn([1, 2])  # what it taught goes with it, as after any run
        assert gone.versions == [1, 2, 3]
        assert gone.replay is not None


def test_a_delta_wins_where_a_replay_is_too_short(bundle: Bundle, altered: Path, mine: Samples, tmp_path: Path) -> None:
    near = Bundle.open(reweighted(bundle, altered, 0.001))
    with taught(bundle, tmp_path / "me", mine, steps=60) as me:
        personal = me.learner.parameters()
    with Learner(bundle) as before, Learner(near) as new:
        expected = {
            name: value + personal[name] - before.parameters()[name] for name, value in new.parameters().items()
        }
    found = migrate(tmp_path / "me", near, budget=Budget(steps=1))  # the old bundle is not asked for
    assert (found.taken, found.number) == ("delta", 2)
    with Owner(near, tmp_path / "me") as me:
        for name, value in me.learner.parameters().items():
            np.testing.assert_allclose(value, expected[name], atol=1e-6)
        assert me.learner.step == 60
        assert me.versions.get(2).learned == tuple(range(1, 41))
        assert me.learn(Plan(budget=Budget(steps=1))).status == "accepted"  # and it goes on learning


def test_the_new_base_stays_untaught_where_the_guard_refuses_or_nothing_was_learnt(
    bundle: Bundle, other: Bundle, mine: Samples, tmp_path: Path
) -> None:
    with taught(bundle, tmp_path / "strict", mine) as me:
        me.set(agreement_least=1.0)
        found = me.migrate(other)
        assert (found.taken, found.number, me.versions.current, me.learner.step) == ("base", 0, 0, 0)
        assert found.why.count("refused: agrees with the base on 0.") == 2
        assert len(me.samples.all()) == 40
    with Owner(bundle, tmp_path / "new") as me:
        me.add(mine)
        found = me.migrate(other)
        assert (found.taken, found.scores) == ("base", {})
        with Learner(other) as fresh:
            assert me.learner.snapshot().checkpoint == fresh.snapshot().checkpoint


def test_the_owners_labels_that_nobody_learnt_from_speak_against_what_was_learnt(
    bundle: Bundle, altered: Path, mine: Samples, tmp_path: Path
) -> None:
    with Learner(bundle) as skilled, Learner(bundle) as fresh:
        skilled.learning_rate = 0.01
        skilled.learn(bundle.golden(), 150)
        fresh.set_parameters(skilled.parameters())
        (altered / bundle.manifest.ort_training.checkpoint).write_bytes(fresh.snapshot().checkpoint)
    reseal(altered)
    wrong = Samples(mine.input[::2], (mine.labels[::2] + 3) % 10)
    with taught(bundle, tmp_path / "me", wrong, steps=1) as me:
        me.learn(Plan(budget=Budget(steps=200), learning_rate=0.03, replay_batch=0))
        me.add(mine.take(np.arange(1, 40, 2)))
        found = me.migrate(Bundle.open(altered), Budget(steps=1))
    assert found.taken != "delta"
    assert re.search(
        r"delta: golden [^)]*\), refused: worse for the owner, beyond chance: of \d+ held-out labels", found.why
    )


@pytest.mark.parametrize("evidence", ["none", "better", "worse"])
def test_held_out_labels_weigh_as_at_the_end_of_a_run(evidence: str, bundle: Bundle) -> None:
    """A golden loss between the limit and twice the limit, and what the owner's labels make of it."""
    golden = bundle.golden()
    with Learner(bundle) as base, Learner(bundle) as changed:
        for one, shift, steps in ((base, 0, 150), (changed, 1, 60)):
            one.learning_rate = 0.01
            one.learn(Samples(golden.input, (golden.labels + shift) % 10), steps)
        before_N, after_N = (one.predict(golden.input).logits.argmax(axis=1) for one in (base, changed))
        loss = float((before_N == golden.labels).mean() - (after_N == golden.labels).mean())
        assert loss > 0.1
        rows = np.flatnonzero(before_N != after_N)[:8]
        owner = Samples(golden.input[rows], (after_N if evidence == "better" else before_N)[rows])
        right_N = None if evidence == "none" else np.full(len(rows), evidence == "worse")
        judge = Judge(base, Limits(golden_drop=0.6 * loss))
        reasons = judge.score(changed, owner, right_N).reasons
        assert judge.score(base, owner, right_N).reasons == ()
    by_golden = [reason for reason in reasons if reason.startswith("golden accuracy")]
    by_owner = [reason for reason in reasons if reason.startswith("worse for the owner, beyond chance: of 8 held-out")]
    assert (len(by_golden), len(by_owner)) == {"none": (1, 0), "better": (0, 0), "worse": (1, 1)}[evidence]


# bad input, keys and crashes


def test_what_cannot_be_migrated_is_refused_and_stays(
    bundle: Bundle, other: Bundle, altered: Path, mine: Samples, tmp_path: Path
) -> None:
    with pytest.raises(StateError, match="no state at"):
        migrate(tmp_path / "nothing", other)
    with taught(bundle, tmp_path / "me", mine, steps=1) as me:
        before = me.learner.snapshot()
        with pytest.raises(StateError, match="already: there is nothing to migrate"):
            me.migrate(bundle)
        golden = load_file(altered / "golden.safetensors")
        save_file({name: value[:0] for name, value in golden.items()}, altered / "golden.safetensors")
        reseal(altered)
        with pytest.raises(LearningError, match="golden set is empty"):
            me.migrate(Bundle.open(altered))
        assert me.learner.snapshot() == before
    with Store(tmp_path / "me", None) as store:
        store.delete(base.NAME)  # a state of an older program
    with pytest.raises(StateError, match="open it once with that bundle"):
        migrate(tmp_path / "me", other)
    Owner(bundle, tmp_path / "me").close()
    assert migrate(tmp_path / "me", other, budget=Budget(steps=1)).taken


def test_an_encrypted_state_is_updated_with_its_key_only(
    bundle: Bundle, other_classes_folder: Path, mine: Samples, tmp_path: Path
) -> None:
    new, key = Bundle.open(other_classes_folder), bytes(range(32))
    taught(bundle, tmp_path / "me", mine, steps=1, key=key).close()
    with pytest.raises(StateError, match="its key is needed"):
        migrate(tmp_path / "me", new)
    found = migrate(tmp_path / "me", new, key, budget=Budget(steps=1))
    assert len(found.aside) == 4
    content = b"".join(path.read_bytes() for path in (tmp_path / "me").iterdir())
    assert mine.input[30].tobytes() not in content


def test_kill_9_during_a_migration_leaves_the_old_base_or_the_new_one(
    bundle: Bundle, other: Bundle, mine: Samples, tmp_path: Path
) -> None:
    folder = tmp_path / "me"
    with taught(bundle, folder, mine, steps=2) as me:
        before = me.learner.snapshot()
    arguments = ("--bundle", other.folder, "--state", folder, "--steps")
    for seconds in (0.2, 1.2):
        with subprocess.Popen(
            command("migrate", *arguments, 10**6), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
        with Owner(bundle, folder) as me:  # belongs to the old bundle, whole
            assert me.learner.snapshot() == before
            assert len(me.samples.all()) == 40
    with subprocess.Popen(  # while it writes: one or the other, whole
        command("migrate", *arguments, 3), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wal = folder / "state.sqlite-wal"
        while process.poll() is None and not (wal.exists() and wal.stat().st_size > 20_000):
            time.sleep(0.0002)
        process.send_signal(signal.SIGKILL)
    try:
        with Owner(bundle, folder) as me:
            assert me.learner.snapshot() == before
    except StateError:
        with Owner(other, folder) as me:
            assert me.log(1)[0].event == "migrate"
        migrate(folder, bundle, budget=Budget(steps=1))
    with Owner(bundle, folder) as me:
        assert len(me.samples.all()) == 40
    done = subprocess.run(
        command("migrate", *arguments, 20, "--json"), env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    with Owner(other, folder) as me:
        assert me.versions.current == told["current"]
        assert len(me.samples.all()) == 40
