"""Image classifiers of Hugging Face transformers: by architecture, or as a folder or a hub's model says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.zoo.packages import optional


def classifier(name: str, num_classes: int = 1000, in_channels: int = 3, **options: Any) -> nn.Module:
    """An `AutoModelForImageClassification` with random weights; what else it puts out than logits is left out.

    `options` are those of its configuration, as `image_size`. Raises `UserError` for a name that is no architecture, folder or
    model of the hub's.

    - `name`: an architecture, as vit or resnet; a folder of `save_pretrained`; or a model of the hub, as microsoft/resnet-18
    """
    transformers = library(name)
    config = configuration(name, num_labels=num_classes, num_channels=in_channels, **options)
    try:
        network: nn.Module = transformers.AutoModelForImageClassification.from_config(config)
    except Exception as error:
        raise UserError(f"transformers cannot build '{name}': {' '.join(str(error).split())[:300]}") from None
    return network


def library(name: str) -> Any:
    return optional("transformers", "transformers", f"the model '{name}' of transformers")


def configuration(name: str, **options: Any) -> Any:
    transformers = library(name)
    require_known(name)
    if name in architectures():
        return transformers.AutoConfig.for_model(name, **options)
    return had(name, lambda: transformers.AutoConfig.from_pretrained(name, **options))


def require_known(name: str) -> None:
    """Raises `UserError` for what is no architecture, folder or `owner/name`. Fetches nothing."""
    known = architectures()
    if name not in known and not Path(name).expanduser().is_dir() and "/" not in name:
        raise UserError(
            f"transformers has no image classifier '{name}'{did_you_mean(name, known)} ({len(known)} are known; a folder of "
            "save_pretrained or a model of the hub, owner/name, works too)"
        )


def architectures() -> list[str]:
    modeling = optional("transformers.models.auto.modeling_auto", "transformers", "a model of transformers")
    return list(modeling.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)


def had(name: str, make: Any) -> Any:
    try:
        return make()
    except Exception as error:  # no network, no such model, a damaged file
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"'{name}' could not be had from the hub or its cache, or is no folder of save_pretrained ({reason}); with no way "
            "out to the internet fetch the model elsewhere and give its folder"
        ) from None


def published(name: str) -> dict[str, Tensor]:
    """The state dict of a folder or of a hub's model. Raises `UserError` where it cannot be had."""
    transformers = library(name)
    network: nn.Module = had(name, lambda: transformers.AutoModelForImageClassification.from_pretrained(name))
    return network.state_dict()


def card(name: str) -> tuple[str, int, View | None]:
    """(identity, classes, view) of the weights; no view where nothing says how images were prepared."""
    if name in architectures():
        raise UserError(
            f"'{name}' is an architecture of transformers, without weights; expected a folder or a hub's model, owner/name"
        )
    config = configuration(name)
    identity = f"{name} {getattr(config, '_commit_hash', None) or ''}{stamp(name)}"
    return identity, int(config.num_labels), own_view(name, int(getattr(config, "num_channels", 3)))


def stamp(name: str) -> str:
    """Digest of a folder, so that other weights in it are others."""
    files = sorted(Path(name).glob("*.safetensors")) + sorted(Path(name).glob("*.bin"))
    return " ".join(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)


def own_view(name: str, channels: int) -> View | None:
    try:
        about: Mapping[str, Any] = library(name).AutoImageProcessor.from_pretrained(name).to_dict()
    except Exception:  # none was saved with it
        return None
    size = about.get("crop_size") if about.get("do_center_crop") else None
    size = size or about.get("size")
    side = size if isinstance(size, int) else None
    if isinstance(size, Mapping):
        side = size.get("height") or size.get("shortest_edge")
    mean, std = about.get("image_mean"), about.get("image_std")
    if not isinstance(side, int) or mean is None or std is None or len(mean) != channels:
        return None
    return View((channels, side, side), tuple(map(float, mean)), tuple(map(float, std)))
