"""Measures what a network costs, on one forward."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mentee.budget import Budget, Cost, has_open_knob, require_within, widest
from mentee.networks import parameter_count
from mentor_mentee.errors import UserError
from mentor_mentee.objective.classifier import build_classifier
from mentor_mentee.objective.taps import evaluating
from mentor_mentee.recipe import Recipe


def measure(network: nn.Module, example: Tensor) -> Cost:
    """`example` is [B, C, H, W]; in eval mode, since a phone trains with BatchNorm's statistics held and without Dropout.

    MACs are those of convolutions and matrix products. Activation bytes are of the storages that autograd saves for the
    network's backward, each once, the input among them, parameters and buffers not; the loss is left out.
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports triton where there is one: a fifth of a second

    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    saved: dict[int, torch.UntypedStorage] = {}  # kept alive, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return tensor

    with evaluating(network):
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            network(example)
        with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
            network(example)
    parameters = parameter_count(network)
    return Cost(
        parameters=parameters,
        macs=flops.get_total_flops() // (2 * len(example)),
        bytes=4 * parameters,
        activation_bytes=sum(storage.nbytes() for storage in saved.values()),
    )


def widest_within(
    recipe: Recipe, budget: Budget, shape: tuple[int, ...], where: str
) -> tuple[dict[str, Any], Cost | None]:
    """The recipe with the largest `width` that fits the budget for samples of `shape` [C, H, W], and what that costs. As it
    was, with its cost, where it sets the width or the network has none; and with None where the budget has no limit. Draws
    no random numbers that a later build would miss.

    Raises `UserError` where none fits.
    """
    if not budget.limits():
        return dict(recipe), None
    example = torch.zeros(budget.batch, *shape)

    def cost(knob: dict[str, float]) -> Cost:
        network = build_classifier({**recipe, **knob}, where)
        try:
            return measure(network, example)
        except UserError:
            raise
        except Exception as error:  # whatever a stranger's forward raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(f"{where}: {recipe['_target_']} fails on an input of {list(shape)}: {reason}") from None

    def cost_at(width: float) -> Cost:
        return cost({"width": width})

    with torch.random.fork_rng(devices=[]):
        if has_open_knob(recipe, where, cost_at):
            width, found = widest(cost_at, budget)
            return {**recipe, "width": width}, found
        found = cost({})
    require_within(found, budget, recipe, where)
    return dict(recipe), found
