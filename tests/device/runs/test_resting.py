"""An unfinished run, what comes while it rests, and what was learnt by which label: found again, and recorded as it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Budget, Bundle, GuessRules, Learner, LearningError, Owner, SampleError, Samples, StateError
from mentee_device.core import microbatch as passes
from mentee_device.relocate import candidates
from mentee_device.runs.plans.plan import Plan
from mentee_device.state.storage.store import Store

from tests.device.sealing import edit_manifest
from tests.device.taking import part, pause_at, unlabelled


@pytest.fixture
def me(bundle: Bundle, tmp_path: Path) -> Any:
    with Owner(bundle, tmp_path / "me") as one:
        one.set(golden_drop=1.0)
        yield one


# an unfinished run


def test_a_damaged_unfinished_run_leaves_the_current_version_answering(me: Owner, mine: Samples) -> None:
    me.add(part(mine, 0, 20))
    me.add(unlabelled(part(mine, 20, 40)))
    base = me.predict(mine.input).logits
    me.learn(Plan(budget=Budget(steps=12), learning_rate=0.01), on_progress=pause_at(me, 8))
    with me.store.transaction() as connection:
        connection.execute("UPDATE blobs SET value = x'00' WHERE name LIKE 'guesses of version%'")
    with pytest.raises(StateError, match=r"damaged.*run v1 was dropped, v0 answers"):
        me.resume()
    np.testing.assert_array_equal(me.predict(mine.input).logits, base)
    assert me.paused is None
    assert me.learn(Plan(budget=Budget(steps=1))).number == 2


def test_an_unfinished_run_cannot_be_gone_back_to(me: Owner, mine: Samples) -> None:
    me.add(mine)
    me.learn(Plan(budget=Budget(steps=5)), on_progress=pause_at(me, 2))
    with pytest.raises(StateError, match="v1 is unfinished: resume or discard it"):
        me.roll_back(1)
    assert me.resume().status == "accepted"
    me.roll_back(0)
    with pytest.raises(StateError, match="no version 7"):
        me.roll_back(7)


def test_a_label_that_comes_while_a_run_rests_is_for_the_next_one(
    bundle: Bundle, me: Owner, mine: Samples, tmp_path: Path
) -> None:
    known, rest = part(mine, 0, 20), part(mine, 20, 40)
    with Owner(bundle, tmp_path / "other") as other:
        other.set(golden_drop=1.0)
        for one in (me, other):
            one.add(known)
            numbers = one.add(unlabelled(rest))
        other.learn(Plan(budget=Budget(steps=12)))
        me.learn(Plan(budget=Budget(steps=12)), on_progress=pause_at(me, 6))
        me.add(rest)  # the owner names them
        assert me.resume().status == "accepted"
        assert me.learner.snapshot() == other.learner.snapshot()
        assert me.waiting() == numbers


def test_a_pause_while_a_run_is_prepared_counts(me: Owner, mine: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    me.add(mine)
    describe = me.runs._run

    def slow(*given: Any) -> Any:
        me.pause()
        return describe(*given)

    monkeypatch.setattr(me.runs, "_run", slow)
    assert me.learn(Plan(budget=Budget(steps=50))).status == "paused"


def test_a_paused_stream_keeps_what_came(me: Owner, mine: Samples) -> None:
    results = me.stream(mine, every=8, plan=Plan(batch=4), on_progress=lambda progress: me.pause())
    assert [result.status for result in results] == ["paused"]
    assert len(me.samples.all()) == len(mine)
    me.resume()
    assert me.waiting() == [one.number for one in me.samples.all()][8:]


def test_a_stream_goes_on_with_its_own_samples_where_some_had_to_go(me: Owner, mine: Samples) -> None:
    numbers = me.add(part(mine, 0, 8))
    seen: list[int] = []
    draw = type(me.learner).learn_batch

    def watched(learner: Any, samples: Samples, *given: Any, **options: Any) -> Any:
        seen.extend(numbers[int(np.flatnonzero((mine.input[:8] == one).all((1, 2, 3)))[0])] for one in samples.input)
        return draw(learner, samples, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(me.learner), "learn_batch", watched)
        me.learn(Plan(budget=Budget(samples=8), samples=numbers, once=True, batch=2), on_progress=pause_at(me, 2))
        me.samples.delete(numbers[:2])  # as where room had to be made
        assert me.resume().status == "accepted"
    assert seen == numbers


def test_a_run_shorter_than_an_accumulated_step_still_takes_one(altered: Path, mine: Samples, tmp_path: Path) -> None:
    edit_manifest(altered, lambda content: content["optimizer"].update(accumulate=4))
    with Owner(Bundle.open(altered), tmp_path / "me") as me:
        me.set(golden_drop=1.0)
        me.add(mine)
        before = me.learner.parameters()
        assert me.learn(Plan(budget=Budget(steps=3), learning_rate=0.01)).status == "accepted"
        first = me.learner.parameters()
        assert any(not np.array_equal(before[name], first[name]) for name in before)
        assert not me.learner.collecting
        me.learn(Plan(budget=Budget(steps=6)))  # one whole step and half of one
        assert me.learner.snapshot() == me.versions.snapshot(2)


def test_an_interrupt_between_two_parts_of_a_step_leaves_nothing_for_the_next(
    bundle: Bundle, mine: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "PASS_BYTES", 1)
    with Learner(bundle) as cut, Learner(bundle) as whole:
        forward = cut._session.forward_backward

        def once(*given: Any) -> Any:
            forward(*given)
            raise KeyboardInterrupt

        monkeypatch.setattr(cut._session, "forward_backward", once)
        with pytest.raises(KeyboardInterrupt):
            cut.learn_batch(mine)
        monkeypatch.setattr(cut._session, "forward_backward", forward)
        for learner in (cut, whole):
            learner.learn_batch(part(mine, 0, 9))
        assert cut.snapshot() == whole.snapshot()


# labels, and what was learnt by them


def test_samples_of_an_unfinished_run_go_on_to_a_new_base(
    me: Owner, altered: Path, mine: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_manifest(altered, lambda content: content.update(name="another"))
    me.add(part(mine, 0, 10))
    me.learn(Plan(budget=Budget(steps=3)))
    me.add(part(mine, 10, 40))
    me.learn(Plan(budget=Budget(steps=6)), on_progress=pause_at(me, 2))
    replayed: set[int] = set()

    def watched(learner: Any, plan: Plan, *given: Any) -> Any:
        replayed.update(plan.samples)
        return replay(learner, plan, *given)

    replay = candidates.replay
    monkeypatch.setattr(candidates, "replay", watched)
    me.migrate(Bundle.open(altered), Budget(steps=4))
    assert len(replayed) >= 28  # a quarter of each class may be held out


def test_an_owners_word_of_another_device_replaces_a_guess_of_the_same_label(
    bundle: Bundle, me: Owner, mine: Samples, tmp_path: Path
) -> None:
    few = part(mine, 0, 8)
    me.add(few, source="pseudo", weight=0.25)
    with Owner(bundle, tmp_path / "tablet") as tablet:
        tablet.add(few)
        tablet.export_state(tmp_path / "file")
    me.merge(tmp_path / "file")
    assert {(one.source, one.weight) for one in me.samples.all()} == {("owner", 1.0)}
    assert me.undo_guesses().samples == []


def test_a_merged_version_knows_which_samples_taught_it_without_a_label(
    bundle: Bundle, me: Owner, mine: Samples, tmp_path: Path
) -> None:
    known, rest = part(mine, 0, 20), part(mine, 20, 40)
    with Owner(bundle, tmp_path / "tablet") as tablet:
        tablet.set(golden_drop=1.0)
        tablet.add(known)
        tablet.add(unlabelled(rest))
        tablet.learn(Plan(budget=Budget(steps=6)))
        tablet.export_state(tmp_path / "file")
    me.add(part(mine, 0, 5))
    me.learn(Plan(budget=Budget(steps=2), learning_rate=0.004))
    assert me.merge(tmp_path / "file").taken == "merged"
    assert me.learner.learning_rate == pytest.approx(0.004)
    numbers = me.add(rest)
    assert me.waiting() == numbers


def test_what_the_mentor_said_of_a_sample_stays_when_it_is_kept_again(me: Owner, mine: Samples) -> None:
    few = unlabelled(part(mine, 0, 3))
    logits = np.arange(30, dtype=np.float32).reshape(3, 10)
    numbers = me.add(few, mentor_logits_NK=logits)
    assert me.add(few) == numbers
    for number, said in zip(numbers, logits, strict=True):
        np.testing.assert_array_equal(me.samples.mentor_logits(number), said)


def test_unlearning_takes_the_evidence_of_a_guess_along(me: Owner, mine: Samples) -> None:
    numbers = me.add(unlabelled(part(mine, 0, 6)))
    me.guess(GuessRules(threshold=0.0))
    assert len(me.guesses()) == 6
    me.unlearn(numbers[:4])
    assert b'"1"' not in (me.store.get("guesses") or b"")
    assert [guess.number for guess in me.guesses()] == numbers[4:]


def test_unlearning_all_that_had_a_label_leaves_no_run_that_cannot_go_on(me: Owner, mine: Samples) -> None:
    numbers = me.add(part(mine, 0, 6))
    me.add(unlabelled(part(mine, 6, 12)))
    me.learn(Plan(budget=Budget(steps=3), samples=[one.number for one in me.samples.all()], rounds=0))
    gone = me.unlearn(numbers)
    assert (gone.current, gone.replay, me.paused) == (0, None, None)


def test_a_replay_after_unlearning_goes_on_at_the_owners_rate(me: Owner, mine: Samples) -> None:
    first, _ = me.add(part(mine, 0, 10)), me.add(part(mine, 10, 20))
    me.learn(Plan(budget=Budget(steps=3), learning_rate=0.004))
    me.unlearn(first)
    assert me.learner.learning_rate == pytest.approx(0.004)


def test_enrolled_samples_that_are_damaged_can_be_removed(me: Owner, mine: Samples) -> None:
    me.enrol("cat", mine.input[:2])
    with me.store.transaction() as connection:
        connection.execute("UPDATE blobs SET value = x'00' WHERE name IN ('enrolled samples', 'enrolment')")
    with pytest.raises(StateError, match=r"damaged.*enrolled\.clear\(\)"):
        me.enrol("cat", mine.input[2:4])
    me.enrolled.clear()
    assert me.enrol("cat", mine.input[2:4]) == [1, 2]


def test_a_setting_that_is_no_json_is_damage(bundle: Bundle, mine: Samples, tmp_path: Path) -> None:
    with Store(tmp_path / "me", bundle.manifest.id) as store:
        store.set("settings", {"rounds": 2})
        with store.transaction() as connection:
            connection.execute("UPDATE settings SET value = '{' WHERE name = 'settings'")
        with pytest.raises(StateError, match="'settings' is damaged"):
            store.setting("settings")


def test_slips_are_told_before_anything_changes(me: Owner, mine: Samples) -> None:
    with pytest.raises(SampleError, match="source is 'none'"):
        me.add(mine, source="none")
    assert me.samples.all() == []
    me.add(mine)
    me.set(replay="mentor", beta=1.0)
    with pytest.raises(LearningError, match="beta weighs the mentor's layers"):
        me.learn(Plan(budget=Budget(steps=1), replay="own"))
    assert me.versions.all() == []
