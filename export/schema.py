"""The settings of an export and of a preflight. Imports neither torch nor onnx: a typo must be answered at once."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from export.backends import AUTO, BACKENDS, STOCK, require_installed
from export.graph.optimizer_spec import Optimizer, check_optimizer
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.recipe import check_recipe
from mentor_mentee.settings import setting

BATCH_NORM = ("frozen", "batch", "affine_only")
DROPOUT = ("off", "on")
REWRITE = ("auto", "off")
REPLAY_RULES = ("random", "herding", "k_centre")
TRAINABLE = "all, head, last:<n>, bias, norm, a glob on parameters' names, or a list of these"
BATCH_NORM_HELP = (
    "frozen: folded away; affine_only: statistics held, scale and shift train; batch: the batch's statistics"
)
REWRITE_HELP = "auto: operators without a gradient become exact equals that have one; off: an error names them"
BACKEND_HELP = (
    "graphs that learn: ort-training (ONNX Runtime Training 1.19.2), stock (any ONNX Runtime since 1.17), both, or auto, those "
    "of the two that prove"
)
MOST_SPARE = 1000  # classes
SERVICE = r"https?://[^\s/?#@]{1,290}"
INCONCLUSIVE = ("keep", "refuse")
INCONCLUSIVE_HELP = (
    "where the proof is silent about some gradients: keep makes the bundle and says so, refuse makes none"
)


@dataclass
class Loss:
    """The knobs that device learning starts with; null is what the run had at its last step, see `export.bundle.knobs`."""

    alpha: float = setting(1.0, "weight of the labels' cross-entropy")
    beta: float | None = setting(0.0, "weight of the probes' terms; null: the run's at its last step")
    gamma: float | None = setting(None, "weight of the mentor's softmax; null: the run's at its last step")
    temperature: float | None = setting(None, "temperature of both softmaxes; null: the run's at its last step")


@dataclass
class ExportSettings:
    checkpoint: str = setting("???", "mentee.safetensors of a distillation run")
    bundle: str = setting("???", "folder to make; <bundle>.zip is made beside it")
    supervision_per_class: int = setting(20, "replay samples of each class, with the mentor's outputs")
    golden_per_class: int = setting(20, "validation samples of each class that guard the mentee on the device")
    loss: Loss = setting(Loss, "the knobs that device learning starts with")
    optimizer: Optimizer = setting(Optimizer, "the device's optimizer")
    backend: str = setting(AUTO, BACKEND_HELP)
    overwrite: bool = setting(False, "replace a bundle of that name once the new one is whole")
    replay_rule: str = setting("random", "how replay samples are chosen: random, herding or k_centre")
    supervision_mb: float | None = setting(
        None, "size of the replay pack in 10^6 bytes, instead of supervision_per_class"
    )
    nominal_checkpoint: bool = setting(False, "weights in parameters.bin, and a checkpoint without any")
    int8: bool = setting(False, "adds inference.int8.onnx")
    sign_key: str | None = setting(None, "PEM file of an Ed25519 private key that signs the bundle; see `keygen`")
    batch_norm: str = setting("frozen", BATCH_NORM_HELP)
    dropout: str = setting("off", "on: the network's own nn.Dropout, while it learns on the device")
    rewrite: str = setting("auto", REWRITE_HELP)
    inconclusive: str = setting("keep", INCONCLUSIVE_HELP)
    trainable: Any = setting("all", f"what trains on the device: {TRAINABLE}")
    mentor_service: str | None = setting(
        None, "https://HOST[:PORT] of a service that devices may ask (`python -m mentor.serve`); the manifest names it"
    )
    classes: list[str] | None = setting(
        None, "another list of class names: known ones keep their row of the head, others start a new one"
    )
    spare_classes: int = setting(0, "rows of the head for classes that the owner names on the device")


@dataclass
class PreflightSettings:
    """A run's `checkpoint`, or a bare `network` (`_target_` and its options) with the `shape` of one sample."""

    checkpoint: str | None = setting(None, "mentee.safetensors of a run; or a bare network and its shape")
    network: dict[str, Any] = setting({}, "network._target_=<package.callable>, and its options as network.<option>=…")
    shape: list[int] | None = setting(None, "sizes of one sample of the network, as [channels,height,width]")
    head: str | None = setting(None, "layer whose input is the embedding; null: the layer that puts out the logits")
    batch_norm: str = setting("frozen", BATCH_NORM_HELP)
    backend: str = setting(AUTO, BACKEND_HELP)
    rewrite: str = setting("auto", REWRITE_HELP)
    json: bool = setting(
        False,
        "print one JSON object: why it would not export, or null, what would be left out, or null, and the lines",
    )
    trainable: Any = setting("all", f"what would train on the device: {TRAINABLE}")


