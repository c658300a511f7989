"""Loggers and callbacks by `_target_`: what they get, and what of them is refused before any training."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill.from_overrides import compose
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.run import distill
from distill.schema import DistillConfig
from mentor_mentee.errors import UserError

MakeConfig = Callable[..., DistillConfig]
EPOCH = {"loss", "ce", "rmse_early", "rmse_late", "kl", "accuracy"}
STEP = {"alpha", "beta", "gamma", "temperature", "learning_rate", "ms_per_step"}


def logged(name: str, config: DistillConfig) -> DistillConfig:
    """With the logger of a shipped YAML file, which gets every step."""
    logger = compose([f"logger={name}", "run_dir=unused"]).logger
    return replace(config, logger=logger, trainer=replace(config.trainer, log_every_n_steps=1))


def columns() -> set[str]:
    means = {f"{part}_{name}" for part in ("train", "val") for name in EPOCH}
    return means | {f"train_{name}_step" for name in EPOCH - {"accuracy"}} | STEP


def test_csv_has_every_term_knob_rate_and_time(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = logged("csv", make_config(tmp_path))
    history = distill(config, machine, mentor=mentor).history
    (file,) = tmp_path.rglob("metrics.csv")
    assert file == tmp_path / "csv" / "version_0" / "metrics.csv"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert set(rows[0]) == columns() | {"epoch", "step"}
    steps = [row for row in rows if row["alpha"]]
    assert [float(row["alpha"]) for row in steps] == pytest.approx([1 - step / 22 for step in range(12)])  # 1 to .5
    assert all(float(row["ms_per_step"]) > 0 for row in steps)
    for name in ("train_loss", "val_kl", "val_accuracy"):
        assert [float(row[name]) for row in rows if row[name]] == pytest.approx([row[name] for row in history])
    first = [float(row["train_ce_step"]) for row in steps[:4]]
    assert sum(first) / 4 == pytest.approx(history[0]["train_ce"])


def test_tensorboard_has_the_same(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard", reason="needs pip install 'mentor-mentee[loggers]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = distill(logged("tensorboard", make_config(tmp_path)), machine, mentor=mentor).history
    events = EventAccumulator(str(tmp_path / "tensorboard" / "version_0"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == columns() | {"epoch"}
    assert [one.value for one in events.Scalars("val_loss")] == pytest.approx([row["val_loss"] for row in history])
    assert [one.step for one in events.Scalars("learning_rate")] == list(range(12))


def test_wandb_writes_a_run_that_was_sent_nowhere(
    make_config: MakeConfig,
    mentor: FoundMentor,
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("wandb", reason="needs pip install 'mentor-mentee[loggers]'")
    monkeypatch.setenv("WANDB_SILENT", "true")
    distill(logged("wandb", make_config(tmp_path)), machine, mentor=mentor)
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert b"train_rmse_late_step" in next(run.glob("*.wandb")).read_bytes()


COUNTING = """
import pytorch_lightning as pl
class Counting(pl.Callback):
    def __init__(self, start):
        self.steps = start
    def on_train_batch_end(self, *_):
        self.steps += 1
    def on_train_end(self, trainer, pl_module):
        print("steps", self.steps)
"""


def test_a_callback_of_the_users_own_is_called(
    make_config: MakeConfig,
    mentor: FoundMentor,
    machine: Machine,
    tmp_path: Path,
    own_module: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = {"mine": {"_target_": f"{own_module(COUNTING)}.Counting", "start": 100}}
    distill(make_config(tmp_path, callbacks=mine), machine, mentor=mentor)
    assert "steps 112" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("group", "recipe", "message"),
    [
        ("logger", {"_target_": "mentee.networks.PlainCNN"}, "logger.mine: .*needs"),
        (
            "logger",
            {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "val_loss"},
            "a class of pytorch",
        ),
        (
            "callbacks",
            {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "x"},
            "a class of pytorch_lightning that",
        ),
        ("logger", {"_target_": "pytorch_lightning.loggers.CSVLoger"}, "did you mean 'CSVLogger'"),
    ],
)
def test_what_makes_no_callback_and_no_logger_is_refused_before_any_training(
    group: str, recipe: dict[str, Any], message: str, make_config: MakeConfig, machine: Machine, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        distill(make_config(tmp_path, **{group: {"mine": recipe}}), machine)


def test_a_folder_that_cannot_be_written_is_one_line_before_any_training(
    make_config: MakeConfig, machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    logger = {"csv": {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": str(tmp_path / "file" / "logs")}}
    with pytest.raises(
        UserError, match=r"logger\.csv writes into '.*file/logs', which cannot be written: Not a directory"
    ):
        distill(make_config(tmp_path / "run", logger=logger), machine)
