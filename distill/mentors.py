"""Where a run's mentor comes from: a file of weights, or one training on the data that is kept by what went into it."""

import hashlib
import inspect
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from data.errors import UserError
from data.recipe import Recipe, imported, split_target
from data.splits import Splits
from data.view import View
from distill.evaluation import evaluate
from distill.fit import Machine, fit
from distill.module import Distillation
from distill.networks import build_network, complete, view_for
from distill.schedules import constant
from distill.schema import MentorConfig
from mentor.mentor import Mentor
from mentor.weights import load_weights
from objective.probes import ProbedMentee
from objective.taps import find_head


@dataclass(frozen=True)
class FoundMentor:
    network: nn.Module
    recipe: Recipe  # complete
    view: View
    weights: Path
    val_accuracy: float
    origin: str  # for a person


def find_mentor(config: MentorConfig, splits: Splits, cache_dir: Path, machine: Machine) -> FoundMentor:
    """Raises `UserError` for weights that do not fit and for a mentor that is hardly better than chance on the
    validation split (a wrong normalisation, another order of classes)."""
    torch.manual_seed(config.seed)
    view = view_for(config.view, splits)
    recipe = complete(config.network, "mentor.network", splits, view)
    network = build_network(recipe, "mentor.network", splits, view)
    origin = f"mentor from {config.weights}"
    if config.weights is not None:
        weights = Path(config.weights)
        load_weights(network, weights)
    else:
        weights = cache_dir / "mentors" / f"{content_hash(config, splits)}.safetensors"
        if loaded(network, weights):
            origin = "mentor kept from an earlier run"
        else:
            train_mentor(network, view, config, splits, machine)
            keep(network, weights)
            origin = "mentor trained now and kept"
    found = evaluate(lambda image: Mentor(network, view).answer(image).logits, splits.val, len(splits.classes))
    chance = 1 / len(splits.classes)
    least = chance + 0.1 * (1 - chance) if config.least_accuracy is None else config.least_accuracy
    if found.accuracy < least:
        raise UserError(
            f"the mentor is right on {found.accuracy:.1%} of the validation split, less than {least:.1%}: do its classes have "
            "this order, and is mentor.view what it was trained with? mentor.least_accuracy=0 goes on all the same"
        )
    return FoundMentor(network, recipe, view, weights, found.accuracy, origin)


def train_mentor(network: nn.Module, view: View, config: MentorConfig, splits: Splits, machine: Machine) -> None:
    head = find_head(network, view(splits.train.images[:2]))
    module = Distillation(ProbedMentee(network, [], head), view, constant(1, 0, 0, 1), config.fit, config.seed)
    fit(module, splits, "mentor", machine)
    network.eval()


def loaded(network: nn.Module, kept: Path) -> bool:
    """False for a file that is not there or is damaged: the mentor is then trained again."""
    try:
        load_weights(network, kept)
    except UserError:
        return False
    return True


def content_hash(config: MentorConfig, splits: Splits) -> str:
    """Of the recipe, the training data, the seed, torch and the source of the network's module.

    Not of what is asked of the trained mentor: setting `least_accuracy` after it failed must not train it again.
    """
    module = inspect.getmodule(imported(*split_target(config.network, "mentor.network"), "mentor.network"))
    source = inspect.getsource(module) if module is not None else ""
    recipe = json.dumps(asdict(replace(config, least_accuracy=None)), sort_keys=True, default=lambda value: value.value)
    about = [recipe, splits.train.fingerprint(), torch.__version__, source]
    return hashlib.sha256("\0".join(about).encode()).hexdigest()[:32]


def keep(network: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(
        save({key: value.detach().cpu().clone().contiguous() for key, value in network.state_dict().items()})
    )
    os.replace(partial, path)
