"""`{"_target_": "mentor_mentee.data.datasets.mnist", "labels_per_class": 10, …}` -> Splits: a data set and its label budget."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mentor_mentee.callables import OURS, maker_of, makes, public
from mentor_mentee.errors import UserError
from mentor_mentee.progress import listening, remark
from mentor_mentee.recipe import (
    check_recipe,
    made,
    recipe_identity,
    require_kind,
    require_recipe,
    require_switch,
    signature_imported,
    signature_in_source,
    split_target,
)
from mentor_mentee.targets import imported

if TYPE_CHECKING:
    from mentor_mentee.data.splits import Splits

BUDGET_OPTIONS: dict[str, tuple[Any, str]] = {  # that every data set takes beside its own: default, description
    "labels_per_class": (None, "training samples of each class that keep their label; null: all"),
    "keep_unlabelled": (False, "train on the others under the mentor alone; false: drop them"),
    "budget_seed": (0, "which samples keep their label"),
}
OWN_OPTIONS: dict[
    str, tuple[Any, str]
] = {  # that a callable of somebody else's takes beside its own, unless it has such a one
    "image": (None, "where the image is in an item: a column, key or place; null: found"),
    "label": (None, "where the label is in an item: a column, key or place; null: found"),
    "size": (None, "height and width that PIL images are scaled and cropped to; null: as they are"),
    "val_fraction": (0.1, "of the training samples, where the data set has no part for validation"),
    "test_fraction": (0.2, "of the training samples, where the data set has no part for testing"),
    "split_seed": (0, "of that split"),
    "memory_mb": (256, "megabytes of images up to which they are held in memory; above, they are read from cache"),
    "cache": (".cache/images", "folder of images on disk"),
}
BUDGET = {name: default for name, (default, _) in BUDGET_OPTIONS.items()}


def check_data(recipe: Mapping[str, Any]) -> None:
    called, own = parted(recipe)
    check_recipe(called, "data", also=[*BUDGET, *own])
    given = {key: recipe.get(key) for key in ("labels_per_class", "budget_seed")}
    given |= {key: recipe[key] for key in ("size", "split_seed") if key in own and key in recipe}
    for key, value in given.items():
        least = 1 if key in ("labels_per_class", "size") else 0
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise UserError(f"data.{key}={value}; expected a whole number, {least} or more, or null")
    for key in ("val_fraction", "test_fraction", "memory_mb"):
        if key in own:
            require_kind(own[key], frozenset({"float"}), f"data.{key}")
    require_switch(recipe.get("keep_unlabelled"), "data.keep_unlabelled")
    budget = recipe.get("labels_per_class") is not None
    if budget and recipe.get("unlabelled") is not None and not recipe.get("keep_unlabelled"):
        raise UserError(
            f"data.unlabelled={recipe['unlabelled']} is given, but under data.labels_per_class what has no label is dropped; "
            "set data.keep_unlabelled=true, or leave data.unlabelled out"
        )


def require_budget(recipe: Mapping[str, Any]) -> None:
    """Raises `UserError` for what would do nothing. Of a new run only: a checkpoint that has it can still be read."""
    if recipe.get("keep_unlabelled") and recipe.get("labels_per_class") is None:
        raise UserError(
            "data.keep_unlabelled=true without data.labels_per_class, so no label is taken away and it does nothing; set "
            "data.labels_per_class=10, or leave keep_unlabelled out: samples that have no label train anyway"
        )


def source_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key not in BUDGET}


def parted(recipe: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The callable's own options, and `OWN_OPTIONS`, of which there are none for the data sets of this project."""
    called = source_of(recipe)
    module, name = split_target(called, "data")
    if module.partition(".")[0] in OURS:
        return called, {}
    known = (signature_in_source(module, name) or signature_imported(module, name, "data")).known
    own = {key: called.pop(key, default) for key, (default, _) in OWN_OPTIONS.items() if key not in known}
    return called, own


def built(recipe: Mapping[str, Any]) -> "Splits":
    """The data set of a recipe: what the callable returns if that is `Splits`, else that as `Splits`."""
    from torch.utils.data import Dataset

    from mentor_mentee.data.own import own_data
    from mentor_mentee.data.splits import Splits

    called, own = parted(recipe)
    module, name = split_target(called, "data")
    target = imported(module, name, "data")
    product = Dataset if makes(maker_of(target), Dataset) else Splits
    require_recipe(called, "data", product)
    found = made(called, "data", None)
    if isinstance(found, Splits):
        return found
    if not own:
        raise UserError(f"data: {called['_target_']} returned a {type(found).__name__}; expected {public(Splits)}")
    options = {key: default for key, (default, _) in OWN_OPTIONS.items()} | own
    return own_data(found, name, recipe_identity(called, "data"), options)


def load_data(recipe: Mapping[str, Any], whole: bool = False) -> "Splits":
    """Builds the source. Where `labels_per_class` is set, that many of the training samples of each class keep their label
    and the others, those that had none too, are dropped, or with `keep_unlabelled` stay as unlabelled (−1); `whole` leaves
    the budget out. Says what nobody can have meant (`oddities`), where somebody listens.
    """
    from mentor_mentee.data.oddities import oddities, require_taught

    check_data(recipe)
    splits = built(recipe)
    require_taught(splits)
    if listening():
        for line in oddities(splits):
            remark(line)
    return splits if whole else under_budget(recipe, splits)


def under_budget(recipe: Mapping[str, Any], splits: "Splits") -> "Splits":
    """Makes the splits of `load_data` out of those that it returns with `whole`."""
    from mentor_mentee.data.splits import labels_per_class

    budget = BUDGET | {key: recipe[key] for key in BUDGET if key in recipe}
    if budget["labels_per_class"] is None:
        return splits
    p, seed = int(budget["labels_per_class"]), int(budget["budget_seed"] or 0)
    return replace(splits, train=labels_per_class(splits.train, p, seed, bool(budget["keep_unlabelled"])))
