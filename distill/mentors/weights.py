"""The weights a mentor starts from: those of a file, or those that torchvision publishes under a name."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from distill.schema import MentorConfig
from mentor.weights import load_content
from mentor.weights_content import read_content
from mentor.weights_file import TORCHVISION, file_digest, require_file
from mentor.weights_fit import fits
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.taps import find_head
from mentor_mentee.recipe import split_target

if TYPE_CHECKING:  # importing torchvision takes a second, and few runs need it
    from torchvision.models import WeightsEnum


def torchvision_weights(config: MentorConfig) -> "WeightsEnum | None":
    """Finds the weights in torchvision; None for a file, or where none are given. Raises `UserError` for a name that it lacks."""
    if config.weights is None or Path(config.weights).is_file() or split_target(config.network, "") != TORCHVISION:
        return None
    from mentor.torchvision_models import find_weights

    return find_weights(config.network["name"], config.weights)


def as_published(config: MentorConfig, weights: "WeightsEnum") -> MentorConfig:
    """Fills in what the user leaves open of the view and the network, as it was when these weights were published."""
    from mentor.torchvision_models import AUXILIARY, own_view

    own, view = own_view(weights), config.view
    view = replace(view, channels=view.channels or own.shape[0], size=view.size or own.shape[1])
    if view.mean is None and view.std is None:
        view = replace(view, mean=list(own.mean), std=list(own.std))
    network = {"transform_input": True} if config.network["name"] in AUXILIARY else {}
    return replace(config, view=view, network=network | dict(config.network))


def given_content(config: MentorConfig, named: "WeightsEnum | None") -> Any:
    if named is None:
        return read_content(Path(config.weights or ""))
    from mentor.torchvision_models import published

    return published(config.network["name"], named)


def identity(config: MentorConfig, named: "WeightsEnum | None") -> str:
    """A hash of the weights, wherever they lie. The address of a published file contains its hash."""
    if named is not None:
        return str(named.url)
    require_file(Path(config.weights or ""))
    return file_digest(Path(config.weights or ""))


def load_given(network: nn.Module, config: MentorConfig, view: View, splits: Splits) -> str:
    """Returns what there is to say of it, as `load_content` does. Raises `UserError` for weights that do not fit; where all but
    the head fits, for the number of its classes."""
    weights = Path(config.weights or "")
    content = read_content(weights)
    try:
        return load_content(network, content, f"weights '{weights}'", at=config.weights_at)
    except UserError:
        count = class_count(network, content, view(splits.train.images[:2]), config.weights_at)
        if count is not None:
            require_classes(f"'{weights}'", count, splits)
        raise


def class_count(network: nn.Module, content: Any, example: Tensor, at: str | None = None) -> int | None:
    """Counts the classes that the head in a file is for; None where more than the head differs, or no linear layer is the
    head."""
    try:
        head = find_head(network, example)
    except UserError:
        return None
    bodies = {one.place for one in fits(network, content, without=head) if one.complete and at in (None, one.place)}
    for one in fits(network, content):
        weight = one.given.get(f"{head}.weight")
        if one.place in bodies and weight is not None and weight.dim() == 2:
            return len(weight)
    return None


def require_classes(weights: str, count: int, splits: Splits) -> None:
    if count != len(splits.classes):
        raise UserError(
            f"the weights {weights} are for {count} classes, {splits.name} has {len(splits.classes)}; "
            "mentor.transfer.epochs=10 trains a new head under them first"
        )
