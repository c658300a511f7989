"""Whatever Trainer a script brings: its precision, callbacks and checkpoints; and what a mentor or a network is refused for."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import distill
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.schedules import constant, piecewise
from distill.schema import FitConfig, LearningRateCurve
from distill.training.loaders import epoch_batches
from mentee.networks import PlainCNN
from mentor_mentee.data.batches import Draws, EpochBatches
from mentor_mentee.data.splits import Splits, identity
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError
from tests.distill.library.conftest import OPTIONS, Make, trainer

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice


def test_callbacks_monitor_what_the_command_logs_and_the_best_epoch_is_handed_over(
    make: Make, train: TensorDataset, tmp_path: Path
) -> None:
    loader = DataLoader(train, 128)
    student = make(loader)
    best = ModelCheckpoint(tmp_path, monitor="val_accuracy", mode="max")
    fitting = trainer(tmp_path, max_epochs=3, precision="bf16-mixed", callbacks=[best, EarlyStopping("val_loss")])
    fitting.fit(student, loader, loader)
    assert [row["epoch"] for row in student.history] == [0, 1, 2]
    (found,) = fitting.validate(student, loader, verbose=False)
    assert found["val_accuracy"] == pytest.approx(student.history[-1]["val_accuracy"])
    content = torch.load(best.best_model_path, weights_only=True)
    student.load_state_dict(content["state_dict"])
    checkpoint = student.checkpoint("best epoch")
    assert checkpoint.shown == "best epoch"
    assert all(torch.equal(content["state_dict"][f"student.mentee.{name}"], v) for name, v in checkpoint.state.items())
    assert {value.dtype for value in checkpoint.state.values() if value.is_floating_point()} == {torch.float32}
    assert not any("mentor" in name for name in content["state_dict"])


def test_a_run_goes_on_from_lightnings_checkpoint_under_the_same_precision_only(
    make: Make, train: TensorDataset, tmp_path: Path
) -> None:
    loader, path = DataLoader(train, 128), tmp_path / "here.ckpt"
    torch.manual_seed(0)
    student = make(loader)
    first = trainer(max_epochs=1, callbacks=[ModelCheckpoint(tmp_path)], enable_checkpointing=True)
    first.fit(student, loader)
    first.save_checkpoint(path)
    trainer(max_epochs=2).fit(again := make(loader), loader, ckpt_path=path)
    assert [row["epoch"] for row in again.history] == [0, 1]
    with pytest.raises(UserError, match="a run with precision '32-true', and this one has 'bf16-mixed'"):
        trainer(max_epochs=2, precision="bf16-mixed").fit(make(loader), loader, ckpt_path=path)
    with pytest.raises(UserError, match="a run with schedule "):
        trainer(max_epochs=2).fit(make(loader, schedule=constant(1, 1, 1, 2)), loader, ckpt_path=path)


def test_one_sampler_of_ours_serves_a_second_fit_and_a_resumed_one(make: Make, splits: Splits, tmp_path: Path) -> None:
    """Lightning makes the first iterator before it tells a sampler the epoch."""
    split = splits.train.subset(range(256))

    def loader(batches: EpochBatches) -> DataLoader[Any]:
        data, own = Draws(split, Augmentation(), 1), torch.Generator()
        return DataLoader(data, batch_sampler=batches, collate_fn=identity, generator=own)  # type: ignore[arg-type]

    def fresh() -> EpochBatches:
        return epoch_batches(split, FitConfig(batch=64), 1)

    one, path, weights = fresh(), tmp_path / "last.ckpt", []
    for batches, epochs, again in ((one, 2, None), (one, 2, None), (one, 1, None), (fresh(), 2, path)):
        torch.manual_seed(0)
        fit = FitConfig(curve=LearningRateCurve.constant, warmup=0.0)
        student = make(loader(batches), schedule=constant(1, 0, 1, 4), fit=fit)
        fitting = trainer(max_epochs=epochs)
        fitting.fit(student, loader(batches), ckpt_path=again)
        fitting.save_checkpoint(path)
        weights.append(student.checkpoint().state)
    for other in (weights[1], weights[3]):
        assert all(torch.equal(value, other[name]) for name, value in weights[0].items())


def test_weights_in_half_precision_are_refused(make: Make, train: TensorDataset) -> None:
    with pytest.raises(UserError, match=r"precision='bf16-true'\); expected 32-true, bf16-mixed, 16-mixed"):
        trainer(precision="bf16-true").fit(make(), DataLoader(train, 64))


def test_layers_by_hand_a_schedule_of_ones_own_and_none(make: Make, train: TensorDataset) -> None:
    loader = DataLoader(train, 128)
    student = make(loader, probes=[("stages.1", "features.1")], schedule=piecewise([[0, 1]], None, None, 3.0))
    assert [(probe.mentor, probe.mentee) for probe in student.student.probes] == [("stages.1", "features.1")]
    softmax = make(loader, probes=None)
    assert softmax.student.probes == []
    assert softmax.schedule.supervised()
    lone = make(loader, schedule=constant(1, 0, 0, 1))
    trainer().fit(lone, loader)
    assert lone.history[-1]["train_kl"] == 0
    with pytest.raises(UserError, match=r"no layer 'stages\.7'"):
        make(loader, probes=[("stages.7", "features.1")])
    with pytest.raises(UserError, match="α = β = γ = 0 from 0% to 100% of the run"):
        make(loader, probes=None, schedule=constant(0, 1, 0, 1))
    for wrong in ("all", ["features.1"]):
        with pytest.raises(UserError, match='expected "auto", None, or pairs of layers'):
            make(loader, probes=wrong)


class Three(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mentee": Three()}, r"mentee puts out \[2, 3\] for two images; expected \[2, 10\].*classes a, b"),
        ({"mentee": nn.Linear(3, 10)}, r"mentee: Linear fails on an input of \[1, 8, 8\]"),
        (
            {"mentee": PlainCNN(**OPTIONS)},
            r"PlainCNN, which is made with in_channels, num_classes: .*mentee_recipe=distill",
        ),
        ({"mentee": PlainCNN}, r"mentee is a type; expected a torch\.nn\.Module"),
        ({"fit": FitConfig(batch=8)}, r"fit: batch is not taken here, for Trainer and loader are yours"),
        ({"head": "features.9"}, r"no layer 'features\.9'"),
        ({"least_accuracy": 1.5}, r"the mentor is right on .* training samples, less than 150\.0%"),
    ],
)
def test_what_cannot_be_distilled_is_one_line_before_any_training(
    make: Make, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make(**({"classes": "abcdefghij"} | options))


def test_a_mentor_that_sees_another_normalisation_is_found_out(
    make: Make, mentor: FoundMentor, machine: Machine, train: TensorDataset
) -> None:
    with pytest.raises(UserError, match=r"are mean and std \(or mentor_view\) what it was trained with"):
        make(mean=[-9.0], std=[0.1])
    seen = make(mean=[-9.0], std=[0.1], mentor_view=mentor.view)
    assert seen.mentor is not None
    assert seen.mentor.view == mentor.view
    shared = copy.deepcopy(mentor.network)
    with pytest.raises(UserError, match="mentor and mentee share parameters"):
        distill.distillation(shared, shared, DataLoader(train, 8), mean=[0.3], std=[0.4], machine=machine)
