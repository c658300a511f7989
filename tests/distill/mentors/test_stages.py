"""Runs in two stages: what the first one cannot see, what the second one does, and what is shown before and after."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from distill.command import run
from distill.curves import Schedule
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.prepare import teachable
from distill.present import draw_run
from distill.run import alone, distill
from distill.schedules import gullible, two_stage
from distill.schema import DistillConfig, FitConfig
from distill.training.fit import fit
from distill.training.module import Distillation
from mentee.networks import PlainCNN
from mentor.mentor import Mentor
from mentor_mentee.data.batches import Drawn
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Split, Splits, labels_per_class
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee, find_probes
from tests.distill.training.test_finite import BURST

MakeConfig = Callable[..., DistillConfig]
Module = TypeVar("Module", bound="Watched")
BODY = "mentee.features.1.1.weight"
RUN = FitConfig(
    max_epochs=2, steps_per_epoch=4, batch=16, learning_rate=5e-3
)  # steps at 0, 1/7, … 1: four are before .5
STAGES = {"gullible": gullible(0.5, 2.0, 4.0), "two_stage": two_stage(0.5, 2.0, 1.0, 0.5, 4.0)}
GULLIBLE = {"_target_": "distill.schedules.gullible", "stage": 0.5, "beta": 2.0, "temperature": 4.0}


class Watched(Distillation):
    """Keeps the weights at the end of each epoch."""

    def on_train_epoch_end(self) -> None:
        weights = {name: value.detach().clone() for name, value in self.student.state_dict().items()}
        self.epochs = [*getattr(self, "epochs", []), weights]


def module_of(schedule: Schedule, splits: Splits, mentor: FoundMentor, kind: type[Module]) -> Module:
    torch.manual_seed(0)
    net, view, example = PlainCNN(1, 10, (4, 6)), mentor.view, splits.train.images[:2]
    probes = find_probes({"late": ["stages.1", "features.1"]}, mentor.network, view(example), net, view(example))
    probed = ProbedMentee(net, probes, "head")
    return kind(probed, view, schedule, RUN, 1, Mentor(mentor.network, view, probes))


def epochs_of(schedule: Schedule, splits: Splits, mentor: FoundMentor, machine: Machine) -> list[dict[str, Tensor]]:
    module = module_of(schedule, splits, mentor, Watched)
    start = {name: value.clone() for name, value in module.student.state_dict().items()}
    fit(module, splits, "mentee", machine)
    return [start, *module.epochs]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", STAGES)
def test_the_first_stage_sees_no_label_and_the_second_does(name: str, mentor: FoundMentor, machine: Machine) -> None:
    splits = digits()
    train, order = splits.train, torch.randperm(900, generator=torch.Generator().manual_seed(1))
    permuted = replace(splits, train=Split(train.images, train.labels[order], train.positions))
    start, first, second = epochs_of(STAGES[name], splits, mentor, machine)
    _, other_first, other_second = epochs_of(STAGES[name], permuted, mentor, machine)
    assert same(first, other_first)
    assert not same(second, other_second)
    assert not same({"": start[BODY]}, {"": first[BODY]})


class Counting(Watched):
    """Counts how many of each step's samples had a label."""

    def training_step(self, batch: Drawn, batch_idx: int) -> dict[str, Any]:
        self.labelled = [*getattr(self, "labelled", []), int((batch.label_B >= 0).sum())]
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(("name", "then"), [("gullible", 16), ("two_stage", 4)])
def test_where_the_mentor_is_silent_batches_are_of_labelled_samples_alone(
    name: str, then: int, mentor: FoundMentor, machine: Machine
) -> None:
    splits = digits()
    part = replace(splits, train=labels_per_class(splits.train, 5, 0, keep_unlabelled=True))
    module = module_of(STAGES[name], part, mentor, Counting)
    fit(module, part, "mentee", machine)
    assert module.labelled == [4] * 4 + [then] * 4


def test_a_row_of_the_history_is_under_the_knobs_of_its_own_last_step(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    result = distill(make_config(tmp_path, schedule=GULLIBLE, trainer=RUN), machine, mentor=mentor)
    first, second = result.history
    knobs = [tuple(row[name] for name in ("alpha", "beta", "gamma", "temperature")) for row in (first, second)]
    assert knobs == [(0, 2, 0, 4), (1, 0, 0, 4)]
    for part in ("train", "val"):
        distance = first[f"{part}_rmse_early"] + first[f"{part}_rmse_late"]
        assert first[f"{part}_loss"] == pytest.approx(2 * distance, rel=1e-5)
        assert distance > 0
        assert second[f"{part}_loss"] == pytest.approx(second[f"{part}_ce"], rel=1e-5)
        assert second[f"{part}_rmse_early"] == 0  # the mentor was not asked
    pictures = draw_run(result, tmp_path / "report")
    assert len(pictures) == 5


def test_the_schedule_is_drawn_before_the_first_step(make_config: MakeConfig, tmp_path: Path) -> None:
    """A run that breaks at its first step has this picture and no other."""
    with pytest.raises(UserError, match="is not finite after epoch 0"):
        run(make_config(tmp_path, schedule=GULLIBLE, trainer=BURST))
    (picture,) = (tmp_path / "report").iterdir()
    assert picture.name == "knobs.png"
    assert len(Image.open(picture).getcolors(1 << 20) or []) > 10


def test_all_unlabelled_samples_need_a_mentor_throughout(machine: Machine) -> None:
    train = replace(digits(), train=Split(digits().train.images, torch.full((900,), -1)))
    assert teachable(train, two_stage(0.5, 1, 1, 0, 4), machine) is train
    with pytest.raises(UserError, match=r"no training sample has a label, .* β = γ = 0 from 50% to 100% of the run"):
        teachable(train, gullible(0.5, 1, 4), machine)
    with pytest.raises(UserError, match=r"no training sample has a label, .* β = γ = 0 throughout"):
        teachable(train, gullible(0.5, 0, 4), machine)


def test_a_lone_run_pairs_no_layers_whatever_it_was_told_and_draws_none(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    measured: dict[str, Any] = {"_auto_": True, "_adapter_": "regressor", "_normalise_": True}
    weights = []
    for name, probes in (("measured", measured), ("none", {})):
        console = Console(file=io.StringIO(), width=200)
        config = alone(make_config(tmp_path, trainer=RUN, probes=probes), str(tmp_path / name))
        result = distill(config, replace(machine, console=console), mentor=mentor)
        weights.append(result.checkpoint.state)
        assert "Probes" not in console.file.getvalue()  # type: ignore[attr-defined]
        assert json.loads((tmp_path / name / "probes.json").read_text()) == []
    assert same(weights[0], weights[1])
    assert [picture.path.name for picture in draw_run(result, tmp_path / "report")] == [
        *("terms.png", "accuracy.png", "knobs.png", "confusion.png")
    ]
