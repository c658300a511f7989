"""Dropout on the device: gone, which is the default, or drawn by ONNX Runtime while the mentee learns.

ONNX Runtime Training 1.19.2 has a gradient for Dropout where the node puts out its mask as well, and switches it off in the
eval graph by itself. Its masks come from the process's own generator, so a client seeds that before each step.
"""

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.network.fold import replace
from mentor_mentee.errors import UserError

UNSUPPORTED = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
RATIO_AT = {"Dropout": 1, "DropoutGrad": 2}  # which input it is


class LearningDropout(nn.Module):
    """nn.Dropout that is traced as a Dropout node also in eval mode, in which graphs are exported."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training or torch.compiler.is_exporting())


def keep_dropout(network: nn.Module) -> None:
    """Replaces every nn.Dropout of `network`, in place, by one that reaches the graph; in eval mode none does.

    Raises `UserError` where there is none, and for other kinds of dropout, which would silently be left out.
    """
    found = {
        path: module for path, module in network.named_modules() if isinstance(module, nn.Dropout) and module.p > 0
    }
    for path, module in network.named_modules():
        attention = isinstance(module, nn.MultiheadAttention) and module.dropout > 0
        if attention or isinstance(module, UNSUPPORTED) or type(module).__name__ == "StochasticDepth":
            raise UserError(
                f"dropout=on: '{path}' is a {type(module).__name__}, whose dropout cannot be exported; use nn.Dropout there, or "
                "dropout=off"
            )
    if not found:
        raise UserError("dropout=on, but the mentee has no nn.Dropout with p above 0; leave it off, or add one")
    for path, module in found.items():
        if module.p >= 1:
            raise UserError(f"dropout=on: '{path}' has p={module.p}, which drops everything; expected p below 1")
        replace(network, path, LearningDropout(module.p))


def add_masks(model: onnx.ModelProto) -> None:
    """The second output without which the gradient cannot be built."""
    for node in model.graph.node:
        if node.op_type == "Dropout" and len(node.output) == 1:
            node.output.append(f"{node.output[0]}_mask")


def without_dropout(model: onnx.ModelProto) -> None:
    """Makes the Dropout of an inference graph the identity."""
    for node in model.graph.node:
        if node.op_type == "Dropout":
            node.op_type = "Identity"
            del node.input[1:]
            del node.output[1:]
            del node.attribute[:]


def drop_nothing(network: nn.Module) -> None:
    """Sets every `LearningDropout` of `network` so, in place."""
    for module in network.modules():
        if isinstance(module, LearningDropout):
            module.p = 0.0


def drop_nothing_in(training_model: Path, target: Path) -> None:
    """Writes a copy of a training model with ratio 0, the same in all else: what can be compared with torch."""
    model = onnx.load(training_model)
    model.graph.initializer.append(onnx.helper.make_tensor("no_dropout", onnx.TensorProto.FLOAT, [], [0.0]))
    for node in model.graph.node:
        if node.op_type in RATIO_AT:
            node.input[RATIO_AT[node.op_type]] = "no_dropout"
    onnx.save(model, target)
