"""Pooling of every setting: the rewritten node's output and gradient against torch's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper
from torch import Tensor
from torch.nn import functional as F

from tests.export.rewrites.branches import Branch, answers

AVERAGES = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
LARGEST = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
# kernel, stride, padding of a map of odd sizes; the last two sizes are large enough for the other way to compute it
SPACES = [(7,), (5, 8), (4, 5, 6), (23, 30), (80,)]
WINDOWS = [(2, 2, 0), (3, 2, 1), (3, 3, 1), (3, 1, 1), (2, 3, 1), (5, 4, 2)]


def settings() -> list[tuple[str, tuple[int, ...], int, int, int, bool, bool]]:
    found = []
    for space in SPACES:
        for kernel, stride, padding in WINDOWS:
            if kernel > min(space):
                continue
            for ceil in (False, True):
                found += [("AveragePool", space, kernel, stride, padding, ceil, count) for count in (False, True)]
                if ceil:
                    found.append(("MaxPool", space, kernel, stride, padding, ceil, False))
    return found


def pooled(x: Tensor, op: str, kernel: int, stride: int, padding: int, ceil: bool, count: bool) -> Tensor:
    n = x.dim() - 2
    if op == "AveragePool":
        return AVERAGES[n - 1](x, kernel, stride, padding, ceil, count)
    return LARGEST[n - 1](x, kernel, stride, padding, 1, ceil)  # type: ignore[no-any-return]


def test_every_pooling_computes_and_trains_as_in_torch(tmp_path: Path) -> None:
    random, branches, expected = torch.Generator().manual_seed(0), [], []
    for op, space, kernel, stride, padding, ceil, count in settings():
        n = len(space)
        options = {"kernel_shape": [kernel] * n, "strides": [stride] * n, "pads": [padding] * 2 * n, "ceil_mode": ceil}
        options |= {"count_include_pad": count} if op == "AveragePool" else {}
        x = torch.randn(1, 3, *space, generator=random).requires_grad_()
        y = pooled(x, op, kernel, stride, padding, ceil, count)
        (2 * y.square().sum()).backward()  # the batch holds x twice
        node = helper.make_node(op, ["x"], ["y"], **{name: value for name, value in options.items() if value != 0})
        branches.append(Branch(node, x.detach().numpy(), {}, {}, tuple(y.shape[1:])))
        expected.append((y.detach().numpy(), x.grad))
    assert len(branches) >= 60
    found, findings = answers(branches, tmp_path)
    assert len(findings) == len(branches)
    assert all(finding.rewrite for finding in findings), findings
    for setting, answer, (y, gradient) in zip(settings(), found, expected, strict=True):
        assert answer.y.shape[1:] == y.shape[1:], setting
        np.testing.assert_allclose(answer.y[:1], y, rtol=1e-5, atol=1e-6, err_msg=str(setting))
        np.testing.assert_allclose(answer.gradients["x"], gradient, rtol=1e-5, atol=1e-5, err_msg=str(setting))


@pytest.mark.parametrize("dilation", [1, 2])
def test_equal_values_give_the_first_of_them_the_gradient(dilation: int, tmp_path: Path) -> None:
    """As torch does; a map after a ReLU is full of zeros. Whole numbers, so that windows have their maximum twice."""
    x = torch.tensor(np.random.default_rng(0).integers(0, 3, (1, 2, 9, 9)), dtype=torch.float32).requires_grad_()
    y = F.max_pool2d(x, 3, 2, 1, dilation, True)
    (2 * y.square().sum()).backward()
    options = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "dilations": [dilation] * 2, "ceil_mode": 1}
    node = helper.make_node("MaxPool", ["x"], ["y"], **options)
    (answer,), _ = answers([Branch(node, x.detach().numpy(), {}, {}, tuple(y.shape[1:]))], tmp_path)
    np.testing.assert_array_equal(answer.y[:1], y.detach().numpy())
    np.testing.assert_array_equal(answer.gradients["x"], x.grad)
