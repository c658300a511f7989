"""Interpolation of every kind to fixed sizes: the rewritten node's output and gradient against torch's."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import helper
from torch.nn import functional as F

from tests.export.rewrites.branches import Branch, answers

HALF, CORNERS, FLOOR = "half_pixel", "align_corners", "asymmetric"
CASES: list[tuple[str, tuple[int, ...], tuple[int, ...] | float, str, bool]] = [
    ("nearest", (7,), (9,), FLOOR, False),
    ("nearest", (6, 7), (9, 5), FLOOR, False),
    ("nearest", (17, 13), 0.6, FLOOR, False),  # 0.6 of float32 would choose other places
    ("nearest", (3, 4, 5), 2.0, FLOOR, False),
    *(("linear", (6, 7), (9, 5), way, smooth) for way, smooth in ((HALF, False), (CORNERS, False), (HALF, True))),
    *(("cubic", (6, 7), (3, 11), way, smooth) for way, smooth in ((HALF, False), (CORNERS, False), (HALF, True))),
    ("linear", (6, 7), 1.7, HALF, False),
    ("cubic", (6, 7), 0.5, HALF, False),
    ("linear", (3, 4, 5), (5, 4, 2), HALF, False),
    ("linear", (8, 7, 9), (13, 14, 5), CORNERS, False),  # too large for one matrix over all places, as the next ones
    ("linear", (20, 30), (41, 25), HALF, False),
    ("cubic", (20, 30), (41, 30), CORNERS, False),
]


def test_every_interpolation_computes_and_trains_as_in_torch(tmp_path: Path) -> None:
    random, branches, expected = torch.Generator().manual_seed(0), [], []
    for mode, space, wanted, way, smooth in CASES:
        x = torch.randn(1, 2, *space, generator=random).requires_grad_()
        name = {"linear": {2: "bilinear", 3: "trilinear"}, "cubic": {2: "bicubic"}}.get(mode, {}).get(len(space), mode)
        options: dict[str, Any] = {} if mode == "nearest" else {"align_corners": way == CORNERS, "antialias": smooth}
        given = {"scale_factor": wanted} if isinstance(wanted, float) else {"size": wanted}
        y = F.interpolate(x, mode=name, **given, **options)
        (2 * y.square().sum()).backward()
        settings: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": way, "antialias": int(smooth)}
        settings |= {"nearest_mode": "floor", "cubic_coeff_a": -0.5 if smooth else -0.75}
        if isinstance(wanted, float):
            inputs, constants = ["x", "", "scales"], {"scales": np.array([1, 1, *[wanted] * len(space)], np.float32)}
        else:
            inputs, constants = ["x", "", "", "sizes"], {"sizes": np.array([2, 2, *wanted], np.int64)}
        node = helper.make_node("Resize", inputs, ["y"], **settings)
        branches.append(Branch(node, x.detach().numpy(), constants, {}, tuple(y.shape[1:])))
        expected.append((y.detach().numpy(), x.grad))
    found, findings = answers(branches, tmp_path)
    assert len(findings) == len(branches)
    assert all(finding.rewrite for finding in findings), findings
    for case, answer, (y, gradient) in zip(CASES, found, expected, strict=True):
        np.testing.assert_allclose(answer.y[:1], y, rtol=1e-4, atol=1e-5, err_msg=str(case))
        np.testing.assert_allclose(answer.gradients["x"], gradient, rtol=1e-4, atol=1e-4, err_msg=str(case))