def check_export(settings: ExportSettings) -> None:
    """Raises `UserError` for a count, a weight or a rate that cannot be meant."""
    for name in ("supervision_per_class", "golden_per_class"):
        if getattr(settings, name) < 1:
            raise UserError(f"{name}={getattr(settings, name)}; expected 1 or more samples of each class")
    require_backend(settings.backend)
    if settings.backend == STOCK and settings.nominal_checkpoint:
        raise UserError(
            "nominal_checkpoint=true is for ONNX Runtime Training, and backend=stock has no checkpoint; leave it out"
        )
    require_one_of("batch_norm", settings.batch_norm, BATCH_NORM)
    require_one_of("dropout", settings.dropout, DROPOUT)
    require_one_of("rewrite", settings.rewrite, REWRITE)
    require_one_of("inconclusive", settings.inconclusive, INCONCLUSIVE)
    require_one_of("replay_rule", settings.replay_rule, REPLAY_RULES)
    if settings.supervision_mb is not None and not 0 < settings.supervision_mb < math.inf:
        raise UserError(f"supervision_mb={settings.supervision_mb}; expected a number above 0, in 10^6 bytes, or null")
    require_trainable(settings.trainable)
    require_classes(settings.classes)
    require_service(settings.mentor_service)
    if not 0 <= settings.spare_classes <= MOST_SPARE:
        raise UserError(f"spare_classes={settings.spare_classes}; expected 0 to {MOST_SPARE}, and a few are enough")
    for name, value in asdict(settings.loss).items():
        if value is None and name != "alpha":
            continue
        if not (math.isfinite(value) and value >= 0) or (name == "temperature" and value == 0):
            raise UserError(f"loss.{name}={value}; expected a finite number of at least 0, and a temperature above 0")
    check_optimizer(settings.optimizer)


def check_preflight(settings: PreflightSettings) -> None:
    """Raises `UserError` where neither or both are given, or for what cannot be meant."""
    if (settings.checkpoint is None) == (not settings.network):
        raise UserError(
            "preflight looks at one model: give checkpoint=<run>/mentee.safetensors, or network._target_=<package.callable> "
            "and shape=[channels,height,width]"
        )
    require_backend(settings.backend)
    require_one_of("batch_norm", settings.batch_norm, BATCH_NORM)
    require_one_of("rewrite", settings.rewrite, REWRITE)
    require_trainable(settings.trainable)
    if settings.checkpoint is not None:
        for name in ("shape", "head"):
            if getattr(settings, name) is not None:
                raise UserError(f"{name}=… is for a bare network; a checkpoint says its own")
        return
    if settings.shape is None or not settings.shape or min(settings.shape) < 1:
        raise UserError(f"shape={settings.shape}; expected the sizes of one sample, as in shape=[3,64,64]")
    check_recipe(settings.network, "network")


def require_one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UserError(f"{name}={value}{did_you_mean(str(value), known)}; expected one of {', '.join(known)}")


def require_backend(backend: str) -> None:
    require_one_of("backend", backend, BACKENDS)
    require_installed(backend)


def require_classes(classes: list[str] | None) -> None:
    """Raises `UserError` for a list that no classifier can have; whether it fits the checkpoint is seen later."""
    if classes is None:
        return
    if len(classes) < 2:
        raise UserError(f"classes={classes}; expected at least two names, or null for the checkpoint's own classes")
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        raise UserError(f"classes names {', '.join(map(repr, twice))} more than once; expected each name once")


def require_service(address: str | None) -> None:
    """Raises `UserError` for what is no address: a scheme and a host, which a device's program adds its own path to."""
    if address is not None and not re.fullmatch(SERVICE, address):
        raise UserError(
            f"mentor_service={address}; expected https://HOST or https://HOST:PORT, without a path (http:// for a trial on one "
            "machine)"
        )


def require_trainable(wanted: Any) -> None:
    """Raises `UserError` for what is no choice of parameters, whatever network it is meant for."""
    choices = wanted if isinstance(wanted, list) else [wanted]
    if not choices or not all(isinstance(choice, str) and choice for choice in choices):
        raise UserError(f"trainable={wanted}; expected {TRAINABLE}")
    for choice in choices:
        if choice.startswith("last") and not re.fullmatch(r"last:[1-9]\d*", choice) and not set(choice) & set("*?[."):
            raise UserError(
                f"trainable={choice}; expected last:<n> with a number of layers of at least 1, as in last:2"
            )
