"""The comparison of a sweep, on run folders written by hand or by a sweep that trains nothing."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from distill.command import check, resumable
from distill.report.sweep import compare_sweep, main, parsed
from distill.run_folder import CHECKPOINT
from distill.schema import DistillConfig
from mentor_mentee.config.command_line import run_cli
from tests.distill.report.test_comparison import RECORD

Accuracies = dict[tuple[str, int], float]


def leave(folder: Path, overrides: list[str], accuracy: float | None, failure: str = "", **changes: Any) -> None:
    """Writes what a run writes: what it was given, and what it reached or why it ended."""
    (folder / "hydra").mkdir(parents=True)
    (folder / "hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    if failure:
        (folder / "failed.txt").write_text(failure + "\n")
    if accuracy is not None:
        record = replace(RECORD, val_accuracy=accuracy - 0.1, scores={"accuracy": accuracy, "kl": 1.0}, **changes)
        (folder / "run.json").write_text(json.dumps(asdict(record)))


def compared(folder: Path) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    compare_sweep(folder)
    content = json.loads((folder / "comparison.json").read_text())
    return {arm["label"]: arm for arm in content["arms"]}, content["failed"]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three seeds under the mentor and alone, in an order of jobs that mixes them; two more runs fail."""
    accuracies: Accuracies = {("constant", 1): 0.91, ("constant", 2): 0.95, ("constant", 3): 0.83}
    accuracies |= {("alone", 1): 0.90, ("alone", 2): 0.93, ("alone", 3): 0.80}
    jobs = sorted(accuracies, key=lambda job: job[1])
    for number, (schedule, seed) in enumerate(jobs):
        overrides = ["trainer.max_epochs=1", f"seed={seed}", f"schedule={schedule}"]
        lone = schedule == "alone"
        leave(tmp_path / str(number), overrides, accuracies[schedule, seed], seed=seed, lone=lone)
    leave(tmp_path / "6", ["trainer.max_epochs=1", "seed=4", "schedule=constant"], 0.1, "the loss is nan", seed=4)
    leave(tmp_path / "10", ["trainer.max_epochs=1", "seed=4", "schedule=alone"], None)
    return tmp_path


def test_means_and_paired_intervals_are_those_by_hand(sweep: Path) -> None:
    arms, _ = compared(sweep)
    assert list(arms) == ["schedule=constant", "schedule=alone"]
    under = arms["schedule=constant"]
    assert [run["seed"] for run in under["runs"]] == [1, 2, 3]
    assert under["mean"]["accuracy"]["mean"] == pytest.approx((0.91 + 0.95 + 0.83) / 3)
    assert under["mean"]["accuracy"]["std"] == pytest.approx(0.0611010, abs=1e-6)
    assert under["val_accuracy"]["mean"] == pytest.approx((0.91 + 0.95 + 0.83) / 3 - 0.1)
    assert under["against"]["label"] == "schedule=alone"
    paired = under["against"]["paired"]["accuracy"]
    half = 4.30265 * 0.01 / 3**0.5  # differences .01, .02, .03; t(.975; 2) of the printed tables
    found = (paired["mean"], paired["std"], paired["low"], paired["high"], paired["n"])
    assert found == pytest.approx((0.02, 0.01, 0.02 - half, 0.02 + half, 3), abs=1e-7)
    assert arms["schedule=alone"]["lone"] is True
    assert arms["schedule=alone"]["against"] is None


