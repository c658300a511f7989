"""CKA against HSIC by its definition, entry by entry, and against what the paper says leaves it unchanged."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from mentor_mentee.pairing.cka import debiased_cka, linear_cka


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(samples: int = 12) -> tuple[Tensor, Tensor]:
    x_ND = normal(samples, 5, seed=0) + 3
    return x_ND, x_ND @ normal(5, 7, seed=1) + normal(samples, 7, seed=2)


def kernel(features: Tensor) -> np.ndarray:
    return np.array([[float(a @ b) for b in features] for a in features])


def hsic(k: np.ndarray, other: np.ndarray) -> float:
    """tr(K H L H), with H = I − 11ᵀ/N written out."""
    n = len(k)
    h = np.eye(n) - np.full((n, n), 1 / n)
    return float(np.trace(k @ h @ other @ h))


def unbiased(k: np.ndarray, other: np.ndarray) -> float:
    """HSIC as a U-statistic over distinct indices (Song et al., theorem 1): what the closed form sums up."""
    n = len(k)
    pairs = list(permutations(range(n), 2))
    triples = list(permutations(range(n), 3))
    fours = list(permutations(range(n), 4))
    two = sum(k[i, j] * other[i, j] for i, j in pairs) / len(pairs)
    three = sum(k[i, j] * other[i, q] for i, j, q in triples) / len(triples)
    four = sum(k[i, j] * other[q, r] for i, j, q, r in fours) / len(fours)
    return float(two - 2 * three + four)


def test_it_is_hsic_over_the_root_of_both_hsics() -> None:
    x, y = related()
    k, other = kernel(x), kernel(y)
    expected = hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))
    assert float(linear_cka(x, y)) == pytest.approx(expected, rel=1e-10)
    assert 0.1 < expected < 0.9


def test_without_bias_it_is_the_u_statistic_over_distinct_samples() -> None:
    x, y = related(8)
    k, other = kernel(x), kernel(y)
    expected = unbiased(k, other) / np.sqrt(unbiased(k, k) * unbiased(other, other))
    assert float(debiased_cka(x, y)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cka", [linear_cka, debiased_cka])
def test_rotation_scale_and_shift_do_not_matter_and_other_linear_maps_do(cka: type) -> None:
    x, y = related()
    rotation = torch.linalg.qr(normal(5, 5, seed=3))[0]
    seen = float(cka(x, y))
    assert float(cka(1e-4 * x @ rotation + 7, 1e6 * y)) == pytest.approx(seen, rel=1e-6)
    assert float(cka(y, x)) == pytest.approx(seen, rel=1e-12)
    assert float(cka(x, x)) == pytest.approx(1)
    assert abs(float(cka(x @ torch.diag(torch.tensor([1.0, 10, 1, 1, 1]).double()), y)) - seen) > 0.01


def test_noise_scores_high_where_features_outnumber_samples_and_nothing_without_bias() -> None:
    pairs = [(normal(20, 100, seed=seed), normal(20, 100, seed=100 + seed)) for seed in range(20)]
    assert np.mean([float(linear_cka(x, y)) for x, y in pairs]) > 0.7
    assert abs(np.mean([float(debiased_cka(x, y)) for x, y in pairs])) < 0.03


@pytest.mark.parametrize("cka", [linear_cka, debiased_cka])
def test_a_layer_that_answers_all_samples_alike_scores_nothing(cka: type) -> None:
    x, _ = related()
    assert float(cka(x, torch.full((12, 3), 0.1))) == 0
    assert float(cka(x.float(), x.view(12, 5, 1, 1).float())) == pytest.approx(1)  # maps are flattened
