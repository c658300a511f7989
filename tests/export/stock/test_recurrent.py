"""Gradients of GRU and LSTM beside torch's in float64: directions, layers, first states that train, outputs that are read."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.parity.backends.reference import Reference
from tests.conftest import seeded
from tests.export.stock.conftest import CLASSES, Stock

PLACES, INPUT, HIDDEN = 5, 3, 4
READ: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "states": lambda y, h, c: y,
    "one state": lambda y, h, c: y[:, 2],
    "last state": lambda y, h, c: h.transpose(0, 1),
    "last cell": lambda y, h, c: c.transpose(0, 1),
    "all": lambda y, h, c: torch.cat([y.flatten(1), h.transpose(0, 1).flatten(1), c.transpose(0, 1).flatten(1)], 1),
}


class Sequence(nn.Module):
    """A recurrent layer between a linear one and a linear head. `given`: first states that train."""

    def __init__(self, layer: nn.GRU | nn.LSTM, read: str, given: bool) -> None:
        super().__init__()
        self.front, self.layer, self.read = nn.Linear(INPUT, INPUT), layer, READ[read]
        states = layer.num_layers * (2 if layer.bidirectional else 1)
        self.first = nn.ParameterList(nn.Parameter(torch.randn(states, 1, HIDDEN)) for _ in range(2 if given else 0))
        with torch.no_grad():
            self.head = nn.Linear(self.inner(torch.zeros(2, PLACES, INPUT)).shape[1], CLASSES)

    def inner(self, x: Tensor) -> Tensor:
        first = [state.expand(-1, len(x), -1).contiguous() for state in self.first]
        if isinstance(self.layer, nn.LSTM):
            y, (h, c) = self.layer(self.front(x), tuple(first) or None)
        else:
            y, h = self.layer(self.front(x), first[0] if first else None)
            c = h
        return self.read(y, h, c).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "options", "given", "read"),
    [
        *((nn.LSTM, {}, False, read) for read in READ),
        (nn.GRU, {}, False, "one state"),
        *((kind, {"bidirectional": True}, True, "all") for kind in (nn.GRU, nn.LSTM)),
        *((kind, {"num_layers": 2, "bias": False}, True, "last state") for kind in (nn.GRU, nn.LSTM)),
    ],
)
def test_a_recurrent_layer_has_torchs_gradients(
    kind: type[nn.GRU | nn.LSTM], options: dict[str, object], given: bool, read: str
) -> None:
    with seeded(0):
        layer = kind(INPUT, HIDDEN, batch_first=True, **options)
        network = Sequence(layer, read, given)
        if given and kind is nn.GRU:
            network.first = network.first[:1]
        stock = Stock(network, (PLACES, INPUT))
        input = torch.randn(3, PLACES, INPUT)
    assert [node.op_type for node in stock.made.gradients.graph.node].count(kind.__name__) == layer.num_layers
    compare(stock, input)


@pytest.mark.parametrize(
    ("kind", "frozen"), [(nn.GRU, "weight_hh"), (nn.GRU, "front"), (nn.LSTM, "weight_ih"), (nn.LSTM, "bias")]
)
def test_what_does_not_train_gets_no_gradient(kind: type[nn.GRU | nn.LSTM], frozen: str) -> None:
    with seeded(0):
        network = Sequence(kind(INPUT, HIDDEN, batch_first=True), "states", False)
        for name, value in network.named_parameters():
            value.requires_grad_(frozen not in name)
        stock = Stock(network, (PLACES, INPUT))
        input = torch.randn(3, PLACES, INPUT)
    compare(stock, input)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_a_sequence_may_have_one_place(kind: type[nn.GRU | nn.LSTM]) -> None:
    with seeded(0):
        network = nn.Sequential()
        network.front, network.layer = nn.Linear(INPUT, INPUT), Last(kind(INPUT, HIDDEN, batch_first=True))
        network.head = nn.Linear(HIDDEN, CLASSES)
        stock = Stock(network, (1, INPUT))
        input = torch.randn(3, 1, INPUT)
    compare(stock, input)


class Last(nn.Module):
    def __init__(self, layer: nn.GRU | nn.LSTM) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0][:, -1]  # type: ignore[no-any-return]


def compare(stock: Stock, input: Tensor) -> None:
    feed = stock.feed(input)
    seen, reference = stock.gradients(feed), Reference(stock.graph)
    reference.backward(feed)
    wanted = reference.take_gradients()
    assert set(seen) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(seen[name], value.numpy(), rtol=0, atol=1e-5, err_msg=name)
