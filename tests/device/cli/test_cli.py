"""The console program, run as its users run it: a process of its own."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentee_device import Bundle, GuessRules, Owner, Plan, Samples, Settings, Watch

from tests.device.program import ENVIRONMENT, command
from tests.paths import ROOT
from tests.waiting import PATIENCE, wait_until

FORBIDDEN = ("torch", "onnx", "onnxscript", "mentor_mentee", "mentor", "mentee", "distill", "export", "demo")
DEVICE_PYTHON = ROOT / ".venv" / "device" / "bin" / "python"
ALONE = f"""
import importlib.util, sys
found = [name for name in {FORBIDDEN} if importlib.util.find_spec(name) is not None]
assert not found, found
from mentee_device.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
BESIDE_TORCH = f"""
import importlib.util, sys
from mentee_device.cli.main import main
code = main(sys.argv[1:])
assert importlib.util.find_spec("torch") is not None
assert not set({FORBIDDEN}) & set(sys.modules)
sys.exit(code)
"""
PLAIN = f"""
import sys

class Without:  # as where plain onnxruntime is installed, and nothing of the training package
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FORBIDDEN} or name.startswith("onnxruntime.training"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Without())
from mentee_device.cli.main import main
code = main(sys.argv[1:])
assert not any(name.startswith("onnxruntime.training") for name in sys.modules)
sys.exit(code)
"""
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
from mentee_device.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE)


