"""A mentor that is asked for less, or in half precision: what that changes of a run, and what it does not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distill.curves import Schedule
from distill.machine import Machine
from distill.mentors.find import FoundMentor, find_mentor
from distill.present import draw_run
from distill.run import distill
from distill.schema import DistillConfig
from mentor_mentee.data.load import load_data
from mentor_mentee.errors import UserError

MakeConfig = Callable[..., DistillConfig]


def test_a_run_without_softmax_asks_for_layers_alone_and_gives_the_same_weights(
    make_config: MakeConfig, machine: Machine, mentor: FoundMentor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = {"_target_": "distill.schedules.constant", "alpha": 1.0, "beta": 2.0, "gamma": 0.0, "temperature": 3.0}
    config = make_config(tmp_path / "run", schedule=schedule, cache_dir=str(tmp_path / "cache"))
    found = distill(config, machine, mentor=mentor)
    assert {"train_rmse_late", "val_ce"} < {*found.history[0]}
    assert not any(name.endswith("_kl") for name in found.history[0])
    draw_run(found, tmp_path / "report")
    monkeypatch.setattr(Schedule, "asks_logits", lambda self: True)
    asked = distill(replace(config, run_dir=str(tmp_path / "asked")), machine, mentor=mentor)
    assert "train_kl" in asked.history[0]
    weights, expected = (load_file(result.checkpoint_path) for result in (found, asked))
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


def test_a_mentor_in_half_precision_is_judged_in_it_and_named_in_the_checkpoint(
    make_config: MakeConfig, machine: Machine, mentor: FoundMentor, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run")
    half = replace(config, mentor=replace(config.mentor, precision="bf16-mixed"))
    result = distill(
        half, machine, mentor=find_mentor(half.mentor, load_data(config.data), Path(config.cache_dir), machine)
    )
    assert result.mentor_origin == "mentor cached by an earlier run"  # the key of its weights is as it was
    assert result.checkpoint.mentor["precision"] == "bf16-mixed"
    whole = distill(replace(config, run_dir=str(tmp_path / "whole")), machine, mentor=mentor)
    assert "precision" not in whole.checkpoint.mentor
    assert abs(result.mentor.accuracy - whole.mentor.accuracy) < 0.02
    assert 0 < float((result.mentor.logits_NK - whole.mentor.logits_NK).abs().max()) < 0.5
    with pytest.raises(UserError, match=r"is of a run with mentor = "):
        distill(replace(half, run_dir=whole.checkpoint_path.parent.as_posix(), resume=True), machine)
