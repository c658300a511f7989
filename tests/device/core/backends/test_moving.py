"""A state that one backend wrote goes on under the other as if it had never moved."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, BundleError, Learner, Owner, Plan, Samples
from mentee_device.core.backends import choose
from mentee_device.core.backends.choose import BACKENDS, read_values

from export.bundle.write import export_bundle
from export.graph.optimizer_spec import Group, Optimizer
from mentee.checkpoint import MenteeCheckpoint
from tests.conftest import SETTINGS

STEPS = 20


@pytest.fixture
def bundle(both_folder: Path) -> Bundle:
    return Bundle.open(both_folder)


def learnt(learner: Learner, samples: Samples, steps: int = STEPS) -> list[float]:
    """The loss before each step."""
    rows = np.arange(len(samples))
    return [
        learner.learn_batch(samples.take(learner.draw(rows, 8)), learner.draw_replay(16))["loss"] for _ in range(steps)
    ]


@pytest.mark.parametrize("first", BACKENDS)
def test_losses_after_a_move_and_a_move_back_are_those_without(bundle: Bundle, mine: Samples, first: str) -> None:
    (second,) = (name for name in BACKENDS if name != first)
    with Learner(bundle, backend=first) as stays, Learner(bundle, backend=second) as there:
        learnt(stays, mine)
        there.restore(stays.snapshot())
        assert (there.step, there.learning_rate) == (STEPS, pytest.approx(stays.learning_rate, rel=1e-6))
        np.testing.assert_allclose(learnt(there, mine), learnt(stays, mine), rtol=0, atol=1e-5)
        with Learner(bundle, backend=first) as back:
            back.restore(there.snapshot())
            np.testing.assert_allclose(learnt(back, mine), learnt(stays, mine), rtol=0, atol=1e-5)


@pytest.mark.parametrize("first", BACKENDS)
def test_a_move_changes_no_number(bundle: Bundle, mine: Samples, first: str) -> None:
    """Parameters, moments and step, at the base and after some steps; there and back gives the same bytes."""
    (second,) = (name for name in BACKENDS if name != first)
    for steps in (0, 3):
        with Learner(bundle, backend=first) as learner:
            learnt(learner, mine, steps)
            dump = learner.snapshot().checkpoint
        moved = choose.resumed(bundle, 1, second, dump).dump()
        here, there = read_values(dump), read_values(moved)
        assert here.step == there.step == steps
        assert len(here.moments) == len(there.moments) == 2
        pairs = zip((here.parameters, *here.moments), (there.parameters, *there.moments), strict=True)
        for one, other in pairs:
            assert one.keys() == other.keys()
            assert all(np.array_equal(value, other[name]) for name, value in one.items())
        assert choose.resumed(bundle, 1, first, moved).dump() == dump


def test_under_groups_each_step_of_a_state_is_the_others(
    checkpoint: MenteeCheckpoint, tmp_path: Path, mine: Samples
) -> None:
    """From the same state: at these rates a rounding in one step can be a loss of 1e-3 forty steps on, on one backend, too."""
    groups = [Group("features.1*", 3.0, 0.1), Group("*.bias", 0.3, 0.0)]
    settings = replace(SETTINGS, backend="both", optimizer=Optimizer(learning_rate=0.01, groups=groups))
    bundle = Bundle.open(export_bundle(checkpoint, tmp_path / "bundle", settings).path)
    with Learner(bundle, backend="ort-training") as here, Learner(bundle, backend="stock") as there:
        for _ in range(STEPS):
            there.restore(here.snapshot())
            assert learnt(there, mine, 1) == pytest.approx(learnt(here, mine, 1), rel=0, abs=1e-6)
            one, other = (read_values(learner.snapshot().checkpoint) for learner in (here, there))
            pairs = zip((one.parameters, *one.moments), (other.parameters, *other.moments), strict=True)
            for arrays, theirs in pairs:
                for name, value in arrays.items():
                    np.testing.assert_allclose(theirs[name].reshape(-1), value.reshape(-1), rtol=0, atol=1e-6)
        dump = here.snapshot().checkpoint
        there.restore(here.snapshot())
        assert choose.resumed(bundle, 1, "ort-training", there.snapshot().checkpoint).dump() == dump


@pytest.mark.parametrize("first", BACKENDS)
def test_an_owners_folder_and_a_paused_run_go_on_under_the_other(
    bundle: Bundle, mine: Samples, tmp_path: Path, first: str
) -> None:
    (second,) = (name for name in BACKENDS if name != first)
    ends = []
    for then in (first, second):
        folder = tmp_path / then
        with Owner(bundle, folder, backend=first) as me:
            me.set(golden_drop=1.0, replay="mentor", rounds=0)
            me.add(mine)
            me.learn(Plan(budget=Budget(steps=4)))
            me.learn(Plan(budget=Budget(steps=8)), on_progress=lambda progress, me=me: me.pause())
            assert me.paused is not None
        with Owner(bundle, folder, backend=then) as me:
            assert (me.learner.backend, me.notes) == (then, [])
            assert me.resume().status == "accepted"
            ends.append((me.learner.step, me.learner.parameters(), me.predict(mine.input).logits))
    (steps, parameters, logits), (steps_there, parameters_there, logits_there) = ends
    assert steps == steps_there == 12
    np.testing.assert_allclose(logits_there, logits, rtol=0, atol=2e-5)
    for name, value in parameters.items():
        np.testing.assert_allclose(parameters_there[name], value, rtol=0, atol=2e-4, err_msg=name)


def test_a_state_of_a_newer_program_or_another_mentee_is_refused_in_one_line(bundle: Bundle) -> None:
    with Learner(bundle, backend="stock") as learner:
        dump = learner.snapshot().checkpoint
    newer = dump.replace(rb"\"version\":1", rb"\"version\":2")
    other = dump.replace(b"head.bias", b"tail.bias")
    assert dump not in (newer, other)
    for backend in BACKENDS:
        for broken, said in (
            (newer, "the checkpoint has format 2, this program reads 1: update the program"),
            (other, "tail.bias|other parameters than the bundle"),
        ):
            with pytest.raises(BundleError, match=said) as error:
                choose.resumed(bundle, 1, backend, broken)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_damaged_dump_is_refused_or_read_but_never_anything_else(bundle: Bundle, backend: str) -> None:
    with Learner(bundle, backend=backend) as learner:
        learner.learn_batch(bundle.golden().take(np.arange(8)))
        dump = learner.snapshot().checkpoint
    random = np.random.default_rng(0)
    said: list[str] = []
    for trial in range(300):
        broken = bytearray(dump)
        if trial % 3:
            for at in random.integers(0, min(len(dump), 1200) if trial % 2 else len(dump), 1 + trial % 4):
                broken[at] = random.integers(256)
        else:
            del broken[random.integers(len(dump)) :]
        try:
            read_values(bytes(broken))
        except BundleError as error:
            said.append(str(error))
    assert len(said) > 100
    assert not any("\n" in line for line in said)
