"""Parametrised weights are baked in: the same logits, plain names, what was frozen stays frozen, whatever the kind."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from export.network.layers.plain import bake_in, parametrised
from export.preflight import look


class Positive(nn.Module):
    """A user's own parametrisation."""

    def forward(self, w: Tensor) -> Tensor:
        return w.abs()


def own(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Positive())
    return layer


def pruned(layer: nn.Module) -> nn.Module:
    prune.l1_unstructured(layer, "weight", 0.4)  # type: ignore[no-untyped-call]
    prune.random_structured(layer, "weight", 0.3, dim=0)  # type: ignore[no-untyped-call]
    return layer


def old(name: str) -> Callable[[nn.Module], nn.Module]:
    def apply(layer: nn.Module) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch advises the new one; people's code has the old
            made: nn.Module = getattr(nn.utils, name)(layer)
        return made

    return apply


def both(layer: nn.Module) -> nn.Module:
    return parametrizations.spectral_norm(parametrizations.weight_norm(layer))


KINDS: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "weight norm": (parametrizations.weight_norm, "weight_norm is baked in"),
    "old weight norm": (old("weight_norm"), "weight_norm is baked in"),
    "spectral norm": (parametrizations.spectral_norm, "spectral_norm is baked in"),
    "old spectral norm": (old("spectral_norm"), "spectral_norm is baked in"),
    "orthogonal": (parametrizations.orthogonal, "orthogonal is baked in"),
    "pruning": (pruned, "pruning is baked in, and on the device its zeros train as any other weight"),
    "two": (both, "weight_norm and spectral_norm is baked in"),
    "a user's own": (own, "Positive is baked in"),
}
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Linear": (lambda: nn.Linear(4, 4), (4,)),
    "Conv1d": (lambda: nn.Conv1d(4, 4, 3), (4, 9)),
    "Conv2d": (lambda: nn.Conv2d(4, 4, 3, bias=False), (4, 5, 5)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 4, 3), (4, 5, 5)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", LAYERS)
def test_each_kind_on_each_layer(kind: str, layer: str) -> None:
    apply, said = KINDS[kind]
    make, shape = LAYERS[layer]
    torch.manual_seed(0)
    network = nn.Sequential(apply(make()), nn.ReLU())
    x = torch.randn(3, *shape)
    network.train()
    network(x)  # a power iteration of spectral norm
    expected = network.eval()(x).detach()
    frozen = (
        nn.Sequential(copy.deepcopy(network[0])) if kind not in OLD else None
    )  # shares a class with the one it copies
    plain = make().state_dict().keys()
    (line,) = bake_in(network)
    assert line.startswith(said)
    assert line.endswith(": 0.weight")
    assert torch.equal(network(x), expected)
    assert {name.removeprefix("0.") for name in network.state_dict()} == set(plain)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in network.parameters())
    assert bake_in(copy.deepcopy(network)) == []  # a deep copy works again
    if frozen is not None:
        frozen.requires_grad_(False)
        bake_in(frozen)
        assert [parameter.requires_grad for parameter in frozen.parameters()] == [False] * len(plain)


OLD = {"old weight norm", "old spectral norm", "pruning"}  # torch cannot copy these


def test_a_recurrent_layers_own_list_of_weights_has_the_new_one() -> None:
    rnn = nn.GRU(3, 4)
    parametrizations.weight_norm(rnn, "weight_hh_l0")
    bake_in(rnn)
    assert rnn._flat_weights[1] is rnn.weight_hh_l0
    assert isinstance(rnn.weight_hh_l0, nn.Parameter)


class Normed(nn.Module):
    """Each kind, one of them before a BatchNorm, and a lazy head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv2d(1, 8, 3, padding=1, bias=False))
        self.norm = nn.BatchNorm2d(8)
        self.second = pruned(nn.Conv2d(8, 8, 3, padding=1))
        self.third = old("spectral_norm")(nn.Conv2d(8, 8, 3, padding=1))
        self.head = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        return self.head((y + self.third(torch.relu(self.second(y)))).mean((2, 3)))  # type: ignore[no-any-return]


def test_they_are_folded_into_traced_and_proved_as_plain_weights() -> None:
    found = look(Normed(), (1, 8, 8), backend="ort-training")
    assert found.trains
    assert found.trainable == found.parameters == 80 + 2 * 584 + 27
    assert "conv.weight" in found.traced.trainable
    assert [line.split(" is ")[0] for line in found.lines() if "baked in" in line] == [
        *("weight_norm", "pruning", "spectral_norm")
    ]
    assert not [path for path, module in found.traced.graph.student.mentee.named_modules() if parametrised(module)]
