"""A run as it is asked for, and with everything decided."""

import json
from typing import Any

import pytest
from mentee_device import Budget, LearningError, Plan, Settings
from mentee_device.runs.plan import ResolvedPlan
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
        *("guessed_batch", "guess_weight", "unlabelled"),
    ]
    again = ResolvedPlan.from_json(raw)
    assert again.as_json() == {**raw, "samples": (1, 2), "unlabelled": (2,)}
    assert (again.learning_rate, again.seed) == (None, None)  # a snapshot has what they made of the learner


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"batch": 0}, "batch is 0, expected at least 1"),
        ({"replay_batch": -1}, "replay_batch is -1, expected at least 0"),
        ({"save_every": 0}, "save_every is 0"),
        ({"rounds": -1}, "rounds is -1"),
        ({"guessed_batch": 0}, "guessed_batch is 0"),
        ({"owner_weight": 0.0}, "owner_weight is 0.0, expected a finite number above 0"),
        ({"guess_weight": float("nan")}, "guess_weight is nan"),
        ({"learning_rate": -1.0}, "learning rate -1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"replay": "nobody"}, "replay is 'nobody', expected own, mentor or auto"),
        ({"knobs": {"delta": 1.0}}, "no knob 'delta'"),
        ({"knobs": {"alpha": "much"}}, "alpha is 'much'"),
        ({"replay": "own", "knobs": {"beta": 0.1}}, "beta weighs the mentor's layers"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(asked: dict[str, Any], match: str) -> None:
    with pytest.raises(LearningError, match=match):
        Plan(**asked)


def test_settings_have_their_say() -> None:
    with pytest.raises(LearningError, match="the settings' beta"):
        Plan(replay="own").resolved(Settings(beta=0.1), ())
    with pytest.raises(TypeError):
        Plan(Budget(steps=1))  # type: ignore[misc]  # by keyword only: nothing hangs on an order of twelve
