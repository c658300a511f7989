"""A bundle's optimizer on the device: accumulation against torch, a schedule that goes on after a resume, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from mentee_device import Budget, Bundle, BundleError, Learner, Owner, Plan
from mentee_device.bundle import manifest as manifests
from mentee_device.bundle.inputs import Batch
from mentee_device.core.backends import choose
from mentee_device.runs.run import Progress

from export.bundle.prepare import prepare
from export.bundle.write import export_bundle, parity_samples
from export.graph.optimizer_spec import Group, Optimizer, Schedule
from export.parity.backends.reference import Reference, TorchOptimizer
from export.parity.feeds import draw
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint

SPEC = Optimizer(
    "sgd",
    0.05,
    momentum=0.9,
    groups=[Group("*.bias", 0.5, 0.0)],
    clip_norm=1.0,
    accumulate=2,
    schedule=Schedule("step", warm_up=2, every=1, factor=0.5),
)
SETTINGS = ExportSettings(supervision_per_class=6, golden_per_class=8, optimizer=SPEC, backend="both")


@pytest.fixture(scope="module")
def folder(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bundle(checkpoint, tmp_path_factory.mktemp("optimizer") / "bundle", SETTINGS).path


@pytest.mark.parametrize("backends", [("ort-training",), ("stock",), ("stock", "ort-training")], ids="-".join)
def test_two_batches_a_step_under_a_schedule_equal_torch_and_survive_a_resume(
    folder: Path, checkpoint: MenteeCheckpoint, backends: tuple[str, ...]
) -> None:
    prepared = prepare(checkpoint, SETTINGS)
    batches = draw(parity_samples(prepared), ["mixed"] * 8, 3, seed=4)
    reference = Reference(prepared.graph)
    stepper = TorchOptimizer(SPEC, reference.parameters)
    with Bundle.open(folder) as bundle:
        session = choose.opened(bundle, 1, backends[0])
        session.learning_rate = bundle.manifest.learning_rate
        for number, feed in enumerate(batches):
            arrays = {name: value.numpy() for name, value in feed.named().items()}
            layers = {probe: arrays.pop(f"mentor_{probe}") for probe in bundle.manifest.probes}
            loss = session.forward_backward(Batch(**arrays, activations=layers))["loss"]
            assert loss == pytest.approx(reference.backward(feed)[0].numpy(), rel=1e-5)  # of the batch, not its share
            session.apply()
            if number % 2:
                mean = {name: gradient / 2 for name, gradient in reference.take_gradients().items()}
                stepper.step(mean, SPEC.learning_rate)
                rate = session.learning_rate
                following = backends[(number // 2 + 1) % len(backends)]
                session = choose.resumed(bundle, 1, following, session.dump())  # it has the step, and so the schedule
                session.learning_rate = rate
        for name, value in session.parameters().items():
            expected = reference.parameters[name].detach().numpy()
            np.testing.assert_allclose(value.reshape(expected.shape), expected, rtol=0, atol=2e-6, err_msg=name)
        session.learning_rate = 0.02
        assert session.learning_rate == pytest.approx(0.02, rel=1e-6)


def test_between_steps_parameters_stay_and_a_refused_batch_takes_the_collected_ones_along(folder: Path) -> None:
    with Bundle.open(folder) as bundle, Learner(bundle) as learner:
        before = learner.parameters()
        rows = np.arange(4)
        learner.learn_batch(learner.supervision.take(rows).samples, learner.supervision.take(rows))
        assert all((value == before[name]).all() for name, value in learner.parameters().items())
        learner.learn_batch(learner.supervision.take(rows).samples, learner.supervision.take(rows))
        assert any((value != before[name]).any() for name, value in learner.parameters().items())


def test_a_run_is_saved_and_paused_only_where_no_gradient_waits(folder: Path, tmp_path: Path) -> None:
    """Two batches a step: resumed, it ends as the run that went through; the seventh batch is half a step, which is dropped."""
    ends, how = [], {"save_every": 1, "seed": 3, "rounds": 0, "batch": 4, "replay_batch": 4}
    with Bundle.open(folder) as bundle:
        golden = bundle.golden()
        for stop in (None, 3):
            with Owner(bundle, tmp_path / str(stop)) as me:
                me.set(golden_drop=1.0)
                me.add(golden)
                saves = []

                def on_progress(
                    progress: Progress, me: Owner = me, stop: int | None = stop, to: list[int] = saves
                ) -> None:
                    to.append(progress.saved)
                    if progress.done.steps == stop:
                        me.pause()

                result = me.learn(Plan(budget=Budget(steps=7), **how), on_progress=on_progress)
                if stop:
                    assert (result.status, result.steps) == ("paused", 4)
                    result = me.resume()
                else:
                    assert saves == [0, 2, 2, 4, 4, 6, 6]
                assert result.status == "accepted"
                assert not me.learner.collecting
                ends.append(me.learner.parameters())
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name], err_msg=name)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "lion", "optimizer.name is 'lion', this program knows adamw, sgd"),
        ("schedule", {"name": "cyclic"}, "optimizer.schedule is 'cyclic'"),
        ("schedule", "linear", "optimizer.schedule is 'linear'"),
        ("accumulate", 0, "optimizer.accumulate is 0, expected 1 to"),
        ("accumulate", "2", "optimizer.accumulate is '2'"),
        ("rate_scale", 0, "optimizer.rate_scale is 0, expected a number from 1e-09"),
    ],
)
def test_an_optimizer_of_a_later_program_is_refused(folder: Path, field: str, value: object, said: str) -> None:
    raw = json.loads((folder / "manifest.json").read_text())
    assert manifests.parse(raw).optimizer_step == manifests.OptimizerStep("sgd", 2, pytest.approx(50.0))
    raw["optimizer"][field] = value
    with pytest.raises(BundleError, match=said):
        manifests.parse(raw)


def test_a_manifest_from_before_all_that_is_read(folder: Path) -> None:
    raw = json.loads((folder / "manifest.json").read_text())
    raw["optimizer"] = {"name": "AdamW", "learning_rate": 0.001, "schedule": "constant"}
    assert manifests.parse(raw).optimizer_step == manifests.OptimizerStep("adamw", 1, 1.0)
