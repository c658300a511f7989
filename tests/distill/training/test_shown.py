"""Which weights a run ends with: the last step's, the best epoch's, an average; stopped early, killed and resumed as well."""

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.present import results_table
from distill.report.record import RunRecord
from distill.run import ALONE, distill
from distill.schema import DistillConfig, FitConfig, Keep, Optimizer
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError
from tests.distill.training.by_hand import by_hand
from tests.distill.training.test_interruption import CHILD, FORGETFUL, await_epoch, epoch_of, without_time
from tests.paths import ROOT

MakeConfig = Callable[..., DistillConfig]
LIGHTNING = "pytorch_lightning.callbacks"
EMA = {"ema": {"_target_": f"{LIGHTNING}.EMAWeightAveraging", "decay": 0.8}}
WARM = {"ema": {"_target_": "distill.training.callbacks.average.WarmAverage", "decay": 0.5}}
FIT = FitConfig(max_epochs=4, steps_per_epoch=5, batch=16, learning_rate=0.1, optimizer=Optimizer.sgd)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def of_mentee(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("student.mentee."): value for name, value in state.items() if ".mentee." in name}


@pytest.mark.parametrize(
    ("callbacks", "decay"),
    [(EMA, lambda n: 0.8), (WARM, lambda n: min(0.5, (1 + n) / (10 + n)))],
    ids=["fixed", "warm"],
)
def test_the_average_is_that_of_torch_by_hand_batch_norm_and_all(
    callbacks: dict[str, Any],
    decay: Callable[[int], float],
    make_config: MakeConfig,
    mentor: FoundMentor,
    machine: Machine,
    tmp_path: Path,
) -> None:
    config = make_config(tmp_path, trainer=replace(FIT, max_epochs=2), schedule=ALONE, callbacks=callbacks)
    result = distill(config, machine, mentor=mentor)
    found, expected = load_file(result.checkpoint_path), by_hand(config, decay=decay)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=2e-6)
    assert not torch.allclose(found["head.weight"], by_hand(config)["head.weight"], atol=1e-3)
    assert result.checkpoint.shown == "last step, average of the weights of several steps"
    assert same(of_mentee(torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]), found)


