"""Gradients where one must choose: ties, bounds, zeros; and those of what is lowered by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.network.batch_norm import learning_mode, with_batch_norm
from export.network.dropout import keep_dropout
from export.parity.backends.reference import Reference
from mentor_mentee.errors import UserError
from tests.conftest import seeded
from tests.export.stock.conftest import CLASSES, Stock


class Around(nn.Module):
    """A scale, a function of one map, a linear head: the scale's gradient is Σ x · gradient of what the function was given."""

    def __init__(self, function: object, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.ones(shape))
        with torch.no_grad():
            self.head = nn.Linear(self.inner(torch.zeros(2, *shape)).shape[1], CLASSES)

    def inner(self, x: Tensor) -> Tensor:
        return self.function(x * self.scale).flatten(1)  # type: ignore[operator, no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x))  # type: ignore[no-any-return]


def of_torch(stock: Stock, input: Tensor) -> dict[str, Tensor]:
    reference = Reference(stock.graph)
    reference.backward(stock.feed(input))
    return reference.take_gradients()


TIED = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, -1.0, 1.0, 2.0], [3.0, 3.0, -1.0, -1.0], [3.0, 3.0, -2.0, -1.0]])
CHOICES = {
    "the first of a pool's equal places": lambda x: F.max_pool2d(x, 2),
    "the same where windows overlap": lambda x: F.max_pool2d(x, 3, 1, 1),
    "and where they leave places out": lambda x: F.max_pool2d(x, 2, 3),
    "relu at 0": F.relu,
    "relu6 at 0": F.relu6,
    "clamp at its bounds": lambda x: x.clamp(0.0, 1.0),
    "clamp from below": lambda x: x.clamp(min=1.0),
    "hardtanh at its bounds": F.hardtanh,
    "hardswish": lambda x: F.hardswish(3 * x),
    "hardsigmoid": lambda x: F.hardsigmoid(3 * x),
    "leaky relu at 0": lambda x: F.leaky_relu(x, 0.1),
    "amax of equal values": lambda x: x.amax(3),
    "maximum of equal values": lambda x: torch.maximum(x, x.flip(3)),
    "the root of what a relu cut off": lambda x: F.relu(x).sqrt(),
    "a norm of 0": lambda x: (x - x).norm(dim=3) + x[..., 0],
    "a product with zeros": lambda x: x.prod(3),
    "strides over a slice": lambda x: x[:, :, 1::2, ::3],
    "a pool that averages in its padding": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "a pool that does not": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "windows that torch leaves out": lambda x: torch.cat(
        [F.avg_pool2d(x, 2, 3, 1, ceil_mode=True), F.max_pool2d(x, 2, 3, 1, ceil_mode=True)], 1
    ),
    "reflections": lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_is_torchs(choice: str) -> None:
    input = torch.stack([TIED, TIED.flip(1), -TIED]).unsqueeze(1)
    with seeded(0):
        stock = Stock(Around(CHOICES[choice], (1, 4, 4)), (1, 4, 4))
    seen = stock.gradients(stock.feed(input))
    for name, wanted in of_torch(stock, input).items():
        np.testing.assert_allclose(seen[name], wanted.numpy(), rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 9, 3, padding=1),
        nn.Conv2d(2, 6, 3, 2, 1, 2),
        nn.Conv2d(2, 4, (1, 3), (2, 1), (0, 1), groups=2),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Conv2d(2, 2, (3, 5), (1, 2), (1, 2), groups=2),
        nn.Sequential(nn.Conv2d(2, 4, (2, 1)), nn.ReLU(), nn.Conv2d(4, 4, 5, 2, 2, groups=4)),
        nn.Sequential(nn.Conv2d(2, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4)),
        nn.Conv2d(2, 5, 1),
        nn.Sequential(nn.Conv2d(2, 32, 1), nn.ReLU(), nn.Conv2d(32, 12, 3, 2)),
        nn.Sequential(nn.Conv2d(2, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)),
        nn.Sequential(nn.Conv2d(2, 16, 3, 4), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)),
        nn.Sequential(nn.Conv2d(2, 16, 3, 4), nn.ReLU(), nn.Conv2d(16, 20, 2, 2)),
        nn.Sequential(nn.Conv2d(2, 32, 2, (2, 1)), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)),
        nn.Sequential(nn.Conv2d(2, 4, (2, 1)), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=4)),
        nn.ConvTranspose2d(2, 3, 3, 2, 1, 1),
        nn.ConvTranspose2d(2, 4, (2, 3), 3, 1, 2, groups=2, dilation=2),
    ],
    ids=str,
)
def test_a_convolution_in_each_of_its_forms_has_torchs_gradients(layer: nn.Module) -> None:
    with seeded(0):
        network = nn.Sequential()
        network.layer, network.flat = layer, nn.Flatten()
        with torch.no_grad():
            network.head = nn.Linear(network(torch.zeros(1, 2, 9, 8)).shape[1], CLASSES)
        stock = Stock(network, (2, 9, 8))
        input = torch.randn(5, 2, 9, 8)
    seen = stock.gradients(stock.feed(input))
    for name, wanted in of_torch(stock, input).items():
        np.testing.assert_allclose(seen[name], wanted.numpy(), rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_transposed_convolution_that_runtimes_compute_wrongly_is_refused_with_its_layer() -> None:
    network = nn.Sequential()
    network.up, network.flat = nn.ConvTranspose2d(2, 3, 3, 1, 1, 1, dilation=2), nn.Flatten()
    network.head = nn.Linear(network(torch.zeros(1, 2, 5, 5)).shape[1], CLASSES)
    with pytest.raises(
        UserError, match=r"^up \(ConvTranspose2d.*output_padding \[1, 1\] and stride \[1, 1\] wrongly, .* expected"
    ):
        Stock(network, (2, 5, 5))


@pytest.mark.parametrize("first", [nn.Conv2d(2, 3, 3), nn.Identity()], ids=["of a map", "of samples far from 0"])
def test_batch_norm_on_the_batch_has_torchs_gradients_and_moves_its_statistics_as_torch_does(first: nn.Module) -> None:
    with seeded(0):
        plain = nn.Sequential()
        plain.first, plain.norm = first, nn.BatchNorm2d(2 if isinstance(first, nn.Identity) else 3)
        plain.act, plain.conv, plain.flat, plain.head = (
            nn.SiLU(),
            nn.LazyConv2d(3, 3),
            nn.Flatten(),
            nn.LazyLinear(CLASSES),
        )
        plain(torch.zeros(2, 2, 6, 6))
        network = with_batch_norm(plain.eval(), "batch")
        spread = torch.randn(6, 2, 6, 6)
    input = spread + 50 if isinstance(first, nn.Identity) else 3 + 2 * spread
    stock = Stock(network, (2, 6, 6))
    found, reference = stock.run(stock.feed(input)), Reference(stock.graph)
    learning_mode(reference.graph)
    reference.backward(stock.feed(input))
    for name, value in stock.made.statistics.apart(found["new_statistics"]).items():
        np.testing.assert_allclose(value, reference.running()[name].numpy(), rtol=1e-6, err_msg=name)
    for name, wanted in reference.take_gradients().items():
        np.testing.assert_allclose(
            stock.made.parameters.apart(found["gradient"])[name], wanted.numpy(), rtol=1e-5, atol=1e-5, err_msg=name
        )


def test_dropouts_masks_follow_from_the_seed_and_drop_their_share() -> None:
    with seeded(0):
        network = nn.Sequential()
        network.flat, network.first, network.drop, network.head = (
            nn.Flatten(),
            nn.Linear(4, 500),
            nn.Dropout(0.3),
            nn.Linear(500, CLASSES),
        )
        keep_dropout(network)
        stock, input = Stock(network, (1, 2, 2)), torch.randn(40, 1, 2, 2)
    masks = {}
    for seed in (0.0, 1.0, 2.0, 2.0**20 + 7):
        found = stock.run(stock.feed(input), seed=np.full(1, seed, np.float32))["embedding"]
        kept = stock.run(stock.feed(input), seed=np.full(1, -1, np.float32))["embedding"]
        masks[seed] = found / kept
        assert set(np.round(np.unique(masks[seed]), 4)) == {0.0, np.float32(np.round(1 / 0.7, 4))}
        again = stock.run(stock.feed(input), seed=np.full(1, seed, np.float32))["embedding"]
        assert np.array_equal(found, again)
        dropped = masks[seed] == 0
        assert abs(dropped.mean() - 0.3) < 0.015  # 20,000 draws: 4.6 standard deviations
        assert np.abs(dropped.mean(0) - 0.3).max() < 0.36  # of each column over 40 samples
        for shift in (1, 2, 500):  # neighbours along both axes do not go together
            flat = dropped.ravel().astype(float)
            assert abs(np.corrcoef(flat[shift:], flat[:-shift])[0, 1]) < 0.04
    first, second = ((masks[seed] == 0).ravel().astype(float) for seed in (1.0, 2.0))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.04
