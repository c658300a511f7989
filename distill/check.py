"""Answers a wrong setting before anything heavy is imported: names, counts, rates, files that are not there."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from math import inf, isfinite
from pathlib import Path
from typing import Any

from distill.mentors.probe_options import read_probes
from distill.run_folder import require_checkpoint
from distill.schema import CacheConfig, DistillConfig, FitConfig, MentorConfig, ViewConfig
from mentor.cache.options import PRECISIONS as CACHED
from mentor.precisions import AUTO
from mentor.precisions import PRECISIONS as MENTOR_PRECISIONS
from mentor.weights.file import NAMED, require_file
from mentor_mentee.data.load import check_data, require_budget
from mentor_mentee.data.reading.present import require_present
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.recipe import check_recipe, split_target

OF_EXPORT = (
    "trainable",
    "batch_norm",
    "rewrite",
    "backend",
)  # what decides whether a mentee exports; the preflight checks the values
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
FROM_THE_RUN = frozenset({"save_dir", "dirpath"})
FROM_THE_DATA = frozenset({"num_classes", "in_channels"})


def check_distill(config: DistillConfig) -> None:
    """Raises `UserError` for a name, a count or a rate that cannot be meant."""
    check_settings(config)
    check_networks(config)


def check_networks(config: DistillConfig) -> None:
    """Last of all checks: a network whose signature its source does not show is imported, and torch with it."""
    check_recipe(config.mentor.network, "mentor.network", FROM_THE_DATA)
    check_recipe(config.mentee.network, "mentee.network", FROM_THE_DATA)
    for where, network in (("mentor.network", config.mentor.network), ("mentee.network", config.mentee.network)):
        require_named(network, where)
    for group, recipes in (("callbacks", config.callbacks), ("logger", config.logger)):
        for name, recipe in recipes.items():
            if not isinstance(recipe, Mapping):
                raise UserError(
                    f"{group}.{name}={recipe}; expected a recipe: {group}.{name}._target_=package.module.Class and its options"
                )
            if "_target_" not in recipe:
                raise UserError(
                    f"{group}.{name} has options but no class; expected {group}={name} beside them ({group}=[{name},…] for "
                    f"several), or {group}.{name}._target_=package.module.Class"
                )
            check_recipe(recipe, f"{group}.{name}", FROM_THE_RUN)


def require_named(network: Mapping[str, Any], where: str) -> None:
    """Raises `UserError` for a name that torchvision, timm or transformers lacks, before any data is read."""
    target = split_target(network, where)
    if target in NAMED and "name" in network:
        import_module(target[0]).require_known(str(network["name"]))


def check_settings(config: DistillConfig) -> None:
    """All but the networks; imports nothing heavy."""
    config.mentee.budget.check("mentee.budget")
    check_recipe(config.schedule, "schedule")
    LossSpec(**asdict(config.loss))
    check_data(config.data)
    require_budget(config.data)
    read_probes(config.probes)
    check_fit(config.trainer, "trainer")
    check_fit(config.mentor.fit, "mentor.fit")
    if config.loss.softmax == "dkd" and config.trainer.augment.mix.active():
        raise UserError(
            "loss.softmax=dkd splits the softmax at a sample's class, and trainer.augment.mix makes samples of two; take another "
            "loss.softmax, or no mix"
        )
    check_transfer(config.mentor)
    check_view(config.mentor.view, "mentor.view")
    check_view(config.mentee.view, "mentee.view")
    if (given := config.mentor.precision) not in (known := (AUTO, *MENTOR_PRECISIONS)):
        expected = f"expected {', '.join(known)}{did_you_mean(given, known)}"
        raise UserError(f"mentor.precision={given}; {expected}")
    if config.mentor.shard and config.trainer.devices * config.trainer.num_nodes < 2:
        raise UserError(
            "mentor.shard=true in a training of one process; expected several: trainer.devices=2, or num_nodes"
        )
    if config.mentor.shard and config.cache.answers:
        raise UserError(
            "mentor.shard=true with cache.answers=true; expected one: a mentor whose answers are cached need not fit"
        )
    least = config.mentor.least_accuracy
    if least is not None and not 0 <= least <= 1:
        raise UserError(f"mentor.least_accuracy={least}; expected a fraction of the validation split, from 0 to 1")
    for name in config.export:
        if name not in OF_EXPORT:
            raise UserError(
                f"no setting 'export.{name}'{did_you_mean(name, OF_EXPORT)}; expected {', '.join(OF_EXPORT)}"
            )
    check_cache(config.cache)
    if config.threads is not None and config.threads < 1:
        raise UserError(f"threads={config.threads}; expected 1 or more, or null")
    for name, seed in (("seed", config.seed), ("mentor.seed", config.mentor.seed)):
        if not 0 <= seed < 2**40:
            raise UserError(f"{name}={seed}; expected 0 or more, below 2^40")


def check_cache(cache: CacheConfig) -> None:
    if not 0 <= cache.max_gb < inf:
        raise UserError(f"cache.max_gb={cache.max_gb}; expected 0 or more, in 10^9 bytes")
    if not 0 <= cache.verify <= 1:
        raise UserError(f"cache.verify={cache.verify}; expected a share, from 0 to 1")
    if cache.activations not in CACHED:
        raise UserError(
            f"cache.activations={cache.activations}{did_you_mean(cache.activations, CACHED)}; expected "
            f"{', '.join(CACHED)}"
        )


def require_files(config: DistillConfig) -> None:
    """Raises `UserError` where the data, the mentor's weights or the checkpoint to resume are not there."""
    require_cache_dir(Path(config.cache_dir).expanduser().absolute())
    require_present(config.data)
    require_weights(config.mentor)
    if config.resume:
        require_checkpoint(Path(config.run_dir))


