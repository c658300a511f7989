"""A mentee that will not export is told before its mentor is trained; the answer is cached, and a run's numbers are the same."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from distill.check import check_settings
from distill.exportable import Answer, EarlyWarning, question, read
from distill.handover import RunResult
from distill.machine import Machine
from distill.networks.build import new_mentee
from distill.run import distill
from distill.schema import DistillConfig, MenteeConfig
from export.bundle.write import export_bundle
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.load import load_data
from mentor_mentee.errors import UserError
from mentor_mentee.objective.loss_spec import LossSpec
from tests.warm import executable

MakeConfig = Callable[..., DistillConfig]


class Fold(nn.Module):
    """No backend has a gradient for it, and nothing takes its place."""

    def forward(self, x: Tensor) -> Tensor:
        return F.fold(F.unfold(x, 2, stride=2), (6, 6), 2, stride=2)


class Folding(nn.Module):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.first, self.step = nn.Conv2d(1, 4, 3), Fold()
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.step(self.first(x)).mean((2, 3)))  # type: ignore[no-any-return]


@contextmanager
def at_once(folder: Path) -> Iterator[None]:
    """An answer in a second: its process is forked from one that has imported the exporter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(executable(folder)))
        yield


FOLDING = MenteeConfig(network={"_target_": f"{__name__}.Folding"})


def test_the_warning_comes_before_the_mentor_trains_and_a_second_run_asks_nobody(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    console = Console(file=io.StringIO(), width=2000)
    machine = Machine(accelerator="cpu", threads=1, console=console)
    config = replace(make_config(tmp_path / "run"), cache_dir=str(tmp_path / "cache"), mentee=FOLDING, probes={})
    for number in range(2):
        warning = EarlyWarning(tmp_path / "cache" / "preflight", console.print)
        distill(config, machine, warning=warning)
        assert (warning.asked is None) == (number == 1)
        written = console.file.getvalue()  # type: ignore[attr-defined]
        (place,) = (i for i, line in enumerate(written.splitlines()) if line.startswith("warning: "))
        assert "warning: this mentee will not export: step: Col2Im (Fold, test_exportable.py:" in written
        assert "preflight=false" in written
        trained = [i for i, line in enumerate(written.splitlines()) if line.startswith("mentor")]
        assert not trained or place < min(trained)
        console.file.truncate(0)
        console.file.seek(0)
    (answer,) = (tmp_path / "cache" / "preflight").iterdir()
    assert json.loads(answer.read_text())["why"].startswith("step: Col2Im")


def test_a_mentee_that_exports_is_passed_over_in_silence_and_no_number_is_drawn(
    make_config: MakeConfig, tmp_path: Path, machine: Machine
) -> None:
    config = make_config(tmp_path)
    splits = load_data(config.data)
    mentee = new_mentee(config.mentee, splits, machine)
    said: list[str] = []
    warning = EarlyWarning(tmp_path / "preflight", said.append)
    before = torch.get_rng_state()
    warning.tell()  # of nothing that was asked
    with at_once(tmp_path):
        warning.ask(mentee, splits.classes, LossSpec())
    warning.tell()
    warning.tell()
    assert torch.equal(torch.get_rng_state(), before)
    assert said == []
    (answer,) = (tmp_path / "preflight").iterdir()
    assert json.loads(answer.read_text()) == {"why": None, "left_out": None}
    assert answer.stem == question(mentee, 10, LossSpec())
    assert question(mentee, 11, LossSpec()) != answer.stem
    answer.write_text("{")  # damaged: as if there was none
    warning.ask(mentee, splits.classes, LossSpec())
    warning.tell()
    assert said == []


class Cyclic(nn.Module):
    """Trains with stock graphs alone: ONNX Runtime Training has no gradient of an atan."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).atan().mean((2, 3)))  # type: ignore[no-any-return]


def test_what_one_backend_alone_trains_is_a_note_and_no_warning(
    make_config: MakeConfig, tmp_path: Path, machine: Machine
) -> None:
    config, said = make_config(tmp_path), list[str]()
    splits = load_data(config.data)
    mentee = new_mentee(MenteeConfig(network={"_target_": f"{__name__}.Cyclic"}), splits, machine)
    for settings in ({}, {"backend": "ort-training"}):
        warning = EarlyWarning(tmp_path, said.append, settings)
        with at_once(tmp_path):
            warning.ask(mentee, splits.classes, LossSpec())
        warning.tell()
    note, refused = said
    assert note.startswith(
        "note: this mentee will export, but ort-training is left out: the network itself: Atan (Cyclic"
    )
    assert refused.startswith(
        "warning: this mentee will not export with backend=ort-training: the network itself: Atan"
    )


class Aside(nn.Module):
    """Exports, unless a probe reads what it computes and does not use."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.first, self.step = nn.Conv2d(1, 4, 3), Fold()
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        self.step(x)
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


def warned(config: DistillConfig, machine: Machine) -> tuple[list[str], RunResult]:
    said: list[str] = []
    cache = Path(config.cache_dir)
    with at_once(cache.parent):
        result = distill(config, machine, warning=EarlyWarning(cache / "preflight", said.append, config.export))
    return said, result


def exported(result: RunResult, folder: Path, **settings: Any) -> str:
    """Why the run's mentee does not export, in the exporter's words; empty where it does."""
    try:
        export_bundle(MenteeCheckpoint.load(result.checkpoint_path), folder, ExportSettings("", "", **settings))
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("adapter", "mentor"), [("pca", "to be trained"), ("regressor", "to be trained"), ("slice", "cached")]
)
def test_the_runs_own_probes_are_asked_about(
    adapter: str, mentor: str, make_config: MakeConfig, tmp_path: Path, machine: Machine
) -> None:
    aside = MenteeConfig(network={"_target_": f"{__name__}.Aside"})
    config = replace(make_config(tmp_path / "run"), cache_dir=str(tmp_path / "cache"), mentee=aside)
    probes = {"early": ["stages.0", "step"], "_adapter_": adapter, "_normalise_": adapter == "slice"}
    if mentor == "cached":
        assert warned(replace(config, probes={}), machine)[0] == []
    said, result = warned(replace(config, probes=probes), machine)
    (line,) = said
    assert "this mentee will not export: step: Col2Im" in line
    if mentor == "cached":
        assert "step: Col2Im" in exported(result, tmp_path / "bundle")


