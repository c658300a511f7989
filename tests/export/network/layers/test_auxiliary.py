"""Heads that run in training mode alone are left out and named; parameters that nothing runs stay, to be refused."""

import copy

import torch
from torch import Tensor, nn

from export.network.layers.auxiliary import drop_auxiliary


class Aided(nn.Module):
    """As torchvision's GoogLeNet and Inception: (logits, aux) while training, logits alone to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8))
        self.aux = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
        self.head = nn.Linear(8, 3)
        self.forgotten = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = self.body(x)
        return (self.head(y), self.aux(y)) if self.training else self.head(y)


def test_an_auxiliary_head_is_left_out_and_nothing_else_is_touched() -> None:
    network, x = Aided().eval(), torch.randn(4, 1, 4, 4)
    expected, before = network(x), copy.deepcopy(network.state_dict())
    random = torch.get_rng_state()
    assert drop_auxiliary(network, x) == ["left out, as it runs in training mode alone: aux"]
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(network(x), expected)
    after = network.state_dict()
    assert set(before) - set(after) == {"aux.0.weight", "aux.0.bias", "aux.2.weight", "aux.2.bias"}
    assert all(torch.equal(after[name], before[name]) for name in after)  # BatchNorm's statistics as well
    assert not any(module.training for module in network.modules())
    assert drop_auxiliary(network, x) == []


class Untrainable(Aided):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("needs labels")
        return self.head(self.body(x))  # type: ignore[no-any-return]


def test_a_training_mode_that_cannot_be_tried_leaves_all_as_it_is() -> None:
    network = Untrainable().eval()
    assert drop_auxiliary(network, torch.randn(4, 1, 4, 4)) == []
    assert isinstance(network.aux, nn.Sequential)
