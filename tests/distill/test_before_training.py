"""Mistakes that a run finds before it trains a mentor, which may take hours."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from distill.machine import Machine
from distill.run import distill
from distill.schema import CacheConfig, DistillConfig, FitConfig, LossConfig, MenteeConfig
from mentee.budget import Budget
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError

MakeConfig = Callable[..., DistillConfig]
PLAIN = {"_target_": "mentee.networks.PlainCNN"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probes": {"late": ["stages.1", "feature.1"]}}, r"no layer 'feature\.1'.*did you mean 'features\.1'"),
        ({"probes": {"late": ["stage.1", "features.1"]}}, r"no layer 'stage\.1'.*did you mean 'stages\.1'"),
        ({"probes": {"_auto_": True, "p": ["stages.9", "features.1"]}}, r"no layer 'stages\.9'"),
        ({"probes": {"p": {"mentor": "stages.1", "mentee": "features.1", "adapter": "identity"}}}, "cannot compare"),
        ({"probes": {"_adapter_": "identity", "p": ["stages.0", "features.1"]}}, "cannot compare"),
        ({"loss": LossConfig("attention"), "probes": {"end": ["head", "head"]}}, "which has one position"),
        ({"mentee": MenteeConfig(network=PLAIN | {"widths": [4, 6, 8, 8, 8]})}, r"mentee\.network"),
        ({"mentee": MenteeConfig(network=PLAIN, budget=Budget(parameters=10))}, r"mentee\.budget"),
        ({"mentee": MenteeConfig(network=PLAIN | {"widths": [4, 6]}, head="heads")}, "heads"),
        (
            {"cache": CacheConfig(answers=True), "trainer": FitConfig(augment=Augmentation(["RandomHorizontalFlip"]))},
            "a new view at each pass",
        ),
        ({"resume": True}, "nothing to resume"),
    ],
)
def test_a_mistake_is_found_before_the_mentor_is_trained(
    make_config: MakeConfig, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    console = Console(file=io.StringIO(), width=200)
    config = replace(make_config(tmp_path / "run"), cache_dir=str(tmp_path / "cache"), **changes)
    with pytest.raises(UserError, match=message):
        distill(config, Machine("cpu", 1, console))
    assert "mentor" not in console.file.getvalue()  # type: ignore[attr-defined]
    assert not (tmp_path / "cache").exists()


def test_a_mentee_is_the_same_whether_its_mentor_was_trained_just_now_or_cached(
    make_config: MakeConfig, machine: Machine, tmp_path: Path
) -> None:
    taught = {"mentor": "stages.1", "mentee": "features.1", "adapter": "regressor"}  # whose weights begin at random
    config = replace(make_config(tmp_path / "now", probes={"late": taught}), cache_dir=str(tmp_path / "cache"))
    now = distill(config, machine)
    cached = distill(replace(config, run_dir=str(tmp_path / "cached")), machine)
    assert (now.mentor_origin, cached.mentor_origin) == (
        "mentor trained now and cached",
        "mentor cached by an earlier run",
    )
    one, other = load_file(now.checkpoint_path), load_file(cached.checkpoint_path)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
