"""A run that never listens to a mentor finds, trains and asks none, and no number of views binds it."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from distill.evaluate.judge import evaluate_checkpoints
from distill.handover import RunResult
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.present import present, results_table
from distill.report.record import RunRecord
from distill.run import alone, distill
from distill.schema import EvaluateConfig, FitConfig
from mentor_mentee.data.views.augmentation import Augmentation
from tests.distill.conftest import MakeConfig

VIEWS = Augmentation([{"_target_": "RandomCrop", "padding": 1}], views=1)
FIT = FitConfig(max_epochs=2, steps_per_epoch=57, batch=16, learning_rate=5e-3, augment=VIEWS)  # passes over the data


def same(one: RunResult, other: RunResult) -> bool:
    return all(torch.equal(value, other.checkpoint.state[name]) for name, value in one.checkpoint.state.items())


def test_it_has_no_mentor_and_new_views(
    make_config: MakeConfig,
    mentor: FoundMentor,
    machine: Machine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = alone(make_config(tmp_path, trainer=FIT, cache_dir=str(tmp_path / "cache")), str(tmp_path / "lone"))
    lone = distill(config, machine)
    assert not (tmp_path / "cache").exists()
    assert lone.mentor is lone.checkpoint.mentor is None
    assert [row[0] for row in results_table(lone).rows] == ["mentee"]
    present(lone, tmp_path / "report")
    said = capsys.readouterr().out
    assert "next    mentee-evaluate checkpoint=MENTEE against=" in said
    assert "python -m export" not in said  # which refuses it
    record = RunRecord.load(tmp_path / "lone")
    assert record.lone
    assert record.augmentation["views"] is None
    assert "agreement" not in record.scores

    endless = replace(FIT, augment=Augmentation(VIEWS.transforms))
    assert same(lone, distill(replace(config, trainer=endless, run_dir=str(tmp_path / "endless")), machine))
    said_of = Machine("cpu", 1, Console(file=io.StringIO(), width=1000))
    given = distill(replace(config, run_dir=str(tmp_path / "given")), said_of, mentor=mentor)
    assert "holds a finished run" not in said_of.console.file.getvalue()  # type: ignore[attr-defined]
    distill(replace(config, run_dir=str(tmp_path / "given")), said_of, mentor=mentor)
    assert "given holds a finished run: its files are overwritten" in said_of.console.file.getvalue()  # type: ignore[attr-defined]
    assert same(lone, given)  # one that is given is compared with, and teaches nothing
    assert given.mentor is not None
    assert "agreement" in RunRecord.load(tmp_path / "given").scores


def test_an_evaluation_compares_it_with_the_mentor_of_the_others(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "under", trainer=replace(FIT, steps_per_epoch=4))
    under, lone = distill(config, machine, mentor=mentor), distill(alone(config, str(tmp_path / "lone")), machine)
    paths = [str(one.checkpoint_path) for one in (under, lone)]
    found = evaluate_checkpoints(EvaluateConfig(checkpoint=paths[0], against=paths[1], cache_dir=config.cache_dir))
    assert {"accuracy", "agreement", "kl", "cka_late"} <= found.paired.keys()
    assert (
        found.apart
        == "augmentation differs: RandomCrop (1 view); of what it is compared with RandomCrop (always new views)"
    )