def require_cache_dir(folder: Path) -> None:
    """Raises `UserError` where it can be neither written nor made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    reason = "a file" if not there.is_dir() else None if os.access(there, os.W_OK | os.X_OK) else "not to be written"
    if reason is not None:
        raise UserError(f"cache_dir={folder}: {there} is {reason}; set cache_dir=... to a folder that can be written")


def require_weights(config: MentorConfig) -> None:
    """Raises `UserError` for weights that are no file, unless they may be a name that their package knows."""
    if config.weights is None:
        return
    path = Path(config.weights).expanduser()
    looks_named = path.name == config.weights and path.suffix not in (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
    if not (looks_named and split_target(config.network, "mentor.network") in NAMED):
        require_file(path)


def check_transfer(config: MentorConfig) -> None:
    transfer = config.transfer
    if config.weights_at is not None and config.weights is None:
        raise UserError(f"mentor.weights_at={config.weights_at} without mentor.weights; name the file of the weights")
    for name in ("epochs", "all_epochs", "least_steps"):
        if getattr(transfer, name) < 0:
            raise UserError(f"mentor.transfer.{name}={getattr(transfer, name)}; expected 0 or more")
    for name in ("learning_rate", "all_learning_rate"):
        if not 0 < getattr(transfer, name) < 1e38:
            raise UserError(f"mentor.transfer.{name}={getattr(transfer, name)}; expected a finite number above 0")
    if transfer.all_epochs and not transfer.epochs:
        raise UserError(
            f"mentor.transfer.all_epochs={transfer.all_epochs} with mentor.transfer.epochs=0; expected the new head to be "
            "trained alone first: mentor.transfer.epochs=10"
        )
    if transfer.epochs and config.weights is None:
        raise UserError(
            f"mentor.transfer.epochs={transfer.epochs} without weights to start from; set mentor.weights, or leave "
            "mentor.transfer out to train the whole mentor on the data"
        )


def check_view(view: ViewConfig, where: str) -> None:
    """Checks all of a view that needs no data, before a mentor is trained. Raises `UserError`."""
    for name in ("size", "channels"):
        if getattr(view, name) is not None and getattr(view, name) < 1:
            raise UserError(f"{where}.{name}={getattr(view, name)}; expected 1 or more, or null")
    if (view.mean is None) != (view.std is None):
        raise UserError(
            f"{where} has mean without std, or std without mean; give both, or neither to take them from the data"
        )
    if view.mean is not None and view.std is not None:
        if len(view.mean) != len(view.std) or not all(map(isfinite, view.mean)):
            raise UserError(
                f"{where}.mean={view.mean}, {where}.std={view.std}; expected a finite number of each for a channel"
            )
        if not all(0 < value < inf for value in view.std):
            raise UserError(f"{where}.std={view.std}; expected finite numbers above 0")


def check_fit(config: FitConfig, where: str) -> None:
    counts = ("max_epochs", "batch", "steps_per_epoch", "accumulate_grad_batches", "devices", "num_nodes")
    for name, least in (("workers", 0), *((name, 1) for name in (*counts, "log_every_n_steps"))):
        value = getattr(config, name)
        if value is not None and value < least:
            raise UserError(f"{where}.{name}={value}; expected {least} or more")
    if not 0 < config.learning_rate < 1e38:
        raise UserError(f"{where}.learning_rate={config.learning_rate}; expected a finite number above 0")
    for name in ("weight_decay", "momentum"):
        if not 0 <= getattr(config, name) < 1e38:
            raise UserError(f"{where}.{name}={getattr(config, name)}; expected a finite number of at least 0")
    config.augment.check(f"{where}.augment")
    if config.augment.mix.active() and config.batch < 2:
        raise UserError(
            f"{where}.batch={config.batch} with {where}.augment.mix: a sample alone in its batch has none to be mixed with; "
            f"expected {where}.batch=2 or more, or no mix"
        )
    if not 0 < config.labelled_share < 1:
        raise UserError(
            f"{where}.labelled_share={config.labelled_share}; expected a fraction of the batch, above 0, below 1"
        )
    if not 0 <= config.warmup < 1:
        raise UserError(f"{where}.warmup={config.warmup}; expected a fraction of the run, from 0 to below 1")
    for name, known in (("precision", PRECISIONS), ("strategy", STRATEGIES)):
        if (value := getattr(config, name)) not in known:
            short = f" (in short {', '.join(known[3:])})" if known[3:] else ""
            expected = f"expected {' or '.join(known[:3])}{short}{did_you_mean(value, known)}"
            raise UserError(f"{where}.{name}={value}; {expected}")
    if config.gradient_clip_val is not None and not 0 < config.gradient_clip_val < inf:
        raise UserError(f"{where}.gradient_clip_val={config.gradient_clip_val}; expected a number above 0, or null")
    if not 0 <= config.label_smoothing < 1:
        raise UserError(f"{where}.label_smoothing={config.label_smoothing}; expected a fraction, from 0 to below 1")
    for pattern, rate in config.layer_rates.items():
        if not 0 <= rate < inf:
            raise UserError(f"{where}.layer_rates: '{pattern}' has {rate}; expected a finite factor of at least 0")
    check_class_weights(config, where)


def check_class_weights(config: FitConfig, where: str) -> None:
    given = config.class_weights
    if given is None or given == "auto":
        if given == "auto" and config.class_balance:
            raise UserError(
                f"{where}.class_weights=auto with {where}.class_balance=true: each alone makes up for rare classes; take one"
            )
        return
    values = [*given.values()] if isinstance(given, Mapping) else given
    numbers = isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < inf for value in values
    )
    if not numbers or not any(values):
        raise UserError(
            f"{where}.class_weights={given}; expected auto, or numbers of at least 0: a list of one a class, or {{class: weight}}"
        )
