"""Odd networks of strangers: each exports, or is refused in one line that says where; none ends in a traceback."""

import re
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.preflight import look
from mentor_mentee.errors import UserError

SHAPE = (1, 8, 8)


class Odd(nn.Module):
    """A linear layer, `odd` on what it puts out, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 3)
        self.register_buffer("order", torch.arange(63, -1, -1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.odd(self.first(x.flatten(1))))  # type: ignore[no-any-return]

    def odd(self, y: Tensor) -> Tensor:
        return y


class InPlace(Odd):
    """In-place operators, an integer buffer, a module that runs three times, constants made in the forward."""

    def odd(self, y: Tensor) -> Tensor:
        y = self.norm(self.norm(self.norm(y))) * 2
        y += 1
        y[:, 0] = 0
        return y.relu_()[:, self.order] * torch.ones(64) + torch.arange(64, dtype=torch.float32)


class Stopped(Odd):
    def odd(self, y: Tensor) -> Tensor:
        return y.detach() + y.tanh()


class Deciding(Odd):
    def odd(self, y: Tensor) -> Tensor:
        return y * 2 if y.sum() > 0 else y


class Singular(Odd):
    def odd(self, y: Tensor) -> Tensor:
        return torch.linalg.svdvals(y.unflatten(1, (8, 8))).repeat(1, 8)


class ByNumpy(Odd):
    def odd(self, y: Tensor) -> Tensor:
        return torch.from_numpy(y.detach().numpy() * 2) + y


class Counting(Odd):
    """As many rows as there are different values: one a sample, but the graph cannot know."""

    def odd(self, y: Tensor) -> Tensor:
        return y[: y[:, 0].unique().shape[0]]


class Raising(Odd):
    def odd(self, y: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            raise RuntimeError("not\nwhen exported")
        return y


class Bag(Odd):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(4, 64)

    def odd(self, y: Tensor) -> Tensor:
        return self.bag((y > 0).long())  # type: ignore[no-any-return]


class OwnTrain(Odd):
    """Its train() returns nothing, and its norm is of a kind that several machines share."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.SyncBatchNorm(64)  # type: ignore[assignment]

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)

    def odd(self, y: Tensor) -> Tensor:
        return self.norm(y)  # type: ignore[no-any-return]


class Reading(Odd):
    def odd(self, y: Tensor) -> Tensor:
        return y.data * 2 + y


class Doubled(torch.autograd.Function):
    """Says 3 of its slope, which is 2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient * 3


class Straight(Doubled):
    """A sign through which the gradient goes as if it were not there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()


class OwnBackward(Odd):
    def odd(self, y: Tensor) -> Tensor:
        return Doubled.apply(y)  # type: ignore[no-any-return,no-untyped-call]


class StraightThrough(Odd):
    def odd(self, y: Tensor) -> Tensor:
        return Straight.apply(y)  # type: ignore[no-any-return,no-untyped-call]


class Whole(Odd):
    def odd(self, y: Tensor) -> Tensor:
        return y.long().float()


class Padded(Odd):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, 64))

    def odd(self, y: Tensor) -> Tensor:
        return y + F.embedding((y[:, 0] > 0).long(), self.table, padding_idx=1)


class Adding(Odd):
    def odd(self, y: Tensor) -> Tensor:
        return y.index_add(1, torch.tensor([0]), y[:, :1])


class Locked(Odd):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Dropping(Odd):
    """Draws in eval mode too, which is seen before anything is folded."""

    def odd(self, y: Tensor) -> Tensor:
        return F.dropout(y)


class Numbering(Odd):
    def odd(self, y: Tensor) -> Tensor:
        return y + y.new_ones(1, 64).expand(int(y.shape[0]), -1)


class Silent(Odd):
    def odd(self, y: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return y
        raise StopIteration


class TwoHeads(Odd):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x.flatten(1)))
        return (self.head(y) + self.other(y)) / 2


@pytest.mark.parametrize("network", [InPlace, OwnTrain])
def test_what_is_odd_but_right_exports(network: type[Odd]) -> None:
    found = look(network(), SHAPE, backend="ort-training")
    assert found.trains, found.lines()


REFUSED: dict[type[Odd], str] = {
    Stopped: r"^Stopped stops a gradient at test_odd_networks\.py:\d+ .*detach\(\).*freeze.*does not train as torch does\.",
    Deciding: r"cannot be traced for export: .*test_odd_networks\.py:\d+ .*depends on the values of a sample",
    Singular: r"cannot be traced for export: .*svd.* \(Singular, test_odd_networks\.py:\d+\): torch's exporter has no ONNX",
    ByNumpy: r"cannot be traced for export: .*test_odd_networks\.py:\d+",
    Counting: r"Counting",
    Raising: r"cannot be traced for export: not, at test_odd_networks\.py:\d+",
    Bag: r"^bag: Loop \(EmbeddingBag, test_odd_networks\.py:\d+\): Loop may never end.*an nn\.Embedding and a mean",
    Reading: r"^Reading stops a gradient at test_odd_networks\.py:\d+ \(return y\.data \* 2.*or freeze every parameter",
    OwnBackward: r"^OwnBackward has a backward of its own in Doubled \(test_odd_networks\.py:\d+\).*write it without",
    StraightThrough: r"^StraightThrough has a backward of its own in Straight \(.*2 of the mentee's .*first\.weight, first\.bias",
    Whole: r"^2 of the mentee's parameters get no gradient, .*whole numbers.*: first\.weight, first\.bias; freeze them",
    Padded: r"^Padded looks up an embedding with padding_idx at test_odd_networks\.py:\d+ .*use the module nn\.Embedding",
    Adding: r"^the network itself: ScatterND \(Adding, .*reduction=add gets a wrong gradient in ONNX Runtime Training; use",
    Locked: r"^Locked cannot be copied, as an export needs it: .*lock",
    Dropping: r"^Dropping puts out other logits for the same samples the second time",
    Numbering: r"^Numbering fixes the number of samples in the graph, at test_odd_networks\.py:\d+ \(.*write y\.shape\[0\]",
    Silent: r"does not run on samples of shape \[1, 8, 8\]: StopIteration$",
    TwoHeads: r"name the layer whose input is the embedding: head=other or head$",
}


@pytest.mark.parametrize("network", REFUSED, ids=lambda kind: kind.__name__)
def test_what_cannot_be_exported_is_one_line_that_says_where(network: type[Odd]) -> None:
    torch.manual_seed(0)
    made = network()
    if network not in (Bag, Silent):
        made.odd(torch.zeros(2, 64))
    for parameter in made.norm.parameters():
        parameter.requires_grad_(network is InPlace)
    try:
        said = look(made, SHAPE, backend="ort-training").why()
    except UserError as error:
        said = str(error)
    assert said is not None
    assert "\n" not in said
    assert re.search(REFUSED[network], said), said


def test_torchscript_inside_is_one_line(recwarn: pytest.WarningsRecorder) -> None:
    made = Odd()
    made.first = torch.jit.script(made.first)
    recwarn.clear()  # it is deprecated, and what people have
    with pytest.raises(UserError, match=r"^layer 'first' of Odd is in TorchScript, .* give the Python module"):
        look(made, SHAPE)
