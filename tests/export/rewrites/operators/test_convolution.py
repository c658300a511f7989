"""Grouped and transposed convolutions over one, two and three axes: output and gradients against torch's."""

from pathlib import Path

import numpy as np
import torch
from onnx import helper
from torch.nn import functional as F

from tests.export.rewrites.branches import Branch, answers

CONVS = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
SPACES = [(9,), (6, 7), (5, 4, 6)]
SETTINGS = [  # stride, padding, dilation, groups, extra padding of a transposed one
    (1, 0, 1, 1, 0), (2, 1, 1, 1, 1), (1, 1, 2, 2, 0), (2, 2, 1, 4, 0), (3, 0, 1, 2, 2), (2, 3, 2, 4, 1),
]  # fmt: skip


def test_convolutions_compute_and_train_as_in_torch(tmp_path: Path) -> None:
    random, branches, expected, about = torch.Generator().manual_seed(0), [], [], []
    for space in SPACES:
        n = len(space)
        for stride, padding, dilation, groups, extra in SETTINGS:
            x = torch.randn(1, 4, *space, generator=random).requires_grad_()
            common = {"strides": [stride] * n, "pads": [padding] * 2 * n, "dilations": [dilation] * n, "group": groups}
            for op in ("Conv", "ConvTranspose"):
                if op == "Conv" and (groups == 1 or dilation * 2 >= min(space) + 2 * padding):
                    continue  # without groups the runtime does it; or no window fits
                weight = torch.randn(4, 4 // groups, *[3] * n, generator=random).requires_grad_()
                bias = torch.randn(4, generator=random).requires_grad_()
                x.grad = None
                if op == "Conv":
                    y = CONVS[n - 1](x, weight, bias, stride, padding, dilation, groups)
                else:
                    y = TRANSPOSED[n - 1](x, weight, bias, stride, padding, extra, groups, dilation)
                (2 * y.square().sum()).backward()
                options = common | ({} if op == "Conv" else {"output_padding": [extra] * n})
                node = helper.make_node(op, ["x", "w", "b"], ["y"], kernel_shape=[3] * n, **options)
                weights = {"w": weight.detach().numpy(), "b": bias.detach().numpy()}
                branches.append(Branch(node, x.detach().numpy(), {}, weights, tuple(y.shape[1:])))
                expected.append((y.detach().numpy(), {"x": x.grad, "w": weight.grad, "b": bias.grad}))
                about.append((op, space, stride, padding, dilation, groups, extra))
    found, findings = answers(branches, tmp_path)
    assert all(finding.rewrite for finding in findings), findings
    for setting, answer, (y, gradients) in zip(about, found, expected, strict=True):
        np.testing.assert_allclose(answer.y[:1], y, rtol=1e-4, atol=1e-4, err_msg=str(setting))
        for name, gradient in gradients.items():
            np.testing.assert_allclose(
                answer.gradients[name], gradient, rtol=1e-4, atol=2e-3, err_msg=f"{setting} {name}"
            )