def test_a_failed_run_is_listed_and_does_not_count(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, failed = compared(sweep)
    assert [(Path(run["folder"]).name, run["error"]) for run in failed] == [
        ("6", "the loss is nan"),
        ("10", "it did not come to its end"),
    ]
    printed = capsys.readouterr().out
    assert "FAILED trainer.max_epochs=1 seed=4 schedule=constant" in printed
    assert "the same in every run: trainer.max_epochs=1" in printed
    assert "89.67 ± 6.11" in printed
    assert "+2.00 [-0.48, +4.48]" in printed


def test_the_report_and_the_plot_are_left(sweep: Path) -> None:
    compared(sweep)
    assert (sweep / "comparison.png").read_bytes().startswith(b"\x89PNG")
    page = (sweep / "comparison.html").read_text()
    assert "<td>schedule=constant</td>" in page
    assert "data:image/png;base64," in page


def test_each_combination_is_compared_with_the_lone_mentee_of_the_same(tmp_path: Path) -> None:
    number = 0
    for labels in (10, 100):
        for schedule, gain in (("constant", labels / 1000), ("alone", 0.0)):
            for seed in (1, 2):
                overrides = [f"data.labels_per_class={labels}", f"schedule={schedule}", "probes=none", f"seed={seed}"]
                changes = {"seed": seed, "lone": schedule == "alone", "labelled": str(labels)}
                leave(tmp_path / str(number), overrides, 0.5 + gain, **changes)
                number += 1
    arms, _ = compared(tmp_path)
    assert len(arms) == 4
    for labels in (10, 100):
        against = arms[f"data.labels_per_class={labels} schedule=constant"]["against"]
        assert against["label"] == f"data.labels_per_class={labels} schedule=alone"
        assert against["paired"]["accuracy"]["mean"] == pytest.approx(labels / 1000)


def test_one_lone_mentee_serves_all_probes_and_weights_of_the_mentor(tmp_path: Path) -> None:
    arms_given = {"schedule.beta=1 probes=auto": False, "schedule.beta=2 probes=auto": False, "schedule.beta=0": True}
    for number, (overrides, lone) in enumerate(arms_given.items()):
        leave(tmp_path / str(number), [*overrides.split(), "seed=1"], 0.6, lone=lone)
    arms, _ = compared(tmp_path)
    assert [arm["against"] and arm["against"]["label"] for arm in arms.values()] == ["schedule.beta=0"] * 2 + [None]


def test_layers_in_brackets_are_printed_as_they_were_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, layer in enumerate(("red", "features.1")):
        given = [f"probes.p=[stages.0,{layer}]", "probes.q=[bold]", f"seed={number}"]
        leave(tmp_path / str(number), given, 0.9, seed=number)
    compared(tmp_path)
    printed = " ".join(capsys.readouterr().out.split())
    for given in ("probes.p=[stages.0,red]", "probes.p=[stages.0,features.1]", "probes.q=[bold]"):
        assert given in printed


def test_runs_of_other_steps_are_told_and_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(tmp_path / "0", ["schedule=constant", "seed=1"], 0.9, steps=300)
    leave(tmp_path / "1", ["schedule=alone", "seed=1"], 0.8, steps=200, lone=True)
    arms, _ = compared(tmp_path)
    against = arms["schedule=constant"]["against"]
    assert against["paired"] == {}
    assert "are no pair, for the steps (300 and 200) differ" in against["problem"]
    assert against["problem"] in " ".join(capsys.readouterr().out.split())


def test_without_a_lone_mentee_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    for seed in (1, 2):
        leave(tmp_path / str(seed), [f"seed={seed}"], 0.9, seed=seed)
    arms, _ = compared(tmp_path)
    assert list(arms) == ["every run"]
    assert arms["every run"]["against"] is None
    assert arms["every run"]["mean"]["accuracy"]["n"] == 2


def test_where_every_run_failed_nothing_is_written(tmp_path: Path) -> None:
    leave(tmp_path / "0", ["seed=1"], None, "no data")
    compare_sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"0"}


