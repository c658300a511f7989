"""The typed shape of a run's configuration. Imports no torch: a typo must be answered at once."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Optimizer(Enum):
    adamw = "adamw"
    sgd = "sgd"


class LearningRateCurve(Enum):
    constant = "constant"
    cosine = "cosine"


@dataclass
class ViewConfig:
    """How a network sees the one source image; what is null is taken from the data set (its training split's statistics)."""

    size: int | None = None  # height and width
    channels: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None


@dataclass
class FitConfig:
    """One training. An epoch is `steps_per_epoch` steps, or where that is null one pass over the data."""

    epochs: int = 20
    steps_per_epoch: int | None = None
    batch: int = 64
    optimizer: Optimizer = Optimizer.adamw
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    momentum: float = 0.9  # sgd only
    curve: LearningRateCurve = LearningRateCurve.cosine
    warmup: float = 0.05  # fraction of the run over which the rate rises from 0


@dataclass
class MentorConfig:
    """`weights`: a state dict (safetensors or torch file). Null trains the network on the data's labels, once: the result
    is kept under `cache_dir` by a hash of all that went into it."""

    network: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    view: ViewConfig = field(default_factory=ViewConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    seed: int = 0
    least_accuracy: float | None = None  # on the validation split; null: a tenth of the way from chance to 1


@dataclass
class MenteeConfig:
    network: dict[str, Any] = field(default_factory=dict)
    view: ViewConfig = field(default_factory=ViewConfig)
    head: str | None = (
        None  # module path of the layer whose input is the embedding; null: the linear layer that makes the logits
    )


@dataclass
class DistillConfig:
    mentor: MentorConfig = field(default_factory=MentorConfig)
    mentee: MenteeConfig = field(default_factory=MenteeConfig)
    data: dict[str, Any] = field(default_factory=dict)
    probes: dict[str, Any] = field(default_factory=dict)  # name: [mentor layer, mentee layer]; _auto_: true finds pairs
    schedule: dict[str, Any] = field(default_factory=dict)
    trainer: FitConfig = field(default_factory=FitConfig)
    seed: int = 1
    resume: bool = False  # go on from run_dir's last checkpoint
    run_dir: str = "runs/distill"
    cache_dir: str = ".cache"
    accelerator: str = "auto"
    threads: int | None = None  # CPU threads; null leaves torch's choice
    experiment: Any = None


@dataclass
class EvaluateConfig:
    checkpoint: str = "???"
    data: dict[str, Any] = field(default_factory=dict)  # empty: the data of the run
    split: str = "test"
    batch: int = 256
