"""A network of any origin as a classifier of float32 logits: compiled, in half precision, or with more outputs than logits.

Its modules, their paths and its state dict stay as they are, but for what `torch.compile` puts around them. Axes: B samples
of a batch, K classes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mentor_mentee.errors import UserError
from mentor_mentee.recipe import Recipe, build

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Says nothing."""


def build_classifier(recipe: Recipe, where: str, say: Say = silent) -> nn.Module:
    """Builds the network of a recipe; `say` is told what was changed in it. Raises `UserError` as `build` does, before the
    target is called where it cannot make a network."""
    return as_classifier(build(recipe, where, nn.Module), say)


def as_classifier(network: nn.Module, say: Say = silent) -> nn.Module:
    """The network in float32, without `torch.compile`, its forward cut down to the logits by a hook on its root."""
    network = uncompiled(network)
    dtypes = {tensor.dtype for tensor in network.state_dict().values() if tensor.is_floating_point()}
    if others := dtypes - {torch.float32}:
        names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in others))
        say(f"{type(network).__name__} has {names} weights; it answers and learns in float32")
        network.float()
    if put_out_logits not in network._forward_hooks.values():
        nn.Module.register_forward_hook(network, put_out_logits)  # TorchScript hides the method, and runs the hook
    return network


def put_out_logits(network: nn.Module, _args: Any, output: object) -> Tensor:
    """A forward hook; a function of the module, so that a network that has it can be copied and pickled."""
    logits = logits_of(output)
    if logits is None:
        raise UserError(
            f"{type(network).__name__} puts out {described(output)}; expected a tensor of logits [B, K], or an object, a "
            "dict or a named tuple with `logits`: wrap it in a module of your own whose forward returns its logits"
        )
    return logits


def logits_of(output: object) -> Tensor | None:
    """The logits in what a classifier returns: the tensor itself, what is called `logits` (transformers, torchvision's
    auxiliary heads), or the first of a tuple (their convention, names lost); None where there is none of these."""
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    return None


def raw_output(network: nn.Module, x: Tensor) -> object:
    """The network's own return value, before its logits are taken out."""
    seen: list[object] = []

    def look(_network: nn.Module, _args: Any, output: object) -> None:
        seen.append(output)

    hook = nn.Module.register_forward_hook(network, look, prepend=True)
    try:
        network(x)
    finally:
        hook.remove()
    return seen[0]


def described(output: object) -> str:
    """`dict {'out': [2, 10], 'aux': [2, 10]}`, for a message."""
    if isinstance(output, Tensor):
        return str(list(output.shape))
    if isinstance(output, Mapping):
        parts = ", ".join(f"{key!r}: {brief(value)}" for key, value in [*output.items()][:6])
        return f"{type(output).__name__} {{{parts}}}"
    if isinstance(output, tuple | list):
        return f"{type(output).__name__} ({', '.join(map(brief, output[:6]))})"
    return f"{type(output).__name__}"


def brief(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def uncompiled(network: nn.Module) -> nn.Module:
    """The network that `torch.compile` was given, and the same of its parts: a hook on a layer breaks a compiled graph, and a
    compiled network's weights have other names."""
    if isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
        return uncompiled(inner)
    for module in [*network.modules()]:
        if getattr(module, "_compiled_call_impl", None) is not None:  # module.compile()
            module._compiled_call_impl = None
        for name, child in [*module.named_children()]:
            if isinstance(getattr(child, "_orig_mod", None), nn.Module):
                module._modules[name] = uncompiled(child)
    return network
