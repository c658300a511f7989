"""Networks of any origin put out float32 logits; their layers, their names and their weights are as they were."""

import copy
import pickle
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mentor.networks import ResidualNet
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.classifier import as_classifier, raw_output
from mentor_mentee.objective.probes import Probe, ProbedMentee
from mentor_mentee.objective.taps import Taps, evaluating, find_head, find_layer
from mentor_mentee.pairing.stages import layers

Named = namedtuple("Named", ["loss", "logits"])


class Wrapped(nn.Module):
    """A network whose output is made into something else."""

    def __init__(self, around: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net, self.around = ResidualNet(1, 3, (2, 4)), around

    def forward(self, x: Tensor) -> Any:
        return self.around(self.net(x))


def named(logits: Tensor) -> Any:
    return Named(None, logits)


OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda logits: logits,
    "dict": lambda logits: {"logits": logits},
    "model output": lambda logits: OrderedDict(loss=None, logits=logits),
    "object": lambda logits: SimpleNamespace(logits=logits, hidden_states=None),
    "named tuple": named,
    "tuple": lambda logits: (logits, logits * 2),
    "list": lambda logits: [logits],
}


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(4, 1, 8, 8)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_logits_are_taken_out_of_what_a_network_returns(kind: str, x: Tensor) -> None:
    network = Wrapped(OUTPUTS[kind]).eval()
    names, expected_BK = [*network.state_dict()], network.net(x)
    taken = as_classifier(as_classifier(network))  # the second time nothing is left to do
    assert taken is network
    assert [*taken.state_dict()] == names
    torch.testing.assert_close(taken(x), expected_BK, rtol=0, atol=0)
    assert find_head(taken, x) == "net.head"
    logits, outputs, _ = Taps(taken, outputs=["net.stem"])(x)
    torch.testing.assert_close(logits, expected_BK, rtol=0, atol=0)
    assert outputs["net.stem"].shape == (4, 2, 8, 8)
    torch.testing.assert_close(copy.deepcopy(taken)(x), expected_BK, rtol=0, atol=0)
    assert isinstance(raw_output(taken, x), Tensor) == (kind == "tensor")
    probed = ProbedMentee(taken, [], "net.head").eval()
    program = torch.export.export(probed, (x,), strict=False)
    torch.testing.assert_close(program.module()(x)[0], expected_BK)


def test_a_network_that_was_given_the_hook_can_be_pickled(x: Tensor) -> None:
    network = as_classifier(Wrapped(named).eval())
    torch.testing.assert_close(pickle.loads(pickle.dumps(network))(x), network(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("around", "message"),
    [
        (lambda y: {"out": y, "aux": y}, r"puts out dict \{'out': \[4, 3\], 'aux': \[4, 3\]\}"),
        (lambda y: (None, y), r"puts out tuple \(NoneType, \[4, 3\]\)"),
        (lambda y: SimpleNamespace(scores=y), "puts out SimpleNamespace"),
        (lambda y: 3, "puts out int"),
        (lambda y: None, "puts out NoneType"),
        (lambda y: [], r"puts out list \(\)"),
    ],
)
def test_what_has_no_logits_is_said_to_have_none(around: Callable[[Tensor], Any], message: str, x: Tensor) -> None:
    with pytest.raises(UserError, match=rf"^Wrapped {message}.*expected a tensor of logits"):
        as_classifier(Wrapped(around))(x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_it_is_said(dtype: torch.dtype, x: Tensor) -> None:
    torch.manual_seed(3)
    original = ResidualNet(1, 3, (2, 4)).eval().to(dtype)
    expected_BK = copy.deepcopy(original).float()(x)
    said: list[str] = []
    torch.testing.assert_close(as_classifier(original, said.append)(x), expected_BK, rtol=0, atol=0)
    assert said == [f"ResidualNet has {str(dtype).removeprefix('torch.')} weights; it answers and learns in float32"]


def test_compiled_networks_and_layers_are_unwrapped(x: Tensor) -> None:
    plain = ResidualNet(1, 3, (2, 4)).eval()
    names, expected_BK = [*plain.state_dict()], plain(x)
    inside = copy.deepcopy(plain)
    inside.stages[0] = torch.compile(inside.stages[0], backend="eager")  # type: ignore[assignment]
    inside.head.compile(backend="eager")
    whole = torch.compile(copy.deepcopy(plain), backend="eager")
    for network in (inside, whole):
        taken = as_classifier(network)  # type: ignore[arg-type]
        assert [*taken.state_dict()] == names
        logits, outputs, _ = Taps(taken, outputs=["stages.0", "head"])(x)
        torch.testing.assert_close(logits, expected_BK)
        torch.testing.assert_close(outputs["head"], expected_BK)
        assert all(getattr(module, "_compiled_call_impl", None) is None for module in taken.modules())


@pytest.fixture(params=["scripted", "traced"])
def torchscript(request: pytest.FixtureRequest, x: Tensor) -> Iterator[tuple[nn.Module, nn.Module]]:
    plain = ResidualNet(1, 3, (2, 4)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and in use
        yield plain, torch.jit.script(plain) if request.param == "scripted" else torch.jit.trace(plain, x)


def test_torchscript_answers_and_says_that_its_layers_cannot_be_read(
    torchscript: tuple[nn.Module, nn.Module], x: Tensor
) -> None:
    from mentor.mentor import Mentor

    plain, scripted = torchscript
    network = as_classifier(scripted)
    view = View((1, 8, 8), (0.5,), (0.25,))
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(
        Mentor(network, view).answer(images).logits, Mentor(plain, view).answer(images).logits, rtol=1e-4, atol=1e-5
    )
    for look in (
        lambda: find_head(network, x),
        lambda: find_layer(network, "head"),
        lambda: layers(network, x),
        lambda: Mentor(network, view, [Probe("p", "head", "head", None)]),  # type: ignore[arg-type]
    ):
        with pytest.raises(UserError, match=r"layers in TorchScript, where they cannot be read: .*probes=none"):
            look()
    with evaluating(network):
        assert not any(module.training for module in network.modules())
