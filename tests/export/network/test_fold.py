"""A network whose BatchNorm is folded away puts out what torch's eval mode does, and trains what it trained."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18

from export.network.fold import BATCH_NORMS, ChannelAffine, foldable_pairs, freeze_batch_norm


def lived_in(network: nn.Module, seed: int = 0) -> nn.Module:
    """Running statistics and affine weights that are nobody's default, so that leaving any of them out shows."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.copy_(torch.randn(module.num_features, generator=random) * 0.3)
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=random))
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=random)
                nn.init.uniform_(module.bias, -0.5, 0.5, generator=random)
    return network.eval()


class AfterAdd(nn.Module):
    """BatchNorm on a sum: no layer it could be folded into."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.a(x) + self.b(x)).flatten(1)  # type: ignore[no-any-return]


class FeedsTwo(nn.Module):
    """The convolution feeds its BatchNorm and a shortcut, which must not see the scale."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return (self.bn(y) + y).flatten(1)


class Twice(nn.Module):
    """One convolution and one BatchNorm, both run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(torch.relu(self.bn(self.conv(x))))).flatten(1)  # type: ignore[no-any-return]


class Branching(nn.Module):
    """A network that fx cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        return (y * 2 if x.sum() > 0 else y).flatten(1)


class Aliased(nn.Module):
    """A layer and its BatchNorm under two names each, the forward using the later one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.features = nn.Sequential(self.first, self.norm, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).flatten(1)  # type: ignore[no-any-return]


IMAGE = (3, 8, 8)
CASES = {
    "conv then BatchNorm": (nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)), IMAGE, 0),
    "conv with bias": (nn.Sequential(nn.Conv2d(3, 4, 3, 2, groups=1), nn.BatchNorm2d(4), nn.ReLU(True)), IMAGE, 0),
    "linear then BatchNorm": (nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), (6,), 0),
    "one-dimensional conv": (nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)), (2, 9), 0),
    "BatchNorm before conv": (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), IMAGE, 1),
    "a ReLU in between": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), IMAGE, 1),
    "no affine, folded": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), IMAGE, 0),
    "no affine, after linear": (nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, affine=False)), (6,), 1),
    "no affine, alone": (nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Flatten()), IMAGE, 1),
    "after an addition": (AfterAdd(), IMAGE, 1),
    "the layer feeds two": (FeedsTwo(), IMAGE, 1),
    "run twice": (Twice(), IMAGE, 1),
    "not traceable": (Branching(), IMAGE, 1),
    "under two names": (Aliased(), IMAGE, 0),
    "resnet18": (resnet18(weights=None, num_classes=5), (3, 32, 32), 0),
    "mobilenet_v2": (mobilenet_v2(weights=None, num_classes=5), (3, 32, 32), 0),
}


@pytest.mark.parametrize("case", CASES)
def test_the_logits_are_those_of_eval_mode(case: str) -> None:
    network, shape, affines = CASES[case]
    network = lived_in(network)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    example = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(example.double())
        frozen = freeze_batch_norm(network)
        seen = frozen(example)
        again = frozen.train()(example)  # nothing is left that training mode would change, Dropout aside
    assert float((seen - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))
    kinds = [type(module) for module in frozen.modules()]
    assert not set(kinds) & set(BATCH_NORMS)
    assert kinds.count(ChannelAffine) == affines
    assert case == "mobilenet_v2" or torch.equal(seen, again)
    now = network.state_dict()
    assert now.keys() == state.keys()
    assert all(torch.equal(now[key], value) for key, value in state.items())


def test_every_batch_norm_of_resnet18_is_folded_into_its_own_convolution() -> None:
    network = resnet18(weights=None)
    named = {path for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    pairs = dict(foldable_pairs(network))
    assert set(pairs.values()) == named
    assert all(layer.replace("conv", "bn") == norm for layer, norm in pairs.items() if "downsample" not in layer)


def test_a_tapped_layer_keeps_its_own_output_and_the_logits_stay() -> None:
    network = lived_in(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)))
    example = torch.randn(4, *IMAGE)
    with torch.no_grad():
        own, logits = network[0](example), network(example)  # type: ignore[operator]
        partly, folded = freeze_batch_norm(network, {"0"}), freeze_batch_norm(network)
        assert torch.equal(partly.get_submodule("0")(example), own)
        assert isinstance(partly.get_submodule("1"), ChannelAffine)
        torch.testing.assert_close(partly(example), logits, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(folded.get_submodule("0")(example), own)  # so the tap does make a difference


def test_a_batch_norm_that_uses_the_batch_in_eval_mode_as_well_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    example = torch.randn(4, *IMAGE)
    frozen = freeze_batch_norm(network)
    assert isinstance(frozen.get_submodule("1"), nn.BatchNorm2d)
    assert torch.equal(frozen(example), network(example))


def trainable(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_what_is_made_new_is_as_trainable_as_what_it_was_made_of() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    assert trainable(freeze_batch_norm(network)) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    network[0].requires_grad_(False)
    assert trainable(freeze_batch_norm(network)) == {"3.weight", "3.bias"}
    network[3].requires_grad_(False)
    assert trainable(freeze_batch_norm(network)) == set()
    without = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 4, 3))
    assert trainable(freeze_batch_norm(without)) == {"1.weight", "1.bias"}


class Stemmed(nn.Module):
    """The BatchNorm stands behind the container that a probe reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3))
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.bn(self.stem(x)).mean((2, 3)))
        return logits


def test_a_tapped_container_keeps_its_own_output() -> None:
    net = lived_in(Stemmed())
    x = torch.randn(3, 1, 8, 8)
    for tapped, same in ((("stem",), True), ((), False)):
        frozen = freeze_batch_norm(net, tapped)
        torch.testing.assert_close(frozen(x), net.eval()(x))
        assert torch.allclose(frozen.get_submodule("stem")(x), net.stem(x), atol=1e-6) is same
