"""Why torch could not trace a network, in one line that names the network's own code."""

import traceback
from pathlib import Path

import torch
from torch import nn

TORCH = Path(torch.__file__).parent
HERE = Path(__file__).parent


def untraceable(network: nn.Module, error: BaseException) -> str:
    cause = error.__cause__ or error
    reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    line = own_line(cause)
    decides = "data-dependent" in str(cause) or type(cause).__name__ == "GuardOnDataDependentSymNode"
    todo = (
        "; its control flow depends on the values of a sample, which a graph cannot: use torch.where, or decide by shapes alone"
        if decides
        else ""
    )
    return f"{type(network).__name__} cannot be traced for export: {reason}{f', at {line}' if line else ''}{todo}"


def own_line(error: BaseException) -> str:
    """`net.py:12 (if x.sum() > 0:)`: the innermost line on the way to the error that is not torch's or this exporter's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not Path(frame.filename).is_relative_to(TORCH)
        and Path(frame.filename).parent != HERE
        and not frame.filename.startswith("<")
        and "objective" not in Path(frame.filename).parts
    ]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].line})" if own else ""
