"""Builds a network for a data set from its recipe, and the view it has of the source images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from distill.machine import Machine
from distill.networks.named import COUNTS, chosen, filled
from distill.networks.tokens import require_no_ids
from distill.schema import MenteeConfig, ViewConfig
from mentee.cost import widest_within
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.views.view import View, normalisation
from mentor_mentee.errors import UserError
from mentor_mentee.objective.classifier import Say, build_classifier, described, raw_output, silent
from mentor_mentee.objective.taps import evaluating, find_head, find_layer
from mentor_mentee.recipe import Recipe, completed
from mentor_mentee.targets import signature_imported, signature_in_source, split_target


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
    network = build_network(recipe, where, splits, view, machine.say)
    if line := chosen(recipe, network, view, splits):
        machine.say(f"mentee: {line}")
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
    """The recipe with the data's number of classes and the view's channels, where the network takes them by these names; the
    number of classes also where it takes any (`**kwargs`) and can be built with it."""
    return filled(completed(recipe, where, num_classes=len(splits.classes), in_channels=view.shape[0]), where, splits)


def build_network(
    recipe: Recipe, where: str, splits: Splits, view: View, say: Say = silent, learns: bool = True
) -> nn.Module:
    """`recipe` as `complete` returns it. Raises `UserError` unless it makes a module that maps the view to one logit a class."""
    network, logits = build_and_try(recipe, where, splits, view, say, learns)
    if logits.shape != (2, len(splits.classes)):
        new_head = (
            ", or mentor.transfer.epochs=10 for a new head under its weights" if where == "mentor.network" else ""
        )
        raise UserError(
            f"{where}: {recipe['_target_']} puts out {list(logits.shape)} for two images; expected [2, {len(splits.classes)}], "
            f"one logit for each class of {splits.name}: {count_advice(recipe, where, len(splits.classes))}{new_head}"
        )
    return network


def count_advice(recipe: Recipe, where: str, classes: int) -> str:
    """Where a network of another number of classes takes it from: an object among its options, an option, its code."""
    inner = [(f"{where}.{name}", value) for name, value in recipe.items() if isinstance(value, Mapping)]
    for place, part in (*inner, (where, recipe)):
        if "_target_" not in part:
            continue
        module, name = split_target(part, place)
        signature = signature_in_source(module, name) or signature_imported(module, name, place)
        named = [option for option in COUNTS if option in signature.known or option in part]
        if not named and part is recipe and signature.open_ended:
            named = ["num_classes"]
        if named or (part is not recipe and module.startswith("transformers")):  # where no signature shows it
            return f"set {place}.{(named or ['num_labels'])[0]}={classes}"
    return "it has no option for that, so write the number into its code"


def build_and_try(
    recipe: Recipe, where: str, splits: Splits, view: View, say: Say = silent, learns: bool = True
) -> tuple[nn.Module, torch.Tensor]:
    """The network, and the logits that it makes of two images. `say` is told what of its outputs is used; one that `learns` is
    tried in training mode as well. It is left as it was built: its modes, its statistics, torch's random state.

    Raises `UserError` where it is no module or cannot take the images."""
    target = str(recipe["_target_"])
    network = build_classifier(recipe, where, lambda line: say(f"{where}: {line}"))
    example = view(splits.train.images[:2])
    require_no_ids(network, example, where)
    mode = ""
    try:
        put_out, logits = output_in_evaluation(network, example, target)
        mode = " in training mode"
        trained = output_in_training(network, example) if learns else put_out
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # whatever a stranger's forward raises
        raise UserError(
            f"{where}: {target} fails{mode} on an input of {list(view.shape)} "
            f"({where.partition('.')[0]}.view sets it): {first_line(error)}"
        ) from error
    if not isinstance(put_out, torch.Tensor):
        say(f"{where}: {target} puts out {described(put_out)}; its logits are taken")
    elif not isinstance(trained, torch.Tensor):
        dropped = " (aux_logits=False builds it without them)" if takes_aux_logits(recipe, where) else ""
        say(
            f"{where}: {target} puts out {described(trained)} while it trains: it learns through its logits, its auxiliary "
            f"heads take no part{dropped}"
        )
    if are_probabilities(logits):
        say(
            f"{where}: {target} puts out numbers above 0 that sum to 1, as behind a softmax; they are taken as logits, so that "
            "the softmax is applied twice and little can be learnt: leave it out of the network"
        )
    return network, logits


def are_probabilities(logits_BK: torch.Tensor) -> bool:
    """Whether each row looks like a softmax: nobody's logits sum to 1 in every row by chance."""
    sums_B = logits_BK.flatten(1).sum(1)
    return bool((logits_BK >= 0).all()) and bool(((sums_B - 1).abs() < 1e-4).all())


def output_in_evaluation(network: nn.Module, example: torch.Tensor, target: str) -> tuple[object, torch.Tensor]:
    """The network's return value in eval mode, and its logits. Raises `UserError` where a batch of one has another shape."""
    with evaluating(network), torch.no_grad():
        put_out, logits, one = raw_output(network, example), network(example), network(example[:1])
    if one.shape != (1, *logits.shape[1:]):
        raise UserError(
            f"{target} puts out {list(one.shape)} for a batch of one image, {list(logits.shape)} for two: does a squeeze() "
            "in its forward drop the batch? Write flatten(1), or squeeze the axes that are meant"
        )
    return put_out, logits


def output_in_training(network: nn.Module, example: torch.Tensor) -> object:
    """The network's return value in training mode; its modes, statistics and torch's random state are restored."""
    kept = {name: value.clone() for name, value in network.named_buffers()}
    with evaluating(network), torch.no_grad(), torch.random.fork_rng(devices=[]):
        network.train()
        try:
            return raw_output(network, example)
        finally:
            for name, value in network.named_buffers():
                if name in kept:
                    value.copy_(kept[name])


def takes_aux_logits(recipe: Recipe, where: str) -> bool:
    target = split_target(recipe, where)
    signature = signature_in_source(*target) or signature_imported(*target, where)
    return "aux_logits" in signature.known or signature.open_ended


def first_line(error: Exception) -> str:
    """First line of an error, with its class where the text alone says little, as KeyError's."""
    text = str(error).strip().partition("\n")[0]
    return (
        text if isinstance(error, RuntimeError | ValueError | TypeError) and text else f"{type(error).__name__}: {text}"
    )
