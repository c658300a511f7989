"""Sweeps with a run that ends badly, and arguments that are read as others; the commands themselves are tested
as processes (tests/cli)."""

import math
from pathlib import Path
from typing import cast

import pytest

from distill.schema import DistillConfig
from mentor_mentee.config.command_line import opened, or_note_why_not, with_sweep_folder
from mentor_mentee.config.launched import FAILED
from mentor_mentee.config.renamed import require_one_name
from mentor_mentee.errors import UserError


def ended(error: BaseException, folder: Path, failures: list[str]) -> object:
    def job() -> object:
        raise error

    return or_note_why_not(job, DistillConfig, folder, failures)


def test_a_mistake_is_one_line_and_a_bug_a_traceback_and_both_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failures: list[str] = []
    for number, error in enumerate((UserError("no such\n thing"), ZeroDivisionError("by 0"))):
        (tmp_path / str(number)).mkdir()
        assert math.isnan(cast(float, ended(error, tmp_path / str(number), failures)))
    assert failures == ["no such thing", "ZeroDivisionError: by 0"]
    assert [(tmp_path / number / FAILED).read_text() for number in ("0", "1")] == [f"{line}\n" for line in failures]
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == "error: no such thing"
    assert second.startswith("Traceback")


def test_the_note_of_an_earlier_sweep_goes_once_the_run_comes_to_its_end(tmp_path: Path) -> None:
    (tmp_path / FAILED).write_text("once")
    failures: list[str] = []
    assert or_note_why_not(lambda: 0.9, DistillConfig, tmp_path, failures) == 0.9
    assert (failures, list(tmp_path.iterdir())) == ([], [])


def test_ctrl_c_ends_the_sweep(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        ended(KeyboardInterrupt(), tmp_path, [])


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("keep_answers=true", "cache.answers=true"),
        ("++keep_answers_mb=10", "++cache.max_gb=0.01"),
        ("cache_answers=", "cache.answers="),
        ("~keep_answers_mb", "~cache.max_gb"),
        ("~answer_cache_mb=2048", "~cache.max_gb=2.048"),
        ("keep_answers_gb=1", "keep_answers_gb=1"),
        ("data.keep_answers=1", "++data.keep_answers=1"),
        ("cache_dir=keep_answers=1", "cache_dir=keep_answers=1"),
    ],
)
def test_an_argument_of_before_is_read_under_its_new_name(given: str, read: str) -> None:
    assert opened(given, ["data"]) == read


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["-m", "seed=1,2", "run_dir=a"], ["-m", "seed=1,2", "hydra.sweep.dir=a"]),
        (["run_dir=some/where", "--multirun"], ["hydra.sweep.dir=some/where", "--multirun"]),
        (["run_dir=a", "seed=1"], None),
        (["-m", "run_dir=a,b"], None),
        (["-m", "run_dir=a", "++hydra.sweep.dir=b"], None),
        (["-m", "mentor.run_dir=a", "cache_dir=b"], None),
    ],
)
def test_only_a_sweeps_one_run_dir_is_its_folder(given: list[str], read: list[str] | None) -> None:
    assert with_sweep_folder(given) == (read or given)


def test_a_setting_under_its_old_name_and_its_new_one_is_refused() -> None:
    require_one_name(["trainer.epochs=2", "mentor.fit.max_epochs=3"])
    with pytest.raises(
        UserError, match=r"^trainer\.epochs=3 and trainer\.max_epochs=2 are one setting, .* give it once$"
    ):
        require_one_name(["trainer.max_epochs=2", "seed=1", "++trainer.epochs=3"])
