"""`distillation`: two networks and a loader become a LightningModule that any Trainer fits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.curves import Schedule
from distill.handover import placed
from distill.library.caching import Caching
from distill.library.checks import (
    answered,
    class_names,
    learning,
    own_classes,
    require_accuracy,
    require_apart,
    require_classes,
    require_taught,
    required,
    warn_of_normalising_twice,
)
from distill.library.identity import network_identity
from distill.library.looking import looked_at
from distill.library.reading import UNKNOWN, Keys
from distill.library.student import Origin, Student
from distill.machine import Machine
from distill.mentors.pairs import choose_probes
from distill.mentors.softness import logit_deviation
from distill.schedules import piecewise
from distill.schema import CacheConfig, FitConfig
from mentor.mentor import Mentor
from mentor.weights.file import file_digest
from mentor.weights.load import load_weights
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.naming import recipe_of
from mentor_mentee.objective.classifier import as_classifier, build_classifier
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import Probe, ProbedMentee
from mentor_mentee.objective.taps import find_head, find_layer
from mentor_mentee.recipe import Recipe, recipe_identity

Pairs = str | Sequence[tuple[str, str]] | Mapping[str, Any] | None


def distillation(
    mentee: nn.Module | Recipe,
    mentor: nn.Module | Recipe,
    train: Any,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    source: str | None = None,
    classes: Sequence[str] | None = None,
    probes: Pairs = "auto",
    schedule: Schedule | None = None,
    loss: LossSpec = LossSpec(),  # noqa: B008 (frozen)
    fit: FitConfig | None = None,
    head: str | None = None,
    keys: Keys | None = None,
    mentee_recipe: Recipe | None = None,
    mentor_recipe: Recipe | None = None,
    mentor_weights: str | Path | None = None,
    mentor_view: View | None = None,
    least_accuracy: float | None = None,
    data: Recipe | None = None,
    cache_dir: str | Path | None = None,
    cache: CacheConfig = CacheConfig(),  # noqa: B008 (nobody writes to it)
    seed: int = 1,
    machine: Machine | None = None,
) -> Student:
    """A LightningModule that distils `mentor` into `mentee`, as the command does: the same loss, probes, units, T and γ.

    `train` is a torch DataLoader or a data set; some 512 of its samples are looked at, for layers' units, the mentor's T, and
    whether the mentor is right on more than chance. Nothing is drawn from a global random state but the adapters' weights.

    - `mentee`, `mentor`: modules, or what `recipe(…)` returns, to build them here; a mentor of a recipe has `mentor_weights`.
    - `mean`, `std`: of each channel. Of uint8 images what they are normalised by here and on the device, on the scale 0 to 1;
      of floats what is taken off of them, by default nothing.
    - `source`: what the device will be fed, "uint8" or "float32"; None: what the loader yields. "uint8" for a loader of
      normalised floats: `mean` and `std` are then what it normalises by (`ToTensor` alone: 0 and 1), and are undone.
    - `classes`: names; None: the data set's `classes`, or the numbers of the mentee's logits.
    - `probes`: "auto", None, pairs (mentor's layer, mentee's layer), or what `configs/probes` holds.
    - `schedule`: None: α 1, the layers' strength falling from 30 or less to 0, T and γ as the mentor's logits ask for.
    - `fit`: optimizer, learning rate and its curve, label smoothing, rates of layers.
    - `head`: the layer that is given the embedding; None: the linear layer that makes the logits.
    - `keys`: where image and label are in a batch, as ("image", "label").
    - `mentee_recipe`, `mentor_recipe`: what `recipe(…)` returns, how the networks were made; needed of the mentee where its
      class takes options. `mentor_weights`: the file of the mentor's weights: with its recipe, the checkpoint names the mentor.
    - `mentor_view`: how the mentor sees a source image; None: as the mentee does.
    - `least_accuracy`: of the mentor on those samples, below it an error; None: a tenth of the way from the commonest class's
      share to 1.
    - `data`: a data set's recipe, so that `mentee-export` can read the samples for a bundle; else give them to `export_bundle`.
    - `cache_dir`: folder of the mentor's answers, the commands' `cache_dir`; None: the mentor is asked at each step. Each sample
      of `train` is read once for it. `cache`: its room, how layers are rounded, the share that is verified.

    Raises `UserError` before any training for all that can be known by then.
    """
    machine = machine or Machine()
    if isinstance(mentee, Mapping):
        mentee_recipe = mentee
        mentee = build_classifier(mentee_recipe, "mentee")
    if isinstance(mentor, Mapping):
        mentor_recipe = mentor
        mentor = with_weights(mentor_recipe, mentor_weights)
    mentee = as_classifier(required(mentee, "mentee"), machine.say)
    mentor = as_classifier(required(mentor, "mentor"), machine.say)
    require_apart(mentee, mentor)
    fit = learning(fit)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"seed={seed!r}; expected a whole number")
    classes = class_names(own_classes(train) or () if classes is None else classes)
    reader, seen = looked_at(train, len(classes) or UNKNOWN, source, mean, std, keys)
    warn_of_normalising_twice(reader.view, seen, machine)
    example = seen.images[:2]
    logits_2K = {
        where: answered(network, view(example), where, view)
        for where, network, view in (("mentee", mentee, reader.view), ("mentor", mentor, mentor_view or reader.view))
    }
    classes = classes or tuple(map(str, range(logits_2K["mentee"].shape[1])))
    reader = replace(reader, classes=len(classes))
    require_classes(logits_2K, classes, seen)
    recipe = recipe_of(mentee, mentee_recipe, reader.view(example), "mentee")
    view = mentor_view or reader.view
    identity = type(mentor).__qualname__ if cache_dir is None else network_identity(mentor)
    if mentor_recipe is not None:
        identity = recipe_identity(mentor_recipe, "mentor_recipe")
    asked = Mentor(mentor, view, identity=identity)
    schedule = piecewise([[0, 1.0]], None, None, None) if schedule is None else schedule
    accuracy = require_accuracy(asked, seen, len(classes), least_accuracy, machine)
    if schedule.supervised() and "temperature" in schedule.follows and loss.softmax == "kl" and not loss.standardise:
        schedule = schedule.under(logit_deviation(asked, seen))
    chosen: list[Probe] = []
    if (group := probe_group(probes)) and schedule.supervised():
        found = choose_probes(group, asked, mentee, reader.view, seen, machine, loss, schedule.in_units)
        chosen = [one.probe for one in found]
    schedule = schedule if chosen else replace(schedule, beta=((0.0, 0.0),), follows=without_beta(schedule))
    require_taught(schedule)
    head = head or find_head(mentee, reader.view(example), "head")
    find_layer(mentee, head)
    probed = ProbedMentee(mentee, chosen, head)
    origin = Origin(
        recipe,
        classes,
        type(mentor).__name__,
        about(asked, mentor_recipe, mentor_weights, accuracy, example),
        placed(data or {}),
    )
    answering = Mentor(mentor, view, chosen, asked.identity)
    caching = None
    if cache_dir is not None and schedule.supervised():
        caching = Caching(answering, reader, Path(cache_dir).expanduser(), cache, machine)
        caching.of(train, "train", "train")
    return Student(probed, reader, schedule, fit, seed, answering, loss, origin, caching)


def with_weights(recipe: Recipe, weights: str | Path | None) -> nn.Module:
    """Raises `UserError` without weights: a random mentor has nothing to teach."""
    if weights is None:
        raise UserError(
            "mentor is a recipe without mentor_weights; expected the file of its weights, or the trained module"
        )
    network = build_classifier(recipe, "mentor")
    load_weights(network, Path(weights).expanduser())
    return network


def probe_group(probes: Pairs) -> dict[str, Any]:
    """As the settings group `probes` has it. Raises `UserError` for what is none of the forms."""
    if probes is None or probes == "none":
        return {}
    if probes == "auto":
        return {"_auto_": True}
    if isinstance(probes, Mapping):
        return dict(probes)
    if isinstance(probes, str) or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in probes):
        raise UserError(
            f'probes={probes!r}; expected "auto", None, or pairs of layers: [("mentor\'s layer", "mentee\'s layer"), …]'
        )
    return {f"pair{number}": list(pair) for number, pair in enumerate(probes, 1)}


def without_beta(schedule: Schedule) -> tuple[str, ...]:
    return tuple(name for name in schedule.follows if name != "beta")


def about(
    mentor: Mentor, recipe: Recipe | None, weights: str | Path | None, accuracy: float, example: Tensor
) -> dict[str, Any] | None:
    """The description that `mentor.restore` takes; None where recipe or weights are not named. Raises `UserError` where they
    are another's: its answers would be cached as those of what the recipe builds."""
    if recipe is None:
        return None
    named = recipe_of(mentor.network, recipe, mentor.view(example), "mentor")
    if weights is None:
        return None
    path = Path(weights).expanduser().absolute()
    state = {name: value.clone() for name, value in mentor.network.state_dict().items()}
    load_weights(mentor.network, path)
    same = all(torch.equal(value.cpu(), state[name].cpu()) for name, value in mentor.network.state_dict().items())
    mentor.network.load_state_dict(state)
    if not same:
        raise UserError(f"mentor_weights='{path}' are other weights than the mentor has; save its state_dict there")
    return {
        "network": named,
        "weights": str(path),
        "sha256": file_digest(path),
        "weights_at": None,
        "view": asdict(mentor.view),
        "val_accuracy": accuracy,
    }
