"""Under `mentor.precision=auto` a mentor answers in bfloat16 only where that is faster and does no harm, in all runs alike."""

import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from distill.curves import read_schedule
from distill.machine import Machine
from distill.mentors import half
from distill.mentors.find import FoundMentor, require_accuracy
from distill.mentors.half import decided
from distill.prepare import prepare
from distill.run import distill
from distill.schema import DistillConfig, MentorConfig
from distill.training.resume import precision_before
from mentor.harm import Harm
from mentor.mentor import Answers, Mentor
from mentor_mentee.data.datasets import digits
from mentor_mentee.data.splits import Split
from mentor_mentee.errors import UserError

MakeConfig = Callable[..., DistillConfig]
AUTO = MentorConfig()
OPEN = {  # γ and T by the mentor's logits
    "_target_": "distill.schedules.piecewise",
    "alpha": [[0, 1.0]],
    "beta": None,
    "gamma": None,
    "temperature": None,
}


@pytest.fixture(scope="module")
def train() -> Split:
    return digits().train


@pytest.fixture
def heavy_and_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the network, and whatever bfloat16 takes on this machine. The tests' mentor is unsure of many samples."""
    monkeypatch.setattr(half, "HARMLESS", replace(half.HARMLESS, classes=0.1))
    monkeypatch.setattr(half, "WORTH", 0)
    monkeypatch.setattr(half, "FASTER", float("inf"))


