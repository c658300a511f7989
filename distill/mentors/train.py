"""Trains a mentor: all of it on the data's labels, or a new head under weights of other classes.

A training that is killed goes on from its last epoch when the same run is started again: its checkpoint lies in the cache
under the key of the mentor that it is to become.
"""

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from distill.machine import Machine
from distill.schedules import constant
from distill.schema import FitConfig, MentorConfig
from distill.training.class_weights import class_weights
from distill.training.fit import fit
from distill.training.loaders import epoch_batches
from distill.training.module import Distillation
from distill.training.optimizer import require_rates
from distill.training.resume import check_resumable, describe_run, earlier, undamaged
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.views.drawn import require_drawable
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee
from mentor_mentee.objective.taps import find_layer


def train_mentor(
    network: nn.Module, view: View, config: MentorConfig, splits: Splits, machine: Machine, checkpoint: Path
) -> None:
    learn_labels(network, view, config.fit, config.seed, splits, "mentor", machine, checkpoint)
    network.eval()


def transfer_mentor(
    network: nn.Module, head: str, view: View, config: MentorConfig, splits: Splits, machine: Machine, cached: Path
) -> None:
    """The head alone first: under the gradients of a random one the body would forget what it is kept for.

    Until then the body is in eval mode, so that its BatchNorm neither uses nor keeps the new data's statistics.
    """
    stages, learning = config.transfer, [value for value in network.parameters() if value.requires_grad]
    network.requires_grad_(False)
    find_layer(network, head).requires_grad_(True)
    alone = replace(config.fit, max_epochs=stages.epochs, learning_rate=stages.learning_rate)
    title, checkpoint = "mentor's new head", cached.with_suffix(".head.ckpt")
    learn_labels(network, view, alone, config.seed, splits, title, machine, checkpoint, stages.least_steps, only=head)
    if stages.all_epochs:
        for value in learning:
            value.requires_grad_(True)
        whole = replace(config.fit, max_epochs=stages.all_epochs, learning_rate=stages.all_learning_rate)
        title, checkpoint = "mentor under its new head", cached.with_suffix(".all.ckpt")
        learn_labels(network, view, whole, config.seed, splits, title, machine, checkpoint, stages.least_steps)
    network.eval()


def learn_labels(
    network: nn.Module,
    view: View,
    config: FitConfig,
    seed: int,
    splits: Splits,
    title: str,
    machine: Machine,
    checkpoint: Path,
    least_steps: int = 0,
    only: str | None = None,
) -> None:
    """Trains `network` in place; `only`: the one layer that is in training mode."""
    labelled = splits.train.labels >= 0
    if not bool(labelled.any()):
        raise UserError(
            f"no training sample of {splits.name} has a label, so no mentor can be trained here: give mentor.weights"
        )
    if not bool(labelled.all()):  # the others would take their place in the batches, without a loss
        splits = replace(splits, train=splits.train.subset(torch.nonzero(labelled).flatten()))
    if (steps := enough_steps(config, splits, seed, least_steps)) != config.steps_per_epoch:
        machine.say(
            f"{title}: {steps} steps in each of its {config.max_epochs} epochs, for mentor.transfer.least_steps={least_steps}"
        )
        config = replace(config, steps_per_epoch=steps)
    where = "mentor.fit"
    require_rates(network, config, where)
    weights = class_weights(config, splits, where)
    require_drawable(config.augment, splits.train.images, f"{where}.augment")
    module = Distillation(
        ProbedMentee(network, [], None), view, constant(1, 0, 0, 1), config, seed, class_weights=weights
    )
    module.settings = where
    module.only = None if only is None else find_layer(network, only)
    fit(module, splits, title, machine, checkpoint, goes_on(module, splits, checkpoint, title, machine))


def enough_steps(config: FitConfig, splits: Splits, seed: int, least_steps: int) -> int | None:
    """Steps of an epoch in which all epochs have `least_steps`: passing over the data several times in one costs no more
    validations. As configured where that is enough, or where steps are configured: who sets them has counted."""
    if config.steps_per_epoch is not None or least_steps <= config.max_epochs * len(
        epoch_batches(splits.train, config, seed)
    ):
        return config.steps_per_epoch
    return math.ceil(least_steps / config.max_epochs)


def goes_on(module: Distillation, splits: Splits, checkpoint: Path, title: str, machine: Machine) -> bool:
    """Whether a killed training left a checkpoint to go on from; one that is damaged is removed, and the training begins anew."""
    if not checkpoint.is_file():
        return False
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.run = describe_run(module, splits)
    try:
        check_resumable(undamaged(checkpoint, lambda line: None), module)  # `fit` says it
    except UserError as error:
        module.load_state_dict(before)
        for path in (checkpoint, earlier(checkpoint)):
            path.unlink(missing_ok=True)
        machine.say(f"{title}: begins anew, for {error}")
        return False
    machine.say(f"{title}: goes on from the epoch after which an earlier run was stopped")
    return True