def test_the_best_epoch_is_taken_and_said(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    """A rate at which the accuracy goes up and down; the epochs' weights are those of runs that go no further."""
    fit = replace(FIT, max_epochs=6, learning_rate=3.0, keep=Keep.best)
    config = make_config(tmp_path / "best", trainer=fit, schedule=ALONE)
    result = distill(config, machine, mentor=mentor)
    accuracies = [row["val_accuracy"] for row in result.history]
    best = accuracies.index(max(accuracies))
    assert best < 5  # else this shows nothing
    assert result.checkpoint.shown == f"best of 6 epochs on validation, epoch {best + 1}"
    assert result.checkpoint.accuracy["val"]["accuracy"] == max(accuracies)
    assert f"weights: {result.checkpoint.shown}" in results_table(result).notes[0]
    assert RunRecord.load(tmp_path / "best").shown == result.checkpoint.shown
    assert MenteeCheckpoint.load(result.checkpoint_path).shown == result.checkpoint.shown
    files = {"model_checkpoint": {"_target_": f"{LIGHTNING}.ModelCheckpoint", "monitor": "val_accuracy", "mode": "max"}}
    lightning = replace(config, trainer=replace(fit, keep=Keep.last), callbacks=files, run_dir=str(tmp_path / "files"))
    theirs = distill(lightning, machine, mentor=mentor)
    assert same(load_file(theirs.checkpoint_path), load_file(result.checkpoint_path))
    assert theirs.checkpoint.shown == f"best of 6 epochs by val_accuracy, epoch {best + 1}"
    assert len([*(tmp_path / "files" / "checkpoints").iterdir()]) == 1
    again = distill(replace(config, resume=True), machine, mentor=mentor)  # killed after the last epoch
    assert again.checkpoint.shown == result.checkpoint.shown
    assert same(load_file(again.checkpoint_path), load_file(theirs.checkpoint_path))


def test_a_run_that_stops_early_says_so_and_stays_stopped(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    stopping = {"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "val_accuracy", "mode": "max", "patience": 2}
    stop = EMA | {"stop": stopping | {"min_delta": 0.9}}
    config = make_config(tmp_path, trainer=replace(FIT, max_epochs=20), schedule=ALONE, callbacks=stop)
    result = distill(config, machine, mentor=mentor)
    assert len(result.history) == 3
    assert result.history[-1]["stopped_early"] == 1
    assert [row["alpha"] for row in result.history] == [1, 1, 1]
    rates = [row["learning_rate"] for row in result.history]
    assert rates[-1] > 0.9 * 0.1  # the curve goes over all twenty epochs
    assert result.checkpoint.shown.endswith("; stopped early, after 3 of 20 epochs")
    assert json.loads((tmp_path / "history.json").read_text()) == result.history
    again = distill(replace(config, resume=True), machine, mentor=mentor)
    assert again.history == result.history
    assert same(dict(again.checkpoint.state), dict(result.checkpoint.state))


def test_a_metric_that_there_is_not_is_an_error_before_any_training(
    make_config: MakeConfig, machine: Machine, tmp_path: Path
) -> None:
    stop: dict[str, Any] = {"stop": {"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "val_acuracy"}}
    with pytest.raises(
        UserError, match=r"callbacks\.stop\.monitor: no metric 'val_acuracy'; did you mean 'val_accuracy'"
    ):
        distill(make_config(tmp_path, callbacks=stop), machine)


def test_a_killed_run_with_all_of_it_goes_on_to_the_very_bits(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Average, early stopping, best weights, accumulation, clipping, and a mentee that draws random numbers at each step."""
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    monkeypatch.syspath_prepend(tmp_path)
    stop = {"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "val_loss", "patience": 12}
    fit = FitConfig(
        max_epochs=16,
        steps_per_epoch=5,
        batch=16,
        learning_rate=2e-2,
        keep=Keep.best,
        accumulate_grad_batches=2,
        gradient_clip_val=0.5,
    )
    mentee = make_config(tmp_path).mentee
    killed, whole = (
        make_config(
            tmp_path / name,
            trainer=fit,
            mentee=replace(mentee, network={"_target_": "forgetful.Forgetful"}),
            callbacks=EMA | {"stop": stop},
        )
        for name in ("killed", "whole")
    )
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(killed))
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-c", CHILD, str(tmp_path / "config.pickle")]
    with subprocess.Popen(command, env=environment) as child:
        await_epoch(tmp_path / "killed" / "last.ckpt", 3, lambda: child.poll() is None)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert 3 <= epoch_of(tmp_path / "killed" / "last.ckpt") < 15
    resumed = distill(replace(killed, resume=True), machine, mentor=mentor)
    uninterrupted = distill(whole, machine, mentor=mentor)
    assert same(load_file(resumed.checkpoint_path), load_file(uninterrupted.checkpoint_path))
    assert without_time(resumed.history) == without_time(uninterrupted.history)
    assert resumed.checkpoint.shown == uninterrupted.checkpoint.shown
    last = [torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("killed", "whole")]
    for part in ("state_dict", "current_model_state"):
        assert same(*(content[part] for content in last))


def test_resumed_without_its_average_is_refused(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path, trainer=replace(FIT, max_epochs=1), callbacks=EMA)
    distill(config, machine, mentor=mentor)
    without = replace(config, callbacks={}, resume=True, trainer=replace(FIT, max_epochs=2))
    with pytest.raises(
        UserError,
        match=r"of a run with callbacks\.ema\._target_ = .* nothing; .*decay = 0\.8, this one has nothing; resume",
    ):
        distill(without, machine, mentor=mentor)
