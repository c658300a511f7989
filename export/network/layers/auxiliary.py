"""Auxiliary heads, which a network runs while it trains and not to answer: the device never runs them, so they are left out."""

import copy

import torch
from torch import Tensor, nn

from export.network.fold import replace


def drop_auxiliary(network: nn.Module, example: Tensor) -> list[str]:
    """Replaces, in place, each module with parameters that runs in training mode alone by nothing; a line that names them.

    A module that runs in neither mode stays: its parameters are forgotten ones, which an export refuses.
    """
    answering = ran(network, example, training=False)
    idle = {
        path for path, module in network.named_modules() if path and path not in answering and any_parameters(module)
    }
    if not idle:
        return []
    learning = ran(network, example, training=True)
    dropped = [
        path
        for path in sorted(idle & learning)
        if path.rpartition(".")[0] not in idle and not any(other.startswith(f"{path}.") for other in answering)
    ]
    for path in dropped:
        replace(network, path, nn.Identity().train(network.training))
    return [f"left out, as it runs in training mode alone: {', '.join(dropped)}"] if dropped else []


def any_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def ran(network: nn.Module, example: Tensor, training: bool) -> set[str]:
    """Paths of the modules that a forward of a copy runs; none where it does not run at all."""
    try:
        trial = copy.deepcopy(network)
        trial.train(training)
    except Exception:  # a stranger's module that cannot be copied
        return set()
    paths: set[str] = set()

    def note(path: str) -> None:
        paths.add(path)

    for path, module in trial.named_modules():
        module.register_forward_pre_hook(lambda _module, _given, path=path: note(path))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            trial(example)
    except Exception:  # what its training mode wants is not known here
        return set()
    return paths
