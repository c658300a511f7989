"""Plain weights in the place of parametrised ones: weight norm, spectral norm, orthogonal, pruning, and a user's own.

A parametrisation computes a weight from other tensors in every forward. The device trains what it computes at export: the same
weight under its plain name, `conv.weight`, without what kept it normed or sparse. The run's checkpoint keeps the parametrisation.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

NAMES = {"_WeightNorm": "weight_norm", "_SpectralNorm": "spectral_norm", "_Orthogonal": "orthogonal"}


def bake_in(network: nn.Module) -> list[str]:
    """Replaces, in place, every parametrised tensor of `network`, in eval mode, by what it is now; a line for each kind.

    What was made of a frozen parameter stays frozen.
    """
    found: dict[str, list[str]] = defaultdict(list)
    network.eval()
    with torch.no_grad():
        for path, module in network.named_modules():
            kinds = parametrised(module)
            trains = {name: any(part.requires_grad for part in parts(module, name)) for name, _ in kinds}
            for name, value in bake(module, [name for name, _ in kinds]).items():
                setattr(module, name, nn.Parameter(value, trains[name]))  # an RNN keeps a list of its weights beside
            for name, kind in kinds:
                found[kind].append(f"{path}.{name}" if path else name)
    return [line(kind, names) for kind, names in found.items()]


def parametrised(module: nn.Module) -> list[tuple[str, str]]:
    """(tensor's name, kind) of each tensor of `module` itself that is computed from others."""
    found = []
    if parametrize.is_parametrized(module):
        for name, steps in module.parametrizations.items():  # type: ignore[union-attr,operator]
            kinds = [NAMES.get(type(step).__name__, type(step).__name__) for step in steps]
            found.append((name, " and ".join(kinds)))
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            found.append((hook.name, "weight_norm"))
        elif isinstance(hook, SpectralNorm):
            found.append((hook.name, "spectral_norm"))
        elif isinstance(hook, prune.BasePruningMethod):
            found.append((hook._tensor_name, "pruning"))
    return found


def parts(module: nn.Module, name: str) -> list[nn.Parameter]:
    """Parameters that the tensor is computed from."""
    if parametrize.is_parametrized(module, name):
        return list(module.parametrizations[name].parameters())  # type: ignore[index,union-attr]
    own = dict(module.named_parameters(recurse=False))
    return [own[part] for part in (f"{name}_g", f"{name}_v", f"{name}_orig") if part in own]


def bake(module: nn.Module, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Takes the parametrisations of the tensors `names` away; the values that they had."""
    new = [name for name in names if parametrize.is_parametrized(module, name)]
    values = {name: getattr(module, name).detach().clone() for name in new}
    if new:  # not remove_parametrizations, which breaks every deep copy of the module: they share a class
        del module.parametrizations
        module.__class__ = parametrize.type_before_parametrizations(module)
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            nn.utils.remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            nn.utils.remove_spectral_norm(module, hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)  # type: ignore[no-untyped-call]
    for name in (name for name in names if name not in new):
        values[name] = getattr(module, name).detach().clone()
        delattr(module, name)
    return values


def line(kind: str, names: list[str]) -> str:
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    after = "its zeros train as any other weight" if kind == "pruning" else "trains as a plain weight"
    return f"{kind} is baked in, and on the device {after}: {shown}"
