"""`python -m export` as its own process: what it prints, and how it fails."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from mentee.checkpoint import MenteeCheckpoint
from tests.export.conftest import checkpoint_of
from tests.export.mentees import Deciding
from tests.paths import ROOT
from tests.warm import run_warm

SMALL = ["supervision_per_class=4", "golden_per_class=4"]
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from export.__main__ import main
main()
"""


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_warm(command, cwd, {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The message of a user's mistake, and that there is nothing else."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line.removeprefix("error: ")


@pytest.fixture(scope="module")
def saved(checkpoint: MenteeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "mentee.safetensors"
    checkpoint.save(path)
    return path


def test_an_export_prints_a_line_each_and_nothing_on_standard_error(saved: Path, tmp_path: Path) -> None:
    done = run("-m", "export", f"checkpoint={saved}", "bundle=bundles/mine", *SMALL, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "bundle",
        "accuracy",
        "backends",
        "parity",
        "trains",
        "loss",
        "packs",
        "next",
    ]
    assert "\nbackends    ort-training, stock\n" in done.stdout
    assert "next        mentee-device learn --bundle bundles/mine --state me --data" in done.stdout
    manifest = json.loads((tmp_path / "bundles" / "mine" / "manifest.json").read_text())
    assert f"{manifest['base']['test']['accuracy']:.2%} of 800 test samples" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundles"]  # no folder of Hydra's
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == ["mine", "mine.zip"]
    again = one_line(run("-m", "export", f"checkpoint={saved}", "bundle=bundles/mine", *SMALL, cwd=tmp_path))
    assert again.startswith("'bundles/mine' exists; choose another bundle=…, or overwrite=true")


def test_settings_may_say_whose_they_are(saved: Path, tmp_path: Path) -> None:
    given = ["export.trainable=head", "export.rewrite=auto", *(f"export.{setting}" for setting in SMALL)]
    done = run("-m", "export", f"checkpoint={saved}", "bundle=mine", *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    assert sorted(manifest["trainable"]) == ["head.bias", "head.weight"]
    assert manifest["supervision"]["samples"] <= 40


def test_a_full_disk_in_the_middle_of_an_export_is_one_line_and_leaves_nothing(saved: Path, tmp_path: Path) -> None:
    """The limit lies between two of ONNX Runtime's own files: the larger, the training model, does not fit."""
    given = [f"checkpoint={saved}", "bundle=mine", *SMALL]
    message = one_line(run("-c", LIMITED, "12000", *given, cwd=tmp_path))
    assert message.startswith("the bundle 'mine' cannot be written: [Errno 27]")
    assert list(tmp_path.iterdir()) == []


def test_a_mentee_that_cannot_be_traced_is_one_line(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    network: nn.Module = Deciding()
    checkpoint_of(network, "tests.export.mentees.Deciding", checkpoint).save(tmp_path / "mentee.safetensors")
    message = one_line(run("-m", "export", "checkpoint=mentee.safetensors", "bundle=mine", *SMALL, cwd=tmp_path))
    assert message.startswith("Deciding cannot be traced for export: ")
    assert [path.name for path in tmp_path.iterdir()] == ["mentee.safetensors"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["bundle=b"], "checkpoint is not set; give it as checkpoint=…"),
        (["checkpoint=none.safetensors", "bundle=b"], "no mentee checkpoint at 'none.safetensors'"),
        (
            ["checkpoint=c", "bundle=b", "optimizer.epsilom=1"],
            "no setting 'optimizer.epsilom'; did you mean 'epsilon'?",
        ),
        (["checkpoint=c", "bundle=b", "loss.temperature=0"], "loss.temperature=0.0; expected"),
        (["checkpoint=c", "bundle=b", "golden_per_class=0"], "golden_per_class=0; expected 1 or more"),
        (["checkpoint=c", "bundle=b", "optimizer.betas=[0.9]"], "optimizer.betas=[0.9]; expected two numbers"),
    ],
)
def test_a_mistake_is_one_line(given: list[str], message: str, tmp_path: Path) -> None:
    assert one_line(run("-m", "export", *given, cwd=tmp_path)).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_gone_are_one_line(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    assert checkpoint.mentor is not None
    replace(checkpoint, mentor={**checkpoint.mentor, "weights": "gone.safetensors"}).save(tmp_path / "m.safetensors")
    message = one_line(run("-m", "export", "checkpoint=m.safetensors", "bundle=b", *SMALL, cwd=tmp_path))
    assert message.startswith("no weights at 'gone.safetensors'")
