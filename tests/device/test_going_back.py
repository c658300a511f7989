"""Rolling back, resetting and unlearning, against learners that never learnt what was taken back."""

from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Learner, Owner, Plan, Samples, StateError
from mentee_device.runs.run import Progress

from tests.device.taking import labelled


def test_rolling_back_and_resetting(owner: Samples, me: Owner) -> None:
    me.add(owner)
    snapshots = [me.learner.snapshot()]
    for _ in range(3):
        me.learn(Plan(budget=Budget(steps=1)))
        snapshots.append(me.learner.snapshot())
    assert me.roll_back() == 2
    assert me.learner.snapshot() == snapshots[2]
    assert me.roll_back() == 1
    assert me.roll_back() == 0
    assert me.learner.snapshot() == snapshots[0]
    assert me.roll_back(3) == 3
    assert me.learner.snapshot() == snapshots[3]
    me.reset()
    assert me.learner.snapshot() == snapshots[0]
    with pytest.raises(StateError, match="no version 9"):
        me.roll_back(9)
    me.set(most_versions=1)
    me.learn(Plan(budget=Budget(steps=1)))
    assert [version.status for version in me.versions.all()] == ["pruned", "pruned", "pruned", "accepted"]
    assert me.roll_back() == 0


def test_unlearning_equals_never_having_learnt(bundle: Bundle, owner: Samples, tmp_path: Path) -> None:
    samples = labelled(owner)
    first, second = samples.take(np.arange(3)), samples.take(np.arange(3, 6))
    with Owner(bundle, tmp_path / "me") as me, Owner(bundle, tmp_path / "never") as never:
        for one in (me, never):
            one.set(golden_drop=1.0)
            one.add(first)
            one.learn(Plan(budget=Budget(steps=4)))
        regretted = me.add(second)
        me.learn(Plan(budget=Budget(steps=3)))  # on all six
        never.learn(Plan(budget=Budget(steps=3)))
        assert me.learner.snapshot() != never.learner.snapshot()
        me.unlearn(regretted)
        assert me.learner.snapshot() == never.learner.snapshot()


def test_unlearning_what_came_last_goes_back_and_replays_the_rest(owner: Samples, bundle: Bundle, me: Owner) -> None:
    samples = labelled(owner)
    me.add(samples.take(np.arange(3)))
    me.learn(Plan(budget=Budget(steps=4)))
    first = me.versions.snapshot(1)
    late = me.add(samples.take(np.arange(3, 6)))
    me.learn(Plan(budget=Budget(steps=3), samples=late))
    more = me.add(samples.take(np.arange(6, 9)))
    me.learn(Plan(budget=Budget(steps=2), samples=more))
    gone = me.unlearn(late)
    assert gone.versions == [2, 3]
    assert gone.current == 4
    by_hand = Learner(bundle)
    by_hand.restore(first)
    by_hand.learn(samples.take(np.arange(6, 9)), 5)  # as many steps as the two runs had
    assert me.learner.snapshot() == by_hand.snapshot()
    assert [one.number for one in me.samples.all()] == [1, 2, 3, 7, 8, 9]

    everything = me.unlearn(matching=lambda one: one.source == "owner")
    assert (everything.current, everything.replay) == (0, None)
    assert me.samples.all() == []
    with pytest.raises(StateError, match="no sample 77"):
        me.unlearn([77])


def test_an_unlearning_that_is_cut_off_has_unlearned(bundle: Bundle, owner: Samples, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(_: Progress) -> None:
        raise Killed

    with Owner(bundle, tmp_path / "me") as me:
        me.set(golden_drop=1.0)
        me.add(owner)
        me.learn(Plan(budget=Budget(steps=3)))
        with pytest.raises(Killed):
            me.unlearn([1], on_progress=kill)
    with Owner(bundle, tmp_path / "me") as me:
        assert (me.versions.current, me.versions.get(1).status) == (0, "unlearned")
        assert 1 not in {one.number for one in me.samples.all()}
        assert me.resume().status == "accepted"
        assert 1 not in me.versions.get(me.versions.current).learned
