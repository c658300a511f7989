"""Networks of other packages: their number of classes filled in where no signature shows it, and what was chosen, in a line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mentor.weights.file import NAMED
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.recipe import Recipe, build
from mentor_mentee.targets import signature_imported, signature_in_source, split_target

COUNTS = ("num_classes", "num_labels", "n_classes", "classes")  # names that the number of classes goes by


def filled(recipe: dict[str, Any], where: str, splits: Splits) -> dict[str, Any]:
    """The recipe with `num_classes` where its target takes any option and names none for that, as torchvision's `resnet18` does:
    it is built once to see whether it takes this one. A folder as the name of a model becomes an absolute path.

    Draws nothing from torch's global random state.
    """
    module, name = split_target(recipe, where)
    if (module, name) in NAMED and Path(str(recipe.get("name"))).expanduser().is_dir():
        recipe = recipe | {"name": str(Path(recipe["name"]).expanduser().absolute())}
    signature = signature_in_source(module, name) or signature_imported(module, name, where)
    inside = any(isinstance(value, Mapping) and "_target_" in value for value in recipe.values())
    if not signature.open_ended or inside or any(count in signature.known or count in recipe for count in COUNTS):
        return recipe
    wider = recipe | {"num_classes": len(splits.classes)}
    try:
        with torch.random.fork_rng(devices=[]):
            build(wider, where, nn.Module)
    except UserError:
        return recipe  # whatever it is, without the option it is said by who builds it
    return wider


def chosen(recipe: Recipe, network: nn.Module, view: View, splits: Splits) -> str | None:
    """`timm's resnet10t, 4,922,000 parameters, 10 classes, input 3×32×32`; None for a network that was not named."""
    target = split_target(recipe, "network")
    if target not in NAMED:
        return None
    package = target[0].rpartition(".")[2].removesuffix("_models")
    count = sum(value.numel() for value in network.parameters())
    size = "×".join(map(str, view.shape))
    return f"{package}'s {recipe['name']}, {count:,} parameters, {len(splits.classes)} classes, input {size}"
