"""The weights a mentor starts from: those of a file, or those that a package publishes under a name."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from distill.schema import MentorConfig
from mentor.weights.content import read_content
from mentor.weights.file import NAMED, file_digest, require_file
from mentor.weights.fit import fits
from mentor.weights.load import load_content
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.taps import find_head
from mentor_mentee.recipe import split_target

if TYPE_CHECKING:  # importing the packages that publish takes seconds, and few runs need them
    from mentor.weights.published import Published


def named_weights(config: MentorConfig) -> "Published | None":
    """Finds the weights by their name; None for a file, or where none are given. Raises `UserError` for an unknown name."""
    if config.weights is None or Path(config.weights).is_file() or split_target(config.network, "") not in NAMED:
        return None
    from mentor.weights.published import find_published

    return find_published(config.network, config.weights)


def as_published(config: MentorConfig, weights: "Published") -> MentorConfig:
    """Fills in what the user leaves open of the view and the network, as it was when these weights were published."""
    own, view = weights.view, config.view
    if own is not None:
        view = replace(view, channels=view.channels or own.shape[0], size=view.size or own.shape[1])
        if view.mean is None and view.std is None:
            view = replace(view, mean=list(own.mean), std=list(own.std))
    return replace(config, view=view, network=dict(weights.options) | dict(config.network))


def given_content(config: MentorConfig, named: "Published | None") -> Any:
    return read_content(Path(config.weights or "")) if named is None else dict(named.state())


def identity(config: MentorConfig, named: "Published | None") -> str:
    """A hash or an address of the weights, wherever a file of them lies."""
    if named is not None:
        return named.identity
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
