"""The typed shape of a run's configuration. Imports no torch: a typo must be answered at once."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mentee.budget import Budget
from mentor_mentee.data.augmentation import Augmentation


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
    augment: Augmentation = field(default_factory=Augmentation)
    labelled_share: float = 0.25  # of a batch, where the data has labelled and unlabelled samples
    class_balance: bool = False  # every class equally often, however rare it is in the data


@dataclass
class TransferConfig:
    """Weights of other classes than the data's: a new head is trained, alone and then, where `all_epochs` is above 0, with
    all the layers below it. What is not named here (batch, optimizer, …) is `mentor.fit`'s."""

    epochs: int = 0  # of the head alone; 0: no new head
    learning_rate: float = 3e-3
    all_epochs: int = 0
    all_learning_rate: float = 1e-4


@dataclass
class MentorConfig:
    """`weights`: a state dict (safetensors or torch file), or for a torchvision network a name of its weights enum. Null
    trains the network on the data's labels, once. What is trained here is cached under `cache_dir` by a hash of all that
    went into it."""

    network: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    view: ViewConfig = field(default_factory=ViewConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    seed: int = 0
    # on the validation split; null: a tenth of the way from the most frequent class's share to 1
    least_accuracy: float | None = None


@dataclass
class MenteeConfig:
    network: dict[str, Any] = field(default_factory=dict)
    view: ViewConfig = field(default_factory=ViewConfig)
    head: str | None = (
        None  # module path of the layer whose input is the embedding; null: the linear layer that makes the logits
    )
    budget: Budget = field(default_factory=Budget)  # an open `width` is searched for, else the network measured


@dataclass
class LossConfig:
    """Names as in objective/loss_spec.py."""

    probe: str = "rmse"  # l1, l2, cosine, attention, similarity
    softmax: str = "kl"  # prob_rmse, dkd, dist
    standardise: bool = False  # softmax of the logits' z-scores


@dataclass
class DistillConfig:
    mentor: MentorConfig = field(default_factory=MentorConfig)
    mentee: MenteeConfig = field(default_factory=MenteeConfig)
    data: dict[str, Any] = field(default_factory=dict)
    probes: dict[str, Any] = field(default_factory=dict)  # distill.probe_options says what may stand here
    schedule: dict[str, Any] = field(default_factory=dict)
    loss: LossConfig = field(default_factory=LossConfig)
    trainer: FitConfig = field(default_factory=FitConfig)
    seed: int = 1
    resume: bool = False  # go on from run_dir's last checkpoint
    run_dir: str = "runs/distill"
    cache_dir: str = ".cache"
    cache_answers: bool | None = (
        None  # compute mentor outputs once per view and cache them; null: where that saves work
    )
    answer_cache_mb: int = 2048  # memory for the answer cache
    accelerator: str = "auto"
    threads: int | None = None  # CPU threads; null leaves torch's choice
    experiment: Any = None


@dataclass
class EvaluateConfig:
    checkpoint: Any = "???"  # one path, or a list of them: mean ± std
    against: Any = None  # the checkpoints to compare with, of the same seeds, data and steps
    data: dict[str, Any] = field(default_factory=dict)  # empty: the data of the run
    split: str = "test"
    batch: int = 256
    out: str | None = None  # folder of evaluation.json and .html; null: beside the checkpoint, or above them all
