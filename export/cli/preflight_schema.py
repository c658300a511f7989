"""The settings of `preflight`. Imports no torch: a typo must be answered at once."""

from dataclasses import dataclass, field
from typing import Any

from export.schema import BATCH_NORM, REWRITE, require_trainable
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.recipe import check_recipe


@dataclass
class PreflightSettings:
    """A run's `checkpoint`, or a bare `network` (`_target_` and its options) with the `shape` of one sample."""

    checkpoint: str | None = None
    network: dict[str, Any] = field(default_factory=dict)
    shape: list[int] | None = None  # channels, height, width
    head: str | None = None  # the layer whose input is the embedding; found where it can be
    batch_norm: str = "frozen"
    rewrite: str = "auto"
    trainable: Any = "all"  # as an export's: all, head, last:<n>, bias, norm, a glob, or a list of these


def check_preflight(settings: PreflightSettings) -> None:
    """Raises `UserError` where neither or both are given, or for what cannot be meant."""
    if (settings.checkpoint is None) == (not settings.network):
        raise UserError(
            "preflight looks at one model: give checkpoint=<run>/mentee.safetensors, or network._target_=<package.callable> "
            "and shape=[channels,height,width]"
        )
    for name, known in (("batch_norm", BATCH_NORM), ("rewrite", REWRITE)):
        if (value := getattr(settings, name)) not in known:
            raise UserError(f"{name}={value}{did_you_mean(str(value), known)}; expected one of {', '.join(known)}")
    require_trainable(settings.trainable)
    if settings.checkpoint is not None:
        for name in ("shape", "head"):
            if getattr(settings, name) is not None:
                raise UserError(f"{name}=… is for a bare network; a checkpoint says its own")
        return
    if settings.shape is None or not settings.shape or min(settings.shape) < 1:
        raise UserError(f"shape={settings.shape}; expected the sizes of one sample, as in shape=[3,64,64]")
    check_recipe(settings.network, "network")
