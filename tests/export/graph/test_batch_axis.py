"""A network that asks for the number of samples by len() has a free batch in the graph; one that fixes it is told its line."""

import builtins
import sys

import pytest
import torch
from torch import Tensor, nn

from export.graph.batch_axis import fixed_batch
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, traced
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
