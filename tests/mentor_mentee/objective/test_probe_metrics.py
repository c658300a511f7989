"""Each metric against loops in float64, its masks, its extremes, and what must not change it.

Axes: B samples, C channels, H W space.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mentor_mentee.objective import probe_metrics
from mentor_mentee.objective.loss_spec import PROBE_METRICS

B, C, H, W = 5, 3, 4, 2
Sample = list[list[float]]  # [C][H * W]
NAMES = list(PROBE_METRICS)
METRICS = {name: getattr(probe_metrics, name) for name in NAMES}
WEIGHTS = {
    "all": [1, 1, 1, 1, 1],
    "some": [0, 1, 1, 0, 1],
    "one": [0, 0, 0, 1, 0],
    "counted several times": [2, 0, 1, 3, 1],
}


def pair(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mentee, mentor = (torch.randn(B, C, H, W, generator=generator, dtype=torch.float64) for _ in range(2))
    return mentee.to(dtype), (2 * mentor + 0.5).to(dtype)


def repeated(value: Tensor, weights: list[int]) -> list[Sample]:
    """Plain lists, each sample as often as it weighs."""
    samples: list[Sample] = value.flatten(2).tolist()
    return [sample for sample, weight in zip(samples, weights, strict=True) for _ in range(weight)]


def flat(sample: Sample) -> list[float]:
    return [value for channel in sample for value in channel]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def mean_of(function: Callable[[float], float], one: list[Sample], other: list[Sample]) -> float:
    differences = [a - b for x, y in zip(one, other, strict=True) for a, b in zip(flat(x), flat(y), strict=True)]
    return sum(map(function, differences)) / len(differences)


def cosine_by_loops(one: list[Sample], other: list[Sample]) -> float:
    cosines = []
    for x, y in zip(map(flat, one), map(flat, other), strict=True):
        cosines.append(dot(x, y) / math.sqrt(dot(x, x) * dot(y, y)))
    return 1 - sum(cosines) / len(cosines)


def attention_by_loops(one: list[Sample], other: list[Sample]) -> float:
    total = 0.0
    for x, y in zip(one, other, strict=True):
        maps = []
        for sample in (x, y):
            energy = [sum(channel[place] ** 2 for channel in sample) for place in range(H * W)]
            length = math.sqrt(dot(energy, energy))
            maps.append([value / length for value in energy])
        total += sum((a - b) ** 2 for a, b in zip(*maps, strict=True)) / (H * W)
    return total / len(one)


def similarity_by_loops(one: list[Sample], other: list[Sample]) -> float:
    matrices = []
    for samples in (one, other):
        matrix = [[dot(flat(x), flat(y)) for y in samples] for x in samples]
        matrices.append([[value / math.sqrt(dot(row, row)) for value in row] for row in matrix])
    rows = zip(*matrices, strict=True)
    return sum((a - b) ** 2 for row, row2 in rows for a, b in zip(row, row2, strict=True)) / len(one) ** 2


BY_LOOPS: dict[str, Callable[[list[Sample], list[Sample]], float]] = {
    "rmse": lambda one, other: math.sqrt(mean_of(lambda d: d * d, one, other)),
    "l1": lambda one, other: mean_of(abs, one, other),
    "l2": lambda one, other: mean_of(lambda d: d * d, one, other),
    "cosine": cosine_by_loops,
    "attention": attention_by_loops,
    "similarity": similarity_by_loops,
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("name", NAMES)
def test_it_equals_loops_over_the_samples_that_count(name: str, weights: list[int]) -> None:
    mentee, mentor = pair()
    found = METRICS[name](mentee, mentor, torch.tensor(weights).double())
    expected = BY_LOOPS[name](repeated(mentee, weights), repeated(mentor, weights))
    if name == "similarity":  # 1/B becomes Σp², so that a common factor of the weights changes nothing
        expected *= sum(weight * weight for weight in weights) / sum(weights)
    assert found.shape == (1,)
    assert float(found) == pytest.approx(expected, rel=1e-8, abs=2e-6)
    assert float(found) > 1e-3 or (name, sum(weights)) == ("similarity", 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NAMES)
def test_without_weights_all_samples_count_alike_whatever_the_order_in_memory(
    name: str, layout: torch.memory_format
) -> None:
    mentee, mentor = pair()
    found = METRICS[name](mentee.contiguous(memory_format=layout), mentor, None)
    expected = BY_LOOPS[name](repeated(mentee, WEIGHTS["all"]), repeated(mentor, WEIGHTS["all"]))
    assert found.shape == (1,)
    assert float(found) == pytest.approx(expected, rel=1e-8, abs=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_common_factor_of_the_weights_changes_nothing(name: str) -> None:
    mentee, mentor = pair()
    weight_B = torch.tensor([0.5, 0, 2, 0.125, 1]).double()
    found, scaled = (METRICS[name](mentee, mentor, factor * weight_B) for factor in (1, 1e-3))
    torch.testing.assert_close(found, scaled)


@pytest.mark.parametrize("junk", [0.0, 55.0, -1e6])
@pytest.mark.parametrize("name", NAMES)
def test_a_masked_sample_changes_nothing_and_is_not_changed(name: str, junk: float) -> None:
    mentee, mentor = pair()
    weight_B = torch.tensor([0, 1, 1, 0, 1]).double()
    hidden = torch.tensor([0, 3])
    other = mentee.index_fill(0, hidden, junk).requires_grad_()
    found = METRICS[name](other, mentor.index_fill(0, hidden, -junk), weight_B)
    assert torch.equal(found, METRICS[name](mentee, mentor, weight_B))
    (gradient,) = torch.autograd.grad(found.sum(), other)
    assert torch.equal(gradient[hidden], torch.zeros_like(gradient[hidden]))
    assert gradient[1].abs().max() > 0


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_counts_it_is_exactly_0_and_so_is_the_gradient(
    name: str, dtype: torch.dtype, scale: float
) -> None:
    mentee, mentor = (scale * value for value in pair(dtype=dtype))
    mentee.requires_grad_()
    found = METRICS[name](mentee, mentor, torch.zeros(B, dtype=dtype))
    assert found.tolist() == [0.0]
    (gradient,) = torch.autograd.grad(found.sum(), mentee)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def extremes() -> dict[str, tuple[Tensor, Tensor]]:
    mentee, mentor = pair()
    dead = mentee.index_fill(0, torch.tensor([1, 2]), 0.0)
    return {
        "equal": (mentee, mentee.clone()),
        "both silent": (0 * mentee, 0 * mentor),
        "mentee silent": (0 * mentee, mentor),
        "mentor silent": (mentee, 0 * mentor),
        "some silent": (dead, mentor),
        "large": (1e6 * mentee, -1e6 * mentor),
        "small": (1e-7 * mentee, 1e-7 * mentor),
        "large and small": (1e6 * mentee, 1e-7 * mentor),
        "of mixed size": (mentee * torch.logspace(-6, 6, B).view(B, 1, 1, 1), mentor),
    }


@pytest.mark.parametrize("case", extremes().values(), ids=extremes().keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_activations_have_a_finite_distance_and_gradient(
    name: str, dtype: torch.dtype, case: tuple[Tensor, Tensor]
) -> None:
    mentee, mentor = (value.to(dtype) for value in case)
    mentee.requires_grad_()
    for weights in ([1.0] * B, [0, 1, 0, 1, 1]):
        found = METRICS[name](mentee, mentor, torch.tensor(weights, dtype=dtype))
        (gradient,) = torch.autograd.grad(found.sum(), mentee)
        assert torch.isfinite(found).all()
        assert float(found.detach()) >= 0
        assert torch.isfinite(gradient).all()
        if torch.equal(mentee, mentor):
            assert found.tolist() == [0.0]
            assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("weights", [[2, 0, 1, 0.5, 1], None])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_finite_differences(name: str, weights: list[float] | None) -> None:
    mentee, mentor = pair()
    weight_B = None if weights is None else torch.tensor(weights).double()
    assert torch.autograd.gradcheck(lambda x: METRICS[name](x, mentor, weight_B), (mentee.requires_grad_(),))


def rotation(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]


SIZES_B111 = torch.linspace(0.1, 9, B).double().view(B, 1, 1, 1)
UNCHANGED = {  # metric, what may be done to the mentor's side
    "cosine: a scale a sample": ("cosine", lambda x: SIZES_B111 * x),
    "attention: a scale a sample": ("attention", lambda x: SIZES_B111 * x),
    "attention: other channels, other signs": ("attention", lambda x: -x.flip(1)),
    "attention: a rotation of the channels": ("attention", lambda x: torch.einsum("dc,bchw->bdhw", rotation(C), x)),
    "similarity: one scale": ("similarity", lambda x: 40 * x),
    "similarity: a rotation of all features": (
        "similarity",
        lambda x: (x.flatten(1) @ rotation(C * H * W)).view(B, C, H, W),
    ),
}


@pytest.mark.parametrize(("name", "change"), UNCHANGED.values(), ids=UNCHANGED.keys())
def test_what_a_metric_does_not_see(name: str, change: Callable[[Tensor], Tensor]) -> None:
    mentee, mentor = pair()
    weight_B = torch.tensor([1, 0, 1, 1, 1]).double()
    found, other = (METRICS[name](mentee, value, weight_B) for value in (mentor, change(mentor)))
    torch.testing.assert_close(found, other)
    assert float(METRICS[name](mentor, change(mentor), weight_B)) == pytest.approx(0, abs=1e-12)
    assert float(METRICS["l2"](mentor, change(mentor), weight_B)) > 0.1
