"""Each softmax loss against loops in float64, its masks, its extremes, and what must not change it.

Axes: B samples, K classes.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mentor_mentee.objective import softmax_losses
from mentor_mentee.objective.softmax_losses import dist, dkd, prob_rmse, z_scores

B, K = 5, 4
TARGET_B = torch.tensor([3, 0, 2, 2, 1])
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "kl": softmax_losses.kl,
    "prob_rmse": prob_rmse,
    "dkd": lambda mentee, mentor, weight_B: dkd(mentee, mentor, TARGET_B, weight_B),
    "dist": dist,
}
WEIGHTS = {
    "all": [1, 1, 1, 1, 1],
    "some": [0, 1, 1, 0, 1],
    "one": [0, 0, 0, 1, 0],
    "counted several times": [2, 0, 1, 3, 1],
}
Rows = list[list[float]]


def pair(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mentee, mentor = (torch.randn(B, K, generator=generator, dtype=torch.float64) for _ in range(2))
    return mentee.to(dtype), (2 * mentor).to(dtype)


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


def kl(taught: list[float], learned: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(taught, learned, strict=True))


def kl_by_loops(mentee: Rows, mentor: Rows, targets: list[int]) -> float:
    return sum(kl(taught, learned) for learned, taught in zip(mentee, mentor, strict=True)) / len(mentee)


def rmse_by_loops(mentee: Rows, mentor: Rows, targets: list[int]) -> float:
    squares = [(mentee[b][k] - mentor[b][k]) ** 2 for b in range(len(mentee)) for k in range(K)]
    return math.sqrt(sum(squares) / len(squares))


def dkd_by_loops(mentee: Rows, mentor: Rows, targets: list[int]) -> float:
    total = 0.0
    for learned, taught, target in zip(mentee, mentor, targets, strict=True):
        binary = kl([taught[target], 1 - taught[target]], [learned[target], 1 - learned[target]])
        others = [k for k in range(K) if k != target]
        rest = kl(
            [taught[k] / (1 - taught[target]) for k in others], [learned[k] / (1 - learned[target]) for k in others]
        )
        total += binary + 8 * rest
    return total / len(mentee)


def pearson(one: list[float], other: list[float]) -> float:
    means = [sum(values) / len(values) for values in (one, other)]
    x, y = [value - means[0] for value in one], [value - means[1] for value in other]
    product = sum(a * b for a, b in zip(x, y, strict=True))
    return product / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def dist_by_loops(mentee: Rows, mentor: Rows, targets: list[int]) -> float:
    inter = sum(1 - pearson(a, b) for a, b in zip(mentee, mentor, strict=True)) / len(mentee)
    if len(mentee) == 1:  # nothing varies from sample to sample
        return inter
    columns = [([row[k] for row in mentee], [row[k] for row in mentor]) for k in range(K)]
    return inter + sum(1 - pearson(a, b) for a, b in columns) / K


BY_LOOPS = {"kl": kl_by_loops, "prob_rmse": rmse_by_loops, "dkd": dkd_by_loops, "dist": dist_by_loops}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("name", LOSSES)
def test_it_equals_loops_over_the_samples_that_count(name: str, weights: list[int]) -> None:
    mentee, mentor = pair()
    found = LOSSES[name](mentee, mentor, torch.tensor(weights).double())
    index = [b for b, weight in enumerate(weights) for _ in range(weight)]
    rows = [[softmax(logits[b].tolist()) for b in index] for logits in (mentee, mentor)]
    expected = BY_LOOPS[name](rows[0], rows[1], [int(TARGET_B[b]) for b in index])
    assert found.shape == (1,)
    assert float(found) == pytest.approx(expected, rel=1e-8, abs=2e-6)
    assert float(found) > 1e-4


@pytest.mark.parametrize("junk", [0.0, 55.0, -1e6])
@pytest.mark.parametrize("name", LOSSES)
def test_a_masked_sample_changes_nothing_and_is_not_changed(name: str, junk: float) -> None:
    mentee, mentor = pair()
    weight_B = torch.tensor([0, 1, 0.5, 0, 2]).double()
    hidden = torch.tensor([0, 3])
    noise_K = torch.tensor([1, -1, 0, 2.0]).double()
    changed = [logits.index_copy(0, hidden, junk * noise_K.expand(2, K)) for logits in (mentee, mentor.flip(1))]
    other = changed[0].requires_grad_()
    found = LOSSES[name](other, changed[1].flip(1), weight_B)
    assert torch.equal(found, LOSSES[name](mentee, mentor, weight_B))
    (gradient,) = torch.autograd.grad(found.sum(), other)
    assert torch.equal(gradient[hidden], torch.zeros(2, K).double())
    assert gradient[1].abs().max() > 0


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_where_nothing_counts_it_is_exactly_0_and_so_is_the_gradient(
    name: str, dtype: torch.dtype, scale: float
) -> None:
    mentee, mentor = (scale * logits for logits in pair(dtype))
    mentee.requires_grad_()
    found = LOSSES[name](mentee, mentor, torch.zeros(B, dtype=dtype))
    assert found.tolist() == [0.0]
    (gradient,) = torch.autograd.grad(found.sum(), mentee)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def sure(of: list[int], size: float = 1e4) -> Tensor:
    logits_BK = torch.full((B, K), -size)
    logits_BK[torch.arange(B), torch.tensor(of)] = size
    return logits_BK


EXTREMES = {
    "sure of other classes": (sure([0, 1, 2, 3, 0]), sure([1, 2, 3, 0, 1])),
    "sure of the same": (sure([0, 1, 2, 3, 0]), sure([0, 1, 2, 3, 0])),
    "sure of one for all": (sure([1] * B), sure([2] * B)),
    "sure, the mentor unsure": (sure([0, 1, 2, 3, 0]), torch.zeros(B, K)),
    "unsure, the mentor sure": (torch.zeros(B, K), sure([0, 1, 2, 3, 0])),
    "both unsure": (torch.zeros(B, K), torch.zeros(B, K)),
    "all high": (torch.full((B, K), 1e4), torch.full((B, K), -1e4)),
    "random": (1e4 * pair(torch.float32)[0], 1e4 * pair(torch.float32)[1]),
}


@pytest.mark.parametrize("standardised", [False, True], ids=["", "z-scores"])
@pytest.mark.parametrize("case", EXTREMES.values(), ids=EXTREMES.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_have_a_finite_loss_and_gradient(
    name: str, dtype: torch.dtype, case: tuple[Tensor, Tensor], standardised: bool
) -> None:
    mentee, mentor = (logits.to(dtype) for logits in case)
    mentee.requires_grad_()
    for weights in ([1.0] * B, [0, 1, 0, 1, 1]):
        for temperature in (0.5, 1.0, 20.0):
            sides = (z_scores(logits) if standardised else logits for logits in (mentee, mentor))
            weight_B = torch.tensor(weights, dtype=dtype)
            found = LOSSES[name](*(logits / temperature for logits in sides), weight_B)
            (gradient,) = torch.autograd.grad(found.sum(), mentee)
            assert torch.isfinite(found).all()
            assert torch.isfinite(gradient).all()
            if torch.equal(mentee, mentor):
                assert found.tolist() == [0.0]


def test_a_sure_mentee_that_is_wrong_pays_by_its_logits() -> None:
    """Each against ±1e4 at T = 1: with the target the mentor's class, −log b = 2e4 and the other classes agree."""
    mentee, mentor = sure([0, 1, 2, 3, 0]), sure([1, 2, 3, 0, 1])
    target_B = torch.tensor([1, 2, 3, 0, 1])
    assert float(softmax_losses.kl(mentee, mentor, torch.ones(B))) == pytest.approx(2e4)
    others = math.log(3)  # the mentor's other classes are as likely as each other, the mentee is sure of one of them
    expected = 2e4 + 8 * (2e4 * 2 / 3 - others)
    assert float(dkd(mentee, mentor, target_B, torch.ones(B))) == pytest.approx(expected, rel=1e-6)
    assert float(prob_rmse(mentee, mentor, torch.ones(B))) == pytest.approx(math.sqrt(2 / 4), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences(name: str) -> None:
    mentee, mentor = pair()
    weight_B = torch.tensor([2, 0, 1, 0.5, 1]).double()
    mentee.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, mentor, weight_B), (mentee,))
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](z_scores(x), z_scores(mentor), weight_B), (mentee,))


