"""Embeddings: a padding row gets no gradient, as in torch; settings that a graph has not are refused by name."""

import copy

import pytest
import torch
from torch import Tensor, nn

from export.network.for_device import held
from export.network.layers.embeddings import PaddedEmbedding, hold_padding
from export.preflight import look
from mentor_mentee.errors import UserError

SHAPE = (1, 1, 6)


class Words(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(9, 4, **options)  # type: ignore[arg-type]
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.words(x.flatten(1).abs().mul(3).long() % 9)).mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("padding", [0, 3, -1])
def test_the_padding_row_has_torchs_values_and_gradient(padding: int) -> None:
    torchs = nn.Embedding(9, 4, padding_idx=padding)
    with torch.no_grad():
        torchs.weight.normal_()
    indices = torch.tensor([[0, 3, 8, 8], [1, 3, 0, 2]])
    mine = nn.Sequential(copy.deepcopy(torchs))
    weight = mine[0].weight
    hold_padding(mine)
    assert isinstance(mine[0], PaddedEmbedding)
    assert mine[0].weight is weight
    for network in (torchs, mine):
        (network(indices) ** 3).sum().backward()
    assert torch.equal(mine(indices), torchs(indices))
    assert torch.equal(weight.grad, torchs.weight.grad)  # type: ignore[arg-type]
    assert not weight.grad[padding].any()  # type: ignore[index]


def test_a_padding_row_is_proved_and_one_that_is_not_0_is_said_to_be_held() -> None:
    found = look(Words(padding_idx=0), SHAPE, head="head", backend="ort-training")
    assert found.why() is None
    assert [kind.inconclusive for kind in found.kinds] == [None]
    assert found.notes == ()
    other = Words(padding_idx=1)
    with torch.no_grad():
        other.words.weight.fill_(0.5)
    made, notes = held(other, SHAPE)
    assert notes == ["held, as a padding row gets no gradient: words.weight[1]"]
    assert set(dict(made.named_parameters())) == {"words.weight", "head.weight", "head.bias"}


def test_a_sparse_gradient_is_a_dense_one_on_the_device() -> None:
    network = Words(sparse=True)
    hold_padding(network)
    network(torch.ones(2, *SHAPE)).sum().backward()
    assert network.words.weight.grad is not None
    assert not network.words.weight.grad.is_sparse


@pytest.mark.parametrize("setting", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_a_setting_that_a_graph_has_not_is_refused_at_once(kind: type[nn.Module], setting: dict[str, object]) -> None:
    network = Words()
    network.words = kind(9, 4, **setting)  # type: ignore[assignment]
    ((name, value),) = setting.items()
    with pytest.raises(UserError, match=rf"^words: {kind.__name__} with {name}={value} .*leave (max_norm|it) out$"):
        hold_padding(network)
