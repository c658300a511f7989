"""Refuses what ONNX Runtime is known to compute wrongly: the proof would refuse it as well, but could not say what to change."""

import onnx

from export.rewrites.differentiable import attributes
from export.rewrites.rewrite import origin
from mentor_mentee.errors import UserError


def refuse_wrong_kernels(model: onnx.ModelProto) -> None:
    """Raises `UserError` for a ConvTranspose with an output padding of its stride or more, which torch allows below the dilation:
    ONNX Runtime 1.19 fills the places behind with what lies in memory, 1.32 refuses the node."""
    for node in model.graph.node:
        given = attributes(node)
        extra = given.get("output_padding", ())
        if node.op_type == "ConvTranspose" and any(
            more >= stride for more, stride in zip(extra, given.get("strides", [1] * len(extra)), strict=True)
        ):
            path, kind, line = origin(node)
            strides = list(given.get("strides", [1] * len(extra)))
            about = ", ".join(word for word in (kind, line) if word)
            raise UserError(
                f"{path or 'the network itself'}{f' ({about})' if about else ''}: ONNX Runtime computes a transposed convolution "
                f"with output_padding {list(extra)} and stride {strides} wrongly, or not at all; "
                "expected an output_padding below the stride: leave it out, and pad what comes out (torch.nn.functional.pad)"
            )
