"""Whole runs as a user starts them: what they leave, a sweep, an evaluation, Ctrl-C and going on."""

import base64
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mentee.checkpoint import MenteeCheckpoint
from tests.cli.conftest import TINY, command, environment, mistake, run, run_anew
from tests.waiting import PATIENCE, wait_until

Finished = tuple[Path, subprocess.CompletedProcess[str]]


def test_a_run_leaves_the_mentee_its_history_and_a_report_with_every_picture(finished: Finished) -> None:
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines() if ": epoch 1/1, " in line] == ["mentor:", "mentee:"]
    assert "arning" not in done.stderr
    (answer,) = (folder / ".cache" / "preflight").iterdir()  # asked once: before the mentor was trained
    assert json.loads(answer.read_text())["why"] is None
    here = folder / "here"
    assert {path.name for path in here.iterdir()} == {
        *("mentee.safetensors", "README.md", "history.json", "run.json", "probes.json", "last.ckpt", "report", "hydra")
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
    assert "next    python -m export make checkpoint=here/mentee.safetensors bundle=bundles/here" in done.stdout


def test_an_evaluation_counts_what_torch_does(finished: Finished, tmp_path: Path) -> None:
    path = finished[0] / "here" / "mentee.safetensors"
    done = run("distill.evaluate.cli", f"checkpoint={path}", "split=val", "out=found", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    from mentor_mentee.data.load import load_data

    checkpoint = MenteeCheckpoint.load(path)
    val = load_data(checkpoint.data).val
    with torch.no_grad():
        right = checkpoint.network()(checkpoint.view(val.images)).argmax(1) == val.labels
    assert f"{float(right.double().mean()):.2%}" in done.stdout
    assert "val split, 97 samples" in done.stdout
    assert [found.name for found in tmp_path.iterdir()] == ["found"]
    found = json.loads((tmp_path / "found" / "evaluation.json").read_text())
    (one,) = found["runs"]
    assert one["scores"]["accuracy"] == pytest.approx(float(right.double().mean()))
    assert set(one["scores"]) == {"accuracy", "top5", "ece", "agreement", "kl", "cka_early", "cka_middle"}
    assert sum(map(sum, one["confusion"])) == 97
    assert "Confusion: the mentee" in done.stdout
    assert (tmp_path / "found" / "evaluation.html").is_file()


def test_a_checkpoint_of_before_is_read_where_the_users_folder_has_a_module_of_the_old_name(
    finished: Finished, tmp_path: Path
) -> None:
    path = finished[0] / "here" / "mentee.safetensors"
    with safe_open(path, framework="pt") as file:
        about = file.metadata()["mentee"].replace('"mentor_mentee.data.', '"data.')
    assert json.loads(about)["data"] == {"_target_": "data.datasets.digits"}
    save_file(load_file(path), tmp_path / "old.safetensors", metadata={"mentee": about})
    (tmp_path / "data.py").write_text("raise RuntimeError('the user's own')")
    now, then = (
        start("distill.evaluate.cli", f"checkpoint={each}", f"out={name}", cwd=tmp_path)
        for name, each, start in (("now", path, run), ("then", "old.safetensors", run_anew))
    )
    assert (then.returncode, then.stderr) == (0, "")
    runs = [json.loads((tmp_path / name / "evaluation.json").read_text())["runs"][0] for name in ("now", "then")]
    assert runs[0]["scores"] == runs[1]["scores"]
    assert now.stdout.replace("now/", "then/") == then.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["checkpoint=a", "split=tset"], "split=tset; expected one of train, val, test"),
        (["checkpoint=[a,a]"], "checkpoint=['a', 'a']; expected a path or [path, path, …], none of them twice"),
        (["checkpoint=[]"], "checkpoint=[] names no mentee"),
        (["checkpoint=a", "against=['']"], "against=['']; expected a path"),
        (["checkpoint=3"], "checkpoint=3; expected a path"),
        ([], "checkpoint is not set; give it as checkpoint=…"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(given: list[str], message: str, tmp_path: Path) -> None:
    assert mistake("distill.evaluate.cli", given, tmp_path).startswith(message)


def test_a_sweep_makes_a_run_folder_for_each_job_and_ends_in_one_comparison(finished: Finished, tmp_path: Path) -> None:
    given = [*TINY, f"cache_dir={finished[0] / '.cache'}", "hydra.sweep.dir=sweep"]
    done = run("distill", "-m", *given, "seed=-1,1,2", "schedule=piecewise,alone", cwd=tmp_path)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("error")]
    wrong = "seed=-1; expected 0 or more, below 2^40"
    assert said == [
        f"error: run {i} (seed=-1 schedule={name}): {wrong}" for i, name in enumerate(("piecewise", "alone"))
    ]
    # and the four others went on, each line with the name of its run
    assert "run 3 (seed=1 schedule=alone): mentee: epoch 1/1, " in done.stderr
    lines = [line for line in done.stderr.splitlines() if "mentee: " in line or "right on" in line]
    assert len(lines) >= 8
    assert all(re.match(r"run [2-5] \(seed=[12] schedule=(piecewise|alone)\): ", line) for line in lines)
    assert "Test accuracy, run 4 (seed=2 schedule=piecewise)" in done.stdout
    assert not any(line.startswith("mentor: epoch") for line in done.stderr.splitlines())  # the run before kept it
    nets = {path.parent.name: load_file(path) for path in (tmp_path / "sweep").rglob("mentee.safetensors")}
    assert set(nets) == {"2", "3", "4", "5"}
    assert all((tmp_path / "sweep" / job / "report" / "report.html").is_file() for job in nets)
    assert not torch.equal(nets["2"]["head.weight"], nets["4"]["head.weight"])
    again = load_file(finished[0] / "here" / "mentee.safetensors")  # seed 1 by itself
    assert all(torch.equal(nets["2"][key], again[key]) for key in again)

    content = json.loads((tmp_path / "sweep" / "comparison.json").read_text())
    assert [run["overrides"]["schedule"] for run in content["failed"]] == ["piecewise", "alone"]
    arms = {arm["label"]: arm for arm in content["arms"]}
    assert set(arms) == {"schedule=piecewise", "schedule=alone"}
    under, lone = ([run["accuracy"] for run in arms[f"schedule={name}"]["runs"]] for name in ("piecewise", "alone"))
    checkpoints = [MenteeCheckpoint.load(tmp_path / "sweep" / job / "mentee.safetensors") for job in ("2", "4")]
    assert under == [checkpoint.accuracy["test"]["accuracy"] for checkpoint in checkpoints]
    paired = arms["schedule=piecewise"]["against"]["paired"]["accuracy"]
    assert paired["mean"] == pytest.approx((under[0] - lone[0] + under[1] - lone[1]) / 2)
    assert paired["n"] == 2
    assert "test − lone, points" in done.stdout
    assert done.stdout.count("FAILED") == 2
    assert done.stdout.splitlines()[-1] == "comparison  sweep/comparison.html"
    assert (tmp_path / "sweep" / "comparison.png").is_file()


def test_ctrl_c_ends_with_130_and_resume_goes_on(finished: Finished, tmp_path: Path) -> None:
    given = [*TINY, f"cache_dir={finished[0] / '.cache'}", "run_dir=here", "trainer.steps_per_epoch=2"]
    last = tmp_path / "here" / "last.ckpt"
    with subprocess.Popen(
        command("-m", "distill", *given, "trainer.max_epochs=5000"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        wait_until(last.exists, lambda: child.poll() is None)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == (
        "stopped; the finished epochs are saved (the same settings with run_dir=… resume=true go on from the last)"
    )
    assert not (tmp_path / "here" / "mentee.safetensors").exists()
    settings = {path: path.read_bytes() for path in (tmp_path / "here" / "hydra").iterdir()}
    assert {path.name for path in settings} == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    refused = run("distill", *given, "trainer.max_epochs=5000", "trainer.batch=32", "resume=true", cwd=tmp_path)
    assert refused.returncode == 2
    assert "is of a run with trainer.batch = 64, this one has 32" in refused.stderr
    assert settings == {path: path.read_bytes() for path in (tmp_path / "here" / "hydra").iterdir()}
    done_before = int(torch.load(last, weights_only=True)["epoch"]) + 1
    more = [*given, f"trainer.max_epochs={done_before + 2}", "resume=true"]
    resumed = run("distill", *more, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "resume=true" in (tmp_path / "here" / "hydra" / "overrides.yaml").read_text()
    history = json.loads((tmp_path / "here" / "history.json").read_text())
    assert [row["epoch"] for row in history] == list(range(done_before + 2))
    assert MenteeCheckpoint.load(tmp_path / "here" / "mentee.safetensors").network() is not None
