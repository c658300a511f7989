"""Output for a person: control characters written out, long lists cut, progress in a log file, samples under their own name."""

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle
from mentee_device.cli import main as commands
from mentee_device.cli.output import readable, shown
from mentee_device.runs.run import Done, Progress

from tests.device.program import ENVIRONMENT, command
from tests.device.sealing import edit_manifest

ODD = ["$", "${now:}", "a\nb", "\x1b[31mred", "‮gnp", "", " ", "é", "x" * 5000, "%s"]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**ENVIRONMENT, **environment}
    return subprocess.run(command(*arguments), env=env, capture_output=True, text=True, timeout=120)


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert shown("a\nb\x1b[0m‮é\ud800") == r"a\nb\x1b[0m" + r"\u202e" + "é" + r"\ud800"
    assert readable([*range(1000)]).endswith("19, … (1000 in all)")
    assert readable({"a": [1.0, "b"]}) == "a 1, b"


@pytest.fixture
def odd_names(altered: Path) -> Path:
    """Names that a manifest may have. The packs of an older bundle do not repeat them."""
    from safetensors.numpy import load_file, save_file

    from tests.device.sealing import sums_only

    for pack in ("golden", "supervision"):
        save_file(load_file(altered / f"{pack}.safetensors"), altered / f"{pack}.safetensors")
    edit_manifest(altered, lambda content: content.update(classes=ODD))
    sums_only(altered)
    return altered


def test_classes_of_any_name_are_answered_in_whole_lines(odd_names: Path, tmp_path: Path) -> None:
    with Bundle.open(odd_names) as bundle:
        golden = bundle.golden()
    data = tmp_path / "data.npz"
    np.savez(data, input=golden.input, labels=golden.labels)
    every = ("--bundle", odd_names, "--state", tmp_path / "me", "--data", data)
    assert run("add", *every).returncode == 0
    for encoding in ("utf-8", "ascii"):
        done = run("predict", *every, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["classes", "probability", "most", "seconds"]
        assert "(80 in all)" in lines[0]
        assert all(one.isprintable() for one in lines)
    assert len(json.loads(run("predict", *every, "--json").stdout)["classes"]) == 80


def test_samples_of_an_odd_range_have_a_name_of_their_own(bundle_folder: Path, tmp_path: Path) -> None:
    grey = np.full((3, 1, 8, 8), 0.4, np.float32)
    dark = np.zeros((3, 1, 8, 8), np.uint8)
    dark[0, 0, 0, 0] = 1
    for name, value, right in (
        ("input", grey, False),
        ("preprocessed", grey, True),
        ("input", dark, False),
        ("raw", dark, True),
    ):
        path = tmp_path / f"{name}.npz"
        np.savez(path, **{name: value, "labels": np.array([0, 1, 2])})
        for verb in (("predict",), ("evaluate",), ("add", "--state", tmp_path / "me")):
            done = run(*verb, "--bundle", bundle_folder, "--data", path)
            assert (done.returncode == 0) is right, done.stderr
            assert len(done.stderr.splitlines()) == (0 if right else 1)


def test_a_log_file_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    now = [100.0]
    monkeypatch.setattr(commands.time, "monotonic", lambda: now[0])
    line = commands._progress_line()
    for step in range(1, 61):
        now[0] += 1
        line(Progress(Done(steps=step), step / 60, {"loss": 0.5}, 0))
    import sys

    said: Any = sys.stderr
    assert said.getvalue().splitlines() == [
        f"step {step}, {step / 60:.0%}, about {60 - step} s left, loss 0.5000" for step in range(10, 61, 10)
    ]


def test_a_file_that_is_not_utf8_in_a_bundle_is_one_line(bundle_folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(bundle_folder, tmp_path / "copied"))
    (copied / "ort-training" / "ab\udcff").write_bytes(b"")
    done = run("info", "--bundle", copied)
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'ort-training/ab")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that takes nothing")
def test_a_report_that_cannot_be_written_is_one_line(bundle_folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("info", "--bundle", bundle_folder),
            env=ENVIRONMENT,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=120,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: the report cannot be written (No space left on device)")
    assert done.stderr.count(b"\n") == 1
