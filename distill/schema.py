"""The typed shape of a run's configuration, a description to each setting. Imports no torch: a typo is answered at once."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from mentee.budget import Budget
from mentor.cache.options import PRECISIONS as CACHE_PRECISIONS
from mentor.precisions import PRECISIONS as MENTOR_PRECISIONS
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.objective.loss_spec import PROBE_METRICS, SOFTMAX_LOSSES
from mentor_mentee.settings import setting


class Optimizer(Enum):
    adamw = "adamw"
    sgd = "sgd"


class LearningRateCurve(Enum):
    constant = "constant"
    cosine = "cosine"


@dataclass
class ViewConfig:
    """The way a network sees the one source image."""

    size: int | None = setting(None, "height and width, of signals the length; null: the data's")
    channels: int | None = setting(None, "channels; null: the data's")
    mean: list[float] | None = setting(None, "of each channel, subtracted; null: of the training split")
    std: list[float] | None = setting(None, "of each channel, divided by; null: of the training split")


class Keep(Enum):
    last = "last"
    best = "best"


class Clipping(Enum):
    norm = "norm"
    value = "value"


@dataclass
class FitConfig:
    """Settings of one training. Those that Lightning's Trainer has as well have its names and its meaning."""

    max_epochs: int = setting(20, "how many epochs; the schedules and the learning rate run over all of them")
    steps_per_epoch: int | None = setting(None, "steps in an epoch; null: one pass over the data")
    batch: int = setting(64, "samples in a step")
    optimizer: Optimizer = setting(Optimizer.adamw, "adamw or sgd")
    learning_rate: float = setting(2e-3, "the highest, after the warm-up")
    weight_decay: float = setting(0.01, "decoupled for adamw, added to the gradient for sgd")
    momentum: float = setting(0.9, "of sgd")
    curve: LearningRateCurve = setting(
        LearningRateCurve.cosine, "learning rate after the warm-up: constant, or cosine down to 0"
    )
    warmup: float = setting(0.05, "fraction of the run over which the learning rate rises from 0")
    augment: Augmentation = setting(Augmentation, "how samples are changed")
    labelled_share: float = setting(
        0.25, "labelled fraction of each batch, where the data has labelled and unlabelled samples"
    )
    class_balance: bool = setting(False, "draw every class equally often, however rare it is in the data")
    workers: int | None = setting(
        None,
        "processes that read and augment batches; null: 0 for data in memory, else half of the CPU cores, at most 8",
    )
    keep: Keep = setting(
        Keep.last, "weights of the last step, or best: of the epoch that is right on most of validation"
    )
    label_smoothing: float = setting(0.0, "of the cross-entropy: the part of a label that all classes share")
    class_weights: Any = setting(
        None, "of the cross-entropy: auto (inverse frequency), a list, or {class: weight}, the others 1; null: none"
    )
    layer_rates: dict[str, float] = setting(
        {}, "factors of the learning rate by parameter name: {features.0.*: 0.1}; the first that matches, else 1"
    )
    compile: bool = setting(False, "torch.compile the network for its training")
    precision: str = setting(
        "32-true", "32-true, bf16-mixed or (on a GPU) 16-mixed, in short 32, bf16, 16; the loss is always float32"
    )
    accumulate_grad_batches: int = setting(1, "batches whose gradients are averaged into one step")
    gradient_clip_val: float | None = setting(None, "largest gradient; null: no clipping")
    gradient_clip_algorithm: Clipping = setting(Clipping.norm, "norm (of the whole gradient) or value (of each number)")
    devices: int = setting(1, "processes, each on a device of its own; a batch is shared out among them")
    strategy: str = setting("auto", "auto or ddp; ddp_find_unused_parameters_true: some parameters get no gradient")
    sync_batchnorm: bool = setting(False, "BatchNorm normalises by the whole batch of several processes; on GPUs only")
    num_nodes: int = setting(1, "machines, on each of which torchrun or srun starts the command")
    log_every_n_steps: int = setting(50, "steps between two rows that a logger gets of single steps")


@dataclass
class TransferConfig:
    """A new head under weights of other classes than the data's. What is not named here is `mentor.fit`'s."""

    epochs: int = setting(0, "epochs of the new head alone; 0: no new head")
    learning_rate: float = setting(3e-3, "of the new head alone")
    all_epochs: int = setting(0, "epochs of all layers, after those of the head")
    all_learning_rate: float = setting(1e-4, "of all layers")
    least_steps: int = setting(
        800,
        "steps of each of the two at least: where samples are few an epoch passes over them several times; 0: once",
    )


