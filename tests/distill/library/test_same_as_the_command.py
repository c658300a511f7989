"""Two networks, a DataLoader and a Trainer of one's own train as the command does: with the same batches to the same weights."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler, TensorDataset

import distill
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.schema import CacheConfig, FitConfig
from distill.training.loaders import epoch_batches
from mentee.networks import PlainCNN
from mentor_mentee.data.load import load_data
from mentor_mentee.data.views.view import normalisation
from tests.distill.conftest import MakeConfig

AUTO = {"_auto_": True, "_adapter_": "auto", "_normalise_": False}
OPEN = {
    "_target_": "distill.schedules.piecewise",
    "alpha": [[0, 1.0]],
    "beta": None,
    "gamma": None,
    "temperature": None,
}


class AsTheCommand(Sampler[list[int]]):
    """The rows of the command's batches."""

    def __init__(self, train: Any, config: FitConfig, seed: int) -> None:
        self.drawn, self.samples, self.batch_size = epoch_batches(train, config, seed), len(train), config.batch

    @property
    def sampler(self) -> "AsTheCommand":
        return self

    def set_epoch(self, epoch: int) -> None:
        self.drawn.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.drawn)

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[draw % self.samples for draw in batch] for batch in self.drawn])


@pytest.mark.filterwarnings("ignore")  # Lightning's advice
@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_weights_are_those_of_the_command_bit_for_bit(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path, accumulated: int
) -> None:
    fit = FitConfig(max_epochs=2, batch=64, accumulate_grad_batches=accumulated, gradient_clip_val=1.0)
    asked = {
        "probes": AUTO,
        "schedule": OPEN,
        "trainer": fit,
        "cache": CacheConfig(answers=False),
    }  # not rounded by a cache
    config = make_config(tmp_path, **asked)
    theirs = distill.distill(config, machine, mentor=mentor)

    splits = load_data(config.data)
    mean, std = normalisation(splits.train)
    train = TensorDataset(splits.train.images, splits.train.labels)
    order = AsTheCommand(splits.train, fit, config.seed)
    loader = DataLoader(train, batch_sampler=order)
    torch.manual_seed(config.seed)
    options: dict[str, Any] = {"in_channels": 1, "num_classes": 10, "widths": [4, 6]}
    student = distill.distillation(
        PlainCNN(**options),
        mentor.network,
        loader,
        mean=mean,
        std=std,
        mentee_recipe=distill.recipe(PlainCNN, **options),
        seed=config.seed,
        machine=machine,
    )
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        accumulate_grad_batches=accumulated,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(student, loader, DataLoader(TensorDataset(splits.val.images, splits.val.labels), 256))

    assert student.schedule == theirs.schedule
    ours = student.checkpoint()
    assert ours.state.keys() == theirs.checkpoint.state.keys()
    assert all(torch.equal(ours.state[name], value) for name, value in theirs.checkpoint.state.items())
    weights = [[probe.adapter.constants.tensors for probe in one.probes] for one in (ours, theirs.checkpoint)]
    for mine, other in zip(*weights, strict=True):
        assert all(torch.equal(mine[name], value) for name, value in other.items())
    told = ("recipe", "head", "view", "classes", "loss", "knobs", "shown")
    assert [getattr(ours, name) for name in told] == [getattr(theirs.checkpoint, name) for name in told]
    assert ours.accuracy["val"] == theirs.checkpoint.accuracy["val"]
    timed = {"ms_per_step"}
    assert [{k: v for k, v in row.items() if k not in timed} for row in student.history] == [
        {k: v for k, v in row.items() if k not in timed} for row in theirs.history
    ]
    assert replace(ours.probes[0].adapter, constants=theirs.checkpoint.probes[0].adapter.constants) == (
        theirs.checkpoint.probes[0].adapter
    )
