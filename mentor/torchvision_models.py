"""torchvision's classifiers by name, as networks that put out logits and nothing else, in training mode too."""

from typing import Any

import torch
from torch import nn
from torchvision import models
from torchvision.models import WeightsEnum

from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError, did_you_mean

# Auxiliary heads help to train these from scratch; they are no part of the classifier, so here they are left out.
AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


def classifier(name: str, num_classes: int = 1000, transform_input: bool = False) -> nn.Module:
    """`name` as in `torchvision.models.list_models(torchvision.models)`, with random weights.

    Raises `UserError` for a name that torchvision lacks.

    - `name`: of a torchvision classifier, as resnet50
    - `transform_input`: GoogLeNet and Inception v3: turn ImageNet's normalisation into that of their published weights
    """
    require_known(name)
    options: dict[str, Any] = {"num_classes": num_classes}
    if name in AUXILIARY:
        # torchvision's own initialisation of these two takes seconds to minutes, and it means to drop it
        options |= {"aux_logits": False, "init_weights": False, "transform_input": transform_input}
    elif transform_input:
        raise UserError(f"'{name}' has no transform_input; only {' and '.join(AUXILIARY)} have")
    network: nn.Module = models.get_model(name, **options)
    return network


def require_known(name: str) -> None:
    known = models.list_models(module=models)
    if name not in known:
        raise UserError(f"torchvision has no classifier '{name}'{did_you_mean(name, known)} ({len(known)} are known)")


def find_weights(name: str, weights: str) -> WeightsEnum:
    """`IMAGENET1K_V1`, `DEFAULT` or `ResNet18_Weights.IMAGENET1K_V1`. Raises `UserError` for any other."""
    require_known(name)
    enum: type[WeightsEnum] = models.get_model_weights(name)
    short = weights.removeprefix(f"{enum.__name__}.")
    if short not in enum.__members__:
        raise UserError(
            f"no weights '{weights}' for {name}{did_you_mean(short, enum.__members__)} (torchvision has "
            f"{', '.join(enum.__members__)}; there is no file of that name either)"
        )
    return enum[short]


def published(name: str, weights: WeightsEnum) -> dict[str, torch.Tensor]:
    """The state dict of `classifier(name)` under these weights, which torchvision takes from its own cache
    or fetches. Raises `UserError` where it can do neither."""
    try:
        network: nn.Module = models.get_model(name, weights=weights, progress=False)
    except Exception as error:  # no network, a full disk, and whatever a damaged pickle runs into
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise UserError(
            f"{weights} could not be had from {weights.url} or '{folder}' ({' '.join(str(error).split())}); with no way "
            "out to the internet put the file of that name there"
        ) from None
    auxiliary = tuple(f"{head}." for head in AUXILIARY.get(name, ()))
    return {key: value for key, value in network.state_dict().items() if not (auxiliary and key.startswith(auxiliary))}


def own_view(weights: WeightsEnum) -> View:
    """The view that these weights were published with: normalisation and input size. Unlike torchvision's `transforms()` it
    shows the whole image, nothing is cropped away at the edges."""
    transforms = weights.transforms()
    size = int(transforms.crop_size[0])
    return View((3, size, size), tuple(transforms.mean), tuple(transforms.std))
