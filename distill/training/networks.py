"""Builds a network for a data set from its recipe, and the view it has of the source images."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from distill.machine import Machine
from distill.schema import MenteeConfig, ViewConfig
from distill.training.tokens import require_no_ids
from mentee.cost import widest_within
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.view import View, normalisation
from mentor_mentee.errors import UserError
from mentor_mentee.objective.taps import evaluating, find_head, find_layer
from mentor_mentee.recipe import Recipe, build, completed


@dataclass(frozen=True)
class NewMentee:
    network: nn.Module
    recipe: dict[str, Any]  # complete, with the width that its budget allows
    view: View
    head: str


def new_mentee(config: MenteeConfig, splits: Splits, machine: Machine) -> NewMentee:
    """Draws weights from torch's global random state. Prints what the network costs where it has a budget."""
    where = "mentee.network"
    view = view_for(config.view, splits)
    recipe, cost = widest_within(complete(config.network, where, splits, view), config.budget, view.shape, where)
    if cost is not None:
        searched = "width" in recipe and "width" not in config.network
        taken = f"width {recipe['width']:g}" if searched else "the network as it is"
        machine.console.print(f"mentee.budget: {taken}, {cost}", highlight=False, soft_wrap=True)
    network = build_network(recipe, where, splits, view)
    head = config.head or find_head(network, view(splits.train.images[:2]))
    find_layer(network, head)
    return NewMentee(network, recipe, view, head)


def view_for(config: ViewConfig, splits: Splits) -> View:
    """Takes what the configuration leaves open from the data: its size, its channels, its training split's statistics.

    `size` of signals, which have height 1, is their length.
    """
    channels, height, width = splits.shape
    channels = config.channels or channels
    size = (config.size if height > 1 else 1, config.size) if config.size else (height, width)
    if config.mean is not None and config.std is not None:
        return View((channels, *size), tuple(config.mean), tuple(config.std), splits.dtype)
    if (config.mean is None) != (config.std is None):
        raise UserError(
            "a view has mean without std, or std without mean; give both, or neither to take them from the data"
        )
    mean, std = normalisation(splits.train)
    if len(mean) != channels:  # gray source seen in colour, or the reverse
        mean, std = (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
    return View((channels, *size), mean, std, splits.dtype)


def complete(recipe: Recipe, where: str, splits: Splits, view: View) -> dict[str, Any]:
    """The recipe with the data's number of classes and the view's channels, where the network takes them by these names."""
    return completed(recipe, where, num_classes=len(splits.classes), in_channels=view.shape[0])


def build_network(recipe: Recipe, where: str, splits: Splits, view: View) -> nn.Module:
    """`recipe` as `complete` returns it. Raises `UserError` unless it makes a module that maps the view to one logit a class."""
    network, logits = build_and_try(recipe, where, splits, view)
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, len(splits.classes)):
        shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        new_head = (
            ", or mentor.transfer.epochs=10 for a new head under its weights" if where == "mentor.network" else ""
        )
        raise UserError(
            f"{where}: {recipe['_target_']} puts out {shape} for two images; expected [2, {len(splits.classes)}], one logit for "
            f"each class of {splits.name}: set its number of classes{new_head}"
        )
    return network


def build_and_try(recipe: Recipe, where: str, splits: Splits, view: View) -> tuple[nn.Module, object]:
    """The network, and what it makes of two images. Raises `UserError` where it is no module or cannot take them."""
    network = build(recipe, where)
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{where}: {recipe['_target_']} returned a {type(network).__name__}; expected a torch.nn.Module"
        )
    require_no_ids(network, view(splits.train.images[:2]), where)
    with evaluating(network), torch.no_grad():
        try:
            return network, network(view(splits.train.images[:2]))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{where}: {recipe['_target_']} fails on an input of {list(view.shape)} "
                f"({where.partition('.')[0]}.view sets it): {reason}"
            ) from None
