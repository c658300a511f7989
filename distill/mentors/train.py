"""Trains a mentor: all of it on the data's labels, or a new head under weights of other classes."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from distill.machine import Machine
from distill.schedules import constant
from distill.schema import FitConfig, MentorConfig
from distill.training.fit import fit
from distill.training.module import Distillation
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import ProbedMentee
from mentor_mentee.objective.taps import Taps, evaluating, find_head, find_layer


def train_mentor(network: nn.Module, view: View, config: MentorConfig, splits: Splits, machine: Machine) -> None:
    learn_labels(network, view, config.fit, config.seed, splits, "mentor", machine)
    network.eval()


def transfer_mentor(
    network: nn.Module, head: str, view: View, config: MentorConfig, splits: Splits, machine: Machine
) -> None:
    """The head alone first: under the gradients of a random one the body would forget what it is kept for.

    Until then the body is in eval mode, so that its BatchNorm neither uses nor keeps the new data's statistics.
    """
    stages = config.transfer
    network.requires_grad_(False)
    find_layer(network, head).requires_grad_(True)
    alone = replace(config.fit, epochs=stages.epochs, learning_rate=stages.learning_rate)
    learn_labels(network, view, alone, config.seed, splits, "mentor's new head", machine, only=head)
    if stages.all_epochs:
        network.requires_grad_(True)
        whole = replace(config.fit, epochs=stages.all_epochs, learning_rate=stages.all_learning_rate)
        learn_labels(network, view, whole, config.seed, splits, "mentor under its new head", machine)
    network.eval()


def learn_labels(
    network: nn.Module,
    view: View,
    config: FitConfig,
    seed: int,
    splits: Splits,
    title: str,
    machine: Machine,
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
    embedding_of = head_or_last_layer(network, view(splits.train.images[:2]))
    module = Distillation(ProbedMentee(network, [], embedding_of), view, constant(1, 0, 0, 1), config, seed)
    module.settings = "mentor.fit"
    module.only = None if only is None else find_layer(network, only)
    fit(module, splits, title, machine)


def head_or_last_layer(network: nn.Module, example: Tensor) -> str:
    """A mentor's embedding is not used, so one whose logits no linear layer makes (SqueezeNet) can be trained as well."""
    try:
        return find_head(network, example)
    except UserError:
        with evaluating(network), torch.no_grad():
            leaves: list[str] = [path for path, layer in network.named_modules() if path and not any(layer.children())]
            for path in reversed(leaves):
                try:
                    Taps(network, inputs=[path])(example)
                except UserError:
                    continue
                return path
        raise
