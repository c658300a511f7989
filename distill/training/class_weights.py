"""Weights of the classes in the cross-entropy, from settings and labels. Imports no Lightning."""

from collections.abc import Mapping

import torch

from distill.schema import FitConfig
from mentor_mentee.data.splits import Splits
from mentor_mentee.errors import UserError, did_you_mean


def class_weights(fit: FitConfig, splits: Splits, where: str) -> list[float] | None:
    """One weight a class, in their order; None where none are asked for.

    `auto`: N / (K · n_k), N labelled training samples, n_k of the class, K classes: each class weighs the same in all. 0 where
    a class has none. Raises `UserError` for a class that there is not, and for another number of weights than of classes.
    """
    given, classes = fit.class_weights, splits.classes
    if given is None:
        return None
    if given == "auto":
        labels = splits.train.labels[splits.train.labels >= 0]
        counts = torch.bincount(labels, minlength=len(classes)).tolist()
        return [len(labels) / (len(classes) * count) if count else 0.0 for count in counts]
    if isinstance(given, Mapping):
        named = {str(name): float(weight) for name, weight in given.items()}
        if unknown := sorted(set(named) - set(classes)):
            raise UserError(
                f"{where}.class_weights: {splits.name} has no class '{unknown[0]}'{did_you_mean(unknown[0], classes)} "
                f"(it has {', '.join(classes[:12])}{', …' if len(classes) > 12 else ''})"
            )
        return [named.get(name, 1.0) for name in classes]
    if len(given) != len(classes):
        raise UserError(
            f"{where}.class_weights has {len(given)} numbers, {splits.name} {len(classes)} classes; expected one for each, "
            "auto, or {class: weight}"
        )
    return [float(weight) for weight in given]
