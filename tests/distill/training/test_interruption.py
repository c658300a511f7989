"""A run that is killed, stopped or breaks down, and goes on."""

import io
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.run import distill
from distill.schema import DistillConfig, FitConfig, LearningRateCurve, LossConfig, MenteeConfig, Optimizer
from distill.training.callbacks.checkpoints import LastCheckpoint
from distill.training.resume import damage, earlier
from mentor_mentee.data.batches import EpochBatches
from mentor_mentee.errors import UserError
from mentor_mentee.objective.loss_spec import SOFTMAX_LOSSES
from tests.waiting import wait_until

MakeConfig = Callable[..., DistillConfig]

CHILD = """
import io, pickle, sys, warnings
warnings.simplefilter("error")
from pathlib import Path
from rich.console import Console
from distill.machine import Machine
from distill.run import distill
config = pickle.loads(Path(sys.argv[1]).read_bytes())
distill(config, Machine(accelerator="cpu", threads=1, console=Console(file=io.StringIO())))
"""

FORGETFUL = """
import torch
from mentee.networks import PlainCNN

class Forgetful(PlainCNN):
    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes, (4, 6))
        self.dropout = torch.nn.Dropout(0.3)

    def forward(self, x):
        return self.head(self.dropout(self.features(x)).mean((2, 3)))
"""


def epoch_of(checkpoint: Path) -> int:
    """Always readable: the file is replaced as a whole."""
    return int(torch.load(checkpoint, weights_only=True)["epoch"])


def await_epoch(checkpoint: Path, epoch: int, alive: Callable[[], bool]) -> None:
    wait_until(lambda: checkpoint.exists() and epoch_of(checkpoint) >= epoch, alive, 0.002)


def test_ctrl_c_while_an_epochs_data_is_set_up(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning then fails in its own tidying up, which must not hide what it was."""
    begin, begun = DataLoader.__iter__, 0

    def interrupted(loader: DataLoader[Any]) -> Any:
        nonlocal begun
        begun += isinstance(loader.batch_sampler, EpochBatches)
        if begun == 4:
            raise KeyboardInterrupt
        return begin(loader)

    monkeypatch.setattr(DataLoader, "__iter__", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            distill(make_config(tmp_path, trainer=FitConfig(max_epochs=4, steps_per_epoch=2)), machine, mentor=mentor)
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on
    assert epoch_of(tmp_path / "last.ckpt") == 1


def test_a_killed_run_goes_on_to_the_very_bits_of_one_that_was_not(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mentee draws random numbers at each step (dropout), and they too must be those of the other run."""
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    monkeypatch.syspath_prepend(tmp_path)
    mentee = MenteeConfig(network={"_target_": "forgetful.Forgetful"})
    fit = FitConfig(max_epochs=40, steps_per_epoch=4, batch=16, learning_rate=5e-3)
    killed, whole = (make_config(tmp_path / name, trainer=fit, mentee=mentee) for name in ("killed", "whole"))
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(killed))
    command = [sys.executable, "-c", CHILD, str(tmp_path / "config.pickle")]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}."}) as child:
        await_epoch(tmp_path / "killed" / "last.ckpt", 3, lambda: child.poll() is None)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    reached = epoch_of(tmp_path / "killed" / "last.ckpt")
    assert 3 <= reached < 39
    assert not (tmp_path / "killed" / "mentee.safetensors").exists()
    (tmp_path / "killed" / "last.ckpt.partial").write_bytes(b"half a checkpoint")  # killed while it wrote

    resumed = distill(replace(killed, resume=True), machine, mentor=mentor)
    uninterrupted = distill(whole, machine, mentor=mentor)
    a, b = load_file(resumed.checkpoint_path), load_file(uninterrupted.checkpoint_path)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert without_time(resumed.history) == without_time(uninterrupted.history)
    assert [row["step"] for row in resumed.history] == [4.0 * (epoch + 1) for epoch in range(40)]


def without_time(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "ms_per_step"} for row in history]


@contextmanager
def interrupted_at(checkpoint: Path, epoch: int) -> Iterator[None]:
    """Ctrl-C, sent to this very process once the checkpoint of `epoch` is there."""
    inside = threading.Event()
    inside.set()

    def watch() -> None:
        await_epoch(checkpoint, epoch, inside.is_set)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        inside.clear()
        thread.join()
        signal.signal(signal.SIGINT, before)  # Lightning ignores further ones while it stops


