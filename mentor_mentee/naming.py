"""Recipes for networks that a script made: how a checkpoint names a class, so that another process can build it again."""

import inspect
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from mentor_mentee.callables import maker_of, makes, require_allowed
from mentor_mentee.data.splits import Splits
from mentor_mentee.errors import UserError
from mentor_mentee.objective.classifier import build_classifier
from mentor_mentee.objective.taps import evaluating
from mentor_mentee.recipe import Recipe, check_recipe

ELSEWHERE = "move it into a file of its own, as mynets.py, and import it from there"


def recipe(target: Callable[..., Any], /, **options: Any) -> dict[str, Any]:
    """`recipe(Net, width=2)` -> `{"_target_": "mynets.Net", "width": 2}`: how to call what makes a network, or a data set.

    Raises `UserError` for what no other process could import (a class of `__main__`, a lambda, one that is defined inside a
    function), for options that it does not take, and for values that JSON cannot hold. An option may be a recipe itself.
    """
    called = getattr(target, "__qualname__", type(target).__qualname__)
    home = str(getattr(target, "__module__", None))
    if not callable(target) or isinstance(target, nn.Module):
        raise UserError(f"recipe({called}): expected the class or the function that makes it: recipe(Net, width=2)")
    if "<" in called:
        inside = "a lambda" if called.endswith("<lambda>") else f"{called}, which is defined inside a function"
        raise UserError(f"recipe({inside}): a checkpoint cannot name that; make it a class or a function of a module")
    if home == "__main__":
        raise UserError(
            f"{called} is defined in the script or notebook itself (__main__), so no other process could open its checkpoint; "
            f"{ELSEWHERE}"
        )
    if "." in called or getattr(import_module(home), called, None) is not target:
        raise UserError(
            f"'{called}' of {home} is not what is imported by that name; expected a class or a function of a module"
        )
    made = {"_target_": f"{home}.{called}", **options}
    require_json(made, called)
    check_recipe(made, called)
    if not any(makes(maker_of(target), product) for product in (Dataset, Splits)):
        require_allowed(target, called, made["_target_"], nn.Module)
    return made


def require_json(made: Recipe, called: str) -> None:
    """Raises `UserError` for the first option that JSON does not give back as it was, but for a tuple, which becomes a list."""
    for name, value in made.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise UserError(
                f"recipe({called}, {name}={value!r}): a checkpoint is JSON; expected numbers, text, lists, or a recipe of that "
                f"object: {name}=recipe(…)"
            ) from None


def recipe_of(network: nn.Module, given: Recipe | None, example: Tensor, where: str) -> dict[str, Any]:
    """`given`, once it is known to build what `network` is; without it, the class alone, where that takes no options.

    `network` is as `as_classifier` made it. Draws nothing from torch's global random state. Raises `UserError` where the class
    needs options, and where what is built has other tensors or, with the same weights, other answers to `example`.
    """
    kind = type(network)
    how = f"{where}_recipe=distill.recipe({kind.__name__}, …), or of the function that made it"
    if given is None and (needed := required(kind)):
        raise UserError(
            f"{where} is a {kind.__name__}, which is made with {', '.join(needed)}: say with which, so that it can be built "
            f"again: {how}"
        )
    named = dict(given) if given is not None else recipe(kind)
    with torch.random.fork_rng(devices=[]):
        again = build_classifier(named, f"{where}_recipe")
    was, found = (shapes(one) for one in (network, again))
    for name in sorted({*was, *found}):
        if was.get(name) != found.get(name):
            raise UserError(
                f"{where}: {named['_target_']} builds another network than the one given: '{name}' is {found.get(name)} there, "
                f"{was.get(name)} here; give the options it was made with: {how}"
            )
    again.load_state_dict(network.state_dict())
    with evaluating(network), evaluating(again), torch.no_grad():
        same = torch.allclose(network(example), again(example), rtol=1e-4, atol=1e-5)
    if not same:
        raise UserError(
            f"{where}: what {named['_target_']} builds has other answers under the same weights; give the options it was made "
            f"with: {how}"
        )
    return named


def required(kind: type) -> list[str]:
    """The options without a default."""
    every = inspect.signature(kind).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    star = [one.name for one in every if one.kind is one.VAR_POSITIONAL]  # nn.Sequential(*layers)
    return star + [one.name for one in every if one.default is one.empty and one.kind not in kinds]


def shapes(network: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in network.state_dict().items()}
