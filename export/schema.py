"""The typed shape of an export's configuration. Imports neither torch nor onnx: a typo must be answered at once."""

import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from export.graph.optimizer_spec import Optimizer, check_optimizer
from mentor_mentee.errors import UserError, did_you_mean


@dataclass
class Loss:
    """The knobs that device learning starts with."""

    alpha: float = 1.0
    beta: float = 0.1
    gamma: float = 1.0
    temperature: float = 4.0


BATCH_NORM = ("frozen", "batch", "affine_only")
DROPOUT = ("off", "on")
REWRITE = ("auto", "off")  # what has no gradient on the device: an exact equal instead, or an error


REPLAY_RULES = ("random", "herding", "k_centre")  # how the samples of a class are chosen


@dataclass
class ExportSettings:
    """`checkpoint`: the mentee.safetensors of a run. Packs are class-balanced, so many samples of each class."""

    checkpoint: str = "???"
    bundle: str = "???"
    supervision_per_class: int = 20
    golden_per_class: int = 20
    loss: Loss = field(default_factory=Loss)
    optimizer: Optimizer = field(default_factory=Optimizer)
    overwrite: bool = False
    replay_rule: str = "random"  # see REPLAY_RULES
    supervision_mb: float | None = None  # 10^6 bytes; as many samples of each class as fit, instead of …_per_class
    nominal_checkpoint: bool = False  # the weights in parameters.bin, a checkpoint without any
    int8: bool = False  # adds inference.int8.onnx
    sign_key: str | None = None  # file of an Ed25519 private key, PEM; see `python -m export keygen`
    batch_norm: str = "frozen"  # see BATCH_NORM
    dropout: str = "off"  # see DROPOUT
    rewrite: str = "auto"  # see REWRITE
    trainable: Any = "all"  # all, head, last:<n>, bias, norm or a glob on parameters' names; or a list of these
    classes: list[str] | None = None  # another list of classes than the checkpoint's, in this order


def check_export(settings: ExportSettings) -> None:
    """Raises `UserError` for a count, a weight or a rate that cannot be meant."""
    for name in ("supervision_per_class", "golden_per_class"):
        if getattr(settings, name) < 1:
            raise UserError(f"{name}={getattr(settings, name)}; expected 1 or more samples of each class")
    for name, known in (("batch_norm", BATCH_NORM), ("dropout", DROPOUT), ("rewrite", REWRITE)):
        if (value := getattr(settings, name)) not in known:
            raise UserError(f"{name}={value}{did_you_mean(str(value), known)}; expected one of {', '.join(known)}")
    if settings.replay_rule not in REPLAY_RULES:
        raise UserError(
            f"replay_rule={settings.replay_rule}{did_you_mean(settings.replay_rule, REPLAY_RULES)}; expected one of "
            f"{', '.join(REPLAY_RULES)}"
        )
    if settings.supervision_mb is not None and not 0 < settings.supervision_mb < math.inf:
        raise UserError(f"supervision_mb={settings.supervision_mb}; expected a number above 0, in 10^6 bytes, or null")
    require_trainable(settings.trainable)
    require_classes(settings.classes)
    for name, value in asdict(settings.loss).items():
        if not (math.isfinite(value) and value >= 0) or (name == "temperature" and value == 0):
            raise UserError(f"loss.{name}={value}; expected a finite number of at least 0, and a temperature above 0")
    check_optimizer(settings.optimizer)


def require_classes(classes: list[str] | None) -> None:
    """Raises `UserError` for a list that no classifier can have; whether it fits the checkpoint is seen later."""
    if classes is None:
        return
    if len(classes) < 2:
        raise UserError(f"classes={classes}; expected at least two names, or null for the checkpoint's own classes")
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        raise UserError(f"classes names {', '.join(map(repr, twice))} more than once; expected each name once")


def require_trainable(wanted: Any) -> None:
    """Raises `UserError` for what is no choice of parameters, whatever network it is meant for."""
    choices = wanted if isinstance(wanted, list) else [wanted]
    if not choices or not all(isinstance(choice, str) and choice for choice in choices):
        raise UserError(
            f"trainable={wanted}; expected all, head, last:<n>, bias, norm or a glob on the parameters' names, or a list of "
            "these"
        )
    for choice in choices:
        if choice.startswith("last") and not re.fullmatch(r"last:[1-9]\d*", choice) and not set(choice) & set("*?[."):
            raise UserError(
                f"trainable={choice}; expected last:<n> with a number of layers of at least 1, as in last:2"
            )
