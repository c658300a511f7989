"""A run as it is asked for, and with everything decided."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mentee_device import Budget, LearningError, Plan, SampleError, Settings
from mentee_device.runs.plans.plan import ResolvedPlan
from mentee_device.state.about import About


def stored(*labels: int) -> list[About]:
    return [About(number, "", "owner", label, 1.0, 1) for number, label in enumerate(labels, start=1)]


def test_what_is_left_open_is_the_settings_and_all_samples() -> None:
    plan = Plan(batch=3, knobs={"alpha": 0.5}).resolved(Settings(replay="own", rounds=2), stored(4, -1, 7))
    assert (plan.samples, plan.unlabelled, plan.replay, plan.rounds) == ((1, 2, 3), (2,), "own", 2)
    assert (plan.budget, plan.batch, plan.knobs) == (Budget(steps=240), 3, {"alpha": 0.5})


@pytest.mark.parametrize(
    ("asked", "labels", "samples", "steps"),
    [
        ({}, (4, -1), (1, 2), 240),
        ({}, (-1, -1), (1, 2), 200),
        ({"rounds": 3}, (-1, -1), (1, 2), 180),
        ({"rounds": 0}, (4, -1), (1,), 240),
        ({"once": True}, (4, -1), (1,), 240),
        ({"samples": [2]}, (4, -1), (2,), 200),
    ],
)
def test_samples_and_steps_by_default(
    asked: dict[str, Any], labels: tuple[int, ...], samples: tuple[int, ...], steps: int
) -> None:
    plan = Plan(**asked).resolved(Settings(), stored(*labels))
    assert (plan.samples, plan.budget) == (samples, Budget(steps=steps))


def test_what_is_asked_for_comes_before_the_settings() -> None:
    plan = Plan(budget=Budget(seconds=3), replay="mentor", rounds=1).resolved(Settings(replay="own"), stored(1))
    assert (plan.budget, plan.replay, plan.rounds) == (Budget(seconds=3), "mentor", 1)


def test_what_a_version_stores_comes_back_and_has_the_names_it_always_had() -> None:
    plan = Plan(samples=[1, 2], learning_rate=0.1, seed=3, knobs={"beta": [[0, 1], [1, 0.5]]})
    raw = json.loads(json.dumps(plan.resolved(Settings(), stored(4, -1)).as_json()))
    assert list(raw) == [
        *(
            "samples",
            "budget",
            "batch",
            "replay_batch",
            "owner_weight",
            "knobs",
            "once",
            "save_every",
            "replay",
            "rounds",
        ),
        *("guessed_batch", "guess_weight", "holdout", "unlabelled", "held"),
    ]
    again = ResolvedPlan.from_json(raw)
    assert again.as_json() == {**raw, "samples": (1, 2), "unlabelled": (2,), "held": ()}
    assert (again.learning_rate, again.seed) == (None, None)  # a snapshot has what they made of the learner
    moving = ResolvedPlan.from_json(replace(again, shift=2).as_json())
    assert (again.shift, moving.shift) == (0, 2)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"batch": 0}, "batch is 0, expected at least 1"),
        ({"replay_batch": -1}, "replay_batch is -1, expected at least 0"),
        ({"save_every": 0}, "save_every is 0"),
        ({"rounds": -1}, "rounds is -1"),
        ({"shift": -1}, "shift is -1, expected at least 0"),
        ({"guessed_batch": 0}, "guessed_batch is 0"),
        ({"owner_weight": 0.0}, "owner_weight is 0.0, expected a finite number above 0"),
        ({"guess_weight": float("nan")}, "guess_weight is nan"),
        ({"learning_rate": -1.0}, "learning rate -1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"batch": "3"}, "batch is '3', expected a whole number"),
        ({"batch": 1.5}, "batch is 1.5, expected a whole number"),
        ({"batch": None}, "batch is None, expected a whole number"),
        ({"batch": True}, "batch is True, expected a whole number"),
        ({"rounds": float("nan")}, "rounds is nan, expected a whole number"),
        ({"owner_weight": "x"}, "owner_weight is 'x', expected a number"),
        ({"owner_weight": 1e300}, "owner_weight is 1e\\+300, expected a finite number above 0"),
        ({"guess_weight": None}, "guess_weight is None, expected a number"),
        ({"once": "yes"}, "once is 'yes', expected True or False"),
        ({"knobs": [("alpha", 1)]}, "knobs are .*, expected names with numbers or curves"),
        ({"budget": 3}, "budget is 3, expected a Budget"),
        ({"replay": "nobody"}, "replay is 'nobody', expected own, mentor or auto"),
        ({"holdout": 1.0}, "holdout is 1.0, expected a share below 1"),
        ({"holdout": -0.1}, "holdout is -0.1, expected at least 0"),
        ({"holdout": 0.1, "once": True}, "holdout is 0.1, .* and 0 in one pass"),
        ({"knobs": {"delta": 1.0}}, "no knob 'delta'"),
        ({"knobs": {"alpha": "much"}}, "alpha is 'much'"),
        ({"replay": "own", "knobs": {"beta": 0.1}}, "beta weighs the mentor's layers"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(asked: dict[str, Any], match: str) -> None:
    with pytest.raises(LearningError, match=match):
        Plan(**asked)


def test_of_each_class_that_share_is_held_out_and_never_all_of_it() -> None:
    labels = [0] * 10 + [1] * 3 + [2] + [-1] * 5
    for share, sizes in ((0.2, (2, 1, 0)), (0.5, (5, 2, 0)), (0.9, (9, 2, 0)), (0.01, (0, 0, 0))):
        plan = Plan(holdout=share).resolved(Settings(), stored(*labels))
        assert tuple(sum(labels[number - 1] == label for number in plan.held) for label in range(3)) == sizes
        assert sorted((*plan.held, *plan.samples)) == list(range(1, 20))
        assert plan == Plan(holdout=share).resolved(Settings(), stored(*labels))  # it hangs on nothing else
        assert ResolvedPlan.from_json(json.loads(json.dumps(plan.as_json()))) == replace(plan, learning_rate=None)


def test_what_was_learnt_from_or_guessed_is_not_held_out() -> None:
    everyone = stored(*[0] * 10)
    first = Plan(holdout=0.3).resolved(Settings(), everyone)
    again = Plan(holdout=0.3).resolved(Settings(), everyone, learnt=first.samples)
    assert again.held == first.held
    assert Plan(holdout=0.3).resolved(Settings(), everyone, learnt=range(1, 11)).held == ()
    guessed = [replace(one, source="cluster") for one in everyone]
    assert Plan(holdout=0.3).resolved(Settings(), guessed).held == ()
    few = Plan(samples=[1, 2, 3], holdout=0.4).resolved(Settings(), everyone)
    assert len(few.held) == 1
    assert set(few.held) | set(few.samples) == {1, 2, 3}


def test_settings_have_their_say() -> None:
    with pytest.raises(LearningError, match="the settings' beta"):
        Plan(replay="own").resolved(Settings(beta=0.1), ())
    with pytest.raises(TypeError):
        Plan(Budget(steps=1))  # type: ignore[misc]  # by keyword only: nothing hangs on an order of twelve


def test_numbers_of_numpy_become_plain_ones_and_nothing_given_is_shared() -> None:
    samples, knobs = np.array([1, 2]), {"alpha": np.float32(0.5), "beta": [[0, np.float64(1)], [1, 0.5]]}
    plan = Plan(
        samples=samples, batch=np.int64(3), owner_weight=np.float32(2), budget=Budget(steps=np.int64(4)), knobs=knobs
    )
    samples[0] = 99
    knobs["alpha"] = float("nan")
    knobs["beta"].append([9, 9])
    raw = json.loads(json.dumps(plan.resolved(Settings(), stored(4, 4)).as_json()))
    assert (raw["samples"], raw["batch"], raw["owner_weight"], raw["budget"]) == ([1, 2], 3, 2.0, {"steps": 4})
    assert raw["knobs"] == {"alpha": 0.5, "beta": [[0, 1.0], [1, 0.5]]}
    assert Plan(samples={2, 1}).samples == (1, 2)


@pytest.mark.parametrize("given", [3, "12", [1.5], ["a"], [None]])
def test_samples_that_are_no_numbers(given: Any) -> None:
    with pytest.raises(SampleError, match=r"samples are .*, expected their numbers, as `add` gave them"):
        Plan(samples=given)


@pytest.mark.parametrize("given", [{"steps": "3"}, {"seconds": [1]}, {"samples": True}])
def test_a_budget_of_what_is_no_number(given: Any) -> None:
    (name,) = given
    with pytest.raises(LearningError, match=f"{name} is .*, expected a number"):
        Budget(**given)


def test_a_run_that_a_program_before_stored_with_any_true_value_for_once_goes_on() -> None:
    raw = Plan(samples=[1], once=True).resolved(Settings(), stored(4)).as_json()
    assert ResolvedPlan.from_json({**raw, "once": 1}).once is True
