"""An adapter brings a layer of the mentee and one of the mentor into one space, in which the loss compares them.

    identity    both as they are
    slice       the first min(C) channels of either (as reimplementations of arXiv 1604.08220 do it)
    select      those of the mentor's channels that its others follow from best, as many as the mentee has; where it has as
                many as the mentor there is nothing to select, and it is a slice
    regressor   a learned 1×1 convolution, of vectors a linear layer, from the mentee's channels to the mentor's
                (FitNets, arXiv 1412.6550, section 2.2)
    pca         the mentor's activations along their principal axes, as many as the mentee has channels
    projector   both: a learned 1×1 convolution from the mentee's channels to those axes, so that the mentee need not have its
                channels in the mentor's order, and the targets stay as small as the mentee

For two metrics, which compare no channel of one side with a channel of the other, so that all of both count:

    energy      for attention: of the mentor √Q, Q the mean over channels of A², brought to the mentee's size, which is all of
                it that the metric asks for; of the mentee all channels
    whole       for similarity: both as they are, whatever their shapes

The mentor's side is fixed before the first step and has nothing to learn, so the two sides cannot agree on zero.
It runs on the server alone; the mentee's side is part of the exported graph.
Axes: B batch, C channels, H W space, L tokens, D their width.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mentor_mentee.errors import UserError
from mentor_mentee.objective.probe_spec import AUTO, OF_METRIC, require_adapter

Shape = tuple[int, ...]
OF_COVARIANCE = {  # kinds that need it, and the constant they make of it
    "select": "channels",
    "pca": "projection",
    "projector": "projection",
}
LEARNED = ("regressor", "projector")  # kinds with weights on the mentee's side


class Constants:
    """Tensors that an adapter is made with. They compare by value, and print as a digest of it, since what prints a probe
    wants to know whether two are the same."""

    def __init__(self, tensors: Mapping[str, Tensor] | None = None) -> None:
        self.tensors = {name: value.detach().cpu().clone() for name, value in (tensors or {}).items()}
        self._elsewhere: dict[torch.device, dict[str, Tensor]] = {}

    def on(self, device: torch.device) -> dict[str, Tensor]:
        if device not in self._elsewhere:  # a copy to a GPU at each step would wait for it
            with torch.inference_mode(False):
                self._elsewhere[device] = {name: value.to(device) for name, value in self.tensors.items()}
        return self._elsewhere[device]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constants) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{name}: {digest(value)}' for name, value in sorted(self.tensors.items()))}}}"


def digest(value: Tensor) -> str:
    bytes_ = value.contiguous().numpy().tobytes()
    return f"{list(value.shape)} {hashlib.sha256(bytes_).hexdigest()[:16]}"


@dataclass(frozen=True)
class Adapter:
    """`constants`: `mean` and `std` [C] where normalised, `channels` [C] of a select and `projection` [C, C of the mentor] of
    a pca or a projector, once measured; `weight` and `bias` of a regressor or a projector, once learned."""

    mentee: Shape  # of one sample: [C], [C, H, W] or tokens [L, D]
    mentor: Shape
    shape: Shape  # of the space that is compared; of `energy` and `whole` the mentor's side in it
    kind: str = "slice"
    normalise: bool = False
    constants: Constants = field(default_factory=Constants)
    mentee_last: bool = False  # the layer puts out [H, W, C], as a Swin's does; shapes here are [C, H, W]
    mentor_last: bool = False

    @classmethod
    def between(
        cls,
        probe: str,
        mentee: Shape,
        mentor: Shape,
        kind: str = AUTO,
        normalise: bool = False,
        metric: str = "rmse",
        cells: int | None = None,
    ) -> "Adapter":
        """`auto` is what the metric asks for, else identity for equal shapes, else slice, which need no measuring; a run asks for
        `learned_kind` in its place. Where spaces differ:

        * the mentor's larger map is average-pooled to the mentee's size, cells of unequal size where it must be;
        * the mentee's larger map is pooled to the mentor's where that is a whole factor; else the mentor's is
          interpolated to the mentee's size, which costs the device nothing;
        * a map against a vector is averaged over space;
        * tokens [L, D] are the map [D, s, s] where s² is L, or L − 1 with the class token in front, which is dropped.

        Raises `UserError` for shapes that are none of these and differ, for `identity` of unequal ones, and for statistics of
        the mentor's channels where they meet none of the mentee's.
        """
        require_adapter(kind, f"probe '{probe}'")
        kind = OF_METRIC.get(metric, AUTO) if kind == AUTO else kind
        if normalise and kind in OF_METRIC.values():
            raise UserError(
                f"probe '{probe}' is to be normalised by the mentor's channels, which adapter={kind} pairs with none of the "
                "mentee's; leave normalise out, or take adapter=slice"
            )
        paired = f"probe '{probe}' pairs {list(mentee)} (mentee) with {list(mentor)} (mentor)"
        if kind == "identity" and mentee != mentor:
            raise UserError(
                f"{paired}, which adapter=identity cannot compare; take slice, select, regressor or pca, or auto"
            )
        kind = kind if kind != AUTO else "identity" if mentee == mentor else "slice"
        if kind == "whole":
            return cls(mentee, mentor, mentor, kind)
        if kind == "energy" and len(mentee) > 2 and mentee[1:] == mentor[1:]:
            return cls(mentee, mentor, (1, *mentee[1:]), kind)
        if kind == "identity" and not (normalise and len(mentee) == 2):  # tokens' channels stand last
            return cls(mentee, mentor, mentee, kind, normalise)
        one, other = as_map(mentee), as_map(mentor)
        if one is None or other is None:
            given = "adapter=energy compares layers" if kind == "energy" else "shapes that differ can be adapted"
            raise UserError(
                f"{paired}; {given} where each is [channels], [channels, height, width] or [tokens, "
                "width] of a square grid of tokens: choose other layers"
            )
        channels = other[0] if kind == "regressor" else min(one[0], other[0])
        if kind == "select" and channels == other[0]:
            kind = "slice"
        if len(one) == 1 or len(other) == 1:
            return cls(mentee, mentor, (channels,), kind, normalise)
        if kind == "energy":
            return cls(mentee, mentor, (1, *one[1:]), kind)
        space = (part if whole % part == 0 else whole for whole, part in zip(one[1:], other[1:], strict=True))
        return cls(mentee, mentor, (channels, *(coarser(size, cells) for size in space)), kind, normalise)

    def measured(self) -> bool:
        """True if the mentor's activations must be, or were, looked at before the run."""
        return self.normalise or self.kind in OF_COVARIANCE

    def mentors_side(self) -> str:
        """All that `from_mentor` depends on, for who wants to know whether two give the same."""
        fixed = Constants(
            {name: value for name, value in self.constants.tensors.items() if name not in ("weight", "bias")}
        )
        return f"{self.mentor} {self.shape} {self.kind} {self.normalise} {self.mentor_last} {fixed}"

    def lacking(self) -> set[str]:
        """The constants without which it cannot be run; those that are learned may be absent."""
        needed = {OF_COVARIANCE[self.kind]} if self.kind in OF_COVARIANCE else set()
        return (needed | ({"mean", "std"} if self.normalise else set())) - set(self.constants.tensors)

    def with_constants(self, **tensors: Tensor) -> "Adapter":
        return replace(self, constants=Constants(self.constants.tensors | tensors))

    def from_mentor(self, activation: Tensor) -> Tensor:
        """[B, *mentor] -> [B, *shape]."""
        fixed = self.constants.on(activation.device)
        activation = self.mentor_channels_first(activation)
        if self.kind == "energy":  # of what is pooled first, values of either sign would take each other away
            energy = tokens_to_map(activation).square().mean(1, keepdim=True)
            return (energy if energy.shape[1:] == self.shape else self.mentor_map(energy)).sqrt()
        activation = self.mentor_map(activation)
        if self.kind == "slice":
            activation = activation[:, : self.shape[0]]
        if self.kind == "select":
            activation = activation.index_select(1, fixed["channels"])
        if OF_COVARIANCE.get(self.kind) == "projection":
            activation = linear(activation, fixed["projection"])
        if self.normalise:
            mean, std = (along_channels(fixed[name], activation) for name in ("mean", "std"))
            activation = (activation - mean) / std
        return activation

    def mentor_channels_first(self, activation: Tensor) -> Tensor:
        """[B, ...] as the layer puts it out -> [B, *mentor]."""
        return activation.permute(0, 3, 1, 2) if self.mentor_last else activation

    def mentor_map(self, activation: Tensor) -> Tensor:
        """[B, *mentor] -> all of its channels in the compared space, [B, C] or [B, C, H, W]."""
        if self.mentor == self.shape:
            return activation
        activation = tokens_to_map(activation)
        if activation.dim() == 2 or len(self.shape) == 1:
            return activation.flatten(2).mean(2) if activation.dim() > 2 else activation
        height, width = self.shape[1:]
        given = activation.shape[2:]
        if given[0] > height or given[1] > width:
            activation = F.adaptive_avg_pool2d(activation, (min(given[0], height), min(given[1], width)))
        if activation.shape[2:] != (height, width):
            activation = F.interpolate(activation, (height, width), mode="bilinear", align_corners=False)
        return activation

    def mentee_map(self, activation: Tensor) -> Tensor:
        """[B, ...] as the layer puts it out -> the channels that are compared, or regressed from, in the compared space."""
        if self.mentee_last:
            activation = activation.permute(0, 3, 1, 2)
        if self.mentee == self.shape or self.kind == "whole":
            return activation
        activation = tokens_to_map(activation)
        if self.kind == "energy":
            return activation
        if self.kind not in LEARNED and activation.shape[1] > self.shape[0]:
            activation = activation[:, : self.shape[0]]
        if len(self.shape) == 1:
            return activation.mean((2, 3)) if activation.dim() == 4 else activation
        if activation.shape[2:] != self.shape[1:]:
            height, width = self.shape[1:]
            activation = F.avg_pool2d(activation, (activation.shape[2] // height, activation.shape[3] // width))
        return activation


def coarser(size: int, cells: int | None) -> int:
    """The largest whole fraction of `size` that is at most `cells`; where that is less than half of them, `size`."""
    if cells is None or size <= cells:
        return size
    fitting = max(size // factor for factor in range(1, size + 1) if size % factor == 0 and size // factor <= cells)
    return fitting if 2 * fitting >= cells else size


def learned_kind(mentee: Shape, mentor: Shape, metric: str) -> str:
    """The kind that `auto` stands for in a run: what the metric asks for, else one that learns the way from the mentee's channels
    to the mentor's, which have no order in common; identity where the layers are neither maps, vectors nor square grids."""
    one, other = as_map(mentee), as_map(mentor)
    if metric in OF_METRIC or one is None or other is None:
        return AUTO
    return "projector" if other[0] > one[0] else "regressor"


class MenteeSide(nn.Module):
    """The adapter on the mentee's side: [B, *mentee] -> [B, *shape], with all channels in an `energy` and as it is in a `whole`.

    `weight` and `bias` are a regressor's or a projector's: to be learned, or fixed where the adapter brings learned ones. Nothing
    else is in the state dict.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.adapter = adapter
        fixed = adapter.constants.tensors
        if adapter.kind in LEARNED:
            layer = regressor(as_map(adapter.mentee) or adapter.mentee, adapter.shape)
            if "weight" in fixed:
                layer.load_state_dict({name: fixed[name] for name in ("weight", "bias")})
                layer.requires_grad_(False)
            self.weight, self.bias = layer.weight, layer.bias
        elif adapter.normalise:
            space = (1,) * (len(adapter.shape) - 1)
            self.register_buffer("scale", (1 / fixed["std"]).view(-1, *space), persistent=False)
            self.register_buffer("shift", (-fixed["mean"] / fixed["std"]).view(-1, *space), persistent=False)

    def forward(self, activation: Tensor) -> Tensor:
        activation = self.adapter.mentee_map(activation)
        if self.adapter.kind in LEARNED:
            return linear(activation, self.weight, self.bias)
        if self.adapter.normalise:
            return activation * self.scale + self.shift
        return activation


def regressor(mentee: Shape, shape: Shape) -> nn.Linear | nn.Conv2d:
    """torch's own initialisation, weights as they are used: [out, in], or [out, in, 1, 1] of a map."""
    return nn.Linear(mentee[0], shape[0]) if len(shape) == 1 else nn.Conv2d(mentee[0], shape[0], 1)


def linear(activation: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Along the channels of [B, C] or [B, C, H, W]."""
    if activation.dim() == 2:
        return F.linear(activation, weight, bias)
    if not activation.is_contiguous() and activation.is_contiguous(memory_format=torch.channels_last):
        # one product over all places: half the time of oneDNN's convolution on maps as small as these
        return F.linear(activation.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    return F.conv2d(activation, weight.view(*weight.shape[:2], 1, 1), bias)


def along_channels(value_C: Tensor, activation: Tensor) -> Tensor:
    return value_C.view(-1, *(1,) * (activation.dim() - 2))


def channels_last(shape: Shape, image: Shape) -> bool:
    """Whether a layer's [_, _, _] is [H, W, C]: its first two sizes, not its last two, have the proportions of the image
    [height, width]. Of a cube of equal sizes it is not: [C, H, W] is the rule."""
    if len(shape) != 3:
        return False
    height, width = image
    first, last = (abs(math.log(high / wide * width / height)) for high, wide in (shape[:2], shape[1:]))
    steps = [
        (image[i] / (shape[i] + 1), image[i] / max(shape[i] - 1, 1e-9)) for i in range(2)
    ]  # strides that make such sizes
    return first < last and max(low for low, _ in steps) < min(high for _, high in steps)


def channels_first_shape(shape: Shape, image: Shape) -> Shape:
    """[H, W, C] of a map whose channels stand last -> [C, H, W]; any other shape as it is."""
    return (shape[2], *shape[:2]) if channels_last(shape, image) else shape


def as_map(shape: Shape) -> Shape | None:
    """The [C] or [C, H, W] that a shape stands for; None where it stands for neither."""
    if len(shape) == 2:
        side = grid_side(shape[0])
        return None if side is None else (shape[1], side, side)
    return shape if len(shape) in (1, 3) else None


def grid_side(tokens: int) -> int | None:
    """s of s² tokens, or of s² and a class token in front."""
    for count in (tokens, tokens - 1):
        side = math.isqrt(count)
        if side and side * side == count:
            return side
    return None


def tokens_to_map(activation: Tensor) -> Tensor:
    """[B, L, D] -> [B, D, s, s]; anything else as it is."""
    if activation.dim() != 3:
        return activation
    tokens, width = activation.shape[1:]
    side = grid_side(tokens)
    assert side is not None
    return activation[:, tokens - side * side :].transpose(1, 2).reshape(-1, width, side, side)
