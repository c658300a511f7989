"""Against scikit-learn, SciPy and a count by loops. Axes: N samples, K classes."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, confusion_matrix, top_k_accuracy_score
from torch import Tensor

from distill.evaluate import metrics

K = 7


@pytest.fixture(scope="module")
def sample() -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a mentee that is right about half the time, the labels, and a mentor's logits."""
    generator = torch.Generator().manual_seed(3)
    label_N = torch.randint(0, K, (400,), generator=generator)
    logits_NK = 3 * torch.randn(400, K, generator=generator)
    logits_NK[torch.arange(400), label_N] += 2.5
    return logits_NK, label_N, logits_NK + torch.randn(400, K, generator=generator)


def test_accuracy_and_top_k_are_those_of_scikit_learn(sample: tuple[Tensor, Tensor, Tensor]) -> None:
    logits_NK, label_N, _ = sample
    assert metrics.accuracy(logits_NK, label_N) == pytest.approx(
        accuracy_score(label_N, logits_NK.argmax(1)), abs=1e-15
    )
    found = [metrics.top_k_accuracy(logits_NK, label_N, k) for k in range(1, K + 1)]
    expected = [top_k_accuracy_score(label_N, logits_NK, k=k, labels=range(K)) for k in range(1, K)]
    assert found[:-1] == pytest.approx(expected, abs=1e-15)
    assert found[0] < found[4] < found[-1] == 1


def test_the_confusion_matrix_is_that_of_scikit_learn_also_for_a_class_that_never_comes() -> None:
    label_N, predicted_N = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([0, 3, 2, 0, 2])
    found = metrics.confusion(predicted_N, label_N, 4)
    assert found.tolist() == confusion_matrix(label_N, predicted_N, labels=range(4)).tolist()
    assert found[0, 3] == 1  # true class in the row


def by_loops(logits_NK: Tensor, label_N: Tensor, bins: int) -> float:
    """Σ |B_m|/N · |acc(B_m) − conf(B_m)|, written out with sets of samples."""
    probability_NK = np.exp(logits_NK.double().numpy())
    probability_NK /= probability_NK.sum(1, keepdims=True)
    total = 0.0
    for m in range(1, bins + 1):
        within = [i for i, p in enumerate(probability_NK.max(1)) if (m - 1) / bins < p <= m / bins]
        if within:
            right = np.mean([probability_NK[i].argmax() == int(label_N[i]) for i in within])
            sure = np.mean([probability_NK[i].max() for i in within])
            total += len(within) / len(label_N) * abs(right - sure)
    return float(total)


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_the_calibration_error_is_that_of_loops_over_the_bins(sample: tuple[Tensor, Tensor, Tensor], bins: int) -> None:
    logits_NK, label_N, _ = sample
    found = metrics.expected_calibration_error(logits_NK, label_N, bins)
    assert found == pytest.approx(by_loops(logits_NK, label_N, bins), abs=1e-12)
    assert found > 0.01


def test_the_calibration_error_by_hand() -> None:
    """Confidences .9, .9 (one right) and .6 (right): 2/3 · |.5 − .9| + 1/3 · |1 − .6| = .4."""
    logits_NK = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]], dtype=torch.float64).log()
    label_N = torch.tensor([0, 1, 1])
    assert metrics.expected_calibration_error(logits_NK, label_N) == pytest.approx(0.4, abs=1e-12)
    assert metrics.expected_calibration_error(100 * torch.eye(3), torch.arange(3)) == 0  # sure of what is true


def test_the_divergence_is_scipys_entropy_and_agreement_a_count(sample: tuple[Tensor, Tensor, Tensor]) -> None:
    logits_NK, _, mentor_NK = sample
    mentee, mentor = (np.exp(side.double().numpy()) for side in (logits_NK, mentor_NK))
    expected = np.mean([entropy(mentor[i], mentee[i]) for i in range(400)])
    assert metrics.kl_from_mentor(logits_NK, mentor_NK) == pytest.approx(expected, rel=1e-12)
    assert metrics.kl_from_mentor(mentor_NK, mentor_NK) == 0
    same = sum(int(a.argmax() == b.argmax()) for a, b in zip(mentee, mentor, strict=True))
    assert metrics.agreement(logits_NK, mentor_NK) == same / 400


def test_extreme_logits_stay_finite() -> None:
    logits_NK, mentor_NK = torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])
    assert metrics.kl_from_mentor(logits_NK, mentor_NK) == pytest.approx(2e4)
    assert metrics.expected_calibration_error(logits_NK, torch.tensor([1])) == 1


def test_of_no_samples_nothing_is_known() -> None:
    none_NK, none_N = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    found = [metrics.accuracy(none_NK, none_N), metrics.expected_calibration_error(none_NK, none_N)]
    assert all(math.isnan(value) for value in found)
