"""A network under a new head: how one that was trained on other classes becomes a mentor for the data's."""

from torch import Tensor, nn

from mentor_mentee.errors import UserError
from mentor_mentee.objective.classifier import build_classifier
from mentor_mentee.objective.taps import find_head, find_layer
from mentor_mentee.recipe import Recipe


def with_head(network: Recipe, head: str, num_classes: int) -> nn.Module:
    """The network of a recipe, its linear layer or 1×1 convolution at `head` replaced by a new one of `num_classes` outputs."""
    body = build_classifier(network, "mentor.network")
    old = find_layer(body, head)
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes)
    elif isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, num_classes, 1)
    else:
        raise UserError(
            f"'{head}' of {type(body).__name__} is a {type(old).__name__}; expected the nn.Linear of its head"
        )
    parent, _, name = head.rpartition(".")
    setattr(body.get_submodule(parent), name, new)
    return body


def replaceable_head(network: nn.Module, example: Tensor) -> str:
    """Raises `UserError` for a network whose logits no single layer makes."""
    try:
        return find_head(network, example)
    except UserError:
        raise UserError(
            f"no linear layer of {type(network).__name__} puts out its logits, so mentor.transfer has no head to replace: wrap "
            "the network in a module of your own that ends in an nn.Linear, or train it on the data (mentor.weights=null)"
        ) from None
