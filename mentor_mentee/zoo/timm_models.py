"""timm's classifiers by name."""

from collections.abc import Callable
from pathlib import Path
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
    options |= {"num_classes": num_classes, "in_chans": in_channels}
    if ":" not in name:
        network: nn.Module = timm.create_model(name, pretrained=False, **options)
    else:
        network = had(name, lambda: timm.create_model(name, pretrained=False, **options))
    return network


def require_known(name: str) -> None:
    """Raises `UserError` for a name that is none of timm's, and for a folder that is not there. Fetches nothing."""
    timm = optional("timm", "timm", f"timm's model '{name}'")
    kind, colon, place = name.partition(":")
    if colon:
        folder = Path(place).expanduser()
        if kind not in ("hf-hub", "local-dir") or not place:
            raise UserError(
                f"timm has no model '{name}'{did_you_mean(kind, ('hf-hub', 'local-dir'))}; expected one of its names, "
                "hf-hub:OWNER/NAME or local-dir:FOLDER"
            )
        if kind == "local-dir" and not (folder / "config.json").is_file():
            raise UserError(f"'{name}': no config.json in {folder}; expected a folder that timm's save_for_hf made")
        return
    if timm.is_model(name):
        return
    known = timm.list_models()
    raise UserError(f"timm has no model '{name}'{did_you_mean(name, known)} ({len(known)} are known)")


def had(name: str, make: Callable[[], Any]) -> Any:
    """The network that `make` makes of a hub's model or a folder. Raises `UserError` where it cannot be had."""
    try:
        return make()
    except Exception as error:  # no network, no such model, a damaged file, an option that it lacks
        raise UserError(
            f"timm cannot build '{name}' ({' '.join(str(error).split())[:300]}); with no way out to the internet save the model "
            "elsewhere (timm.models.save_for_hf) and give local-dir:FOLDER"
        ) from None


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
    if ":" in name:  # of a folder or a hub's model the configuration comes with the model
        about = had(name, lambda: timm.create_model(name, pretrained=False).pretrained_cfg)
    else:
        about = timm.get_pretrained_cfg(name).to_dict()
    places = [str(about[place]) for place in ("hf_hub_id", "url", "file") if about.get(place)]
    if not places:
        raise UserError(f"timm has no published weights of '{name}'; leave mentor.weights out, or give a file of them")
    channels, height, width = about["input_size"]
    return (
        " ".join(places),
        int(about["num_classes"]),
        View((channels, height, width), tuple(about["mean"]), tuple(about["std"])),
    )
