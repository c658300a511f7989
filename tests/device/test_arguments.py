"""Arguments of the wrong kind: one line, as every other mistake, and nothing changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, GuessRules, Learner, Owner, SampleError, Samples, StateError, Watch
from mentee_device.core.step import LearningError

WRONG = [float("nan"), float("inf"), -1, "x", [1], True, 1j, object(), np.array([1, 2]), 10**400]
RULES = ("threshold", "weight", "mentor_threshold", "pause", "window", "near")
WATCH = ("samples", "seconds", "capacity", "percentile", "neighbours", "seed")


@pytest.fixture
def me(bundle: Bundle, tmp_path: Path) -> Any:
    with Owner(bundle, tmp_path / "me") as owner:
        yield owner


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: type(one).__name__ + repr(one)[:6])
def test_rules_and_watches(wrong: object) -> None:
    for kind, names in ((GuessRules, RULES), (Watch, WATCH)):
        for name in names:
            with pytest.raises(SampleError, match=f"{name}") as error:
                kind(**{name: wrong})
            assert "\n" not in str(error.value)
    with pytest.raises(SampleError, match="adaptive"):
        GuessRules(adaptive=wrong) if wrong is not True else GuessRules(adaptive=1)


def test_numbers_of_numpy_are_numbers() -> None:
    assert type(GuessRules(threshold=np.float32(0.5), window=np.int64(3)).window) is int
    assert type(Watch(samples=np.int64(5)).samples) is int
    with pytest.raises(SampleError, match="window is 4, expected an odd number"):
        GuessRules(window=4)


ACTS: dict[str, Callable[[Owner, Samples, Any], object]] = {
    "add(weight=)": lambda me, some, wrong: me.add(some, weight=wrong),
    "stream(every=)": lambda me, some, wrong: me.stream(some, every=wrong),
    "enrol(name)": lambda me, some, wrong: me.enrol("\ud800" if isinstance(wrong, str) else wrong, some.input),
    "recognise(floor=)": lambda me, some, wrong: me.recognise(some.input, floor=-2 if wrong == -1 else wrong),
    "recognise(neighbours=)": lambda me, some, wrong: me.recognise(some.input, neighbours=wrong),
    "observe(now=)": lambda me, some, wrong: me.observe(some.input, now="x" if wrong in (-1, 10**400) else wrong),
}


@pytest.mark.parametrize("act", ACTS)
def test_verbs_of_an_owner(me: Owner, owner: Samples, act: str) -> None:
    me.observe(owner.input, Watch(samples=500))
    me.recognise(owner.input)  # embeds the bundle's classes, once
    revision = me.store.revision
    for wrong in WRONG:
        if isinstance(wrong, np.ndarray):
            continue
        with pytest.raises((SampleError, LearningError)) as error:
            ACTS[act](me, owner, wrong)
        assert "\n" not in str(error.value)
    assert me.store.revision == revision


BEYOND_FLOAT32 = np.full((12, 10), 1e300)


@pytest.mark.parametrize("wrong", ["x", [[1.0]], np.zeros((12, 10), object), np.full((12, 10), "1"), BEYOND_FLOAT32])
def test_a_mentors_answers(me: Owner, owner: Samples, wrong: Any) -> None:
    with pytest.raises(SampleError, match="mentor's logits"):
        me.add(owner, "mentor", mentor_logits_NK=wrong)


def test_labels_behind_a_mask_are_not_taken(me: Owner, owner: Samples) -> None:
    with pytest.raises(SampleError, match="labels is a masked array"):
        me.add(Samples(owner.input, np.ma.masked_equal(owner.labels, owner.labels[0])))


def test_a_version_of_any_number_is_looked_for(me: Owner) -> None:
    for wrong in (7, -1, 1 << 63, -(10**30)):
        with pytest.raises(StateError, match=f"no version {wrong}: there are"):
            me.roll_back(wrong)


@pytest.mark.parametrize("wrong", [0, -1, 300, 10**30, True, 1.5, "x", None])
def test_threads(bundle: Bundle, wrong: Any) -> None:
    with pytest.raises(LearningError, match=r"threads is .*, expected a whole number from 1 to 256"):
        Learner(bundle, wrong)


def test_the_log_says_what_has_a_label(me: Owner, owner: Samples) -> None:
    me.add(owner)
    assert me.log(1)[0].line == "12 samples came, 11 of them with labels by owner"
    more = owner.input ^ 1
    me.add(Samples(more, np.full(12, -1)))
    assert me.log(1)[0].line == "12 samples came, unlabelled"
    me.add(Samples(more ^ 2, np.zeros(12, np.int64)))
    assert me.log(1)[0].line == "12 samples came, labels by owner"


def test_what_is_no_samples(me: Owner, owner: Samples) -> None:
    for wrong in (None, owner.input, (owner.input, owner.labels)):
        with pytest.raises(SampleError, match=r"expected Samples\(input, labels\)"):
            me.add(wrong)  # type: ignore[arg-type]
