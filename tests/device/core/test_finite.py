"""Numbers that leave float32: nothing that is not finite reaches the runtime's pooling, whatever is asked for."""

from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, BundleError, Learner, LearningError, Owner, Plan, SampleError, Samples
from mentee_device.core import child
from mentee_device.runs.plans.curves import check_curve

from tests.device.sealing import sums_only

TOO_MUCH = [1e308, 10**400, 3.5e38, float("nan"), float("inf"), -1, -1e-300, "1", None, [1], True, 1j]


@pytest.mark.parametrize("rate", [1.0, 1e3, 1e5, 1e6])
def test_a_rate_at_which_learning_explodes_ends_in_one_line(bundle_folder: Path, rate: float) -> None:
    def explode() -> str:
        with Bundle.open(bundle_folder) as bundle, Learner(bundle) as learner:
            learner.learning_rate = rate
            for step in range(40):
                before = learner.parameters()
                try:
                    learner.learn_batch(bundle.golden().take(np.arange(step % 70, step % 70 + 8)))
                except LearningError as error:
                    same = all(np.array_equal(value, before[name]) for name, value in learner.parameters().items())
                    return f"{same or 'left parameter' in str(error)} {error}"
            return "True it goes on"

    said = child.forked(explode)  # where it dies, this raises
    assert said.startswith("True ")
    assert "\n" not in said


@pytest.mark.parametrize("size", [1e6, 1e12, 1e20, 1e30])
def test_parameters_of_any_size_answer_or_are_refused(bundle_folder: Path, size: float) -> None:
    def run() -> str:
        with Bundle.open(bundle_folder) as bundle, Learner(bundle) as learner:
            learner.set_parameters({name: value * np.float32(size) for name, value in learner.parameters().items()})
            before = learner.parameters()
            try:
                learner.learn_batch(bundle.golden())
            except LearningError as error:
                same = all(np.array_equal(value, before[name]) for name, value in learner.parameters().items())
                return f"{same} {error}"
            return "True"

    assert child.forked(run).startswith("True")


def test_parameters_that_are_not_finite_are_taken_nowhere(bundle: Bundle, altered: Path) -> None:
    with Learner(bundle) as learner:
        name, value = next(iter(learner.parameters().items()))
        for wrong in (np.nan, np.inf):
            with pytest.raises(ValueError, match="NaN or Inf"):
                learner.set_parameters({name: np.full_like(value, wrong)})
        snapshot = learner.snapshot().checkpoint
        at = snapshot.find(value.tobytes())
        assert at > 0
    graphs = bundle.manifest
    path = altered / (graphs.ort_training.checkpoint if graphs.ort_training else graphs.stock.state)
    data = bytearray(path.read_bytes())
    at = data.find(value.tobytes()[:16])
    data[at : at + 4] = np.array(np.nan, "<f4").tobytes()
    path.write_bytes(data)
    sums_only(altered)
    with Bundle.open(altered) as broken, pytest.raises(BundleError, match="holds NaN or Inf: refused"):
        Learner(broken)


def test_a_mentee_that_a_step_broke_neither_answers_nor_learns_until_it_is_reset(bundle: Bundle) -> None:
    golden = bundle.golden()
    with Learner(bundle) as learner:
        good = learner.predict(golden.input).logits
        name, value = next(iter(learner.parameters().items()))
        learner._session.set_parameters(
            {name: np.full_like(value, np.nan)}
        )  # as an optimizer's division by 0 leaves it
        learner._broken = learner._session.not_finite()
        for act in (lambda: learner.predict(golden.input), lambda: learner.learn_batch(golden)):
            with pytest.raises(LearningError, match="NaN or Inf, so the mentee can neither answer nor learn"):
                act()
        learner.reset()
        np.testing.assert_array_equal(learner.predict(golden.input).logits, good)


@pytest.mark.parametrize("value", TOO_MUCH, ids=repr)
def test_no_knob_or_rate_takes_what_float32_cannot(bundle: Bundle, value: object) -> None:
    golden = bundle.golden()
    with Learner(bundle) as learner:
        for knob in ("alpha", "beta", "gamma", "temperature"):
            if value is not None:
                with pytest.raises(SampleError, match=f"{knob} is"):
                    learner.learn_batch(golden, **{knob: value})
            with pytest.raises(ValueError, match=knob):
                check_curve(knob, value)
        with pytest.raises(LearningError, match="learning rate"):
            learner.learning_rate = value
        if value is not None:
            with pytest.raises(LearningError):
                Plan(learning_rate=value)
        with pytest.raises(SampleError):
            learner.learn_batch(golden, weights=np.full(len(golden), np.nan, np.float32))


@pytest.mark.parametrize("value", [1e-45, 1e-13, 1e7])
def test_a_rate_that_is_none_in_float32_or_of_no_use_is_refused(bundle: Bundle, value: float) -> None:
    with Learner(bundle) as learner, pytest.raises(LearningError, match="is no number from 1e-12 to 1e\\+06"):
        learner.learning_rate = value


def test_samples_are_finite_and_near(bundle: Bundle) -> None:
    with Learner(bundle) as learner:
        for wrong in (np.nan, np.inf, 3e38):
            with pytest.raises(SampleError):
                learner.learn_batch(Samples(np.full((2, 1, 8, 8), wrong, np.float32), np.array([0, 1])))


def test_a_run_whose_last_step_leaves_no_finite_answer_is_dropped(
    bundle: Bundle, mine: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing looks at the parameters between the last step and the guard."""
    with Owner(bundle, tmp_path / "me") as me:
        me.add(mine)
        before, step = me.predict(mine.input).logits, me.learner.learn_batch

        def grown(*given: object, **more: object) -> dict[str, float]:
            terms = step(*given, **more)  # type: ignore[arg-type]
            me.learner.set_parameters(
                {name: np.full_like(value, 1e38) for name, value in me.learner.parameters().items()}
            )
            return terms

        monkeypatch.setattr(me.learner, "learn_batch", grown)
        with pytest.raises(LearningError, match="logits are not finite"):
            me.learn(Plan(budget=Budget(steps=1), rounds=0))
        assert (me.versions.get(1).status, me.versions.current, me.paused) == ("dropped", 0, None)
        np.testing.assert_array_equal(me.predict(mine.input).logits, before)
