"""timm's classifiers by name."""

from typing import Any

from torch import Tensor, nn

from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.zoo.packages import optional


def classifier(name: str, num_classes: int = 1000, in_channels: int = 3, **options: Any) -> nn.Module:
    """`name` as in `timm.list_models()`, with random weights; `options` are those of the model, as `drop_path_rate`.

    Raises `UserError` for a name that timm lacks.

    - `name`: of a timm model, as resnet10t or mobilenetv3_small_050
    """
    timm = optional("timm", "timm", f"timm's model '{name}'")
    require_known(name)
    network: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=num_classes, in_chans=in_channels, **options
    )
    return network


def require_known(name: str) -> None:
    timm = optional("timm", "timm", f"timm's model '{name}'")
    if ":" in name or timm.is_model(name):  # hf-hub:owner/name, local-dir:folder
        return
    known = timm.list_models()
    raise UserError(f"timm has no model '{name}'{did_you_mean(name, known)} ({len(known)} are known)")


def published(name: str) -> dict[str, Tensor]:
    """The state dict of the weights that timm publishes under this name, from its cache or fetched. Raises `UserError` where
    there are none, or they can be had from neither."""
    timm = optional("timm", "timm", f"timm's model '{name}'")
    require_known(name)
    try:
        network: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:  # no network, no published weights, and whatever a damaged file runs into
        raise UserError(
            f"timm's weights of '{name}' could not be had ({' '.join(str(error).split())[:300]}); with no way out to the "
            "internet fetch their file elsewhere and give mentor.weights=FILE"
        ) from None
    return network.state_dict()


def card(name: str) -> tuple[str, int, View]:
    """(identity, classes, view) of the published weights. Raises `UserError` where timm has none."""
    timm = optional("timm", "timm", f"timm's model '{name}'")
    require_known(name)
    try:  # of a folder or a hub's model the configuration comes with the model
        about = (
            timm.create_model(name, pretrained=False).pretrained_cfg
            if ":" in name
            else timm.get_pretrained_cfg(name).to_dict()
        )
    except Exception as error:
        raise UserError(f"timm cannot read '{name}' ({' '.join(str(error).split())[:300]})") from None
    places = [str(about[place]) for place in ("hf_hub_id", "url", "file") if about.get(place)]
    if not places:
        raise UserError(f"timm has no published weights of '{name}'; leave mentor.weights out, or give a file of them")
    channels, height, width = about["input_size"]
    return (
        " ".join(places),
        int(about["num_classes"]),
        View((channels, height, width), tuple(about["mean"]), tuple(about["std"])),
    )