def test_the_users_own_settings_of_the_export_are_asked_about(
    make_config: MakeConfig, tmp_path: Path, machine: Machine
) -> None:
    config = replace(make_config(tmp_path / "run"), cache_dir=str(tmp_path / "cache"), mentee=FOLDING, probes={})
    (line,), result = warned(config, machine)
    assert "export.trainable=…" in line
    said, _ = warned(replace(config, export={"trainable": "head"}), machine)
    assert said == []  # nothing before the head needs a gradient
    assert exported(result, tmp_path / "bundle", trainable="head") == ""
    (line,), _ = warned(replace(config, export={"trainable": ["head.weight", "first.*"], "rewrite": "off"}), machine)
    assert "will not export with trainable=[head.weight,first.*] with rewrite=off: step: Col2Im" in line
    (line,), _ = warned(replace(config, export={"trainable": "heat"}), machine)
    assert "will not export with trainable=heat: " in line
    assert "Traceback" not in line


def test_a_setting_that_the_export_lacks_is_named_before_anything_else(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no setting 'export.trainabel'; did you mean 'trainable'\?"):
        check_settings(replace(make_config(tmp_path), export={"trainabel": "head"}))


@pytest.mark.parametrize(
    ("code", "out", "err", "answer"),
    [
        (0, '{"why": null, "left_out": null}\n', "", (True, Answer())),
        (0, '{"why": null, "left_out": "x: Atan"}\n', "", (True, Answer(None, "x: Atan"))),
        (1, 'a line\n{"why": "x: Resize", "left_out": null}\n', "", (True, Answer("x: Resize"))),
        (2, "", "W: noise\nerror: puts out logits of shape [10]\n", (True, Answer("puts out logits of shape [10]"))),
        (-11, "", "", (False, Answer("its preflight ended in signal 11"))),
        (1, "", "Traceback …\nModuleNotFoundError: No module named 'export'\n", (False, Answer())),
        (130, "", "stopped\n", (False, Answer())),
        (1, "what a network prints\n", "Traceback …\n", (False, Answer())),
        (2, "", "", (False, Answer())),
    ],
)
def test_what_a_preflight_answers(code: int, out: str, err: str, answer: tuple[bool, Answer]) -> None:
    assert read(code, out, err) == answer