class Counting(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.asked = network, 0

    def forward(self, image_BCHW: Tensor) -> Tensor:
        self.asked += len(image_BCHW)
        answer: Tensor = self.network(image_BCHW)
        return answer


def test_what_was_found_holds_for_every_run_of_a_cache(
    mentor: FoundMentor, train: Split, machine: Machine, tmp_path: Path, heavy_and_faster: None
) -> None:
    said = io.StringIO()
    telling = Machine("cpu", 1, Console(file=said, width=300))
    network = Counting(mentor.network)
    exact = Mentor(network, mentor.view)
    assert decided(AUTO, exact, train, telling, tmp_path) == "bf16-mixed"
    assert "mentor: answers in bf16-mixed: " in said.getvalue()
    assert network.asked == 256  # its twin in half precision is a copy
    assert decided(AUTO, exact, train, telling, tmp_path) == "bf16-mixed"
    assert network.asked == 256
    [kept] = (tmp_path / "precisions").iterdir()
    assert kept.name == f"{exact.fingerprint()[:32]}.json"
    kept.write_text(kept.read_text().replace("bf16-mixed", "32-true"))
    assert decided(AUTO, exact, train, machine, tmp_path) == "32-true"
    kept.write_text(kept.read_text()[:-9])
    assert decided(AUTO, exact, train, machine, tmp_path) == "bf16-mixed"
    assert json.loads(kept.read_text())["precision"] == "bf16-mixed"


def test_it_is_not_tried_where_there_is_nothing_to_gain(mentor: FoundMentor, train: Split, tmp_path: Path) -> None:
    network = Counting(mentor.network)
    exact = Mentor(network, mentor.view)
    cpu = Machine("cpu", 1, Console(file=io.StringIO()))
    assert decided(AUTO, exact, train, cpu, tmp_path) == "32-true"
    for given in ("32-true", "bf16-mixed", "16-mixed"):
        assert decided(replace(AUTO, precision=given), exact, train, cpu, tmp_path) == given
    assert network.asked == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("heavy_and_faster")
def test_it_is_not_tried_on_a_gpu_nor_of_a_sharded_mentor(mentor: FoundMentor, train: Split, tmp_path: Path) -> None:
    network = Counting(mentor.network)
    exact = Mentor(network, mentor.view)
    quiet = Console(file=io.StringIO())
    assert decided(AUTO, exact, train, Machine("gpu", 1, quiet), tmp_path) == "32-true"
    assert decided(replace(AUTO, shard=True), exact, train, Machine("cpu", 1, quiet), tmp_path) == "32-true"
    assert network.asked == 0


def test_a_machine_that_only_emulates_it_stays_with_float32(
    mentor: FoundMentor,
    train: Split,
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    heavy_and_faster: None,
) -> None:
    monkeypatch.setattr(half, "FASTER", 0)
    assert decided(AUTO, Mentor(mentor.network, mentor.view), train, machine, tmp_path) == "32-true"
    [kept] = (tmp_path / "precisions").iterdir()
    assert "of the time" in json.loads(kept.read_text())["why"]


class Flat(nn.Module):
    """One linear layer; what is made of its output is the subclass's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return self.made_of(self.layer(image_BCHW.flatten(1)))

    def made_of(self, value: Tensor) -> Tensor:
        return value


class Cancelling(Flat):
    """The logits are differences of large numbers: bfloat16 has none of their digits."""

    def made_of(self, value: Tensor) -> Tensor:
        return (value + 1000) - 1000


class Complex(Flat):
    """Makes complex numbers, which torch has no bfloat16 for."""

    def made_of(self, value: Tensor) -> Tensor:
        return torch.complex(value, value).real


class Asserting(Flat):
    def made_of(self, value: Tensor) -> Tensor:
        assert value.dtype == torch.float32, "float32 expected"
        return value


class Uncopied(Asserting):
    """Has what no copy can be made of."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.usefixtures("heavy_and_faster")
@pytest.mark.parametrize(
    ("network", "why"),
    [
        (Cancelling, "changes the class of"),
        (Complex, "bf16 fails: "),
        (Asserting, "bf16 fails: float32 expected"),
        (Uncopied, "bf16 fails: cannot pickle"),
    ],
)
def test_harm_and_failure_leave_it_in_float32(
    network: type[nn.Module], why: str, mentor: FoundMentor, train: Split, machine: Machine, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    assert decided(AUTO, Mentor(network(), mentor.view), train, machine, tmp_path) == "32-true"
    [kept] = (tmp_path / "precisions").iterdir()
    assert why in json.loads(kept.read_text())["why"]


@pytest.mark.usefixtures("heavy_and_faster")
def test_where_nothing_can_be_kept_it_stays_in_float32(
    mentor: FoundMentor, train: Split, machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()  # each run, and each of several processes, would find for itself
    assert decided(AUTO, Mentor(mentor.network, mentor.view), train, machine, tmp_path / "file") == "32-true"


@pytest.mark.usefixtures("heavy_and_faster")
@pytest.mark.parametrize(
    "content",
    [
        '{"precision": "fp8", "why": "x"}',
        '{"precision": "16-mixed", "why": "x"}',
        '{"precision": ["bf16-mixed"], "why": "x"}',
        '{"precision": "32-true", "why": 7}',
        '{"precision": "32-true", "why": "x\\u001b[31m"}',
        '{"precision": "32-true"}',
        "null",
        "[" * 100_000,
    ],
)
def test_what_it_never_finds_is_not_believed(
    content: str, mentor: FoundMentor, train: Split, machine: Machine, tmp_path: Path
) -> None:
    exact = Mentor(mentor.network, mentor.view)
    kept = tmp_path / "precisions" / f"{exact.fingerprint()[:32]}.json"
    kept.parent.mkdir()
    kept.write_text(content)
    assert decided(AUTO, exact, train, machine, tmp_path) == "bf16-mixed"
    assert json.loads(kept.read_text())["precision"] == "bf16-mixed"


@pytest.mark.usefixtures("heavy_and_faster")
@pytest.mark.parametrize("layer", [0.05, 0.0])
def test_a_run_compares_layers_in_half_precision_unless_that_harms_one(
    layer: float, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half, "HARMLESS", replace(half.HARMLESS, layer=layer))
    said = io.StringIO()
    config = make_config(tmp_path / "run")
    run = prepare(config, read_schedule(config.schedule), Machine("cpu", 1, Console(file=said, width=300)))
    assert run.found is not None
    assert run.mentor is not None
    expected = "bf16-mixed" if layer else "32-true"
    assert run.found.precision == run.mentor.precision == expected
    assert ("in float32 after all: bf16-mixed is" in said.getvalue()) == (not layer)
    images = run.splits.train.images[:64]
    as_asked = run.found.mentor(run.mentor.probes).answer(images)
    assert torch.equal(as_asked.activations["early"], run.mentor.answer(images).activations["early"])
    whole = replace(run.found, precision="32-true").mentor(run.mentor.probes).answer(images)
    assert torch.equal(whole.activations["early"], as_asked.activations["early"]) == (not layer)


def test_a_run_goes_on_in_its_precision_whatever_is_found_by_then(
    make_config: MakeConfig, mentor: FoundMentor, machine: Machine, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run")
    config = replace(config, trainer=replace(config.trainer, max_epochs=1))
    distill(replace(config, mentor=replace(config.mentor, precision="bf16-mixed")), machine)
    longer = replace(config, trainer=replace(config.trainer, max_epochs=2), resume=True)
    for given in (None, mentor):
        assert (distill(longer, machine, mentor=given).checkpoint.mentor or {})["precision"] == "bf16-mixed"
    full = replace(longer, mentor=replace(longer.mentor, precision="32-true"))
    with pytest.raises(UserError, match=r"is of a run with mentor.*; resume it with the settings it began with"):
        distill(full, machine)


@pytest.mark.usefixtures("heavy_and_faster")
def test_a_run_that_went_back_to_float32_can_go_on_and_says_its_accuracy(
    make_config: MakeConfig, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half, "HARMLESS", replace(half.HARMLESS, layer=0.0))
    config = make_config(tmp_path / "run", cache_dir=str(tmp_path / "cache"), schedule=OPEN)
    config = replace(config, trainer=replace(config.trainer, max_epochs=1))
    distill(config, machine)
    longer = replace(config, trainer=replace(config.trainer, max_epochs=2), resume=True)
    run = prepare(longer, read_schedule(longer.schedule, layers=True), machine)
    assert run.found is not None
    exact = require_accuracy(run.found.mentor(), longer.mentor, run.splits, "mentor", machine, tmp_path / "cache")
    assert run.found.precision == "32-true"
    assert run.found.val_accuracy == exact
    assert len(distill(longer, machine).history) == 2


@pytest.mark.parametrize("content", [{"run": {"mentor.precision": "fp8"}}, {"run": None}, {}])
def test_a_checkpoint_that_cannot_say_its_precision_is_refused(content: dict[str, object], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last\.ckpt' cannot be resumed: "):
        precision_before(tmp_path / "last.ckpt")


def test_a_checkpoint_of_before_is_of_float32(tmp_path: Path) -> None:
    torch.save({"run": {"seed": "1"}}, tmp_path / "last.ckpt")
    assert precision_before(tmp_path / "last.ckpt") == "32-true"


def test_harm_by_hand() -> None:
    logits = torch.zeros(4, 2)
    logits[:, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    exact = Answers(logits, {"early": torch.ones(4, 3)})
    turned = logits.clone()
    turned[0] = torch.tensor([0.0, 0.1])
    moved = float(logits.softmax(1)[0, 0] - turned.softmax(1)[0, 0])
    found = Answers(turned, {"early": torch.full((4, 3), 1.1)})
    most = Harm(classes=0.25, worst=moved + 1e-6, mean=moved / 4 + 1e-6, layer=0.1 + 1e-6)
    assert most.of(exact, found) is None
    assert replace(most, classes=0.24).of(exact, found) == "changes the class of 1 sample of 4"
    assert replace(most, worst=moved - 1e-3).of(exact, found) == f"moves a probability by {moved:.3f}"
    assert replace(most, mean=moved / 4 - 1e-3).of(exact, found) == f"moves probabilities by {moved / 4:.3f} on average"
    assert replace(most, layer=0.09).of(exact, found) == "is 10.0% off at the probe early"
    assert most.of(exact, found._replace(logits=torch.full((4, 2), float("nan")))) is not None