def test_single_runs_under_a_folder_are_compared_as_a_sweeps_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has a `run_dir` of its own, by which they are no different arms."""
    for seed in (1, 2):
        for name in ("piecewise", "alone"):
            folder = tmp_path / f"{name}{seed}"
            given = [f"seed={seed}", f"schedule={name}", f"run_dir={folder}"]
            accuracy = 0.9 if name == "alone" else 0.9 + 0.01 * seed
            leave(folder, given, accuracy, seed=seed, lone=name == "alone")
    assert main([str(tmp_path)]) == 0
    assert "+1.50" in capsys.readouterr().out
    arms = {arm["label"]: arm for arm in json.loads((tmp_path / "comparison.json").read_text())["arms"]}
    assert set(arms) == {"schedule=piecewise", "schedule=alone"}
    assert [run["seed"] for run in arms["schedule=piecewise"]["runs"]] == [1, 2]


def test_a_folder_without_a_finished_run_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(tmp_path / "0", ["seed=1"], None)
    assert main([str(tmp_path)]) == 1
    assert "holds no finished run (1 unfinished); give the folder of a sweep" in capsys.readouterr().err
    for given, code in (([], 2), (["a", "b"], 2), (["--help"], 0)):
        with pytest.raises(SystemExit) as ended:
            main(given)
        assert ended.value.code == code
    assert "FOLDER" in capsys.readouterr().out


def test_a_lone_mentee_serves_under_every_mentor_but_not_for_what_is_said_of_its_own(tmp_path: Path) -> None:
    long = "[{_target_: mentor.networks.ResidualNet, widths: [32, 96, 192], blocks: 1}, {…}]"
    leave(tmp_path / "0", ["mentor=a", "schedule=alone", "seed=1"], 0.6, lone=True, mentor_scores={"accuracy": 0.8})
    leave(tmp_path / "1", ["mentor=a", "seed=1"], 0.7, mentor_scores={"accuracy": 0.8})
    other = ["mentor=b", f"mentor.network.members={long}", "seed=1"]
    leave(tmp_path / "2", other, 0.9, mentor_scores={"accuracy": 0.95})
    arms, _ = compared(tmp_path)
    under_a, under_b = (arm["against"]["paired"] for arm in arms.values() if arm["against"])
    assert under_a["accuracy"]["mean"] == pytest.approx(0.1)
    assert set(under_a) == {"accuracy", "kl"}
    assert under_b["accuracy"]["mean"] == pytest.approx(0.3)
    assert set(under_b) == {"accuracy"}
    assert not any(long in label for label in arms)
    leave(tmp_path / "3", [*other[:1], other[1] + "0", "seed=1"], 0.8)  # differs only behind the cut
    assert sum(long in label for label in compared(tmp_path)[0]) == 2


Command = Callable[..., list[DistillConfig]]


def test_the_overrides_of_an_earlier_sweep_are_read_under_their_new_names() -> None:
    assert parsed(["keep_answers=true", "++data.val=100"]) == {"cache.answers": "true", "data.val": "100"}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`python -m distill WORDS` in an empty folder, of which each run leaves its record and no more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*words: str) -> list[DistillConfig]:
        seen: list[DistillConfig] = []

        def act(config: DistillConfig) -> float:
            seen.append(config := resumable(config))
            record = replace(RECORD, seed=config.seed, scores={"accuracy": 0.9, "kl": 1.0})
            (Path(config.run_dir) / "run.json").write_text(json.dumps(asdict(record)))
            return 0.9

        monkeypatch.setattr(sys, "argv", ["distill", *words])
        run_cli("distill", DistillConfig, check, act)
        return seen

    return call


@pytest.mark.parametrize("given", ["run_dir=some/where", "++run_dir=some/where", "hydra.sweep.dir=some/where"])
def test_a_sweeps_run_dir_is_the_folder_of_its_runs_and_of_their_comparison(
    command: Command, tmp_path: Path, given: str
) -> None:
    runs = command("-m", given, "seed=1,2")
    folders = [tmp_path / "some" / "where" / job for job in ("0", "1")]
    assert [(Path(run.run_dir), run.seed) for run in runs] == [(folders[0], 1), (folders[1], 2)]
    arms = json.loads((tmp_path / "some" / "where" / "comparison.json").read_text())["arms"]
    assert [[run["folder"] for run in arm["runs"]] for arm in arms] == [[f"some/where/{job}" for job in ("0", "1")]]
    assert {path.name for path in tmp_path.iterdir()} == {"some"}


def test_a_sweep_that_is_resumed_goes_on_with_what_had_begun_and_begins_the_others(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s" / "1").mkdir(parents=True)
    (tmp_path / "s" / "1" / CHECKPOINT).touch()
    assert [run.resume for run in command("-m", "run_dir=s", "seed=1,2,3", "resume=true")] == [False, True, False]
    assert not any(run.resume for run in command("-m", "run_dir=s", "seed=1,2"))
    with pytest.raises(SystemExit):
        command("run_dir=here", "resume=true")
    assert capsys.readouterr().err.startswith("error: nothing to resume: no checkpoint at")


def test_runs_that_an_earlier_sweep_left_in_the_folder_are_not_compared(command: Command, tmp_path: Path) -> None:
    command("-m", "run_dir=s", "seed=1,2,3", "trainer.batch=8")
    command("-m", "run_dir=s", "seed=1,2", "trainer.batch=16")
    (arm,) = json.loads((tmp_path / "s" / "comparison.json").read_text())["arms"]
    assert [(run["folder"], run["seed"]) for run in arm["runs"]] == [("s/0", 1), ("s/1", 2)]
    assert arm["overrides"] == {"trainer.batch": "16"}
    compare_sweep(tmp_path / "s")  # by hand: everything
    assert len(json.loads((tmp_path / "s" / "comparison.json").read_text())["arms"]) == 2


def test_without_one_a_sweep_makes_its_folder_and_a_single_run_is_in_its_run_dir(
    command: Command, tmp_path: Path
) -> None:
    (run,) = command("--multirun", "seed=3")
    assert Path(run.run_dir).parent.name.startswith("sweep-")
    assert (Path(run.run_dir).parent / "comparison.json").is_file()
    (run,) = command("run_dir=here", "seed=3")
    assert Path(run.run_dir) == tmp_path / "here"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("-m", "run_dir=a,b"), id="several"),
        pytest.param(("-m", "run_dir=choice(a,b)"), id="several by a function"),
        pytest.param(("-m", "run_dir=a${seed}", "seed=1,2"), id="another for each run"),
        pytest.param(("-m", "run_dir=a", "hydra.sweep.dir=b", "seed=1,2"), id="two"),
        pytest.param(("run_dir=a", "hydra.mode=MULTIRUN", "seed=1,2"), id="a sweep by another name"),
    ],
)
def test_a_run_dir_that_cannot_be_the_sweeps_is_an_error_before_the_first_run(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(*words)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    given = next(word for word in words if word.startswith("run_dir="))
    assert line.startswith(f"error: {given} in a sweep; expected one folder for all its runs, given once: ")
    assert line.endswith("-m run_dir=FOLDER, or hydra.sweep.dir=FOLDER without run_dir")
    assert list(tmp_path.iterdir()) == []


def test_the_comparison_says_where_arms_saw_other_augmentation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def config(views: int | None, transforms: list[Any]) -> dict[str, Any]:
        return {"trainer": {"augment": {"transforms": transforms, "views": views}}}

    for folder, transforms in (("moved", ["RandomHorizontalFlip"]), ("plain", [])):
        leave(tmp_path / folder / "0", ["schedule=alone"], 0.6, lone=True, config=config(None, transforms))
        leave(tmp_path / folder / "1", ["schedule=obedient"], 0.7, config=config(8, transforms))
        arms, _ = compared(tmp_path / folder)
        said = arms["schedule=obedient"]["against"]["augmentation"]
        apart = "RandomHorizontalFlip (8 views); of what it is compared with RandomHorizontalFlip (always new views)"
        assert said == (f"augmentation differs: {apart}" if transforms else None)
        assert capsys.readouterr().out.count("augmentation differs") == bool(transforms)
        assert (tmp_path / folder / "comparison.html").read_text().count("augmentation differs") == bool(transforms)
