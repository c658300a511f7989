"""A network that looks its input up is refused before anything trains; one that looks up positions is not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.networks.build import build_network, complete, view_for
from distill.schema import ViewConfig
from mentor_mentee.data.arrays import arrays
from mentor_mentee.data.splits import Splits
from mentor_mentee.errors import UserError

HERE = "tests.distill.networks.test_tokens"


class Text(nn.Module):
    def __init__(self, num_classes: int, rows: int = 500) -> None:
        super().__init__()
        self.words = nn.Embedding(rows, 8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.words(x.flatten(1).long()).mean(1))
        return logits


class Clipped(Text):
    """No id is ever out of range, so nothing fails: it learns from standardised ids, cut to whole numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.clamp(0, 499))


class Bag(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(500, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.bag(x.flatten(1).long())
        return logits


class Positions(nn.Module):
    """As transformers for images and signals have it."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.places = nn.Embedding(12, 8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        place = self.places(torch.arange(x.shape[-1], device=x.device))
        logits: Tensor = self.head((x.flatten(1).unsqueeze(2) * place).mean(1))
        return logits


@pytest.fixture(scope="module", params=[160, 3, 1])
def splits(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """Sentences of 12 words among so many for each of 3 classes."""
    random, labels = np.random.default_rng(0), np.arange(300) % 3
    path: Path = tmp_path_factory.mktemp("text") / "text.npz"
    np.savez(
        path, inputs=random.integers(0, request.param + 1, (300, 12)) + request.param * labels[:, None], labels=labels
    )
    return arrays(path, layout="NL")


@pytest.mark.parametrize(("network", "layer"), [("Text", "words"), ("Clipped", "words"), ("Bag", "bag")])
@pytest.mark.parametrize("where", ["mentee.network", "mentor.network"])
def test_ids_are_refused(splits: Splits, network: str, layer: str, where: str) -> None:
    view = view_for(ViewConfig(), splits)
    recipe = complete({"_target_": f"{HERE}.{network}"}, where, splits, view)
    with pytest.raises(
        UserError, match=rf"^{where}: layer '{layer}' \(Embedding\w*\) looks up the input; inputs are standard"
    ):
        build_network(recipe, where, splits, view)


def test_positions_are_not(splits: Splits) -> None:
    view = view_for(ViewConfig(), splits)
    recipe = complete({"_target_": f"{HERE}.Positions"}, "mentee.network", splits, view)
    assert isinstance(build_network(recipe, "mentee.network", splits, view), Positions)
