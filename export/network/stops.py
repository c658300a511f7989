"""Places where a forward does what a graph does not: stops the gradient (detach(), no_grad())."""

import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from mentor_mentee.objective.taps import evaluating

TORCH = Path(torch.__file__).parent
HERE = Path(__file__)
STOPS = ("detach", "detach_", "_set_grad_enabled")  # torch's exporter leaves them out without a word


class Listening(TorchFunctionMode):
    """Notes the line of the network's code that calls one of `functions`."""

    def __init__(self, functions: Collection[str]) -> None:
        super().__init__()
        self.functions = functions
        self.places: dict[str, None] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__name__", "") in self.functions:
            own = [
                frame
                for frame in traceback.extract_stack()
                if not Path(frame.filename).is_relative_to(TORCH) and Path(frame.filename) != HERE
            ]
            if own:
                self.places.setdefault(f"{Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].line})")
        return function(*args, **(kwargs or {}))


def lines_calling(functions: Collection[str], network: nn.Module, shape: Sequence[int]) -> list[str]:
    """Lines of the forward that call one of `functions`, in the order in which they run."""
    listening = Listening(functions)
    with evaluating(network), torch.enable_grad(), listening:
        network(torch.zeros(2, *shape))
    return list(listening.places)


def stops_in_words(network: nn.Module, shape: Sequence[int]) -> str:
    """A sentence, which is empty where there are none."""
    places = lines_calling(STOPS, network, shape)
    if not places:
        return ""
    shown = ", ".join(places[:3])
    return (
        f"{type(network).__name__} stops a gradient at {shown}, which the graph does not: leave out detach() and no_grad(), or "
        "freeze every parameter before it; "
    )
