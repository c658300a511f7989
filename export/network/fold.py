"""BatchNorm with its running statistics held, as device learning wants it.

ONNX Runtime Training runs every BatchNorm on the statistics of the batch, also one exported in eval mode; on batches of a
few samples of one person that is another network. So the statistics leave the graph before it is differentiated: folded
into the convolution or linear layer that alone feeds the BatchNorm, exactly, or else into a scale and a shift a channel.
Both stay as trainable as they were.
"""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from export.network.modes import copied

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class ChannelAffine(nn.Module):
    """y = x · weight + bias, both [C], along axis 1: what a BatchNorm with held statistics computes."""

    def __init__(self, batch_norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        mean, variance = batch_norm.running_mean, batch_norm.running_var
        assert mean is not None
        assert variance is not None
        weight = (variance + batch_norm.eps).rsqrt() * (1 if batch_norm.weight is None else batch_norm.weight.detach())
        bias = (0 if batch_norm.bias is None else batch_norm.bias.detach()) - mean * weight
        # what the BatchNorm did not train, having no weights or frozen ones, is not trained on the device either
        self.weight = nn.Parameter(weight, batch_norm.weight is not None and batch_norm.weight.requires_grad)
        self.bias = nn.Parameter(bias, batch_norm.bias is not None and batch_norm.bias.requires_grad)

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * self.weight.view(shape) + self.bias.view(shape)


def freeze_batch_norm(network: nn.Module, tapped: Collection[str] = ()) -> nn.Module:
    """A copy in eval mode without BatchNorm that puts out the same logits; every module path that remains keeps its meaning.

    Layers in `tapped` are read by a probe, so their own output must stay what it was: nothing is folded into one of them, or
    into a layer inside one, from a BatchNorm that comes after it.
    A BatchNorm without running statistics uses the batch in eval mode as well and is left as it is.
    """
    network = copied(network)
    for layer, batch_norm in foldable_pairs(network):
        if any(ends_outside(layer, batch_norm, path) for path in tapped):
            continue
        before, after = network.get_submodule(layer), network.get_submodule(batch_norm)
        affine = "weight" in dict(after.named_parameters())
        if isinstance(before, nn.Linear) and not affine:  # torch's fuse_linear_bn_eval fails; a ChannelAffine then
            continue
        fuse = fuse_linear_bn_eval if isinstance(before, nn.Linear) else fuse_conv_bn_eval
        folded: Any = fuse(before, after)  # type: ignore[arg-type,type-var]
        if folded.bias is not None:
            folded.bias.requires_grad_(bool(folded.weight.requires_grad))  # torch makes a new bias constant
        replace(network, layer, folded)
        replace(network, batch_norm, nn.Identity())
    for path, module in list(network.named_modules()):
        if is_batch_norm(module) and module.running_mean is not None:
            replace(network, path, ChannelAffine(module))
    return network


def is_batch_norm(module: nn.Module) -> bool:
    """Whether it computes what torch's own does. A subclass with a forward of its own does not (timm's ends in an activation): it
    stays what it is, and its statistics are held in the graph (export.rewrites.operators.norms)."""
    return isinstance(module, BATCH_NORMS) and type(module).forward is nn.modules.batchnorm._BatchNorm.forward


def ends_outside(layer: str, batch_norm: str, tapped: str) -> bool:
    return f"{layer}.".startswith(f"{tapped}.") and not f"{batch_norm}.".startswith(f"{tapped}.")


def foldable_pairs(network: nn.Module) -> list[tuple[str, str]]:
    """(layer, BatchNorm) paths where each runs once and the BatchNorm is all that the layer feeds; [] if fx cannot trace."""
    try:
        nodes = list(fx.Tracer().trace(copied(network)).nodes)  # it may keep what it was traced with
    except Exception:  # data-dependent control flow and much else; every BatchNorm becomes a ChannelAffine then
        return []
    calls = [str(node.target) for node in nodes if node.op == "call_module"]
    pairs = []
    for node in nodes:
        source = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        layer, batch_norm = str(source.target), str(node.target)
        if (
            is_batch_norm(network.get_submodule(batch_norm))
            and isinstance(network.get_submodule(layer), nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
            and len(source.users) == 1
            and calls.count(layer) == calls.count(batch_norm) == 1
            and network.get_submodule(batch_norm).running_mean is not None
        ):
            pairs.append((layer, batch_norm))
    return pairs


def replace(network: nn.Module, path: str, module: nn.Module) -> None:
    """Puts `module` in the place of the one at `path`, under every path that it is known by."""
    replaced = network.get_submodule(path)
    for alias in [alias for alias, found in network.named_modules(remove_duplicate=False) if found is replaced]:
        parent, _, name = alias.rpartition(".")
        setattr(network.get_submodule(parent), name, module)


def largest_difference(before: nn.Module, after: nn.Module, example: Tensor) -> float:
    """max |logits − logits| over `example` [B, C, H, W], relative to the largest logit."""
    with torch.no_grad():
        expected, seen = before.eval()(example), after(example)
    return float((expected - seen).abs().max() / expected.abs().max().clamp(min=1e-6))
