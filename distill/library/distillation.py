"""`distillation`: two networks and a loader become a LightningModule that any Trainer fits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.curves import Schedule
from distill.handover import placed
from distill.library.looking import looked_at
from distill.library.reading import Keys
from distill.library.student import Origin, Student
from distill.machine import Machine
from distill.mentors.pairs import choose_probes
from distill.mentors.softness import logit_deviation
from distill.schedules import piecewise
from distill.schema import FitConfig
from distill.training.networks import output_in_evaluation
from mentor.mentor import Mentor
from mentor.weights import load_weights
from mentor.weights_file import file_digest
from mentor_mentee.data.splits import Split
from mentor_mentee.data.store.images import in_parts
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.naming import recipe_of
from mentor_mentee.objective.classifier import as_classifier
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import Probe, ProbedMentee
from mentor_mentee.objective.taps import find_head, find_layer
from mentor_mentee.recipe import Recipe, recipe_identity

Pairs = str | Sequence[tuple[str, str]] | Mapping[str, Any] | None
OURS = ("optimizer", "learning_rate", "weight_decay", "momentum", "curve", "warmup", "label_smoothing", "layer_rates")
FEW = 60  # labelled samples below which a mentor is not judged


def distillation(
    mentee: nn.Module,
    mentor: nn.Module,
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
    seed: int = 1,
    machine: Machine | None = None,
) -> Student:
    """A LightningModule that distils `mentor` into `mentee`, as the command does: the same loss, probes, units, T and γ.

    `train` is a torch DataLoader or a data set; some 512 of its samples are looked at, for layers' units, the mentor's T, and
    whether the mentor is right on more than chance. Nothing is drawn from a global random state but the adapters' weights.

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

    Raises `UserError` before any training for all that can be known by then.
    """
    machine = machine or Machine()
    mentee, mentor = (
        as_classifier(required(one, where), machine.say) for one, where in ((mentee, "mentee"), (mentor, "mentor"))
    )
    require_apart(mentee, mentor)
    fit = learning(fit)
    classes = tuple(classes or own_classes(train) or ())
    reader, seen = looked_at(train, len(classes) or 2**31, source, mean, std, keys)
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
    identity = (
        recipe_identity(mentor_recipe, "mentor_recipe") if mentor_recipe is not None else type(mentor).__qualname__
    )
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
    return Student(probed, reader, schedule, fit, seed, answering, loss, origin)


def required(network: Any, where: str) -> nn.Module:
    if not isinstance(network, nn.Module):
        raise UserError(f"{where} is a {type(network).__name__}; expected a torch.nn.Module")
    return network


def require_apart(mentee: nn.Module, mentor: nn.Module) -> None:
    """Raises `UserError` where both have a tensor in common: the mentor is frozen."""
    own = {id(value) for value in mentee.parameters()}
    if any(id(value) in own for value in mentor.parameters()):
        raise UserError(
            "mentor and mentee share parameters, and a mentor is frozen; expected two networks: copy.deepcopy one"
        )


def learning(fit: FitConfig | None) -> FitConfig:
    """Raises `UserError` for settings that are the Trainer's or the loader's here."""
    default, given = FitConfig(), fit or FitConfig()
    for one in fields(FitConfig):
        if one.name not in OURS and getattr(given, one.name) != getattr(default, one.name):
            raise UserError(
                f"fit: {one.name} is said by the Trainer or by the loader, who have it from you; expected of "
                f"FitConfig: {', '.join(OURS)}"
            )
    return given


def own_classes(train: Any) -> tuple[str, ...] | None:
    """The names that a data set of torchvision's kind has."""
    data = getattr(train, "dataset", train)
    names = getattr(data, "classes", None) or getattr(getattr(data, "dataset", None), "classes", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) and len(names) > 1 else None


def answered(network: nn.Module, example: Tensor, where: str, view: View) -> Tensor:
    """The logits of two images. Raises `UserError` where the network cannot take them."""
    name = type(network).__name__
    try:
        return output_in_evaluation(network, example, name)[1]
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # whatever a stranger's forward raises
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{where}: {name} fails on an input of {list(view.shape)}: {reason}") from error


def require_classes(logits_2K: Mapping[str, Tensor], classes: Sequence[str], seen: Split) -> None:
    for where, logits in logits_2K.items():
        if logits.shape != (2, len(classes)):
            raise UserError(
                f"{where} puts out {list(logits.shape)} for two images; expected [2, {len(classes)}], one logit for each of the "
                f"classes {', '.join(classes[:8])}{', …' if len(classes) > 8 else ''}: build it so, or give classes=[…]"
            )
    if (most := int(seen.labels.max())) >= len(classes):
        raise UserError(f"train has the label {most}; expected 0 to {len(classes) - 1} for {len(classes)} classes")


def require_accuracy(mentor: Mentor, seen: Split, classes: int, least: float | None, machine: Machine) -> float:
    """How often it is right on the samples looked at; NaN where few have a label. Raises `UserError` below `least`."""
    labelled = seen.subset(torch.nonzero(seen.labels >= 0).flatten())
    if len(labelled) < FEW:
        return float("nan")
    guessed = torch.cat([mentor.answer(part).logits.argmax(1).cpu() for part in in_parts(labelled.images, 64)])
    accuracy = float((guessed == labelled.labels).double().mean())
    frequent = float(torch.bincount(labelled.labels, minlength=classes).max()) / len(labelled)
    floor = frequent + 0.1 * (1 - frequent) if least is None else least
    if accuracy < floor:
        raise UserError(
            f"the mentor is right on {accuracy:.1%} of {len(labelled)} training samples, less than {floor:.1%}: do its classes "
            "have this order, and are mean and std (or mentor_view) what it was trained with? least_accuracy=0 goes on anyway"
        )
    machine.say(f"mentor: right on {accuracy:.1%} of {len(labelled)} training samples")
    return accuracy


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


def require_taught(schedule: Schedule) -> None:
    if (span := schedule.idle_span()) is not None:
        raise UserError(
            f"the schedule has α = β = γ = 0 from {span[0]:.0%} to {span[1]:.0%} of the run (without probes β is 0), so nothing "
            "would be learnt; choose another schedule or probes"
        )


def about(
    mentor: Mentor, recipe: Recipe | None, weights: str | Path | None, accuracy: float, example: Tensor
) -> dict[str, Any] | None:
    """What `mentor.restore` takes; None where recipe or weights are not named. Raises `UserError` where they are another's."""
    if recipe is None or weights is None:
        return None
    path = Path(weights).expanduser().absolute()
    named = recipe_of(mentor.network, recipe, mentor.view(example), "mentor")
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
