"""Whole runs as a user starts them: what they leave, a sweep, an evaluation, Ctrl-C and going on."""

import base64
import json
import re
import signal
import subprocess
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from mentee.checkpoint import MenteeCheckpoint
from tests.cli.conftest import TINY, command, environment, mistake, run

Finished = tuple[Path, subprocess.CompletedProcess[str]]


def test_a_run_leaves_the_mentee_its_history_and_a_report_with_every_picture(finished: Finished) -> None:
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines() if ": epoch 1/1, " in line] == ["mentor:", "mentee:"]
    assert "arning" not in done.stderr
    here = folder / "here"
    assert {path.name for path in here.iterdir()} == {
        *("mentee.safetensors", "history.json", "last.ckpt", "report", "hydra")
    }
    checkpoint = MenteeCheckpoint.load(here / "mentee.safetensors")
    assert [probe.name for probe in checkpoint.probes] == ["early", "middle"]
    assert f"{checkpoint.accuracy['test']['accuracy']:.2%}" in done.stdout
    (row,) = json.loads((here / "history.json").read_text())
    assert row["step"] == 15  # 900 samples in batches of 64, the last partial or dropped
    page = (here / "report" / "report.html").read_text()
    pictures = {path.read_bytes() for path in (here / "report").glob("*.png")}
    assert len(pictures) == 5
    assert {base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)} == pictures
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing it would have to fetch
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert "<td>mentor</td>" in page
    assert "next    python -m export checkpoint=here/mentee.safetensors bundle=bundles/mine" in done.stdout


def test_an_evaluation_counts_what_torch_does(finished: Finished, tmp_path: Path) -> None:
    path = finished[0] / "here" / "mentee.safetensors"
    done = run("distill.evaluate_cli", f"checkpoint={path}", "split=val", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    from data.load import load_data

    checkpoint = MenteeCheckpoint.load(path)
    val = load_data(checkpoint.data).val
    with torch.no_grad():
        right = checkpoint.network()(checkpoint.view(val.images)).argmax(1) == val.labels
    assert f"{float(right.double().mean()):.2%}" in done.stdout
    assert "val split, 97 samples" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert mistake("distill.evaluate_cli", [f"checkpoint={path}", "split=tset"], tmp_path).startswith(
        "split=tset; expec"
    )


def test_a_sweep_makes_a_run_folder_for_each_job(finished: Finished, tmp_path: Path) -> None:
    cache = finished[0] / ".cache"
    done = run("distill", "-m", *TINY, f"cache_dir={cache}", "seed=1,2", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not any(line.startswith("mentor: epoch") for line in done.stderr.splitlines())  # the run before kept it
    found = sorted((tmp_path / "sweep").rglob("mentee.safetensors"))
    assert len(found) == len({path.parent for path in found}) == 2
    one, two = (load_file(path) for path in found)
    assert not torch.equal(one["head.weight"], two["head.weight"])
    assert all((path.parent / "report" / "report.html").is_file() for path in found)
    again = load_file(finished[0] / "here" / "mentee.safetensors")  # seed 1 by itself
    assert any(all(torch.equal(net[key], again[key]) for key in again) for net in (one, two))


def test_ctrl_c_ends_with_130_and_resume_goes_on(finished: Finished, tmp_path: Path) -> None:
    given = [*TINY, f"cache_dir={finished[0] / '.cache'}", "run_dir=here", "trainer.steps_per_epoch=2"]
    last = tmp_path / "here" / "last.ckpt"
    with subprocess.Popen(
        command("-m", "distill", *given, "trainer.epochs=5000"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        deadline = time.monotonic() + 90
        while not last.exists():
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == (
        "stopped; what was finished is kept (resume=true run_dir=… goes on from the last epoch)"
    )
    assert not (tmp_path / "here" / "mentee.safetensors").exists()
    done_before = int(torch.load(last, weights_only=True)["epoch"]) + 1
    more = [*given, f"trainer.epochs={done_before + 2}", "resume=true"]
    resumed = run("distill", *more, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    history = json.loads((tmp_path / "here" / "history.json").read_text())
    assert [row["epoch"] for row in history] == list(range(done_before + 2))
    assert MenteeCheckpoint.load(tmp_path / "here" / "mentee.safetensors").network() is not None
