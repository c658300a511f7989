"""Sweeps by Hydra's plugins: runs in processes of a launcher's, and settings that Optuna chooses."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from distill.report.after_sweep import CompareRuns
from distill.schema import DistillConfig
from mentor_mentee.config.command_line import run_cli
from mentor_mentee.config.launched import plugins_in_one_line, with_direction
from mentor_mentee.errors import UserError
from tests.cli.conftest import TINY, run

SWEEP = [*TINY, "run_dir=s", "-m"]


def test_two_joblib_processes_share_one_mentor_and_end_in_one_comparison(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs the extra sweep")
    done = run("distill", *SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("mentor: epoch 1/1") == 1
    assert {f"run {seed - 1} (seed={seed}): mentee: epoch 1/1" in done.stderr for seed in (1, 2)} == {True}
    assert "arning" not in done.stderr
    (arm,) = json.loads((tmp_path / "s" / "comparison.json").read_text())["arms"]
    assert [(swept["folder"], swept["seed"]) for swept in arm["runs"]] == [("s/0", 1), ("s/1", 2)]
    overrides = [yaml.safe_load((tmp_path / "s" / job / "hydra" / "overrides.yaml").read_text()) for job in "01"]
    assert [words[-1] for words in overrides] == ["seed=1", "seed=2"]
    assert not (tmp_path / "s" / ".begun").exists()
    assert [path.suffix for path in (tmp_path / ".cache" / "mentors").iterdir()] == [".safetensors"]


def test_a_run_that_fails_in_submitits_process_ends_the_sweep_with_2_and_is_named(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra sweep")
    done = run("distill", *SWEEP, "hydra/launcher=submitit_local", "schedule=alone", "seed=1,-1", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line == f"error: run in {tmp_path / 's' / '1'}: seed=-1; expected 0 or more, below 2^40"
    comparison = json.loads((tmp_path / "s" / "comparison.json").read_text())
    assert [swept["folder"] for arm in comparison["arms"] for swept in arm["runs"]] == ["s/0"]
    assert [failed["error"] for failed in comparison["failed"]] == ["seed=-1; expected 0 or more, below 2^40"]


@pytest.fixture
def optuna_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """`optuna_sweep(act, words)`: what Optuna found best of runs that only return `act(config)`."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra sweep")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def call(act: Callable[[DistillConfig], float], *words: str) -> dict[str, Any]:
        given = ["-m", "run_dir=s", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.sampler.seed=1"]
        monkeypatch.setattr("sys.argv", ["distill", *given, *words])
        run_cli("distill", DistillConfig, lambda _config: None, act)
        found: dict[str, Any] = yaml.safe_load((tmp_path / "s" / "optimization_results.yaml").read_text())
        return found

    return call


def test_optuna_looks_for_the_highest_value_that_a_run_returns(
    optuna_sweep: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    rates: list[float] = []

    def act(config: DistillConfig) -> float:
        rates.append(config.trainer.learning_rate)
        return -abs(math.log10(config.trainer.learning_rate) + 3)

    found = optuna_sweep(act, "trainer.learning_rate=tag(log,interval(0.0001,0.1))")
    assert len(set(rates)) == 6
    assert all(0.0001 <= rate <= 0.1 for rate in rates)
    assert found["best_params"]["trainer.learning_rate"] == min(rates, key=lambda rate: abs(math.log10(rate) + 3))
    said = capsys.readouterr()
    assert said.err == ""
    best = f"best  trainer.learning_rate={found['best_params']['trainer.learning_rate']}, val {found['best_value']:.1%}: s/"
    assert best in said.out


def test_a_run_that_fails_does_not_end_optunas_sweep(
    optuna_sweep: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(config: DistillConfig) -> float:
        if config.trainer.batch < 40:
            raise UserError(f"too small: {config.trainer.batch}")
        return 1 / config.trainer.batch

    with pytest.raises(SystemExit) as ended:
        optuna_sweep(act, "trainer.batch=range(8,80,8)")
    assert ended.value.code == 2
    assert {line.split(": ", 2)[2].split(":")[0] for line in capsys.readouterr().err.splitlines()} == {"too small"}
    best = yaml.safe_load((tmp_path / "s" / "optimization_results.yaml").read_text())["best_params"]["trainer.batch"]
    assert best >= 40


def test_a_direction_that_is_given_stays() -> None:
    given = ["hydra/sweeper=optuna", "hydra.sweeper.direction=minimize"]
    assert with_direction(given) == given
    assert with_direction(["seed=1,2"]) == ["seed=1,2"]


def test_what_a_launcher_raises_is_one_line_and_other_errors_stay() -> None:
    joblib = pytest.importorskip("joblib")
    with (
        pytest.raises(UserError, match=r"ended by joblib .*resume=true finishes the others"),
        plugins_in_one_line(),
    ):
        joblib.Parallel(n_jobs=2)(joblib.delayed(exit_at_once)() for _ in range(2))
    with pytest.raises(ZeroDivisionError), plugins_in_one_line():
        CompareRuns().here.add(1 / 0)  # type: ignore[arg-type]


def exit_at_once() -> None:
    import os

    os._exit(3)
