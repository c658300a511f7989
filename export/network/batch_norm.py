"""The three ways in which a BatchNorm can go to the device.

    frozen       folded away (fold.py): the statistics are held, scale and shift are part of the layer before
    affine_only  the statistics are held; scale and shift stay parameters of their own, and train whatever else does
    batch        as in torch's training mode: the batch's statistics, running ones for evaluation and inference

`affine_only` with nothing else trainable is what arXiv 2003.00152 trains. Axes: B batch, C channels.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from export.network.fold import BATCH_NORMS, freeze_batch_norm, is_batch_norm, replace
from export.network.modes import copied, in_eval_mode
from mentor_mentee.errors import UserError


class HeldBatchNorm(nn.Module):
    """y = (x − mean) · weight / √(variance + eps) + bias, along axis 1, the statistics being constants of the graph."""

    mean: Tensor
    scale: Tensor

    def __init__(self, batch_norm: _BatchNorm | _InstanceNorm) -> None:
        super().__init__()
        mean, variance = statistics(batch_norm)
        self.weight, self.bias = scale_and_shift(batch_norm)
        self.register_buffer("mean", mean.clone(), persistent=False)
        self.register_buffer("scale", (variance + batch_norm.eps).rsqrt(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        # the mean first: x · w − mean · w would lose what a large mean hides, and the gradient of `weight` with it
        return (x - self.mean.view(shape)) * (self.weight * self.scale).view(shape) + self.bias.view(shape)


def hold_instance_norms(network: nn.Module) -> list[str]:
    """Replaces, in place, each InstanceNorm with running statistics by what it is in eval mode, a BatchNorm whose statistics are
    held; its scale and shift keep their names and train. A line that names them."""
    found = [
        path
        for path, module in network.named_modules()
        if path
        and isinstance(module, _InstanceNorm)
        and type(module).forward is _InstanceNorm.forward
        and module.running_mean is not None
    ]
    for path in found:
        module = network.get_submodule(path)
        replace(network, path, HeldBatchNorm(module).train(module.training))  # type: ignore[arg-type]
    return [f"held, the running statistics of InstanceNorm: {', '.join(found)}"] if found else []


class BatchStatistics(nn.Module):
    """torch's BatchNorm but for one thing, which is ONNX Runtime's rule: the running variance takes in the biased variance
    of a batch, mean (x − mean)², where torch's takes in n / (n − 1) of it."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, batch_norm: _BatchNorm) -> None:
        super().__init__()
        if batch_norm.momentum is None:
            raise UserError(
                "batch_norm=batch: a BatchNorm has momentum=None, a running average over all batches ever seen; ONNX Runtime "
                "has a fixed momentum only: give it one, as 0.1, or export with batch_norm=frozen"
            )
        self.momentum, self.eps = batch_norm.momentum, batch_norm.eps
        self.weight, self.bias = scale_and_shift(batch_norm)
        for name, value in zip(("running_mean", "running_var"), statistics(batch_norm), strict=True):
            self.register_buffer(name, value.clone())

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, self.momentum, self.eps
            )
        axes = [axis for axis in range(x.dim()) if axis != 1]
        with torch.no_grad():
            self.running_mean.lerp_(x.mean(axes), self.momentum)
            self.running_var.lerp_(x.var(axes, correction=0), self.momentum)
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)


def with_batch_norm(network: nn.Module, way: str, tapped: Collection[str] = ()) -> nn.Module:
    """A copy of `network` in eval mode with its BatchNorm in one of the three ways; parameters that remain keep their names.

    `tapped`: see `freeze_batch_norm`. A BatchNorm without running statistics is left as it is. Raises `UserError` where the
    network has none and another way than `frozen` was asked for, and where one has a forward of its own: that can only be held.
    """
    if way == "frozen":
        return freeze_batch_norm(network, tapped)
    network = copied(network)
    for path, module in network.named_modules():
        if isinstance(module, BATCH_NORMS) and not is_batch_norm(module) and module.running_mean is not None:
            raise UserError(
                f"batch_norm={way}, but '{path}' ({type(module).__name__}) is a BatchNorm with a forward of its own: leave it at "
                "frozen, where its scale and shift stay parameters of their own"
            )
    made = HeldBatchNorm if way == "affine_only" else BatchStatistics
    found = [
        path for path, module in network.named_modules() if is_batch_norm(module) and module.running_mean is not None
    ]
    if not found:
        raise UserError(
            f"batch_norm={way}, but the mentee has no BatchNorm with running statistics; leave it at frozen"
        )
    for path in found:
        replace(network, path, made(network.get_submodule(path)))  # type: ignore[arg-type]
    return in_eval_mode(network)


def learning_mode(network: nn.Module) -> None:
    """Sets `network`, in place, to what the training graph computes; `eval()` gives what the eval and inference graphs do.

    They differ in BatchNorm that takes the batch's statistics alone; `train()` would switch on what is off on the device.
    """
    network.eval()
    for module in network.modules():
        if isinstance(module, BatchStatistics):
            module.train()


def statistics(batch_norm: _BatchNorm | _InstanceNorm) -> tuple[Tensor, Tensor]:
    assert batch_norm.running_mean is not None
    assert batch_norm.running_var is not None
    return batch_norm.running_mean, batch_norm.running_var


def scale_and_shift(batch_norm: _BatchNorm | _InstanceNorm) -> tuple[nn.Parameter, nn.Parameter]:
    """1 and 0, which never train, where it has none."""
    mean, _ = statistics(batch_norm)
    weight, bias = batch_norm.weight, batch_norm.bias
    return (
        nn.Parameter(torch.ones_like(mean), False) if weight is None else weight,
        nn.Parameter(torch.zeros_like(mean), False) if bias is None else bias,
    )


def running_statistics(network: nn.Module) -> list[str]:
    """Names of what the training graph updates without a gradient: `frozen_params` of the artifacts."""
    return [
        f"{path}.{name}"
        for path, module in network.named_modules()
        if isinstance(module, BatchStatistics)
        for name in ("running_mean", "running_var")
    ]


def smallest_map(network: nn.Module, example: Tensor) -> int | None:
    """The fewest values a channel that one sample brings to a BatchNorm in the `batch` way; None where there is none.

    With one sample and one value a channel the variance is 0 and the layer puts out its shift, whatever it is given.
    """
    sizes: list[int] = []

    def look(_module: nn.Module, given: tuple[Tensor, ...], _out: Tensor) -> None:
        sizes.append(given[0][0, 0].numel())

    handles = [m.register_forward_hook(look) for m in network.modules() if isinstance(m, BatchStatistics)]
    try:
        with torch.no_grad():
            in_eval_mode(network)(example)
    finally:
        for handle in handles:
            handle.remove()
    return min(sizes, default=None)
