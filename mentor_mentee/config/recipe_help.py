"""Rows of `--help` for the options of a recipe: of a schedule, a data set, a network. Imports no torch: it reads the source.

The descriptions stand in the target's docstring, one an option:

    - `blocks`: residual blocks in each stage
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from mentor_mentee.config.settings_help import REQUIRED, Described, written
from mentor_mentee.errors import UserError
from mentor_mentee.recipe import definition, split_target

FROM_THE_DATA = ("in_channels", "num_classes")  # filled in for whoever takes them
BULLET = re.compile(r"^- `(\w+)`: (.+(?:\n  .+)*)", re.MULTILINE)


def recipe_rows(recipe: Mapping[str, Any], where: str) -> list[Described]:
    """A row for each option that the target's source shows, with the value that the recipe gives it or its default."""
    try:
        found = definition(*split_target(recipe, where))
    except UserError:  # a mistake is told when the command runs, not by its help
        return []
    if found is None or found.call is None:
        return []
    abouts = described_options(found.about)
    return [
        Described(f"{where}.{name}", written(recipe.get(name, default)), abouts.get(name, ""))
        for name, default in defaults(found.call, found.skip).items()
        if name not in FROM_THE_DATA
    ]


def described_options(docstring: str) -> dict[str, str]:
    return {name: " ".join(about.split()) for name, about in BULLET.findall(docstring)}


def defaults(call: ast.FunctionDef, skip: int) -> dict[str, Any]:
    """Each parameter and its default: a literal, else its source; `???` where it has none."""
    positional = [*call.args.posonlyargs, *call.args.args][skip:]
    values = [*[None] * (len(positional) - len(call.args.defaults)), *call.args.defaults[-len(positional) :]]
    pairs = [*zip(positional, values, strict=True), *zip(call.args.kwonlyargs, call.args.kw_defaults, strict=True)]
    return {arg.arg: literal(value) for arg, value in pairs}


def literal(node: ast.expr | None) -> Any:
    if node is None:
        return REQUIRED
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
