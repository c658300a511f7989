"""Places where a forward does what a graph does not: stops the gradient (detach(), .data, no_grad()), brings a backward of its
own (torch.autograd.Function), or leaves one row of a table without a gradient."""

import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mentor_mentee.objective.taps import evaluating

TORCH = Path(torch.__file__).parent
HERE = Path(__file__)
STOPS = ("detach", "detach_", "data", "_set_grad_enabled")  # torch's exporter leaves them out without a word
PADDING = "embedding with padding_idx"


class Listening(TorchFunctionMode):
    """Notes the line of the network's code that calls one of `functions`."""

    def __init__(self, functions: Collection[str]) -> None:
        super().__init__()
        self.functions = functions
        self.places: dict[str, None] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if self.name_of(function, kwargs or {}) in self.functions:
            self.note()
        return function(*args, **(kwargs or {}))

    @staticmethod
    def name_of(function: Any, kwargs: Mapping[str, Any]) -> str:
        name = str(getattr(function, "__name__", ""))
        if name == "__get__":  # of an attribute
            return str(getattr(function.__self__, "__name__", ""))
        return PADDING if function is F.embedding and kwargs.get("padding_idx") is not None else name

    def note(self) -> None:
        own = [
            frame
            for frame in traceback.extract_stack()
            if not Path(frame.filename).is_relative_to(TORCH) and Path(frame.filename) != HERE
        ]
        if own:
            self.places.setdefault(f"{Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].line})")


def lines_calling(functions: Collection[str], network: nn.Module, shape: Sequence[int]) -> list[str]:
    """Lines of the forward that call one of `functions`, in the order in which they run."""
    listening = Listening(functions)
    with evaluating(network), torch.enable_grad(), listening:
        network(torch.zeros(2, *shape))
    return list(listening.places)


def own_backwards(network: nn.Module, shape: Sequence[int]) -> list[str]:
    """`Step (net.py:12)`: the torch.autograd.Functions, but torch's own, that the gradient of the logits runs through."""
    with evaluating(network), torch.enable_grad():
        logits = network(torch.zeros(2, *shape))
    found, seen, left = dict[str, None](), set[Any](), [logits.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        left += [before for before, _ in node.next_functions]
        kind = getattr(node, "_forward_cls", None)
        if kind is not None and not kind.__module__.startswith("torch."):
            code = kind.forward.__code__
            found.setdefault(f"{kind.__name__} ({Path(code.co_filename).name}:{code.co_firstlineno})")
    return list(found)


def stops_in_words(network: nn.Module, shape: Sequence[int]) -> str:
    """A sentence for each kind of place that there is; empty where there is none."""
    found = {
        "stops a gradient at {}, which the graph does not: leave out detach(), .data and no_grad(), or freeze every parameter "
        "before it": lines_calling(STOPS, network, shape),
        "has a backward of its own in {}, and the graph differentiates the forward: write it without torch.autograd.Function, or "
        "freeze every parameter before it": own_backwards(network, shape),
        "looks up an embedding with padding_idx at {}, and the graph gives that row a gradient: use the module nn.Embedding, or "
        "leave padding_idx out": lines_calling([PADDING], network, shape),
    }
    name = type(network).__name__
    return "".join(f"{name} {does.format(', '.join(places[:3]))}; " for does, places in found.items() if places)
