"""Checks that two networks, a loader and settings fit together, before any training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from distill.curves import Schedule
from distill.machine import Machine
from distill.networks.build import output_in_evaluation
from distill.schema import FitConfig
from mentor.mentor import Mentor
from mentor_mentee.data.class_names import require_class_names
from mentor_mentee.data.splits import Split
from mentor_mentee.data.store.images import in_parts
from mentor_mentee.data.views.view import View
from mentor_mentee.data.views.whole_pixels import whole_pixels
from mentor_mentee.errors import UserError

OURS = ("optimizer", "learning_rate", "weight_decay", "momentum", "curve", "warmup", "label_smoothing", "layer_rates")
FEW = 60  # labelled samples below which a mentor is not judged


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
                f"fit: {one.name} is not taken here, for Trainer and loader are yours; expected of FitConfig: {', '.join(OURS)}"
            )
    return given


def own_classes(train: Any) -> tuple[str, ...] | None:
    """The names that a data set of torchvision's kind has."""
    data = getattr(train, "dataset", train)
    names = getattr(data, "classes", None) or getattr(getattr(data, "dataset", None), "classes", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) and len(names) > 1 else None


def class_names(given: Any) -> tuple[str, ...]:
    """`classes` as they were given; numbers become text. Raises `UserError` for what is no list of names."""
    if not isinstance(given, Iterable):
        raise UserError(f"classes={given!r}; expected the names in the order of their numbers: classes=['cat', 'dog']")
    names = tuple(str(name) if isinstance(name, int) else name for name in given)
    require_class_names(names, "classes")
    return names


def warn_of_normalising_twice(view: View, seen: Split, machine: Machine) -> None:
    """Says so where float images become whole pixels again with the view's mean and std: their loader has normalised them."""
    off = any(view.mean) or any(each != 1 for each in view.std)
    if view.dtype == "float32" and off and undoes(view, seen.images[:2]):
        machine.say(
            "warning: the loader has normalised its images by this mean and std already, and they are taken off once more; with "
            'source="uint8" they are not, and the device is fed pixels; without mean and std it is fed floats like these'
        )


def undoes(view: View, image_NCHW: Tensor) -> bool:
    try:
        whole_pixels(image_NCHW, view.mean, view.std, "")
    except UserError:
        return False
    return True


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


def require_taught(schedule: Schedule) -> None:
    if (span := schedule.idle_span()) is not None:
        raise UserError(
            f"the schedule has α = β = γ = 0 from {span[0]:.0%} to {span[1]:.0%} of the run (without probes β is 0), so nothing "
            "would be learnt; choose another schedule or probes"
        )