@pytest.mark.parametrize("name", LOSSES)
def test_a_shift_of_the_logits_changes_nothing(name: str) -> None:
    mentee, mentor = pair()
    shift_B1 = torch.linspace(-9, 9, B).unsqueeze(1).double()
    found, shifted = (LOSSES[name](mentee + by, mentor - 2 * by, torch.ones(B).double()) for by in (0, shift_B1))
    torch.testing.assert_close(found, shifted)


def test_dist_does_not_see_a_mentee_that_is_less_sure_by_one_affine_map() -> None:
    """(1 − λ)p + λ/K correlates with p perfectly, over the classes and over the samples."""
    _, mentor = pair()
    flatter = (0.3 * mentor.softmax(1) + 0.7 / K).log()
    assert float(dist(flatter, mentor, torch.ones(B).double())) == pytest.approx(0, abs=1e-9)
    assert float(softmax_losses.kl(flatter, mentor, torch.ones(B).double())) > 0.1


def test_dkd_weighs_the_other_classes_apart_from_how_sure_the_mentor_is() -> None:
    """KL = KL(b' ‖ b) + (1 − p'_target) · KL(q' ‖ q); arXiv 2203.08679, eq. 5. With the two parts from loops."""
    mentee, mentor = pair()
    weight_B = torch.zeros(B).double()
    weight_B[0] = 1
    taught, learned = softmax(mentor[0].tolist()), softmax(mentee[0].tolist())
    target = int(TARGET_B[0])
    binary = kl([taught[target], 1 - taught[target]], [learned[target], 1 - learned[target]])
    rest = (float(dkd(mentee, mentor, TARGET_B, weight_B)) - binary) / 8
    assert binary + (1 - taught[target]) * rest == pytest.approx(float(softmax_losses.kl(mentee, mentor, weight_B)))
