"""Updates taken part of the way, against the line between base and learnt weights drawn by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Budget, Bundle, Learner, Owner, Plan, Samples
from mentee_device.runs.interpolation import SHARES, between
from mentee_device.runs.plans.settings import SettingError
from mentee_device.runs.run import Progress
from numpy.typing import NDArray
from scipy.stats import binomtest

LESSON: dict[str, Any] = {"batch": 32, "replay_batch": 0, "learning_rate": 0.002}
LEAST = 0.5


@pytest.fixture
def wrong(bundle: Bundle) -> Samples:
    """The golden set under labels that the base does not give: whoever learns them agrees with it less and less."""
    golden = bundle.golden()
    labels = Learner(bundle).predict(golden.input).logits.argmax(axis=1)
    return Samples(golden.input, (labels + 1) % 10)


@pytest.fixture
def me(bundle: Bundle, wrong: Samples, tmp_path: Path) -> Any:
    with Owner(bundle, tmp_path / "me") as one:
        one.set(golden_drop=1.0, replay="mentor", rounds=0, agreement_least=LEAST, interpolate=True)
        one.add(wrong)
        yield one


def agreement(bundle: Bundle, parameters: dict[str, NDArray[np.float32]]) -> float:
    golden = bundle.golden()
    with Learner(bundle) as one, Learner(bundle) as base:
        one.set_parameters(parameters)
        answers = [which.predict(golden.input).logits.argmax(axis=1) for which in (one, base)]
    return float(np.mean(answers[0] == answers[1]))


def refused(bundle: Bundle, parameters: dict[str, NDArray[np.float32]]) -> bool:
    """Whether it agrees less with the base than `LEAST`, by more than chance leaves open."""
    samples, share = len(bundle.golden()), agreement(bundle, parameters)
    others = round((1 - share) * samples)
    return share < LEAST and bool(binomtest(others, samples, 1 - LEAST, "greater").pvalue < 0.05)


def by_hand(bundle: Bundle, wrong: Samples, steps: int, start: Any = None) -> dict[str, NDArray[np.float32]]:
    with Learner(bundle) as one:
        if start is not None:
            one.restore(start)
        one.learning_rate = LESSON["learning_rate"]
        one.learn(wrong, steps, LESSON["batch"], LESSON["replay_batch"])
        return one.parameters()


def equal(a: dict[str, NDArray[np.float32]], b: dict[str, NDArray[np.float32]]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_the_largest_share_within_the_limits_is_taken(bundle: Bundle, wrong: Samples, me: Owner) -> None:
    result = me.learn(Plan(budget=Budget(steps=8), **LESSON))
    start, end = Learner(bundle).parameters(), by_hand(bundle, wrong, 8)
    within = [share for share in SHARES if not refused(bundle, between(start, end, share))]
    assert refused(bundle, end)
    assert within
    assert result.share == within[0]
    expected = {name: start[name] + np.float32(result.share) * (end[name] - start[name]) for name in end}
    assert equal(me.learner.parameters(), expected)
    assert not equal(expected, start)

    version, line = me.versions.get(result.number), me.log(1)[0].line
    assert (result.status, me.versions.current, version.verdict["share"]) == ("accepted", result.number, result.share)
    assert f"{result.share:.0%} of the way, for all of it: agrees with the base on" in result.why
    assert result.why in line
    assert version.verdict["update"]["agreement"] == agreement(bundle, expected)

    then = me.learner.snapshot()  # and the next run grows from there
    me.set(agreement_least=0.3)
    again = me.learn(Plan(budget=Budget(steps=4), **LESSON))
    assert again.share < 1
    further = between(expected, by_hand(bundle, wrong, 4, then), again.share)
    assert equal(me.learner.parameters(), further)


def test_an_update_within_the_limits_is_taken_whole(bundle: Bundle, wrong: Samples, me: Owner) -> None:
    me.set(agreement_least=None)
    result = me.learn(Plan(budget=Budget(steps=8), **LESSON))
    assert (result.status, result.share, me.versions.get(result.number).verdict["share"]) == ("accepted", 1, 1)
    assert equal(me.learner.parameters(), by_hand(bundle, wrong, 8))
    assert "of the way" not in result.why


def test_where_no_share_is_allowed_the_update_is_dropped(me: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mentee_device.runs.interpolation.SHARES", (0.99, 0.98))
    base = me.learner.snapshot()
    result = me.learn(Plan(budget=Budget(steps=60), **LESSON))
    assert (result.status, result.share, me.versions.current) == ("dropped", 1, 0)
    assert me.learner.snapshot() == base


def test_off_by_default(me: Owner, bundle: Bundle, wrong: Samples, tmp_path: Path) -> None:
    with Owner(bundle, tmp_path / "other") as other:
        assert not other.set().interpolate
        other.set(golden_drop=1.0, replay="mentor", rounds=0, agreement_least=LEAST)
        other.add(wrong)
        assert other.learn(Plan(budget=Budget(steps=8), **LESSON)).status == "dropped"
    with pytest.raises(SettingError, match="interpolate is 1, expected true or false"):
        me.set(interpolate=1)


def test_a_run_that_was_paused_ends_at_the_same_share(
    bundle: Bundle, wrong: Samples, me: Owner, tmp_path: Path
) -> None:
    whole = me.learn(Plan(budget=Budget(steps=8), **LESSON))
    with Owner(bundle, tmp_path / "paused") as other:
        other.set(golden_drop=1.0, replay="mentor", rounds=0, agreement_least=LEAST, interpolate=True)
        other.add(wrong)

        def on_progress(progress: Progress) -> None:
            if progress.done.steps == 3:
                other.pause()

        assert other.learn(Plan(budget=Budget(steps=8), **LESSON), on_progress=on_progress).status == "paused"
        assert other.resume().share == whole.share
        assert other.learner.snapshot() == me.learner.snapshot()
