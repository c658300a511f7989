"""A network must put out [B, K] for every B, the same for a sample whoever stands beside it; what does not is one line."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from export.network.batch_norm import with_batch_norm
from export.network.checks import batches_for, influence, require_backward, require_exportable, require_independent
from export.network.for_device import held
from mentor_mentee.errors import UserError

SHAPE = (1, 4, 4)
Forward = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """A convolution, whatever `between` makes of its map, a linear head."""

    def __init__(self, between: Forward, inputs: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.attention = nn.MultiheadAttention(4, 2)
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)
        self.register_buffer("seen", torch.zeros(()))
        self.head = nn.Linear(inputs, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self, self.conv(x)))  # type: ignore[no-any-return]


def keeping_state(net: Net, y: Tensor) -> Tensor:
    net.seen = net.seen + 1
    return y.mean((2, 3)) + net.seen


BATCHED: dict[str, tuple[Net, str]] = {
    "squeeze": (
        Net(lambda _, y: F.adaptive_avg_pool2d(y, 1).squeeze()),
        "shape [3] for 1, [2, 3] for 2, [5, 3] for 5 samples; expected [B, 3] for any batch B: where it has squeeze(), "
        "which drops a batch of one, write flatten(1)",
    ),
    "a fixed batch": (Net(lambda _, y: y.reshape(8, -1), 64), "does not run on a batch of 1: "),
    "dropped rows": (
        Net(lambda _, y: y.mean((2, 3))[:2]),
        "float32 of shape [2, 3] for 8 samples; expected float32 logits [8, K]",
    ),
    "a root of what is negative": (
        Net(lambda _, y: y.log().mean((2, 3))),
        "logits that are not finite on random samples",
    ),
}
TOGETHER: dict[str, tuple[Net, str]] = {
    "attention over the batch": (
        Net(lambda net, y: net.attention(*[y.flatten(2).transpose(1, 2)] * 3, need_weights=False)[0].mean(1)),
        "its samples influence one another; expected each to stand alone: ",
    ),
    "a norm over the batch": (Net(lambda net, y: net.norm(y).relu().mean((2, 3))), "its samples influence one another"),
    "the batch's mean": (Net(lambda _, y: (y - y.mean(0)).relu().mean((2, 3))), "its samples influence one another"),
    "dropout in eval mode": (Net(lambda _, y: F.dropout(y, 0.5, True).mean((2, 3))), "it draws at random in eval mode"),
    "noise": (Net(lambda _, y: (y + torch.rand(())).mean((2, 3))), "it draws at random in eval mode"),
    "a state": (Net(keeping_state), "or keeps a state"),
}


@pytest.mark.parametrize("name", BATCHED)
def test_logits_that_are_not_one_row_a_sample_are_one_line(name: str) -> None:
    network, said = BATCHED[name]
    with pytest.raises(UserError, match=re.escape(said)) as told:
        require_exportable(network, torch.randn(8, *SHAPE))
    assert "\n" not in str(told.value)


def overwritten_sigmoid(net: Net, y: Tensor) -> Tensor:
    z = y.sigmoid()
    doubled = z * 2
    z += 1
    return (doubled + z).mean((2, 3))


def overwritten_channel(net: Net, y: Tensor) -> Tensor:
    z = y.exp()
    z[:, 0] = 0
    return z.mean((2, 3))


OVERWRITTEN: dict[str, tuple[Forward, str]] = {
    "an addition": (overwritten_sigmoid, "z = y.sigmoid()"),
    "an index": (overwritten_channel, "z = y.exp()"),
}


@pytest.mark.parametrize("name", OVERWRITTEN)
def test_what_torch_cannot_train_is_one_line_that_names_the_code(name: str) -> None:
    forward, code = OVERWRITTEN[name]
    with pytest.raises(
        UserError, match=r"^Net cannot be trained in torch: the gradient of test_checks\.py:\d+ \("
    ) as told:
        require_backward(Net(forward), SHAPE)
    assert f"({code}) fails: " in str(told.value)
    assert "not in place" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_network_that_torch_trains_passes_and_keeps_no_gradient() -> None:
    network = Net(lambda _, y: checkpoint(torch.tanh, y, use_reentrant=True).mean((2, 3)))  # type: ignore[union-attr]
    require_backward(network, SHAPE)
    assert all(parameter.grad is None for parameter in network.parameters())
    frozen = Net(lambda _, y: y.mean((2, 3)))
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    require_backward(frozen, SHAPE)


@pytest.mark.parametrize("name", TOGETHER)
def test_a_sample_that_does_not_stand_alone_is_one_line(name: str) -> None:
    network, said = TOGETHER[name]
    with pytest.raises(UserError, match=re.escape(said)):
        require_independent(network, SHAPE)


def test_rounding_is_no_influence() -> None:
    """Logits that almost cancel: float32 differs from batch to batch, float64 shows that nothing else does."""
    network = Net(lambda _, y: y.mean((2, 3)) * 1e4)
    with torch.no_grad():
        network.head.weight[1:] = network.head.weight[0]
        network.head.bias.zero_()
    require_independent(nn.Sequential(network, Difference()), SHAPE)
    assert influence(network, torch.randn(5, *SHAPE)) <= 1e-3


class Difference(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return torch.cat([y[:, :1] - y[:, 1:2] * (1 + 1e-6), y[:, :1] * 1e-3], 1)


def test_token_numbers_are_told_apart_from_samples() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Embedding(5, 3), nn.Flatten(), nn.Linear(48, 3))
    with pytest.raises(
        UserError, match=r"does not run on samples of shape \[1, 4, 4\]: .* nn\.Embedding wants token numbers"
    ):
        require_exportable(network, torch.randn(8, *SHAPE))


class OwnTrain(Net):
    def train(self) -> "OwnTrain":  # type: ignore[override]
        return self


def test_a_train_of_its_own_that_takes_no_mode_is_one_line() -> None:
    with pytest.raises(UserError, match=r"OwnTrain cannot be set to eval mode .* train\(\) must take mode=True"):
        held(OwnTrain(lambda _, y: y.mean((2, 3))), SHAPE)


def test_a_batch_of_one_is_left_out_where_a_norm_has_no_variance_in_it() -> None:
    normed = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    assert batches_for(with_batch_norm(normed, "batch"), SHAPE) == (2, 5)
    assert batches_for(with_batch_norm(normed, "frozen"), SHAPE) == (1, 2, 5)
