"""`{"_target_": "mentor_mentee.data.datasets.mnist", "labels_per_class": 10, …}` -> Splits: a data set and its label budget."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mentor_mentee.errors import UserError
from mentor_mentee.progress import listening, remark
from mentor_mentee.recipe import build, check_recipe, require_switch

if TYPE_CHECKING:
    from mentor_mentee.data.splits import Splits

BUDGET_OPTIONS: dict[str, tuple[Any, str]] = {  # that every data set takes beside its own: default, description
    "labels_per_class": (None, "training samples of each class that keep their label; null: all"),
    "keep_unlabelled": (False, "train on the others under the mentor alone; false: drop them"),
    "budget_seed": (0, "which samples keep their label"),
}
BUDGET = {name: default for name, (default, _) in BUDGET_OPTIONS.items()}


def check_data(recipe: Mapping[str, Any]) -> None:
    check_recipe(source_of(recipe), "data", also=BUDGET)
    for key, least in (("labels_per_class", 1), ("budget_seed", 0)):
        value = recipe.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise UserError(f"data.{key}={value}; expected a whole number, {least} or more, or null")
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


def load_data(recipe: Mapping[str, Any], whole: bool = False) -> "Splits":
    """Builds the source. Where `labels_per_class` is set, that many of the training samples of each class keep their label
    and the others, those that had none too, are dropped, or with `keep_unlabelled` stay as unlabelled (−1); `whole` leaves
    the budget out. Says what nobody can have meant (`oddities`), where somebody listens.
    """
    from mentor_mentee.data.oddities import oddities, require_taught
    from mentor_mentee.data.splits import Splits

    check_data(recipe)
    splits: Splits = build(source_of(recipe), "data", Splits)
    require_taught(splits)
    if listening():
        for line in oddities(splits):
            remark(line)
    return splits if whole else under_budget(recipe, splits)


def under_budget(recipe: Mapping[str, Any], splits: "Splits") -> "Splits":
    """What `load_data` returns, of the splits that it returns with `whole`."""
    from mentor_mentee.data.splits import labels_per_class

    budget = BUDGET | {key: recipe[key] for key in BUDGET if key in recipe}
    if budget["labels_per_class"] is None:
        return splits
    p, seed = int(budget["labels_per_class"]), int(budget["budget_seed"] or 0)
    return replace(splits, train=labels_per_class(splits.train, p, seed, bool(budget["keep_unlabelled"])))
