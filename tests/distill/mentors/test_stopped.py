"""A mentor's training that is killed goes on when the same run is started again, to the very bits of one that was not."""

import io
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from distill.machine import Machine
from distill.mentors.find import find_mentor
from distill.schema import DistillConfig, FitConfig, MentorConfig, TransferConfig
from mentor.networks import ResidualNet
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Splits
from tests.waiting import wait_until

MakeConfig = Callable[..., DistillConfig]

CHILD = """
import io, pickle, sys, warnings
warnings.simplefilter("error")
from pathlib import Path
from rich.console import Console
from distill.machine import Machine
from distill.mentors.find import find_mentor
from mentor_mentee.data.datasets import digits
config, cache = pickle.loads(Path(sys.argv[1]).read_bytes())
find_mentor(config, digits(), cache, Machine("cpu", 1, Console(file=io.StringIO())))
"""


@pytest.fixture(scope="module")
def splits() -> Splits:
    return digits()


def dropping(make_config: MakeConfig) -> MentorConfig:
    """A mentor that draws random numbers at each step, and steps for a second or two."""
    fit = FitConfig(max_epochs=30, steps_per_epoch=6, batch=16, learning_rate=1e-2)
    return replace(make_config(Path()).mentor, fit=fit, least_accuracy=0.0)


def transferred(make_config: MakeConfig, folder: Path) -> MentorConfig:
    torch.manual_seed(0)
    save_file(ResidualNet(1, 7, widths=(4, 8)).state_dict(), folder / "seven.safetensors")
    stages = TransferConfig(epochs=3, all_epochs=30, least_steps=0)
    return replace(dropping(make_config), weights=str(folder / "seven.safetensors"), transfer=stages)


def epoch_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["epoch"])


def newest(cache: Path, pattern: str) -> list[Path]:
    return [path for path in cache.glob(f"mentors/{pattern}") if not path.name.endswith(".before.ckpt")]


def kill_while_it_trains(config: MentorConfig, cache: Path, pattern: str, folder: Path) -> Path:
    """The checkpoint that the killed process left, of its third epoch or a later one."""
    (folder / "config.pickle").write_bytes(pickle.dumps((config, cache)))
    command = [sys.executable, "-c", CHILD, str(folder / "config.pickle")]

    def reached() -> bool:
        return any(epoch_of(path) >= 2 for path in newest(cache, pattern))

    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": "."}) as child:
        wait_until(reached, lambda: child.poll() is None, 0.002)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    (checkpoint,) = newest(cache, pattern)
    assert 2 <= epoch_of(checkpoint) < 29
    assert not [*cache.glob("mentors/*.safetensors")]
    return checkpoint


def trained(config: MentorConfig, splits: Splits, cache: Path) -> tuple[dict[str, torch.Tensor], str]:
    said = io.StringIO()
    found = find_mentor(config, splits, cache, Machine("cpu", 1, Console(file=said, width=300)))
    assert [path.suffix for path in cache.glob("mentors/*")] == [".safetensors"]  # nothing is left of the way there
    return load_file(found.weights), said.getvalue()


@pytest.mark.parametrize("how", ["whole", "transferred"])
def test_a_killed_training_of_a_mentor_goes_on_to_the_very_bits_of_one_that_was_not(
    how: str, make_config: MakeConfig, splits: Splits, tmp_path: Path
) -> None:
    config = dropping(make_config) if how == "whole" else transferred(make_config, tmp_path)
    pattern = "*.ckpt" if how == "whole" else "*.all.ckpt"
    checkpoint = kill_while_it_trains(config, tmp_path / "killed", pattern, tmp_path)
    partial = checkpoint.with_name(f"{checkpoint.name}.1.partial")
    partial.write_bytes(b"half a checkpoint")  # killed while it wrote
    partial.unlink()
    resumed, said = trained(config, splits, tmp_path / "killed")
    assert "goes on from the epoch after which an earlier run was stopped" in said
    whole, quiet = trained(config, splits, tmp_path / "whole")
    assert "goes on" not in quiet
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_damaged_checkpoint_of_a_mentor_is_removed_and_it_begins_anew(
    make_config: MakeConfig, splits: Splits, tmp_path: Path
) -> None:
    config = replace(dropping(make_config), fit=FitConfig(max_epochs=2, steps_per_epoch=2, batch=8))
    whole, _ = trained(config, splits, tmp_path / "whole")
    (name,) = (path.stem for path in (tmp_path / "whole" / "mentors").iterdir())
    other = tmp_path / "other" / "mentors"
    other.mkdir(parents=True)
    (other / f"{name}.ckpt").write_bytes(b"PK\x03\x04 cut")
    again, said = trained(config, splits, tmp_path / "other")
    assert "mentor: begins anew" in said
    assert all(torch.equal(again[key], whole[key]) for key in whole)