def learned(
    python: Path | str, script: str, bundle_folder: Path, data_file: Path, tmp_path: Path, environment: dict[str, str]
) -> dict[str, Any]:
    arguments = ["learn", "--bundle", bundle_folder, "--data", data_file, "--state", tmp_path / "me"]
    finished = subprocess.run(
        [python, "-W", "error", "-c", script, *map(str, arguments), "--steps", "5", "--json"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""  # ONNX Runtime's own warnings included
    result: dict[str, Any] = json.loads(finished.stdout)
    assert result["steps"] == result["step"] == 5
    assert 0 < result["ms_per_step"] < 1000
    assert 20 < result["peak_rss_mb"] < 100
    for name in ("training_accuracy_before", "training_accuracy_after", "golden_before", "golden_after"):
        assert 0 <= result[name] <= 1
    return result


def test_learns_where_there_is_neither_torch_nor_onnx_nor_the_project(
    bundle_folder: Path, data_file: Path, tmp_path: Path
) -> None:
    """An environment of its own, as `make env` makes it of device/python."""
    if not DEVICE_PYTHON.is_file():
        pytest.fail(f"no device environment at {DEVICE_PYTHON}: run `make env`")
    # PYTHONPATH: this checkout's program, where what `make env` installed has become older than it
    result = learned(DEVICE_PYTHON, ALONE, bundle_folder, data_file, tmp_path, ENVIRONMENT)
    assert result["torch_importable"] is result["onnx_importable"] is False
    installed = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    script = [DEVICE_PYTHON.with_name("mentee-device"), "info", "--bundle", bundle_folder, "--json"]
    told = subprocess.run(script, env=installed, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert told.returncode == 0, f"{told.stderr} (installed by an older `make env`?)"
    assert json.loads(told.stdout)["bundle"] == Bundle.open(bundle_folder).manifest.id


def test_learns_on_stock_graphs_without_the_training_package(
    stock_folder: Path, data_file: Path, tmp_path: Path
) -> None:
    learned(sys.executable, PLAIN, stock_folder, data_file, tmp_path, ENVIRONMENT)
    every = ("--bundle", stock_folder, "--state", tmp_path / "me")
    told = json.loads(run("info", *every, "--json").stdout)
    assert (told["backends"], told["backend"]) == (["stock"], "stock")
    refused = run("info", *every, "--backend", "ort-training")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: the bundle has no graphs for the backend 'ort-training'")


def test_what_is_held_out_is_told_apart_from_what_was_learnt(
    bundle_folder: Path, mine: Samples, tmp_path: Path
) -> None:
    """40 digits, 10 of them held out; both accuracies against the program's own Python."""
    np.savez(tmp_path / "mine.npz", input=mine.input, labels=mine.labels)
    every = ("--bundle", bundle_folder, "--state", tmp_path / "me")
    run("settings", *every, "--set", "golden_drop=1")
    options = ("--steps", 20, "--rounds", 0, "--learning-rate", 0.01, "--holdout", 0.25, "--json")
    told = json.loads(run("learn", *every, "--data", tmp_path / "mine.npz", *options).stdout)
    with Owner(Bundle.open(bundle_folder), tmp_path / "me") as me:
        rows = np.array(me.versions.get(1).plan["held"]) - 1
        hits = {"after": me.learner.predict(mine.input).logits.argmax(axis=1) == mine.labels}
        me.reset()
        hits["before"] = me.learner.predict(mine.input).logits.argmax(axis=1) == mine.labels
    assert told["held_out"] == len(rows) == 10
    for when, hits_N in hits.items():
        assert told[f"held_out_accuracy_{when}"] == hits_N[rows].mean()
        assert told[f"training_accuracy_{when}"] == np.delete(hits_N, rows).mean()
    assert "of 10 held-out labels" in told["evidence"]


def test_leaves_torch_alone_where_there_is_one(bundle_folder: Path, data_file: Path, tmp_path: Path) -> None:
    """`import onnxruntime` by itself would import it, at 2 s and 300 MB."""
    result = learned(sys.executable, BESIDE_TORCH, bundle_folder, data_file, tmp_path, ENVIRONMENT)
    assert result["torch_importable"] is True


def test_the_life_of_a_state(bundle_folder: Path, data_file: Path, tmp_path: Path) -> None:
    state = tmp_path / "me"
    every = ("--bundle", bundle_folder, "--json")
    rails = ("--set", "golden_drop=0.5", "--set", "confidence_floor=0.999")
    assert json.loads(run("settings", *every, "--state", state, *rails).stdout)["golden_drop"] == 0.5
    done = run("learn", *every, "--data", data_file, "--state", state, "--steps", 3, "--alpha", "[[0, 1], [1, 0.5]]")
    assert json.loads(done.stdout)["status"] == "accepted"
    told = json.loads(run("info", *every, "--state", state).stdout)
    assert told["state_step"] == 3
    assert told["samples_by_source"] == {"owner": 11, "none": 1}
    assert len(told["last_event"]) == 1
    assert told["knobs"] == {"alpha": 1.0, "beta": 0.5, "gamma": 0.7, "temperature": 4.0}
    predicted = json.loads(run("predict", *every, "--data", data_file, "--state", state).stdout)
    assert len(predicted["classes"]) == len(predicted["probability"]) == 12
    assert set(predicted["classes"]) == {"don't know"}
    assert json.loads(run("evaluate", *every, "--state", state).stdout)["step"] == 3
    assert json.loads(run("reset", *every, "--state", state).stdout)["undone_steps"] == 3
    assert "step  0" in run("evaluate", "--bundle", bundle_folder, "--state", state).stdout
    assert json.loads(run("rollback", *every, "--state", state, "--to", 1).stdout)["step"] == 3
    assert json.loads(run("add", *every, "--state", state, "--data", data_file).stdout)["samples"] == 12
    gone = json.loads(run("unlearn", *every, "--state", state, "--all").stdout)
    assert (gone["samples_unlearned"], gone["versions_unlearned"], gone["current"]) == (12, [1], 0)
    assert "unlearned, from v0, step 3, 12 samples" in run("versions", *every[:2], "--state", state).stdout
    events = [entry["event"] for entry in json.loads(run("log", *every, "--state", state).stdout)["log"]]
    assert events == ["settings", "samples", "run", "accepted", "rollback", "rollback", "samples", "unlearn"]


def test_commands_answer_to_the_names_they_had(bundle_folder: Path, data_file: Path, tmp_path: Path) -> None:
    every = ("--bundle", bundle_folder, "--state", tmp_path / "me", "--json")
    assert json.loads(run("add", *every, "--data", data_file).stdout)["samples"] == 12
    assert json.loads(run("forget", *every, "--samples", 1, 2).stdout)["samples_unlearned"] == 2
    assert "already: there is nothing to migrate" in run("update", *every).stderr
    shown = run("--help").stdout
    assert "migrate" in shown
    assert not {"update", "forget"} & set(shown.split())


def test_help_describes_every_setting_and_option() -> None:
    for command_name, kind, left_out in (
        ("settings", Settings, ()),
        ("learn", Plan, ("samples", "budget", "knobs", "once", "seed")),
        ("guess", GuessRules, ()),
        ("watch", Watch, ("seed",)),
    ):
        shown = " ".join(run(command_name, "--help").stdout.split())
        for one in fields(kind):
            if one.name not in left_out:
                assert one.name in shown.replace("-", "_"), one.name
                assert one.metadata["help"] in shown, one.name


@pytest.fixture
def mistakes(tmp_path: Path, bundle_folder: Path, data_file: Path) -> dict[str, tuple[object, ...]]:
    files = {name: tmp_path / name for name in ("text.npz", "array.npy", "half.npz", "cut.npz", "new", "nan.npz")}
    files["text.npz"].write_text("hello")
    np.save(files["array.npy"], np.zeros(3))
    np.savez(files["half.npz"], input=np.zeros((2, 1, 8, 8), np.uint8))
    files["cut.npz"].write_bytes(data_file.read_bytes()[:300])
    np.savez(files["nan.npz"], input=np.full((2, 1, 8, 8), np.nan, np.float32), labels=np.zeros(2, int))
    learn = ("learn", "--bundle", bundle_folder, "--state", files["new"], "--data")
    return {
        "no bundle": ("info", "--bundle", tmp_path / "nothing"),
        "not a bundle": ("info", "--bundle", files["text.npz"]),
        "no state": ("evaluate", "--bundle", bundle_folder, "--state", files["new"]),
        "not a state": ("info", "--bundle", bundle_folder, "--state", files["text.npz"]),
        "no data": (*learn, tmp_path / "nothing.npz"),
        "not an archive": (*learn, files["text.npz"]),
        "an array": (*learn, files["array.npy"]),
        "no labels": (*learn, files["half.npz"]),
        "truncated": (*learn, files["cut.npz"]),
        "NaN": (*learn, files["nan.npz"]),
        "bad knob": (*learn, data_file, "--temperature", 0),
        "nested knob": (*learn, data_file, "--temperature", "[" * 5000),
        "a name too long": ("log", "--bundle", bundle_folder, "--state", "x" * 5000),
        "a name too long to make": ("learn", "--bundle", bundle_folder, "--state", "x" * 5000, "--data", data_file),
        "nothing to learn from": ("learn", "--bundle", bundle_folder, "--state", files["new"]),
        "bad curve": (*learn, data_file, "--beta", "[[0.5, 1], [0, 1]]"),
        "joules of unknown power": (*learn, data_file, "--joules", 5),
        "bad rate": (*learn, data_file, "--learning-rate", "nan"),
        "bad number": (*learn, data_file, "--steps", 0),
        "unknown flag": ("info", "--bundle", bundle_folder, "--frobnicate"),
        "no command": (),
    }


@pytest.mark.parametrize(
    "name",
    [
        "no bundle",
        "not a bundle",
        "no state",
        "not a state",
        "no data",
        "not an archive",
        "an array",
        "no labels",
        "truncated",
        "NaN",
        "bad knob",
        "nested knob",
        "a name too long",
        "a name too long to make",
        "nothing to learn from",
        "bad curve",
        "joules of unknown power",
        "bad rate",
        "bad number",
        "unknown flag",
        "no command",
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    name: str, mistakes: dict[str, tuple[object, ...]], tmp_path: Path
) -> None:
    finished = run(*mistakes[name])
    assert finished.returncode == 2, finished.stderr
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 1
    assert finished.stdout == ""
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("lern",), "did you mean 'learn'? (see mentee-device --help)"),
        (("export_state",), "did you mean 'export-state'? (see mentee-device --help)"),
        (
            ("learn", "--bundle", "b", "--state", "s", "--stps", "3"),
            "--stps 3; did you mean '--steps'? (see mentee-device learn --help)",
        ),
        (
            ("guess", "--bundle", "b", "--state", "s", "--rule", "cluster"),
            "did you mean 'clusters'? (see mentee-device guess --help)",
        ),
    ],
)
def test_a_name_that_is_close_to_a_known_one(given: tuple[str, ...], message: str) -> None:
    finished = run(*given)
    assert (finished.returncode, finished.stderr.count("\n")) == (2, 1)
    assert finished.stderr.endswith(f"{message}\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no data", "no file '"),
        (
            "no labels",
            "lacks ['labels'], expected an .npz with ['input', 'labels']; a label of -1 means unlabelled; it has ['input']",
        ),
        ("not an archive", "text.npz is no .npz, or is cut off: np.savez("),
    ],
)
def test_a_mistake_in_the_data_says_what_to_write(
    name: str, words: str, mistakes: dict[str, tuple[object, ...]]
) -> None:
    assert words in run(*mistakes[name]).stderr