def test_ctrl_c_is_a_keyboard_interrupt_and_leaves_the_last_checkpoint(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    fit = FitConfig(max_epochs=100_000, steps_per_epoch=2, batch=8)
    with pytest.raises(KeyboardInterrupt), interrupted_at(tmp_path / "last.ckpt", 3):
        distill(make_config(tmp_path, trainer=fit), machine, mentor=mentor)
    reached = epoch_of(tmp_path / "last.ckpt")
    assert 3 <= reached < 99_999
    assert not (tmp_path / "mentee.safetensors").exists()
    longer = replace(fit, max_epochs=reached + 2)
    found = distill(make_config(tmp_path, trainer=longer, resume=True), machine, mentor=mentor)
    assert [row["epoch"] for row in found.history] == list(range(reached + 2))


def test_a_finished_run_that_is_resumed_is_handed_over_again(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    first = distill(make_config(tmp_path), machine, mentor=mentor)
    written = load_file(first.checkpoint_path)
    first.checkpoint_path.unlink()  # killed after the last epoch, before the handing over
    again = distill(make_config(tmp_path, resume=True), machine, mentor=mentor)
    found = load_file(again.checkpoint_path)
    assert all(torch.equal(found[key], written[key]) for key in written)
    assert again.history == first.history
    assert again.checkpoint.accuracy == first.checkpoint.accuracy


def test_resume_without_a_checkpoint_is_an_error(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"nothing to resume: no checkpoint at '.*last\.ckpt'"):
        distill(make_config(tmp_path, resume=True), machine, mentor=mentor)


def inside_a_weight(checkpoint: Path) -> int:
    """A place in the file that is no padding between its parts."""
    head = torch.load(checkpoint, weights_only=True)["state_dict"]["student.mentee.head.weight"]
    return checkpoint.read_bytes().index(head.numpy().tobytes()) + 5


def test_resume_from_a_damaged_checkpoint_is_an_error_of_the_users(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    distill(make_config(tmp_path), machine, mentor=mentor)
    assert not earlier(tmp_path / "last.ckpt").exists()
    whole = (tmp_path / "last.ckpt").read_bytes()
    flipped = bytearray(whole)
    flipped[inside_a_weight(tmp_path / "last.ckpt")] ^= 1
    for damaged in (b"", whole[: len(whole) // 2], b"something else", bytes(flipped)):
        (tmp_path / "last.ckpt").write_bytes(damaged)
        with pytest.raises(UserError, match=r"last\.ckpt' cannot be resumed: it is damaged .*; start again") as error:
            distill(make_config(tmp_path, resume=True), machine, mentor=mentor)
        assert "\n" not in str(error.value)


def test_a_flipped_bit_anywhere_is_seen_or_changes_nothing(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    """torch reads such a file without a word: its sums are written and never looked at."""
    distill(make_config(tmp_path), machine, mentor=mentor)
    path, other = tmp_path / "last.ckpt", tmp_path / "flipped.ckpt"
    whole, right = path.read_bytes(), torch.load(path, weights_only=True)["state_dict"]
    chance, unseen_by_torch = random.Random(2), 0
    for place in [chance.randrange(len(whole)) for _ in range(150)]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << chance.randrange(8)
        other.write_bytes(flipped)
        try:
            read = torch.load(other, weights_only=True)["state_dict"]
            alike = all(torch.equal(read[name], right[name]) for name in right)
        except Exception:
            alike = False
        else:
            unseen_by_torch += not alike
        assert alike or damage(other) is not None, place
    assert unseen_by_torch


@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    how: str, make_config: MakeConfig, mentor: FoundMentor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = FitConfig(max_epochs=4, steps_per_epoch=2, batch=16)
    said = io.StringIO()
    machine = Machine("cpu", 1, Console(file=said, width=300))
    handler, epochs = signal.getsignal(signal.SIGINT), iter(range(100))
    with monkeypatch.context() as patch:
        save = LastCheckpoint.on_train_epoch_end

        def stopped(self: LastCheckpoint, *given: Any) -> None:
            save(self, *given)
            if next(epochs) == 2:
                raise KeyboardInterrupt

        patch.setattr(LastCheckpoint, "on_train_epoch_end", stopped)
        with pytest.raises(KeyboardInterrupt):
            distill(make_config(tmp_path / "mine", trainer=fit), machine, mentor=mentor)
    signal.signal(signal.SIGINT, handler)
    last = tmp_path / "mine" / "last.ckpt"
    assert (epoch_of(last), epoch_of(earlier(last))) == (2, 1)
    data = bytearray(last.read_bytes())
    data[inside_a_weight(last)] ^= 4
    last.write_bytes({"flipped": data, "cut": data[: len(data) // 2], "empty": b""}[how])
    resumed = distill(make_config(tmp_path / "mine", trainer=fit, resume=True), machine, mentor=mentor)
    assert "last.ckpt' is damaged (" in said.getvalue()
    assert "resumed from 'last.before.ckpt' beside it, one epoch earlier" in said.getvalue()
    whole = distill(make_config(tmp_path / "whole", trainer=fit), machine, mentor=mentor)
    a, b = load_file(resumed.checkpoint_path), load_file(whole.checkpoint_path)
    assert all(torch.equal(a[name], b[name]) for name in b)
    assert without_time(resumed.history) == without_time(whole.history)


def test_resume_into_another_network_is_an_error_of_the_users(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    distill(make_config(tmp_path), machine, mentor=mentor)
    other = MenteeConfig(network={"_target_": "mentee.networks.PlainCNN", "widths": [4, 8]})
    with pytest.raises(
        UserError,
        match=r"last\.ckpt' is of a run with mentee\.network\.widths = \[4, 6\], this one has \[4, 8\]; resume it",
    ):
        distill(make_config(tmp_path, mentee=other, resume=True), machine, mentor=mentor)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("trainer.learning_rate", {"trainer": FitConfig(max_epochs=3, steps_per_epoch=4, batch=16, learning_rate=0.5)}),
        ("schedule", {"schedule": {"_target_": "distill.schedules.independent", "representation": 0.5}}),
        ("seed", {"seed": 77}),
        ("data", {"data": {"_target_": "mentor_mentee.data.datasets.digits", "seed": 5}}),
        ("probes", {"probes": {"other": ["stages.0", "features.0"]}}),
        ("probes", {"probes": {"late": ["stages.1", "features.1"], "_adapter_": "regressor"}}),
    ],
)
def test_resume_under_other_settings_is_refused_and_names_the_setting(
    name: str, change: dict[str, object], make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path)
    distill(config, machine, mentor=mentor)
    before = (tmp_path / "last.ckpt").read_bytes()
    with pytest.raises(UserError, match=rf"is of a run with {name}(\.\w+)* = ") as error:
        distill(replace(config, resume=True, **change), machine, mentor=mentor)  # type: ignore[arg-type]
    assert re.search("[0-9a-f]{13}", str(error.value)) is None  # a fingerprint in full tells a reader nothing
    assert (tmp_path / "last.ckpt").read_bytes() == before


def test_resume_to_fewer_epochs_than_are_done_is_an_error_of_the_users(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    distill(make_config(tmp_path), machine, mentor=mentor)
    shorter = FitConfig(max_epochs=2, steps_per_epoch=4, batch=16)
    with pytest.raises(UserError, match=r"has done 3 epochs, more than trainer\.max_epochs=2"):
        distill(make_config(tmp_path, trainer=shorter, resume=True), machine, mentor=mentor)


def test_a_loss_that_blows_up_names_its_terms_and_keeps_the_checkpoint_before(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    fit = FitConfig(
        max_epochs=5,
        steps_per_epoch=1,
        batch=8,
        optimizer=Optimizer.sgd,
        learning_rate=1e30,
        warmup=0.0,
        curve=LearningRateCurve.constant,
    )
    with pytest.raises(
        UserError, match=r"the loss is nan at epoch 1, step 0, through ce and rmse_\w+.* and kl"
    ) as error:
        distill(make_config(tmp_path, trainer=fit), machine, mentor=mentor)
    assert "Knobs(alpha=" in str(error.value)
    assert "trainer.learning_rate" in str(error.value)
    assert epoch_of(tmp_path / "last.ckpt") == 0
    assert [row["name"] for row in json.loads((tmp_path / "probes.json").read_text())] == ["early", "late"]
    assert not (tmp_path / "mentee.safetensors").exists()


class WithInfinity(torch.nn.Module):
    """One weight of the head is infinite: the probes, before it, are not."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(in_channels, 4, 3, padding=1)
        self.head = torch.nn.Linear(4, num_classes)
        with torch.no_grad():
            self.head.weight[0, 0] = float("inf")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("softmax", SOFTMAX_LOSSES)
@pytest.mark.parametrize(("gamma", "through"), [(0.5, "ce and {}"), (0, "ce")])
def test_an_infinite_weight_is_found_at_the_first_step_and_only_the_terms_it_reaches_are_named(
    make_config: MakeConfig,
    mentor: FoundMentor,
    machine: Machine,
    constant_schedule: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    softmax: str,
    gamma: float,
    through: str,
) -> None:
    monkeypatch.setitem(sys.modules, "with_infinity", sys.modules[__name__])
    mentee = MenteeConfig(network={"_target_": "with_infinity.WithInfinity"}, head="head")
    config = make_config(
        tmp_path,
        mentee=mentee,
        probes={"early": ["stages.0", "conv"]},
        loss=LossConfig(softmax=softmax),
        schedule=constant_schedule | {"gamma": gamma},
    )
    with pytest.raises(UserError, match=rf"the loss is nan at epoch 0, step 0, through {through.format(softmax)} \("):
        distill(config, machine, mentor=mentor)
    assert not (tmp_path / "last.ckpt").exists()


def lines(machine: Machine, run: Callable[[Machine], Any]) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    run(replace(machine, console=console))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def test_where_there_is_no_terminal_a_run_says_a_few_lines(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    fit = FitConfig(max_epochs=10, steps_per_epoch=1, batch=8)
    said = lines(machine, lambda m: distill(make_config(tmp_path, trainer=fit), m, title="mine", mentor=mentor))
    assert (
        said[0]
        == "mine: α 1 → 0.75 → 0.5, β 2 → 1.25 → 0.5, γ 0.5 → 0.75 → 1, T 4 → 3 → 2 (first step, half way, last step)"
    )
    assert [line.split(",")[0] for line in said[1:]] == [f"mine: epoch {epoch}/10" for epoch in (2, 4, 6, 8, 10)]
