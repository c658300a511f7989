"""Preflight says what an export would meet; what no graph can be made of is one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.cli.preflight import preflight as command
from export.network.checks import require_exportable
from export.preflight import look, preflight
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.errors import UserError


class Whole(nn.Module):
    """No gradient on the device, and nothing that takes its place."""

    def __init__(self, function: Callable[[Tensor], Tensor] = torch.round) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Hardswish())
        self.up = nn.Sequential(nn.ConvTranspose2d(4, 4, 2, 2), Whole())
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.up(self.first(x)).mean((2, 3)))  # type: ignore[no-any-return]


def test_each_operator_is_named_with_its_module_and_what_would_be_done() -> None:
    found = preflight(Net(), (1, 6, 6), backend="ort-training")
    assert [(finding.module, finding.op, finding.kind) for finding in found.findings] == [
        ("first.1", "HardSwish", "Hardswish"),
        ("up.0", "ConvTranspose", "ConvTranspose2d"),
        ("up.1", "Round", "Whole"),
    ]
    assert not found.trains
    head, first, second, third, verdict = found.lines()
    assert head.startswith("Net: 123 parameters, 123 of them trainable; head 'head', embedding of 4")
    assert first.startswith("first.1: HardSwish (Hardswish, test_preflight.py:")
    assert first.endswith("-> x · clip(x + 3, 0, 6) / 6")
    assert second.startswith("up.0: ConvTranspose (ConvTranspose2d, test_preflight.py:")
    assert "Round has no gradient" in third
    assert verdict == "it will not export: 1 operator cannot be differentiated"


class Bent(Net):
    """An atan, which ONNX Runtime Training has no gradient of, and a transposed convolution, which it is rewritten for."""

    def __init__(self) -> None:
        super().__init__()
        self.up[1] = Whole(torch.atan)


def test_each_kind_of_graphs_has_its_own_verdict_and_reasons() -> None:
    found = look(Bent(), (1, 6, 6))
    assert found.trains
    lines = found.lines()
    assert lines[1] == (
        "ort-training (ONNX Runtime Training 1.19.2): does not train: 1 operator cannot be differentiated"
    )
    assert [line.split(" (")[0] for line in lines[2:5]] == [
        "  first.1: HardSwish",
        "  up.0: ConvTranspose",
        "  up.1: Atan",
    ]
    assert "Atan has no gradient" in lines[4]
    assert lines[5:] == [
        "stock (any ONNX Runtime since 1.17): trains; nothing needs a rewrite",
        "it will export for stock alone",
    ]
    assert found.why() is None
    assert (found.left_out or "").startswith("ort-training is left out: up.1: Atan (Whole, test_preflight.py:")


def test_what_is_asked_for_decides() -> None:
    both, stock = (preflight(Bent(), (1, 6, 6), backend=backend) for backend in ("both", "stock"))
    assert (both.trains, both.verdict()) == (False, "it will not export with backend=both")
    assert "up.1: Atan" in str(both.why())
    assert (stock.trains, stock.verdict()) == (True, "it will export; nothing needs a rewrite")


def test_what_neither_differentiates_is_said_once() -> None:
    network = Net()
    network.up[1] = Whole(lambda x: F.fold(F.unfold(x, 2, stride=2), (8, 8), 2, stride=2))
    found = preflight(network, (1, 6, 6))
    assert (found.trains, found.verdict(), found.left_out) == (False, "it will not export", None)
    assert str(found.why()).startswith("up.1: Col2Im (Whole, test_preflight.py:")
    assert str(found.why()).endswith(
        "Col2Im has no gradient; use another layer there, or freeze every parameter before it"
    )


def test_nothing_before_the_first_trained_layer_needs_a_gradient() -> None:
    network = Net()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    found = preflight(network, (1, 6, 6))
    assert found.findings == []
    assert found.trainable == 15
    assert found.lines()[-1] == "it will export for ort-training and stock"


@pytest.mark.parametrize(("count", "said"), [(1, "1 operator is rewritten"), (2, "2 operators are rewritten")])
def test_operators_are_counted_in_english(count: int, said: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), *[nn.Hardswish() for _ in range(count)], nn.Flatten(), nn.Linear(64, 3))
    assert preflight(network, (1, 6, 6), backend="ort-training").verdict() == f"it will export; {said}"


def test_what_is_chosen_to_train_decides_what_needs_a_gradient(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = preflight(Net(), (1, 6, 6), trainable="up.0.*", backend="ort-training")
    assert [finding.module for finding in found.findings] == ["up.0", "up.1"]
    monkeypatch.setattr("sys.argv", ["export"])
    given = [f"network._target_={__name__}.Net", "shape=[1,6,6]", "backend=ort-training"]
    assert command(given) == 1
    assert command([*given, "trainable=head"]) == 0
    assert "Net: 123 parameters, 15 of them trainable; head 'head'" in capsys.readouterr().out


def test_weights_of_another_type_are_named() -> None:
    x = torch.zeros(2, 1, 6, 6)
    network = Net()
    network.up.half()
    with pytest.raises(UserError, match=r"parameter 'up\.0\.weight' of Net is float16; expected float32"):
        require_exportable(network, x)
    with pytest.raises(UserError, match=r"parameter 'first\.0\.weight' of Net is float64"):
        require_exportable(Net().double(), x)
    network = Net()
    network.register_buffer("scale", torch.ones(1, dtype=torch.float64))
    with pytest.raises(UserError, match="buffer 'scale' of Net is float64"):
        require_exportable(network, x)


def test_tied_weights_are_named_by_both_names() -> None:
    network = Net()
    network.other = nn.Linear(4, 3)
    network.other.weight = network.head.weight
    with pytest.raises(UserError, match=r"'head\.weight' and 'other\.weight' of Net are one \(tied weights\)"):
        require_exportable(network, torch.zeros(2, 1, 6, 6))


class Odd(Net):
    def __init__(self, after: str) -> None:
        super().__init__()
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        odd = {"complex": lambda: y.to(torch.complex64), "pair": lambda: (y, y), "map": lambda: y[:, :, None]}
        return odd[self.after]()  # type: ignore[no-any-return,operator]


@pytest.mark.parametrize(
    ("after", "said"),
    [("complex", "complex64 of shape"), ("pair", "puts out a tuple"), ("map", r"of shape \[2, 3, 1\]")],
)
def test_an_output_that_is_no_logits_is_an_error(after: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        require_exportable(Odd(after), torch.zeros(2, 1, 6, 6))


def test_samples_of_another_shape_are_an_error_with_the_networks_own_reason() -> None:
    with pytest.raises(UserError, match=r"Net does not run on samples of shape \[3, 6, 6\]: .*channels"):
        require_exportable(Net(), torch.zeros(2, 3, 6, 6))


class Unused(Net):
    def __init__(self) -> None:
        super().__init__()
        self.forgotten = nn.Linear(2, 2)


def test_a_parameter_without_a_part_in_it_is_named() -> None:
    with pytest.raises(
        UserError, match=r"2 of the mentee's parameters take no part.*forgotten\.bias, forgotten\.weight"
    ):
        preflight(Unused(), (1, 6, 6))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "preflight looks at one model"),
        (["shap=[1,2,2]"], "no setting 'shap'; did you mean 'shape'?"),
        (["network._target_=mentee.networks.PlainCNN", "shape=[1,8,8]"], "needs in_channels, num_classes"),
        (["network._target_=mentee.networks.PlianCNN", "shape=[1,8,8]"], "did you mean 'PlainCNN'"),
        (["network._target_=mentee.networks.PlainCNN"], "expected the sizes of one sample"),
        (["checkpoint=a.safetensors", "rewrite=of"], "rewrite=of; did you mean 'off'?"),
        (["checkpoint=a.safetensors", "shape=[1,8,8]"], "a checkpoint says its own"),
        (["checkpoint=a.safetensors", "trainable=last2"], "expected last:<n>"),
        (["network._target_=tests.export.cli.test_preflight.Net", "shape=[1,6,6]", "trainable=haed"], "mean 'head'?"),
    ],
)
def test_a_slip_on_the_command_line_is_one_line(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["export"])
    with pytest.raises(SystemExit) as ended:
        command(argv)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in error
    assert error.count("\n") == 1


def test_the_command_looks_at_a_checkpoint_and_writes_nothing(
    checkpoint: MenteeCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["export"])
    checkpoint.save(tmp_path / "mentee.safetensors")
    monkeypatch.chdir(tmp_path)
    assert command([f"checkpoint={tmp_path / 'mentee.safetensors'}"]) == 0
    assert capsys.readouterr().out.endswith("it will export for ort-training and stock\n")
    assert [path.name for path in tmp_path.iterdir()] == ["mentee.safetensors"]
