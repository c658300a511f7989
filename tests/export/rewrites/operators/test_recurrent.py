"""GRU and LSTM in both directions, with frozen weights on a gradient's path, and frozen themselves; names that graphs use too."""

import pytest
import torch
from torch import Tensor, nn

from benchmarks.bundles.trainable_models import judge
from export.network.trainable import make_way_for_ports

BOUND = 1e-5


class Sequences(nn.Module):
    """Several recurrent layers beside each other behind one linear layer, their outputs and last states in one head."""

    def __init__(self, frozen: str) -> None:
        super().__init__()
        self.front = nn.Linear(4, 4)
        self.layers = nn.ModuleList(
            [
                nn.GRU(4, 3, batch_first=True, bidirectional=True),
                nn.LSTM(4, 3, batch_first=True, bidirectional=True),
                nn.GRU(4, 3, batch_first=True, bias=False),
                nn.LSTM(4, 3, batch_first=True),
            ]
        )
        self.mul = nn.Parameter(torch.tensor(0.5))  # as the exporter calls the value of a product
        self.gamma = nn.Parameter(torch.tensor(1.5))  # as an input of the graphs is called
        self.head = nn.Linear(28, 10)
        for name, parameter in self.named_parameters():
            kept = name in ("mul", "gamma") or name.startswith("head")
            wanted = frozen in name if frozen != "all but the head" else not kept
            parameter.requires_grad_(not (wanted and (kept is False)))

    def forward(self, x: Tensor) -> Tensor:
        x, parts = self.front(x), list[Tensor]()
        for layer in self.layers:
            y, last = layer(x)
            state = last[0] if isinstance(last, tuple) else last
            parts += [y.mean(1) * self.mul, *([] if layer.bidirectional else [state[-1]])]
        parts.append(torch.stack([part.mean(1) for part in parts[:4]], 1))
        return self.head(torch.cat(parts, 1)) * self.gamma.exp()  # type: ignore[no-any-return]


@pytest.mark.parametrize("frozen", ["weight_hh", "all but the head"])
def test_recurrent_layers_train_as_in_torch(frozen: str) -> None:
    torch.manual_seed(0)
    network = Sequences(frozen)
    make_way_for_ports(network)
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert "gamma_" in names
    judged = judge(network, (6, 4), head="head")
    assert set(judged.gradients) == set(names)
    assert max(judged.gradients.values()) < BOUND
