"""Weights that torchvision, timm or transformers publish under a name: what they are, and how images were prepared for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mentor.weights.file import PRETRAINED, TIMM, TORCHVISION, TRANSFORMERS
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.recipe import Recipe, split_target


@dataclass(frozen=True)
class Published:
    title: str  # for a person, as "torchvision's IMAGENET1K_V1"
    identity: str  # differs for other weights
    classes: int
    view: View | None  # None: nothing says it
    state: Callable[[], Mapping[str, Tensor]]  # from a cache, or fetched; raises `UserError`
    options: Mapping[str, Any] = field(default_factory=dict)  # that the network takes under these weights


def find_published(recipe: Recipe, weights: str) -> Published:
    """`recipe`: of a network whose weights may be named. Imports its package. Raises `UserError` for a name that it lacks."""
    target, name = split_target(recipe, "mentor.network"), str(recipe["name"])
    if target == TORCHVISION:
        return of_torchvision(name, weights)
    package = {TIMM: "timm", TRANSFORMERS: "transformers"}[target]
    if weights != PRETRAINED:
        raise UserError(
            f"mentor.weights={weights} is no file, and {package} has one set of weights of each model: expected {PRETRAINED}, or "
            "a file of weights"
        )
    from mentor_mentee.zoo import timm_models, transformers_models

    models = timm_models if target == TIMM else transformers_models
    identity, classes, view = models.card(name)
    title = f"the weights that {package} has of '{name}'"
    return Published(title, f"{package} {identity}", classes, view, lambda: models.published(name))


def of_torchvision(name: str, weights: str) -> Published:
    from mentor.torchvision_models import AUXILIARY, find_weights, own_view, published

    found = find_weights(name, weights)
    return Published(
        title=f"torchvision's {weights}",
        identity=str(found.url),  # contains the file's hash
        classes=len(found.meta["categories"]),
        view=own_view(found),
        state=lambda: published(name, found),
        options={"transform_input": True} if name in AUXILIARY else {},
    )
