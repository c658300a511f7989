"""Choice of the parameters that train on the device: `trainable`, resolved to names.

all        every parameter that the network does not hold itself
head       those of the layer that puts out the logits
last:<n>   those of the last n layers in the order in which they run, a norm counting with the layer before it
bias       every bias, those of norms among them (BitFit, arXiv 2106.10199, is head and bias)
norm       scale and shift of every norm that is left of its own
<glob>     names that match, as features.2.*
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from operator import attrgetter

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from export.network.batch_norm import BatchStatistics, HeldBatchNorm
from export.network.fold import ChannelAffine
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.objective.loss_spec import PROBE_METRICS, SOFTMAX_LOSSES

PORTS = [
    "input",
    "labels",
    "labelled",
    "supervised",
    "alpha",
    "beta",
    "gamma",
    "temperature",
    "loss",
    "ce",
    "logits",
    "embedding",
]
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, ChannelAffine, HeldBatchNorm, BatchStatistics)


def choose_trainable(network: nn.Module, wanted: str | Sequence[str], head: str, example: Tensor) -> list[str]:
    """Freezes, in place, every parameter that is not `wanted`; the names of those that are left, in the network's order.

    `example` [B, C, H, W] is run once for the order of the layers. What the network has frozen itself stays frozen; the γ and β
    of BatchNorm in the way `affine_only` always train. Raises `UserError` for a choice that matches nothing, and where
    nothing is left to train.
    """
    choices = [wanted] if isinstance(wanted, str) else list(wanted)
    own = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    if not own:
        raise UserError("every parameter of the mentee is frozen, so nothing would train on the device; unfreeze some")
    picked = held_affines(network)
    for choice in choices:
        matched = matching(network, choice, head, example)
        if not matched & own:
            raise UserError(
                f"trainable={choice}: the network holds all of {', '.join(sorted(matched)[:4])} frozen (requires_grad is "
                "False), so nothing of it would train; unfreeze some, or choose others"
            )
        picked |= matched
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in picked & own)
    make_way_for_ports(network)
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def make_way_for_ports(network: nn.Module) -> None:
    """Renames, in place, a parameter of the network itself that is called as an input or output of the graphs: `gamma` becomes
    `gamma_`. The network's own code finds it under both names."""
    for name in [name for name, _ in network.named_parameters(recurse=False) if is_port(name)]:
        parameter = network._parameters.pop(name)
        network.register_parameter(f"{name}_", parameter)
        kind = type(network)
        network.__class__ = type(kind.__name__, (kind,), {name: property(attrgetter(f"{name}_"))})


def is_port(name: str) -> bool:
    return name in (*PORTS, *SOFTMAX_LOSSES) or name.startswith(("mentor_", *(f"{kind}_" for kind in PROBE_METRICS)))


def matching(network: nn.Module, choice: str, head: str, example: Tensor) -> set[str]:
    """Names of the parameters that one choice means, at least one. Raises `UserError` where it means none."""
    names = [name for name, _ in network.named_parameters()]
    if choice == "all":
        return set(names)
    if choice == "head":
        return {name for name in names if name.startswith(f"{head}.")}
    if choice == "bias":
        found = {name for name in names if re.search(r"(^|[._])bias$", name)}
    elif choice == "norm":
        found = parameters_of_norms(network)
        if not found:
            raise UserError(
                "trainable=norm: the mentee as exported has no norm of its own left; batch_norm=frozen folds BatchNorm into the "
                "layers before it: take batch_norm=affine_only or batch"
            )
    elif last := re.fullmatch(r"last:(\d+)", choice):
        layers = layers_as_run(network, example)
        if not 0 < int(last[1]) <= len(layers):
            raise UserError(
                f"trainable={choice}: the mentee has {len(layers)} layers with parameters; expected 1 to that"
            )
        found = {name for layer in layers[-int(last[1]) :] for name in layer}
    else:
        found = {name for name in names if fnmatchcase(name, choice)}
    if not found:
        raise UserError(f"trainable={choice} matches no parameter of the mentee{hint(choice, names)}")
    return found


def hint(choice: str, names: Sequence[str]) -> str:
    if any(name.startswith(f"{choice}.") for name in names):
        return f"; did you mean '{choice}.*'?"
    meant = did_you_mean(choice, ["all", "head", "last:1", "bias", "norm", *names])
    return meant or f"; it has {', '.join(names[:6])}{' …' if len(names) > 6 else ''}"


def layers_as_run(network: nn.Module, example: Tensor) -> list[list[str]]:
    """Parameter names, a list a layer, in the order in which layers start to run.

    A layer is a module with parameters of its own, with those of modules inside it that do not run as modules; a norm
    belongs to the layer before it. What is shared is where it ran first.
    """
    started: dict[str, None] = {}
    paths = {module: path for path, module in network.named_modules()}

    def note(module: nn.Module, _given: tuple[object, ...]) -> None:
        started.setdefault(paths[module])

    handles = [module.register_forward_pre_hook(note) for module in paths]
    try:
        with torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    layers: dict[str, list[str]] = {path: [] for path in started}
    for name, _ in network.named_parameters():
        path = name.rpartition(".")[0]
        while path not in layers:
            path = path.rpartition(".")[0]
        layers[path].append(name)
    norms, merged = parameters_of_norms(network), list[list[str]]()
    for names in filter(None, layers.values()):
        if merged and norms.issuperset(names):
            merged[-1] += names
        else:
            merged.append(names)
    return merged


def parameters_of_norms(network: nn.Module) -> set[str]:
    return {
        f"{path}.{name}" if path else name
        for path, module in network.named_modules()
        if isinstance(module, NORMS)
        for name, _ in module.named_parameters(recurse=False)
    }


def held_affines(network: nn.Module) -> set[str]:
    return {
        f"{path}.{name}"
        for path, module in network.named_modules()
        if isinstance(module, HeldBatchNorm)
        for name in ("weight", "bias")
    }