@dataclass
class MentorConfig:
    network: dict[str, Any] = setting({}, "the network's recipe: _target_ and its options")
    weights: str | None = setting(
        None, "file of a state dict, or torchvision's name of one; null: trained on the data once, cached"
    )
    weights_at: str | None = setting(
        None, "place of the weights in their file, as state_dict_ema or model.student; null: the one that fits"
    )
    view: ViewConfig = setting(ViewConfig, "how the mentor sees an image")
    fit: FitConfig = setting(FitConfig, "how a mentor is trained here")
    transfer: TransferConfig = setting(TransferConfig, "a new head for other classes")
    seed: int = setting(0, "of a mentor that is trained here")
    precision: str = setting(
        "auto",
        f"in which it computes its answers: {', '.join(MENTOR_PRECISIONS)} (on a GPU); auto: bf16-mixed where a "
        "CPU is much faster in it and it does no harm",
    )
    shard: bool = setting(False, "each process of the training holds a part of it; it is asked at each step, uncached")
    least_accuracy: float | None = setting(
        None,
        "on the validation split, below it an error; null: a tenth of the way from the most frequent class's share to 1",
    )


@dataclass
class MenteeConfig:
    network: dict[str, Any] = setting({}, "the network's recipe: _target_ and its options")
    view: ViewConfig = setting(ViewConfig, "how the mentee sees an image")
    head: str | None = setting(None, "layer whose input is the embedding; null: the linear layer that makes the logits")
    budget: Budget = setting(Budget, "limits within which the widest network is taken")


@dataclass
class LossConfig:
    """Distances that the loss is made of."""

    probe: str = setting("rmse", f"distance at the probes (β): {', '.join(PROBE_METRICS)}")
    softmax: str = setting("kl", f"distance of the softmax layers (γ): {', '.join(SOFTMAX_LOSSES)}")
    standardise: bool = setting(False, "take the softmax of each sample's standardised logits")


@dataclass
class CacheConfig:
    """The mentor's answers on disk, in cache_dir."""

    answers: bool | None = setting(None, "cache them; null: where samples come again in the run, and they fit")
    max_gb: float = setting(20.0, "10^9 bytes that all runs' answers may take; the least recently used go first")
    activations: str = setting(
        "int8", f"how layers are cached: {', '.join(CACHE_PRECISIONS)}; of 1,000 numbers 1, 2, 4 kB"
    )
    verify: float = setting(0.0, "share of cached answers that the mentor is asked for again, to compare")


@dataclass
class DistillConfig:
    mentor: MentorConfig = setting(MentorConfig, "the large network")
    mentee: MenteeConfig = setting(MenteeConfig, "the small network")
    data: dict[str, Any] = setting({}, "the data set's recipe: _target_, its options and the label budget")
    probes: dict[str, Any] = setting({}, "pairs of layers to compare: <name>=[mentor layer, mentee layer]")
    schedule: dict[str, Any] = setting({}, "how α, β, γ and the temperature run over the training")
    loss: LossConfig = setting(LossConfig, "which distances are minimised")
    trainer: FitConfig = setting(FitConfig, "how the mentee is trained")
    callbacks: dict[str, Any] = setting({}, "Lightning callbacks of the mentee's training, a recipe by any name each")
    logger: dict[str, Any] = setting({}, "Lightning loggers of the mentee's training, a recipe by any name each")
    seed: int = setting(1, "fixes the mentee's weights, its batches and its augmentation")
    resume: bool = setting(False, "go on from the last epoch in run_dir")
    run_dir: str = setting("runs/distill", "folder of the run's files; with -m the folder of all the sweep's runs")
    cache_dir: str = setting(".cache", "folder of trained mentors and of their cached answers")
    cache: CacheConfig = setting(CacheConfig, "the mentor's answers, asked once for each sample and view")
    preflight: bool = setting(True, "say before any training whether the mentee will export; the answer is cached")
    export: dict[str, Any] = setting(
        {}, "settings that the export will have, for that: trainable, batch_norm, rewrite, backend"
    )
    accelerator: str = setting("auto", "Lightning's: cpu, gpu, mps, auto")
    threads: int | None = setting(None, "CPU threads; null: torch's choice")
    experiment: Any = setting(None, "a file of several settings at once")


@dataclass
class EvaluateConfig:
    checkpoint: Any = setting("???", "the mentee.safetensors of a run, or [several, of, them]: mean ± std")
    against: Any = setting(None, "those to compare with, of the same seeds, data and steps: paired differences")
    data: dict[str, Any] = setting({}, "another data set's recipe; null: the data of the run")
    split: str = setting("test", "train, val or test")
    batch: int = setting(256, "samples at a time")
    cache_dir: str = setting(".cache", "folder in which runs cached their mentors' answers")
    out: str | None = setting(
        None, "folder of evaluation.json and .html; null: beside the checkpoint, or above them all"
    )
