"""Interpolation to fixed sizes: nearest is a Gather along each axis, all other kinds are linear, one matrix an axis.

torch itself is asked for the matrix: the rows of an identity, interpolated in float64.
"""

from typing import Any

import numpy as np
import onnx
import torch
from torch.nn import functional as F

from export.rewrites.differentiable import Array, Known, attributes
from export.rewrites.operators.matrices import along_axes
from export.rewrites.writer import Writer, fixed

MODES = {"linear": "bilinear", "cubic": "bicubic"}
COORDINATES = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}  # -> align_corners


def resize(w: Writer, node: onnx.NodeProto, known: Known) -> str | None:
    before, after = fixed(known, node.input[0]), fixed(known, node.output[0])
    given: dict[str, Any] = {"mode": b"nearest", "coordinate_transformation_mode": b"half_pixel"} | attributes(node)
    mode, coordinates = given["mode"].decode(), given["coordinate_transformation_mode"].decode()
    if before is None or after is None or before[0] != after[0]:
        return None
    scales = scales_of(node, known)
    unscaled: list[float | None] = [None] * (len(before) - 1)
    axes = list(zip(before[1:], after[1:], scales or unscaled, strict=True))
    if mode == "nearest":
        if (coordinates, given.get("nearest_mode")) != ("asymmetric", b"floor"):
            return None
        return nearest(w, node.input[0], axes)
    if mode not in MODES or coordinates not in COORDINATES:
        return None
    smooth = bool(given.get("antialias", 0))
    if mode == "cubic" and float(given.get("cubic_coeff_a", -0.75)) != (-0.5 if smooth else -0.75):
        return None
    matrices = [interpolation(*axis, MODES[mode], COORDINATES[coordinates], smooth) for axis in axes]
    made: str = along_axes(w, node.input[0], matrices)
    return made


def scales_of(node: onnx.NodeProto, known: Known) -> list[float] | None:
    """One an axis of space; None where the node is given sizes. As they were written: 0.6, not the float32 next to it, which
    would choose other places."""
    ratios = known.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    return None if ratios is None else [float(str(ratio)) for ratio in ratios[2:].astype(np.float32)]


def nearest(w: Writer, x: str, axes: list[tuple[int, int, float | None]]) -> str:
    for axis, (before, after, scale) in enumerate(axes):
        places = torch.arange(before, dtype=torch.float64).view(1, 1, -1)
        chosen = F.interpolate(places, **wanted(after, scale), mode="nearest").flatten().long().tolist()
        if chosen != list(range(before)):
            x = w("Gather", x, chosen, axis=axis + 2)
    return w("Identity", x)


def interpolation(
    before: int, after: int, scale: float | None, mode: str, align_corners: bool, antialias: bool
) -> Array:
    """[after, before]: what each place of before gives to those of after."""
    one = torch.eye(before, dtype=torch.float64).view(
        before, 1, 1, before
    )  # [·, ·, before, 1] is wrong under antialias
    size = {"size": (1, after)} if scale is None else {"scale_factor": (1.0, scale), "recompute_scale_factor": False}
    options: dict[str, Any] = {"mode": mode, "align_corners": align_corners, "antialias": antialias} | size
    return np.asarray(F.interpolate(one, **options)[:, 0, 0].T)


def wanted(after: int, scale: float | None) -> dict[str, Any]:
    return {"size": after} if scale is None else {"scale_factor": scale, "recompute_scale_factor": False}


def resized_by_torch(node: onnx.NodeProto, known: Known, x: Array) -> Array:
    """torch's own resizing of x [B, C, *space], in float64."""
    given, after = attributes(node), known.shapes[node.output[0]][2:]
    mode, scales = given["mode"].decode(), scales_of(node, known)
    names = {"linear": ("linear", "bilinear", "trilinear")[x.ndim - 3], "cubic": "bicubic"}
    size: dict[str, Any] = {"size": after} if scales is None else {"scale_factor": tuple(scales)}
    if mode != "nearest":
        size["align_corners"] = COORDINATES[given["coordinate_transformation_mode"].decode()]
        size["antialias"] = bool(given.get("antialias", 0))
    return np.asarray(F.interpolate(torch.from_numpy(x).double(), mode=names.get(mode, mode), **size))
