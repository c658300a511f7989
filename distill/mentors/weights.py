"""The weights a mentor starts from: those of a file, or those that torchvision publishes under a name."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from distill.schema import MentorConfig
from mentor.weights import load_state, matched, misfit, read_state
from mentor.weights_file import TORCHVISION, file_digest, require_file
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.view import View
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


def given_state(config: MentorConfig, named: "WeightsEnum | None") -> dict[str, Tensor]:
    if named is None:
        return read_state(Path(config.weights or ""))
    from mentor.torchvision_models import published

    return published(config.network["name"], named)


def identity(config: MentorConfig, named: "WeightsEnum | None") -> str:
    """A hash of the weights, wherever they lie. The address of a published file contains its hash."""
    if named is not None:
        return str(named.url)
    require_file(Path(config.weights or ""))
    return file_digest(Path(config.weights or ""))


def load_given(network: nn.Module, weights: Path, view: View, splits: Splits) -> None:
    """Raises `UserError` for weights that do not fit; where all but the head fits, for the number of its classes."""
    state = read_state(weights)
    if misfit(*matched(network, state)):
        count = class_count(network, state, view(splits.train.images[:2]))
        if count is not None:
            require_classes(f"'{weights}'", count, splits)
    load_state(network, state, f"weights '{weights}'")


def class_count(network: nn.Module, state: dict[str, Tensor], example: Tensor) -> int | None:
    """Counts the classes that the head in a state dict is for; None where more than the head differs, or no linear layer is the
    head."""
    try:
        head = find_head(network, example)
    except UserError:
        return None
    weight = matched(network, state)[1].get(f"{head}.weight")
    if weight is None or weight.dim() != 2 or misfit(*matched(network, state, without=head)):
        return None
    return len(weight)


def require_classes(weights: str, count: int, splits: Splits) -> None:
    if count != len(splits.classes):
        raise UserError(
            f"the weights {weights} are for {count} classes, {splits.name} has {len(splits.classes)}; "
            "mentor.transfer.epochs=10 trains a new head under them first"
        )
