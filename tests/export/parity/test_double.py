"""A forward that makes its own float32 tensors computes in float64 inside, and as before outside."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.parity.double import in_double


class Making(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.beside = nn.Conv2d(1, 2, 3), torch.full((2, 1, 1, 1), 1 / 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(self.conv(x), torch.ones(2, 1, 2, 2), groups=2)
        y = y * torch.arange(2, dtype=torch.float32).view(1, 2, 1, 1) + torch.tensor([0.25])
        y = F.conv2d(y, self.beside, groups=2) + torch.from_numpy(np.float32([[[1.5]], [[2.5]]]))
        return y.float().mean((2, 3)).to(torch.float32)


def test_what_is_made_in_the_forward_has_its_type() -> None:
    torch.manual_seed(0)
    network, x = Making(), torch.randn(2, 1, 5, 5)
    expected = network(x)
    double = Making().double()
    double.load_state_dict(network.state_dict())
    with in_double():
        seen = double(x.double())
    assert seen.dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32
    torch.testing.assert_close(seen.float(), expected)
    seen.sum().backward()
    assert double.conv.weight.grad is not None
    assert torch.equal(network(x), expected)
