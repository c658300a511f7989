"""Small networks around one layer each: weights before it, so that a gradient must flow through it, and a head behind it.

Axes: B batch, C channels, L H W D sizes of a map, T places of a sequence.
"""

import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

CLASSES = 5
GIVEN = 3
CHANNELS = 4
FLAT = nn.Flatten
# shape of a sample, and what stands before the layer; the comment is what the layer is given
FRONTS: dict[str, tuple[tuple[int, int, int], Callable[[], nn.Module]]] = {
    "vector": ((GIVEN, 1, 1), lambda: nn.Sequential(FLAT(), nn.Linear(GIVEN, CHANNELS))),  # [B, C]
    "sequence": ((1, 6, GIVEN), lambda: nn.Sequential(FLAT(1, 2), nn.Linear(GIVEN, CHANNELS))),  # [B, T, C]
    "steps": ((1, 3, GIVEN), lambda: nn.Sequential(FLAT(1, 2), nn.Linear(GIVEN, CHANNELS))),  # the same, to be unrolled
    "line": ((GIVEN, 1, 13), lambda: nn.Sequential(FLAT(2), nn.Conv1d(GIVEN, CHANNELS, 3, padding=1))),  # [B, C, L]
    "map": ((GIVEN, 7, 9), lambda: nn.Conv2d(GIVEN, CHANNELS, 3, padding=1)),  # [B, C, H, W]
    "even": ((GIVEN, 8, 12), lambda: nn.Conv2d(GIVEN, CHANNELS, 3, padding=1)),
    "volume": (
        (GIVEN, 4, 30),
        lambda: nn.Sequential(nn.Unflatten(3, (5, 6)), nn.Conv3d(GIVEN, CHANNELS, 3, padding=1)),  # [B, C, D, H, W]
    ),
    "tokens": ((1, 1, 6), lambda: FLAT()),  # [B, T] of floats
}


class Behind(nn.Module):
    """front -> `layer` -> [B, features]. `layer` is an expression: of a module, or of `x`, what the front puts out."""

    def __init__(self, layer: str, given: str) -> None:
        super().__init__()
        shape, front = FRONTS[given]
        self.front = front()
        self.layer = made(layer)
        with torch.no_grad():
            self.features = self.eval()(torch.randn(3, *shape)).shape[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.front(x)).flatten(1)  # type: ignore[no-any-return]


class SideBySide(nn.Module):
    """Several layers, each behind a front of its own, before one head; `places.3` is the fourth."""

    def __init__(self, layers: Sequence[str], given: str) -> None:
        super().__init__()
        self.places = nn.ModuleList(Behind(layer, given) for layer in layers)
        self.head = nn.Linear(sum(place.features for place in self.places), CLASSES)  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([place(x) for place in self.places], 1))  # type: ignore[no-any-return]


class Expression(nn.Module):
    """A text of `x`, evaluated in each forward."""

    def __init__(self, code: types.CodeType) -> None:
        super().__init__()
        self.code = code

    def forward(self, x: Tensor) -> Tensor:
        return eval(self.code, {**NAMES, "x": x})  # type: ignore[no-any-return]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Expression":
        return Expression(self.code)  # code objects cannot be copied, and need not be


def made(layer: str) -> nn.Module:
    code = compile(layer, "<layer>", "eval")
    if "x" in code.co_names:
        return Expression(code)
    module: nn.Module = eval(code, NAMES)
    return module


class Outputs(nn.Module):
    """The sequence that a recurrent layer puts out."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]  # type: ignore[no-any-return]


class LastState(Outputs):
    """The last hidden state of a recurrent layer, [layers · directions, B, H], with B in front."""

    def forward(self, x: Tensor) -> Tensor:
        state = self.layer(x)[1]
        return (state[0] if isinstance(state, tuple) else state).transpose(0, 1)  # type: ignore[no-any-return]


class Steps(Outputs):
    """A recurrent cell, called for each place of the sequence."""

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for place in x.unbind(1):
            state = self.layer(place, state)
        return state[0] if isinstance(state, tuple) else state  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Self-attention, with a mask that hides later places."""

    def __init__(self, layer: nn.MultiheadAttention, masked: bool = False, weights: bool = False) -> None:
        super().__init__()
        self.layer, self.weights = layer, weights
        self.mask = nn.Buffer(torch.ones(6, 6).triu(1).bool(), persistent=False) if masked else None

    def forward(self, x: Tensor) -> Tensor:
        y, shares = self.layer(x, x, x, attn_mask=self.mask, need_weights=self.weights)
        return torch.cat([y, shares], 2) if self.weights else y


class With(nn.Module):
    """`function(x, parameter)`."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], parameter: Tensor) -> None:
        super().__init__()
        self.function, self.parameter = function, nn.Parameter(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.parameter)


class Positive(nn.Module):
    """A parametrisation of one's own: exp(weight)."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.exp()


class NormThenReLU(nn.BatchNorm2d):
    """A BatchNorm with a forward of its own, as timm has it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class Ids(nn.Module):
    """Numbers of words, of samples that are floats."""

    def forward(self, x: Tensor) -> Tensor:
        return x.abs().long() % 9


class Twice(nn.Module):
    """One layer, used two times."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.layer(x)))  # type: ignore[no-any-return]


def statistics(norm: nn.Module) -> nn.Module:
    """A norm whose running statistics are not those of a fresh one."""
    for name, buffer in norm.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand(buffer.shape) + (0.5 if name.endswith("var") else 0))
    return norm


def pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", amount=0.5)  # type: ignore[no-any-return, no-untyped-call]


def positive(layer: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", Positive())


def old_weight_norm(layer: nn.Module) -> nn.Module:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch asks for parametrizations.weight_norm
        return torch.nn.utils.weight_norm(layer)


def mixed(x: Tensor, sizes: Sequence[int] = (2, 2)) -> Tensor:
    """Halves of the channels, one of them through a tanh."""
    first, second = torch.split(x, list(sizes), 1)
    return torch.cat([first.tanh(), second], 1)


def heads(x: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
    """Attention over two heads: x [B, T, C]."""
    return attend(torch.unflatten(x, -1, (2, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)


NAMES: dict[str, Any] = {
    "torch": torch, "nn": nn, "F": F, "old": torch.nn.utils, "new": parametrizations,
    "Outputs": Outputs, "LastState": LastState, "Steps": Steps, "Attention": Attention, "With": With, "Twice": Twice,
    "Ids": Ids, "NormThenReLU": NormThenReLU,
    "statistics": statistics, "pruned": pruned, "positive": positive, "old_weight_norm": old_weight_norm,
    "mixed": mixed, "heads": heads,
}  # fmt: skip