def test_a_step_that_blows_up_drops_the_run(bundle_folder: Path, data_file: Path, tmp_path: Path) -> None:
    every = ("--bundle", bundle_folder, "--state", tmp_path / "me", "--json")
    finished = run("learn", *every, "--data", data_file, "--alpha", 1e38)
    assert finished.returncode == 2
    assert "lower the knobs" in finished.stderr
    told = json.loads(run("info", *every).stdout)
    assert (told["state_step"], told["current"], told["unfinished_run"], told["samples"]) == (0, 0, None, 12)


def begun(database: Path) -> bool:
    """Whether a run is under way in another process."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("SELECT count(*) FROM versions").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet, or without tables
        return False


def test_ctrl_c_leaves_a_run_that_goes_on(bundle_folder: Path, data_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "me"
    arguments = ["learn", "--bundle", bundle_folder, "--data", data_file, "--state", path, "--steps", 10**6]
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *map(str, arguments), "--save-every", "10"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: begun(path / "state.sqlite"), lambda: process.poll() is None)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "interrupted" in told
    refused = run("learn", *arguments[1:])
    assert "is unfinished: learn --resume, or --discard" in refused.stderr
    again = ("--bundle", bundle_folder, "--state", path)
    assert json.loads(run("info", *again, "--json").stdout)["unfinished_run"] == 1
    assert "leave --discard and --every out" in run("learn", *again, "--discard", "--resume").stderr
    assert json.loads(run("info", *again, "--json").stdout)["unfinished_run"] == 1
    assert run("learn", *again, "--discard", "--steps", 2).returncode == 0
