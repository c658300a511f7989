"""Which layers train and which are in eval mode is for the network's own `train()` to say, in every epoch."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.run import distill
from distill.schema import DistillConfig, MenteeConfig, MentorConfig, TransferConfig

MakeConfig = Callable[..., DistillConfig]
HERE = "tests.distill.training.test_modes"
ALONE = {"_target_": "distill.schedules.constant", "alpha": 1.0, "beta": 0.0, "gamma": 0.0, "temperature": 1.0}


class Plain(nn.Module):
    """BatchNorm and dropout: both of the layers that differ between the modes."""

    interrupt_after = -1  # forward passes in training mode

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3)
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.conv.training:
            Plain.interrupt_after -= 1
            if Plain.interrupt_after == 0:
                raise KeyboardInterrupt
        logits: Tensor = self.head(self.drop(F.relu(self.norm(self.conv(x))).mean((2, 3))))
        return logits


class NormEval(Plain):
    def train(self, mode: bool = True) -> "NormEval":
        super().train(mode)
        self.norm.eval()
        return self


class FixedNorm(Plain):
    """The reference for `NormEval`: there is no mode that its norm heeds."""

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        y = F.batch_norm(
            self.conv(x), norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.1, norm.eps
        )
        logits: Tensor = self.head(self.drop(F.relu(y).mean((2, 3))))
        return logits


class Inside(nn.Module):
    """The override is of a part, not of the root."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.body, self.head = NormEval(8), nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


class NeverTrains(Plain):
    def train(self, mode: bool = True) -> "NeverTrains":
        super().train(False)
        return self


def pretrained() -> nn.Module:
    return Plain().eval()


def half_pretrained() -> nn.Module:
    network = Plain()
    network.norm.eval()
    return network


@pytest.fixture
def trained(
    make_config: MakeConfig, mentor: FoundMentor, tmp_path: Path
) -> Callable[..., tuple[dict[str, Tensor], str]]:
    """`trained("Plain")`: the tensors after three epochs with validation in each, and what was printed."""

    def run(name: str, folder: str = "", **changes: Any) -> tuple[dict[str, Tensor], str]:
        said = io.StringIO()
        mentee = MenteeConfig(network={"_target_": f"{HERE}.{name}"})
        config = make_config(tmp_path / (folder or name), mentee=mentee, probes={}, schedule=ALONE)
        console = Console(file=said, width=1000)
        result = distill(replace(config, **changes), Machine("cpu", 1, console), mentor=mentor)
        return load_file(result.checkpoint_path), said.getvalue()

    return run


Trained = Callable[..., tuple[dict[str, Tensor], str]]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_norm_that_train_keeps_in_eval_mode_is_not_trained(trained: Trained) -> None:
    """Bit for bit the training of a network whose norm knows no mode, although its dropout is active."""
    found, said = trained("NormEval")
    assert "NormEval's train() keeps norm in eval mode" in said
    assert float(found["norm.running_mean"].abs().max()) == 0
    assert int(found["norm.num_batches_tracked"]) == 0
    assert same(found, trained("FixedNorm")[0])


def test_a_part_may_override_train_as_well(trained: Trained) -> None:
    found, said = trained("Inside")
    assert "keeps body.norm in eval mode" in said
    assert int(found["body.norm.num_batches_tracked"]) == 0


@pytest.mark.parametrize("factory", ["pretrained", "half_pretrained"])
def test_a_factory_that_returns_eval_mode_trains_as_another(trained: Trained, factory: str) -> None:
    found, said = trained(factory)
    plain, nothing_said = trained("Plain")
    assert int(plain["norm.num_batches_tracked"]) == 12  # 3 epochs of 4 steps
    assert same(found, plain)
    assert ("norm of Plain came in eval mode and train now" in said) == (factory == "half_pretrained")
    assert "eval mode" not in nothing_said


def test_a_network_that_stays_in_eval_mode_is_warned_of(trained: Trained) -> None:
    found, said = trained("NeverTrains")
    assert "warning: mentee.network: the train() of NeverTrains leaves it in eval mode" in said
    assert int(found["norm.num_batches_tracked"]) == 0


@pytest.mark.parametrize("name", ["NormEval", "pretrained"])
def test_a_resumed_run_is_in_the_same_modes(trained: Trained, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = trained(name)
    monkeypatch.setattr(Plain, "interrupt_after", 10)  # in the third epoch
    with pytest.raises(KeyboardInterrupt):
        trained(name, "stopped")
    assert same(trained(name, "stopped", resume=True)[0], whole)


def test_a_mentor_trains_and_is_transferred_by_the_same_rule(make_config: MakeConfig, tmp_path: Path) -> None:
    """Trained whole it trains its norm; under a new head alone the norm is in eval mode, whatever the network came in."""
    from safetensors.torch import save_file

    from distill.mentors.find import find_mentor
    from mentor_mentee.data.load import load_data

    torch.manual_seed(0)
    weights = tmp_path / "seven.safetensors"
    save_file(Plain(7).state_dict(), weights)
    config = make_config(tmp_path)
    splits, machine = load_data(config.data), Machine("cpu", 1, Console(file=io.StringIO()))

    def batches_seen(**changes: Any) -> int:
        network = {"_target_": f"{HERE}.Plain"}
        about = MentorConfig(network=network, fit=replace(config.mentor.fit, max_epochs=1), least_accuracy=0, **changes)
        found = find_mentor(about, splits, tmp_path / "cache", machine)
        return int(next(v for k, v in found.network.state_dict().items() if k.endswith("num_batches_tracked")))

    assert batches_seen() == 29  # 900 samples in batches of 32
    assert batches_seen(weights=str(weights), transfer=TransferConfig(epochs=1)) == 0
