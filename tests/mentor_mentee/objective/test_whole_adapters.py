"""Adapters that compare all channels or features of both sides: attention and similarity."""

import numpy as np
import pytest
import torch

from mentor_mentee.errors import UserError
from mentor_mentee.objective import probe_metrics
from mentor_mentee.objective.adapters import Adapter, MenteeSide
from mentor_mentee.objective.probe_spec import OF_METRIC
from tests.mentor_mentee.objective.by_definition import adapted, grid, normal


def attention_of_all(activation: np.ndarray) -> np.ndarray:
    """Zagoruyko & Komodakis' map of [B, C, H, W]: Σ_c A², divided by its length, [B, H·W]."""
    maps = (activation**2).sum(1).reshape(len(activation), -1)
    return maps / np.linalg.norm(maps, axis=1, keepdims=True)


def similarity_of_all(activation: np.ndarray) -> np.ndarray:
    """Tung & Mori's G of [B, ...]: products of the samples, each row of length 1."""
    flat = activation.reshape(len(activation), -1)
    gram = flat @ flat.T
    return gram / np.linalg.norm(gram, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("mentee", "mentor", "shape"),
    [
        ((2, 4, 4), (5, 4, 4), (1, 4, 4)),
        ((5, 4, 4), (2, 4, 4), (1, 4, 4)),
        ((3, 4, 4), (3, 4, 4), (1, 4, 4)),
        ((3, 8, 8), (6, 4, 4), (1, 8, 8)),
        ((3, 7, 4), (6, 9, 2), (1, 7, 4)),
        ((3, 8, 8), (17, 6), (1, 8, 8)),
        ((16, 3), (5, 8, 8), (1, 4, 4)),
        ((3, 2, 4, 5), (7, 2, 4, 5), (1, 2, 4, 5)),
    ],
)
def test_attention_is_of_all_channels_of_both_sides(
    mentee: tuple[int, ...], mentor: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    adapter = Adapter.between("p", mentee, mentor, metric="attention")
    assert adapter == Adapter(mentee, mentor, shape, "energy")
    one, other = normal(3, *mentee), normal(3, *mentor, seed=1)
    target = adapter.from_mentor(other)
    assert target.shape == (3, *shape)
    seen = probe_metrics.attention(MenteeSide(adapter)(one), target, torch.ones(3, dtype=torch.float64))
    maps = [grid(side.numpy()) if side.dim() == 3 else side.numpy() for side in (one, other)]
    energy = adapted((maps[1] ** 2).sum(1, keepdims=True), shape)
    difference = attention_of_all(maps[0]) - attention_of_all(energy**0.5)
    assert float(seen) == pytest.approx((difference**2).mean(), rel=1e-9)


@pytest.mark.parametrize(
    ("mentee", "mentor"),
    [((2, 4, 4), (5, 4, 4)), ((3, 7, 5), (6, 4, 4)), ((4,), (6, 2, 2)), ((3, 4, 4), (17, 6)), ((7, 3), (4,))],
)
def test_similarity_is_of_all_features_of_both_sides_whatever_their_shapes(
    mentee: tuple[int, ...], mentor: tuple[int, ...]
) -> None:
    adapter = Adapter.between("p", mentee, mentor, metric="similarity")
    assert adapter == Adapter(mentee, mentor, mentor, "whole")
    one, other = normal(5, *mentee), normal(5, *mentor, seed=1)
    seen = probe_metrics.similarity(
        MenteeSide(adapter)(one), adapter.from_mentor(other), torch.ones(5, dtype=torch.float64)
    )
    difference = similarity_of_all(one.numpy()) - similarity_of_all(other.numpy())
    assert float(seen) == pytest.approx((difference**2).sum() / 25, rel=1e-9)


def test_attention_wants_positions_and_channels_it_can_tell_apart() -> None:
    with pytest.raises(
        UserError,
        match=r"probe 'p' pairs \[7, 3\] .*; adapter=energy compares layers where each is .*choose other layers",
    ):
        Adapter.between("p", (7, 3), (7, 3), metric="attention")


@pytest.mark.parametrize(("metric", "kind"), OF_METRIC.items())
def test_what_pairs_no_channels_has_none_to_normalise(metric: str, kind: str) -> None:
    with pytest.raises(UserError, match=rf"probe 'p' is to be normalised .*adapter={kind} pairs with none .*slice"):
        Adapter.between("p", (2, 4, 4), (5, 4, 4), normalise=True, metric=metric)
    assert Adapter.between("p", (2, 4, 4), (5, 4, 4), "slice", True, metric).kind == "slice"
