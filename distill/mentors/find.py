"""Finds a run's mentor: a file of weights, published ones, or a training on the data that is cached by what went into
it."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import nn

from distill.evaluate.evaluation import judged
from distill.machine import Machine
from distill.mentors.doubts import too_sure
from distill.mentors.half import decided
from distill.mentors.weights import (
    as_published,
    given_content,
    identity,
    load_given,
    named_weights,
    require_classes,
)
from distill.networks.build import build_and_try, build_network, complete, view_for
from distill.networks.named import chosen
from distill.schema import FitConfig, MentorConfig
from distill.training.finite import require_finite_weights
from mentor.cache.answers import cached_logits
from mentor.mentor import Mentor
from mentor.precisions import FULL
from mentor.transfer import replaceable_head
from mentor.weights.load import load_content, load_weights
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.views.augmentation import own_code, recorded
from mentor_mentee.data.views.drawn import Views
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.files import locked, write_bytes
from mentor_mentee.objective.probes import Probe
from mentor_mentee.recipe import Recipe, recipe_identity, sources_of

if TYPE_CHECKING:
    from mentor.weights.published import Published

FIRST = (  # settings of `mentor.fit` since mentors are cached
    *("steps_per_epoch", "batch", "optimizer", "learning_rate", "weight_decay", "momentum", "curve", "warmup"),
    *("augment", "labelled_share", "class_balance"),
)
FREE = ("max_epochs", "workers", "log_every_n_steps")


@dataclass(frozen=True)
class FoundMentor:
    network: nn.Module
    recipe: Recipe  # complete
    view: View
    weights: Path
    val_accuracy: float
    origin: str  # for a person
    weights_at: str | None = None  # place in the file of weights
    precision: str = FULL

    def mentor(self, probes: Sequence[Probe] = (), logits: bool = True) -> Mentor:
        """Makes it one that answers, at `probes`."""
        identity = recipe_identity(self.recipe, "mentor.network")
        return Mentor(self.network, self.view, probes, identity, self.precision, logits)


def find_mentor(
    config: MentorConfig,
    splits: Splits,
    cache_dir: Path,
    machine: Machine,
    before_training: Callable[[nn.Module, View], None] | None = None,
) -> FoundMentor:
    """Prints how often it is right on the validation split. `before_training` is called with the untrained network where it has
    to be trained, which may take hours: to raise what can be known by then.

    Raises `UserError` for weights that do not fit, weights of another number of classes without `mentor.transfer`, and a
    mentor that is hardly better than always saying the most frequent class (a wrong normalisation, another order of classes)."""
    torch.manual_seed(config.seed)
    if config.weights is not None:
        config = replace(config, weights=os.path.expanduser(config.weights))
    named = named_weights(config)
    if named is not None:
        config = as_published(config, named)
    view = view_for(config.view, splits)
    recipe = complete(config.network, "mentor.network", splits, view)
    if config.transfer.epochs:
        recipe = under_new_head(recipe, splits, view)
    elif named is not None:
        require_classes(f"{config.weights} of {config.network['name']}", named.classes, splits)
    learns = config.weights is None or config.transfer.epochs > 0
    network = build_network(recipe, "mentor.network", splits, view, machine.say, learns)
    if line := chosen(config.network, network, view, splits):
        machine.say(f"mentor: {line}")
    given = config.weights is not None and named is None and not config.transfer.epochs
    if given:
        weights, origin = Path(config.weights or ""), f"mentor from {config.weights}"
        if said := load_given(network, config, view, splits):
            machine.say(said)
    else:
        weights = cache_dir / "mentors" / f"{content_hash(config, splits, named)}.safetensors"
        origin = "mentor cached by an earlier run"
        if not loaded(network, weights):
            if before_training is not None:
                before_training(network, view)
            with locked(
                weights.with_suffix(".lock"), lambda: machine.say("waiting for another run to train this mentor")
            ):
                if not loaded(network, weights):
                    origin = make_mentor(network, recipe, view, config, named, splits, machine, weights)
                    cache_weights(network, weights)
    exact = Mentor(network, view, identity=recipe_identity(recipe, "mentor.network"))
    precision = decided(config, exact, splits.train, machine, cache_dir)
    asked = exact if precision == FULL else Mentor(network, view, identity=exact.identity, precision=precision)
    accuracy = require_accuracy(asked, config, splits, origin, machine, cache_dir)
    if accuracy == 1 and (doubt := too_sure(exact, splits, given)):
        machine.say(doubt)
    return FoundMentor(
        network, recipe, view, weights, accuracy, origin, config.weights_at if given else None, precision
    )


def make_mentor(
    network: nn.Module,
    recipe: Recipe,
    view: View,
    config: MentorConfig,
    named: "Published | None",
    splits: Splits,
    machine: Machine,
    cached: Path,
) -> str:
    """Trains it, or loads what it starts from and trains its head. Its checkpoints lie beside `cached`."""
    from distill.mentors.train import train_mentor, transfer_mentor  # Lightning takes seconds to import

    if config.weights is None:
        train_mentor(network, view, config, splits, machine, cached.with_suffix(".ckpt"))
        return "mentor trained now and cached"
    head = str(recipe["head"]) if config.transfer.epochs else None
    content = given_content(config, named)
    said = load_content(network, content, f"weights '{config.weights}'", without=head, at=config.weights_at)
    if said:
        machine.say(said)
    if head is None:
        assert named is not None  # a file without a new head is `given`
        return f"mentor {config.network['name']} under {named.title}"
    transfer_mentor(network, head, view, config, splits, machine, cached)
    start = config.weights if named is None else f"{named.title} of {config.network['name']}"
    return f"mentor from {start}, its new head trained now and cached"


def require_accuracy(
    mentor: Mentor, config: MentorConfig, splits: Splits, origin: str, machine: Machine, cache_dir: Path
) -> float:
    found = judged(cached_logits(mentor, splits.val, cache_dir / "answers"), splits.val, len(splits.classes))
    machine.say(f"{origin}: right on {found.accuracy:.1%} of {found.samples:,} validation samples")
    most_frequent = float(found.confusion_KK.sum(1).max()) / max(1, found.samples)
    least = most_frequent + 0.1 * (1 - most_frequent) if config.least_accuracy is None else config.least_accuracy
    if found.accuracy < least:
        raise UserError(
            f"the mentor is right on {found.accuracy:.1%} of the validation split, less than {least:.1%}: do its classes have "
            "this order, and is mentor.view what it was trained with? mentor.least_accuracy=0 goes on all the same"
        )
    return found.accuracy


def under_new_head(recipe: Recipe, splits: Splits, view: View) -> dict[str, Any]:
    network, _ = build_and_try(recipe, "mentor.network", splits, view)
    return {
        "_target_": "mentor.transfer.with_head",
        "network": dict(recipe),
        "head": replaceable_head(network, view(splits.train.images[:2])),
        "num_classes": len(splits.classes),
    }


def loaded(network: nn.Module, cached: Path) -> bool:
    """False for a file that is not there or is damaged: the mentor is then made again."""
    try:
        load_weights(network, cached)
    except UserError:
        return False
    return True


def content_hash(config: MentorConfig, splits: Splits, named: "Published | None" = None) -> str:
    """A hash of recipe, training data, seed, torch, the weights it starts from, the sources of network and own transforms, and
    some views that these draw.

    What is asked of the trained mentor is left out: setting `least_accuracy` after it failed must not train it again.
    """
    source = "".join([*sources_of(config.network, "mentor.network"), *own_code(config.fit.augment.transforms)])
    settings = asdict(replace(config, least_accuracy=None))
    settings["fit"] = that_count(settings["fit"])
    if config.weights is not None:  # what they are, not where they lie
        settings["weights"] = identity(config, named)
    if not config.transfer.epochs:
        del settings["transfer"]
    del settings["precision"], settings["shard"]
    recipe = json.dumps(settings, sort_keys=True, default=lambda value: value.value)
    source += Views(config.fit.augment, config.seed, "mentor.fit.augment").digest(
        splits.train.images, splits.train.positions
    )
    about = [recipe, splits.train.fingerprint(), torch.__version__, source]
    return hashlib.sha256("\0".join(about).encode()).hexdigest()[:32]


def that_count(fit: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a training that its mentor depends on. Those that came after mentors had been cached count where they are
    not at their default, and `max_epochs` goes by its first name: what was cached stays so."""
    default = asdict(FitConfig())
    fit = {**fit, "augment": recorded(fit["augment"])}
    later = {name: value for name, value in fit.items() if name not in FIRST and name not in FREE}
    changed = {name: value for name, value in later.items() if value != default[name]}
    return {"epochs": fit["max_epochs"]} | {name: fit[name] for name in FIRST} | changed


def cache_weights(network: nn.Module, path: Path) -> None:
    require_finite_weights(network, "the mentor", "mentor.fit")
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().clone().contiguous() for key, value in network.state_dict().items()}
    write_bytes(path, save(state))
    for unfinished in path.parent.glob(f"{path.stem}*.ckpt"):  # from which its training would have gone on
        unfinished.unlink(missing_ok=True)
