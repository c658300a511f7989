"""A network that asks for the number of samples by len() has a free batch in the graph; one that fixes it is told its line."""

import builtins
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from export.graph.batch_axis import fixed_batch, take_along_dim
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, traced
from export.preflight import look
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee


class Token(nn.Module):
    """A learned token before those of the sample, as often as there are samples."""

    def __init__(self, fixed: bool = False) -> None:
        super().__init__()
        self.fixed = fixed
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        samples = int(x.shape[0]) if self.fixed else len(x)
        both = torch.cat([self.token.expand(samples, -1, -1), x], 1)
        return self.head(both.mean(1))  # type: ignore[no-any-return]


def test_len_of_a_tensor_is_free_and_the_module_is_left_as_it_was() -> None:
    probed = ProbedMentee(Token(), (), "head").eval()
    model = traced(TrainingGraph(probed), input_ports((5, 4), 3, ()), output_ports(3, 4, ()))
    assert fixed_batch(model) is None
    assert "len" not in vars(sys.modules[__name__])
    assert builtins.len([1]) == 1


def test_a_fixed_number_of_samples_is_refused_with_its_line() -> None:
    probed = ProbedMentee(Token(fixed=True), (), "head").eval()
    with pytest.raises(
        UserError, match=r"fixes the number of samples .* at test_batch_axis.py:\d+ \(samples = int.*write y.shape\[0\]"
    ):
        traced(TrainingGraph(probed), input_ports((5, 4), 3, ()), output_ports(3, 4, ()))


class Taking(nn.Module):
    """Places of each sample chosen by its own values; `expanded` along an axis of which the indices have one."""

    def __init__(self, taken: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.taken = taken
        self.first, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.taken(self.first(x)).mean(1))  # type: ignore[no-any-return]


TAKEN: list[Callable[[Tensor], Tensor]] = [
    lambda x: torch.take_along_dim(x, x.argsort(1), 1),
    lambda x: x.take_along_dim(x[:, :, :1].argmax(1, keepdim=True), -2),
    lambda x: torch.take_along_dim(x[:, :1], x.argsort(2), 2),
]


@pytest.mark.parametrize("taken", TAKEN)
def test_take_along_dim_is_a_gather_with_a_free_batch(taken: Callable[[Tensor], Tensor]) -> None:
    torchs = torch.take_along_dim
    assert look(Taking(taken), (5, 4), head="head", backend="ort-training").why() is None
    assert torch.take_along_dim is torchs
    assert "take_along_dim" not in vars(Tensor)


def test_take_along_dim_takes_as_torch_does_also_where_a_size_is_1_and_without_an_axis() -> None:
    x, indices = torch.randn(3, 5, 4), torch.randint(0, 4, (1, 5, 2))
    assert torch.equal(take_along_dim(x, indices, -1), torch.take_along_dim(x, indices, -1))
    assert torch.equal(take_along_dim(x, torch.tensor([7, 1])), torch.take_along_dim(x, torch.tensor([7, 1])))


def test_an_operator_of_torch_that_fixes_the_batch_is_named() -> None:
    with pytest.raises(
        UserError, match=r"at test_batch_axis.py:\d+ .*torch's kron makes a plain number .*other operators"
    ):
        look(Taking(lambda x: torch.kron(x, torch.ones(1, 1, 1))), (5, 4), head="head")
